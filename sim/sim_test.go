package sim

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/quorate/quorate/check"
)

func TestMain(m *testing.M) {
	// A run lives for a moment and leaves much behind.
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// runSeeds runs seeds and reports every one that fails with how to replay it.
func runSeeds(t *testing.T, from, count uint64, coverage *Coverage) {
	t.Helper()
	for seed := from; seed < from+count; seed++ {
		r := Run(Config{Seed: seed})
		if r.Err != nil {
			t.Errorf("seed %d: %v\nreplay: %s", seed, r.Err, r.Replay())
		}
		if r.Operations < 500 || r.Faults < 10 {
			t.Errorf("seed %d: %d operations and %d faults, want at least 500 and 10", seed, r.Operations, r.Faults)
		}
		coverage.Add(&r.Coverage)
	}
}

// B-1 to B-15, B-18, B-20, B-21, B-22, and B-27 to B-31 over a share of the seeds. (quorate sim runs thousands,
// and demands of them that everything which is counted occurs.)
func TestSeeds(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 40
	}
	var coverage Coverage
	runSeeds(t, 1, seeds, &coverage)
	if missed := coverage.Missed(); len(missed) > len(coverage)/4 {
		t.Errorf("%d seeds no longer bring about %q", seeds, missed)
	}
}

// A heavy seed is five nodes, 2,000 operations and 20 faults at least.
func TestHeavySeeds(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		r := Run(Config{Seed: seed, Heavy: true})
		if r.Err != nil {
			t.Errorf("seed %d: %v\nreplay: %s", seed, r.Err, r.Replay())
		}
		if r.Voters != 5 || r.Operations < 2000 || r.Faults < 20 {
			t.Errorf("seed %d: %d nodes, %d operations, %d faults, want 5, at least 2000 and 20", seed, r.Voters, r.Operations, r.Faults)
		}
	}
}

// Seeds that found something. docs/bugs-found.md tells what, and which rule tests
// hold it: a seed is another story when the code that it runs has changed.
func TestSeedsThatFoundBugs(t *testing.T) {
	var coverage Coverage
	for _, seed := range []uint64{11, 75, 148, 1147, 1323, 1363, 14500, 20028, 20100, 100271, 101693, 500791, 501986, 504394} {
		runSeeds(t, seed, 1, &coverage)
	}
	if testing.Short() {
		return // the heavy ones take seconds, and under the race detector minutes
	}
	for _, seed := range []uint64{133, 176, 628, 1008687, 1013623, 1017669, 1023913, 1033292, 1041883} {
		if r := Run(Config{Seed: seed, Heavy: true}); r.Err != nil {
			t.Errorf("heavy seed %d: %v", seed, r.Err)
		}
	}
}

// The same seed is the same run, event by event, however many processors there
// are. (quorate sim --json prints a hash of all runs, by which runs of different
// builds, such as one with the race detector, are compared.)
func TestSameSeedSameRun(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	for seed := uint64(1); seed <= 5; seed++ {
		one := Run(Config{Seed: seed})
		runtime.GOMAXPROCS(2)
		two := Run(Config{Seed: seed})
		runtime.GOMAXPROCS(1)
		if one.Hash != two.Hash || one.Events != two.Events {
			t.Errorf("seed %d: %d events, hash %016x, then %d events, hash %016x", seed, one.Events, one.Hash, two.Events, two.Hash)
		}
	}
}

// To tell what happens changes nothing of it.
func TestTraceChangesNothing(t *testing.T) {
	var trace bytes.Buffer
	quiet, told := Run(Config{Seed: 7}), Run(Config{Seed: 7, Trace: &trace})
	if quiet.Hash != told.Hash {
		t.Errorf("hash %016x without a trace, %016x with one", quiet.Hash, told.Hash)
	}
	for _, want := range []string{"leader of term", "a majority has it", "power lost", "all faults end"} {
		if !strings.Contains(trace.String(), want) {
			t.Errorf("the trace does not say %q", want)
		}
	}
}

// Without faults next to nothing is unknown: an operation outlasts its client's
// patience, which may be short against the network, at most now and then.
func TestQuiet(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		r := Run(Config{Seed: seed, Quiet: true})
		if r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		}
		if n := r.Coverage[countUnknown]; n > r.Operations/100 {
			t.Errorf("seed %d: %d outcomes of %d operations are unknown", seed, n, r.Operations)
		}
	}
}

// Each planted bug is found within so many seeds (the judges can fail).
func TestPlantedBugs(t *testing.T) {
	for _, test := range []struct {
		name  string
		plant plant
		seeds uint64
		by    []string // the properties that may notice
	}{
		{"acknowledges before the sync", acknowledgeEarly, 20, []string{check.AckDurability, check.VoteDurability, check.CommitDefinition}},
		{"acknowledges without a sync", skipSync, 20, []string{check.Recovery, "PS-06"}},
		{"forgets its vote at a restart", forgetVote, 20, []string{check.LogMatching, check.VoteDurability, check.ElectionSafety}},
		{"applies what is not committed", applyUncommitted, 20, []string{check.StateMachineSafety}},
		{"reads without asking the leader", unconfirmedRead, 20, []string{check.ReadFreshness}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := uint64(1); seed <= test.seeds; seed++ {
				r := Run(Config{Seed: seed, plant: test.plant})
				if r.Err == nil {
					continue
				}
				for _, property := range test.by {
					if strings.Contains(r.Err.Error(), property) {
						t.Logf("seed %d: %v", seed, r.Err)
						return
					}
				}
				t.Fatalf("seed %d: found, but as something else: %v", seed, r.Err)
			}
			t.Fatalf("not found in %d seeds", test.seeds)
		})
	}
}

func BenchmarkSeed(b *testing.B) {
	seed, events := uint64(0), 0
	for b.Loop() {
		seed++
		r := Run(Config{Seed: seed})
		if r.Err != nil {
			b.Fatal(r.Err)
		}
		events += r.Events
	}
	b.ReportMetric(float64(events)/float64(b.N), "events/op")
}

func ExampleRun() {
	r := Run(Config{Seed: 1, Voters: 3})
	fmt.Println(r.Voters, r.Operations >= 500, r.Faults >= 10, r.Err)
	// Output: 3 true true <nil>
}

// What clients see alone: nothing is wrong with it when nothing is planted, and
// it is enough to find bugs that lose or repeat what they were told.
func TestClientsOnly(t *testing.T) {
	for seed := uint64(1); seed <= 30; seed++ {
		if r := Run(Config{Seed: seed, ClientsOnly: true}); r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		}
	}
	for _, planted := range []plant{acknowledgeEarly, unconfirmedRead, forgetVote} {
		found := false
		for seed := uint64(1); seed <= 200 && !found; seed++ {
			r := Run(Config{Seed: seed, ClientsOnly: true, plant: planted})
			if r.Err != nil && !strings.Contains(r.Err.Error(), check.Linearizability) && !strings.Contains(r.Err.Error(), check.Progress) {
				t.Fatalf("seed %d: clients cannot see %v", seed, r.Err)
			}
			if found = r.Err != nil; found {
				t.Logf("plant %d, seed %d: %v", planted, seed, r.Err)
			}
		}
		if !found {
			t.Errorf("plant %d is not found by what clients see", planted)
		}
	}
}
