package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/raft/tracelog"
	"github.com/quorate/quorate/sim"
	"github.com/quorate/quorate/sim/storesim"
)

const simHelp = `usage: quorate sim run --seeds N [--from S] [--light] [--workers W] [--keep-going] [--json]
       quorate sim replay SEED|FILE [--light] [--trace] [--trace-out FILE] [--json]
       quorate sim shrink SEED|FILE [--light]

Runs clusters of the real replicas, logs and snapshots on a virtual clock,
network and disk, under faults of every kind, and judges after every event
whether Raft's properties hold and what clients saw is linearizable. A seed
decides everything: the timing of the cluster, its faults and their moments.
The same seed is the same run, on any machine.

  run      many seeds, on all processors. A heavy seed, which is the default, is
           a cluster of 5 nodes under at least 2,000 client operations and 20
           faults; a light one, of 1, 3 or 5 nodes, has 500 and 10.
  replay   one seed, or a script that is in a file; --trace tells every event,
           and why it happened.
  shrink   looks for a short script that fails as a seed does. A script is text
           that names each fault; it makes a test (see package sim).

A run that fails is told with the one command that replays it, and shrunk:

  quorate sim run --seeds 1000                 a thousand heavy seeds, from 1 on
  quorate sim run --seeds 1000 --from 5001     the next ones
  quorate sim replay 148 --trace | less        one of them, in full
  quorate sim shrink 148 > short.txt           what of its faults it takes
  quorate sim replay short.txt --trace         and how it comes to it
  quorate sim replay 148 --trace-out FILE      what its replicas did, for
                                               quorate trace verify FILE
  quorate sim run --seeds 100 --machine store  the server's store, its watches and
                                               leases, compared with a twin at
                                               every step

"quorate sim --seeds N [--from S]" and "quorate sim --seed S [--trace]" do the
same with light seeds.

The exit code is 0 if all is well, 1 if a seed failed (or if 3000 seeds or more
leave out a fault or a state that they are to bring about), 2 for wrong usage.

Flags:
`

// simOptions are what the command line says.
type simOptions struct {
	seeds      int
	from, seed uint64
	light      bool
	trace      bool
	workers    int
	asJSON     bool
	keepGoing  bool
	shrink     bool
	traceOut   string
	// store is what runs of the server's store bring about; nil if registers run.
	store *storesim.Coverage
}

// config is that of one seed.
func (o *simOptions) config(seed uint64) sim.Config {
	cfg := sim.Config{Seed: seed}
	if o.store != nil {
		cfg = storesim.Config(seed, o.store)
	}
	cfg.Heavy = !o.light
	return cfg
}

// replayed is the command that runs a seed again.
func (o *simOptions) replayed(r *sim.Result) string {
	if o.store != nil {
		return r.Replay() + " --machine store"
	}
	return r.Replay()
}

func runSim(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		switch args[0] {
		case "run", "replay", "shrink":
			command, args = args[0], args[1:]
		}
	}
	var o simOptions
	flags := flag.NewFlagSet("quorate sim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), simHelp)
		flags.PrintDefaults()
	}
	flags.IntVar(&o.seeds, "seeds", 0, "run this many seeds")
	flags.Uint64Var(&o.from, "from", 1, "the first of --seeds")
	flags.Uint64Var(&o.seed, "seed", 0, "run this one light seed")
	flags.BoolVar(&o.light, "light", command == "", "seeds of 1, 3 or 5 nodes, 500 operations and 10 faults")
	flags.BoolVar(&o.trace, "trace", false, "with one seed: tell every event on standard output")
	flags.StringVar(&o.traceOut, "trace-out", "", "with one seed: write what the replicas did to this file, for quorate trace verify")
	flags.IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "seeds that run at once")
	flags.BoolVar(&o.asJSON, "json", false, "print the summary as JSON")
	flags.BoolVar(&o.keepGoing, "keep-going", false, "do not stop at the first seed that fails")
	flags.BoolVar(&o.shrink, "shrink", true, "shrink the first seed that fails")
	machine := flags.String("machine", "registers", "what is replicated: registers, or store (the server's, with its requests)")
	operands, err := parseInterspersed(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	one := false
	flags.Visit(func(f *flag.Flag) { one = one || f.Name == "seed" })
	usage := func(what string) int {
		fmt.Fprintf(stderr, "quorate sim: %s\n\n", what)
		flags.Usage()
		return exitUsage
	}
	if *machine == "store" {
		o.store = new(storesim.Coverage)
	}
	switch {
	case *machine != "store" && *machine != "registers":
		return usage(fmt.Sprintf("--machine is registers or store, not %q", *machine))
	case o.workers < 1:
		return usage("--workers is at least 1")
	case command == "" && (len(operands) > 0 || one == (o.seeds > 0) || o.traces() && !one):
		return usage("give either --seeds N or --seed S, or one of run, replay and shrink; --trace goes with --seed")
	case command == "run" && (len(operands) > 0 || o.seeds < 1 || o.traces() || one):
		return usage("run takes --seeds N; one seed is replayed")
	case (command == "replay" || command == "shrink") && (len(operands) != 1 || o.seeds > 0 || one):
		return usage(command + " takes one seed or the name of a script's file")
	case command == "" && one:
		return o.replay(ctx, &simCase{cfg: o.config(o.seed)}, stdout, stderr)
	case command == "replay" || command == "shrink":
		c, err := o.readCase(operands[0])
		if err != nil {
			return usage(err.Error())
		}
		if command == "shrink" {
			return o.shrinkOne(ctx, c, stdout, stderr)
		}
		return o.replay(ctx, c, stdout, stderr)
	}
	return o.many(ctx, stdout, stderr)
}

// parseInterspersed parses flags before and after the operands.
func parseInterspersed(flags *flag.FlagSet, args []string) (operands []string, err error) {
	for {
		if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
			return operands, err
		}
		operands, args = append(operands, flags.Arg(0)), flags.Args()[1:]
	}
}

// simCase is a seed, or a script.
type simCase struct {
	cfg    sim.Config
	script *sim.Script
}

func (o *simOptions) readCase(operand string) (*simCase, error) {
	if seed, err := strconv.ParseUint(operand, 10, 64); err == nil {
		return &simCase{cfg: o.config(seed)}, nil
	}
	text, err := os.ReadFile(operand)
	if err != nil {
		return nil, fmt.Errorf("%q is no seed, and no file: %w", operand, err)
	}
	script, err := sim.ParseScript(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operand, err)
	}
	return &simCase{script: script}, nil
}

func (c *simCase) run() sim.Result {
	if c.script != nil {
		return c.script.Run(c.cfg)
	}
	return sim.Run(c.cfg)
}

// traces reports whether one run is to be told.
func (o *simOptions) traces() bool { return o.trace || o.traceOut != "" }

func (o *simOptions) replay(_ context.Context, c *simCase, stdout, stderr io.Writer) (code int) {
	if o.traceOut != "" {
		file, err := os.Create(o.traceOut)
		if err != nil {
			fmt.Fprintln(stderr, "quorate sim:", err)
			return exitFailed
		}
		w := tracelog.NewWriter(file)
		c.cfg.Events = func(at time.Duration, node raft.NodeID, boot int, group raft.GroupID, e *raft.Event) {
			w.Add(tracelog.Record{Node: node, Boot: uint64(boot), Time: int64(at), Group: group, Event: *e})
		}
		defer func() {
			if err := errors.Join(w.Close(), file.Close()); err != nil {
				fmt.Fprintln(stderr, "quorate sim:", err)
				code = exitFailed
			}
		}()
	}
	out := bufio.NewWriterSize(stdout, 1<<16)
	if o.trace {
		c.cfg.Trace = out
	}
	begin := time.Now()
	seed := c.cfg.Seed
	if c.script != nil {
		seed = c.script.Seed
	}
	t := newTally(o, seed)
	r := c.run()
	t.add(&r)
	if err := out.Flush(); err != nil {
		fmt.Fprintln(stderr, "quorate sim:", err)
		return exitFailed
	}
	return t.report(time.Since(begin), o.asJSON, stdout, stderr)
}

// shrinkOne prints a short script on standard output; everything else is told on
// standard error.
func (o *simOptions) shrinkOne(ctx context.Context, c *simCase, stdout, stderr io.Writer) int {
	r := c.run()
	if r.Err == nil {
		fmt.Fprintf(stderr, "quorate sim: nothing fails, so there is nothing to shrink\n")
		return exitFailed
	}
	fmt.Fprintf(stderr, "fails %v\n%d faults; looking for a shorter script\n", r.Err, len(r.Script.Steps))
	if !shrink(ctx, c.cfg, &r, stdout, stderr) {
		return exitFailed
	}
	return exitOK
}

func shrink(ctx context.Context, cfg sim.Config, r *sim.Result, stdout, stderr io.Writer) bool {
	told := time.Now()
	script, shrunk := sim.Shrink(cfg, r, func(s *sim.Script, attempts int) bool {
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			fmt.Fprintf(stderr, "%d faults after %d runs\n", len(s.Steps), attempts)
		}
		return ctx.Err() == nil
	})
	if script == nil {
		fmt.Fprintln(stderr, "quorate sim: the faults of the run alone do not fail again")
		return false
	}
	fmt.Fprintf(stdout, "# %v\n%v", shrunk.Err, script)
	return true
}
