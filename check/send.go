package check

import "github.com/quorate/quorate/raft"

// Sent observes a message that leaves a replica.
func (g *Group) Sent(id raft.NodeID, m *raft.Message) {
	if g.err != nil {
		return
	}
	r := g.node(id)
	switch body := m.Body.(type) {
	case *raft.RequestVoteResponse:
		if body.Granted {
			g.granted(r, m.To, body.Term)
		}
	case *raft.AppendEntriesResponse:
		if body.Success {
			g.acknowledged(r, body.Term, body.Match)
		}
	case *raft.InstallSnapshotResponse:
		if body.Match > 0 {
			g.acknowledged(r, body.Term, body.Match)
		}
	case *raft.AppendEntries:
		g.leads(r, body.Term)
		if e := r.live.at(body.Prev.Index); e != nil && e.ID != body.Prev && body.Term == r.live.hard.CurrentTerm {
			g.Fail(id, LogMatching, "sends entries after %v, its own is %v", body.Prev, e.ID)
		}
		if body.Commit > raft.Index(len(g.committed)) {
			g.Fail(id, CommitDefinition, "tells that %d is committed; the last one is %d", body.Commit, len(g.committed))
		}
	case *raft.InstallSnapshot:
		g.leads(r, body.Term)
	}
	if g.err != nil || m.Body == nil {
		return
	}
	limit := r.live.hard.CurrentTerm
	switch body := m.Body.(type) {
	case *raft.PreVote:
		limit++
	case *raft.PreVoteResponse:
		if body.Granted {
			limit = body.Term // echoes what was asked (EL-16)
		}
	}
	if m.Body.MessageTerm() > limit {
		g.Fail(id, Monotonic, "sends %T of term %d in term %d", m.Body, m.Body.MessageTerm(), limit)
	}
}

// leads checks that whoever speaks as leader of a term is.
func (g *Group) leads(r *replicaHistory, term raft.Term) {
	if l := g.leaders[term]; l == nil || l.node != r.id || l.boot != r.boot {
		g.Fail(r.id, ElectionSafety, "speaks as leader of term %d and is not", term)
	}
}

// VotedForItself observes that a candidate counts its own vote. Before, the vote
// is nobody's: a crash may forget it (EL-09).
func (g *Group) VotedForItself(id raft.NodeID, term raft.Term) {
	if g.err == nil {
		g.granted(g.node(id), id, term)
	}
}

// vote notes that a node's vote of a term is somebody's, once for ever.
func (g *Group) vote(r *replicaHistory, candidate raft.NodeID, term raft.Term) {
	if other, ok := r.grants[term]; ok && other != candidate {
		g.Fail(r.id, VoteDurability, "votes in term %d for %d, and did for %d", term, candidate, other)
		return
	}
	r.grants[term] = candidate
}

func (g *Group) granted(r *replicaHistory, candidate raft.NodeID, term raft.Term) {
	g.vote(r, candidate, term)
	// In a later term it will not vote in this one again.
	if d := r.durable.hard; d.CurrentTerm < term || d.CurrentTerm == term && d.VotedFor != candidate {
		g.Fail(r.id, VoteDurability, "grants its vote of term %d to %d with term %d, vote %d on disk", term, candidate, d.CurrentTerm, d.VotedFor)
	}
}

// acknowledged checks that what a replica says it has is durable, and is what
// the leader of the term has.
func (g *Group) acknowledged(r *replicaHistory, term raft.Term, match raft.Index) {
	d := &r.durable
	switch {
	case d.hard.CurrentTerm < term:
		g.Fail(r.id, AckDurability, "acknowledges %d in term %d with term %d on disk", match, term, d.hard.CurrentTerm)
		return
	case d.hard.CurrentTerm > term:
		return // whoever it is for, the log may have been replaced since; and it votes no more in that term
	}
	l := g.leaders[term]
	if l == nil {
		g.Fail(r.id, AckDurability, "acknowledges %d in term %d, which has no leader", match, term)
		return
	}
	own := d.at(match)
	if match < d.first() {
		own = d.before.ancestor(match)
	}
	if want := l.last.ancestor(match); match != 0 && (own == nil || own != want) {
		g.Fail(r.id, AckDurability, "acknowledges %d in term %d; on disk is %v (log (%v, %v]), the leader has %v",
			match, term, own.id(), d.before.id(), d.last().id(), want.id())
	}
}
