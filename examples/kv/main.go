// Command kv is a replicated map over HTTP: a complete program on Quorate, to copy
// from. It decides what a map's commands and answers are, and how clients reach
// it; that all members agree on them is the library's business.
//
// Read machine.go for the state machine, http.go for what a server does with a
// group, and serve.go for how the two are put together. The rest starts several
// members on one machine and treats them badly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/quorate/quorate/raft"
)

const usage = `kv is a replicated map over HTTP: an example of the Quorate library.

To try it on this machine:

  kv cluster                   start three members; stop them with Ctrl-C
  kv status                    who leads, and how far each member has come
  kv load [--seconds 10]       write through all members, then look for every write
  kv kill leader|NODE          kill -9 a member (cluster: all of them)
  kv restart NODE|all          start a member that does not run
  kv pause leader|NODE         SIGSTOP a member: it is not dead, but it does nothing
  kv resume NODE|all           SIGCONT it

To run it on several machines, one member each:

  kv serve --id 1 --cluster NAME --dir DIR --peers 1=HOST:PORT,2=... --http-peers 1=HOST:PORT,2=...

Each command explains itself: kv COMMAND --help.
`

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// errUsage: the command line is wrong, and the user was told how.
var errUsage = errors.New("usage")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	var err error
	switch command, rest := args[0], args[1:]; command {
	case "serve":
		err = runServe(ctx, rest, stdout, stderr)
	case "cluster":
		err = runCluster(ctx, rest, stdout, stderr)
	case "load":
		err = runLoad(ctx, rest, stdout, stderr)
	case "status", "kill", "restart", "pause", "resume":
		err = runControl(ctx, command, rest, stdout, stderr)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
	default:
		fmt.Fprintf(stderr, "kv: no command %q\n\n%s", command, usage)
		return exitUsage
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	}
	fmt.Fprintf(stderr, "kv: %v\n", err)
	return exitFailed
}

// newFlags makes the flags of a command, whose help begins with about.
func newFlags(command, about string, stderr io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "%s\n\nFlags:\n", about)
		flags.PrintDefaults()
	}
	return flags
}

// parse reads the command line. Flags may stand before and after the arguments,
// of which there must be as many as names.
func parse(flags *flag.FlagSet, args []string, names ...string) ([]string, error) {
	var positional []string
	for {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, errUsage // flags has said what is wrong
		}
		if flags.NArg() == 0 {
			break
		}
		positional = append(positional, flags.Arg(0))
		args = flags.Args()[1:]
	}
	if len(positional) != len(names) {
		return nil, wrong(flags, "give %s", describe(names))
	}
	return positional, nil
}

func describe(names []string) string {
	if len(names) == 0 {
		return "no argument"
	}
	return "exactly: " + strings.Join(names, " ")
}

// wrong says what is wrong with the command line.
func wrong(flags *flag.FlagSet, format string, args ...any) error {
	fmt.Fprintf(flags.Output(), "kv %s: %s (kv %s --help says more)\n", flags.Name(), fmt.Sprintf(format, args...), flags.Name())
	return errUsage
}

func runServe(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := newFlags("serve", `kv serve runs one member of a cluster until it gets SIGINT or SIGTERM.

All members are given the same --cluster, --peers and --http-peers, and each its
own --id and --dir. The first time, they wait until all of them are there; from
then on a majority is enough.

  kv serve --id 1 --cluster demo --dir /var/lib/kv \
     --peers 1=10.0.0.1:9081,2=10.0.0.2:9081,3=10.0.0.3:9081 \
     --http-peers 1=10.0.0.1:8081,2=10.0.0.2:8081,3=10.0.0.3:8081

Members speak to each other without encryption here: give transport/tcp a TLS
configuration before you let this leave a trusted network.`, stderr)
	var cfg serveConfig
	id := flags.Uint64("id", 0, "this member's `number`, from 1 on, never used again for another (required)")
	flags.StringVar(&cfg.cluster, "cluster", "demo", "the cluster's `name`: members of different clusters refuse each other")
	flags.StringVar(&cfg.dir, "dir", "", "this member's data `directory` (required)")
	peers := flags.String("peers", "", "where the members reach each other, this one too: `1=HOST:PORT,2=...` (required)")
	httpPeers := flags.String("http-peers", "", "where clients reach the members, this one too: `1=HOST:PORT,2=...` (required)")
	flags.StringVar(&cfg.listen, "listen", "", "`HOST:PORT` to listen on for members (default: this member's of --peers)")
	flags.StringVar(&cfg.http, "http", "", "`HOST:PORT` to listen on for clients (default: this member's of --http-peers)")
	flags.DurationVar(&cfg.electionTimeout, "election-timeout", time.Second, "how long without a leader before an election")
	flags.Int64Var(&cfg.snapshotBytes, "snapshot-bytes", 64<<20, "log `bytes` between snapshots")
	flags.Int64Var(&cfg.segmentBytes, "segment-bytes", 64<<20, "`bytes` of a file of the log, at once taken from the disk")
	flags.DurationVar(&cfg.patience, "patience", 5*time.Second, "how long a request waits for a leader or a majority")
	verbose := flags.Bool("v", false, "log what is only of interest when looking for a fault")
	stopOnEOF := flags.Bool("stop-on-eof", false, "stop when standard input ends, as kv cluster wants it")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	cfg.id = raft.NodeID(*id)
	var err error
	switch {
	case cfg.id == raft.None:
		return wrong(flags, "--id is required: this member's number")
	case cfg.dir == "":
		return wrong(flags, "--dir is required: where this member keeps its data")
	}
	if cfg.peers, err = parsePeers(*peers); err != nil {
		return wrong(flags, "--peers: %v", err)
	}
	if cfg.httpPeers, err = parsePeers(*httpPeers); err != nil {
		return wrong(flags, "--http-peers: %v", err)
	}
	for id := range cfg.peers {
		if _, ok := cfg.httpPeers[id]; !ok {
			return wrong(flags, "--http-peers does not name node %d", id)
		}
	}
	if _, ok := cfg.peers[cfg.id]; !ok {
		return wrong(flags, "--peers does not name this node, %d", cfg.id)
	}
	if cfg.listen == "" {
		cfg.listen = cfg.peers[cfg.id]
	}
	if cfg.http == "" {
		cfg.http = cfg.httpPeers[cfg.id]
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	if *stopOnEOF {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() {
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	return serve(ctx, cfg, stdout, logger)
}

func runControl(ctx context.Context, command string, args []string, stdout, stderr io.Writer) error {
	about := map[string]string{
		"status":  "kv status shows the members of the cluster that kv cluster started on this machine.",
		"kill":    "kv kill leader|NODE|all kills members as kill -9 does: they get no chance to write anything.",
		"restart": "kv restart NODE|all starts members that do not run, on the data that they had.",
		"pause":   "kv pause leader|NODE stops members with SIGSTOP. They hold their connections and do nothing.",
		"resume":  "kv resume NODE|all lets paused members go on with SIGCONT.",
	}[command]
	flags := newFlags(command, about, stderr)
	name := flags.String("name", "demo", "the `name` that was given to kv cluster")
	var names []string
	if command != "status" {
		names = []string{map[string]string{"kill": "leader|NODE|all", "pause": "leader|NODE", "restart": "NODE|all", "resume": "NODE|all"}[command]}
	}
	positional, err := parse(flags, args, names...)
	if err != nil {
		return err
	}
	request := controlRequest{Command: command}
	if len(positional) > 0 {
		request.Target = positional[0]
	}
	answer, err := askCluster(ctx, *name, request)
	if err != nil {
		return err
	}
	if command == "status" {
		printStatus(ctx, stdout, answer.Members)
		return nil
	}
	fmt.Fprintln(stdout, answer.Text)
	return nil
}
