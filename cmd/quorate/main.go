// Command quorate is Quorate's one binary: a server that etcd's clients speak to,
// and what its users and operators need beside it. It holds flags and wiring, and
// no logic of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/cmd/quorate/internal/ctl"
	"github.com/quorate/quorate/server/options"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is what somebody who asked wrongly is told.
type usageError struct{ error }

// Unwrap gives the reason.
func (e usageError) Unwrap() error { return e.error }

// exitError ends the program with a code; the reason was told already.
type exitError int

// Error is error's.
func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, arguments(os.Args, os.Environ()), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	var exit exitError
	var usage usageError
	var ctlUsage ctl.UsageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &usage), errors.As(err, &ctlUsage):
		fmt.Fprintf(stderr, "quorate: %v\nSee '%s --help'.\n", err, command.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(stderr, "quorate: %v\n", err)
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "quorate",
		Short: "A coordination server that etcd's clients speak to, on Raft whole and readable",
		Long: `quorate is a coordination server that etcd's clients speak to.

  quorate dev      starts three servers on this machine and shows what happens
  quorate serve    runs one server, with etcd's options`,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q", args[0])}
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(
		&cobra.Group{ID: "server", Title: "Servers:"},
		&cobra.Group{ID: "keys", Title: "Keys:"},
		&cobra.Group{ID: "operate", Title: "Operate and test:"},
	)
	root.AddCommand(commands()...)
	return root
}

// arguments are the command line without the program's name. A program that is
// called as etcd would be, with flags or an environment for a server and no
// command, is a server.
func arguments(args, environment []string) []string {
	if len(args) < 2 {
		called := len(args) == 1 && strings.TrimSuffix(filepath.Base(args[0]), ".exe") == "etcd"
		if called || hasServerVariable(environment) {
			return []string{"serve"}
		}
		return nil
	}
	rest := args[1:]
	if rest[0] == "serve" {
		return append([]string{"serve"}, options.ArgsOf(rest[1:])...)
	}
	if name := strings.TrimLeft(rest[0], "-"); name != rest[0] {
		name, _, _ = strings.Cut(name, "=")
		if _, known := options.Lookup(name); known {
			return append([]string{"serve"}, options.ArgsOf(rest)...)
		}
	}
	return rest
}

func hasServerVariable(environment []string) bool {
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		for i := range options.Table {
			for _, variable := range options.Table[i].Env() {
				if name == variable {
					return true
				}
			}
		}
	}
	return false
}
