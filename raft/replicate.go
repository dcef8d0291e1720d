package raft

import "github.com/quorate/quorate/raft/quorum"

// propose appends what a client wants, at the leader only (RP-01).
func (r *Raft) propose(in *Propose) {
	refused := noReason
	switch {
	case r.state != Leader:
		refused = NotLeader
	case in.Count < 1 || in.Bytes < 0:
		refused = NothingProposed
	case r.uncommittedBytes > 0 && r.uncommittedBytes+in.Bytes > r.cfg.MaxUncommittedBytes:
		// One batch is taken however large, or it could never be (FC-04).
		refused = TooManyUncommitted
	}
	if refused != noReason {
		r.event(Event{Kind: ProposalRefused, Reason: refused})
		r.effects.Proposed = Proposed{Refused: refused}
		return
	}
	before := r.log.lastID()
	first := before.Index + 1
	r.appendOwn(Index(in.Count), FromProposal)
	r.event(Event{Kind: EntriesProposed, ID: before, Index: r.log.last})
	r.uncommitted = append(r.uncommitted, batch{last: r.log.last, bytes: in.Bytes})
	r.uncommittedBytes += in.Bytes
	r.effects.Proposed = Proposed{First: first, Last: r.log.last, Term: r.currentTerm}
}

// appendOwn appends count entries of the own term.
func (r *Raft) appendOwn(count Index, source Source) {
	first := r.log.last + 1
	run := [1]TermRun{{First: first, Term: r.currentTerm}}
	r.appendToLog(first, r.log.last+count, run[:], source)
}

// sendTo sends a peer what it can take now: entries, a snapshot if its entries
// are gone, a probe while it is not known where the logs agree, or the news of a
// commitIndex (CM-09). Without contact, and while the runtime is still busy with
// the entries handed to it before, it sends nothing (FC-07).
func (r *Raft) sendTo(p *progress) {
	if p.sending || !p.contact || p.mode == installing {
		return
	}
	if p.mode == probe && p.paused {
		return
	}
	if p.nextIndex < r.log.first {
		r.sendSnapshot(p, EntriesCompacted)
		return
	}
	switch {
	case p.mode == probe && p.nextIndex == r.noop && r.noop != 0:
		// The no-op goes with the first probe: one entry without content costs
		// nothing if it is refused, and saves a round trip if it is not (RP-10).
		p.paused = true
		r.sendEntries(p, r.noop)
	case p.mode == probe:
		r.sendEmpty(p)
	case p.nextIndex <= r.log.last && !p.held && !p.inFlight.full(&r.cfg):
		r.sendEntries(p, r.log.last)
	case p.commitTold < min(r.commitIndex, p.nextIndex-1):
		r.sendEmpty(p)
	}
}

// sendEntries names the entries from nextIndex to last; the runtime attaches
// them, or a prefix of them, and answers with Sent.
func (r *Raft) sendEntries(p *progress, last Index) {
	p.sending, p.sendingPrev, p.sendingLast = true, p.nextIndex-1, last
	p.commitTold = min(r.commitIndex, last)
	r.send(p.id, r.appendEntries(p.nextIndex-1, last))
}

// sendEmpty sends an AppendEntries without entries: a heartbeat, a probe, the
// news of a commitIndex, or all of these. Its consistency check is at the end of
// what the peer should have by now, so that a loss shows (FC-02).
func (r *Raft) sendEmpty(p *progress) {
	prev := max(p.nextIndex, r.log.first) - 1
	if p.mode == probe {
		p.paused = true
	}
	if prev == p.nextIndex-1 {
		p.commitTold = min(r.commitIndex, prev)
	}
	r.send(p.id, r.appendEntries(prev, prev))
}

// appendEntries gives the message for the entries (prev, last]. In one step the
// peers that need the same share one.
func (r *Raft) appendEntries(prev, last Index) *AppendEntries {
	if m := r.shared; m != nil && m.Prev.Index == prev && m.Last == last &&
		m.Commit == r.commitIndex && m.Round == r.round {
		return m
	}
	// One allocation for the usual message, whose entries are of one term.
	m := &struct {
		AppendEntries
		run [1]TermRun
	}{AppendEntries: AppendEntries{
		Term:   r.currentTerm,
		Prev:   r.log.id(prev),
		Last:   last,
		Commit: r.commitIndex,
		Round:  r.round,
	}}
	if last > prev {
		m.Runs = r.log.appendRuns(m.run[:0], prev+1, last)
	}
	r.shared = &m.AppendEntries
	return r.shared
}

// heartbeatTimeout sends a sign of life to everybody. It carries the round that
// reads may be waiting for, and is the next try for every peer that was paused.
func (r *Raft) heartbeatTimeout() {
	r.arm(HeartbeatTimer)
	for i := range r.progress {
		p := &r.progress[i]
		p.held = false
		r.sendEmpty(p)
		if p.nextIndex < r.log.first {
			p.paused = false // the heartbeat was no probe; a snapshot may be
		}
	}
}

// quorumContactTimeout: a leader that no majority answered since the last time
// steps down, for somebody else may lead by now (§6.2, EL-18).
func (r *Raft) quorumContactTimeout() {
	contact := r.voters.Decide(func(id NodeID) quorum.Vote {
		if id == r.id {
			return quorum.Granted
		}
		if p := r.peer(id); p != nil && p.active {
			return quorum.Granted
		}
		return quorum.Refused
	})
	if contact != quorum.Won && !r.cfg.DisableCheckQuorum {
		r.becomeFollower(r.currentTerm, None, NoQuorumContact, None)
		return
	}
	for i := range r.progress {
		p := &r.progress[i]
		p.contact, p.active = p.active, false
	}
	r.arm(QuorumContactTimer)
}

// heard notes an answer of a peer in the current term, and the round it echoes.
// It gives nil if the answer means nothing here.
func (r *Raft) heard(from NodeID, round uint64) *progress {
	if r.state != Leader {
		r.event(Event{Kind: AnswerIgnored, Reason: NotLeader, Peer: from})
		return nil
	}
	p := r.peer(from)
	if p == nil {
		r.event(Event{Kind: AnswerIgnored, Reason: UnknownPeer, Peer: from})
		return nil
	}
	if round > r.round {
		r.event(Event{Kind: AnswerIgnored, Reason: Malformed, Peer: from})
		return nil
	}
	p.active, p.contact, p.held = true, true, false
	p.round = max(p.round, round)
	return p
}

// handleAppendEntriesResponse is Figure 2, rules for leaders: after a success
// advance matchIndex and nextIndex, after a refusal try further back.
func (r *Raft) handleAppendEntriesResponse(from NodeID, m *AppendEntriesResponse) {
	p := r.heard(from, m.Round)
	if p == nil {
		return
	}
	r.confirmReads()
	if p.nextIndex < r.log.first && p.mode == probe {
		p.paused = false // the pause after a failed transfer ends with a sign of life
	}
	switch {
	case m.Match > r.log.last || m.Prev > r.log.last:
		r.event(Event{Kind: AnswerIgnored, Reason: Malformed, Peer: from})
	case m.Success:
		r.accepted(p, m)
	default:
		r.refused(p, m)
	}
}

// accepted: the peer's log is durable up to Match, and equal up to Prev.
func (r *Raft) accepted(p *progress, m *AppendEntriesResponse) {
	known := max(m.Match, m.Prev)
	switch {
	case p.mode == replicate || known < p.matchIndex || known+1 < r.log.first:
		// Entries sent ahead stay sent ahead.
	case p.mode == probe && known+1 >= p.nextIndex,
		p.mode == installing:
		// Also a peer that has what it needs by other means needs no snapshot
		// any more (SN-09).
		p.becomeReplicate(known + 1)
		r.event(Event{Kind: PeerReplicated, Reason: MatchFound, Peer: p.id, Index: p.nextIndex})
	}
	if m.Match > p.matchIndex {
		p.matched(m.Match)
		r.event(Event{Kind: PeerMatched, Peer: p.id, Index: m.Match})
		r.advanceCommitIndex()
	}
}

// refused: the peer does not hold Prev. matchIndex stays (RP-09, RP-18); the next
// probe is at the last entry that both may hold, at least a term further back
// (RP-08).
func (r *Raft) refused(p *progress, m *AppendEntriesResponse) {
	stale := m.Prev <= p.matchIndex || p.mode == installing ||
		p.mode == probe && m.Prev != p.nextIndex-1 || p.mode == replicate && m.Prev >= p.nextIndex
	if stale {
		r.event(Event{Kind: AnswerIgnored, Reason: StaleAnswer, Peer: p.id})
		return
	}
	common := r.log.lastAtMost(m.Hint.Term, min(m.Hint.Index, m.Prev-1)).Index
	if m.Hint.Index < common {
		common = m.Hint.Index // nothing that the peer may hold is left in the log
	}
	// Strictly back, whatever the hint says.
	next := min(common+1, m.Prev)
	p.becomeProbe(next)
	r.event(Event{Kind: PeerProbed, Reason: PeerRefused, Peer: p.id, Index: p.nextIndex})
}

// sent: the runtime sent a prefix of the entries that it was handed, perhaps
// nothing of them.
func (r *Raft) sent(in *Sent) {
	p := r.peer(in.Peer)
	if p == nil || !p.sending {
		return
	}
	p.sending = false
	if in.Last <= p.sendingPrev || in.Last > p.sendingLast {
		p.held = true
		p.commitTold = 0
		return
	}
	if p.mode != replicate || p.sendingPrev >= p.nextIndex {
		return
	}
	p.commitTold = min(p.commitTold, in.Last)
	if in.Last >= p.nextIndex {
		p.nextIndex = in.Last + 1
		p.inFlight.add(batch{last: in.Last, bytes: in.Bytes})
	}
}

// peerUnreachable: what was on its way is probably lost. Ask at the next
// heartbeat what arrived (FC-01).
func (r *Raft) peerUnreachable(id NodeID) {
	p := r.peer(id)
	if p == nil || p.mode == installing {
		return
	}
	p.becomeProbe(p.matchIndex + 1)
	p.paused = true
	r.event(Event{Kind: PeerProbed, Reason: PeerLost, Peer: id, Index: p.nextIndex})
}

// unreadable: a leader that cannot read its own log cannot serve its followers.
func (r *Raft) unreadable(index Index) {
	if r.state != Leader {
		return
	}
	r.event(Event{Kind: EntryUnreadable, Index: index})
	r.becomeFollower(r.currentTerm, None, LogUnreadable, None)
}
