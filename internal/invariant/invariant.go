// Package invariant reports broken invariants: bugs of our own, never bad bytes
// from outside. A broken invariant stops the group that it belongs to, loudly,
// with its state; it never ends the host process.
package invariant

import "fmt"

// Error is a broken invariant. It is the value that Failf panics with; whoever
// runs a group recovers it, stops the group and reports it.
type Error struct{ Message string }

// Error gives the message.
func (e *Error) Error() string { return "invariant broken: " + e.Message }

// Failf panics with an *Error. The condition stands at the call site, so that
// the arguments cost nothing while it holds.
func Failf(format string, args ...any) {
	panic(&Error{Message: fmt.Sprintf(format, args...)})
}
