package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
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

func (a *adder) Hash() uint64                           { return a.sum }
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

func addNumber(r *rand.Rand) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, r.Uint64()), bytes.Repeat([]byte{7}, r.IntN(200))...)
}

// A state machine of the user's own runs under the same faults and judges.
func TestOwnMachine(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		r := Run(Config{Seed: seed, Command: addNumber, Machine: func(raft.GroupID) check.Hasher { return &adder{} }})
		if r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		}
	}
}

// One that does not restore what it saved is found out.
func TestOwnMachineThatForgets(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		r := Run(Config{Seed: seed, Command: addNumber, Machine: func(raft.GroupID) check.Hasher { return &adder{forgetful: true} }})
		if r.Err != nil {
			if !strings.Contains(r.Err.Error(), check.StateMachineSafety) {
				t.Errorf("seed %d: found, but as something else: %v", seed, r.Err)
			}
			return
		}
	}
	t.Error("not found in 20 seeds")
}
