package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/server"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments, GroupID: "operate",
		RunE: func(cmd *cobra.Command, _ []string) error {
			printVersion(cmd)
			return nil
		},
	}
}

func printVersion(cmd *cobra.Command) {
	fmt.Fprintf(cmd.OutOrStdout(), "quorate version: %s\netcd API version: %s\nGo version: %s\nGo OS/Arch: %s/%s\n",
		server.Version(), server.EtcdVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, and was given %q", cmd.CommandPath(), args[0])}
	}
	return nil
}
