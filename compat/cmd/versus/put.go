package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// turn is one measurement of one server.
type turn struct {
	rate     float64       // operations per second
	p50, p99 time.Duration // of an operation
	cpu      float64       // seconds of all servers' processors per 100,000 operations
	failed   int64
	leader   float64 // the part of that which the leader used
}

func puts(ctx context.Context, o options) error {
	clusters, stop, err := o.start(ctx, 3)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("puts of %d B to %d random keys, %d clients on %d connections, 3 processes, %v a turn, %d turns each, fsync %v\n\n",
		o.size, o.keySpace, o.clients, o.connections, o.duration, o.rounds, !o.noFsync)
	turns := make(map[cluster.Kind][]turn)
	for range o.rounds {
		for _, kind := range o.servers {
			t, err := o.putTurn(ctx, clusters[kind])
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", kind, err, clusters[kind].Logs(2000))
			}
			fmt.Printf("%-8s %8.0f puts/s  p50 %-9s p99 %-9s CPU %6.2f s/100k (leader %.2f)  failed %d\n",
				kind, t.rate, milliseconds(t.p50), milliseconds(t.p99), t.cpu, t.leader, t.failed)
			turns[kind] = append(turns[kind], t)
		}
	}
	fmt.Print("\n| server | puts/s | p50 | p99 | server CPU s per 100,000 |\n|---|---|---|---|---|\n")
	for _, kind := range o.servers {
		column := func(of func(turn) float64, format string) string {
			var v []float64
			for _, t := range turns[kind] {
				v = append(v, of(t))
			}
			return spread(v, func(f float64) string { return fmt.Sprintf(format, f) })
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", kind,
			column(func(t turn) float64 { return t.rate }, "%.0f"),
			column(func(t turn) float64 { return t.p50.Seconds() * 1e3 }, "%.1f ms"),
			column(func(t turn) float64 { return t.p99.Seconds() * 1e3 }, "%.1f ms"),
			column(func(t turn) float64 { return t.cpu }, "%.2f"))
	}
	return nil
}

// connect opens the connections, each to a node of its own first.
func (o options) connect(c *cluster.Cluster) ([]*clientv3.Client, func(), error) {
	var all []*clientv3.Client
	stop := func() {
		for _, cl := range all {
			cl.Close()
		}
	}
	endpoints := c.Endpoints()
	for i := range o.connections {
		cl, err := clientv3.New(c.ClientConfig(endpoints[i%len(endpoints)]))
		if err != nil {
			stop()
			return nil, nil, err
		}
		all = append(all, cl)
	}
	return all, stop, nil
}

func (o options) putTurn(ctx context.Context, c *cluster.Cluster) (turn, error) {
	connections, stop, err := o.connect(c)
	if err != nil {
		return turn{}, err
	}
	defer stop()
	leader, err := c.Leader(ctx)
	if err != nil {
		return turn{}, err
	}
	load, end := context.WithCancel(ctx)
	var (
		measuring      atomic.Bool
		done, failed   atomic.Int64
		wg             sync.WaitGroup
		latencies      = make([][]time.Duration, o.clients)
		used           = func() (sum, leading time.Duration, err error) { return processors(c, leader) }
		incompressible = make([]byte, o.size+4096)
	)
	for i := range incompressible {
		incompressible[i] = byte(rand.Uint32())
	}
	for i := range o.clients {
		cl := connections[i%len(connections)]
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for load.Err() == nil {
				from := rng.IntN(4096)
				key := "key/" + strconv.Itoa(rng.IntN(o.keySpace))
				began, counted := time.Now(), measuring.Load()
				_, err := cl.Put(load, key, string(incompressible[from:from+o.size]))
				switch {
				case load.Err() != nil || !counted || !measuring.Load():
				case err != nil:
					failed.Add(1)
				default:
					done.Add(1)
					latencies[i] = append(latencies[i], time.Since(began))
				}
			}
		})
	}
	pause(ctx, o.warmUp)
	cpuBefore, leaderBefore, err := used()
	began := time.Now()
	measuring.Store(true)
	pause(ctx, o.duration)
	measuring.Store(false)
	took := time.Since(began)
	cpuAfter, leaderAfter, err2 := used()
	end()
	wg.Wait()
	if err != nil || err2 != nil || ctx.Err() != nil {
		return turn{}, fmt.Errorf("measuring: %v, %v, %v", err, err2, ctx.Err())
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	if len(all) == 0 {
		return turn{}, fmt.Errorf("no put succeeded, %d failed", failed.Load())
	}
	n := float64(done.Load())
	return turn{
		rate: n / took.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100], failed: failed.Load(),
		cpu: (cpuAfter - cpuBefore).Seconds() / n * 1e5, leader: (leaderAfter - leaderBefore).Seconds() / n * 1e5,
	}, nil
}

// processors is what the cluster's processes used, and its leader's alone.
func processors(c *cluster.Cluster, leader *cluster.Node) (sum, leading time.Duration, err error) {
	for _, n := range c.Nodes {
		used, err := n.CPU()
		if err != nil {
			return 0, 0, err
		}
		sum += used
		if n == leader {
			leading = used
		}
	}
	return sum, leading, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
