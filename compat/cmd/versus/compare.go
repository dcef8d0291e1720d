package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// compare has every server do every workload in every round.
func compare(ctx context.Context, o *options, r *report) error {
	clusters, stop, err := o.start(ctx, 3, "cluster")
	if err != nil {
		return err
	}
	defer stop()
	for _, server := range o.servers {
		if err := o.prepare(ctx, clusters[server]); err != nil {
			return fmt.Errorf("%s: %w", server, err)
		}
	}
	for round := range o.rounds {
		order := slices.Clone(o.servers)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, w := range workloads {
			if !slices.Contains(o.what, w.name) {
				continue
			}
			for _, server := range order {
				pause(ctx, o.pause)
				t, err := o.turn(ctx, w, clusters[server], fmt.Sprintf("%s-%d", w.name, round+1))
				if err != nil {
					return fmt.Errorf("%s, %s: %w\n%s", w.name, server, err, clusters[server].Logs(2000))
				}
				t.Workload, t.Server, t.Round = w.name, server, round+1
				r.add(t)
				fmt.Fprintf(o.out, "%d  %-16s %s\n", t.Round, w.name, t)
			}
		}
	}
	return nil
}

func (o *options) prepare(ctx context.Context, c *cluster.Cluster) error {
	if !slices.ContainsFunc(o.what, func(name string) bool { return name == "get" || name == "get-serializable" }) {
		return nil
	}
	client, err := clientv3.New(c.ClientConfig())
	if err != nil {
		return err
	}
	defer client.Close()
	return prepare(ctx, o, client)
}

// connect opens the connections, each to one node, the same number to all.
func (o *options) connect(c *cluster.Cluster) ([]*clientv3.Client, func(), error) {
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

// A turn is one measurement of one server.
type turn struct {
	Workload string `json:"workload"`
	Server   string `json:"server"`
	Round    int    `json:"round"`
	// Done is how many operations were, in Seconds, Failed how many were not.
	Done    int     `json:"done"`
	Failed  int64   `json:"failed"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"per_second"`
	// P50 and P99 are of an operation, in seconds.
	P50 float64 `json:"p50_seconds"`
	P99 float64 `json:"p99_seconds"`
	// CPU is that of all three servers, user and system, in seconds for 100,000
	// operations, Leader the part of it that the leader used.
	CPU    float64 `json:"server_cpu_seconds_per_100k"`
	Leader float64 `json:"leader_cpu_seconds_per_100k"`
	// Of all three servers, per operation.
	Syncs    float64 `json:"log_fsyncs_per_op"`
	Switches float64 `json:"context_switches_per_op"`
	// Resident is the servers' memory at the end.
	Resident int64 `json:"resident_bytes"`
	// Cores that were used: by the servers, by this load, by everything else, and
	// taken by a hypervisor.
	ServerCores float64 `json:"server_cores"`
	LoadCores   float64 `json:"load_cores"`
	OtherCores  float64 `json:"other_cores"`
	StolenCores float64 `json:"stolen_cores"`
}

func (t *turn) String() string {
	return fmt.Sprintf("%-8s %8.0f/s  p50 %-9s p99 %-10s CPU %6.2f s/100k (leader %5.2f)  %.4f syncs/op  failed %d  cores: servers %.2f load %.2f other %.2f stolen %.2f",
		t.Server, t.Rate, milliseconds(t.P50), milliseconds(t.P99), t.CPU, t.Leader, t.Syncs, t.Failed,
		t.ServerCores, t.LoadCores, t.OtherCores, t.StolenCores)
}

func (o *options) turn(ctx context.Context, w workload, c *cluster.Cluster, name string) (*turn, error) {
	connections, stop, err := o.connect(c)
	if err != nil {
		return nil, err
	}
	defer stop()
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	running, end := context.WithCancel(ctx)
	l := &load{o: o, connections: connections, meter: &meter{}}
	defer l.wg.Wait()
	defer end()
	w.run(running, l)
	pause(ctx, o.warmUp)
	before, err := measure(ctx, c, leader)
	if err != nil {
		return nil, err
	}
	var profiled chan error
	if o.profiles != "" && c.Config.Kind == cluster.Quorate {
		profiled = make(chan error, 1)
		go func() { profiled <- profile(ctx, o, c, leader, name) }()
	}
	l.meter.measuring.Store(true)
	pause(ctx, o.duration)
	l.meter.measuring.Store(false)
	after, err := measure(ctx, c, leader)
	if err != nil {
		return nil, err
	}
	if profiled != nil {
		if err := <-profiled; err != nil {
			return nil, err
		}
	}
	end()
	l.wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return newTurn(l.meter, &before, &after)
}

func newTurn(m *meter, before, after *usage) (*turn, error) {
	latencies, failed := m.latencies(), m.failed.Load()
	n := len(latencies)
	if n == 0 {
		return nil, fmt.Errorf("nothing was done, %d operations failed", failed)
	}
	t := &turn{Done: n, Failed: failed, Seconds: after.at.Sub(before.at).Seconds(), Resident: after.residentBytes}
	perOp := func(v float64) float64 { return v / float64(n) }
	cores := func(d time.Duration) float64 { return d.Seconds() / t.Seconds }
	t.Rate = float64(n) / t.Seconds
	t.P50, t.P99 = latencies[n/2].Seconds(), latencies[n*99/100].Seconds()
	t.CPU = perOp((after.all - before.all).Seconds()) * 1e5
	t.Leader = perOp((after.leader - before.leader).Seconds()) * 1e5
	t.Syncs = perOp(after.syncs - before.syncs)
	t.Switches = perOp(float64(after.switches - before.switches))
	t.ServerCores, t.LoadCores = cores(after.all-before.all), cores(after.own-before.own)
	t.StolenCores = cores(after.stolen - before.stolen)
	t.OtherCores = max(0, cores(after.busy-before.busy)-t.ServerCores-t.LoadCores)
	return t, nil
}
