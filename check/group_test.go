package check

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
)

// counter is a reference whose state is how many commands there were.
type counter struct{ n uint64 }

func (c *counter) Apply(entries []rsm.Entry) error        { c.n += uint64(len(entries)); return nil }
func (c *counter) Read(context.Context, any) (any, error) { return c.n, nil }
func (c *counter) Snapshot() (rsm.View, error)            { return nil, nil }
func (c *counter) Restore(io.Reader) error                { return nil }
func (c *counter) Close() error                           { return nil }
func (c *counter) Hash() uint64                           { return c.n }

// members is the configuration that entry 1 brings.
func members(ids ...raft.NodeID) raft.ConfigurationEntry {
	c := raft.ConfigurationEntry{ID: raft.EntryID{Term: 1, Index: 1}}
	for _, id := range ids {
		c.Configuration.Members = append(c.Configuration.Members, raft.Member{ID: id, Incarnation: raft.Incarnation(id), Role: raft.Voter})
	}
	return c
}

// story is a history of three nodes, told to a judge step by step.
type story struct {
	t      *testing.T
	g      *Group
	logs   map[raft.NodeID][]*made
	hard   map[raft.NodeID]raft.HardState
	states map[raft.NodeID]raft.State
	commit map[raft.NodeID]raft.Index
}

// made is an encoded entry.
type made struct {
	id   raft.EntryID
	sum  uint32
	data []byte
}

func newStory(t *testing.T) *story {
	s := &story{
		t: t, g: NewGroup(1, []raft.NodeID{1, 2, 3}, &counter{}), logs: map[raft.NodeID][]*made{},
		hard: map[raft.NodeID]raft.HardState{}, states: map[raft.NodeID]raft.State{}, commit: map[raft.NodeID]raft.Index{},
	}
	for _, id := range []raft.NodeID{1, 2, 3} {
		s.g.Started(id, &Restart{})
	}
	c := members(1, 2, 3)
	payload, err := entry.AppendConfiguration(nil, &c.Configuration)
	if err != nil {
		t.Fatal(err)
	}
	e := entry.Entry{Term: 1, Index: 1, Kind: entry.Configuration, Payload: payload}
	data, sum := e.AppendTo(nil)
	for _, id := range []raft.NodeID{1, 2, 3} {
		s.hard[id] = raft.HardState{CurrentTerm: 1}
		s.logs[id] = []*made{{raft.EntryID{Term: 1, Index: 1}, sum, data}}
		s.g.Updated(id, &Update{HardState: s.hard[id], HardStateChanged: true, First: 1, Last: 1, Entries: [][]byte{data}, Bootstrap: true}, raft.Follower, 1)
		s.sync(id)
	}
	s.good()
	return s
}

// good demands that nothing was broken so far.
func (s *story) good() {
	s.t.Helper()
	if err := s.g.Err(); err != nil {
		s.t.Fatalf("broken too early: %v", err)
	}
}

// broken demands that the last step broke a property.
func (s *story) broken(property string) {
	s.t.Helper()
	if err := s.g.Err(); err == nil || err.Property != property {
		s.t.Fatalf("judged %v, want %s", err, property)
	}
	if text := s.g.Err().Error(); !strings.Contains(text, "group 1") {
		s.t.Errorf("%q names no group", text)
	}
}

// adopt lets a node enter a term with a vote.
func (s *story) adopt(id raft.NodeID, term raft.Term, vote raft.NodeID) {
	s.hard[id] = raft.HardState{CurrentTerm: term, VotedFor: vote}
	s.states[id] = raft.Follower
	s.g.Updated(id, &Update{HardState: s.hard[id], HardStateChanged: true}, raft.Follower, term)
}

func (s *story) sync(id raft.NodeID) {
	s.g.Written(id, 100)
	s.g.Synced(id)
}

// elect makes a node leader of a term with the votes of others, all durable, and
// lets it append its no-op.
func (s *story) elect(id raft.NodeID, term raft.Term, voters ...raft.NodeID) {
	for _, v := range append(voters, id) {
		s.adopt(v, term, id)
		s.sync(v)
	}
	for _, v := range voters {
		s.g.Sent(v, &raft.Message{From: v, To: id, Body: &raft.RequestVoteResponse{Term: term, Granted: true}})
	}
	s.g.VotedForItself(id, term)
	s.g.Elected(id, term)
	s.states[id] = raft.Leader
	s.propose(id)
	s.stepped(id)
}

// propose lets a leader append an entry.
func (s *story) propose(id raft.NodeID) *made {
	log := s.logs[id]
	last := log[len(log)-1]
	e := entry.Entry{Term: s.hard[id].CurrentTerm, Index: last.id.Index + 1, Kind: entry.Command, Prev: last.sum, Payload: []byte{byte(id)}}
	data, sum := e.AppendTo(nil)
	m := &made{e.ID(), sum, data}
	s.append(id, m)
	return m
}

// append lets a node write an entry where it belongs.
func (s *story) append(id raft.NodeID, m *made) {
	s.logs[id] = append(s.logs[id][:m.id.Index-1:m.id.Index-1], m)
	s.g.Updated(id, &Update{First: m.id.Index, Last: m.id.Index, Entries: [][]byte{m.data}}, s.states[id], s.hard[id].CurrentTerm)
}

func (s *story) status(id raft.NodeID) *raft.Status {
	log := s.logs[id]
	return &raft.Status{
		ID: id, State: s.states[id], HardState: s.hard[id], FirstIndex: 1, LastLog: log[len(log)-1].id,
		CommitIndex: s.commit[id], Configuration: members(1, 2, 3),
	}
}

func (s *story) stepped(id raft.NodeID) { s.g.Stepped(id, s.status(id)) }

// commits lets a node raise its commitIndex.
func (s *story) commits(id raft.NodeID, index raft.Index) {
	s.commit[id] = index
	s.stepped(id)
}

// led is a story in which node 1 leads term 2, and its no-op is on nodes 1 and 2
// and committed.
func led(t *testing.T) *story {
	s := newStory(t)
	s.elect(1, 2, 2)
	noop := s.logs[1][1]
	s.sync(1)
	s.append(2, noop)
	s.sync(2)
	s.stepped(2)
	s.g.Sent(2, &raft.Message{From: 2, To: 1, Body: &raft.AppendEntriesResponse{Term: 2, Success: true, Match: 2}})
	s.commits(1, 2)
	s.good()
	return s
}

// Each property is broken by the smallest history that breaks it, and no sooner.
func TestViolations(t *testing.T) {
	for _, test := range []struct {
		property string
		breaks   func(s *story)
	}{
		{ElectionSafety, func(s *story) {
			s.g.Elected(3, 2)
		}},
		{ElectionSafety, func(s *story) { // the same node, after a restart
			s.g.Stopped(1)
			s.g.Started(1, &Restart{HardState: s.hard[1], First: 1, Entries: [][]byte{s.logs[1][0].data, s.logs[1][1].data}})
			s.good()
			s.g.Elected(1, 2)
		}},
		{ElectionSafety, func(s *story) {
			s.g.Sent(3, &raft.Message{From: 3, To: 1, Body: &raft.AppendEntries{Term: 2}})
		}},
		{ElectionSafety, func(s *story) {
			s.states[2] = raft.Leader
			s.stepped(2)
		}},
		{LeaderAppendOnly, func(s *story) {
			s.append(1, s.logs[1][1])
		}},
		{LogMatching, func(s *story) { // the same entry after another
			s.propose(1)          // 2.3
			s.elect(2, 3, 3)      // 3.3
			after := s.propose(2) // 3.4
			s.adopt(1, 3, 2)
			s.good()
			s.append(1, after)
		}},
		{UniqueCreation, func(s *story) { // the same id with other content
			e := entry.Entry{Term: 2, Index: 2, Kind: entry.Command, Prev: s.logs[1][0].sum, Payload: []byte("other")}
			data, sum := e.AppendTo(nil)
			s.append(3, &made{e.ID(), sum, data})
		}},
		{UniqueCreation, func(s *story) { // by a node that does not lead
			s.propose(2)
		}},
		{CommitDefinition, func(s *story) { // only the leader has it
			s.propose(1)
			s.sync(1)
			s.commits(1, 3)
		}},
		{CommitDefinition, func(s *story) { // a follower has it, but not on disk
			m := s.propose(1)
			s.sync(1)
			s.append(2, m)
			s.stepped(2)
			s.commits(1, 3)
		}},
		{CommitDefinition, func(s *story) { // a follower knows it first
			s.append(2, s.propose(1))
			s.commits(2, 3)
		}},
		{CommitDefinition, func(s *story) {
			s.g.Sent(1, &raft.Message{From: 1, To: 2, Body: &raft.AppendEntries{Term: 2, Prev: s.logs[1][1].id, Last: 2, Commit: 3}})
		}},
		{LeaderCompleteness, func(s *story) {
			s.adopt(3, 3, 3)
			s.sync(3)
			s.g.Elected(3, 3) // its log lacks 2.2
		}},
		{StateMachineSafety, func(s *story) { // another entry than was committed
			e := s.overwritten(3)
			s.append(3, e)
			s.commit[3] = 2
			s.stepped(3)
		}},
		{StateMachineSafety, func(s *story) {
			s.g.Applied(1, raft.SnapshotMeta{ID: raft.EntryID{Term: 2, Index: 2}}, 99)
		}},
		{StateMachineSafety, func(s *story) { // not committed
			s.propose(1)
			s.g.Applied(1, raft.SnapshotMeta{ID: raft.EntryID{Term: 2, Index: 3}}, 2)
		}},
		{CommittedAppendOnly, func(s *story) {
			s.commits(2, 2)
			s.good()
			s.append(2, s.overwritten(3))
		}},
		{Monotonic, func(s *story) {
			s.g.Updated(2, &Update{HardState: raft.HardState{CurrentTerm: 1}, HardStateChanged: true}, raft.Follower, 1)
		}},
		{Monotonic, func(s *story) {
			s.commits(1, 1)
		}},
		{Monotonic, func(s *story) {
			status := s.status(1)
			status.Peers = []raft.PeerStatus{{ID: 2, MatchIndex: 2, NextIndex: 3}}
			s.g.Stepped(1, status)
			s.good()
			status.Peers[0].MatchIndex = 1
			s.g.Stepped(1, status)
		}},
		{Monotonic, func(s *story) {
			s.g.Sent(2, &raft.Message{From: 2, To: 1, Body: &raft.AppendEntriesResponse{Term: 3}})
		}},
		{Monotonic, func(s *story) {
			s.g.Applied(1, raft.SnapshotMeta{ID: raft.EntryID{Term: 2, Index: 2}}, 1)
			s.good()
			s.g.Applied(1, raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: 1}}, 0)
		}},
		{VoteDurability, func(s *story) { // two candidates
			s.g.Sent(2, &raft.Message{From: 2, To: 3, Body: &raft.RequestVoteResponse{Term: 2, Granted: true}})
		}},
		{VoteDurability, func(s *story) { // before it is on disk
			s.adopt(2, 3, 3)
			s.g.Sent(2, &raft.Message{From: 2, To: 3, Body: &raft.RequestVoteResponse{Term: 3, Granted: true}})
		}},
		{VoteDurability, func(s *story) {
			s.adopt(3, 3, 3)
			s.g.VotedForItself(3, 3)
		}},
		{AckDurability, func(s *story) { // before it is on disk
			s.append(2, s.propose(1))
			s.g.Sent(2, &raft.Message{From: 2, To: 1, Body: &raft.AppendEntriesResponse{Term: 2, Success: true, Match: 3}})
		}},
		{AckDurability, func(s *story) { // of another log than the leader's
			s.propose(1)     // 2.3
			s.elect(2, 3, 3) // 3.3
			s.adopt(1, 3, 2)
			s.sync(1)
			s.good()
			s.g.Sent(1, &raft.Message{From: 1, To: 2, Body: &raft.AppendEntriesResponse{Term: 3, Success: true, Match: 3}})
		}},
		{IndexOrder, func(s *story) {
			status := s.status(1)
			status.AppliedIndex = 3
			s.g.Stepped(1, status)
		}},
		{IndexOrder, func(s *story) {
			status := s.status(1)
			status.Peers = []raft.PeerStatus{{ID: 2, MatchIndex: 2, NextIndex: 2}}
			s.g.Stepped(1, status)
		}},
		{NoCommitByOldTerm, func(s *story) { // Figure 8 of the paper
			s.append(2, s.propose(1)) // 2.3
			s.sync(1)
			s.sync(2)
			s.elect(2, 3, 3)
			s.good()
			s.states[1] = raft.Follower
			s.commits(2, 3) // 2.3, in term 3
		}},
		{SnapshotConsistency, func(s *story) {
			s.g.SnapshotStored(1, raft.SnapshotMeta{ID: raft.EntryID{Term: 2, Index: 3}})
		}},
		{SnapshotConsistency, func(s *story) { // without the configuration
			s.g.SnapshotStored(1, raft.SnapshotMeta{ID: raft.EntryID{Term: 2, Index: 2}})
		}},
		{SnapshotConsistency, func(s *story) { // a suffix that matched is removed
			s.append(2, s.propose(1))
			s.g.Updated(2, &Update{ResetLog: true, Reset: raft.SnapshotMeta{ID: raft.EntryID{Term: 2, Index: 2}, Configuration: members(1, 2, 3)}}, raft.Follower, 2)
		}},
		{ReadFreshness, func(s *story) {
			s.g.ReadDone(2, s.g.ReadBegun(), 1)
		}},
		{Recovery, func(s *story) { // a durable entry is gone
			s.g.Stopped(2)
			s.g.Started(2, &Restart{HardState: s.hard[2], First: 1, Entries: [][]byte{s.logs[2][0].data}})
		}},
		{Recovery, func(s *story) { // a durable vote is gone
			s.g.Stopped(2)
			s.g.Started(2, &Restart{HardState: raft.HardState{CurrentTerm: 2}, First: 1, Entries: [][]byte{s.logs[2][0].data, s.logs[2][1].data}})
		}},
		{Recovery, func(s *story) { // a killed process loses what it had written
			s.append(2, s.propose(1))
			s.g.Written(2, 1)
			s.g.Stopped(2)
			s.g.Started(2, &Restart{HardState: s.hard[2], First: 1, Killed: true, Entries: [][]byte{s.logs[2][0].data, s.logs[2][1].data}})
		}},
	} {
		t.Run(test.property, func(t *testing.T) {
			s := led(t)
			test.breaks(s)
			s.broken(test.property)
		})
	}
}

// overwritten makes another entry 2 than the committed one, as a leader of term 3
// would create that should not be. The judge is given the entry by hand: it would
// have noticed the leader before.
func (s *story) overwritten(id raft.NodeID) *made {
	e := entry.Entry{Term: 3, Index: 2, Kind: entry.Command, Prev: s.logs[id][0].sum, Payload: []byte("other")}
	data, sum := e.AppendTo(nil)
	for _, n := range []raft.NodeID{2, 3} {
		s.adopt(n, 3, 3)
	}
	first := s.g.created[raft.EntryID{Term: 1, Index: 1}]
	s.g.created[e.ID()] = &Entry{ID: e.ID(), Checksum: sum, Before: first, Data: data}
	return &made{e.ID(), sum, data}
}

// After a loss of power the last write may be there whole or not at all, after a
// kill it is there; both are right.
func TestRecoveryOfTheLastWrite(t *testing.T) {
	for _, found := range []int{2, 3} {
		s := led(t)
		s.append(2, s.propose(1))
		s.g.Written(2, 1)
		s.g.Stopped(2)
		var data [][]byte
		for _, m := range s.logs[2][:found] {
			data = append(data, m.data)
		}
		var whole, none bool
		s.g.Started(2, &Restart{HardState: s.hard[2], First: 1, Entries: data, Whole: &whole, None: &none})
		s.good()
		if whole != (found == 3) || none != (found == 2) {
			t.Errorf("%d entries found: whole %v, none %v", found, whole, none)
		}
	}
}

func TestConverged(t *testing.T) {
	s := led(t)
	if s.g.Converged() == nil {
		t.Error("converged, though node 3 lacks an entry")
	}
	s.adopt(3, 2, 1)
	s.append(3, s.logs[1][1])
	s.sync(3)
	for id := raft.NodeID(1); id <= 3; id++ {
		s.commits(id, 2)
		s.g.Applied(id, raft.SnapshotMeta{ID: raft.EntryID{Term: 2, Index: 2}}, 1)
	}
	s.good()
	if err := s.g.Converged(); err != nil {
		t.Error(err)
	}
}
