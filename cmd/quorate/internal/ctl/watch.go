package ctl

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

type watchFlags struct {
	prefix, prevKV, progress bool
	rev                      int64
}

func (f *watchFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.prefix, "prefix", false, "all keys that begin with KEY")
	flags.BoolVar(&f.prevKV, "prev-kv", false, "print what was there before each change")
	flags.BoolVar(&f.progress, "progress-notify", false, "print now and then how far the watch is")
	flags.Int64Var(&f.rev, "rev", 0, "begin at this `revision`")
}

// wanted is what a command line asks to watch.
type wanted struct {
	key     string
	opts    []clientv3.OpOption
	command []string
}

// wanted reads KEY [END] [-- COMMAND]; dash is where the command begins, -1 if
// there is none.
func (f *watchFlags) wanted(args []string, dash int) (wanted, error) {
	var w wanted
	if dash >= 0 {
		args, w.command = args[:dash], args[dash:]
	}
	var err error
	if w.key, w.opts, err = rangeOptions("watch", args, f.prefix, false); err != nil {
		return w, err
	}
	w.opts = append(w.opts, clientv3.WithRev(f.rev))
	if f.prevKV {
		w.opts = append(w.opts, clientv3.WithPrevKV())
	}
	if f.progress {
		w.opts = append(w.opts, clientv3.WithProgressNotify())
	}
	return w, nil
}

func newWatch(g *global) *cobra.Command {
	f := &watchFlags{}
	var interactive bool
	cmd := &cobra.Command{
		Use: "watch KEY [END] [-- COMMAND [ARGUMENT...]]", Short: "Print changes as they happen, or run a command for each",
		Long: `quorate watch prints changes of a key, or of keys from KEY up to END, as they
happen, until Ctrl-C. A COMMAND is run for each change, with ETCD_WATCH_KEY,
ETCD_WATCH_VALUE, ETCD_WATCH_EVENT_TYPE and ETCD_WATCH_REVISION.

  quorate watch --prefix config/
  quorate watch --rev 1 greeting        all of its history first
  quorate watch greeting -- echo changed
  quorate watch -i                      lines as "watch a" and "watch --prefix b"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if interactive {
				if len(args) > 0 {
					return usage("watch --interactive takes no argument: it reads them from standard input")
				}
				return g.with(cmd, func(c *clientv3.Client) error { return g.watchLines(cmd, c) })
			}
			w, err := f.wanted(args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			return g.with(cmd, func(c *clientv3.Client) error { return g.watch(cmd, c, w) })
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "read what to watch from standard input, a line for each watch")
	return cmd
}

// watchLines begins a watch for each line of standard input, and at its end goes
// on with them.
func (g *global) watchLines(cmd *cobra.Command, c *clientv3.Client) error {
	var watches sync.WaitGroup
	defer watches.Wait()
	lines := bufio.NewScanner(cmd.InOrStdin())
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch line {
		case "":
			continue
		case "progress":
			if err := c.RequestProgress(clientv3.WithRequireLeader(cmd.Context())); err != nil {
				return err
			}
			continue
		}
		w, err := parseWatch(line)
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "quorate: %v\n", err) // the others go on
			continue
		}
		watches.Go(func() {
			if err := g.watch(cmd, c, w); err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "quorate: %s: %v\n", line, err)
			}
		})
	}
	return lines.Err()
}

// parseWatch reads watch with its flags.
func parseWatch(line string) (wanted, error) {
	args, err := words(line)
	if err != nil {
		return wanted{}, err
	}
	if args[0] != "watch" {
		return wanted{}, usage("%s: type watch KEY or progress, not %q", line, args[0])
	}
	var f watchFlags
	flags := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	flags.Usage = func() {}
	f.add(flags)
	if err := flags.Parse(args[1:]); err != nil {
		return wanted{}, usage("%s: %w", line, err)
	}
	return f.wanted(flags.Args(), flags.ArgsLenAtDash())
}

func (g *global) watch(cmd *cobra.Command, c *clientv3.Client, w wanted) error {
	p := g.printer(cmd.OutOrStdout())
	for r := range c.Watch(clientv3.WithRequireLeader(cmd.Context()), w.key, w.opts...) {
		if err := r.Err(); err != nil {
			return fmt.Errorf("the watch ended: %w", err)
		}
		if r.IsProgressNotify() && g.format == "simple" {
			p.line("progress notify: %d", r.Header.Revision)
		}
		if err := p.watched(&r); err != nil {
			return err
		}
		for _, e := range r.Events {
			if err := runFor(cmd.Context(), cmd, w.command, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *printer) watched(r *clientv3.WatchResponse) error {
	if p.format == "json" {
		return p.json(r)
	}
	if p.format == "fields" {
		p.header(r.Header)
	}
	for _, e := range r.Events {
		if p.format == "fields" {
			p.field("Type", e.Type)
			if e.PrevKv != nil {
				p.kvFields("Prev", e.PrevKv)
			}
			p.kvFields("", e.Kv)
			continue
		}
		p.line("%s", e.Type)
		if e.PrevKv != nil {
			p.kv(e.PrevKv)
		}
		p.kv(e.Kv)
	}
	return nil
}

// runFor runs a command for an event, if there is one.
func runFor(ctx context.Context, cmd *cobra.Command, command []string, e *clientv3.Event) error {
	if len(command) == 0 {
		return nil
	}
	kind := "PUT"
	if e.Type == mvccpb.Event_DELETE {
		kind = "DELETE"
	}
	run := exec.CommandContext(ctx, command[0], command[1:]...)
	run.Env = append(os.Environ(),
		fmt.Sprintf("ETCD_WATCH_REVISION=%d", e.Kv.ModRevision), "ETCD_WATCH_EVENT_TYPE="+fmt.Sprintf("%q", kind),
		"ETCD_WATCH_KEY="+fmt.Sprintf("%q", e.Kv.Key), "ETCD_WATCH_VALUE="+fmt.Sprintf("%q", e.Kv.Value))
	run.Stdout, run.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := run.Run(); err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}
	return nil
}
