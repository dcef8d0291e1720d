package storesim

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/quorate/quorate/sim"
)

func TestMain(m *testing.M) {
	// A run lives for a moment and leaves much behind.
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// TestSeeds: stores and twins, watchers, leases and reads over a share of the
// seeds; and that these bring about all that they are for.
func TestSeeds(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 10
	}
	var coverage Coverage
	for seed := uint64(1); seed <= seeds; seed++ {
		r := sim.Run(Config(seed, &coverage))
		if r.Err != nil {
			t.Errorf("seed %d: %v\nreplay: %s --machine store", seed, r.Err, r.Replay())
		}
	}
	if testing.Short() {
		return // too few to meet everything
	}
	for i, name := range Covered() {
		if coverage[i].Load() == 0 {
			t.Errorf("never occurred: %s", name)
		}
	}
}

// TestClientsOnly: what clients and watchers are told is right where nothing is
// planted, and wrong where something is, with no store looked into.
func TestClientsOnly(t *testing.T) {
	seeds := uint64(10)
	if testing.Short() {
		seeds = 2
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		if r := sim.Run(ClientsOnly(seed)); r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		}
	}
	for _, planted := range []plant{fastClock, takeTwice, staleRead, forgetHistory} {
		found := false
		for seed := uint64(1); seed <= 60 && !found; seed++ {
			r := sim.Run(config(seed, nil, planted, true))
			if found = r.Err != nil; found {
				t.Logf("plant %d, seed %d: %v", planted, seed, r.Err)
			}
		}
		if !found {
			t.Errorf("plant %d is not found by what clients are told", planted)
		}
	}
}

// Seeds that found something: docs/bugs-found.md tells what. The last four found that
// the judge asked too much.
func TestSeedsThatFoundBugs(t *testing.T) {
	for _, seed := range []uint64{10, 107, 1183, 1191, 1507, 337} {
		if r := sim.Run(Config(seed, nil)); r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		}
	}
}

// The same seed is the same run, whoever runs beside it.
func TestSameSeedSameRun(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	for seed := uint64(1); seed <= 8; seed++ {
		one := sim.Run(Config(seed, nil))
		runtime.GOMAXPROCS(4)
		two := sim.Run(Config(seed, nil))
		runtime.GOMAXPROCS(1)
		if one.Hash != two.Hash || one.Events != two.Events {
			t.Errorf("seed %d: %d events, hash %016x, then %d events, hash %016x", seed, one.Events, one.Hash, two.Events, two.Hash)
		}
	}
}

// Each planted bug is found within so many seeds (the judges can fail).
func TestPlantedBugs(t *testing.T) {
	for _, test := range []struct {
		name  string
		plant plant
		seeds uint64
		by    []string // what may notice
	}{
		{"clocks that run too fast", fastClock, 20, []string{"before the time that was promised"}},
		{"commits called durable that are not", flushLies, 20, []string{"the log begins after", "is missing (B-25)", "state machine falls", "committed is"}},
		{"an answer that the store did not give", wrongAnswer, 20, []string{"was answered"}},
		{"forwarded commands taken twice", takeTwice, 60, []string{"was done 2 times", "answered twice", "was refused"}},
		{"reads without asking the leader", staleRead, 20, []string{"was answered at revision", "and is there"}},
		{"unknown outcomes taken for refusals", unknownIsRefused, 40, []string{"was refused", "was done 2 times"}},
		{"history read too late", forgetHistory, 20, []string{"revisions, want", "was not told", "progress to revision"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := uint64(1); seed <= test.seeds; seed++ {
				r := sim.Run(config(seed, nil, test.plant, false))
				if r.Err == nil {
					continue
				}
				for _, by := range test.by {
					if strings.Contains(r.Err.Error(), by) {
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
