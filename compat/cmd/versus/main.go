// Command versus measures Quorate beside etcd through the same stock client:
// three processes each, with the same flags, on this machine's loopback and disk,
// in turns, so that whatever else the machine does disturbs both alike.
//
//	go run ./cmd/versus               puts, gets, transactions and watchers
//	go run ./cmd/versus put get       only these
//	go run ./cmd/versus failover      how long writes stop when the leader is killed
//	go run ./cmd/versus restart       how long one node with 1 GiB takes to serve again
//	go run ./cmd/versus all           everything
//
// Flags come last; -help lists them. It ends with what was to be reached and
// whether it was. -json prints all measurements to standard output, and the text
// to standard error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// options are what the command line says.
type options struct {
	what        []string
	servers     []string
	rounds      int
	duration    time.Duration
	warmUp      time.Duration
	pause       time.Duration
	clients     int
	connections int
	watchers    int
	size        int
	keySpace    int
	election    time.Duration
	heartbeat   time.Duration
	bytes       int64
	noFsync     bool
	dir         string
	profiles    string
	flags       []string
	json        bool

	// out is for people.
	out io.Writer
}

const (
	failoverName = "failover"
	restartName  = "restart"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "versus:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{out: os.Stdout}
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.what = append(o.what, args[0])
		args = args[1:]
	}
	f := flag.NewFlagSet("versus [WHAT...]", flag.ContinueOnError)
	servers := f.String("servers", "quorate,etcd", "whose servers: quorate, etcd, or the path of another build of Quorate's; the first is compared with each other one")
	f.IntVar(&o.rounds, "rounds", 5, "turns of each server; every second round goes in the other order")
	f.DurationVar(&o.duration, "duration", 8*time.Second, "how long a turn is measured")
	f.DurationVar(&o.warmUp, "warm-up", 2*time.Second, "how long a turn runs before it is measured")
	f.DurationVar(&o.pause, "pause", time.Second, "how long nothing is done between two turns")
	f.IntVar(&o.clients, "clients", 1024, "clients, each with one request under way")
	f.IntVar(&o.connections, "connections", 100, "connections that they share, spread over the nodes")
	f.IntVar(&o.watchers, "watchers", 1000, "watch: watchers of one key, spread over the connections")
	f.IntVar(&o.size, "size", 256, "bytes of a value")
	f.IntVar(&o.keySpace, "keys", 1<<20, "keys that puts choose from at random")
	f.DurationVar(&o.election, "election", time.Second, "election timeout of both")
	f.DurationVar(&o.heartbeat, "heartbeat", 100*time.Millisecond, "heartbeat interval of both")
	f.Int64Var(&o.bytes, "bytes", 1<<30, "restart: bytes of values that are there")
	f.BoolVar(&o.noFsync, "no-fsync", false, "both without fsync")
	f.StringVar(&o.dir, "dir", "", "where the data goes; a temporary directory if empty")
	f.StringVar(&o.profiles, "profiles", "", "a directory for profiles of Quorate's servers, one set for each turn")
	flags := f.String("quorate-flags", "", "further flags for Quorate's servers, separated by blanks")
	f.BoolVar(&o.json, "json", false, "print all measurements as JSON, and the text to standard error")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("%q: flags come last", f.Arg(0))
	}
	o.servers = strings.Split(*servers, ",")
	o.flags = strings.Fields(*flags)
	if o.clients < o.connections || min(o.connections, o.rounds, o.size, o.keySpace, o.watchers) < 1 {
		return nil, errors.New("there must be rounds, keys, bytes, watchers and connections, and at least as many clients as connections")
	}
	if o.json {
		o.out = os.Stderr
	}
	return o, o.choose()
}

// choose expands what to measure.
func (o *options) choose() error {
	known := []string{}
	for _, w := range workloads {
		known = append(known, w.name)
	}
	if len(o.what) == 0 {
		o.what = known
		return nil
	}
	known = append(known, failoverName, restartName)
	if slices.Equal(o.what, []string{"all"}) {
		o.what = known
	}
	for _, name := range o.what {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%q cannot be measured; there are %s, or all", name, strings.Join(known, ", "))
		}
	}
	return nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.dir == "" {
		dir, remove, err := cluster.TempDir()
		if err != nil {
			return err
		}
		defer remove()
		o.dir = dir
	}
	r := newReport(o)
	if slices.ContainsFunc(o.what, isWorkload) {
		if err := compare(ctx, o, r); err != nil {
			return err
		}
	}
	for name, measure := range map[string]func(context.Context, *options, *report) error{failoverName: failovers, restartName: restarts} {
		if slices.Contains(o.what, name) {
			if err := measure(ctx, o, r); err != nil {
				return err
			}
		}
	}
	r.judge()
	r.print(o.out)
	if o.json {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return nil
}

// start starts a cluster of each kind below dir. The idle one of a turn costs next
// to nothing, and both have the same machine.
func (o *options) start(ctx context.Context, nodes int, dir string) (map[string]*cluster.Cluster, func(), error) {
	all := make(map[string]*cluster.Cluster)
	stop := func() {
		for _, c := range all {
			c.Stop()
		}
	}
	for _, server := range o.servers {
		dir := fmt.Sprintf("%s/%s-%s", o.dir, dir, filepath.Base(server))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			stop()
			return nil, nil, err
		}
		c, err := cluster.Start(ctx, cluster.Config{
			Kind: kindOf(server), Binary: binaryOf(server), Nodes: nodes, Dir: dir, Election: o.election, Heartbeat: o.heartbeat,
			NoFsync: o.noFsync, Flags: o.serverFlags(server),
		})
		if err != nil {
			stop()
			return nil, nil, err
		}
		all[server] = c
	}
	return all, stop, nil
}

// kindOf and binaryOf say what a name of -servers stands for.
func kindOf(server string) cluster.Kind {
	if server == string(cluster.Etcd) {
		return cluster.Etcd
	}
	return cluster.Quorate
}

func binaryOf(server string) string {
	if strings.Contains(server, "/") {
		return server
	}
	return ""
}

func (o *options) serverFlags(server string) []string {
	if kindOf(server) == cluster.Etcd {
		// Its own limit on the size of the data would end a long run, and what it
		// logs of slow requests would cost it.
		return []string{"--quota-backend-bytes=8589934592", "--log-level=error"}
	}
	flags := append([]string{"--log-level=error"}, o.flags...)
	if o.profiles != "" {
		flags = append(flags, "--enable-pprof")
	}
	return flags
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
