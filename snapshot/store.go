package snapshot

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"sync"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// DefaultChunkBytes is how much of the state goes into a chunk.
const DefaultChunkBytes = 128 << 10

// Options say where a Store lives and whose it is.
type Options struct {
	// FS and Dir are required. The directory is the store's own; that only one
	// process uses it is the caller's business (the node's lock).
	FS  vfs.FS
	Dir string
	// Identity is the node's. Required.
	Identity Identity
	// Logger is told of leftovers and damages. None if nil.
	Logger *slog.Logger
	// ChunkBytes is how much state goes into a chunk, 1 to ChunkMax. Default
	// DefaultChunkBytes.
	ChunkBytes int
}

// Info names a snapshot that is whole, verified and durable.
type Info struct {
	Group raft.GroupID
	Meta  raft.SnapshotMeta
	// ID is the random number that whoever took the snapshot gave it.
	ID uint64
	// Size is the length of the file in bytes.
	Size uint64
}

// Error is damage in a file: where, and what of.
type Error struct {
	File   string
	Offset int64
	Group  raft.GroupID
	ID     raft.EntryID // the last entry that the snapshot covers
	Err    error
}

// Error says it in one line.
func (e *Error) Error() string {
	return fmt.Sprintf("%v: %s at offset %d (group %d, snapshot %v)", e.Err, e.File, e.Offset, e.Group, e.ID)
}

// Unwrap gives the reason, one of this package's errors or the file system's.
func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrNotFound: there is no such snapshot.
	ErrNotFound = errors.New("snapshot: not found")
	// ErrNoNewer: RemoveOlder was asked to leave nothing.
	ErrNoNewer = errors.New("snapshot: none as new is here")
)

// Store is the snapshots of all groups of a node, in one directory. It is safe
// for concurrent use.
type Store struct {
	fs         vfs.FS
	dir        string
	identity   Identity
	log        *slog.Logger
	chunkBytes int

	mu        sync.Mutex
	groups    map[raft.GroupID][]*stored // ordered by compare
	partials  map[raft.GroupID][]string  // files of transfers that wait to be resumed
	receiving map[raft.GroupID]*receiving
}

// stored is one file that has a snapshot's name. The Store's lock guards it.
type stored struct {
	info   Info
	bad    *Error // damaged: kept, and not listed
	pins   int
	remove bool // when the last pin goes; not listed
}

// Open opens the store in a directory, which it makes if need be. It removes what
// a crash left half written and keeps what a transfer left half received. A
// directory of another node, incarnation or cluster is ErrForeign. Of each
// snapshot the header, the footer and the length are verified here; the state
// between them is verified whenever it is read.
func Open(o Options) (*Store, error) {
	s := &Store{
		fs: o.FS, dir: o.Dir, identity: o.Identity, log: o.Logger, chunkBytes: cmp.Or(o.ChunkBytes, DefaultChunkBytes),
		groups:    map[raft.GroupID][]*stored{},
		partials:  map[raft.GroupID][]string{},
		receiving: map[raft.GroupID]*receiving{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.chunkBytes < 1 || s.chunkBytes > ChunkMax {
		return nil, fmt.Errorf("snapshot: ChunkBytes %d, want 1 to %d", o.ChunkBytes, ChunkMax)
	}
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if err := s.checkIdentity(names); err != nil {
		return nil, err
	}
	removed := false
	for _, name := range names {
		gone, err := s.load(name)
		if err != nil {
			return nil, err
		}
		removed = removed || gone
	}
	if removed {
		if err := s.fs.SyncDir(s.dir); err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
	}
	return s, nil
}

const identityFile = "IDENTITY"

// checkIdentity compares the directory's identity with ours and gives it ours if
// it is new.
func (s *Store) checkIdentity(names []string) error {
	name := path.Join(s.dir, identityFile)
	if !slices.Contains(names, identityFile) {
		if i := slices.IndexFunc(names, isSnapshotName); i >= 0 {
			return fmt.Errorf("%w: %s is missing beside %s", ErrIdentity, name, names[i])
		}
		return s.writeIdentity(name)
	}
	f, err := s.fs.OpenRead(name)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	b := make([]byte, identityBytes+1)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	id, err := decodeIdentity(b[:n])
	if err != nil {
		return fmt.Errorf("%w: %s", err, name)
	}
	if id != s.identity {
		return fmt.Errorf("%w: %s is of cluster %x, node %d, incarnation %x; this is cluster %x, node %d, incarnation %x", ErrForeign, name,
			id.Cluster, id.Node, uint64(id.Incarnation), s.identity.Cluster, s.identity.Node, uint64(s.identity.Incarnation))
	}
	return nil
}

func (s *Store) writeIdentity(name string) error {
	temp := name + writingSuffix
	err := s.fs.Remove(temp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("snapshot: %w", err)
	}
	f, err := s.fs.Create(temp)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	_, err = f.WriteAt(appendIdentity(nil, s.identity), 0)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.fs.Rename(temp, name)
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// load takes in one name of the directory, and reports whether it removed it.
func (s *Store) load(base string) (removed bool, err error) {
	name, ok := parseName(base)
	switch {
	case base == identityFile:
		return false, nil
	case base == identityFile+writingSuffix, ok && name.suffix == writingSuffix:
		// Its writer crashed before it had the name that counts (PS-04).
		s.log.Info("removing an unfinished snapshot", "file", base)
		err := s.fs.Remove(path.Join(s.dir, base))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // the identity's, by checkIdentity
		}
		if err != nil {
			return false, fmt.Errorf("snapshot: %w", err)
		}
		return true, nil
	case !ok:
		s.log.Warn("leaving a file that is not ours", "file", base)
		return false, nil
	case name.suffix == receivingSuffix:
		s.partials[name.group] = append(s.partials[name.group], base)
		return false, nil
	}
	info, err := s.inspect(name)
	var damage *Error
	switch {
	case errors.As(err, &damage) && (errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnknownVersion)):
		// Faulty is not missing (SF-03): it stays, and whoever starts the group
		// is told.
		s.log.Error("damaged snapshot", "error", damage)
		s.insert(&stored{info: info, bad: damage})
		return false, nil
	case err != nil:
		return false, err
	}
	s.insert(&stored{info: info})
	return false, nil
}

// inspect reads the header and the footer of a file.
func (s *Store) inspect(name fileName) (Info, error) {
	base := name.String()
	info := Info{Group: name.group, ID: name.id, Meta: raft.SnapshotMeta{ID: name.entry}}
	f, err := s.fs.OpenRead(path.Join(s.dir, base))
	if err != nil {
		return info, fmt.Errorf("snapshot: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return info, fmt.Errorf("snapshot: %w", err)
	}
	p := s.newParts(f, size, info, func(h *header) error { return h.matches(s.identity, name) })
	if _, err := p.next(); err != nil {
		return info, err
	}
	info.Meta, info.Size = p.decoder.head.meta, uint64(size)
	end := size - footerBytes
	if end < p.decoder.off {
		return info, p.damage(end, ErrTruncated)
	}
	footer := make([]byte, footerBytes)
	if _, err := f.ReadAt(footer, end); err != nil {
		return info, fmt.Errorf("snapshot: %w", err)
	}
	return info, p.damage(end, checkFooterAlone(footer, size))
}

// insert takes a file into the list, in place of one of the same name.
func (s *Store) insert(st *stored) {
	list := s.groups[st.info.Group]
	i, found := slices.BinarySearchFunc(list, st.info, func(a *stored, b Info) int { return compare(a.info, b) })
	if found {
		list[i].remove = false // its readers must not remove the new file
		list[i] = st
		return
	}
	s.groups[st.info.Group] = slices.Insert(list, i, st)
}

// compare orders snapshots of a group by age.
func compare(a, b Info) int {
	return cmp.Or(cmp.Compare(a.Meta.ID.Index, b.Meta.ID.Index), cmp.Compare(a.Meta.ID.Term, b.Meta.ID.Term), cmp.Compare(a.ID, b.ID))
}

// find gives the file of the snapshot that info names, damaged or not.
func (s *Store) find(info Info) *stored {
	for _, st := range s.groups[info.Group] {
		if compare(st.info, info) == 0 && !st.remove {
			return st
		}
	}
	return nil
}

// List gives a group's snapshots, oldest first.
func (s *Store) List(group raft.GroupID) []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Info
	for _, st := range s.groups[group] {
		if !st.remove && st.bad == nil {
			list = append(list, st.info)
		}
	}
	return list
}

// Newest gives a group's newest snapshot.
func (s *Store) Newest(group raft.GroupID) (Info, bool) {
	list := s.List(group)
	if len(list) == 0 {
		return Info{}, false
	}
	return list[len(list)-1], true
}

// Groups gives the groups that have snapshots here, damaged ones and transfers
// that are not complete included, in order.
func (s *Store) Groups() []raft.GroupID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var groups []raft.GroupID
	for g, list := range s.groups {
		if len(list) > 0 {
			groups = append(groups, g)
		}
	}
	for g, list := range s.partials {
		if len(list) > 0 {
			groups = append(groups, g)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// Damaged gives what was found damaged of a group, by Open, Verify or a Reader. A
// group whose log rests on such a snapshot must not be started from an older one
// (SF-03).
func (s *Store) Damaged(group raft.GroupID) []*Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []*Error
	for _, st := range s.groups[group] {
		if st.bad != nil && !st.remove {
			errs = append(errs, st.bad)
		}
	}
	return errs
}

// RemoveOlder removes a group's snapshots, damaged ones and transfers that are
// older than an entry; those that are being read go when the last reader closes
// (SN-05). It is ErrNoNewer, and nothing is removed, if there is no snapshot that
// covers the entry: a log's prefix would be nowhere (SN-03, B-25).
func (s *Store) RemoveOlder(group raft.GroupID, than raft.EntryID) error {
	s.mu.Lock()
	covered := slices.ContainsFunc(s.groups[group], func(st *stored) bool { return !st.remove && st.bad == nil && st.info.Meta.ID.Index >= than.Index })
	s.mu.Unlock()
	if !covered {
		return fmt.Errorf("%w: as entry %v of group %d", ErrNoNewer, than, group)
	}
	return s.remove(group, func(name fileName) bool { return name.entry.Index < than.Index })
}

// RemoveGroup removes all that is here of a group, and ends a transfer that is
// running.
func (s *Store) RemoveGroup(group raft.GroupID) error {
	slot := s.slot(group)
	slot.mu.Lock()
	defer slot.mu.Unlock()
	slot.supersede()
	return s.remove(group, func(fileName) bool { return true })
}

// remove removes a group's files that which names, but for pinned snapshots,
// which it marks, and the transfer that is running.
func (s *Store) remove(group raft.GroupID, which func(fileName) bool) error {
	s.mu.Lock()
	var gone []string
	s.groups[group] = slices.DeleteFunc(s.groups[group], func(st *stored) bool {
		if !which(st.info.name()) {
			return false
		}
		st.remove = true
		if st.pins == 0 {
			gone = append(gone, st.info.name().String())
		}
		return st.pins == 0
	})
	s.partials[group] = slices.DeleteFunc(s.partials[group], func(base string) bool {
		name, _ := parseName(base)
		if which(name) {
			gone = append(gone, base)
		}
		return which(name)
	})
	s.mu.Unlock()
	return s.removeFiles(gone)
}

// removeFiles removes files and makes that durable.
func (s *Store) removeFiles(names []string) error {
	var errs []error
	for _, name := range names {
		if err := s.fs.Remove(path.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(names) > 0 {
		errs = append(errs, s.fs.SyncDir(s.dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// matches checks a header against the name of its file, and its cluster.
func (h *header) matches(local Identity, name fileName) error {
	if h.Cluster != local.Cluster {
		return fmt.Errorf("%w: of cluster %x, this is %x", ErrForeign, h.Cluster, local.Cluster)
	}
	if h.group != name.group || h.id != name.id || h.meta.ID != name.entry {
		return fmt.Errorf("%w: header names group %d, snapshot %v, id %x", ErrMismatch, h.group, h.meta.ID, h.id)
	}
	return nil
}

// matchesMeta checks a header against what was announced of the file.
func (h *header) matchesMeta(want raft.SnapshotMeta) error {
	got, err := appendHeader(nil, &header{meta: h.meta})
	wanted, wantErr := appendHeader(nil, &header{meta: want})
	if err != nil || wantErr != nil || !bytes.Equal(got, wanted) {
		return fmt.Errorf("%w: header describes %+v, announced was %+v", ErrMismatch, h.meta, want)
	}
	return nil
}
