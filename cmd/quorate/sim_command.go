package main

import "github.com/spf13/cobra"

func newSim() *cobra.Command {
	return &cobra.Command{
		Use: "sim", Short: "Run clusters under faults on a virtual clock, network and disk", GroupID: "operate",
		DisableFlagParsing: true, // it has its own, with a help that teaches
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := runSim(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr()); code != exitOK {
				return exitError(code)
			}
			return nil
		},
	}
}
