package raft

import "fmt"

// NodeID names a node, and in a configuration the replica that a group has on
// that node. An id is never reused (MB-19); zero is no node.
type NodeID uint64

// None is the NodeID of nobody: no vote given, no leader known.
const None NodeID = 0

// GroupID names a group: one Raft log and its state machine.
type GroupID uint64

// Term is the paper's logical clock (§5.1). Zero is before the first election.
type Term uint64

// Index is a position in a group's log. The first entry has index 1.
type Index uint64

// Incarnation is born with a data directory: 64 random bits, never zero. A
// replica that lost its disk has another incarnation and is refused under its
// old id (PS-09).
type Incarnation uint64

// EntryID names an entry: by Log Matching two logs that hold the same EntryID
// hold the same entries up to and including it.
type EntryID struct {
	Term  Term
	Index Index
}

// AtLeastAsUpToDate is the comparison of §5.4.1: the log that ends in id may
// lead a voter whose log ends in other.
func (id EntryID) AtLeastAsUpToDate(other EntryID) bool {
	if id.Term != other.Term {
		return id.Term > other.Term
	}
	return id.Index >= other.Index
}

// String gives term.index, as stories and traces write an entry.
func (id EntryID) String() string { return fmt.Sprintf("%d.%d", id.Term, id.Index) }

// TermRun says that one term wrote all the indexes from First up to the next
// run's First, or to the end of the range that the runs describe.
type TermRun struct {
	First Index
	Term  Term
}

// HardState is what Figure 2 keeps on stable storage beside the log. It is
// durable before any message that depends on it leaves (PS-01).
type HardState struct {
	CurrentTerm Term
	VotedFor    NodeID
}

// Seq numbers the Persist effects of one group, from 1, without a gap. A
// completion names a write by its Seq and not by term and index, because the
// same pair can be written, overwritten and written again (PS-08).
type Seq uint64
