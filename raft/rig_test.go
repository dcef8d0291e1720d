package raft

import (
	"errors"
	"strings"
	"testing"

	"github.com/quorate/quorate/internal/invariant"
)

// rig is one replica and what its last step asked for.
type rig struct {
	t testing.TB
	*Raft
	e *Effects
}

// terms gives the runs of a log whose entry i has the i-th term.
func terms(entries ...Term) []TermRun {
	var runs []TermRun
	for i, term := range entries {
		if n := len(runs); n == 0 || runs[n-1].Term != term {
			runs = append(runs, TermRun{First: Index(i + 1), Term: term})
		}
	}
	return runs
}

// disk is a restored log of these terms under a configuration that was in force
// before the first entry.
func disk(configuration Configuration, hardState HardState, entries ...Term) Restored {
	restored := Restored{
		HardState: hardState,
		Snapshot:  SnapshotMeta{Configuration: ConfigurationEntry{Configuration: configuration}},
	}
	if len(entries) > 0 {
		restored.First, restored.Last, restored.Runs = 1, Index(len(entries)), terms(entries...)
	}
	return restored
}

// newRig starts replica 1 (unless cfg says otherwise).
func newRig(t testing.TB, cfg Config, restored Restored) *rig {
	t.Helper()
	if cfg.ID == None {
		cfg.ID = 1
	}
	r, err := New(cfg, restored)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, Raft: r, e: r.Start()}
}

func (g *rig) step(in Input) *Effects {
	g.e = g.Step(in)
	return g.e
}

// receive delivers a message to the replica.
func (g *rig) receive(from NodeID, body Body) *Effects {
	return g.step(&Receive{Message: Message{From: from, To: g.ID(), Body: body}})
}

// persist makes all writes durable.
func (g *rig) persist() *Effects {
	if g.persistedSeq == g.seq {
		g.t.Fatal("nothing to persist")
	}
	return g.step(&Persisted{Seq: g.seq})
}

// fire lets a timer run out.
func (g *rig) fire(kind TimerKind) *Effects {
	g.t.Helper()
	if !g.timers[kind].armed {
		g.t.Fatalf("the %v timer does not run", kind)
	}
	return g.step(&TimerFired{Kind: kind, Generation: g.timers[kind].generation})
}

// lead makes the replica the leader of the next term, its no-op durable.
func (g *rig) lead() {
	g.t.Helper()
	g.cfg.DisablePreVote = true
	g.step(&Campaign{})
	g.persist()
	for _, id := range append(append([]NodeID{}, g.voters.Incoming...), g.voters.Outgoing...) {
		if id != g.ID() && g.State() != Leader {
			g.receive(id, &RequestVoteResponse{Term: g.CurrentTerm(), Granted: true, LastLog: g.log.lastID()})
		}
	}
	if g.State() != Leader {
		g.t.Fatalf("replica %d is %v, want leader", g.ID(), g.State())
	}
}

// matchAll lets these peers acknowledge the whole log.
func (g *rig) matchAll(ids ...NodeID) {
	g.t.Helper()
	if g.persistedSeq != g.seq {
		g.persist()
	}
	for _, id := range ids {
		g.step(&Sent{Peer: id, Last: g.LastIndex(), Bytes: 1})
		g.receive(id, &AppendEntriesResponse{
			Term: g.CurrentTerm(), Success: true, Match: g.LastIndex(), Prev: g.LastIndex(), Round: g.round,
		})
	}
}

// reasons gives those of the last step, for one kind of event.
func (g *rig) reason(kind EventKind) Reason {
	g.t.Helper()
	for _, e := range g.e.Trace {
		if e.Kind == kind {
			return e.Reason
		}
	}
	g.t.Fatalf("no event of kind %d in %v", kind, g.e.Trace)
	return noReason
}

// story gives the last step's events, one per line.
func (g *rig) story() string {
	var lines []string
	for _, e := range g.e.Trace {
		lines = append(lines, e.String())
	}
	return strings.Join(lines, "\n")
}

// only gives the only message of the list, as a T.
func only[T Body](t testing.TB, messages []Message) T {
	t.Helper()
	if len(messages) != 1 {
		t.Fatalf("%d messages, want 1: %+v", len(messages), messages)
	}
	body, ok := messages[0].Body.(T)
	if !ok {
		t.Fatalf("message is %T %+v", messages[0].Body, messages[0].Body)
	}
	return body
}

// to gives the bodies of type T that were sent to id.
func to[T Body](messages []Message, id NodeID) (found []T) {
	for _, m := range messages {
		if body, ok := m.Body.(T); ok && m.To == id {
			found = append(found, body)
		}
	}
	return found
}

// armed reports whether the last step armed that timer.
func (g *rig) armed(kind TimerKind) bool {
	for _, timer := range g.e.Timers {
		if timer.Kind == kind && !timer.Stop {
			return true
		}
	}
	return false
}

// broken expects an invariant that names the row to break.
func broken(t testing.TB, row string, do func()) {
	t.Helper()
	defer func() {
		t.Helper()
		p := recover()
		err, ok := p.(error)
		var failure *invariant.Error
		if !ok || !errors.As(err, &failure) || !strings.Contains(failure.Message, row) {
			t.Errorf("got %v, want a broken invariant that names %s", p, row)
		}
	}()
	do()
}
