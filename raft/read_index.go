package raft

import "github.com/quorate/quorate/raft/quorum"

// reads are the linearizable reads that a leader has been asked for (§6.4).
type reads struct {
	// waiting wait for a committed entry of the own term (RD-01), and then for
	// the next round.
	waiting []read
	// confirming wait for the round confirmingRound, which began after them, and
	// may then read at index (RD-02, RD-04).
	confirming      []read
	confirmingRound uint64
	index           Index
}

// read is one read: this replica's own if from is None, else forwarded by a
// follower.
type read struct {
	id   ReadID
	from NodeID
}

// readIndex is a read of this replica's own. A follower asks the leader (RD-05).
func (r *Raft) readIndex(id ReadID) {
	switch {
	case r.state == Leader:
		r.queueRead(read{id: id})
	case r.leader == None:
		r.refuseRead(read{id: id}, NoLeader)
	default:
		r.reply(r.leader, &ReadIndexRequest{Term: r.currentTerm, Read: id}, true)
	}
}

// handleReadIndexRequest is a read that a follower forwards.
func (r *Raft) handleReadIndexRequest(from NodeID, m *ReadIndexRequest) {
	if r.state != Leader || m.Term < r.currentTerm {
		r.refuseRead(read{id: m.Read, from: from}, NotLeader)
		return
	}
	r.queueRead(read{id: m.Read, from: from})
}

// handleReadIndexResponse answers a read that was forwarded. The runtime knows
// whether it still waits for it.
func (r *Raft) handleReadIndexResponse(from NodeID, m *ReadIndexResponse) {
	if m.Index == 0 {
		r.event(Event{Kind: ReadRefused, Reason: NotLeader, Peer: from})
		r.effects.Reads = append(r.effects.Reads, ReadState{Read: m.Read, Refused: NotLeader})
		return
	}
	r.effects.Reads = append(r.effects.Reads, ReadState{Read: m.Read, Index: m.Index})
}

// queueRead lets a read wait for the next round.
func (r *Raft) queueRead(rd read) {
	if len(r.reads.waiting)+len(r.reads.confirming) >= r.cfg.MaxPendingReads {
		r.refuseRead(rd, TooManyReads)
		return
	}
	r.reads.waiting = append(r.reads.waiting, rd)
}

// advanceReads begins a round for the reads that wait, unless one is under way.
func (r *Raft) advanceReads() {
	q := &r.reads
	if len(q.waiting) == 0 || len(q.confirming) > 0 || !r.ownTermCommitted() {
		return
	}
	q.waiting, q.confirming = q.confirming, q.waiting
	q.index = r.commitIndex
	r.round++
	q.confirmingRound = r.round
	r.event(Event{Kind: ReadRoundStarted, Index: Index(r.round)})
	if r.voters.Sole(r.id) {
		r.confirmReads()
		return
	}
	for i := range r.progress {
		if p := &r.progress[i]; r.voters.Contains(p.id) {
			r.sendEmpty(p)
		}
	}
}

// confirmReads answers the reads whose round a majority has answered: nobody else
// led when it began, so nothing newer than index was committed before (RD-07: both
// majorities if joint; a leader that is no voter does not count itself).
func (r *Raft) confirmReads() {
	q := &r.reads
	if len(q.confirming) == 0 || r.voters.Decide(r.confirmed) != quorum.Won {
		return
	}
	r.event(Event{Kind: ReadsConfirmed, Index: q.index})
	for _, rd := range q.confirming {
		if rd.from == None {
			r.effects.Reads = append(r.effects.Reads, ReadState{Read: rd.id, Index: q.index})
			continue
		}
		r.reply(rd.from, &ReadIndexResponse{Term: r.currentTerm, Read: rd.id, Index: q.index}, true)
	}
	q.confirming = q.confirming[:0]
}

// confirmed tells whether a voter has answered the round under way.
func (r *Raft) confirmed(id NodeID) quorum.Vote {
	if id == r.id {
		return quorum.Granted
	}
	if p := r.peer(id); p != nil && p.round >= r.reads.confirmingRound {
		return quorum.Granted
	}
	return quorum.Pending
}

// refuseReads answers all reads that wait, for want of leadership.
func (r *Raft) refuseReads(reason Reason) {
	for _, rd := range r.reads.confirming {
		r.refuseRead(rd, reason)
	}
	for _, rd := range r.reads.waiting {
		r.refuseRead(rd, reason)
	}
	r.reads.confirming, r.reads.waiting = r.reads.confirming[:0], r.reads.waiting[:0]
	r.reads.confirmingRound, r.reads.index = 0, 0
}

// refuseRead answers one read without an index.
func (r *Raft) refuseRead(rd read, reason Reason) {
	r.event(Event{Kind: ReadRefused, Reason: reason, Peer: rd.from})
	if rd.from == None {
		r.effects.Reads = append(r.effects.Reads, ReadState{Read: rd.id, Refused: reason})
		return
	}
	r.reply(rd.from, &ReadIndexResponse{Term: r.currentTerm, Read: rd.id}, true)
}
