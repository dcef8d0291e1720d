package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/vfs"
	"github.com/quorate/quorate/wal"
)

func newWAL() *cobra.Command {
	cmd := &cobra.Command{Use: "wal", Short: "Look into a member's log while it does not run", GroupID: "operate"}
	cmd.AddCommand(&cobra.Command{
		Use: "dump DIRECTORY", Short: "Print every record", Args: arguments1("a data directory, or its wal"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := walDir(args[0])
			if err != nil {
				return err
			}
			return wal.Dump(vfs.OS(), dir, cmd.OutOrStdout())
		},
	}, &cobra.Command{
		Use: "verify DIRECTORY", Short: "Check every record, and say what is damaged", Args: arguments1("a data directory, or its wal"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := walDir(args[0])
			if err != nil {
				return err
			}
			report, err := wal.Verify(vfs.OS(), dir)
			if err != nil {
				return err
			}
			return printReport(cmd, report)
		},
	})
	return cmd
}

// walDir finds the log in what was named.
func walDir(name string) (string, error) {
	for _, dir := range []string{filepath.Join(name, "wal"), name} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return filepath.ToSlash(dir), nil
		}
	}
	return "", fmt.Errorf("%s is not a directory: name a member's data directory", name)
}

func printReport(cmd *cobra.Command, report wal.Report) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%d batches\n", report.Batches)
	if report.Cut != 0 {
		fmt.Fprintf(out, "from batch %d on they were torn and never acknowledged: the next start cuts them\n", report.Cut)
	}
	damaged := len(report.Damages)
	for _, d := range report.Damages {
		fmt.Fprintf(out, "damage: %v\n", d)
	}
	for _, g := range report.Groups {
		fmt.Fprintf(out, "group %d: term %d, entries %d to %d, after snapshot %v\n", g.Group, g.HardState.CurrentTerm, g.First, g.Last, g.Snapshot.ID)
		for _, f := range g.Faults {
			damaged++
			fmt.Fprintf(out, "group %d: %v\n", g.Group, f)
		}
	}
	if damaged > 0 {
		return fmt.Errorf("the log is damaged, and a member with such a log is not started: let the others go on, and keep this directory as it is")
	}
	fmt.Fprintln(out, "no damage found")
	return nil
}
