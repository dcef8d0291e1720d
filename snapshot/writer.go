package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// errEnded: a Writer was used after Commit or Abort.
var errEnded = errors.New("snapshot: writer has ended")

// Writer takes the state of a new snapshot. It counts after Commit and is nothing
// before. Not safe for concurrent use.
type Writer struct {
	store  *Store
	info   Info
	name   fileName // while it is being written
	f      vfs.File
	buf    []byte // state that does not fill a chunk yet
	part   []byte // an encoded part
	off    int64
	crc    uint32
	totals totals
	err    error // the first failure, or errEnded
}

// Create begins a snapshot of a group. id is random, so that two snapshots of the
// same entry are not mistaken for each other.
func (s *Store) Create(group raft.GroupID, meta raft.SnapshotMeta, id uint64) (*Writer, error) {
	w := &Writer{store: s, info: Info{Group: group, Meta: meta, ID: id}}
	w.name = w.info.name()
	w.name.suffix = writingSuffix
	head, err := appendHeader(nil, &header{Identity: s.identity, group: group, id: id, meta: meta})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	exists := s.find(w.info) != nil
	s.mu.Unlock()
	if exists {
		return nil, fmt.Errorf("snapshot: %s: %w", w.info.name(), fs.ErrExist)
	}
	if w.f, err = s.fs.Create(s.path(w.name)); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	w.crc = crcOf(0, head[:len(head)-checksumBytes])
	if err := w.append(head); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

func (s *Store) path(name fileName) string { return path.Join(s.dir, name.String()) }

// Write is io.Writer's.
func (w *Writer) Write(p []byte) (int, error) {
	written := 0
	for w.err == nil && len(p) > 0 {
		n := min(len(p), w.store.chunkBytes-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		written += n
		if len(w.buf) == w.store.chunkBytes {
			w.chunk()
		}
	}
	return written, w.err
}

// chunk writes what is buffered.
func (w *Writer) chunk() {
	w.part, w.crc = appendChunk(w.part[:0], w.crc, w.totals.chunks, w.buf)
	w.totals.chunks++
	w.totals.stateBytes += uint64(len(w.buf))
	w.totals.stateCRC = crcOf(w.totals.stateCRC, w.buf)
	w.buf = w.buf[:0]
	w.err = w.append(w.part)
}

func (w *Writer) append(p []byte) error {
	n, err := w.f.WriteAt(p, w.off)
	w.off += int64(n)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// Commit makes the snapshot count: when it returns without an error the snapshot
// is durable, was read back and verified, and is listed. After an error there is
// no such snapshot.
func (w *Writer) Commit() (Info, error) {
	if w.err == nil && len(w.buf) > 0 {
		w.chunk()
	}
	if w.err == nil {
		w.err = w.append(appendFooter(nil, w.crc, w.totals, uint64(w.off)+footerBytes))
	}
	if w.err != nil {
		return Info{}, errors.Join(w.err, w.Abort())
	}
	w.info.Size = uint64(w.off)
	w.err = errEnded
	return w.store.seal(w.f, w.name, w.info)
}

// Abort removes what was written. After Commit it does nothing.
func (w *Writer) Abort() error {
	if errors.Is(w.err, errEnded) {
		return nil
	}
	w.err = errEnded
	return w.store.discard(w.f, w.name)
}

// discard closes and removes a file that does not count.
func (s *Store) discard(f vfs.File, name fileName) error {
	if err := errors.Join(f.Close(), s.fs.Remove(s.path(name))); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// seal turns a complete file into a snapshot that counts (SN-03, PS-04): durable
// contents first, so that the name is never on disk before them; then read back,
// since nothing may be forgotten for the sake of a snapshot that is not readable
// (SF-07); then the name, and its durability. A file that fails is removed.
func (s *Store) seal(f vfs.File, name fileName, info Info) (Info, error) {
	err := f.Sync()
	if err == nil {
		err = s.readBack(f, info)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.fs.Rename(s.path(name), s.path(info.name()))
	}
	if err != nil {
		err = errors.Join(err, s.fs.Remove(s.path(name)))
	} else if err = s.fs.SyncDir(s.dir); err != nil {
		// The name may or may not last. If it does it names a good snapshot.
		err = errors.Join(err, s.fs.Remove(s.path(info.name())))
	}
	if err != nil {
		return Info{}, fmt.Errorf("snapshot: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.insert(&stored{info: info})
	return info, nil
}

// readBack verifies every byte of a file, and that it is the snapshot of info.
func (s *Store) readBack(f vfs.File, info Info) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	p := s.newParts(f, size, info, func(h *header) error {
		return errors.Join(h.matches(s.identity, info.name()), h.matchesMeta(info.Meta))
	})
	for err == nil {
		_, err = p.next()
	}
	switch {
	case err != io.EOF:
		return err
	case uint64(size) != info.Size:
		return p.damage(size, fmt.Errorf("%w: %d bytes, want %d", ErrMismatch, size, info.Size))
	}
	return nil
}
