package check

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/anishathalye/porcupine"
)

// A Model is a sequential specification: what a state machine answers to one
// operation after another, written as simply as can be.
type Model struct {
	// Init gives the state before all operations.
	Init func() any
	// Step gives what an operation makes of a state, and what it answers. A state
	// is a value: Step does not change the one that it is given.
	Step func(state, input any) (next, answer any)
	// Partition, if not nil, names the part of the state that an operation looks
	// at and changes; parts are judged one by one, which is much faster.
	Partition func(input any) string
	// Equal, if not nil, compares an answer with what Step gives, instead of
	// reflect.DeepEqual; Same likewise compares states.
	Equal, Same func(a, b any) bool
}

// Operation is what a client asked, and saw.
type Operation struct {
	Client int
	// Input is what the model is given; Output is what was answered, meaningless
	// if Unknown.
	Input, Output any
	// Unknown: it was not answered; it takes effect at some time up to Return, or
	// never if Return is Never.
	Unknown bool
	// Call and Return are times on one clock.
	Call, Return int64
}

// Never is the Return of an operation that may still take effect.
const Never = math.MaxInt64

// ErrUndecided is wrapped by the error about a part of a history that was not
// decided in time.
var ErrUndecided = errors.New("not decided")

// Linearizable judges a history. It gives an error that names the part if there
// is no order of the operations in which each takes effect at one moment between
// its Call and its Return and is answered as the model says. Patience, if not
// zero, bounds the time; a part that was not decided in it is an ErrUndecided.
func (m *Model) Linearizable(history []Operation, patience time.Duration) error {
	var parts []string
	byPart := map[string][]porcupine.Operation{}
	for i := range history {
		op := &history[i]
		part := ""
		if m.Partition != nil {
			part = m.Partition(op.Input)
		}
		if byPart[part] == nil {
			parts = append(parts, part)
		}
		byPart[part] = append(byPart[part], porcupine.Operation{ClientId: op.Client, Input: op, Output: op, Call: op.Call, Return: op.Return})
	}
	model := m.porcupine()
	for _, part := range parts {
		name := ""
		if m.Partition != nil {
			name = part + ": "
		}
		switch porcupine.CheckOperationsTimeout(model, byPart[part], patience) {
		case porcupine.Ok:
		case porcupine.Illegal:
			return fmt.Errorf("%s: %sno order of %d operations explains what clients saw", Linearizability, name, len(byPart[part]))
		default:
			return fmt.Errorf("%s: %s%w within %v", Linearizability, name, ErrUndecided, patience)
		}
	}
	return nil
}

func (m *Model) porcupine() porcupine.Model {
	equal, same := m.Equal, m.Same
	if equal == nil {
		equal = reflect.DeepEqual
	}
	if same == nil {
		same = reflect.DeepEqual
	}
	return porcupine.Model{
		Init: m.Init,
		Step: func(state, _, output any) (bool, any) {
			op := output.(*Operation)
			next, answer := m.Step(state, op.Input)
			return op.Unknown || equal(op.Output, answer), next
		},
		Equal: same,
	}
}
