package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/vfs"
)

// A script's text says all that is in it.
func TestScriptText(t *testing.T) {
	s := Script{Seed: 7, Heavy: true, Nodes: 3, Groups: 1, Clients: 2, Steps: []Fault{
		{At: 1234567891, Kind: PowerLoss, Node: 2, Data: vfs.KeepFilePrefix, Entries: vfs.KeepAll, Back: time.Second, Draw: 1<<64 - 1},
		{At: time.Second, Kind: Partition, Nodes: NodeSet(0).With(1).With(3), For: 3 * time.Millisecond},
		{At: time.Minute, Kind: ClockJump, Node: 1, By: -time.Second},
		{At: time.Minute, Kind: Isolate, Node: 1, In: true, Out: true, Percent: 1, Factor: 2, Count: 3, OneOf: 4, Peer: 2},
		{At: time.Minute, Kind: PowerLoss, Node: 1, On: VoteGranted, After: time.Microsecond},
		{At: time.Minute, Kind: SlowLinks, Node: 1, In: true, By: time.Second, For: time.Second},
		{Kind: Heal},
		{Kind: End},
	}}
	parsed, err := ParseScript("# a comment\n\n" + s.String())
	if err != nil {
		t.Fatal(err)
	}
	if got := parsed.String(); got != s.String() {
		t.Errorf("parsed as\n%s\nwant\n%s", got, &s)
	}
}

func TestScriptMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"seed x":                       "line 1",
		"\nnodes 0":                    "line 2: nodes 0: want 1 to 9",
		"at 1s":                        "not of the form",
		"at 1s flood":                  `no fault "flood"`,
		"at 1s kill node=64":           "64 is more than 63",
		"at 1s kill nodes=a":           "nodes=a",
		"at 1s power-loss data=half":   "nothing that a power loss keeps",
		"at 2h kill":                   "not within",
		"at 1s kill with=axe":          `no "with"`,
		"at 1s kill on=full-moon":      "nothing that a fault waits for",
		"hello":                        "begins no line",
		"at -1s kill":                  "not within",
		"at 1s pause node=1 for=8000h": "not within",
	} {
		if _, err := ParseScript(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add("seed 1\nat 1s kill node=1 back=1ms\nat 2s heal nodes=1,2")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScript(text)
		if err != nil {
			return
		}
		again, err := ParseScript(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is %q, which is %v, %v", text, s, again, err)
		}
	})
}

// The script that a run writes is the run: it makes the same faults at the same
// moments.
func TestScriptOfARun(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		r := Run(Config{Seed: seed})
		script, err := ParseScript(r.Script.String())
		if err != nil {
			t.Fatal(err)
		}
		again := script.Run(Config{})
		if again.Err != nil || again.Operations != r.Operations || again.Virtual != r.Virtual || again.Script.String() != r.Script.String() {
			t.Errorf("seed %d: %d operations in %v, by its script %d in %v; %v", seed, r.Operations, r.Virtual, again.Operations, again.Virtual, again.Err)
		}
	}
}

// A planted bug shrinks to a script of a few faults that still finds it, and that
// finds nothing without the bug.
func TestShrink(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		cfg := Config{Seed: seed, plant: forgetVote}
		r := Run(cfg)
		if r.Err == nil {
			continue
		}
		script, shrunk := Shrink(cfg, &r, nil)
		if script == nil {
			t.Fatalf("seed %d: the script of the run does not fail", seed)
		}
		if len(script.Steps) > 6 || property(shrunk.Err) != property(r.Err) {
			t.Errorf("seed %d: %v, shrunk to\n%s%v", seed, r.Err, script, shrunk.Err)
		}
		if sound := script.Run(Config{}); sound.Err != nil {
			t.Errorf("without the bug: %v", sound.Err)
		}
		return
	}
	t.Fatal("not found in 40 seeds")
}
