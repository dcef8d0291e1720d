// Floor measures the library beside the floor of the machine, in one run.
//
// The floor is what no implementation can go below: how long the disk takes to
// make one write durable, alone and when three nodes share it, and how long the
// loopback network takes to carry a message there and back. A commit of three
// nodes costs at least the second fastest of three concurrent syncs (the leader's
// and one follower's, or both followers') and one round trip.
//
// The library runs as three nodes in this process, with a directory each on one
// disk, connected over loopback TCP; every batch is synced. Closed-loop clients
// propose at the leader: each proposes again once it was answered. Floors and
// library take turns, in rounds, so that other load on the machine meets both;
// the table gives the median of the rounds.
//
//	go run ./floor
//	go run ./floor -reads -groups 48 -clients 1024 -seconds 5
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/bench/internal/cluster"
)

type options struct {
	clients []int
	window  time.Duration
	rounds  int
	payload int
	nodes   int
	groups  int
	reads   bool
	floors  bool
	noSync  bool
	dir     string
	format  string
	profile profiles
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func parse() (options, error) {
	var o options
	var clients string
	var seconds float64
	var asJSON, asMarkdown bool
	var procs int
	flag.StringVar(&clients, "clients", "1,16,128,1024", "numbers of closed-loop clients")
	flag.Float64Var(&seconds, "seconds", 3, "length of each measurement")
	flag.IntVar(&o.rounds, "rounds", 3, "how often everything is measured")
	flag.IntVar(&o.payload, "payload", 128, "bytes of a proposal")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes in this process")
	flag.IntVar(&o.groups, "groups", 1, "groups, among which the clients are spread")
	flag.BoolVar(&o.reads, "reads", false, "measure linearizable reads too, at a leader and at a follower")
	flag.BoolVar(&o.floors, "floors", true, "measure the floors")
	flag.BoolVar(&o.noSync, "nosync", false, "leave out the library's syncs, to see what they cost: nothing is durable")
	flag.StringVar(&o.dir, "dir", "", "a directory on the disk to be measured (default: the one for temporary files)")
	flag.BoolVar(&asJSON, "json", false, "print JSON, every round of it")
	flag.BoolVar(&asMarkdown, "markdown", false, "print a Markdown table")
	flag.IntVar(&procs, "procs", 0, "GOMAXPROCS (default: Go's)")
	o.profile.flags()
	flag.Parse()
	if flag.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	for field := range strings.SplitSeq(clients, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 1 {
			return o, fmt.Errorf("-clients %q: want numbers from 1 on, with commas between", clients)
		}
		o.clients = append(o.clients, n)
	}
	if o.rounds < 1 || seconds <= 0 || o.payload < 1 || o.nodes < 1 || o.groups < 1 {
		return o, errors.New("-rounds, -seconds, -payload, -nodes and -groups must be positive")
	}
	o.window = time.Duration(seconds * float64(time.Second))
	switch {
	case asJSON:
		o.format = "json"
	case asMarkdown:
		o.format = "markdown"
	}
	if procs > 0 {
		runtime.GOMAXPROCS(procs)
	}
	return o, nil
}

func run(ctx context.Context) (err error) {
	o, err := parse()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "quorate-floor-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	dir = filepath.ToSlash(dir)

	var measures []measure
	if o.floors {
		floors, closeFloors, err := newFloors(dir, &o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeFloors()) }()
		measures = floors
	}
	c, err := cluster.Start(ctx, cluster.Config{Dir: dir, Nodes: o.nodes, Groups: o.groups, NoSync: o.noSync})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	measures = append(measures, newLibrary(c, &o)...)

	if err := o.profile.start(); err != nil {
		return err
	}
	report := newReport(&o, dir, measures)
	for round := range o.rounds {
		for i, m := range measures {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			progress(round, o.rounds, m.name, m.clients)
			result, err := m.run(ctx, o.window)
			if err != nil {
				return fmt.Errorf("%s, %d clients: %w", m.name, m.clients, err)
			}
			report.add(i, result)
		}
	}
	progress(0, 0, "", 0)
	if err := o.profile.stop(); err != nil {
		return err
	}
	return report.print(os.Stdout, o.format)
}

// progress says on the terminal, if there is one, what is being measured.
func progress(round, rounds int, name string, clients int) {
	if info, err := os.Stderr.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	fmt.Fprint(os.Stderr, "\r\x1b[K")
	if name != "" {
		fmt.Fprintf(os.Stderr, "round %d of %d: %s, %d clients", round+1, rounds, name, clients)
	}
}
