package raft

import "github.com/quorate/quorate/internal/invariant"

// sendSnapshot begins a transfer to a peer whose next entries are gone (SN-05).
// One at a time: a peer whose last transfer has not ended waits for it (FC-06).
func (r *Raft) sendSnapshot(p *progress, reason Reason) {
	if p.snapshotInFlight {
		p.mode = installing
		return
	}
	p.mode = installing
	p.inFlight.clear()
	p.snapshotInFlight = true
	p.snapshotIndex = r.log.snapshot.ID.Index
	r.event(Event{Kind: PeerSentSnapshot, Reason: reason, Peer: p.id})
	r.effects.Snapshots = append(r.effects.Snapshots, SendSnapshot{Peer: p.id, Term: r.currentTerm, Round: r.round})
}

// compacted: the entries that a peer was to be sent are gone.
func (r *Raft) compacted(id NodeID) {
	p := r.peer(id)
	if p == nil || !p.sending {
		return
	}
	p.sending = false
	if p.mode != installing {
		r.sendSnapshot(p, EntriesCompacted)
	}
}

// snapshotSent ends a transfer. Whether the peer took it, its answer says; a lost
// answer is made up for by a probe behind the snapshot (SN-09). A failed transfer
// is tried again after the next heartbeat.
func (r *Raft) snapshotSent(in *SnapshotSent) {
	p := r.peer(in.Peer)
	if p == nil || !p.snapshotInFlight {
		return
	}
	p.snapshotInFlight = false
	if p.mode != installing {
		return
	}
	if in.OK {
		p.becomeProbe(p.snapshotIndex + 1)
		r.event(Event{Kind: PeerProbed, Reason: TransferDone, Peer: p.id, Index: p.nextIndex})
		return
	}
	p.becomeProbe(p.matchIndex + 1)
	p.paused = true
	r.event(Event{Kind: PeerProbed, Reason: TransferFailed, Peer: p.id, Index: p.nextIndex})
}

// handleInstallSnapshot is the InstallSnapshot RPC, receiver implementation
// (Figure 5.3 of the dissertation). Every chunk is a sign of life (SN-06); the
// last one makes the snapshot the new beginning of the log:
//
//   - one that is not newer than what is committed is answered with what is
//     committed (SN-08);
//   - if the log holds the snapshot's last entry, what follows it is kept, for it
//     may have been acknowledged (SN-07);
//   - else the whole log goes.
func (r *Raft) handleInstallSnapshot(from NodeID, m *InstallSnapshot) {
	if m.Term < r.currentTerm {
		r.event(Event{Kind: SnapshotIgnored, Reason: OlderTerm, Peer: from, ID: m.Snapshot.ID})
		r.reply(from, &InstallSnapshotResponse{Term: r.currentTerm}, true)
		return
	}
	r.followLeader(from)
	if m.Snapshot.ID.Index <= r.commitIndex {
		r.event(Event{Kind: SnapshotIgnored, Reason: AlreadyCommitted, Peer: from, ID: m.Snapshot.ID})
		r.answerSnapshot(from, m, r.commitIndex)
		return
	}
	if !m.Done {
		return
	}
	r.installSnapshot(from, &m.Snapshot)
	r.answerSnapshot(from, m, m.Snapshot.ID.Index)
}

// installSnapshot puts a snapshot in the place of the log up to it.
func (r *Raft) installSnapshot(from NodeID, snapshot *SnapshotMeta) {
	p := r.persist()
	p.ResetLog, p.Reset = true, *snapshot
	term, known := r.log.term(snapshot.ID.Index)
	p.KeepSuffix = known && term == snapshot.ID.Term
	reason := SuffixDiscarded
	if p.KeepSuffix {
		reason = SuffixMatches
		r.log.truncatePrefix(*snapshot, snapshot.ID.Index+1)
	} else {
		r.log.reset(*snapshot, r.commitIndex, p.Seq)
	}
	r.resetSeq = p.Seq
	r.event(Event{Kind: SnapshotInstalled, Reason: reason, Peer: from, ID: snapshot.ID})
	r.adoptConfiguration()
	r.event(Event{Kind: ConfigurationChanged, ID: r.log.configuration().ID, Voters: r.votersNow()})
	r.commit(snapshot.ID.Index, LeaderCommitted)
	r.effects.Install = *snapshot
}

// answerSnapshot tells the leader up to where the logs are equal and durable.
func (r *Raft) answerSnapshot(from NodeID, m *InstallSnapshot, match Index) {
	r.reply(from, &InstallSnapshotResponse{Term: r.currentTerm, Match: match, Round: m.Round},
		match <= r.log.durable)
}

// handleInstallSnapshotResponse lets replication go on behind the snapshot (SN-09).
func (r *Raft) handleInstallSnapshotResponse(from NodeID, m *InstallSnapshotResponse) {
	p := r.heard(from, m.Round)
	if p == nil {
		return
	}
	r.confirmReads()
	if m.Match > r.log.last || m.Match <= p.matchIndex {
		r.event(Event{Kind: AnswerIgnored, Reason: StaleAnswer, Peer: from})
		return
	}
	p.matched(m.Match)
	r.event(Event{Kind: PeerMatched, Peer: from, Index: m.Match})
	if p.mode != replicate && m.Match+1 >= r.log.first {
		p.becomeReplicate(m.Match + 1)
		r.event(Event{Kind: PeerReplicated, Reason: MatchFound, Peer: from, Index: p.nextIndex})
	}
	r.advanceCommitIndex()
}

// snapshotTaken makes the log rest on an own snapshot, which is durable (SN-03).
// Only what is applied, hence committed, can be in it (SN-01). One that was
// overtaken by an installed snapshot is of no use.
func (r *Raft) snapshotTaken(in *SnapshotTaken) {
	id := in.Snapshot.ID
	if id.Index > r.lastApplied {
		invariant.Failf("replica %d: own snapshot %v is beyond what is applied, %d (SN-01)", r.id, id, r.lastApplied)
	}
	if id.Index <= r.log.snapshot.ID.Index {
		r.event(Event{Kind: SnapshotIgnored, Reason: AlreadyCommitted, Peer: r.id, ID: id})
		return
	}
	if own := r.log.id(id.Index); own != id {
		invariant.Failf("replica %d: own snapshot %v is not of this log, which holds %v", r.id, id, own)
	}
	first := min(max(in.First, r.log.first), id.Index+1)
	r.log.truncatePrefix(in.Snapshot, first)
	p := r.persist()
	p.Compact, p.Reset = first, in.Snapshot
	r.event(Event{Kind: LogCompacted, ID: id, Index: first})
}
