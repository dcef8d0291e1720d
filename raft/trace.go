package raft

// Event is one thing that happened in a step, with its reason: what a log line
// says, a test prints and a checker replays. Fields that a kind does not use are
// zero.
type Event struct {
	Kind   EventKind
	Reason Reason
	// Term and State are those of the replica when the event happened.
	Term  Term
	State State
	// Peer is the other replica, if there is one.
	Peer NodeID
	// ID and Index mean what the kind says.
	ID    EntryID
	Index Index
}
