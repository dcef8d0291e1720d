package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// A restart is the time from the start of a process until it answers a
// linearizable read, and what its process used until then.
type restart struct {
	Server string `json:"server"`
	// After is how the process before ended: kill or terminate.
	After   string  `json:"after"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"`
	// Resident is its memory then.
	Resident int64 `json:"resident_bytes"`
}

var endings = []string{"kill", "terminate"}

// restartValue is the size of a value, of which there are as many as fit.
const restartValue = 1024

// restarts fills one node of each and restarts it again and again; what it reads
// is in the system's cache.
func restarts(ctx context.Context, o *options, r *report) error {
	clusters, stop, err := o.start(ctx, 1, restartName)
	if err != nil {
		return err
	}
	defer stop()
	for _, server := range o.servers {
		began := time.Now()
		if err := fill(ctx, clusters[server], int(o.bytes/restartValue)); err != nil {
			return fmt.Errorf("%s: %w\n%s", server, err, clusters[server].Logs(2000))
		}
		fmt.Fprintf(o.out, "%-8s filled with %d MiB in %.1f s\n", server, o.bytes>>20, time.Since(began).Seconds())
	}
	for range o.rounds {
		for _, after := range endings {
			for _, server := range o.servers {
				one, err := restartOnce(ctx, clusters[server], after)
				if err != nil {
					return fmt.Errorf("%s: %w\n%s", server, err, clusters[server].Logs(2000))
				}
				one.Server = server
				fmt.Fprintf(o.out, "%-8s after %-9s reads again after %.2f s, CPU %.2f s, %d MiB resident\n", server, after, one.Seconds, one.CPU, one.Resident>>20)
				r.Restarts = append(r.Restarts, one)
			}
		}
	}
	return nil
}

func restartOnce(ctx context.Context, c *cluster.Cluster, after string) (restart, error) {
	n := c.Nodes[0]
	var err error
	if after == "kill" {
		// What was just written is lost with the memory, and found again in the log.
		if err = fill(ctx, c, 1000); err == nil {
			err = n.Kill()
		}
	} else {
		err = n.Terminate(time.Minute)
	}
	if err != nil {
		return restart{}, err
	}
	began := time.Now()
	if err := n.Start(); err != nil {
		return restart{}, err
	}
	if err := firstRead(ctx, c, n); err != nil {
		return restart{}, err
	}
	one := restart{After: after, Seconds: time.Since(began).Seconds()}
	used, err := n.Usage()
	one.CPU, one.Resident = used.CPU.Seconds(), used.ResidentBytes
	return one, err
}

// firstRead waits for the answer to a linearizable read of a key that is there. A
// client that finds nobody pauses for a second, so the port is tried first.
func firstRead(ctx context.Context, c *cluster.Cluster, n *cluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		conn, err := net.Dial("tcp", n.Endpoint())
		if err == nil {
			conn.Close()
			break
		}
		if !n.Running() || ctx.Err() != nil {
			return errors.Join(errors.New("the process does not listen"), err)
		}
		pause(ctx, 2*time.Millisecond)
	}
	client, err := clientv3.New(c.ClientConfig())
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		found, err := client.Get(ctx, fillKey(0))
		switch {
		case err == nil && len(found.Kvs) == 1:
			return nil
		case err == nil:
			return errors.New("a key that was written is not there")
		case ctx.Err() != nil:
			return err
		}
	}
}

func fillKey(i int) string { return "fill/" + strconv.Itoa(i) }

// fill writes values under the first n keys.
func fill(ctx context.Context, c *cluster.Cluster, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	value := randomValues(restartValue)
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
			const batch = 64 // operations of a transaction: filling is not what is measured
			for {
				from := int(next.Add(batch)) - batch
				if from >= n || ctx.Err() != nil {
					return
				}
				var ops []clientv3.Op
				for k := from; k < min(from+batch, n); k++ {
					ops = append(ops, clientv3.OpPut(fillKey(k), value(rng)))
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

func (r *report) restartTimes(server string, after string) (took []float64) {
	for _, one := range r.Restarts {
		if one.Server == server && one.After == after {
			took = append(took, one.Seconds)
		}
	}
	return took
}

func (r *report) judgeRestarts() {
	for _, after := range endings {
		took := r.restartTimes(string(cluster.Quorate), after)
		if len(took) == 0 {
			continue
		}
		holds := true
		for _, t := range took {
			holds = holds && t < 3
		}
		r.verdict(fmt.Sprintf("restart with %d MiB after %s", r.o.bytes>>20, after), "under 3 s, each time", spread(took, "%.2f s"), holds)
	}
}

func (r *report) printRestarts(w io.Writer) {
	if len(r.Restarts) == 0 {
		return
	}
	fmt.Fprintf(w, "\nOne node with %d MiB in values of %d B, from the start of the process to the answer of its first linearizable read, warm cache, %d times:\n\n| server |",
		r.o.bytes>>20, restartValue, r.o.rounds)
	for _, after := range endings {
		fmt.Fprintf(w, " after %s |", after)
	}
	fmt.Fprint(w, "\n|---|---|---|\n")
	for _, server := range r.o.servers {
		fmt.Fprintf(w, "| %s | %s | %s |\n", server, spread(r.restartTimes(server, "kill"), "%.2f s"), spread(r.restartTimes(server, "terminate"), "%.2f s"))
	}
}
