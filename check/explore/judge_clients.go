package explore

import (
	"fmt"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
)

// clientJudge holds answers against each other (B-20). What clients see of a group
// is what they are answered, and that alone: their commands append to a list; what
// is proposed is answered with the list up to it, when the leader that was asked has
// applied it, and a read with the list that its replica has then. Entries that
// leaders append by themselves are none of theirs. There is an order of all commands
// that explains the answers, or else they are wrong.
//
// Of the group's state it uses committed, as the longest list that was answered, and
// floors, as what had been answered when a read began.
type clientJudge struct {
	w   *world
	s   *state // after what has happened
	at  int
	was *local // the replica at which it has, before
	err *check.Violation
}

func (j *clientJudge) judge(o *outcome) *check.Violation {
	is := j.w.locals.at(j.s.locals[j.at])
	applied := is.replica.applied
	if is.state == raft.Leader && j.was.state == raft.Leader && j.was.term == is.term {
		for index := applied; index > j.was.replica.applied; index-- {
			if is.live.at(index) == is.term && is.live.command(index) {
				j.answered(is.live.prefix(index), 0)
				break
			}
		}
	}
	for _, read := range o.reads {
		if read.Refused == 0 && read.Index <= applied {
			j.answered(is.live.prefix(applied), raft.Index(nibble(j.s.floors, int(read.Read))))
		}
	}
	j.s.ended(j.was.waiting &^ is.waiting)
	if j.s.committed != 0 {
		j.threatened(is, o)
	}
	return j.err
}

// threatened looks for what no client sees, and each soon may: it leads the search.
func (j *clientJudge) threatened(is *local, o *outcome) {
	lacks := is.term > j.s.committed.lastID().Term && !is.live.holds(j.s.committed)
	if o.committed && lacks && is.state == raft.Leader && is.live.at(is.commit) == is.term {
		j.fail(check.StateMachineSafety, "leader of term %d commits %v; a client was answered with %v", is.term, is.live, j.s.committed)
	}
	if o.elected && lacks {
		j.fail(check.LeaderCompleteness, "leader of term %d has log %v; a client was answered with %v", is.term, is.live, j.s.committed)
	}
	lacking := 0
	for i := range j.w.scope.Voters {
		if !j.w.locals.at(j.s.locals[i]).disk.holds(j.s.committed) {
			lacking++
		}
	}
	if lacking > j.w.scope.Voters/2 {
		j.fail(QuorumLog, "%d of %d disks lack something of %v, with which a client was answered", lacking, j.w.scope.Voters, j.s.committed)
	}
}

// answered is that a client is answered with the list that log makes. Up to floor
// another had been answered when it asked.
func (j *clientJudge) answered(log terms, floor raft.Index) {
	answer, longest := log.commands(), j.s.committed.commands()
	n := min(len(answer), len(longest))
	for i := range n {
		if answer[i] != longest[i] {
			j.fail(check.Linearizability, "a client is answered with %v; another was with %v", answer, longest)
			return
		}
	}
	if known := j.s.committed.prefix(floor).commands(); len(answer) < len(known) {
		j.fail(check.Linearizability, "a client is answered with %v, and asked when another had been answered with %v", answer, known)
		return
	}
	if len(answer) > n {
		j.s.committed = log.prefix(answer[len(answer)-1].Index)
	}
}

func (j *clientJudge) fail(property, format string, args ...any) {
	if j.err == nil && j.w.judges(property) {
		j.err = &check.Violation{Property: property, Group: 1, Node: raft.NodeID(j.at + 1), Message: fmt.Sprintf(format, args...)}
	}
}

// command reports whether the entry at index is one that a client proposed: the
// first of each term is its leader's own.
func (t terms) command(index raft.Index) bool {
	return t.at(index) != 0 && t.at(index) == t.at(index-1)
}

// commands gives the entries that clients proposed.
func (t terms) commands() []raft.EntryID {
	var list []raft.EntryID
	for index := raft.Index(2); index <= t.last(); index++ {
		if t.command(index) {
			list = append(list, raft.EntryID{Term: t.at(index), Index: index})
		}
	}
	return list
}
