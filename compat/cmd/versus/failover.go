package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// A kill is one failover: for how long no write was done at all, and the longest
// that any one client waited for one write, failed attempts included.
type kill struct {
	Server  string  `json:"server"`
	Stopped float64 `json:"writes_stopped_seconds"`
	Stalled float64 `json:"longest_stall_seconds"`
}

const failoverClients = 24

// failovers kills the leader under a light load of clients without deadlines, each
// connected to all nodes.
func failovers(ctx context.Context, o *options, r *report) error {
	clusters, stop, err := o.start(ctx, 3, failoverName)
	if err != nil {
		return err
	}
	defer stop()
	for range o.rounds {
		for _, server := range o.servers {
			k, err := failover(ctx, clusters[server])
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", server, err, clusters[server].Logs(2000))
			}
			k.Server = server
			fmt.Fprintf(o.out, "%-8s leader killed: writes stopped for %.2f s, longest stall of a client %.2f s\n", server, k.Stopped, k.Stalled)
			r.Failovers = append(r.Failovers, k)
		}
	}
	return nil
}

// A rescue watches what clients do around a kill.
type rescue struct {
	mu      sync.Mutex
	killed  time.Time
	first   time.Time // the first write done after the kill that was not answered by the dead
	longest time.Duration
}

// done notes a write, and reports whether it shows that its client writes again.
func (s *rescue) done(began, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.killed.IsZero() {
		return false
	}
	s.longest = max(s.longest, now.Sub(began))
	// What the leader answered before it died does not count.
	if !began.After(s.killed) && now.Sub(began) <= 100*time.Millisecond {
		return false
	}
	if s.first.IsZero() {
		s.first = now
	}
	return true
}

// write writes one key again and again until ctx ends, and says when it has
// written a few times after the kill.
func (s *rescue) write(ctx context.Context, c *clientv3.Client, key string, again chan<- struct{}) {
	after := 0
	for ctx.Err() == nil {
		began := time.Now()
		for {
			if _, err := c.Put(ctx, key, "x"); err == nil || ctx.Err() != nil {
				break
			}
		}
		if ctx.Err() == nil && s.done(began, time.Now()) {
			if after++; after == 3 {
				again <- struct{}{}
			}
		}
		pause(ctx, 5*time.Millisecond)
	}
}

func failover(ctx context.Context, c *cluster.Cluster) (kill, error) {
	load, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	s, again := &rescue{}, make(chan struct{}, failoverClients)
	for i := range failoverClients {
		cl, err := clientv3.New(c.ClientConfig())
		if err != nil {
			return kill{}, err
		}
		defer cl.Close()
		wg.Go(func() { s.write(load, cl, "failover/"+strconv.Itoa(i), again) })
	}
	pause(ctx, 2*time.Second)
	leader, err := c.Leader(ctx)
	if err != nil {
		return kill{}, err
	}
	if err := leader.Kill(); err != nil {
		return kill{}, err
	}
	s.mu.Lock()
	s.killed = time.Now()
	s.mu.Unlock()
	timeout := time.After(30 * time.Second)
	for range failoverClients {
		select {
		case <-again:
		case <-timeout:
			return kill{}, fmt.Errorf("after 30 s not every client writes again")
		case <-ctx.Done():
			return kill{}, ctx.Err()
		}
	}
	end()
	wg.Wait()
	k := kill{Stopped: s.first.Sub(s.killed).Seconds(), Stalled: s.longest.Seconds()}
	if err := leader.Start(); err != nil {
		return k, err
	}
	return k, c.WaitReady(ctx)
}

func (r *report) failoverFigures(server string) (stopped, stalled []float64) {
	for _, k := range r.Failovers {
		if k.Server == server {
			stopped, stalled = append(stopped, k.Stopped), append(stalled, k.Stalled)
		}
	}
	return stopped, stalled
}

// judgeFailovers asks of every kill what was to be reached, not of the median.
func (r *report) judgeFailovers() {
	stopped, stalled := r.failoverFigures(string(cluster.Quorate))
	if len(stopped) == 0 {
		return
	}
	aim := 2 * r.o.election.Seconds()
	most := func(values []float64, bound float64) bool {
		for _, v := range values {
			if v > bound {
				return false
			}
		}
		return true
	}
	r.verdict("writes stop, leader killed", fmt.Sprintf("at most two election timeouts, %.2f s, each time", aim),
		spread(stopped, "%.2f s"), most(stopped, aim))
	r.verdict("longest stall of a client", fmt.Sprintf("at most %.2f s, each time", aim+0.5),
		spread(stalled, "%.2f s"), most(stalled, aim+0.5))
}

func (r *report) printFailovers(w io.Writer) {
	if len(r.Failovers) == 0 {
		return
	}
	fmt.Fprintf(w, "\nkill -9 of the leader, %d clients without deadlines, each connected to all nodes, election timeout %v, %d times:\n", failoverClients, r.o.election, r.o.rounds)
	fmt.Fprint(w, "\n| server | writes stop for | longest stall of a client |\n|---|---|---|\n")
	for _, server := range r.o.servers {
		stopped, stalled := r.failoverFigures(server)
		fmt.Fprintf(w, "| %s | %s | %s |\n", server, spread(stopped, "%.2f s"), spread(stalled, "%.2f s"))
	}
}
