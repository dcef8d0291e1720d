package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quorate/quorate/server"
	"github.com/quorate/quorate/server/options"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run one server, with etcd's options", Args: noArguments, GroupID: "server",
		Long: `quorate serve runs one member of a cluster.

It takes every flag of etcd 3.7 and its ETCD_ environment variable, or the same
variable with QUORATE_ in front, which is stronger; a flag is stronger than both.
What is not listed below has no effect, which is logged, or is refused with its
reason when it asks for something that Quorate does not do.

GOGC and GOMEMLIMIT are heeded as in every Go program; without GOGC the garbage
collector works as with GOGC=200, which takes less of the processor and some
tens of MiB.`,
	}
	cmd.Flags().SortFlags = false
	for i := range options.Table {
		addOption(cmd.Flags(), &options.Table[i])
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return serve(cmd) }
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if _, name, ok := strings.Cut(err.Error(), "--experimental-"); ok {
			return usageError{fmt.Errorf("etcd 3.7 has no --experimental-%s: its options lost that prefix or are gone", name)}
		}
		return usageError{err}
	})
	return cmd
}

func addOption(flags *pflag.FlagSet, o *options.Option) {
	// Values stay text until the environment and the file have been read too.
	flags.String(o.Name, o.Default, o.Usage)
	flag := flags.Lookup(o.Name)
	flag.Hidden = o.Usage == ""
	if o.Type == options.Bool || o.Verdict == options.NoEffect && o.Default == "" && o.Type == options.Text {
		flag.NoOptDefVal = "true"
	}
}

// gcPercent is GOGC's value where nobody gave one. Each collection also shrinks the
// stacks that requests then grow again.
const gcPercent = 200

func serve(cmd *cobra.Command) (err error) {
	given := map[string]string{}
	cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = f.Value.String() })
	if given["version"] == "true" {
		printVersion(cmd)
		return nil
	}
	values, err := options.Read(given, os.Environ())
	if err != nil {
		return usageError{err}
	}
	logger, closeLog, err := values.Logger(os.Stdout, os.Stderr)
	if err != nil {
		return usageError{err}
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	config, err := values.Config()
	if err != nil {
		return usageError{err}
	}
	for _, warning := range values.Warnings {
		logger.Warn(warning)
	}
	config.Logger = logger
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}

	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	if values.Get("stop-on-eof") == "true" {
		go func() {
			io.Copy(io.Discard, cmd.InOrStdin())
			cancel()
		}()
	}
	if err := server.Run(ctx, config); err != nil {
		logger.Error("stopped", "error", err)
		return err
	}
	logger.Info("stopped")
	return nil
}
