package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/cmd/quorate/internal/dev"
)

func newDev() *cobra.Command {
	config := dev.Config{Command: "quorate"}
	if len(os.Args) > 0 && strings.Contains(os.Args[0], "go-build") {
		config.Command = "go run ./cmd/quorate"
	}
	var verbose bool
	cmd := &cobra.Command{
		Use: "dev", Short: "Run a cluster on this machine, to try things and to break them", Args: noArguments, GroupID: "server",
		Long: `quorate dev starts servers on this machine, each a process of its own, says where
they are and what happens to them, and stops them all on Ctrl-C.

It restarts nothing by itself: the commands below are for another terminal.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := config.Validate(); err != nil {
				return usageError{err}
			}
			if verbose {
				config.Extra = []string{"--log-level", "debug"}
			}
			return dev.Run(cmd.Context(), config, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&config.Nodes, "nodes", 3, "`how many` nodes, 1 to 9")
	flags.StringVar(&config.Dir, "data-dir", "", "`directory` for data and logs, kept at the end (default: a temporary one, removed at the end)")
	flags.IntVar(&config.Port, "port", dev.DefaultPort, "the first node's `port` for clients; the next is for other nodes, and further nodes' are ten higher")
	flags.DurationVar(&config.ElectionTimeout, "election-timeout", 250*time.Millisecond, "how long the nodes wait for a leader before an election")
	flags.BoolVar(&verbose, "verbose", false, "let the nodes log more")
	cmd.PersistentFlags().StringVar(&config.Name, "name", dev.DefaultName, "the cluster's `name`, by which other terminals find it")
	for _, c := range []struct{ name, target, short string }{
		{"kill", "leader|NODE|all", "Kill nodes as kill -9 does: they get no chance to write anything"},
		{"restart", "NODE|leader|all", "Start nodes on the data that they had; all means those that do not run"},
		{"pause", "leader|NODE", "Stop nodes with SIGSTOP: they hold their connections and do nothing"},
		{"resume", "NODE|all", "Let paused nodes go on"},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: c.name + " " + c.target, Short: c.short, ValidArgs: []string{"leader", "all", "1", "2", "3"},
			Args: arguments1(c.target),
			RunE: func(cmd *cobra.Command, args []string) error {
				answer, err := dev.Ask(cmd.Context(), config.Name, dev.Request{Command: c.name, Target: args[0]})
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), answer.Text)
				}
				return err
			},
		})
	}
	cmd.AddCommand(&cobra.Command{
		Use: "status", Short: "Show the nodes and who leads", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := dev.Ask(cmd.Context(), config.Name, dev.Request{Command: "status"})
			if err == nil {
				dev.PrintStatus(cmd.Context(), cmd.OutOrStdout(), answer.Members)
			}
			return err
		},
	})
	return cmd
}

// arguments1 demands one argument, which is what it is called.
func arguments1(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s takes one argument: %s", cmd.CommandPath(), what)}
		}
		return nil
	}
}
