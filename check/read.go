package check

import (
	"fmt"

	"github.com/quorate/quorate/raft"
)

// ReadBegun gives what a linearizable read that arrives now has to see: more than
// what was acknowledged before, all that was committed (B-22).
func (g *Group) ReadBegun() raft.Index { return raft.Index(len(g.committed)) }

// ReadDone observes that a read which had to see floor looked at a state machine
// that holds applied.
func (g *Group) ReadDone(id raft.NodeID, floor, applied raft.Index) {
	if applied < floor {
		g.Fail(id, ReadFreshness, "a read that arrived when %d was committed saw the state up to %d", floor, applied)
	}
}

// Converged reports whether the replicas are equal: logs, commitment and states
// (B-28).
func (g *Group) Converged() error {
	committed := raft.Index(len(g.committed))
	for _, r := range g.nodes {
		switch {
		case r.excused:
		case !r.up:
			return fmt.Errorf("group %d: node %d is not running", g.id, r.id)
		case r.live.last().position() != committed || r.live.last() != g.commitment(committed):
			return fmt.Errorf("group %d: log of node %d ends in %v, committed is %d", g.id, r.id, r.live.last().id(), committed)
		case r.status.CommitIndex != committed || r.applied != committed:
			return fmt.Errorf("group %d: node %d has commitIndex %d and applied %d of %d", g.id, r.id, r.status.CommitIndex, r.applied, committed)
		case len(r.pending) > 0:
			return fmt.Errorf("group %d: %d writes of node %d are not durable", g.id, len(r.pending), r.id)
		}
	}
	return nil
}
