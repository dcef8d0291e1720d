package check

import (
	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
)

// Elected observes that a replica became leader of a term, before it writes
// anything as such.
func (g *Group) Elected(id raft.NodeID, term raft.Term) {
	if g.err != nil {
		return
	}
	r := g.node(id)
	if l := g.leaders[term]; l != nil {
		// Also the same node after a restart: it cannot know what it did before.
		g.Fail(id, ElectionSafety, "leads term %d (start %d), as node %d did (start %d)", term, r.boot, l.node, l.boot)
		return
	}
	g.checkVotes(r, term)
	g.leaders[term] = &leadership{node: id, boot: r.boot, last: r.live.last()}
	// Terms that commit do not fall with the index.
	n := len(g.committed)
	for n > 0 && g.committed[n-1].by >= term {
		n--
	}
	if n > 0 && !r.live.covers(g.committed[n-1].entry) {
		c := &g.committed[n-1]
		g.Fail(id, LeaderCompleteness, "becomes leader of term %d with a log that ends in %v and lacks %v, committed in term %d",
			term, r.live.last().id(), c.entry.ID, c.by)
	}
}

// Stepped observes the state of a replica after a step.
func (g *Group) Stepped(id raft.NodeID, s *raft.Status) {
	if g.err != nil {
		return
	}
	r := g.node(id)
	before := &r.status
	switch {
	case s.HardState.CurrentTerm < before.HardState.CurrentTerm || s.HardState.CurrentTerm < r.durable.hard.CurrentTerm:
		g.Fail(id, Monotonic, "currentTerm falls from %d to %d", before.HardState.CurrentTerm, s.HardState.CurrentTerm)
	case s.CommitIndex < before.CommitIndex:
		g.Fail(id, Monotonic, "commitIndex falls from %d to %d", before.CommitIndex, s.CommitIndex)
	case s.AppliedIndex < before.AppliedIndex:
		g.Fail(id, Monotonic, "lastApplied falls from %d to %d", before.AppliedIndex, s.AppliedIndex)
	case s.Snapshot.Index < before.Snapshot.Index:
		g.Fail(id, Monotonic, "snapshot falls from %v to %v", before.Snapshot, s.Snapshot)
	case s.LastLog.Term > s.HardState.CurrentTerm:
		g.Fail(id, Monotonic, "log ends in %v in term %d", s.LastLog, s.HardState.CurrentTerm)
	case s.Snapshot.Index > s.CommitIndex || s.CommitIndex > s.LastLog.Index || s.AppliedIndex > s.CommitIndex || s.FirstIndex > s.Snapshot.Index+1:
		g.Fail(id, IndexOrder, "log [%d, %d] on snapshot %v, commitIndex %d, lastApplied %d",
			s.FirstIndex, s.LastLog.Index, s.Snapshot, s.CommitIndex, s.AppliedIndex)
	case s.FirstIndex != r.live.first() || s.LastLog != r.live.last().id() || s.HardState != r.live.hard:
		g.Fail(id, LogMatching, "holds log [%d, %v] of %+v and asked to write %s", s.FirstIndex, s.LastLog, s.HardState, &r.live)
	case s.DurableIndex > s.LastLog.Index:
		g.Fail(id, IndexOrder, "durable up to %d, log ends at %d", s.DurableIndex, s.LastLog.Index)
	}
	g.checkTransition(r, s)
	g.checkConfiguration(r, s)
	if s.State == raft.Leader {
		g.leading(r, s)
	}
	if g.err == nil && s.CommitIndex > before.CommitIndex {
		g.commit(r, s)
	}
	r.status = *s
	r.status.Peers = nil
}

// leading checks what a leader knows of its followers.
func (g *Group) leading(r *replicaHistory, s *raft.Status) {
	term := s.HardState.CurrentTerm
	if l := g.leaders[term]; l == nil || l.node != r.id || l.boot != r.boot {
		g.Fail(r.id, ElectionSafety, "leads term %d without having been elected", term)
		return
	}
	if r.ofTerm != term {
		r.ofTerm = term
		clear(r.matches)
	}
	for i := range s.Peers {
		p := &s.Peers[i]
		if p.MatchIndex < r.matches[p.ID] {
			g.Fail(r.id, Monotonic, "matchIndex of %d falls from %d to %d", p.ID, r.matches[p.ID], p.MatchIndex)
			return
		}
		if p.MatchIndex >= p.NextIndex || p.MatchIndex > s.LastLog.Index || p.NextIndex > s.LastLog.Index+1 {
			g.Fail(r.id, IndexOrder, "peer %d has matchIndex %d, nextIndex %d in a log that ends at %d", p.ID, p.MatchIndex, p.NextIndex, s.LastLog.Index)
			return
		}
		if m, b := g.bounds.InFlightMessages, g.bounds.InFlightBytes; m > 0 && p.InFlightMessages > m || b > 0 && p.InFlightBytes > b {
			g.Fail(r.id, FlowBounds, "%d messages, %d bytes are under way to %d, at most %d and %d may be", p.InFlightMessages, p.InFlightBytes, p.ID, m, b)
			return
		}
		if p.MatchIndex != r.matches[p.ID] {
			r.matches[p.ID] = p.MatchIndex
		}
	}
}

// commit checks that commitIndex rose to what is committed, and if it is the
// first to know, that it is right.
func (g *Group) commit(r *replicaHistory, s *raft.Status) {
	term := s.HardState.CurrentTerm
	known := raft.Index(len(g.committed))
	if s.State == raft.Leader && r.status.State == raft.Leader {
		if e := r.live.at(s.CommitIndex); e == nil || e.ID.Term != term {
			g.Fail(r.id, NoCommitByOldTerm, "leader of term %d raises commitIndex to %v", term, e.id())
			return
		}
	}
	for i := r.status.CommitIndex + 1; i <= min(s.CommitIndex, known); i++ {
		if e := r.live.at(i); i >= r.live.first() && e != g.committed[i-1].entry {
			g.Fail(r.id, StateMachineSafety, "commits %v where %v was committed", e.id(), g.committed[i-1].entry.ID)
			return
		}
	}
	if s.CommitIndex <= known {
		return
	}
	if s.State != raft.Leader {
		g.Fail(r.id, CommitDefinition, "%v commits %d, which no leader has: the last one committed is %d", s.State, s.CommitIndex, known)
		return
	}
	g.checkDefinition(r, s)
	for i := known + 1; i <= s.CommitIndex && g.err == nil; i++ {
		g.commitEntry(r, r.live.at(i), term)
	}
}

// checkDefinition is B-5: no server that lacks the entry could win an election
// now, whichever of the servers lose what they have not synced.
func (g *Group) checkDefinition(r *replicaHistory, s *raft.Status) {
	e := r.live.at(s.CommitIndex)
	c := &s.Configuration.Configuration
	for _, candidate := range c.Voters() {
		h := g.node(candidate)
		if h == nil || h.wiped {
			continue // nobody votes for it
		}
		for _, rec := range [2]*record{&h.durable, &h.live} {
			if !rec.covers(e) && g.electable(rec.last().id(), c) {
				g.Fail(r.id, CommitDefinition, "commits %v of term %d, but node %d, whose log ends in %v, lacks it and could be elected",
					e.ID, s.HardState.CurrentTerm, candidate, rec.last().id())
				return
			}
		}
	}
}

// electable reports whether a log that ends in last could be voted for by a
// majority (by both, in a joint configuration).
func (g *Group) electable(last raft.EntryID, c *raft.Configuration) bool {
	majority := func(voters []raft.NodeID) bool {
		grants := 0
		for _, v := range voters {
			h := g.node(v)
			if h != nil && h.wiped {
				continue // nobody counts its vote
			}
			if h == nil || last.AtLeastAsUpToDate(h.durable.last().id()) || last.AtLeastAsUpToDate(h.live.last().id()) {
				grants++
			}
		}
		return grants > len(voters)/2
	}
	return majority(c.Voters()) && (!c.Joint() || majority(c.Outgoing))
}

func (g *Group) commitEntry(r *replicaHistory, e *Entry, by raft.Term) {
	if n := len(g.committed); n > 0 && e.Before != g.committed[n-1].entry {
		g.Fail(r.id, CommittedAppendOnly, "commits %v after %v, but %v precedes it", e.ID, g.committed[n-1].entry.ID, e.Before.id())
		return
	}
	decoded, _, err := entry.Decode(e.Data)
	if err != nil {
		g.Fail(r.id, UniqueCreation, "committed entry %v: %v", e.ID, err)
		return
	}
	switch decoded.Kind {
	case entry.Configuration:
		c, err := entry.DecodeConfiguration(decoded.Payload)
		if err != nil {
			g.Fail(r.id, UniqueCreation, "committed configuration %v: %v", e.ID, err)
			return
		}
		g.configs = append(g.configs, raft.ConfigurationEntry{ID: e.ID, Configuration: c})
	case entry.Command:
		if g.reference != nil {
			one := [1]rsm.Entry{{Index: e.ID.Index, Term: e.ID.Term, Timestamp: decoded.Timestamp, Command: decoded.Payload}}
			if err := g.reference.Apply(one[:]); err != nil {
				g.Fail(r.id, StateMachineSafety, "the reference cannot apply %v: %v", e.ID, err)
				return
			}
		}
	}
	c := commitment{entry: e, by: by}
	if g.reference != nil {
		c.hash = g.reference.Hash()
	}
	g.committed = append(g.committed, c)
	if g.onCommit != nil {
		g.onCommit(&decoded)
	}
}

// Applied observes that a replica's state machine holds what at says; hash is
// that of the state, if there is a reference.
func (g *Group) Applied(id raft.NodeID, at raft.SnapshotMeta, hash uint64) {
	if g.err != nil {
		return
	}
	r := g.node(id)
	e := g.commitment(at.ID.Index)
	switch {
	case at.ID.Index < r.applied:
		g.Fail(id, Monotonic, "state machine falls from %d to %d", r.applied, at.ID.Index)
	case at.ID.Index == 0:
	case e == nil || e.ID != at.ID:
		g.Fail(id, StateMachineSafety, "applied %v, committed is %v", at.ID, e.id())
	case at.Checksum != 0 && at.Checksum != e.Checksum:
		g.Fail(id, StateMachineSafety, "applied %v with checksum %08x, committed with %08x", at.ID, at.Checksum, e.Checksum)
	case g.reference != nil && hash != g.committed[at.ID.Index-1].hash:
		g.Fail(id, StateMachineSafety, "state up to %v has hash %016x, want %016x", at.ID, hash, g.committed[at.ID.Index-1].hash)
	}
	r.applied = at.ID.Index
}

// SnapshotStored observes a snapshot that a replica took or received.
func (g *Group) SnapshotStored(id raft.NodeID, meta raft.SnapshotMeta) {
	if g.err != nil {
		return
	}
	if e := g.commitment(meta.ID.Index); e == nil || e.ID != meta.ID {
		g.Fail(id, SnapshotConsistency, "snapshot %v, committed is %v", meta.ID, e.id())
		return
	}
	g.checkMeta(id, &meta)
}

// checkMeta is the part of B-14 that a snapshot's description shows.
func (g *Group) checkMeta(id raft.NodeID, meta *raft.SnapshotMeta) {
	var want raft.EntryID
	for i := range g.configs {
		if g.configs[i].ID.Index <= meta.ID.Index {
			want = g.configs[i].ID
		}
	}
	if meta.Configuration.ID != want {
		g.Fail(id, SnapshotConsistency, "snapshot %v has configuration %v, want %v", meta.ID, meta.Configuration.ID, want)
		return
	}
	if e := g.commitment(meta.ID.Index); meta.Checksum != 0 && meta.Checksum != e.Checksum {
		g.Fail(id, SnapshotConsistency, "snapshot %v has the entry's checksum as %08x, want %08x", meta.ID, meta.Checksum, e.Checksum)
	}
}
