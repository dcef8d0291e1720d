package raft

import "github.com/quorate/quorate/internal/invariant"

// Step takes one input and answers with what the runtime has to do. The Effects
// and its slices are valid until the next Step.
func (r *Raft) Step(in Input) *Effects {
	r.begin()
	switch in := in.(type) {
	case *Receive:
		r.receive(&in.Message)
	case *TimerFired:
		r.timerFired(in)
	case *Persisted:
		r.persisted(in.Seq)
	case *Propose:
		r.propose(in)
	case *ReadIndex:
		r.readIndex(in.Read)
	case *Sent:
		r.sent(in)
	case *Compacted:
		r.compacted(in.Peer)
	case *Unreadable:
		r.unreadable(in.Index)
	case *SnapshotSent:
		r.snapshotSent(in)
	case *SnapshotTaken:
		r.snapshotTaken(in)
	case *Applied:
		r.applied(in.Index)
	case *PeerUnreachable:
		r.peerUnreachable(in.Peer)
	case *Campaign:
		r.campaign(CampaignAsked)
	default:
		invariant.Failf("replica %d: unknown input %T", r.id, in)
	}
	return r.finish()
}

// receive processes a message: first its term, then its content.
func (r *Raft) receive(m *Message) {
	switch {
	case m.From == None || m.From == r.id || m.To != r.id:
		r.event(Event{Kind: MessageDropped, Reason: NotForUs, Peer: m.From})
		return
	case !wellFormed(m.Body):
		r.event(Event{Kind: MessageDropped, Reason: Malformed, Peer: m.From})
		return
	}
	if !r.observeTerm(m) {
		return
	}
	switch body := m.Body.(type) {
	case *PreVote:
		r.handlePreVote(m.From, body)
	case *PreVoteResponse:
		r.handlePreVoteResponse(m.From, body)
	case *RequestVote:
		r.handleRequestVote(m.From, body)
	case *RequestVoteResponse:
		r.handleRequestVoteResponse(m.From, body)
	case *AppendEntries:
		r.handleAppendEntries(m.From, body)
	case *AppendEntriesResponse:
		r.handleAppendEntriesResponse(m.From, body)
	case *InstallSnapshot:
		r.handleInstallSnapshot(m.From, body)
	case *InstallSnapshotResponse:
		r.handleInstallSnapshotResponse(m.From, body)
	case *TimeoutNow:
		r.handleTimeoutNow(m.From, body)
	case *ReadIndexRequest:
		r.handleReadIndexRequest(m.From, body)
	case *ReadIndexResponse:
		r.handleReadIndexResponse(m.From, body)
	}
}

// observeTerm is the rule for all servers (§5.1): a newer term is adopted, and
// makes a follower of whoever was something else (EL-02); an answer of an older
// term is dropped, while a request of an older term reaches its handler, which
// refuses it with the current term (EL-03). It reports whether the message is to
// be processed.
func (r *Raft) observeTerm(m *Message) bool {
	term := m.Body.MessageTerm()
	if term > r.currentTerm {
		leader := None
		switch body := m.Body.(type) {
		case *PreVote:
			return true // asks about a term that nobody has entered yet (EL-15)
		case *PreVoteResponse:
			if body.Granted {
				return true // echoes the term that was asked for (EL-16)
			}
		case *RequestVote:
			if r.withholdsVote(body) {
				r.event(Event{Kind: VoteWithheld, Reason: LeaderAlive, Peer: m.From})
				return false
			}
		case *AppendEntries, *InstallSnapshot:
			leader = m.From
		}
		r.becomeFollower(term, leader, NewerTerm, m.From)
		return true
	}
	if term < r.currentTerm {
		switch m.Body.(type) {
		case *PreVoteResponse, *RequestVoteResponse, *AppendEntriesResponse,
			*InstallSnapshotResponse, *ReadIndexResponse, *TimeoutNow:
			r.event(Event{Kind: MessageDropped, Reason: OlderTerm, Peer: m.From})
			return false
		}
	}
	return true
}

// begin clears what the last step left behind.
func (r *Raft) begin() {
	e := &r.effects
	e.Persist = Persist{}
	clear(e.Send)
	clear(e.AfterSync)
	clear(e.Reads)
	e.Send, e.AfterSync = e.Send[:0], e.AfterSync[:0]
	e.Snapshots, e.Timers = e.Snapshots[:0], e.Timers[:0]
	e.Proposed = Proposed{}
	e.Reads = e.Reads[:0]
	e.Install = SnapshotMeta{}
	e.Trace = e.Trace[:0]
	r.runs = r.runs[:0]
	r.shared = nil
	r.restartElectionTimer = false
	r.before.take(r)
}

// finish adds what every step may entail, and completes its effects.
func (r *Raft) finish() *Effects {
	if r.state == Leader {
		r.advanceReads()
		for i := range r.progress {
			r.sendTo(&r.progress[i])
		}
	}
	r.runElectionTimer()
	e := &r.effects
	if e.Persist.Seq != 0 {
		e.Persist.HardState = HardState{CurrentTerm: r.currentTerm, VotedFor: r.votedFor}
		e.Persist.HardStateChanged = r.hardStateSeq == e.Persist.Seq
	}
	e.AfterSyncSeq = r.seq
	e.Committed = r.commitIndex
	r.checkStep()
	return e
}

// persist gives this step's durable write, and a number to it.
func (r *Raft) persist() *Persist {
	p := &r.effects.Persist
	if p.Seq == 0 {
		r.seq++
		p.Seq = r.seq
	}
	return p
}

// setHardState changes term and vote, here and in this step's write.
func (r *Raft) setHardState(term Term, vote NodeID) {
	r.currentTerm, r.votedFor = term, vote
	r.hardStateSeq = r.persist().Seq
	if n := len(r.hardWrites); n > 0 && r.hardWrites[n-1].seq == r.hardStateSeq {
		r.hardWrites = r.hardWrites[:n-1]
	}
	r.hardWrites = append(r.hardWrites, hardWrite{r.hardStateSeq, HardState{term, vote}})
}

// send lets a message leave at once.
func (r *Raft) send(to NodeID, body Body) {
	r.effects.Send = append(r.effects.Send, Message{From: r.id, To: to, Body: body})
}

// reply answers to. What it promises is durable up to the write that is in the
// queue last, unless durable says that it is durable already. The term in it is a
// promise too (PS-01).
func (r *Raft) reply(to NodeID, body Body, durable bool) {
	if durable && r.hardStateSeq <= r.persistedSeq {
		r.send(to, body)
		return
	}
	r.effects.AfterSync = append(r.effects.AfterSync, Message{From: r.id, To: to, Body: body})
}

// persisted: the writes up to seq are durable.
func (r *Raft) persisted(seq Seq) {
	if seq <= r.persistedSeq || seq > r.seq {
		invariant.Failf("replica %d: write %d reported durable after %d of %d", r.id, seq, r.persistedSeq, r.seq)
	}
	durable := r.log.durable
	r.persistedSeq = seq
	entries := r.log.persisted(seq)
	done := 0
	for done < len(r.hardWrites) && r.hardWrites[done].seq <= seq {
		done++
	}
	if done > 0 {
		w := r.hardWrites[done-1].state
		r.event(Event{Kind: HardStateDurable, Index: Index(w.CurrentTerm), Peer: w.VotedFor})
		r.hardWrites = append(r.hardWrites[:0], r.hardWrites[done:]...)
	}
	if r.log.durable != durable {
		r.event(Event{Kind: LogDurable, Index: r.log.durable})
	}
	switch r.state {
	case Leader:
		if entries {
			r.advanceCommitIndex()
		}
	case Candidate:
		r.countOwnVote()
	case Follower:
		if entries && r.leader != None {
			// A slow disk of our own is not the leader's silence (RP-19).
			r.restartElectionTimer = true
		}
	}
}

// arm starts a timer, anew if it runs.
func (r *Raft) arm(kind TimerKind) {
	t := &r.timers[kind]
	t.generation++
	t.armed = true
	r.effects.Timers = append(r.effects.Timers, Timer{Kind: kind, Generation: t.generation})
}

// stop stops a timer, if it runs.
func (r *Raft) stop(kind TimerKind) {
	t := &r.timers[kind]
	if !t.armed {
		return
	}
	t.armed = false
	r.effects.Timers = append(r.effects.Timers, Timer{Kind: kind, Generation: t.generation, Stop: true})
}

// timerFired: a timer ran out. One that was armed again or stopped since is not
// the one that fired.
func (r *Raft) timerFired(in *TimerFired) {
	if int(in.Kind) >= len(r.timers) {
		return
	}
	t := &r.timers[in.Kind]
	if !t.armed || t.generation != in.Generation {
		return
	}
	t.armed = false
	switch in.Kind {
	case ElectionTimer:
		r.campaign(ElectionTimeout)
	case StickinessTimer:
		r.leaderAlive = false
	case HeartbeatTimer:
		r.heartbeatTimeout()
	case QuorumContactTimer:
		r.quorumContactTimeout()
	}
}

// applied: the state machine has applied the entries up to index.
func (r *Raft) applied(index Index) {
	if index > r.commitIndex {
		invariant.Failf("replica %d: applied %d beyond commitIndex %d", r.id, index, r.commitIndex)
	}
	if index > r.lastApplied {
		r.lastApplied = index
		r.event(Event{Kind: EntriesApplied, Index: index})
	}
}
