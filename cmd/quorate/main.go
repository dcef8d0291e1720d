// Command quorate is the program of this project. It holds flags and wiring and
// no logic of its own.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
)

// A command is what follows the program's name.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

var commands = []command{
	{"sim", "run clusters under faults on a virtual clock, network and disk", runSim},
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		for _, c := range commands {
			if c.name == args[0] {
				return c.run(ctx, args[1:], stdout, stderr)
			}
		}
	}
	code, to := exitUsage, stderr
	if len(args) > 0 && (args[0] == "help" || args[0] == "-h" || args[0] == "--help") {
		code, to = exitOK, stdout
	}
	fmt.Fprintln(to, "usage: quorate <command> [flags]")
	fmt.Fprintln(to)
	for _, c := range commands {
		fmt.Fprintf(to, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprintln(to)
	fmt.Fprintln(to, "quorate <command> --help tells more.")
	return code
}
