package raft

import "github.com/quorate/quorate/raft/quorum"

// startPreElection asks whether an election could be won, before it disturbs
// anyone (§9.6): the term stays, nothing is written.
func (r *Raft) startPreElection(reason Reason) {
	r.state = PreCandidate
	r.leader = None
	r.leaderAlive = false
	r.votes = r.votes[:0]
	r.restartElectionTimer = true
	r.event(Event{Kind: PreElectionStarted, Reason: reason, ID: r.log.lastID(), Index: Index(r.currentTerm + 1)})
	if r.voters.Contains(r.id) {
		r.votes = append(r.votes, ballot{from: r.id, granted: true})
	}
	if r.voters.Decide(r.voted) == quorum.Won {
		r.startElection(reason)
		return
	}
	r.askVoters(&PreVote{Term: r.currentTerm + 1, LastLog: r.log.lastID()})
}

// handlePreVote answers as RequestVote would be answered in m.Term, and changes
// nothing: no term, no vote, no timer (EL-15). Who hears a leader would not vote.
func (r *Raft) handlePreVote(from NodeID, m *PreVote) {
	last := r.log.lastID()
	reason := LogUpToDate
	switch {
	case m.Term < r.currentTerm:
		reason = OlderTerm
	case r.hearsLeader():
		reason = LeaderAlive
	case m.Term == r.currentTerm && r.votedFor != None && r.votedFor != from:
		reason = AlreadyVoted
	case !m.LastLog.AtLeastAsUpToDate(last):
		reason = LogBehind
	}
	if reason != LogUpToDate {
		r.event(Event{Kind: PreVoteRefused, Reason: reason, Peer: from, ID: m.LastLog, Own: last})
		// The own term lets a candidate that is behind catch up (EL-16, EL-17).
		r.reply(from, &PreVoteResponse{Term: r.currentTerm}, true)
		return
	}
	r.event(Event{Kind: PreVoteGranted, Reason: reason, Peer: from, ID: m.LastLog, Own: last})
	r.send(from, &PreVoteResponse{Term: m.Term, Granted: true})
}

// handlePreVoteResponse counts an answer of this pre-election. A refusal with a
// newer term has made a follower of us before it comes here.
func (r *Raft) handlePreVoteResponse(from NodeID, m *PreVoteResponse) {
	if r.state != PreCandidate || m.Granted && m.Term != r.currentTerm+1 {
		r.event(Event{Kind: VoteIgnored, Reason: NotCampaigning, Peer: from})
		return
	}
	r.recordVote(from, m.Granted)
	if r.voters.Decide(r.voted) == quorum.Won {
		r.startElection(MajorityGranted)
	}
}

// hearsLeader reports whether there is a leader as far as this replica can tell:
// it leads itself with contact to a majority, or heard one within the least
// election timeout.
func (r *Raft) hearsLeader() bool {
	if r.state == Leader {
		return !r.cfg.DisableCheckQuorum
	}
	return r.leaderAlive
}
