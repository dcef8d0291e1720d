// Package tested is a state machine of a user's own and its test under the
// simulator: see accounts_test.go, which is all that it takes.
package tested

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/quorate/quorate/rsm"
)

// Transfer is a command: it moves an amount between accounts, and with an empty
// From pays it in. It answers 1 if it took place, and 0 if From holds too little.
type Transfer struct {
	From, To string
	Amount   uint64
}

// Accounts are the state machine. Queries name an account, and are answered with
// what it holds.
type Accounts struct {
	held map[string]uint64
	// forgetful is a bug: see Restore.
	forgetful bool
}

// New makes an empty state machine.
func New() *Accounts { return &Accounts{held: map[string]uint64{}} }

// Apply is rsm.StateMachine's.
func (a *Accounts) Apply(entries []rsm.Entry) error {
	for i := range entries {
		var t Transfer
		if err := json.Unmarshal(entries[i].Command, &t); err != nil {
			return fmt.Errorf("command %d: %w", entries[i].Index, err)
		}
		if transfer(a.held, t) {
			entries[i].Result.Value = 1
		}
	}
	return nil
}

func transfer(held map[string]uint64, t Transfer) bool {
	if t.From != "" {
		if held[t.From] < t.Amount {
			return false
		}
		held[t.From] -= t.Amount
	}
	held[t.To] += t.Amount
	return true
}

// Read is rsm.StateMachine's.
func (a *Accounts) Read(_ context.Context, query any) (any, error) {
	name, ok := query.(string)
	if !ok {
		return nil, errors.New("a query names an account")
	}
	return a.held[name], nil
}

// Snapshot is rsm.StateMachine's.
func (a *Accounts) Snapshot() (rsm.View, error) { return view(maps.Clone(a.held)), nil }

type view map[string]uint64

// WriteSnapshot is rsm.View's. JSON orders the keys of a map, so that equal
// states write equal snapshots.
func (v view) WriteSnapshot(_ context.Context, w io.Writer) error {
	return json.NewEncoder(w).Encode(v)
}

// Close is rsm.View's.
func (v view) Close() error { return nil }

// Restore is rsm.StateMachine's.
func (a *Accounts) Restore(r io.Reader) error {
	var held map[string]uint64
	if err := json.NewDecoder(r).Decode(&held); err != nil {
		return err
	}
	if a.forgetful {
		// The bug: odd amounts come back one smaller.
		for name := range held {
			held[name] &^= 1
		}
	}
	a.held = held
	return nil
}

// Close is rsm.StateMachine's.
func (a *Accounts) Close() error { return nil }
