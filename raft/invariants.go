package raft

import "github.com/quorate/quorate/internal/invariant"

// checkEverything turns on the invariants whose cost grows with the state. Tests
// set it; it is on under the build tag invariants.
var checkEverything = costlyInvariants

// before is what checkStep compares the state after a step with: monotonicity and
// once-per-term rules are invisible in a single state.
type before struct {
	currentTerm Term
	votedFor    NodeID
	commitIndex Index
	lastApplied Index
	last        EntryID
	state       State
	seq         Seq
}

// take notes the state before a step.
func (b *before) take(r *Raft) {
	b.currentTerm, b.votedFor = r.currentTerm, r.votedFor
	b.commitIndex, b.lastApplied = r.commitIndex, r.lastApplied
	b.last = r.log.lastID()
	b.state = r.state
	b.seq = r.seq
}

// checkStep compares the state with that before the step. A broken invariant is a
// bug of ours; the runtime stops the group.
func (r *Raft) checkStep() {
	b := &r.before
	switch {
	case r.currentTerm < b.currentTerm:
		invariant.Failf("replica %d: term fell from %d to %d (EL-02)", r.id, b.currentTerm, r.currentTerm)
	case r.currentTerm == b.currentTerm && b.votedFor != None && r.votedFor != b.votedFor:
		invariant.Failf("replica %d: changed its vote in term %d from %d to %d (EL-06)",
			r.id, r.currentTerm, b.votedFor, r.votedFor)
	case r.commitIndex < b.commitIndex:
		invariant.Failf("replica %d: commitIndex fell from %d to %d (CM-05)", r.id, b.commitIndex, r.commitIndex)
	case r.lastApplied < b.lastApplied || r.lastApplied > r.commitIndex:
		invariant.Failf("replica %d: lastApplied went from %d to %d with commitIndex %d",
			r.id, b.lastApplied, r.lastApplied, r.commitIndex)
	case r.log.first > r.log.snapshot.ID.Index+1 || r.log.snapshot.ID.Index > r.commitIndex ||
		r.commitIndex > r.log.last:
		invariant.Failf("replica %d: log begins at %d, snapshot %v, commitIndex %d, log ends at %d",
			r.id, r.log.first, r.log.snapshot.ID, r.commitIndex, r.log.last)
	case r.log.durable > r.log.last:
		invariant.Failf("replica %d: durable to %d in a log that ends at %d", r.id, r.log.durable, r.log.last)
	case r.log.lastID().Term > r.currentTerm:
		invariant.Failf("replica %d: last entry %v is newer than term %d", r.id, r.log.lastID(), r.currentTerm)
	case r.state == Leader && b.state != Leader && (b.state != Candidate || r.currentTerm != b.currentTerm):
		invariant.Failf("replica %d: became leader of term %d as %v of term %d (EL-01)",
			r.id, r.currentTerm, b.state, b.currentTerm)
	case b.state == Leader && (r.state == Candidate || r.state == PreCandidate):
		invariant.Failf("replica %d: a leader became %v (EL-01)", r.id, r.state)
	case r.state == Leader && b.state == Leader:
		if term, known := r.log.term(b.last.Index); r.currentTerm != b.currentTerm ||
			r.log.last < b.last.Index || known && term != b.last.Term {
			invariant.Failf("replica %d: leader of term %d rewrote its log after %v", r.id, r.currentTerm, b.last)
		}
	}
	if r.state == Leader && r.commitIndex > b.commitIndex {
		if term, _ := r.log.term(r.commitIndex); term != r.currentTerm {
			invariant.Failf("replica %d: leader of term %d committed %d of term %d (CM-01)",
				r.id, r.currentTerm, r.commitIndex, term)
		}
	}
	for i := range r.progress {
		p := &r.progress[i]
		if p.matchIndex >= p.nextIndex || p.matchIndex > r.log.last || p.nextIndex > r.log.last+1 {
			invariant.Failf("replica %d: peer %d has matchIndex %d, nextIndex %d in a log that ends at %d (RP-09)",
				r.id, p.id, p.matchIndex, p.nextIndex, r.log.last)
		}
	}
	if checkEverything {
		r.checkShape()
	}
}

// checkShape checks the whole log shape, and what is derived from it.
func (r *Raft) checkShape() {
	l := &r.log
	if l.last+1 < l.first {
		invariant.Failf("replica %d: log [%d, %d]", r.id, l.first, l.last)
	}
	if l.first <= l.last {
		if err := validateRuns(l.prevTerm, l.first, l.last, l.runs); err != nil {
			invariant.Failf("replica %d: %v", r.id, err)
		}
	} else if len(l.runs) > 0 {
		invariant.Failf("replica %d: empty log from %d has terms %v", r.id, l.first, l.runs)
	}
	if err := validateConfigurations(l, l.configurations); err != nil {
		invariant.Failf("replica %d: %v", r.id, err)
	}
	if len(l.configurations) > 0 && l.configurations[0].ID.Index <= l.snapshot.ID.Index {
		invariant.Failf("replica %d: configuration %v is behind the snapshot %v",
			r.id, l.configurations[0].ID, l.snapshot.ID)
	}
	previous := pendingWrite{seq: r.persistedSeq}
	for _, w := range l.pending {
		if w.seq <= previous.seq || w.last > l.last {
			invariant.Failf("replica %d: pending write %d up to %d follows %d in a log that ends at %d",
				r.id, w.seq, w.last, previous.seq, l.last)
		}
		previous = w
	}
	if r.promised > l.last {
		invariant.Failf("replica %d: promised %d in a log that ends at %d", r.id, r.promised, l.last)
	}
	if bytes := 0; r.state == Leader {
		for _, b := range r.uncommitted {
			bytes += b.bytes
		}
		if bytes != r.uncommittedBytes {
			invariant.Failf("replica %d: uncommitted %d bytes counted as %d", r.id, bytes, r.uncommittedBytes)
		}
	}
	if r.state != Leader && (len(r.progress) > 0 || len(r.reads.waiting)+len(r.reads.confirming) > 0) {
		invariant.Failf("replica %d: %v has a leader's state", r.id, r.state)
	}
}
