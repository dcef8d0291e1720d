package check

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"github.com/quorate/quorate/raft"
)

// Witnessed is an operation with its place in the order that the log gives:
// commands stand where they were committed, reads behind the last command that
// they saw.
type Witnessed struct {
	Operation
	Index raft.Index
	// Read: it saw the state up to Index and is not itself in the log.
	Read bool
}

// Witness judges whether the log's order explains what clients saw: each
// operation is answered as the model says, and none stands before another that
// was answered before it began. Such an order proves that the history is
// linearizable, in a time in which a search for an order could not always end.
// An operation that never was committed is not in the history.
func (m *Model) Witness(history []Witnessed) error {
	order := slices.Clone(history)
	slices.SortStableFunc(order, func(a, b Witnessed) int {
		if c := cmp.Compare(a.Index, b.Index); c != 0 || a.Read == b.Read {
			return c
		}
		if a.Read {
			return 1
		}
		return -1
	})
	equal := m.Equal
	if equal == nil {
		equal = reflect.DeepEqual
	}
	states := map[string]any{}
	for i := range order {
		op := &order[i]
		part := ""
		if m.Partition != nil {
			part = m.Partition(op.Input)
		}
		state, ok := states[part]
		if !ok {
			state = m.Init()
		}
		next, answer := m.Step(state, op.Input)
		if !op.Unknown && !equal(op.Output, answer) {
			return fmt.Errorf("%s: client %d was answered %v to %v at index %d, want %v", Linearizability, op.Client, op.Output, op.Input, op.Index, answer)
		}
		if !op.Read {
			states[part] = next
		}
	}
	return inTime(order)
}

// inTime holds the order against the clock: nothing stands before what was
// answered before it began.
func inTime(order []Witnessed) error {
	begun, ended := slices.Clone(order), slices.Clone(order)
	slices.SortStableFunc(begun, func(a, b Witnessed) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(ended, func(a, b Witnessed) int { return cmp.Compare(a.Return, b.Return) })
	var newest Witnessed
	next := 0
	for i := range begun {
		for next < len(ended) && ended[next].Return < begun[i].Call {
			if ended[next].Index > newest.Index && !ended[next].Unknown {
				newest = ended[next]
			}
			next++
		}
		if begun[i].Index < newest.Index {
			return fmt.Errorf("%s: client %d was answered from index %d, after client %d was from %d", Linearizability, begun[i].Client, begun[i].Index, newest.Client, newest.Index)
		}
	}
	return nil
}
