// Package rsm is the contract of a replicated state machine. Whoever implements
// it is given the committed commands of a group, in order, each once, on every
// replica; equal commands in equal order must give equal state and equal results
// (CM-10): no clock, no chance, no map order may show.
//
// The package decides nothing about replication; node and sim drive it.
package rsm

import (
	"context"
	"io"

	"github.com/quorate/quorate/raft"
)

// Entry is one committed command.
type Entry struct {
	// Index is its place in the log. Indexes rise; those between are entries of
	// the protocol itself.
	Index raft.Index
	// Term is the term of the leader that created it.
	Term raft.Term
	// Timestamp is the earliest time, in nanoseconds since the Unix epoch, at
	// which the leader's clock says the command was appended. The only time that
	// a state machine may use; it is the same on every replica, and may go back
	// when the leader changes.
	Timestamp int64
	// Command is valid until Apply returns.
	Command []byte
	// Result is set by Apply and handed to the proposer.
	Result Result
}

// Result is what a command answers.
type Result struct {
	// Value is for state machines that answer with a number.
	Value uint64
	// Data is for those that answer with bytes. The state machine does not
	// touch it after Apply.
	Data []byte
}

// StateMachine is a state machine that lives in memory: after a restart it is
// restored from its newest snapshot, and the log after it is applied again.
//
// Apply, Snapshot and Restore are called by one goroutine at a time, Read by any
// number at once and beside Apply.
type StateMachine interface {
	// Apply applies a batch of commands in order and sets each Result. A
	// command that is refused by the state machine's own rules is a Result, not
	// an error: an error means that this replica cannot go on, and stops the
	// group here.
	Apply(entries []Entry) error
	// Read answers a query from the state as it is. Linearizability is the
	// caller's business: node calls it when the state is new enough.
	Read(ctx context.Context, query any) (any, error)
	// Snapshot returns a view of the state as of the last Apply. It must be
	// cheap; the view is written out while Apply goes on (SN-10).
	Snapshot() (View, error)
	// Restore replaces the whole state by what a view wrote. After an error the
	// state machine is not used again.
	Restore(r io.Reader) error
	// Close releases what the state machine holds.
	Close() error
}

// View is a consistent picture of a state machine.
type View interface {
	// WriteSnapshot writes the picture; ctx ends it early.
	WriteSnapshot(ctx context.Context, w io.Writer) error
	// Close releases the picture; called once, after WriteSnapshot or instead.
	Close() error
}

// OnDisk is a state machine that keeps its state durable by itself. It is given
// only entries that are committed and durable in the local log, and the log is
// kept from its durable index on.
type OnDisk interface {
	StateMachine
	// DurableIndex is the index up to which the effects of Apply survive a crash
	// now. It never falls, and it is stored atomically with those effects
	// (CM-07). Called from any goroutine, also first of all, before Apply.
	DurableIndex() raft.Index
	// Flush asks that DurableIndex soon reach what is applied; it need not wait.
	// Called when the log that is kept for this state machine grows too long.
	Flush()
}
