package explore

import (
	"context"
	"errors"
	"testing"
)

// explored explores a scope, which must keep every property.
func explored(t *testing.T, scope Scope, options Options) Result {
	t.Helper()
	r, err := Explore(context.Background(), scope, options)
	if err != nil {
		t.Fatalf("%s: %v", scope.Bound(), err)
	}
	if r.Violation != nil {
		for _, line := range r.Trace.Story {
			t.Log(line)
		}
		t.Fatalf("%s: %v\nreplay: %s", scope.Bound(), r.Violation, r.Trace.Schedule)
	}
	return r
}

// TestScope explores the quick scopes, the larger ones not to their end: quorate
// check does that.
func TestScope(t *testing.T) {
	for _, scope := range Scopes(true) {
		t.Run(scope.Name, func(t *testing.T) {
			options := Options{Workers: 2, MaxStates: 200000}
			if testing.Short() {
				options.MaxStates = 20000
			}
			r, err := Explore(context.Background(), scope, options)
			if err != nil && !errors.Is(err, ErrTooManyStates) {
				t.Fatal(err)
			}
			if r.Violation != nil {
				for _, line := range r.Trace.Story {
					t.Log(line)
				}
				t.Fatalf("%v\nreplay: go run ./cmd/quorate check --scope %s --replay '%s'", r.Violation, scope.Name, r.Trace.Schedule)
			}
			t.Logf("%s: %d states, %d transitions, depth %d", scope.Bound(), r.States, r.Transitions, r.Depth)
		})
	}
}

// small are scopes that are explored within a second or two in every way.
var small = []Scope{
	{Name: "crash", Voters: 3, Terms: 1, Elections: 2, Crashes: 1, InFlight: 2},
	{Name: "proposal", Voters: 3, Terms: 2, Elections: 2, Proposals: 1, InFlight: 1, Duplicates: 1, SyncWrites: true},
	{Name: "repeat", Voters: 3, Terms: 1, Elections: 2, SyncWrites: true},
	{Name: "snapshot", Voters: 3, Terms: 1, Elections: 1, Proposals: 1, Snapshots: 1, InFlight: 1},
	{Name: "read", Voters: 3, Terms: 1, Elections: 1, Reads: 1, InFlight: 2, SyncWrites: true},
	{Name: "poll", Voters: 3, Terms: 2, Elections: 2, Contacts: 1, InFlight: 1, SyncWrites: true, PreVote: true, CheckQuorum: true, Stickiness: true},
	{Name: "two voters", Voters: 2, Learners: 1, Terms: 2, Elections: 2, InFlight: 2, SyncWrites: true},
}

// TestReductions explores small scopes with and without each reduction: without
// one there are more states, or more work, and the verdict is the same.
func TestReductions(t *testing.T) {
	for _, scope := range small {
		t.Run(scope.Name, func(t *testing.T) {
			t.Parallel()
			usual := explored(t, scope, Options{Workers: 2})
			if again := explored(t, scope, Options{Workers: 1}); again.States != usual.States || again.Transitions != usual.Transitions || again.Depth != usual.Depth {
				t.Errorf("one worker found %+v, two found %+v", again.Progress, usual.Progress)
			}
			// Every permutation of the voters is visited for one of them: there
			// are nearly as many times more states as there are permutations.
			plain := explored(t, scope, Options{NoSymmetry: true})
			permutations := uint64(len(renamings(&scope, true)))
			if plain.States <= usual.States || plain.States > permutations*usual.States {
				t.Errorf("%d states without symmetry, %d with, of %d permutations", plain.States, usual.States, permutations)
			}
			if full := explored(t, scope, Options{NoPruning: true}); full.States < usual.States || full.Depth < usual.Depth {
				t.Errorf("%+v without pruning, %+v with", full.Progress, usual.Progress)
			}
			// With every event run anew and compared with what is remembered.
			if anew := explored(t, scope, Options{NoMemory: true}); anew.States != usual.States || anew.Transitions != usual.Transitions {
				t.Errorf("%+v without memory, %+v with", anew.Progress, usual.Progress)
			}
			t.Logf("%s: %d states, %d without symmetry", scope.Bound(), usual.States, plain.States)
		})
	}
}
