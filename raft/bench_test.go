package raft

import (
	"fmt"
	"testing"
)

// three is a group of three replicas in memory whose runtime costs next to
// nothing: it moves messages by hand and calls every write durable at once.
type three struct {
	nodes [3]*Raft
	queue []Message
}

func newThree(tb testing.TB) *three {
	tb.Helper()
	g := &three{}
	configuration := ConfigurationEntry{ID: EntryID{Term: 1, Index: 1}, Configuration: voters(1, 2, 3)}
	for i := range g.nodes {
		r, err := New(Config{ID: NodeID(i + 1)}, Restored{
			HardState: HardState{CurrentTerm: 1}, First: 1, Last: 1,
			Runs: []TermRun{{First: 1, Term: 1}}, Configurations: []ConfigurationEntry{configuration},
		})
		if err != nil {
			tb.Fatal(err)
		}
		g.nodes[i] = r
		g.take(r, r.Start())
	}
	g.take(g.nodes[0], g.nodes[0].Step(&Campaign{}))
	g.run()
	if g.nodes[0].State() != Leader {
		tb.Fatal("no leader")
	}
	return g
}

func (g *three) take(r *Raft, e *Effects) {
	seq := e.Persist.Seq
	from := len(g.queue)
	g.queue = append(append(g.queue, e.Send...), e.AfterSync...)
	to := len(g.queue)
	if seq != 0 {
		g.take(r, r.Step(&Persisted{Seq: seq}))
	}
	for i := from; i < to; i++ {
		if m, ok := g.queue[i].Body.(*AppendEntries); ok && m.Last > m.Prev.Index {
			g.take(r, r.Step(&Sent{Peer: g.queue[i].To, Last: m.Last, Bytes: 128}))
		}
	}
}

func (g *three) run() {
	for i := 0; i < len(g.queue); i++ {
		in := Receive{Message: g.queue[i]}
		r := g.nodes[in.Message.To-1]
		g.take(r, r.Step(&in))
	}
	g.queue = g.queue[:0]
}

// BenchmarkPropose is a proposal from the leader to its commitment on all three
// replicas, with all that every core does for it.
func BenchmarkPropose(b *testing.B) {
	check := checkEverything
	checkEverything = false
	defer func() { checkEverything = check }()
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			g := newThree(b)
			leader := g.nodes[0]
			propose := Propose{Count: batch, Bytes: batch * 128}
			b.ReportAllocs()
			for b.Loop() {
				g.take(leader, leader.Step(&propose))
				g.run()
				applied := Applied{Index: leader.CommitIndex()}
				for _, r := range g.nodes {
					if r.CommitIndex() != leader.LastIndex() {
						b.Fatalf("replica %d committed %d of %d", r.ID(), r.CommitIndex(), leader.LastIndex())
					}
					g.take(r, r.Step(&applied))
				}
			}
		})
	}
}

// TestProposeAllocatesOnlyMessages: at a leader of three, a proposal in the
// steady state costs no more than the messages' bodies.
func TestProposeAllocatesOnlyMessages(t *testing.T) {
	g := newThree(t)
	leader := g.nodes[0]
	propose := &Propose{Count: 64, Bytes: 64 * 128}
	var last Index
	sent := [2]*Sent{{Peer: 2, Bytes: 8192}, {Peer: 3, Bytes: 8192}}
	response := &AppendEntriesResponse{Success: true}
	answers := [2]*Receive{
		{Message: Message{From: 2, To: 1, Body: response}},
		{Message: Message{From: 3, To: 1, Body: response}},
	}
	persisted := &Persisted{}
	applied := &Applied{}
	round := func() {
		e := leader.Step(propose)
		last = e.Proposed.Last
		persisted.Seq = e.Persist.Seq
		for _, s := range sent {
			s.Last = last
			leader.Step(s)
		}
		leader.Step(persisted)
		response.Term, response.Match, response.Prev = leader.CurrentTerm(), last, last-1
		for _, a := range answers {
			leader.Step(a)
		}
		applied.Index = last
		leader.Step(applied)
		if leader.CommitIndex() != last {
			t.Fatalf("committed %d, want %d", leader.CommitIndex(), last)
		}
	}
	round()
	// One body for the entries, shared by both peers, and one per peer for the
	// news of the commitIndex.
	if n := testing.AllocsPerRun(200, round); n > 3 {
		t.Errorf("%v allocations per proposal, want at most 3", n)
	}
}
