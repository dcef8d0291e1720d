package sim

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A fault that waits for a moment strikes as soon as its node has had it: what the
// node sends then is on its way.
func TestFaultUponAMoment(t *testing.T) {
	for m := VoteRequested; m <= moments; m++ {
		t.Run(m.String(), func(t *testing.T) {
			for seed := uint64(1); seed <= 20; seed++ {
				if struckUpon(t, m, seed) {
					return
				}
			}
			t.Fatal("it never came")
		})
	}
}

// struckUpon reports whether a kill that waited for a moment came, and demands that
// it was then right.
func struckUpon(t *testing.T, m Moment, seed uint64) bool {
	t.Helper()
	var trace bytes.Buffer
	s := Script{Seed: seed, Nodes: 3, Groups: 1, Clients: 3, Steps: []Fault{
		{At: time.Second, Kind: Kill, On: m, Back: 20 * time.Millisecond},
		// For a node to be told to cut its log another has to have led, and for one
		// to be sent a snapshot it must have missed something.
		{At: 2 * time.Second, Kind: Isolate, In: true, Out: true, For: time.Second, On: EntriesSent},
		{At: 5 * time.Second, Kind: Isolate, In: true, Out: true, For: time.Second, On: EntriesSent},
	}}
	r := s.Run(Config{Trace: &trace})
	if r.Err != nil {
		t.Fatalf("seed %d: %v", seed, r.Err)
	}
	if r.Coverage[countMoment+counter(m)-1] == 0 {
		return false
	}
	upon := regexp.MustCompile(`node (\d): ` + m.String() + `, which kill waited for\n.*node (\d): killed\n`)
	if found := upon.FindStringSubmatch(trace.String()); found == nil || found[1] != found[2] {
		t.Errorf("seed %d: the trace does not say who was killed: %q", seed, found)
	}
	return true
}

// A slow clock lets the timers that run already go on more slowly, and when it is
// right again they are not late for it.
func TestDriftAppliesToRunningTimers(t *testing.T) {
	w := &world{now: 1000}
	g := &group{w: w}
	n := &node{w: w, drift: 100, groups: []*group{g}}
	g.n = n
	g.timers[0].deadline = 1000 + 600
	n.setDrift(50)
	if got := g.timers[0].deadline; got != 1000+1200 {
		t.Errorf("600 left at full speed, at half speed %d", got-1000)
	}
	w.now = 1200
	n.setDrift(100)
	if got := g.timers[0].deadline; got != 1200+500 {
		t.Errorf("1000 left at half speed, at full speed %d", got-1200)
	}
}

// Each scenario leaves its mark on a run, and its steps are in the run's script.
func TestScenarios(t *testing.T) {
	var coverage Coverage
	aimed := 0
	for seed := uint64(1); seed <= 40; seed++ {
		r := Run(Config{Seed: seed, Voters: 3})
		if r.Err != nil {
			t.Fatalf("seed %d: %v", seed, r.Err)
		}
		coverage.Add(&r.Coverage)
		for i := range r.Script.Steps {
			if r.Script.Steps[i].On != 0 {
				aimed++
			}
		}
	}
	for s := range scenarios {
		if coverage[countScenario+counter(s)] == 0 {
			t.Errorf("%s: never", scenarioNames[s])
		}
	}
	if aimed == 0 {
		t.Error("no fault waits for a moment")
	}
	names := Covered()
	if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "fault upon: ") }) || slices.Contains(names, "") {
		t.Errorf("what is counted is called %q", names)
	}
}
