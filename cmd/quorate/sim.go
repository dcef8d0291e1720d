package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/sim"
)

const simHelp = `usage: quorate sim --seeds N [--from S] [--workers W] [--json]
       quorate sim --seed S [--trace]

Runs clusters of the real replicas, logs and snapshots on a virtual clock,
network and disk, under faults of every kind, and judges after every event
whether Raft's properties hold and what clients saw is linearizable. A seed
decides everything: the size of the cluster, its timing, its faults and their
moments. The same seed is the same run, on any machine.

A run that fails is told with the command that replays it; --trace then tells
every event, and why it happened:

  quorate sim --seeds 1000                 a thousand seeds, from 1 on
  quorate sim --seeds 1000 --from 5001     the next ones
  quorate sim --seed 148 --trace | less    one of them, in full

The exit code is 0 if all is well, 1 if a seed failed (or if 3000 seeds or more
leave out a fault or a state that they are to bring about), 2 for wrong usage.

Flags:
`

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
	// EventsPerCPUSecond counts all that the program did, judging included.
	EventsPerCPUSecond float64 `json:"events_per_cpu_second"`
	// Hash is made of the hashes of all runs: equal for equal runs.
	Hash     string         `json:"hash"`
	Coverage map[string]int `json:"coverage"`
}

type simFailure struct {
	Seed   uint64 `json:"seed"`
	Error  string `json:"error"`
	Replay string `json:"replay"`
}

func runSim(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("quorate sim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), simHelp)
		flags.PrintDefaults()
	}
	seeds := flags.Int("seeds", 0, "run this many seeds")
	from := flags.Uint64("from", 1, "the first of --seeds")
	seed := flags.Uint64("seed", 0, "run this one seed")
	trace := flags.Bool("trace", false, "with --seed: tell every event on standard output")
	workers := flags.Int("workers", runtime.GOMAXPROCS(0), "seeds that run at once")
	asJSON := flags.Bool("json", false, "print the summary as JSON")
	keepGoing := flags.Bool("keep-going", false, "do not stop at the first seed that fails")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	one := false
	flags.Visit(func(f *flag.Flag) { one = one || f.Name == "seed" })
	switch {
	case flags.NArg() > 0, one == (*seeds > 0), *trace && !one, *workers < 1:
		fmt.Fprintln(stderr, "give either --seeds N or --seed S; --trace goes with --seed")
		flags.Usage()
		return exitUsage
	case one:
		return simOne(*seed, *trace, *asJSON, stdout, stderr)
	}
	return simMany(ctx, *from, *seeds, *workers, *keepGoing, *asJSON, stdout, stderr)
}

func simOne(seed uint64, trace, asJSON bool, stdout, stderr io.Writer) int {
	cfg := sim.Config{Seed: seed}
	out := bufio.NewWriterSize(stdout, 1<<16)
	if trace {
		cfg.Trace = out
	}
	begin := time.Now()
	t := newTally(seed)
	r := sim.Run(cfg)
	t.add(&r)
	if err := out.Flush(); err != nil {
		fmt.Fprintln(stderr, "quorate sim:", err)
		return exitFailed
	}
	return t.report(time.Since(begin), asJSON, stdout, stderr)
}

func simMany(ctx context.Context, from uint64, seeds, workers int, keepGoing, asJSON bool, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A run lives for a moment and leaves much behind: to collect it less often
	// halves the time.
	debug.SetGCPercent(1600)
	begin := time.Now()
	t := newTally(from)
	var next atomic.Uint64
	var running sync.WaitGroup
	for range min(workers, seeds) {
		running.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= uint64(seeds) {
					return
				}
				r := sim.Run(sim.Config{Seed: from + i})
				if r.Err != nil {
					fmt.Fprintf(stderr, "seed %d failed: %v\n  replay: %s\n", r.Seed, r.Err, r.Replay())
					if !keepGoing {
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
			return t.report(time.Since(begin), asJSON, stdout, stderr)
		case <-tick.C:
			done, failed := t.progress()
			took := time.Since(begin).Seconds()
			fmt.Fprintf(stderr, "%d of %d seeds, %d failed, %.1f per second\n", done, seeds, failed, float64(done)/took)
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
}

func newTally(from uint64) *tally {
	return &tally{cpu: cpuTime(), summary: simSummary{From: from, Failed: []simFailure{}, Coverage: map[string]int{}}}
}

func (t *tally) add(r *sim.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.summary.Seeds++
	t.summary.Events += r.Events
	t.summary.Virtual += r.Virtual.Seconds()
	t.coverage.Add(&r.Coverage)
	t.hash ^= r.Hash * (2*r.Seed + 1) // in whatever order they end
	if r.Err != nil {
		t.summary.Failed = append(t.summary.Failed, simFailure{r.Seed, r.Err.Error(), r.Replay()})
	}
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
	var missed []string
	for i, name := range sim.Covered() {
		s.Coverage[name] = t.coverage[i]
		if t.coverage[i] == 0 {
			missed = append(missed, name)
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
		fmt.Fprintf(stdout, "\n%d seeds from %d: %d events, %.0f s of virtual time in %.1f s (%.1f seeds per second), %.0f events per CPU second, hash %s\n",
			s.Seeds, s.From, s.Events, s.Virtual, s.Seconds, float64(s.Seeds)/s.Seconds, s.EventsPerCPUSecond, s.Hash)
		for _, f := range s.Failed {
			fmt.Fprintf(stdout, "FAILED seed %d: %s\n  replay: %s\n", f.Seed, f.Error, f.Replay)
		}
		if len(s.Failed) == 0 {
			fmt.Fprintln(stdout, "no property was broken")
		}
	}
	if enough := s.Seeds >= seedsForCoverage; enough {
		for _, name := range missed {
			fmt.Fprintln(stderr, "never occurred in so many seeds:", name)
		}
		if len(missed) > 0 && err == nil {
			err = errors.New("the seeds no longer bring about all that they are for")
		}
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
