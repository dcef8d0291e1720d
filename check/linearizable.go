package check

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
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

// Never is the Return of an operation that may still take effect.
const Never = math.MaxInt64

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

// Linearizable judges a history of registers. It gives an error that names the
// register if there is no order of the operations in which each takes effect at
// one moment between its Call and its Return. Patience, if not zero, bounds the
// time; a register that was not decided in it is an error too.
func Linearizable(history []RegisterOp, patience time.Duration) error {
	var keys []uint64
	byKey := map[uint64][]porcupine.Operation{}
	for i := range history {
		op := &history[i]
		if byKey[op.Key] == nil {
			keys = append(keys, op.Key)
		}
		byKey[op.Key] = append(byKey[op.Key], porcupine.Operation{ClientId: op.Client, Input: op, Output: op, Call: op.Call, Return: op.Return})
	}
	for _, key := range keys {
		switch porcupine.CheckOperationsTimeout(registers, byKey[key], patience) {
		case porcupine.Ok:
		case porcupine.Illegal:
			return fmt.Errorf("%s: register %d: no order of its %d operations explains what clients saw", Linearizability, key, len(byKey[key]))
		default:
			return fmt.Errorf("%s: register %d: not decided within %v", Linearizability, key, patience)
		}
	}
	return nil
}

var registers = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, _, output any) (bool, any) {
		op := output.(*RegisterOp)
		next, result := op.Step(state.(uint64))
		return op.Unknown || result == op.Result, next
	},
	Hash: func(state any) uint64 { return state.(uint64) },
}
