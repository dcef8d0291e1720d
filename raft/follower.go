package raft

// becomeFollower ends whatever the replica was. A newer term clears vote and
// leader (EL-02); leader is known if it was heard in that term. The election
// timer goes on if it runs (EL-04).
func (r *Raft) becomeFollower(term Term, leader NodeID, reason Reason, from NodeID) {
	wasLeader := r.state == Leader
	if term > r.currentTerm {
		r.setHardState(term, None)
		r.leaderAlive = false
		r.promised = 0
		r.state = Follower
		r.event(Event{Kind: TermAdopted, Peer: from})
	}
	r.state = Follower
	r.leader = leader
	r.votes = r.votes[:0]
	if reason != NewerTerm || wasLeader {
		r.event(Event{Kind: BecameFollower, Reason: reason, Peer: leader})
	}
	if wasLeader {
		r.stopLeading()
	}
}

// stopLeading drops what only a leader has.
func (r *Raft) stopLeading() {
	r.stop(HeartbeatTimer)
	r.stop(QuorumContactTimer)
	clear(r.progress)
	r.progress = r.progress[:0]
	r.noop = 0
	r.uncommitted, r.uncommittedBytes = r.uncommitted[:0], 0
	r.refuseReads(LeadershipLost)
}

// heardLeader is a sign of life of the leader of the current term: the wait for
// an election begins anew (EL-04) and votes are withheld (EL-14).
func (r *Raft) heardLeader(leader NodeID) {
	r.leader = leader
	r.leaderAlive = true
	r.restartElectionTimer = true
	r.arm(StickinessTimer)
}

// electable reports whether this replica may stand for election: it is a voter of
// its latest configuration, or was one of a configuration that the latest,
// uncommitted one replaces (EL-21), and has no snapshot half installed (EL-23).
// Without a configuration nobody is (EL-22).
func (r *Raft) electable() bool { return r.whyNotElectable() == noReason }

// whyNotElectable gives the reason, or none.
func (r *Raft) whyNotElectable() Reason {
	if !r.voters.Contains(r.id) && !r.votedBefore() {
		return NotVoter
	}
	if r.resetSeq > r.persistedSeq {
		return SnapshotNotInstalled
	}
	if r.currentTerm >= maxTerm {
		return TermsExhausted
	}
	return noReason
}

// votedBefore reports whether this replica is a voter of a configuration that may
// still be in force elsewhere: the last committed one or one after it.
func (r *Raft) votedBefore() bool {
	for i := len(r.log.configurations) - 1; i >= 0; i-- {
		c := &r.log.configurations[i]
		if c.Configuration.hasVoter(r.id) {
			return true
		}
		if c.ID.Index <= r.commitIndex {
			return false
		}
	}
	return r.log.snapshot.Configuration.Configuration.hasVoter(r.id)
}

// hasVoter reports whether id votes in either half.
func (c *Configuration) hasVoter(id NodeID) bool {
	for i := range c.Members {
		if c.Members[i].ID == id && c.Members[i].Role == Voter {
			return true
		}
	}
	for _, voter := range c.Outgoing {
		if voter == id {
			return true
		}
	}
	return false
}

// runElectionTimer keeps one rule after every step: the election timer runs at
// whoever is electable and does not lead, and nowhere else.
func (r *Raft) runElectionTimer() {
	if r.state == Leader || !r.electable() {
		r.stop(ElectionTimer)
		return
	}
	if r.restartElectionTimer || !r.timers[ElectionTimer].armed {
		r.arm(ElectionTimer)
	}
}

// campaign stands for election, after a poll if so configured (§9.6).
func (r *Raft) campaign(reason Reason) {
	if r.state == Leader {
		return
	}
	if why := r.whyNotElectable(); why != noReason {
		r.event(Event{Kind: NotElectable, Reason: why})
		return
	}
	if r.cfg.DisablePreVote {
		r.startElection(reason)
		return
	}
	r.startPreElection(reason)
}
