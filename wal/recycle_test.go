package wal

import (
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// recycled gives a log whose segment in use was another before, with room left in
// it, and what the log holds.
func recycled(t *testing.T, disk *vfs.Mem) (*WAL, *chain, models) {
	t.Helper()
	w := mustOpen(t, testOptions(disk))
	ms := models{}
	c := &chain{group: 1}
	for range 1000 {
		write(t, w, ms, c.next(2, 200))
		write(t, w, ms, Update{Group: 1, Compact: c.last, Reset: raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: c.last - 1}}})
		if _, err := w.Maintain(1 << 20); err != nil {
			t.Fatal(err)
		}
		if seg := w.segments[len(w.segments)-1]; !seg.header.Fresh && seg.room() > 16 && seg.front > seg.header.DataStart {
			return w, c, ms
		}
	}
	t.Fatal("no file was recycled")
	return nil, nil, nil
}

// The table of a recycled segment says what each of its sectors held before.
func TestPreImageOfEverySector(t *testing.T) {
	w, _, _ := recycled(t, vfs.NewMem())
	var buf []byte
	seg := w.segments[len(w.segments)-1]
	s, _, err := openScanner(w.make.fs.OpenRead, w.make.dir, seg.name, seg.header.Sequence, buf)
	if err != nil {
		t.Fatal(err)
	}
	for at := seg.front; at < seg.back; at++ {
		if !s.untouched(at) {
			before, ok := s.before(at)
			t.Fatalf("sector %d was not written, and is %v where the table has %v (%t)", at, fingerprintOf(s.sector(at)), before, ok)
		}
	}
	for at := seg.header.DataStart; at < seg.front; at++ {
		if s.untouched(at) {
			t.Fatalf("sector %d was written, and is as it was before", at)
		}
	}
}

// A batch that was torn in a recycled segment is told from a damaged one, as in
// a fresh one, and the log goes on in that segment if nothing of it arrived
// (PS-04).
func TestTornInARecycledSegment(t *testing.T) {
	disk := vfs.NewMem()
	w, c, ms := recycled(t, disk)
	segments := len(w.segments)
	r := &run{s: newScript(1), disk: disk, acked: ms.clone()}
	u := c.next(3, 300)
	ms.apply(&u)
	r.later = []models{ms}
	if err := w.Write([]Update{u}); err != nil {
		t.Fatal(err)
	}
	for _, keep := range vfs.Keeps() {
		torn := keep == vfs.KeepTorn || keep == vfs.KeepMixed
		for seed := range uint64(20) {
			undecided, err := r.check(disk.CrashClone(crashOptions(keep, seed)))
			if err != nil || undecided > 0 && !torn {
				t.Fatalf("kept %v (seed %d): %d faults, %v", keep, seed, undecided, err)
			}
		}
	}
	w = mustOpen(t, testOptions(disk.CrashClone(vfs.CrashOptions{})))
	if n := len(w.segments); n != segments || w.segments[n-1].header.Fresh {
		t.Errorf("%d segments where there were %d: the log did not go on in the recycled one", n, segments)
	}
}
