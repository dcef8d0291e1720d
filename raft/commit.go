package raft

// advanceCommitIndex is Figure 2, rules for leaders: commit the greatest N that a
// majority holds, if it is of the current term; what is before it commits with it
// (§5.4.2, CM-01, CM-02). An entry of an older term on a majority can still be
// overwritten. The leader counts itself by what is durable here (CM-03), and does
// not have to be in the majority (CM-04).
func (r *Raft) advanceCommitIndex() {
	agreed := Index(r.voters.Agreed(r.matchOf))
	if agreed <= r.commitIndex {
		return
	}
	if term, known := r.log.term(agreed); !known || term != r.currentTerm {
		return
	}
	r.commit(agreed, MajorityHasIt)
	r.leaveIfRemoved()
}

// matchOf gives the index up to which a voter's durable log equals the leader's.
func (r *Raft) matchOf(id NodeID) uint64 {
	if id == r.id {
		return uint64(r.log.durable)
	}
	if p := r.peer(id); p != nil {
		return uint64(p.matchIndex)
	}
	return 0
}

// commit raises commitIndex to index, or leaves it.
func (r *Raft) commit(index Index, reason Reason) {
	if index <= r.commitIndex {
		return
	}
	r.commitIndex = index
	r.event(Event{Kind: Committed, Reason: reason, Index: index})
	done := 0
	for done < len(r.uncommitted) && r.uncommitted[done].last <= index {
		r.uncommittedBytes -= r.uncommitted[done].bytes
		done++
	}
	if done > 0 {
		r.uncommitted = append(r.uncommitted[:0], r.uncommitted[done:]...)
	}
}

// leaveIfRemoved: a leader that is no voter of the committed configuration has
// finished its own removal, and steps down (§4.2.2, EL-21).
func (r *Raft) leaveIfRemoved() {
	if r.log.configuration().ID.Index <= r.commitIndex && !r.voters.Contains(r.id) {
		r.becomeFollower(r.currentTerm, None, RemovedFromConfiguration, None)
	}
}

// ownTermCommitted reports whether a leader has committed an entry of its term, so
// that its commitIndex is as new as any leader's before it (§6.4, RD-01).
func (r *Raft) ownTermCommitted() bool { return r.noop != 0 && r.commitIndex >= r.noop }
