package node

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate/raft"
)

// Errors are sorted by what the caller may do next.
//
// Certainly not applied, may be tried again anywhere: ErrNotLeader,
// ErrOverloaded, ErrNotReady, ErrNotProposed, ErrClosed, ErrGroupStopped.
//
// Outcome unknown, the command may still be applied: ErrUnknownOutcome.
//
// Refused, trying again will not help: ErrTooLarge, ErrUnknownGroup.
//
// Reads change nothing and may always be tried again.
var (
	// ErrNotLeader: this replica does not lead. A *NotLeaderError says who does.
	ErrNotLeader = errors.New("node: not leader")
	// ErrOverloaded: a queue is full. Slow down and try again.
	ErrOverloaded = errors.New("node: overloaded")
	// ErrNotReady: the group is not yet created or restored here.
	ErrNotReady = errors.New("node: group not ready")
	// ErrNotProposed: the caller's context ended before the command was appended.
	ErrNotProposed = errors.New("node: not proposed")
	// ErrClosed: the node or the group was closed.
	ErrClosed = errors.New("node: closed")
	// ErrGroupStopped: the group stopped on this node because of a fault, which
	// a *StoppedError carries. Other nodes go on.
	ErrGroupStopped = errors.New("node: group stopped")
	// ErrUnknownOutcome: leadership, the group or the caller's patience was lost
	// while the command was under way. It may have been applied, or may yet be.
	ErrUnknownOutcome = errors.New("node: outcome unknown")
	// ErrTooLarge: the command exceeds MaxEntryBytes.
	ErrTooLarge = errors.New("node: command too large")
	// ErrUnknownGroup: no such group was started on this node.
	ErrUnknownGroup = errors.New("node: unknown group")
)

// NotLeaderError is an ErrNotLeader that says where to go.
type NotLeaderError struct {
	// Leader is who leads, as far as this replica knows; raft.None if nobody.
	Leader raft.NodeID
	Term   raft.Term
}

// Error says who leads.
func (e *NotLeaderError) Error() string {
	if e.Leader == raft.None {
		return fmt.Sprintf("%v: no leader known in term %d; try again", ErrNotLeader, e.Term)
	}
	return fmt.Sprintf("%v: node %d leads term %d", ErrNotLeader, e.Leader, e.Term)
}

// Is makes errors.Is(err, ErrNotLeader) true.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// StoppedError is an ErrGroupStopped with its cause.
type StoppedError struct {
	Group raft.GroupID
	Cause error
}

// Error says why the group stopped.
func (e *StoppedError) Error() string {
	return fmt.Sprintf("%v: group %d: %v", ErrGroupStopped, e.Group, e.Cause)
}

// Is makes errors.Is(err, ErrGroupStopped) true.
func (e *StoppedError) Is(target error) bool { return target == ErrGroupStopped }

// Unwrap gives the cause.
func (e *StoppedError) Unwrap() error { return e.Cause }
