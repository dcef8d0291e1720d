package main

import (
	"github.com/spf13/cobra"

	"github.com/quorate/quorate/cmd/quorate/internal/ctl"
	"github.com/quorate/quorate/cmd/quorate/internal/dev"
)

// commands are all commands.
func commands() []*cobra.Command {
	return append([]*cobra.Command{
		newCheck(),
		newDev(),
		newServe(),
		newSim(),
		newTrace(),
		newVersion(),
		newWAL(),
	}, ctl.Commands(dev.Endpoints)...)
}
