package explore

import (
	"fmt"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
)

// OwnInvariants is the property that raft's own checks hold and that it refuses
// nothing that its runtime may do.
const OwnInvariants = "raft's own invariants"

// Idempotence is the property that a message delivered twice in a row does no
// more than once.
const Idempotence = "B-30 Idempotence"

// digest is what the judges look at of a replica.
type digest struct {
	term, diskTerm raft.Term
	vote           raft.NodeID
	state          raft.State
	commit         raft.Index
	snapshot       raft.Index
	live, disk     terms
	match          [maxReplicas + 1]raft.Index // of a leader, by id
	waiting        uint16
}

func (r *replica) digest() digest {
	status := r.core.Status()
	d := digest{
		term: status.HardState.CurrentTerm, vote: status.HardState.VotedFor, state: status.State,
		commit: status.CommitIndex, snapshot: status.Snapshot.Index,
		live: r.live().log, disk: r.disk.log, diskTerm: r.disk.hard.CurrentTerm, waiting: r.waiting,
	}
	for _, p := range status.Peers {
		d.match[p.ID] = p.MatchIndex
	}
	return d
}

// replicaJudge looks at one event at one replica: whatever can be judged without
// the others.
type replicaJudge struct {
	w             *world
	in            input
	before, after *replica
	was, is       digest
	effect        *effect
	err           *check.Violation
}

func (j *replicaJudge) fail(property, format string, args ...any) {
	if j.err == nil && j.w.judges(property) {
		j.err = &check.Violation{Property: property, Group: 1, Node: j.after.id, Message: fmt.Sprintf(format, args...)}
	}
}

func (j *replicaJudge) judge() *check.Violation {
	crashed := j.in.kind() == opCrash && j.in < firstMessage
	j.shape()
	j.disk(crashed)
	if !crashed {
		j.monotone()
		for i := range j.effect.wrote {
			j.write(&j.effect.wrote[i])
		}
	}
	for i := range j.effect.messages {
		j.leaves(&j.effect.messages[i])
	}
	return j.err
}

// shape compares what the core believes with what it asked to be written (B-12).
func (j *replicaJudge) shape() {
	core, live := j.after.core, j.after.live()
	status := core.Status()
	if status.HardState != live.hard || status.FirstIndex != live.first || status.LastLog.Index != live.log.last() ||
		status.Snapshot != live.snapshot.ID {
		j.fail(check.LogMatching, "holds log [%d, %v] on snapshot %v of %+v and asked to write [%d, %d] on %v of %+v",
			status.FirstIndex, status.LastLog, status.Snapshot, status.HardState,
			live.first, live.log.last(), live.snapshot.ID, live.hard)
		return
	}
	for index := live.first - 1; index <= live.log.last(); index++ {
		if term, known := core.Term(index); !known || term != live.log.at(index) {
			j.fail(check.LogMatching, "takes entry %d for one of term %d and asked to write %v", index, term, live.log)
		}
	}
	if status.Snapshot.Index > status.CommitIndex || status.CommitIndex > status.LastLog.Index ||
		status.AppliedIndex > status.CommitIndex || status.FirstIndex > status.Snapshot.Index+1 || status.DurableIndex > status.LastLog.Index {
		j.fail(check.IndexOrder, "log [%d, %d] on snapshot %v, durable %d, commitIndex %d, lastApplied %d",
			status.FirstIndex, status.LastLog.Index, status.Snapshot, status.DurableIndex, status.CommitIndex, status.AppliedIndex)
	}
	if status.LastLog.Term > status.HardState.CurrentTerm {
		j.fail(check.Monotonic, "log ends in %v in term %d", status.LastLog, status.HardState.CurrentTerm)
	}
	for _, p := range status.Peers {
		if p.MatchIndex >= p.NextIndex || p.MatchIndex > status.LastLog.Index || p.NextIndex > status.LastLog.Index+1 {
			j.fail(check.IndexOrder, "peer %d has matchIndex %d, nextIndex %d in a log that ends at %d",
				p.ID, p.MatchIndex, p.NextIndex, status.LastLog.Index)
		}
	}
}

// disk checks that what survives never goes back: terms do not fall and votes do
// not change (B-10: so a vote that left is the vote for ever), what the snapshot
// covers stays, and no entry is behind a newer one.
func (j *replicaJudge) disk(crashed bool) {
	was, is := &j.before.disk, &j.after.disk
	switch {
	case is.hard.CurrentTerm < was.hard.CurrentTerm:
		j.fail(check.Monotonic, "term on disk falls from %d to %d", was.hard.CurrentTerm, is.hard.CurrentTerm)
	case is.hard.CurrentTerm == was.hard.CurrentTerm && was.hard.VotedFor != raft.None && is.hard.VotedFor != was.hard.VotedFor:
		j.fail(check.VoteDurability, "vote of term %d on disk changes from %d to %d", is.hard.CurrentTerm, was.hard.VotedFor, is.hard.VotedFor)
	case is.snapshot.ID.Index < was.snapshot.ID.Index:
		j.fail(check.Monotonic, "snapshot on disk falls from %v to %v", was.snapshot.ID, is.snapshot.ID)
	}
	if crashed && (j.after.core.State() != raft.Follower || j.is.commit > j.was.commit) {
		j.fail(check.Recovery, "starts as %v with commitIndex %d, which was %d before the crash", j.after.core.State(), j.is.commit, j.was.commit)
	}
}

// monotone compares the states before and after (B-2, B-8, B-9, B-13).
func (j *replicaJudge) monotone() {
	was, is := &j.was, &j.is
	switch {
	case is.term < was.term:
		j.fail(check.Monotonic, "currentTerm falls from %d to %d", was.term, is.term)
	case is.term == was.term && was.vote != raft.None && is.vote != was.vote:
		j.fail(check.VoteDurability, "votes in term %d for %d, and did for %d", is.term, is.vote, was.vote)
	case is.commit < was.commit:
		j.fail(check.Monotonic, "commitIndex falls from %d to %d", was.commit, is.commit)
	case is.snapshot < was.snapshot:
		j.fail(check.Monotonic, "snapshot falls from %d to %d", was.snapshot, is.snapshot)
	case is.live.prefix(was.commit) != was.live.prefix(was.commit):
		j.fail(check.CommittedAppendOnly, "log %v, committed up to %d, becomes %v", was.live, was.commit, is.live)
	}
	if was.state != raft.Leader || is.state != raft.Leader || was.term != is.term {
		return
	}
	if !is.live.holds(was.live) {
		j.fail(check.LeaderAppendOnly, "leader of term %d replaces its log %v by %v", is.term, was.live, is.live)
	}
	if is.commit > was.commit && is.live.at(is.commit) != is.term {
		j.fail(check.NoCommitByOldTerm, "leader of term %d raises commitIndex to %d.%d", is.term, is.live.at(is.commit), is.commit)
	}
	for id := range is.match {
		if is.match[id] < was.match[id] {
			j.fail(check.Monotonic, "matchIndex of %d falls from %d to %d", id, was.match[id], is.match[id])
		}
	}
}

// write checks one write: entries are contiguous and are created by the leader of
// their term alone (B-4), and a snapshot replaces what it should (B-14).
func (j *replicaJudge) write(w *wrote) {
	if w.First != 0 {
		last := w.before.log.last()
		if w.ResetLog {
			last = max(w.Reset.ID.Index, last)
		}
		if w.First > last+1 || w.First < w.after.first || len(w.Runs) == 0 || w.Runs[0].First != w.First {
			j.fail(check.LogMatching, "writes [%d, %d] into a log [%d, %d]", w.First, w.Last, w.before.first, last)
			return
		}
		if w.Source != raft.FromMessage {
			for index := w.First; index <= w.Last; index++ {
				if w.state != raft.Leader || w.after.log.at(index) != w.after.hard.CurrentTerm {
					j.fail(check.UniqueCreation, "%v of term %d creates %d.%d", w.state, w.after.hard.CurrentTerm, w.after.log.at(index), index)
				}
			}
			if w.First != last+1 {
				j.fail(check.LeaderAppendOnly, "leader of term %d replaces its log from %d on", w.after.hard.CurrentTerm, w.First)
			}
		}
	}
	if w.ResetLog || w.Compact != 0 {
		id := w.Reset.ID
		if w.after.log.at(id.Index) != id.Term {
			j.fail(check.SnapshotConsistency, "log %v rests on snapshot %v", w.after.log, id)
		}
		if w.ResetLog && !w.KeepSuffix && w.before.log.at(id.Index) == id.Term && w.before.log.last() > id.Index {
			j.fail(check.SnapshotConsistency, "installing %v removes the entries after it from %v, though it matched", id, w.before.log)
		}
	}
}

// leaves checks what a message promises when it leaves (B-9, B-10, B-11).
func (j *replicaJudge) leaves(m *message) {
	live, disk := j.after.live(), &j.after.disk
	limit := live.hard.CurrentTerm
	switch b := m.body.(type) {
	case *raft.PreVote:
		limit++
	case *raft.PreVoteResponse:
		if b.Granted {
			limit = b.Term // echoes what was asked (EL-16)
		}
	case *raft.RequestVoteResponse:
		if h := disk.hard; b.Granted && (h.CurrentTerm < b.Term || h.CurrentTerm == b.Term && h.VotedFor != m.to) {
			j.fail(check.VoteDurability, "grants its vote of term %d to %d with term %d, vote %d on disk", b.Term, m.to, h.CurrentTerm, h.VotedFor)
		}
	case *raft.AppendEntriesResponse:
		if b.Success {
			j.acknowledges(b.Term, b.Match)
		}
	case *raft.InstallSnapshotResponse:
		if b.Match > 0 {
			j.acknowledges(b.Term, b.Match)
		}
	case *raft.AppendEntries:
		j.replicates(b)
	}
	if term := m.body.MessageTerm(); term > limit {
		j.fail(check.Monotonic, "sends %v in term %d", m, limit)
	}
}

// acknowledges checks that what is acknowledged is durable, and stays so whatever
// of the writes under way a crash will let through.
func (j *replicaJudge) acknowledges(term raft.Term, match raft.Index) {
	disk := &j.after.disk
	if disk.hard.CurrentTerm < term || disk.hard.CurrentTerm == term && disk.log.last() < match {
		j.fail(check.AckDurability, "acknowledges %d in term %d with term %d, log %v on disk", match, term, disk.hard.CurrentTerm, disk.log)
		return
	}
	for i := range j.after.queue {
		// In a newer term it may have been told otherwise.
		if later := &j.after.queue[i]; later.hard.CurrentTerm == term && disk.hard.CurrentTerm == term &&
			later.log.prefix(match) != disk.log.prefix(match) {
			j.fail(check.AckDurability, "acknowledges %d in term %d with log %v on disk, which a write under way makes %v", match, term, disk.log, later.log)
		}
	}
}

// replicates checks that an AppendEntries is a leader's, and of its own log.
func (j *replicaJudge) replicates(b *raft.AppendEntries) {
	log := j.after.live().log
	if j.is.state != raft.Leader || j.is.term != b.Term {
		return // the last words of a leader that stepped down in the same event
	}
	if b.Prev.Index > 0 && log.at(b.Prev.Index) != b.Prev.Term || b.Last > log.last() || b.Commit > j.is.commit {
		j.fail(check.LogMatching, "sends entries after %v up to %d, committed %d, out of log %v, committed %d", b.Prev, b.Last, b.Commit, log, j.is.commit)
		return
	}
	run := 0
	for index := b.Prev.Index + 1; index <= b.Last; index++ {
		for run+1 < len(b.Runs) && b.Runs[run+1].First <= index {
			run++
		}
		if log.at(index) != b.Runs[run].Term {
			j.fail(check.LogMatching, "sends entry %d.%d out of log %v", b.Runs[run].Term, index, log)
		}
	}
}
