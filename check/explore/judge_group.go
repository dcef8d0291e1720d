package explore

import (
	"fmt"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
)

// QuorumLog is the property that every quorum that could elect a leader has a
// member with all that was ever committed on its disk.
const QuorumLog = "B-17 Quorum Log"

// ElectionQuorum and CommitQuorum are the properties that whoever leads has the
// votes of a quorum of its configuration, and that what is committed first is held
// by one, of both halves if it is joint.
const (
	ElectionQuorum = "EL-08 Election Quorum"
	CommitQuorum   = "CM-12 Commit Quorum"
)

// groupJudge looks at an event at the replica at, whose state was was, in the
// group's state after it, and adds to the state what is to be remembered.
type groupJudge struct {
	w   *world
	s   *state
	at  int
	was *local
	err *check.Violation
}

func (j *groupJudge) fail(property, format string, args ...any) {
	if j.err == nil && j.w.judges(property) {
		j.err = &check.Violation{Property: property, Group: 1, Node: raft.NodeID(j.at + 1), Message: fmt.Sprintf(format, args...)}
	}
}

func (j *groupJudge) local(i int) *local { return j.w.locals.at(j.s.locals[i]) }

func (j *groupJudge) judge(o *outcome) *check.Violation {
	is := j.local(j.at)
	if o.logChanged || o.diskChanged {
		j.logMatching(is)
	}
	if o.elected {
		j.elected(is)
	}
	if o.committed {
		j.commit(is)
	}
	if o.committed || o.diskChanged {
		j.quorumLog()
	}
	if o.matched {
		for i := range j.w.scope.members() {
			j.counted(j.at, i)
		}
	}
	if o.diskChanged {
		for i := range j.w.scope.members() {
			j.counted(i, j.at)
		}
	}
	for _, a := range o.acks {
		j.acknowledged(is, a)
	}
	for _, read := range o.reads {
		if floor := raft.Index(nibble(j.s.floors, int(read.Read))); read.Refused == 0 && read.Index < floor {
			j.fail(check.ReadFreshness, "read %d may read at %d; %d was committed when it began", read.Read, read.Index, floor)
		}
	}
	j.s.ended(j.was.waiting &^ is.waiting)
	return j.err
}

// logMatching is B-3, of logs in memory and on disk.
func (j *groupJudge) logMatching(is *local) {
	for i := range j.w.scope.members() {
		l := j.local(i)
		for _, mine := range [2]terms{is.live, is.disk} {
			for _, other := range [2]terms{l.live, l.disk} {
				if !mine.matches(other) {
					j.fail(check.LogMatching, "log %v does not match %v of %d", mine, other, i+1)
				}
			}
		}
	}
}

// elected is B-1, over all history, and B-6.
func (j *groupJudge) elected(is *local) {
	if other := j.s.leader(is.term); other != raft.None {
		// Also the same replica: after a crash it does not know what it did.
		j.fail(check.ElectionSafety, "becomes leader of term %d, as %d did", is.term, other)
	}
	if h := is.replica.disk.hard; h.CurrentTerm != is.term || h.VotedFor != raft.NodeID(j.at+1) {
		j.fail(check.VoteDurability, "becomes leader of term %d with term %d, vote %d on disk", is.term, h.CurrentTerm, h.VotedFor)
	}
	if !j.majority(func(l *local) bool {
		h := l.replica.disk.hard
		return h.CurrentTerm > is.term || h.CurrentTerm == is.term && h.VotedFor == raft.NodeID(j.at+1)
	}) {
		j.fail(ElectionQuorum, "becomes leader of term %d, and no quorum has its vote for it on disk", is.term)
	}
	j.s.leaders |= uint64(j.at+1) << (4 * is.term)
	known := j.s.committed.last()
	for known > 0 && j.s.by.at(known) >= is.term {
		known--
	}
	if !is.live.holds(j.s.committed.prefix(known)) {
		j.fail(check.LeaderCompleteness, "becomes leader of term %d with log %v; %v was committed before", is.term, is.live, j.s.committed.prefix(known))
	}
}

// commit is B-5, B-7 and B-8: what a replica takes for committed is what was, and
// what is committed first is held by all who could be elected.
func (j *groupJudge) commit(is *local) {
	known := j.s.committed.last()
	mine := is.live.prefix(is.commit)
	if mine.prefix(known) != j.s.committed.prefix(is.commit) {
		j.fail(check.StateMachineSafety, "commits %v where %v was committed", mine, j.s.committed)
		return
	}
	if is.commit <= known {
		return
	}
	if is.state != raft.Leader {
		j.fail(check.CommitDefinition, "%v commits %d; the last one committed is %d", is.state, is.commit, known)
		return
	}
	for i := range j.w.scope.members() {
		l := j.local(i)
		for _, log := range [2]terms{l.disk, l.live} {
			if !log.holds(mine) && j.electable(log.lastID()) {
				j.fail(check.CommitDefinition, "commits %v, but %d, whose log is %v, could be elected", mine, i+1, log)
			}
		}
	}
	if !j.majority(func(l *local) bool { return l.disk.holds(mine) }) {
		j.fail(CommitQuorum, "commits %v, which no quorum has on disk", mine)
	}
	j.s.committed = mine
	for index := known + 1; index <= is.commit; index++ {
		j.s.by = j.s.by.with(index, is.term)
	}
}

// electable reports whether a log that ends in last could be voted for by a
// majority (by both, in a joint configuration).
func (j *groupJudge) electable(last raft.EntryID) bool {
	return j.majority(func(l *local) bool {
		return last.AtLeastAsUpToDate(l.disk.lastID()) || last.AtLeastAsUpToDate(l.live.lastID())
	})
}

// majority reports whether each needed majority has a property. It asks the scope
// who votes, and nobody of raft.
func (j *groupJudge) majority(has func(l *local) bool) bool {
	n := 0
	for i := range j.w.scope.Voters {
		if has(j.local(i)) {
			n++
		}
	}
	if n <= j.w.scope.Voters/2 {
		return false
	}
	outgoing := j.w.scope.Outgoing
	n = 0
	for _, id := range outgoing {
		if has(j.local(int(id) - 1)) {
			n++
		}
	}
	return len(outgoing) == 0 || n > len(outgoing)/2
}

// quorumLog is B-17: those who lack something of what was committed, on their
// disks, are not enough to elect.
func (j *groupJudge) quorumLog() {
	if j.err != nil || j.s.committed == 0 {
		return
	}
	if j.majority(func(l *local) bool { return !l.disk.holds(j.s.committed) }) {
		j.fail(QuorumLog, "a quorum of disks lacks something of %v, which was committed", j.s.committed)
	}
}

// counted checks that what a leader counts of a peer is on the peer's disk, unless
// that has gone on to a newer term.
func (j *groupJudge) counted(leader, peer int) {
	l, p := j.local(leader), j.local(peer)
	match := l.match[peer+1]
	if l.state == raft.Leader && match > 0 && p.diskTerm <= l.term && p.disk.prefix(match) != l.live.prefix(match) {
		j.fail(check.AckDurability, "%d leads term %d with log %v, and has matchIndex %d of %d, whose log on disk is %v",
			leader+1, l.term, l.live, match, peer+1, p.disk)
	}
}

// acknowledged is B-11, as far as it matters: if the leader that it is said to
// still leads, what is acknowledged is what the leader has.
func (j *groupJudge) acknowledged(is *local, a ack) {
	if is.diskTerm > a.term {
		return // the log may have been replaced since; and it votes no more in that term
	}
	for i := range j.w.scope.members() {
		if l := j.local(i); l.state == raft.Leader && l.term == a.term && is.disk.prefix(a.match) != l.live.prefix(a.match) {
			j.fail(check.AckDurability, "acknowledges %d in term %d with log %v on disk; the leader has %v", a.match, a.term, is.disk, l.live)
		}
	}
}
