package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

var self = Identity{Cluster: [16]byte{1, 2, 3}, Node: 7, Incarnation: 99}

const group = raft.GroupID(5)

func meta(index raft.Index) raft.SnapshotMeta {
	return raft.SnapshotMeta{
		ID:           raft.EntryID{Term: 3, Index: index},
		MaxTimestamp: 1_700_000_000_000_000_000,
		Checksum:     0xfeedbeef,
		Configuration: raft.ConfigurationEntry{
			ID: raft.EntryID{Term: 1, Index: 1},
			Configuration: raft.Configuration{
				Members: []raft.Member{
					{ID: 1, Incarnation: 11, Role: raft.Voter, Addresses: []string{"a:1", "b:2"}},
					{ID: 7, Incarnation: 99, Role: raft.Learner},
				},
				Outgoing: []raft.NodeID{1, 2, 3},
			},
		},
	}
}

// state makes n bytes that are nowhere alike.
func state(n int) []byte {
	p := make([]byte, n)
	x := uint32(1)
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func open(t testing.TB, fs vfs.FS, dir string) *Store {
	t.Helper()
	s, err := Open(Options{FS: fs, Dir: dir, Identity: self, ChunkBytes: 100})
	check(t, err)
	return s
}

func take(s *Store, m raft.SnapshotMeta, id uint64, state []byte) (Info, error) {
	w, err := s.Create(group, m, id)
	if err != nil {
		return Info{}, err
	}
	for part := range slices.Chunk(state, 33) {
		if _, err := w.Write(part); err != nil {
			return Info{}, errors.Join(err, w.Abort())
		}
	}
	return w.Commit()
}

func mustTake(t testing.TB, s *Store, index raft.Index, id uint64, state []byte) Info {
	t.Helper()
	info, err := take(s, meta(index), id, state)
	check(t, err)
	return info
}

func read(s *Store, info Info) ([]byte, error) {
	r, err := s.Open(info)
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(r)
	return p, errors.Join(err, r.Close())
}

func wantState(t testing.TB, s *Store, info Info, want []byte) {
	t.Helper()
	got, err := read(s, info)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("snapshot %v: %d bytes, error %v; want %d bytes as written", info.Meta.ID, len(got), err, len(want))
	}
}

func wantFiles(t testing.TB, fs vfs.FS, dir string, want ...string) {
	t.Helper()
	got, err := fs.List(dir)
	check(t, err)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func raw(t testing.TB, s *Store, info Info) []byte {
	t.Helper()
	f, err := s.OpenFile(info, 0)
	check(t, err)
	p, err := io.ReadAll(f)
	check(t, err)
	check(t, f.Close())
	return p
}

// SN-02, B-14: index, term, configuration and timestamp travel with the state, and
// come back after a restart.
func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 99, 100, 101, 200, 5000} {
		for name, fs := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS()} {
			t.Run(fmt.Sprint(name, " bytes=", n), func(t *testing.T) {
				dir := filepath.ToSlash(t.TempDir())
				s := open(t, fs, dir)
				info := mustTake(t, s, 10, 0xabc, state(n))
				if !reflect.DeepEqual(info.Meta, meta(10)) || info.ID != 0xabc || info.Group != group {
					t.Errorf("committed %+v", info)
				}
				wantState(t, s, info, state(n))
				if got := uint64(len(raw(t, s, info))); got != info.Size {
					t.Errorf("the file has %d bytes, Info.Size is %d", got, info.Size)
				}
				s = open(t, fs, dir)
				again, ok := s.Newest(group)
				if !ok || !reflect.DeepEqual(again, info) {
					t.Errorf("after a restart: %+v, %v; want %+v", again, ok, info)
				}
				wantState(t, s, again, state(n))
				check(t, s.Verify(again))
			})
		}
	}
}

func TestReaderWritesTo(t *testing.T) {
	s := open(t, vfs.NewMem(), "d")
	info := mustTake(t, s, 10, 1, state(1234))
	r, err := s.Open(info)
	check(t, err)
	var head [7]byte
	_, err = io.ReadFull(r, head[:])
	check(t, err)
	var rest bytes.Buffer
	n, err := r.WriteTo(&rest)
	check(t, err)
	if got := append(head[:], rest.Bytes()...); n != int64(1234-7) || !bytes.Equal(got, state(1234)) {
		t.Errorf("WriteTo gave %d bytes that differ from the state", n)
	}
	check(t, r.Close())
}

func TestListAndRemove(t *testing.T) {
	mem := vfs.NewMem()
	mem.RefuseRemoveOpen(true)
	s := open(t, mem, "d")
	var infos []Info
	for _, index := range []raft.Index{30, 10, 20} {
		infos = append(infos, mustTake(t, s, index, uint64(index), state(10)))
	}
	slices.SortFunc(infos, compare)
	if got := s.List(group); !reflect.DeepEqual(got, infos) {
		t.Errorf("List: %v, want %v", got, infos)
	}
	if got := s.Groups(); !slices.Equal(got, []raft.GroupID{group}) {
		t.Errorf("Groups: %v", got)
	}
	_, err := s.Create(group, meta(20), 20)
	if err == nil {
		t.Error("Create of a snapshot that is there: no error")
	}
	// SN-03, B-25: never the last that covers what is asked for.
	wantError(t, "RemoveOlder than what is not here", s.RemoveOlder(group, raft.EntryID{Term: 3, Index: 31}), ErrNoNewer)
	if got := s.List(group); len(got) != 3 {
		t.Errorf("after a refused RemoveOlder: %v", got)
	}
	check(t, s.RemoveOlder(group, raft.EntryID{Term: 3, Index: 20}))
	wantFiles(t, mem, "d", identityFile, infos[1].name().String(), infos[2].name().String())
	_, err = s.Open(infos[0])
	wantError(t, "Open of what was removed", err, ErrNotFound)
	check(t, s.RemoveGroup(group))
	wantFiles(t, mem, "d", identityFile)
	if _, ok := s.Newest(group); ok {
		t.Error("Newest after RemoveGroup")
	}
	// The removal was synced.
	wantFiles(t, mem.Crash(vfs.CrashOptions{}), "d", identityFile)
}

// SN-05: what is being read or sent stays until the last reader has closed, and is
// listed no more.
func TestPins(t *testing.T) {
	mem := vfs.NewMem()
	mem.RefuseRemoveOpen(true)
	s := open(t, mem, "d")
	old := mustTake(t, s, 10, 1, state(1000))
	r, err := s.Open(old)
	check(t, err)
	f, err := s.OpenFile(old, 500)
	check(t, err)
	newer := mustTake(t, s, 20, 2, state(10))
	check(t, s.RemoveOlder(group, newer.Meta.ID))
	if got := s.List(group); len(got) != 1 || got[0].ID != newer.ID {
		t.Errorf("List: %v, want the newer one", got)
	}
	_, err = s.Open(old)
	wantError(t, "Open of what waits for removal", err, ErrNotFound)
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, state(1000)) {
		t.Errorf("the reader gave %d bytes, %v", len(got), err)
	}
	check(t, r.Close())
	check(t, r.Close())
	rest, err := io.ReadAll(f)
	if err != nil || uint64(len(rest)) != old.Size-500 {
		t.Errorf("the transfer gave %d bytes, %v; want %d", len(rest), err, old.Size-500)
	}
	wantFiles(t, mem, "d", identityFile, old.name().String(), newer.name().String())
	check(t, f.Close())
	wantFiles(t, mem, "d", identityFile, newer.name().String())
}

func TestAbort(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "d")
	w, err := s.Create(group, meta(10), 1)
	check(t, err)
	_, err = w.Write(state(1000))
	check(t, err)
	check(t, w.Abort())
	check(t, w.Abort())
	_, err = w.Write(state(1))
	wantError(t, "Write after Abort", err, errEnded)
	wantFiles(t, mem, "d", identityFile)
	info := mustTake(t, s, 10, 1, state(1000))
	wantState(t, s, info, state(1000))
}

// PS-10: a directory of another identity, and a file of another cluster, are
// refused; a file that another node of the cluster made is not.
func TestIdentity(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "d")
	info := mustTake(t, s, 10, 1, state(10))
	for what, id := range map[string]Identity{
		"cluster":     {Cluster: [16]byte{9}, Node: self.Node, Incarnation: self.Incarnation},
		"node":        {Cluster: self.Cluster, Node: 8, Incarnation: self.Incarnation},
		"incarnation": {Cluster: self.Cluster, Node: self.Node, Incarnation: 100},
	} {
		_, err := Open(Options{FS: mem, Dir: "d", Identity: id})
		wantError(t, "another "+what, err, ErrForeign)
	}
	file := raw(t, s, info)
	plant := func(dir string, id Identity) error {
		_, err := Open(Options{FS: mem, Dir: dir, Identity: id})
		check(t, err)
		f, err := mem.Create(dir + "/" + info.name().String())
		check(t, err)
		_, err = f.WriteAt(file, 0)
		check(t, err)
		_, err = Open(Options{FS: mem, Dir: dir, Identity: id})
		return err
	}
	wantError(t, "a file of another cluster", plant("e", Identity{Cluster: [16]byte{9}, Node: 8, Incarnation: 100}), ErrForeign)
	check(t, plant("f", Identity{Cluster: self.Cluster, Node: 8, Incarnation: 100}))

	check(t, mem.Corrupt("d/"+identityFile, 20, 1))
	_, err := Open(Options{FS: mem, Dir: "d", Identity: self})
	wantError(t, "a flipped bit", err, ErrIdentity)
	check(t, mem.Remove("d/"+identityFile))
	_, err = Open(Options{FS: mem, Dir: "d", Identity: self})
	wantError(t, "no identity beside a snapshot", err, ErrIdentity)
}

func TestOpenLeavesStrangers(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "d")
	info := mustTake(t, s, 10, 1, state(10))
	stranger := "0000000000000005-0000000000000001.snapshot"
	for _, name := range []string{"README", stranger, "x.writing"} {
		_, err := mem.Create("d/" + name)
		check(t, err)
	}
	s = open(t, mem, "d")
	wantFiles(t, mem, "d", identityFile, info.name().String(), "README", stranger, "x.writing")
	if len(s.List(group)) != 1 || len(s.Damaged(group)) != 0 {
		t.Errorf("List %v, Damaged %v", s.List(group), s.Damaged(group))
	}
}

// A full disk while a snapshot is written leaves nothing behind but the error
// (SN-14), and the older snapshot.
func TestNoSpace(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, "d")
	old := mustTake(t, s, 10, 1, state(1000))
	for room := int64(0); room < 1500; room += 50 {
		mem.SetCapacity(mem.Used() + room)
		info, err := take(s, meta(20), 2, state(1000))
		if err == nil {
			check(t, s.Verify(info))
			check(t, s.RemoveOlder(group, info.Meta.ID))
			return
		}
		wantError(t, "full disk", err, vfs.ErrNoSpace)
		wantFiles(t, mem, "d", identityFile, old.name().String())
	}
	t.Error("never enough room")
}

// PS-07, SF-07: a snapshot counts only if its sync succeeded and it was read back
// as it was written.
func TestCommitRefusesBadDisk(t *testing.T) {
	broken := errors.New("input/output error")
	for name, c := range map[string]struct {
		hook func(vfs.Op) vfs.Fault
		want error
	}{
		"failed sync": {func(op vfs.Op) (f vfs.Fault) {
			if op.Kind == vfs.OpSync {
				f.Err = broken
			}
			return f
		}, broken},
		"lost write": {func(op vfs.Op) vfs.Fault {
			return vfs.Fault{Lost: op.Kind == vfs.OpWrite && op.Offset > 300 && op.Offset < 500}
		}, ErrCorrupt},
		"misdirected write": {func(op vfs.Op) vfs.Fault {
			return vfs.Fault{Misdirect: op.Kind == vfs.OpWrite && op.Offset > 300 && op.Offset < 500, Offset: 1024}
		}, ErrCorrupt},
		"failed read": {func(op vfs.Op) (f vfs.Fault) {
			if op.Kind == vfs.OpRead {
				f.Err = broken
			}
			return f
		}, broken},
		"failed rename": {func(op vfs.Op) (f vfs.Fault) {
			if op.Kind == vfs.OpRename {
				f.Err = broken
			}
			return f
		}, broken},
		"failed sync of the directory": {func(op vfs.Op) (f vfs.Fault) {
			if op.Kind == vfs.OpSyncDir {
				f.Err = broken
			}
			return f
		}, broken},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			s := open(t, mem, "d")
			old := mustTake(t, s, 10, 1, state(1000))
			mem.SetHook(c.hook)
			_, err := take(s, meta(20), 2, state(1000))
			wantError(t, "Commit", err, c.want)
			mem.SetHook(nil)
			if got, _ := s.Newest(group); got.ID != old.ID {
				t.Errorf("Newest is %v, want the old one", got)
			}
			wantFiles(t, mem, "d", identityFile, old.name().String())
		})
	}
}

// SF-07: a file that reads back as an intact snapshot, but not as the one that
// was written, does not count.
func TestCommitRefusesAnotherSnapshot(t *testing.T) {
	mem := vfs.NewMem()
	later := meta(10)
	later.MaxTimestamp++
	s := open(t, mem, "other")
	other, err := take(s, later, 1, state(1000))
	check(t, err)
	file := raw(t, s, other)

	s = open(t, mem, "d")
	mem.SetHook(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpSync {
			f, err := mem.Open(op.Name)
			check(t, err)
			_, err = f.WriteAt(file, 0)
			check(t, err)
		}
		return vfs.Fault{}
	})
	_, err = take(s, meta(10), 1, state(1000))
	wantError(t, "Commit", err, ErrMismatch)
	if _, ok := s.Newest(group); ok {
		t.Error("a snapshot is listed")
	}
}

func TestConcurrentUse(t *testing.T) {
	s := open(t, vfs.NewMem(), "d")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			for n := range 10 {
				index := raft.Index(1 + n*len(errs) + i)
				info, err := take(s, meta(index), uint64(index), state(500))
				if err == nil {
					_, err = read(s, info)
				}
				if errors.Is(err, ErrNotFound) { // removed by one that is newer
					err = nil
				}
				if err := errors.Join(err, s.RemoveOlder(group, info.Meta.ID)); err != nil && !errors.Is(err, ErrNoNewer) {
					errs[i] = err
				}
			}
		})
	}
	wg.Wait()
	check(t, errors.Join(errs...))
	newest, ok := s.Newest(group)
	if !ok || newest.Meta.ID.Index != 80 {
		t.Errorf("Newest: %v, want index 80", newest)
	}
	wantState(t, s, newest, state(500))
}

func TestOpenRefusesChunkBytes(t *testing.T) {
	for _, n := range []int{-1, ChunkMax + 1} {
		if _, err := Open(Options{FS: vfs.NewMem(), Dir: "d", Identity: self, ChunkBytes: n}); err == nil {
			t.Errorf("ChunkBytes %d: no error", n)
		}
	}
}
