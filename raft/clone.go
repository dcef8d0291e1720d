package raft

import (
	"slices"

	"github.com/quorate/quorate/raft/quorum"
)

// Clone is a deep copy, which shares only what is immutable: configurations. Its
// Effects are its own and empty.
func (r *Raft) Clone() *Raft {
	c := *r
	c.log = r.log.clone()
	c.progress = slices.Clone(r.progress)
	for i := range c.progress {
		c.progress[i].inFlight.ring = slices.Clone(c.progress[i].inFlight.ring)
	}
	c.voters = quorum.Voters[NodeID]{
		Incoming: slices.Clone(r.voters.Incoming),
		Outgoing: slices.Clone(r.voters.Outgoing),
	}
	c.votes = slices.Clone(r.votes)
	c.hardWrites = slices.Clone(r.hardWrites)
	c.uncommitted = slices.Clone(r.uncommitted)
	c.reads.waiting = slices.Clone(r.reads.waiting)
	c.reads.confirming = slices.Clone(r.reads.confirming)
	c.effects = Effects{}
	c.runs = nil
	c.shared = nil
	return &c
}
