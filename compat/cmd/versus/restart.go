package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// restarts fills one node of each and measures, from the start of the process on,
// how long it takes until it answers a linearizable read; the cache is warm.
func restarts(ctx context.Context, o options) error {
	clusters, stop, err := o.start(ctx, 1)
	if err != nil {
		return err
	}
	defer stop()
	const value = 1024
	fmt.Printf("one node, %d MiB of values of %d B under keys of their own, %d restarts each\n\n", o.bytes>>20, value, o.rounds)
	took := make(map[cluster.Kind][]time.Duration)
	for _, kind := range o.servers {
		began := time.Now()
		if err := fill(ctx, clusters[kind], int(o.bytes/value), value); err != nil {
			return fmt.Errorf("%s: %w\n%s", kind, err, clusters[kind].Logs(2000))
		}
		fmt.Printf("%-8s filled in %s\n", kind, seconds(time.Since(began)))
	}
	for range o.rounds {
		for _, kind := range o.servers {
			n := clusters[kind].Nodes[0]
			if err := n.Kill(); err != nil {
				return err
			}
			began := time.Now()
			if err := n.Start(); err != nil {
				return err
			}
			if err := clusters[kind].WaitReady(ctx); err != nil {
				return fmt.Errorf("%s: %w\n%s", kind, err, clusters[kind].Logs(2000))
			}
			took[kind] = append(took[kind], time.Since(began))
			fmt.Printf("%-8s serves again after %s\n", kind, seconds(time.Since(began)))
		}
	}
	fmt.Print("\n| server | serves again after kill -9 and start |\n|---|---|\n")
	for _, kind := range o.servers {
		fmt.Printf("| %s | %s |\n", kind, spread(took[kind], seconds))
	}
	return nil
}

func fill(ctx context.Context, c *cluster.Cluster, n, size int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		cl, err := clientv3.New(c.ClientConfig())
		if err != nil {
			return err
		}
		defer cl.Close()
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(i)))
			b := make([]byte, size)
			const batch = 64 // operations of a transaction: filling is not what is measured
			for {
				from := int(next.Add(batch)) - batch
				if from >= n || ctx.Err() != nil {
					return
				}
				var ops []clientv3.Op
				for k := from; k < min(from+batch, n); k++ {
					for j := range b {
						b[j] = byte(rng.Uint32())
					}
					ops = append(ops, clientv3.OpPut("fill/"+strconv.Itoa(k), string(b)))
				}
				if _, err := cl.Txn(ctx).Then(ops...).Commit(); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
