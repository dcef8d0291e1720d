package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/check/trace"
)

func newTrace() *cobra.Command {
	cmd := &cobra.Command{Use: "trace", Short: "Judge what replicas say that they did", GroupID: "operate"}
	asJSON := false
	verify := &cobra.Command{
		Use: "verify FILE...", Short: "Check that traces of nodes are those of Raft",
		Long: `quorate trace verify reads what replicas say that they did, of any number of nodes
and from any number of files, puts the events into an order in which each has its
cause before it, and checks them against the rules of Raft, which it knows on its
own: terms that grow, one vote a term and only for logs that are up-to-date, one
leader a term, logs that match, commitment by a majority of durable logs, nothing
committed ever lost, and so on. A file is written by

  quorate sim --seed 7 --trace-out FILE         what simulated replicas did
  curl MEMBER/debug/trace > FILE                the newest of a running member

and has a JSON object a line. The name - is standard input. A file that says it is
complete has every cause in it; else an event whose cause is missing is passed over
and counted.

The exit code is 0 if all is well, 1 if a rule is broken or a file is no trace, 2
for wrong usage.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("name the files to verify, or - for standard input")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return verifyTraces(cmd.InOrStdin(), cmd.OutOrStdout(), args, asJSON)
		},
	}
	verify.Flags().BoolVar(&asJSON, "json", false, "print the verdict as JSON")
	cmd.AddCommand(verify)
	return cmd
}

func verifyTraces(stdin io.Reader, stdout io.Writer, names []string, asJSON bool) error {
	var records []trace.Record
	complete := true
	for _, name := range names {
		some, whole, err := readTrace(stdin, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		records = append(records, some...)
		complete = complete && whole
	}
	v := trace.Verify(records, complete)
	if asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(&v); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(stdout, "%d records of %d nodes and %d groups\n", v.Records, v.Nodes, v.Groups)
		if v.Unjudged > 0 {
			fmt.Fprintf(stdout, "%d of them rest on what is not in the traces, and were passed over\n", v.Unjudged)
		}
	}
	if v.Violation != nil {
		return fmt.Errorf("this is not Raft: %w", v.Violation)
	}
	if !asJSON {
		fmt.Fprintln(stdout, "no rule is broken")
	}
	return nil
}

func readTrace(stdin io.Reader, name string) ([]trace.Record, bool, error) {
	if name == "-" {
		return trace.Read(stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	return trace.Read(f)
}
