package ctl

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newWatch(g *global) *cobra.Command {
	var prefix, prevKV, progress bool
	var rev int64
	cmd := &cobra.Command{
		Use: "watch KEY [END] [-- COMMAND [ARGUMENT...]]", Short: "Print changes as they happen, or run a command for each",
		Long: `quorate watch prints changes of a key, or of keys from KEY up to END, as they
happen, until Ctrl-C. A COMMAND is run for each change, with ETCD_WATCH_KEY,
ETCD_WATCH_VALUE, ETCD_WATCH_EVENT_TYPE and ETCD_WATCH_REVISION.

  quorate watch --prefix config/
  quorate watch --rev 1 greeting        all of its history first
  quorate watch greeting -- echo changed`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var command []string
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				args, command = args[:at], args[at:]
			}
			key, opts, err := rangeOptions("watch", args, prefix, false)
			if err != nil {
				return err
			}
			opts = append(opts, clientv3.WithRev(rev))
			if prevKV {
				opts = append(opts, clientv3.WithPrevKV())
			}
			if progress {
				opts = append(opts, clientv3.WithProgressNotify())
			}
			return g.with(cmd, func(c *clientv3.Client) error {
				return g.watch(cmd, c, key, opts, command)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&prefix, "prefix", false, "all keys that begin with KEY")
	f.BoolVar(&prevKV, "prev-kv", false, "print what was there before each change")
	f.BoolVar(&progress, "progress-notify", false, "print now and then how far the watch is")
	f.Int64Var(&rev, "rev", 0, "begin at this `revision`")
	return cmd
}

func (g *global) watch(cmd *cobra.Command, c *clientv3.Client, key string, opts []clientv3.OpOption, command []string) error {
	p := g.printer(cmd.OutOrStdout())
	for r := range c.Watch(clientv3.WithRequireLeader(cmd.Context()), key, opts...) {
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
			if err := runFor(cmd.Context(), cmd, command, e); err != nil {
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
