package raft

import "github.com/quorate/quorate/raft/quorum"

// startElection is Figure 2, rules for candidates: next term, vote for itself,
// ask all other voters. The requests leave while the own vote is being written;
// it counts once it is durable (EL-05, EL-09).
func (r *Raft) startElection(reason Reason) {
	r.setHardState(r.currentTerm+1, r.id)
	r.voteSeq = r.seq
	r.state = Candidate
	r.leader = None
	r.leaderAlive = false
	r.promised = 0
	r.votes = r.votes[:0]
	r.restartElectionTimer = true
	r.event(Event{Kind: ElectionStarted, Reason: reason, ID: r.log.lastID()})
	r.askVoters(&RequestVote{
		Term:     r.currentTerm,
		LastLog:  r.log.lastID(),
		Transfer: reason == TransferAsked,
	})
}

// askVoters sends a request for a vote to all other voters, of both halves.
func (r *Raft) askVoters(request Body) {
	for _, id := range r.voters.Incoming {
		if id != r.id {
			r.send(id, request)
		}
	}
	for _, id := range r.voters.Outgoing {
		if id != r.id && !(quorum.Voters[NodeID]{Incoming: r.voters.Incoming}).Contains(id) {
			r.send(id, request)
		}
	}
}

// handleRequestVoteResponse counts a vote. One that was given to another log than
// ours does not count: it answers a request that this replica sent before a crash
// took the end of its log.
func (r *Raft) handleRequestVoteResponse(from NodeID, m *RequestVoteResponse) {
	switch {
	case r.state != Candidate:
		r.event(Event{Kind: VoteIgnored, Reason: NotCampaigning, Peer: from})
	case m.Granted && m.LastLog != r.log.lastID():
		r.event(Event{Kind: VoteIgnored, Reason: GrantForAnotherLog, Peer: from, ID: m.LastLog})
	default:
		r.recordVote(from, m.Granted)
		r.countVotes()
	}
}

// countOwnVote counts the own vote once it is durable. Without that nobody leads,
// whatever the others grant: a crash could make it lead the same term twice.
func (r *Raft) countOwnVote() {
	if r.voteSeq > r.persistedSeq || r.voted(r.id) != quorum.Pending {
		return
	}
	r.votes = append(r.votes, ballot{from: r.id, granted: true})
	r.event(Event{Kind: OwnVoteCounted})
	r.countVotes()
}

// recordVote notes an answer; a grant stands, whatever else the network delivers.
func (r *Raft) recordVote(from NodeID, granted bool) {
	if granted {
		r.event(Event{Kind: VoteCounted, Peer: from})
	} else {
		r.event(Event{Kind: VoteLost, Peer: from})
	}
	for i := range r.votes {
		if r.votes[i].from == from {
			r.votes[i].granted = r.votes[i].granted || granted
			return
		}
	}
	if !r.voters.Contains(from) {
		return // a learner's or a stranger's vote decides nothing (EL-08)
	}
	r.votes = append(r.votes, ballot{from: from, granted: granted})
}

// voted gives the answer of one voter.
func (r *Raft) voted(id NodeID) quorum.Vote {
	for _, b := range r.votes {
		if b.from == id {
			if b.granted {
				return quorum.Granted
			}
			return quorum.Refused
		}
	}
	return quorum.Pending
}

// countVotes makes a leader of a candidate with a majority of the voters of its
// latest configuration (EL-08).
func (r *Raft) countVotes() {
	if r.voteSeq > r.persistedSeq {
		return
	}
	if r.voters.Decide(r.voted) == quorum.Won {
		r.becomeLeader()
	}
}

// becomeLeader is Figure 2, rules for leaders, upon election. Progress is set up
// before the no-op is appended, so that it is sent to everybody (EL-13).
func (r *Raft) becomeLeader() {
	r.state = Leader
	r.leader = r.id
	r.leaderAlive = false
	r.stop(StickinessTimer)
	r.votes = r.votes[:0]
	r.round = 0
	r.resetProgress()
	r.noop = r.log.last + 1
	r.event(Event{Kind: BecameLeader, Reason: MajorityGranted, Index: r.noop})
	r.appendOwn(1, NoOp)
	r.arm(HeartbeatTimer)
	r.arm(QuorumContactTimer)
}
