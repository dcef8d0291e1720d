package raft

// handleTimeoutNow is §3.10 at the receiver: the leader hands over, so the
// election begins at once, without a poll, and lifts vote stickiness (LT-01).
// Only the leader of this very term may ask (LT-05).
func (r *Raft) handleTimeoutNow(from NodeID, m *TimeoutNow) {
	if m.Term != r.currentTerm || r.state != Follower || r.leader != from {
		r.event(Event{Kind: MessageDropped, Reason: NotLeader, Peer: from})
		return
	}
	if why := r.whyNotElectable(); why != noReason {
		r.event(Event{Kind: NotElectable, Reason: why})
		return
	}
	r.startElection(TransferAsked)
}
