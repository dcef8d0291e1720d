package nemesis

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// A step is a fault in a script: it begins after a pause, counted from the step
// before, and lasts.
type step struct {
	after time.Duration
	kind  string
	hold  time.Duration
	// along: the next step does not wait for this one's end.
	along bool
}

func s(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// scripts are sequences that once broke somebody's system, repeated until the round
// is over.
var scripts = map[string][]step{
	"leaders die": {
		{s(1), "kill leader", s(0.3), false}, {s(1), "kill leader", s(3), false}, {s(0.5), "kill leader", s(1), false},
	},
	"everything dies at once": {
		{s(2), "kill all", 0, false}, {s(3), "kill majority", s(1), false}, {s(3), "kill all", s(1), false},
	},
	"rolling restart": {
		{s(1), "stop in order", s(0.5), false}, {s(1), "stop the leader", s(0.5), false}, {s(1), "stop in order", s(1), false},
	},
	"the leader sleeps and is replaced": {
		{s(1), "pause leader", s(5), false}, {s(1), "pause leader", s(1.2), false}, {s(2), "pause all", s(3), false},
	},
	"half-dead switch": {
		{s(1), "one way cut", s(3), false},
		{s(1), "leader is not heard", s(4), false},
		{s(1), "leader hears nobody", s(4), false},
		{s(1), "flapping", s(4), false},
	},
	"split and kill": {
		{s(1), "isolate leader", s(4), true}, {s(1.5), "kill follower", s(1), false}, {s(3), "split", s(4), true}, {s(1), "kill leader", s(2), false},
	},
	"bridge": {
		{s(1), "bridge", s(6), false}, {s(1), "cut between two", s(5), false}, {s(1), "ring", s(6), false},
	},
	"bad line": {
		{s(1), "slow everywhere", s(4), true},
		{s(1), "kill leader", s(1.5), false},
		{s(3), "lossy", s(4), true},
		{s(1), "pause leader", s(2), false},
		{s(3), "narrow", s(4), false},
		{s(1), "slow leader", s(4), false},
	},
	"clients lose the leader": {
		{s(1), "clients lose the leader", s(4), false}, {s(1), "isolate leader", s(4), false},
	},
	"disks fill": {
		{s(1), "fill to the reserve", s(3), false}, {s(3), "fill the disk", s(3), false}, {s(6), "fill to the reserve", s(2), true}, {s(0.5), "kill leader", s(1), false},
	},
}

// Scripts are the names of the scripts.
func Scripts() []string { return slices.Sorted(maps.Keys(scripts)) }

// possible gives the kinds of a track that can be had here.
func (e *env) possible(track string, only []string) []string {
	return slices.DeleteFunc(Kinds(), func(name string) bool {
		k := kinds[name]
		return k.track != track || k.needs != nil && !k.needs(e) || len(only) > 0 && !slices.Contains(only, name)
	})
}

// mix draws faults of one track until ctx ends: now and then, and not for ever.
func (e *env) mix(ctx context.Context, rng *rand.Rand, track string, only []string, rest [2]time.Duration) {
	names := e.possible(track, only)
	for len(names) > 0 && e.wait(ctx, between(rng, rest)) {
		name := names[rng.IntN(len(names))]
		e.inject(ctx, rng, name, between(rng, kinds[name].hold))
	}
}

func between(rng *rand.Rand, d [2]time.Duration) time.Duration {
	return d[0] + time.Duration(rng.Int64N(int64(d[1]-d[0])+1))
}

// follow repeats a script until ctx ends.
func (e *env) follow(ctx context.Context, rng *rand.Rand, script []step) {
	any := slices.ContainsFunc(script, func(s step) bool { return kinds[s.kind].needs == nil || kinds[s.kind].needs(e) })
	for any && ctx.Err() == nil {
		for _, s := range script {
			if k := kinds[s.kind]; k.needs != nil && !k.needs(e) {
				continue
			}
			if !e.wait(ctx, s.after) {
				break
			}
			if s.along {
				own := rand.New(rand.NewPCG(rng.Uint64(), 1))
				e.faults.Go(func() { e.inject(ctx, own, s.kind, s.hold) })
			} else {
				e.inject(ctx, rng, s.kind, s.hold)
			}
		}
	}
}

// wait waits, and reports false if ctx ended first.
func (e *env) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
