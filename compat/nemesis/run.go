package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/load"
)

// Run runs rounds until the time is over, ctx ends, or what was seen cannot be
// built on. The result is told also beside an error.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer e.close()
	e.result = &Result{Nodes: cfg.Nodes, Seed: cfg.Seed, Network: e.network.Kind(), Disk: "disks that cannot be filled", Began: time.Now()}
	if e.bounded {
		e.result.Disk = fmt.Sprintf("disks of %d MiB", diskBytes>>20)
	}
	fmt.Fprintf(cfg.Out, "%d members, %s, %s, seed %d\n", cfg.Nodes, e.result.Network, e.result.Disk, cfg.Seed)
	observing, stop := context.WithCancel(ctx)
	e.observer = load.Observe(observing, e.nodes, func(i int) *clientv3.Client { return e.dial(i) })
	defer e.observer.Wait()
	defer stop()
	keep := len(e.clients)
	for n := 1; ctx.Err() == nil && (n == 1 || time.Since(e.result.Began) < cfg.Duration); n++ {
		err := e.runRound(ctx, n)
		e.closeClients(keep)
		e.result.Seconds = time.Since(e.result.Began).Seconds()
		e.result.Totals.Packets, e.result.Totals.PacketsLost = e.network.Packets()
		if err != nil {
			return e.result, err
		}
		if cfg.After != nil {
			cfg.After(e.result)
		}
	}
	return e.result, nil
}

// script chooses what happens in a round: scripts and random mixes in turn.
func (e *env) script(n int, rng *rand.Rand) string {
	switch names := Scripts(); {
	case e.config.Script != "":
		return e.config.Script
	case len(e.config.Only) == 0 && n%2 == 0:
		return names[rng.IntN(len(names))]
	}
	return ""
}

// runRound runs a round. An error is that there can be no next one.
func (e *env) runRound(ctx context.Context, n int) error {
	rng := rand.New(rand.NewPCG(e.config.Seed, uint64(n)))
	r := &Round{Number: n, Script: e.script(n, rng)}
	e.mu.Lock()
	e.round, e.full = r, map[int]bool{}
	e.mu.Unlock()
	began := time.Now()
	r.From = e.result.since(began)
	prefix := fmt.Sprintf("round%d/", n)
	p := &prober{client: e.dial(), key: prefix + "probe"}
	before, err := p.client.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		return fmt.Errorf("nemesis: round %d cannot begin: %w", n, err)
	}
	log := load.Log{After: before.Header.Revision, Before: before.Kvs}

	// Whatever happens, a round ends.
	bounded, cancel := context.WithTimeout(ctx, e.config.Round+2*e.config.Recovery+time.Minute)
	defer cancel()
	var names []string
	for _, node := range e.nodes {
		names = append(names, "the watch at "+node.Name)
	}
	names = append(names, "a watch of any", "another watch of any")
	watchers := load.Watch(bounded, log.After, names, func(i int) *clientv3.Client {
		if i < len(e.nodes) {
			return e.dial(i)
		}
		return e.dial()
	})
	working, stopWork := context.WithCancel(bounded)
	defer stopWork()
	cfg := e.config.Load
	cfg.Seed = rng.Uint64()
	l := load.Start(working, prefix, cfg, e.dialer())
	var compacted atomic.Int64
	compacted.Store(log.After)
	seekers := load.Seek(working, prefix, 3, rng.Uint64(), func(i int) *clientv3.Client { return e.dialer()(i) }, func() (int64, int64) {
		return compacted.Load() + 1, watchers.Told()
	})
	probing, stopProbing := context.WithCancel(bounded)
	defer stopProbing()
	e.faults.Go(func() { p.run(probing) })
	e.faults.Go(func() { r.Compacted = e.compact(working, rand.New(rand.NewPCG(cfg.Seed, 99)), watchers, &compacted) })

	e.harm(bounded, rng, r)
	healed := time.Now()
	r.Healed = e.result.since(healed)
	err = e.heal(bounded, p)
	r.Recovery = time.Since(healed).Seconds()
	stopWork()
	l.Wait()
	parts := seekers.Wait()
	stopProbing()
	e.faults.Wait()
	gaps, outage := p.gaps(began, time.Now())
	r.Outage = outage.Seconds()
	if ctx.Err() != nil {
		return e.interrupted(ctx, n)
	}
	if err != nil {
		// Nothing can be judged without the end of the log.
		e.violate("after the faults: %v; the stacks of all members are in their logs", err)
		for _, n := range e.nodes {
			_ = n.Dump() // it may have ended
		}
		e.finish(r, l, nil, nil, began)
		return err
	}
	// The leases run out, and nothing changes any more.
	e.wait(bounded, load.LongestTTL+lateness+time.Second)
	asked := time.Now()
	last, cancelLast := context.WithTimeout(bounded, e.config.Recovery)
	log.Last, err = e.write(last, p, 3*election)
	cancelLast()
	if took := time.Since(asked); took > election {
		e.note("when all was calm a write took %v", took)
	}
	if err != nil && ctx.Err() == nil {
		e.violate("when all was calm: %v", err)
		return err
	}
	views := watchers.Finish(log.Last)
	if ctx.Err() != nil {
		return e.interrupted(ctx, n)
	}
	for _, v := range views {
		v.Events = slices.DeleteFunc(v.Events, func(s load.Seen) bool { return s.Kv.ModRevision > log.Last })
	}
	e.judge(bounded, r, l, &log, views, parts, gaps)
	e.finish(r, l, views, parts, began)
	if _, err := p.client.Delete(ctx, prefix, clientv3.WithPrefix()); err != nil {
		return fmt.Errorf("nemesis: the keys of round %d cannot be removed: %w", n, err)
	}
	return nil
}

// interrupted ends a round that somebody stopped: what it saw says nothing, since it
// was not let finish.
func (e *env) interrupted(ctx context.Context, n int) error {
	fmt.Fprintf(e.config.Out, "round %d was interrupted, and is not judged\n", n)
	return ctx.Err()
}

// harm injects faults for the time of a round.
func (e *env) harm(ctx context.Context, rng *rand.Rand, r *Round) {
	ctx, cancel := context.WithTimeout(ctx, e.config.Round)
	defer cancel()
	var tracks faultTracks
	if r.Script != "" {
		e.follow(ctx, rng, scripts[r.Script])
		<-ctx.Done()
	} else {
		for i, t := range []struct {
			name string
			rest [2]time.Duration
		}{{processes, ms(300, 6000)}, {links, ms(300, 5000)}, {disks, ms(5000, 30000)}} {
			own := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
			tracks.Go(func() { e.mix(ctx, own, t.name, e.config.Only, t.rest) })
		}
	}
	tracks.Wait()
	// Also those that a script left going along.
	for _, name := range []string{processes, links, disks} {
		e.tracks[name].Lock()
		//lint:ignore SA2001 it waits
		e.tracks[name].Unlock()
	}
}

// heal makes everything whole and waits until all is well.
func (e *env) heal(ctx context.Context, p *prober) error {
	ctx, cancel := context.WithTimeout(ctx, e.config.Recovery)
	defer cancel()
	e.network.Heal()
	if err := ctx.Err(); err != nil {
		return err
	}
	var errs []error
	for i, n := range e.nodes {
		if !n.Running() {
			if !e.full[i] {
				e.violate("the process of %s ended by itself:\n%s", n.Name, n.LogTail(1500))
			}
			errs = append(errs, n.Start())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if _, err := e.write(ctx, p, e.config.Recovery/4); err != nil {
		return err
	}
	for i, n := range e.nodes {
		if err := e.answers(ctx, i); err != nil {
			if !e.full[i] {
				return fmt.Errorf("%s does not answer within %v: %w", n.Name, e.config.Recovery, err)
			}
		}
	}
	return nil
}

// write writes until that succeeds, and gives the revision. If it takes long, the
// members' stacks go into their logs, and they are started again.
func (e *env) write(ctx context.Context, p *prober, long time.Duration) (int64, error) {
	dumped := false
	for since := time.Now(); ; {
		revision, err := p.write(ctx)
		if err == nil {
			return revision, nil
		}
		if !e.wait(ctx, 20*time.Millisecond) {
			return 0, fmt.Errorf("no write succeeds within %v: %w", time.Since(since).Round(time.Second), err)
		}
		if dumped || time.Since(since) < long {
			continue
		}
		dumped = true
		e.note("no write succeeded for %v after the faults; the stacks of all members are in their logs, and they were started again", long)
		for _, n := range e.nodes {
			if err := errors.Join(n.Dump(), n.Start()); err != nil {
				return 0, err
			}
		}
	}
}

// answers waits until a member answers a linearizable read. One whose disk was full
// may have stopped its group, and is started again, as its operator would.
func (e *env) answers(ctx context.Context, node int) error {
	c := e.dial(node)
	restarted := false
	for since := time.Now(); ; {
		one, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.Get(one, "ready?")
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return err
		case e.full[node] && !restarted && time.Since(since) > 3*election:
			restarted = true
			e.note("%s was started again after its disk had been full: %v", member(node), err)
			if err := errors.Join(e.nodes[node].Kill(), e.nodes[node].Start()); err != nil {
				return err
			}
		}
		e.wait(ctx, 50*time.Millisecond)
	}
}

// compact forgets history now and then, never what a watcher of everything has not
// been told of.
func (e *env) compact(ctx context.Context, rng *rand.Rand, w *load.Watchers, compacted *atomic.Int64) int {
	c, n := e.dial(), 0
	for e.wait(ctx, between(rng, ms(2000, 8000))) {
		told, last := w.Told(), compacted.Load()
		if told <= last+1 {
			continue
		}
		to := last + 1 + rng.Int64N(told-last)
		// Before it is asked for: from then on older revisions may be gone.
		compacted.Store(to)
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		if _, err := c.Compact(one, to); err == nil {
			n++
		}
		cancel()
	}
	return n
}
