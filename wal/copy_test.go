package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
	"github.com/quorate/quorate/wal"
)

// Entries that were written one by one are copied together: a copy that was not
// smaller than what it replaces would never end (found by simulation, seed 11).
func TestMaintainEndsWithSmallEntries(t *testing.T) {
	w, err := wal.Open(wal.Options{
		FS: vfs.NewMem(), Dir: "wal", SegmentSizeBytes: 16 << 10,
		Identity: wal.Identity{Node: 1, Incarnation: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const entries = 1000
	calls, prev := 0, uint32(0)
	for i := raft.Index(1); i <= entries; i++ {
		e := entry.Entry{Term: 1, Index: i, Kind: entry.Command, Prev: prev, Payload: make([]byte, 60)}
		data, sum := e.AppendTo(nil)
		prev = sum
		err := w.Write([]wal.Update{{
			Group: 1, HardState: raft.HardState{CurrentTerm: 1}, HardStateChanged: i == 1,
			First: i, Last: i, Runs: []raft.TermRun{{First: i, Term: 1}}, Entries: [][]byte{data},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		for more := true; more; calls++ {
			if calls > 3*entries {
				t.Fatalf("after %d entries and %d calls Maintain would still go on: %+v", i, calls, w.Stats())
			}
			if more, err = w.Maintain(64 << 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := w.Stats(); s.CopiedBytes > s.BytesWritten/2 || s.Bytes > 6*s.LiveBytes {
		t.Errorf("%+v: copied more than half of what was written, or occupies more than 6 times what is live", s)
	}
	var next raft.Index = 1
	for next <= entries {
		_, last, err := w.Read(1, next, entries, 1<<20, nil)
		if err != nil {
			t.Fatal(err)
		}
		next = last + 1
	}
}

// A damaged copy does no harm while what it was copied from is still there. Power
// lost within a sector of a copy looks like that (found by simulation, seed 1363).
func TestDamagedCopyOfWhatIsStillThere(t *testing.T) {
	disk := vfs.NewMem()
	o := wal.Options{FS: disk, Dir: "wal", SegmentSizeBytes: 16 << 10, Identity: wal.Identity{Node: 1, Incarnation: 1}}
	w, err := wal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	write := func(group raft.GroupID, i raft.Index, prev uint32, payload []byte) uint32 {
		t.Helper()
		e := entry.Entry{Term: 1, Index: i, Kind: entry.Command, Prev: prev, Payload: payload}
		data, sum := e.AppendTo(nil)
		err := w.Write([]wal.Update{{
			Group: group, HardState: raft.HardState{CurrentTerm: 1}, HardStateChanged: i == 1,
			First: i, Last: i, Runs: []raft.TermRun{{First: i, Term: 1}}, Entries: [][]byte{data},
		}})
		if err == nil {
			err = w.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	// A cold group with one entry, and a hot one that is compacted all the time.
	cold := []byte("the entry of the cold group, which is long enough to be found")
	write(1, 1, 0, cold)
	prev := uint32(0)
	for i := raft.Index(1); w.Stats().CopiedBytes == 0; i++ {
		if i > 1000 {
			t.Fatal("nothing is ever copied")
		}
		prev = write(2, i, prev, make([]byte, 300))
		if i%10 == 0 {
			if err := w.Write([]wal.Update{{Group: 2, Compact: i, Reset: raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: i}}}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Maintain(64 << 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
	places := find(t, disk, cold)
	if len(places) != 2 {
		t.Fatalf("the cold entry stands at %v, want the original and a copy", places)
	}
	for k, want := range []int{1, 0} { // damage to the copy, then to both
		p := places[len(places)-1-k]
		if err := disk.Corrupt(p.name, p.offset+10, 0x40); err != nil {
			t.Fatal(err)
		}
		w, err := wal.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		g, _ := w.Group(1)
		data, _, err := w.Read(1, 1, 1, 1<<10, nil)
		if intact := len(g.Faults) == 0 && err == nil && bytes.Contains(data, cold); intact != (want == 1) {
			t.Errorf("%d copies damaged: faults %v, read %v", k+1, g.Faults, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

type place struct {
	name   string
	offset int64
}

// find gives where the log's files hold some bytes, in the order of their names.
func find(t *testing.T, disk *vfs.Mem, want []byte) []place {
	t.Helper()
	names, err := disk.List("wal")
	if err != nil {
		t.Fatal(err)
	}
	var places []place
	for _, name := range names {
		name = fmt.Sprintf("wal/%s", name)
		f, err := disk.OpenRead(name)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if at := bytes.Index(b, want); at >= 0 {
			places = append(places, place{name, int64(at)})
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return places
}
