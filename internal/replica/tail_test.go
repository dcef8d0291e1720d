package replica

import (
	"testing"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/wal"
)

// encoded gives entries [first, last] of a term, one byte of payload each.
func encoded(term raft.Term, first, last raft.Index, prev uint32) ([]byte, uint32) {
	var b []byte
	for i := first; i <= last; i++ {
		e := entry.Entry{Term: term, Index: i, Kind: entry.Command, Prev: prev, Payload: []byte{byte(i)}}
		b, prev = e.AppendTo(b)
	}
	return b, prev
}

// PS-06, CM-06: what is read back from the log stops where the memory begins. The
// log on disk may still have entries there that were truncated, until the write
// that replaces them is done.
func TestReadsStopWhereTheMemoryBegins(t *testing.T) {
	members := []raft.Member{{ID: 1, Role: raft.Voter}, {ID: 2, Role: raft.Voter}, {ID: 3, Role: raft.Voter}}
	_, sum8 := encoded(2, 2, 8, 1)
	r, err := New(Config{
		Group: 1, Raft: raft.Config{ID: 1}, MaxBatchBytes: 1 << 20, MaxUnappliedBytes: 1 << 20, SnapshotBytes: 1 << 30,
	}, Restored{Log: wal.GroupState{
		HardState: raft.HardState{CurrentTerm: 2}, First: 1, Last: 10,
		Runs:           []raft.TermRun{{First: 1, Term: 1}, {First: 2, Term: 2}},
		Configurations: []raft.ConfigurationEntry{{ID: raft.EntryID{Term: 1, Index: 1}, Configuration: raft.Configuration{Members: members}}},
		LastChecksum:   7,
	}})
	if err != nil {
		t.Fatal(err)
	}
	var out Output
	r.Start(&out)
	data, _ := encoded(3, 9, 12, sum8)
	err = r.Receive(transport.Envelope{Group: 1, Entries: [][]byte{data}, Message: raft.Message{From: 2, To: 1, Body: &raft.AppendEntries{
		Term: 3, Prev: raft.EntryID{Term: 2, Index: 8}, Last: 12, Runs: []raft.TermRun{{First: 9, Term: 3}}, Commit: 12,
	}}}, &out)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.LogReads) != 1 || out.LogReads[0].First != 1 || out.LogReads[0].Last != 8 {
		t.Fatalf("reads %+v, want entries 1 to 8: 9 and on are in memory alone", out.LogReads)
	}
}

// The tail against a plain slice of entries.
func TestTailHoldsTheNewestEntries(t *testing.T) {
	var tl tail
	at := func(first, last raft.Index) []byte { b, _ := encoded(1, first, last, 0); return b }
	tl.append(1, 4, at(1, 4))
	tl.append(5, 5, at(5, 5))
	tl.append(6, 9, at(6, 9))
	one := entry.Size(1)
	for _, c := range []struct {
		first, last raft.Index
		max         int
		want        raft.Index // last taken; zero: not held
	}{
		{1, 9, 1 << 20, 9},
		{2, 7, 1 << 20, 7},
		{3, 9, 2 * one, 4},
		{3, 9, 4*one + 1, 6},
		{6, 9, 1, 6}, // one entry in any case
		{10, 12, 1 << 20, 0},
	} {
		pieces, last, bytes, ok := tl.slice(nil, c.first, c.last, c.max)
		if !ok {
			last = 0
		}
		n, total := c.first, 0
		for _, p := range pieces {
			for e, err := range entry.All(p) {
				if err != nil || e.Index != n {
					t.Fatalf("slice(%d, %d, %d): entry %d where %d belongs, %v", c.first, c.last, c.max, e.Index, n, err)
				}
				n++
			}
			total += len(p)
		}
		if last != c.want || (ok && (n != last+1 || total != bytes)) {
			t.Errorf("slice(%d, %d, %d): up to %d, %d bytes of %d, want up to %d", c.first, c.last, c.max, last, total, bytes, c.want)
		}
	}
	tl.evict(5*one, 5)
	if got := tl.before(9); got != 4 {
		t.Errorf("after evicting the memory begins after %d, want 4", got)
	}
	tl.truncate(8)
	if _, last, _, _ := tl.slice(nil, 5, 20, 1<<20); last != 7 || tl.bytes != 3*one {
		t.Errorf("after truncating from 8 the tail ends at %d with %d bytes", last, tl.bytes)
	}
	tl.append(20, 21, at(20, 21)) // not behind it: the gap is not kept
	if _, _, _, ok := tl.slice(nil, 7, 21, 1<<20); ok || tl.bytes != 2*one {
		t.Errorf("the tail holds something before a gap, %d bytes", tl.bytes)
	}
}
