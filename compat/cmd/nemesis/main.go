// Command nemesis runs real servers in network namespaces of its own, breaks what
// can break, and judges what clients saw. See docs/nemesis.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/quorate/quorate/compat/internal/cluster"
	"github.com/quorate/quorate/compat/internal/network"
	"github.com/quorate/quorate/compat/nemesis"
)

// The exit codes.
const (
	exitOK        = 0
	exitViolation = 1 // something was wrong with what was seen
	exitFailed    = 2 // the run itself could not go on, or was called wrongly
)

func main() { os.Exit(run()) }

type options struct {
	config  nemesis.Config
	network string
	report  string
	json    string
	only    string
}

func flags() (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("nemesis", flag.ContinueOnError)
	f.IntVar(&o.config.Nodes, "nodes", 3, "`members` of the cluster: 1, 3, 5 or 7")
	f.DurationVar(&o.config.Duration, "duration", 5*time.Minute, "how long; the round that is under way then is finished")
	f.DurationVar(&o.config.Round, "round", 45*time.Second, "how long each round has faults")
	f.DurationVar(&o.config.Recovery, "recovery", time.Minute, "how soon after the faults of a round all must be well")
	f.Uint64Var(&o.config.Seed, "seed", 1, "decides faults and what clients do; when is the machine's")
	f.DurationVar(&o.config.Load.Pace, "pace", 20*time.Millisecond, "the least time between two operations of a client")
	f.StringVar(&o.network, "network", "auto", "namespaces, relay, or auto: namespaces where they are to be had")
	f.StringVar(&o.only, "only", "", "`faults` of the random mix, with commas between: "+strings.Join(nemesis.Kinds(), ", "))
	f.StringVar(&o.config.Script, "script", "", "the `script` of every round: "+strings.Join(nemesis.Scripts(), ", "))
	f.StringVar(&o.report, "report", "", "write an HTML report to this `file`, after each round")
	f.StringVar(&o.json, "json", "", "write the result as JSON to this `file`; - is standard output, and then progress goes to standard error")
	f.StringVar(&o.config.Dir, "dir", "", "where data and logs go; default a new `directory`, removed if nothing was wrong")
	f.Usage = func() {
		fmt.Fprint(f.Output(), `nemesis runs a cluster of real servers under faults and load, and judges it.

It makes its own network namespaces and file systems in memory; as an ordinary user
too, where the kernel lets users have namespaces. Elsewhere the members' connections
are relayed over loopback.

It exits with 0 if nothing was wrong, 1 if something was, 2 if it could not run.

`)
		f.PrintDefaults()
	}
	if err := f.Parse(os.Args[1:]); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag", f.Arg(0))
	}
	if o.only != "" {
		for _, name := range strings.Split(o.only, ",") {
			o.config.Only = append(o.config.Only, strings.TrimSpace(name))
		}
	}
	switch o.network {
	case "auto", "namespaces":
	case "relay":
		o.config.Relay = true
	default:
		return nil, fmt.Errorf("-network %q: auto, namespaces or relay", o.network)
	}
	return o, o.config.Validate()
}

func run() int {
	o, err := flags()
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nemesis:", err)
		return exitFailed
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if !network.Inside() {
		// Built where the go command works as ever.
		if _, err := cluster.Binary(ctx, cluster.Quorate); err != nil {
			fmt.Fprintln(os.Stderr, "nemesis:", err)
			return exitFailed
		}
	}
	if o.network != "relay" {
		code, ran, err := network.Enter()
		switch {
		case ran && err == nil:
			return code
		case err != nil && o.network == "namespaces":
			fmt.Fprintln(os.Stderr, "nemesis:", err)
			return exitFailed
		case err != nil:
			fmt.Fprintf(os.Stderr, "nemesis: %v; connections are relayed over loopback\n", err)
			o.config.Relay = true
		}
	}
	if o.config.Dir == "" {
		if o.config.Dir, err = os.MkdirTemp("", "nemesis-"); err != nil {
			fmt.Fprintln(os.Stderr, "nemesis:", err)
			return exitFailed
		}
	}
	o.config.Out = os.Stdout
	if o.json == "-" {
		o.config.Out = os.Stderr
	}
	o.config.After = o.write
	result, err := nemesis.Run(ctx, o.config)
	if result != nil {
		fmt.Fprintln(o.config.Out)
		if err := result.WriteTable(o.config.Out); err != nil {
			fmt.Fprintln(os.Stderr, "nemesis:", err)
		}
		o.write(result)
		if o.json == "-" {
			_ = result.WriteJSON(os.Stdout) // who closed it does not read it
		}
	}
	switch {
	case result != nil && result.Totals.Violations > 0:
		fmt.Fprintf(o.config.Out, "data and logs are in %s\n", o.config.Dir)
		return exitViolation
	case err != nil && ctx.Err() == nil:
		fmt.Fprintf(os.Stderr, "nemesis: %v; data and logs are in %s\n", err, o.config.Dir)
		return exitFailed
	}
	_ = os.RemoveAll(o.config.Dir) // what is left is under the system's directory for such things
	return exitOK
}

// write writes the files that were asked for.
func (o *options) write(r *nemesis.Result) {
	for path, write := range map[string]func(io.Writer) error{o.report: r.WriteHTML, o.json: r.WriteJSON} {
		if path == "" || path == "-" {
			continue
		}
		f, err := os.Create(path)
		if err == nil {
			err = errors.Join(write(f), f.Close())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "nemesis:", err)
		}
	}
}
