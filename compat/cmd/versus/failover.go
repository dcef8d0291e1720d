package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// failovers kills the leader under a light load of clients without deadlines, and
// tells for how long no write succeeded at all, and the longest that any one
// client waited for one write, failed attempts included.
func failovers(ctx context.Context, o options) error {
	clusters, stop, err := o.start(ctx, 3)
	if err != nil {
		return err
	}
	defer stop()
	const clients = 24
	fmt.Printf("kill -9 of the leader, %d clients without deadlines, each connected to all 3 processes, election timeout %v, %d kills each\n\n",
		clients, o.election, o.rounds)
	stopped, stalled := make(map[cluster.Kind][]time.Duration), make(map[cluster.Kind][]time.Duration)
	for range o.rounds {
		for _, kind := range o.servers {
			silence, stall, err := failover(ctx, clusters[kind], clients)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", kind, err, clusters[kind].Logs(2000))
			}
			fmt.Printf("%-8s writes stopped for %-8s longest stall of a client %s\n", kind, seconds(silence), seconds(stall))
			stopped[kind] = append(stopped[kind], silence)
			stalled[kind] = append(stalled[kind], stall)
		}
	}
	fmt.Print("\n| server | writes stop for | longest stall of a client |\n|---|---|---|\n")
	for _, kind := range o.servers {
		fmt.Printf("| %s | %s | %s |\n", kind, spread(stopped[kind], seconds), spread(stalled[kind], seconds))
	}
	return nil
}

func failover(ctx context.Context, c *cluster.Cluster, clients int) (silence, stall time.Duration, err error) {
	load, end := context.WithCancel(ctx)
	defer end()
	var (
		mu       sync.Mutex
		killed   time.Time
		first    time.Time // the first write begun and done after the kill
		longest  time.Duration
		wg       sync.WaitGroup
		finished = make(chan struct{}, clients)
	)
	for i := range clients {
		cl, err := clientv3.New(c.ClientConfig())
		if err != nil {
			return 0, 0, err
		}
		defer cl.Close()
		wg.Go(func() {
			after := 0
			for load.Err() == nil {
				began := time.Now()
				for {
					_, err := cl.Put(load, "failover/"+strconv.Itoa(i), "x")
					if err == nil || load.Err() != nil {
						break
					}
				}
				now := time.Now()
				mu.Lock()
				if !killed.IsZero() && load.Err() == nil {
					// What was answered by the leader before it died does not count.
					if began.After(killed) || now.Sub(began) > 100*time.Millisecond {
						if first.IsZero() {
							first = now
						}
						after++
					}
					longest = max(longest, now.Sub(began))
				}
				mu.Unlock()
				if after == 3 {
					finished <- struct{}{}
					after++
				}
				pause(load, 5*time.Millisecond)
			}
		})
	}
	pause(ctx, 2*time.Second)
	leader, err := c.Leader(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := leader.Kill(); err != nil {
		return 0, 0, err
	}
	mu.Lock()
	killed = time.Now()
	mu.Unlock()
	timeout := time.After(30 * time.Second)
	for range clients {
		select {
		case <-finished:
		case <-timeout:
			return 0, 0, fmt.Errorf("after 30 s not every client writes again")
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
	end()
	wg.Wait()
	silence, stall = first.Sub(killed), longest
	if err := leader.Start(); err != nil {
		return 0, 0, err
	}
	return silence, stall, c.WaitReady(ctx)
}
