package check

import (
	"fmt"

	"github.com/quorate/quorate/raft"
)

// A Violation is a broken property.
type Violation struct {
	// Property is its row in the table of properties and its name, as
	// "B-1 Election Safety".
	Property string
	Group    raft.GroupID
	Node     raft.NodeID // at which it was seen; raft.None if at none
	Message  string
}

// Error tells what is broken, where and how.
func (v *Violation) Error() string {
	if v.Node == raft.None {
		return fmt.Sprintf("%s: group %d: %s", v.Property, v.Group, v.Message)
	}
	return fmt.Sprintf("%s: group %d, node %d: %s", v.Property, v.Group, v.Node, v.Message)
}

// The properties, as Violation.Property names them.
const (
	ElectionSafety      = "B-1 Election Safety"
	LeaderAppendOnly    = "B-2 Leader Append-Only"
	LogMatching         = "B-3 Log Matching"
	UniqueCreation      = "B-4 Unique Creation"
	CommitDefinition    = "B-5 Commit Definition"
	LeaderCompleteness  = "B-6 Leader Completeness"
	StateMachineSafety  = "B-7 State Machine Safety"
	CommittedAppendOnly = "B-8 Committed Append-Only"
	Monotonic           = "B-9 Monotonic"
	VoteDurability      = "B-10 Vote Durability"
	AckDurability       = "B-11 Ack Durability"
	IndexOrder          = "B-12 Index Order"
	NoCommitByOldTerm   = "B-13 No Commit by Old Term"
	SnapshotConsistency = "B-14 Snapshot Consistency"
	ConfigurationInUse  = "B-15 Configuration in Use"
	CandidateTerm       = "B-18 Candidate Term Not in Logs"
	Linearizability     = "B-20 Linearizability"
	MonotoneReads       = "B-21 Monotone Reads"
	ReadFreshness       = "B-22 Read Freshness"
	LeaderStickiness    = "B-27 Leader Stickiness"
	Progress            = "B-28 Progress"
	FlowBounds          = "B-29 Flow Bounds"
	Idempotence         = "B-30 Idempotence"
	StateTransitions    = "B-31 State Transitions"
	// Recovery: what a replica finds after a restart is what was durable when
	// it stopped, or that and all of the write that was under way (PS-04).
	Recovery = "PS-04 Recovery"
)
