// Command versus measures Quorate beside etcd through the same stock client: three
// processes each, on this machine's loopback and disk, in turns.
//
//	go run ./cmd/versus put        puts per second, their latencies, the servers' CPU
//	go run ./cmd/versus failover   how long writes stop when the leader is killed
//	go run ./cmd/versus restart    how long one node with much data takes to serve again
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// options are what the flags say.
type options struct {
	servers     []cluster.Kind
	rounds      int
	duration    time.Duration
	warmUp      time.Duration
	clients     int
	connections int
	size        int
	keySpace    int
	election    time.Duration
	heartbeat   time.Duration
	bytes       int64
	noFsync     bool
	dir         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "versus:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	measures := map[string]func(context.Context, options) error{"put": puts, "failover": failovers, "restart": restarts}
	if len(args) == 0 || measures[args[0]] == nil {
		return errors.New("say what to measure: put, failover or restart")
	}
	var o options
	f := flag.NewFlagSet("versus "+args[0], flag.ContinueOnError)
	servers := f.String("servers", "quorate,etcd", "whose servers, in the order of their turns")
	f.IntVar(&o.rounds, "rounds", 3, "turns of each server")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long a turn is measured")
	f.DurationVar(&o.warmUp, "warm-up", 2*time.Second, "how long a turn runs before it is measured")
	f.IntVar(&o.clients, "clients", 1024, "clients, each with one request under way")
	f.IntVar(&o.connections, "connections", 100, "connections that they share")
	f.IntVar(&o.size, "size", 256, "bytes of a value")
	f.IntVar(&o.keySpace, "keys", 1<<20, "keys that puts choose from")
	f.DurationVar(&o.election, "election", time.Second, "election timeout of both")
	f.DurationVar(&o.heartbeat, "heartbeat", 100*time.Millisecond, "heartbeat interval of both")
	f.Int64Var(&o.bytes, "bytes", 1<<30, "restart: bytes of values that are there")
	f.BoolVar(&o.noFsync, "no-fsync", false, "both without fsync")
	f.StringVar(&o.dir, "dir", "", "where the data goes; a temporary directory if empty")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	for _, s := range strings.Split(*servers, ",") {
		o.servers = append(o.servers, cluster.Kind(s))
	}
	if o.clients < o.connections || o.connections < 1 || o.rounds < 1 || o.size < 1 || o.keySpace < 1 {
		return errors.New("there must be rounds, keys, bytes and connections, and at least as many clients as connections")
	}
	if o.dir == "" {
		dir, remove, err := cluster.TempDir()
		if err != nil {
			return err
		}
		defer remove()
		o.dir = dir
	}
	return measures[args[0]](ctx, o)
}

// start starts a cluster of each kind. The idle one of a turn costs next to
// nothing, and both have the same machine.
func (o options) start(ctx context.Context, nodes int) (map[cluster.Kind]*cluster.Cluster, func(), error) {
	all := make(map[cluster.Kind]*cluster.Cluster)
	stop := func() {
		for _, c := range all {
			c.Stop()
		}
	}
	for _, kind := range o.servers {
		dir := o.dir + "/" + string(kind)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			stop()
			return nil, nil, err
		}
		var flags []string
		if kind == cluster.Etcd {
			// Its own limit on the size of the data would end a long run.
			flags = append(flags, "--quota-backend-bytes=8589934592", "--log-level=error")
		}
		c, err := cluster.Start(ctx, cluster.Config{
			Kind: kind, Nodes: nodes, Dir: dir, Election: o.election, Heartbeat: o.heartbeat, NoFsync: o.noFsync, Flags: flags,
		})
		if err != nil {
			stop()
			return nil, nil, err
		}
		all[kind] = c
	}
	return all, stop, nil
}

// spread is the median of some measurements, with the least and the greatest.
func spread[T ~int64 | ~float64](values []T, show func(T) string) string {
	if len(values) == 0 {
		return "-"
	}
	v := slices.Sorted(slices.Values(values))
	return fmt.Sprintf("%s (%s to %s)", show(v[len(v)/2]), show(v[0]), show(v[len(v)-1]))
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
func seconds(d time.Duration) string      { return fmt.Sprintf("%.2f s", d.Seconds()) }
