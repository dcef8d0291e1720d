package check

import "github.com/quorate/quorate/raft"

// ID is that of the group.
func (g *Group) ID() raft.GroupID { return g.id }

// Excuse says that a node's disk was damaged in what was durable: it owes no
// progress any more (Converged). What it does has to be right all the same.
func (g *Group) Excuse(id raft.NodeID) { g.node(id).excused = true }

// Wiped observes that all is gone that a replica had on its disk. It is not to
// vote or acknowledge again, since it does not remember what it promised (PS-09):
// what it once granted still counts against it.
func (g *Group) Wiped(id raft.NodeID) {
	r := g.node(id)
	r.excused, r.wiped = true, true
	r.live, r.durable = record{}, record{}
	r.pending = r.pending[:0]
	r.status = raft.Status{}
	r.applied = 0
	r.snapshots = nil
}

// Replayed observes that a message was delivered twice in a row: the state after
// the second time has to be that after the first (B-30).
func (g *Group) Replayed(id raft.NodeID, once, twice *raft.Status, m *raft.Message) {
	if once.HardState != twice.HardState || once.State != twice.State || once.CommitIndex != twice.CommitIndex ||
		once.LastLog != twice.LastLog || once.FirstIndex != twice.FirstIndex || once.Snapshot != twice.Snapshot {
		g.Fail(id, Idempotence, "%T of node %d, delivered twice: %v of %+v, commitIndex %d, last entry %v became %v of %+v, commitIndex %d, last entry %v",
			m.Body, m.From, once.State, once.HardState, once.CommitIndex, once.LastLog, twice.State, twice.HardState, twice.CommitIndex, twice.LastLog)
	}
}
