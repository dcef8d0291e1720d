package raft

// withholdsVote reports whether a request for a vote in a newer term is ignored,
// term and all, because a leader is alive (§4.2.3): servers that were removed or
// cut off depose nobody. A leader that hands over lifts this for the very next
// term (EL-14, LT-07).
func (r *Raft) withholdsVote(m *RequestVote) bool {
	if r.cfg.DisableStickiness || m.Transfer && m.Term == r.currentTerm+1 {
		return false
	}
	return r.hearsLeader()
}

// handleRequestVote is Figure 2, RequestVote RPC, receiver implementation:
//
//  1. refuse a candidate of an older term;
//  2. grant, if this term's vote is free or already this candidate's, and the
//     candidate's log is at least as up-to-date as ours.
//
// The term rule for all servers ran in Step, so m.Term is not newer than ours.
// The receiver's configuration is not asked: a learner or a server that has not
// heard of its removal answers by the same rules (EL-20, RP-14). A candidate that
// asks again is compared again, for a crash may have shortened its log since.
func (r *Raft) handleRequestVote(from NodeID, m *RequestVote) {
	last := r.log.lastID()
	reason := LogUpToDate
	switch {
	case m.Term < r.currentTerm:
		reason = OlderTerm
	case r.votedFor != None && r.votedFor != from:
		reason = AlreadyVoted
	case !m.LastLog.AtLeastAsUpToDate(last):
		reason = LogBehind
	}
	response := &RequestVoteResponse{
		Term:    r.currentTerm,
		Granted: reason == LogUpToDate,
		LastLog: m.LastLog,
	}
	if !response.Granted {
		r.event(Event{Kind: VoteRefused, Reason: reason, Peer: from, ID: m.LastLog, Own: last})
		r.reply(from, response, true)
		return
	}
	r.event(Event{Kind: VoteGranted, Reason: reason, Peer: from, ID: m.LastLog, Own: last})
	if r.votedFor == None {
		r.setHardState(r.currentTerm, from)
	}
	r.restartElectionTimer = true
	// A granted vote is a promise. Sent before it is on disk, a restart could
	// vote again in the same term and elect two leaders (Election Safety). The
	// same reply holds the answer back while an earlier grant is being written.
	r.reply(from, response, true)
}
