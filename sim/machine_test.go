package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/rsm"
)

// adder is a user's state machine: it adds numbers up.
type adder struct {
	sum uint64
	// forgetful forgets its sum when it is restored.
	forgetful bool
}

func (a *adder) Apply(entries []rsm.Entry) error {
	for i := range entries {
		a.sum = a.sum*31 + binary.LittleEndian.Uint64(entries[i].Command)
		entries[i].Result = rsm.Result{Value: a.sum}
	}
	return nil
}

func (a *adder) Read(context.Context, any) (any, error) { return a.sum, nil }
func (a *adder) Snapshot() (rsm.View, error)            { return adderView(a.sum), nil }
func (a *adder) Close() error                           { return nil }

func (a *adder) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil || len(b) != 8 {
		return fmt.Errorf("restore %d bytes: %w", len(b), err)
	}
	if a.sum = binary.LittleEndian.Uint64(b); a.forgetful {
		a.sum = 0
	}
	return nil
}

type adderView uint64

func (v adderView) WriteSnapshot(_ context.Context, w io.Writer) error {
	_, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(v)))
	return err
}
func (v adderView) Close() error { return nil }

// adders is the subject: commands add numbers, queries read the sum.
func adders(forgetful bool) *Subject {
	return &Subject{
		New: func(Place) (rsm.StateMachine, error) { return &adder{forgetful: forgetful}, nil },
		Draw: func(d *Draw) Op {
			if d.IntN(3) == 0 {
				return Op{Query: "sum"}
			}
			return Op{Command: append(binary.LittleEndian.AppendUint64(nil, d.Uint64()), bytes.Repeat([]byte{7}, d.IntN(200))...)}
		},
		Model: &check.Model{
			Init: func() any { return uint64(0) },
			Step: func(state, input any) (next, answer any) {
				if command, ok := input.([]byte); ok {
					sum := state.(uint64)*31 + binary.LittleEndian.Uint64(command)
					return sum, rsm.Result{Value: sum}
				}
				return state, state
			},
		},
	}
}

// A state machine of the user's own runs under the same faults and judges.
func TestOwnMachine(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		if r := Run(Config{Seed: seed, Subject: adders(false)}); r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		}
	}
}

// One that does not restore what it saved is found out.
func TestOwnMachineThatForgets(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		r := Run(Config{Seed: seed, Subject: adders(true)})
		if r.Err != nil {
			if !strings.Contains(r.Err.Error(), check.StateMachineSafety) {
				t.Errorf("seed %d: found, but as something else: %v", seed, r.Err)
			}
			return
		}
	}
	t.Error("not found in 20 seeds")
}
