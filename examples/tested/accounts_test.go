package tested

import (
	"encoding/json"
	"maps"
	"os"
	"testing"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/sim"
)

// subject is all that the simulator has to know: how to make the state machine,
// what clients do, and what they may see.
func subject(forgetful bool) *sim.Subject {
	return &sim.Subject{
		New: func(sim.Place) (rsm.StateMachine, error) {
			a := New()
			a.forgetful = forgetful
			return a, nil
		},
		Draw: func(d *sim.Draw) sim.Op {
			names := []string{"ada", "bob", "cy"}
			t := Transfer{From: names[d.IntN(3)], To: names[d.IntN(3)], Amount: d.Uint64N(20)}
			switch d.IntN(4) {
			case 0:
				return sim.Op{Query: t.To}
			case 1:
				t.From = "" // somebody pays in
			}
			command, _ := json.Marshal(t)
			return sim.Op{Command: command, Input: t}
		},
		Model: &check.Model{Init: func() any { return map[string]uint64{} }, Step: step},
	}
}

// step is the specification: what an operation makes of the accounts, and what it
// answers.
func step(state, input any) (next, answer any) {
	held := state.(map[string]uint64)
	if name, ok := input.(string); ok {
		return held, held[name]
	}
	held = maps.Clone(held)
	if transfer(held, input.(Transfer)) {
		return held, rsm.Result{Value: 1}
	}
	return held, rsm.Result{}
}

// The accounts survive whatever befalls five nodes.
func TestAccounts(t *testing.T) {
	sim.Test(t, sim.Config{Subject: subject(false)}, 10)
}

// A bug in Restore is found, and shrunk to the few faults that it takes. What is
// left of them is a test by itself: testdata/forgetful.sim.
func TestForgetfulAccounts(t *testing.T) {
	cfg := sim.Config{Subject: subject(true)}
	for cfg.Seed = 1; cfg.Seed <= 50; cfg.Seed++ {
		r := sim.Run(cfg)
		if r.Err == nil {
			continue
		}
		script, shrunk := sim.Shrink(cfg, &r, nil)
		if script == nil || len(script.Steps) > 4 {
			t.Fatalf("seed %d: %v, shrunk to\n%v", cfg.Seed, r.Err, script)
		}
		t.Logf("seed %d, %d faults: %v\nshrunk to %d: %v\n%v", cfg.Seed, len(r.Script.Steps), r.Err, len(script.Steps), shrunk.Err, script)
		return
	}
	t.Fatal("the bug is not found in 50 seeds")
}

// The script fails with the bug, and passes without.
func TestScript(t *testing.T) {
	text, err := os.ReadFile("testdata/forgetful.sim")
	if err != nil {
		t.Fatal(err)
	}
	script, err := sim.ParseScript(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if r := script.Run(sim.Config{Subject: subject(true)}); r.Err == nil {
		t.Error("the bug is not found")
	}
	if r := script.Run(sim.Config{Subject: subject(false)}); r.Err != nil {
		t.Error(r.Err)
	}
}
