package tracelog

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/raft/quorum"
)

// The line of a record, as docs/trace-format.md describes it. It is read for ever.
func TestRecord(t *testing.T) {
	voters := quorum.Voters[raft.NodeID]{Incoming: []raft.NodeID{1, 2}, Outgoing: []raft.NodeID{3}}
	for _, test := range []struct {
		record Record
		want   string
	}{
		{Record{Node: 1, Seq: 1, Group: 2, Event: raft.Event{Kind: raft.Heard}}, `{"node":1,"seq":1,"group":2,"kind":"heard","state":"follower"}`},
		{
			Record{Node: 1, Boot: 2, Seq: 3, Time: 4, Group: 5, Event: raft.Event{
				Kind: raft.VoteRefused, Reason: raft.LogBehind, Term: 6, State: raft.Candidate, Peer: 7,
				ID: raft.EntryID{Term: 8, Index: 9}, Own: raft.EntryID{Term: 10, Index: 11}, Index: 12,
			}},
			`{"node":1,"boot":2,"seq":3,"time":4,"group":5,"kind":"vote-refused","reason":"its log is behind","term":6,"state":"candidate","peer":7,"id":"8.9","own":"10.11","index":12}`,
		},
		{
			Record{Node: 1, Seq: 1, Group: 1, Event: raft.Event{Kind: raft.ConfigurationChanged, Voters: &voters}},
			`{"node":1,"seq":1,"group":1,"kind":"configuration-changed","state":"follower","voters":[1,2],"outgoing":[3]}`,
		},
	} {
		if got := string(test.record.AppendTo(nil)); got != test.want+"\n" {
			t.Errorf("got %swant %s", got, test.want)
		}
	}
}

// The newest records are kept, in order and with their numbers.
func TestRing(t *testing.T) {
	now := int64(100)
	for _, test := range []struct {
		added int
		want  []uint64 // numbers
	}{
		{0, nil}, {2, []uint64{1, 2}}, {3, []uint64{1, 2, 3}}, {7, []uint64{5, 6, 7}},
	} {
		r := NewRing(9, 8, 3, func() int64 { now++; return now })
		for i := range test.added {
			r.Trace(4, 9, raft.Event{Kind: raft.Committed, Index: raft.Index(i + 1)})
		}
		var out bytes.Buffer
		n, err := r.WriteTo(&out)
		if err != nil || n != int64(out.Len()) {
			t.Fatalf("%d added: %d bytes of %d, %v", test.added, n, out.Len(), err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if lines[0] != `{"format":"quorate-trace","version":1,"complete":false}` || len(lines) != 1+len(test.want) {
			t.Fatalf("%d added: %q", test.added, lines)
		}
		for i, seq := range test.want {
			if want := fmt.Sprintf(`"boot":8,"seq":%d,`, seq); !strings.Contains(lines[1+i], want) || !strings.Contains(lines[1+i], fmt.Sprintf(`"index":%d}`, seq)) {
				t.Errorf("%d added: line %q, want %s", test.added, lines[1+i], want)
			}
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestWriteErrors(t *testing.T) {
	r := NewRing(1, 1, 4, func() int64 { return 1 })
	if _, err := r.WriteTo(full{}); err == nil {
		t.Error("an empty ring was written to what takes nothing")
	}
	r.Trace(1, 1, raft.Event{Kind: raft.Heard})
	if _, err := r.WriteTo(full{}); err == nil {
		t.Error("a ring was written to what takes nothing")
	}
	w := NewWriter(full{})
	w.Add(Record{})
	if err := w.Close(); err == nil {
		t.Error("a writer does not tell that nothing was written")
	}
}

// To keep an event allocates nothing.
func TestRingAllocatesNothing(t *testing.T) {
	r := NewRing(1, 1, 64, func() int64 { return 1 })
	if n := testing.AllocsPerRun(100, func() { r.Trace(1, 1, raft.Event{Kind: raft.Heard}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRing(b *testing.B) {
	r := NewRing(1, 1, 1<<14, func() int64 { return 1 })
	b.ReportAllocs()
	for b.Loop() {
		r.Trace(1, 1, raft.Event{Kind: raft.Heard})
	}
}
