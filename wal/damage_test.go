package wal

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"testing"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// chain makes entries of one group, chained.
type chain struct {
	group raft.GroupID
	last  raft.Index
	sum   uint32
}

func (c *chain) next(n, payload int) Update {
	u := Update{Group: c.group, First: c.last + 1, Last: c.last + raft.Index(n)}
	for range n {
		c.last++
		e := entry.Entry{Term: 1, Index: c.last, Kind: entry.Command, Prev: c.sum, Payload: make([]byte, payload)}
		for i := range e.Payload {
			e.Payload[i] = byte(uint64(c.group)*7 + uint64(c.last)*31 + uint64(i)*13)
		}
		var b []byte
		b, c.sum = e.AppendTo(nil)
		u.Entries = append(u.Entries, b)
	}
	return u
}

func write(t testing.TB, w *WAL, ms models, updates ...Update) {
	t.Helper()
	for i := range updates {
		if ms != nil {
			ms.apply(&updates[i])
		}
	}
	if err := w.Write(updates); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
}

// place gives where the newest batch of the segment in use lies, in bytes.
func place(w *WAL, before func()) (file string, dataAt, dataEnd, idAt, idEnd int64) {
	seg := w.segments[len(w.segments)-1]
	front, back := seg.front, seg.back
	before()
	if last := w.segments[len(w.segments)-1]; last != seg {
		seg = last
		front, back = seg.header.regions()
	}
	return path.Join("wal", seg.name), int64(front) * sectorSize, int64(seg.front) * sectorSize, int64(seg.back) * sectorSize, int64(back) * sectorSize
}

func size(t testing.TB, disk *vfs.Mem, name string) int64 {
	t.Helper()
	f, err := disk.OpenRead(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	n, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// harmless says what is wrong after damage: every group is as it was, or has a
// fault, or the directory is refused.
func harmless(disk *vfs.Mem, ms models) (faulty bool, err error) {
	w, err := Open(testOptions(disk))
	if err != nil {
		return true, nil
	}
	states := w.Groups()
	seen := map[raft.GroupID]bool{}
	for i := range states {
		s := &states[i]
		seen[s.Group] = true
		if len(s.Faults) > 0 {
			faulty = true
			continue
		}
		if ms[s.Group] == nil {
			return false, fmt.Errorf("group %d was never written", s.Group)
		}
		if d := ms[s.Group].diff(w, s); d != "" {
			return false, fmt.Errorf("group %d: %s", s.Group, d)
		}
	}
	for id := range ms {
		if !seen[id] {
			return false, fmt.Errorf("group %d is silently gone", id)
		}
	}
	return faulty, w.Close()
}

// PS-05, SF-01: every byte of every file, changed, is found or harmless; never is an acknowledged entry wrong or silently missing, and one
// bad byte alone never costs a whole batch its description.
func TestFlipEveryByte(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(disk)
	o.SegmentSizeBytes = 6 << 10
	w := mustOpen(t, o)
	ms := models{}
	a, b := chain{group: 1}, chain{group: 2}
	for range 4 {
		write(t, w, ms, a.next(2, 100), b.next(1, 300))
	}
	write(t, w, ms, Update{Group: 3, HardState: raft.HardState{CurrentTerm: 7, VotedFor: 2}, HardStateChanged: true})
	write(t, w, ms, a.next(1, 900))
	write(t, w, ms, Update{Group: 2, Compact: 3, Reset: raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: 2}}})
	if err := w.Prepare(); err != nil {
		t.Fatal(err)
	}
	write(t, w, ms, b.next(2, 10))
	if n := len(w.segments); n < 2 {
		t.Fatalf("%d segments", n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := disk.List("wal")
	if err != nil {
		t.Fatal(err)
	}
	flips, faults := 0, 0
	for _, name := range names {
		name = path.Join("wal", name)
		for at := range size(t, disk, name) {
			mask := []byte{0x01, 0xff, 0x80}[at%3]
			damaged := disk.CrashClone(vfs.CrashOptions{Data: vfs.KeepAll, Entries: vfs.KeepAll})
			if err := damaged.Corrupt(name, at, mask); err != nil {
				t.Fatal(err)
			}
			faulty, err := harmless(damaged, ms)
			if err != nil {
				t.Fatalf("%s offset %d mask %02x: %v", name, at, mask, err)
			}
			flips++
			if faulty {
				faults++
			}
		}
	}
	t.Logf("%d flips, %d made a group faulty", flips, faults)
	if faults == 0 {
		t.Error("no flip was found")
	}
}

// SF-01, SF-02: a whole sector lost, zeroed or replaced by another one, at every
// place.
func TestEverySectorReplaced(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	ms := models{}
	a, b := chain{group: 1}, chain{group: 2}
	for range 12 {
		write(t, w, ms, a.next(3, 200), b.next(1, 20))
	}
	// What follows proves that all before it was durable.
	write(t, w, ms, Update{Group: 1, HardState: raft.HardState{CurrentTerm: 1}, HardStateChanged: true},
		Update{Group: 2, HardState: raft.HardState{CurrentTerm: 1}, HardStateChanged: true})
	seg := w.segments[len(w.segments)-1]
	lastData, lastID := int64(seg.front)-1, int64(seg.back)
	name := path.Join("wal", seg.name)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, size(t, disk, name))
	f, err := disk.OpenRead(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := readFull(f, content, 0); err != nil {
		t.Fatal(err)
	}
	sectors := int64(len(content)) / sectorSize
	for at := range sectors {
		if at == lastData || at == lastID {
			continue // a lost write of the very last batch is a torn tail
		}
		for from := range sectors + 1 {
			sector := make([]byte, sectorSize)
			if from < sectors {
				copy(sector, content[from*sectorSize:])
			}
			damaged := disk.CrashClone(vfs.CrashOptions{Data: vfs.KeepAll})
			g, err := damaged.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.WriteAt(sector, at*sectorSize); err != nil {
				t.Fatal(err)
			}
			if _, err := harmless(damaged, ms); err != nil {
				t.Fatalf("sector %d in the place of %d: %v", from, at, err)
			}
		}
	}
}

// SF-02, PROTOCOL.md G.2: {data ok, bad, absent} x {identity ok, bad, absent} x
// {something after, nothing}.
func TestVerdicts(t *testing.T) {
	const ok, bad, absent = "ok", "bad", "absent"
	const kept, faultyEntry, unknown, cut = "kept", "faulty entry", "unknown", "cut"
	for _, tt := range []struct {
		data, identity string
		after          bool
		want           string
	}{
		{ok, ok, false, kept},
		{ok, ok, true, kept},
		{ok, bad, false, kept},
		{ok, bad, true, kept},
		{ok, absent, false, kept},
		{ok, absent, true, kept},
		{bad, absent, false, cut},
		{absent, absent, false, cut},
		{absent, ok, false, cut}, // only the identity reached the disk
		{absent, bad, false, cut},
		{bad, ok, false, faultyEntry},
		{bad, ok, true, faultyEntry},
		{absent, ok, true, faultyEntry}, // a write that the disk confirmed and lost
		{bad, bad, false, unknown},
		{bad, bad, true, unknown},
		{bad, absent, true, unknown},
		{absent, bad, true, unknown},
		{absent, absent, true, unknown},
	} {
		name := fmt.Sprintf("data %s, identity %s, after %v", tt.data, tt.identity, tt.after)
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			w := mustOpen(t, testOptions(disk))
			ms := models{}
			c := chain{group: 1}
			write(t, w, ms, c.next(2, 100))
			before := ms.clone()
			file, dataAt, dataEnd, idAt, idEnd := place(w, func() { write(t, w, ms, c.next(3, 300)) })
			if tt.after {
				// Another group's: what the lost batch held of group 1 is not told again.
				other := chain{group: 2}
				write(t, w, ms, other.next(1, 10))
			}
			spoil := func(how string, from, to int64) {
				f, err := disk.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				switch how {
				case absent:
					_, err = f.WriteAt(make([]byte, to-from), from)
				case bad:
					for at := from; at < to && err == nil; at += sectorSize {
						err = disk.Corrupt(file, at+100, 0x55)
					}
				}
				if err = errors.Join(err, f.Close()); err != nil {
					t.Fatal(err)
				}
			}
			spoil(tt.data, dataAt, dataEnd)
			spoil(tt.identity, idAt, idEnd)
			for range 2 { // the same verdict when it is opened again
				disk = disk.Crash(vfs.CrashOptions{Data: vfs.KeepAll, Entries: vfs.KeepAll})
				w = mustOpen(t, testOptions(disk))
				s, _ := w.Group(1)
				switch tt.want {
				case kept:
					if d := ms.diff(w); d != "" {
						t.Fatal(d)
					}
				case cut:
					if d := before.diff(w); d != "" {
						t.Fatal(d)
					}
				case faultyEntry:
					if s.Last != 5 || len(s.Faults) == 0 || s.Faults[0].Verdict != FaultyEntry || s.Faults[0].Index < 3 ||
						path.Join("wal", s.Faults[0].File) != file || s.Faults[0].Offset < dataAt || s.Faults[0].Offset >= dataEnd {
						t.Fatalf("%+v", s)
					}
					if _, _, err := w.Read(1, s.Faults[0].Index, 5, 1<<20, nil); !errors.Is(err, ErrCorrupt) {
						t.Fatalf("read of a faulty entry: %v", err)
					}
				case unknown:
					if !slices.ContainsFunc(s.Faults, func(f Fault) bool { return f.Verdict == Unknown }) {
						t.Fatalf("%+v", s)
					}
				}
				if g, found := w.Group(2); tt.after && (!found || len(g.Faults) > 0) {
					t.Fatalf("the other group: %+v", g)
				}
				if len(s.Faults) > 0 && !tt.after {
					// A one-voter group may cut such a tail, and goes on.
					again := disk.CrashClone(vfs.CrashOptions{Data: vfs.KeepAll, Entries: vfs.KeepAll})
					cutTail(t, again)
				}
			}
		})
	}
}

func cutTail(t *testing.T, disk *vfs.Mem) {
	t.Helper()
	w := mustOpen(t, testOptions(disk))
	if err := w.CutTail(1); err != nil {
		t.Fatal(err)
	}
	s, _ := w.Group(1)
	if len(s.Faults) > 0 || s.Last < 2 || s.Last > 4 {
		t.Fatalf("after the cut: %+v", s)
	}
	c := chain{group: 1, last: s.Last, sum: s.LastChecksum}
	write(t, w, nil, c.next(2, 50))
	disk = disk.Crash(vfs.CrashOptions{})
	w = mustOpen(t, testOptions(disk))
	if s, _ := w.Group(1); len(s.Faults) > 0 || s.Last != c.last {
		t.Fatalf("opened again: %+v", s)
	}
	got, last, err := w.Read(1, 1, c.last, 1<<20, nil)
	if err != nil || last != c.last {
		t.Fatalf("read to %d: %v", last, err)
	}
	if _, err := entry.VerifyChain(entry.Link{}, got); err != nil {
		t.Fatal(err)
	}
}

// SF-02: two copies that are each intact and contradict each other.
func TestMisdirected(t *testing.T) {
	// Two logs that differ in one payload only; the data of the one is put into
	// the place of the data of the other.
	make1 := func(fill byte) (*vfs.Mem, string, []byte, int64) {
		disk := vfs.NewMem()
		w := mustOpen(t, testOptions(disk))
		e := entry.Entry{Term: 1, Index: 1, Kind: entry.Command, Payload: []byte{fill}}
		b, _ := e.AppendTo(nil)
		file, at, end, _, _ := place(w, func() { write(t, w, nil, Update{Group: 1, First: 1, Last: 1, Entries: [][]byte{b}}) })
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := disk.OpenRead(file)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, end-at)
		if err := readFull(f, data, at); err != nil {
			t.Fatal(err)
		}
		return disk, file, data, at
	}
	disk, file, _, at := make1(1)
	_, _, other, _ := make1(2)
	f, err := disk.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(other, at); err != nil {
		t.Fatal(err)
	}
	w := mustOpen(t, testOptions(disk))
	s, _ := w.Group(1)
	if len(s.Faults) != 1 || s.Faults[0].Verdict != Misdirected {
		t.Fatalf("%+v", s)
	}
}

// SF-08 in part, PS-03: the hard state stands twice; one bad copy costs nothing.
func TestHardStateHasTwoCopies(t *testing.T) {
	for _, identity := range []bool{false, true} {
		disk := vfs.NewMem()
		w := mustOpen(t, testOptions(disk))
		ms := models{}
		file, dataAt, dataEnd, idAt, idEnd := place(w, func() {
			write(t, w, ms, Update{Group: 1, HardState: raft.HardState{CurrentTerm: 9, VotedFor: 3}, HardStateChanged: true})
		})
		from, to := dataAt, dataEnd
		if identity {
			from, to = idAt, idEnd
		}
		for at := from; at < to; at += 64 {
			if err := disk.Corrupt(file, at, 0x3c); err != nil {
				t.Fatal(err)
			}
		}
		disk = disk.Crash(vfs.CrashOptions{})
		w = mustOpen(t, testOptions(disk))
		if d := ms.diff(w); d != "" {
			t.Fatal(d)
		}
		if len(w.Damages()) != 1 || w.Damages()[0].Verdict != Mended {
			t.Fatalf("damages %v", w.Damages())
		}
	}
}

// A file of the log that is gone is found, wherever it was.
func TestMissingSegment(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	ms := models{}
	c := chain{group: 1}
	for len(w.segments) < 4 {
		write(t, w, ms, c.next(3, 500))
	}
	for _, seg := range w.segments[:3] {
		damaged := disk.CrashClone(vfs.CrashOptions{})
		if err := damaged.Remove(path.Join("wal", seg.name)); err != nil {
			t.Fatal(err)
		}
		if faulty, err := harmless(damaged, ms); err != nil || !faulty {
			t.Fatalf("without %s: faulty %v, %v", seg.name, faulty, err)
		}
	}
}
