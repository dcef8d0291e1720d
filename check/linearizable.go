package check

import (
	"fmt"
	"time"
)

// RegisterOp is what a client did to a register, and saw.
type RegisterOp struct {
	Client int
	// Key names the register; registers are independent, and zero at first.
	Key  uint64
	Kind RegisterKind
	// Argument is what is written, swapped in or appended; Expected is what a
	// compare-and-swap expects.
	Argument, Expected uint64
	// Result is what a read saw, what a write replaced, what an append made of
	// the register, and 1 or 0 for whether a compare-and-swap took place.
	// Meaningless if Unknown.
	Result uint64
	// Unknown: it was not answered; it takes effect at some time up to Return,
	// or never if Return is Never.
	Unknown bool
	// Call and Return are times on one clock.
	Call, Return int64
}

// RegisterKind says what an operation does.
type RegisterKind uint8

// The kinds.
const (
	ReadRegister RegisterKind = iota
	WriteRegister
	CompareAndSwap
	AppendRegister
)

// String gives the kind's name.
func (k RegisterKind) String() string {
	return [...]string{"read", "write", "compare-and-swap", "append"}[k&3]
}

// Step gives what the operation makes of a register's value, and its result.
func (op *RegisterOp) Step(value uint64) (next, result uint64) {
	switch op.Kind {
	case WriteRegister:
		return op.Argument, value
	case CompareAndSwap:
		if value == op.Expected {
			return op.Argument, 1
		}
		return value, 0
	case AppendRegister:
		next = Append(value, op.Argument)
		return next, next
	}
	return value, value
}

// Append gives the value of a register to which argument was appended: one that
// tells the whole sequence.
func Append(value, argument uint64) uint64 {
	value = (value ^ argument) * 0x9e3779b97f4a7c15
	return value ^ value>>29
}

// Linearizable judges a history of registers, as Model.Linearizable does.
func Linearizable(history []RegisterOp, patience time.Duration) error {
	operations := make([]Operation, len(history))
	for i := range history {
		op := &history[i]
		operations[i] = Operation{Client: op.Client, Input: op, Output: op.Result, Unknown: op.Unknown, Call: op.Call, Return: op.Return}
	}
	return Registers().Linearizable(operations, patience)
}

// Registers is the model of registers: inputs are of type *RegisterOp, answers
// what is said at RegisterOp.Result.
func Registers() *Model {
	equal := func(a, b any) bool { return a.(uint64) == b.(uint64) }
	return &Model{
		Init: func() any { return uint64(0) },
		Step: func(state, input any) (next, answer any) {
			value, result := input.(*RegisterOp).Step(state.(uint64))
			return value, result
		},
		Partition: func(input any) string { return fmt.Sprintf("register %d", input.(*RegisterOp).Key) },
		Equal:     equal, Same: equal,
	}
}
