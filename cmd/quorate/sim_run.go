package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/sim"
	"github.com/quorate/quorate/sim/storesim"
)

// seedsForCoverage is how many seeds have to bring about everything that is
// counted at least once.
const seedsForCoverage = 3000

// simSummary is what --json prints.
type simSummary struct {
	From    uint64       `json:"from"`
	Seeds   int          `json:"seeds"`
	Failed  []simFailure `json:"failed"`
	Events  int          `json:"events"`
	Virtual float64      `json:"virtual_seconds"`
	Seconds float64      `json:"seconds"`
	// Operations and Faults are those of all seeds; the least are those of the
	// seed that had fewest.
	Operations      int `json:"operations"`
	Faults          int `json:"faults"`
	OperationsLeast int `json:"operations_least"`
	FaultsLeast     int `json:"faults_least"`
	// EventsPerCPUSecond counts all that the program did, judging included.
	EventsPerCPUSecond float64 `json:"events_per_cpu_second"`
	// LeaderAfter and CommitAfter are the longest that a healed quorum took, in
	// longest election timeouts.
	LeaderAfter float64 `json:"leader_after_timeouts"`
	CommitAfter float64 `json:"commit_after_timeouts"`
	// Hash is made of the hashes of all runs: equal for equal runs.
	Hash     string         `json:"hash"`
	Coverage map[string]int `json:"coverage"`
}

type simFailure struct {
	Seed   uint64 `json:"seed"`
	Error  string `json:"error"`
	Replay string `json:"replay"`
}

// many runs seeds on all processors.
func (o *simOptions) many(ctx context.Context, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A run lives for a moment and leaves much behind: to collect it less often
	// halves the time.
	debug.SetGCPercent(1600)
	begin := time.Now()
	t := newTally(o, o.from)
	var next atomic.Uint64
	var running sync.WaitGroup
	for range min(o.workers, o.seeds) {
		running.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= uint64(o.seeds) {
					return
				}
				r := sim.Run(o.config(o.from + i))
				if r.Err != nil {
					fmt.Fprintf(stderr, "seed %d failed: %v\n  replay: %s\n", r.Seed, r.Err, o.replayed(&r))
					if !o.keepGoing {
						cancel()
					}
				}
				t.add(&r)
			}
		})
	}
	finished := make(chan struct{})
	go func() {
		running.Wait()
		close(finished)
	}()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			code := t.report(time.Since(begin), o.asJSON, stdout, stderr)
			if t.first != nil && o.shrink && !o.asJSON {
				fmt.Fprintf(stdout, "\na script that fails as seed %d does (save it, and \"quorate sim replay FILE\"):\n\n", t.first.Seed)
				shrink(context.WithoutCancel(ctx), o.config(t.first.Seed), t.first, stdout, stderr)
			}
			return code
		case <-tick.C:
			done, failed := t.progress()
			took := time.Since(begin).Seconds()
			perSecond := float64(done) / took
			left := time.Duration(float64(o.seeds-done) / max(perSecond, 0.01) * float64(time.Second))
			fmt.Fprintf(stderr, "%d of %d seeds, %d failed, %.1f per second, %v left\n", done, o.seeds, failed, perSecond, left.Round(time.Second))
		}
	}
}

// tally adds results up.
type tally struct {
	mu       sync.Mutex
	summary  simSummary
	coverage sim.Coverage
	hash     uint64
	cpu      time.Duration // used by the process before
	first    *sim.Result   // that failed
	options  *simOptions
}

func newTally(o *simOptions, from uint64) *tally {
	return &tally{options: o, cpu: cpuTime(), summary: simSummary{From: from, Failed: []simFailure{}, Coverage: map[string]int{}}}
}

func (t *tally) add(r *sim.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.summary
	if s.Seeds == 0 {
		s.OperationsLeast, s.FaultsLeast = r.Operations, r.Faults
	}
	s.Seeds++
	s.Events += r.Events
	s.Virtual += r.Virtual.Seconds()
	s.Operations += r.Operations
	s.Faults += r.Faults
	s.LeaderAfter, s.CommitAfter = max(s.LeaderAfter, r.LeaderAfter), max(s.CommitAfter, r.CommitAfter)
	t.coverage.Add(&r.Coverage)
	t.hash ^= r.Hash * (2*r.Seed + 1) // in whatever order they end
	if r.Err != nil {
		s.Failed = append(s.Failed, simFailure{r.Seed, r.Err.Error(), t.options.replayed(r)})
		if t.first == nil || r.Seed < t.first.Seed {
			t.first = r
		}
		return // it ended early
	}
	s.OperationsLeast, s.FaultsLeast = min(s.OperationsLeast, r.Operations), min(s.FaultsLeast, r.Faults)
}

func (t *tally) progress() (done, failed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.summary.Seeds, len(t.summary.Failed)
}

func (t *tally) report(took time.Duration, asJSON bool, stdout, stderr io.Writer) int {
	s := &t.summary
	s.Seconds = took.Seconds()
	if cpu := cpuTime() - t.cpu; cpu > 0 {
		s.EventsPerCPUSecond = float64(s.Events) / cpu.Seconds()
	}
	s.Hash = fmt.Sprintf("%016x", t.hash)
	missed := t.coverage.Missed()
	for i, name := range sim.Covered() {
		s.Coverage[name] = t.coverage[i]
	}
	if of := t.options.store; of != nil {
		missed = nil
		for i, name := range storesim.Covered() {
			if s.Coverage[name] = int(of[i].Load()); s.Coverage[name] == 0 {
				missed = append(missed, name)
			}
		}
	}
	slices.SortFunc(s.Failed, func(a, b simFailure) int {
		if a.Seed < b.Seed {
			return -1
		}
		return 1
	})
	var err error
	if asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(s)
	} else {
		err = t.coverage.WriteTable(stdout)
		if t.options.store != nil {
			fmt.Fprintln(stdout)
			err = errors.Join(err, t.options.store.WriteTable(stdout))
		}
		s.write(stdout)
	}
	if s.Seeds >= seedsForCoverage && len(missed) > 0 {
		for _, name := range missed {
			fmt.Fprintln(stderr, "never occurred in so many seeds:", name)
		}
		err = errors.Join(err, errors.New("the seeds no longer bring about all that they are for"))
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "quorate sim:", err)
		return exitFailed
	case len(s.Failed) > 0:
		return exitFailed
	}
	return exitOK
}

func (s *simSummary) write(w io.Writer) {
	fmt.Fprintf(w, "\n%d operations (at least %d a seed) and %d faults (at least %d); a healed quorum led after %.2f and committed after %.2f election timeouts at most\n",
		s.Operations, s.OperationsLeast, s.Faults, s.FaultsLeast, s.LeaderAfter, s.CommitAfter)
	fmt.Fprintf(w, "%d seeds from %d: %d events, %.0f s of virtual time in %.1f s (%.1f seeds per second), %.0f events per CPU second, hash %s\n",
		s.Seeds, s.From, s.Events, s.Virtual, s.Seconds, float64(s.Seeds)/s.Seconds, s.EventsPerCPUSecond, s.Hash)
	for _, f := range s.Failed {
		fmt.Fprintf(w, "FAILED seed %d: %s\n  replay: %s\n", f.Seed, f.Error, f.Replay)
	}
	if len(s.Failed) == 0 {
		fmt.Fprintln(w, "no property was broken")
	}
}
