package wal_test

import (
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
