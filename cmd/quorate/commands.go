package main

import "github.com/spf13/cobra"

// commands are all commands.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newDev(),
		newServe(),
		newSim(),
		newVersion(),
	}
}
