package check

import (
	"strings"
	"testing"

	"github.com/quorate/quorate/raft"
)

// Each of B-15, B-18, B-29, B-30 and B-31 is broken by the smallest history that
// breaks it.
func TestStates(t *testing.T) {
	for _, test := range []struct {
		property string
		breaking func(g *Group)
	}{
		{StateTransitions, func(g *Group) {
			g.Bound(Bounds{Transitions: true})
			g.Stepped(1, &raft.Status{ID: 1, State: raft.Leader, HardState: raft.HardState{CurrentTerm: 1}, FirstIndex: 1, LastLog: raft.EntryID{Term: 1, Index: 1}})
		}},
		{ConfigurationInUse, func(g *Group) {
			s := raft.Status{ID: 1, HardState: raft.HardState{CurrentTerm: 1}, FirstIndex: 1, LastLog: raft.EntryID{Term: 1, Index: 1}}
			s.Configuration.ID = raft.EntryID{Term: 1, Index: 7}
			g.Stepped(1, &s)
		}},
		{CandidateTerm, func(g *Group) {
			g.Bound(Bounds{Votes: true})
			g.Elected(1, 2)
		}},
		{Idempotence, func(g *Group) {
			g.Replayed(1, &raft.Status{CommitIndex: 1}, &raft.Status{CommitIndex: 2}, &raft.Message{Body: &raft.AppendEntries{}})
		}},
		{FlowBounds, func(g *Group) {
			g.Bound(Bounds{InFlightMessages: 1})
			g.leaders[1] = &leadership{node: 1, boot: g.node(1).boot}
			s := raft.Status{ID: 1, State: raft.Leader, HardState: raft.HardState{CurrentTerm: 1}, LastLog: raft.EntryID{Term: 1, Index: 1}}
			s.Peers = []raft.PeerStatus{{ID: 2, NextIndex: 1, InFlightMessages: 2}}
			g.leading(g.node(1), &s)
		}},
	} {
		s := newStory(t)
		test.breaking(s.g)
		if err := s.g.Err(); err == nil || !strings.Contains(err.Error(), test.property) {
			t.Errorf("%s: judged %v", test.property, err)
		}
	}
}
