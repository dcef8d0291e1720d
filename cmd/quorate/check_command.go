package main

import "github.com/spf13/cobra"

func newCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Explore every state of small groups of real replicas", GroupID: "operate",
		DisableFlagParsing: true, // it has its own, with a help that teaches
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := runCheck(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr()); code != exitOK {
				return exitError(code)
			}
			return nil
		},
	}
}
