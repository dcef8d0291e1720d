package ctl

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newLease(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "lease", Short: "Grant, revoke, keep and list leases"}
	cmd.AddCommand(newLeaseGrant(g), newLeaseRevoke(g), newLeaseTTL(g), newLeaseList(g), newLeaseKeepAlive(g))
	return cmd
}

func newLeaseGrant(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "grant TTL [ID]", Short: "Make a lease of TTL seconds",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usage("lease grant takes a number of seconds, and an id if you want to choose it")
			}
			ttl, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usage("%q is not a number of seconds", args[0])
			}
			request := &etcdserverpb.LeaseGrantRequest{TTL: ttl}
			if len(args) == 2 {
				id, err := leaseID(args[1])
				if err != nil {
					return err
				}
				request.ID = int64(id)
			}
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				r, err := clientv3.RetryLeaseClient(c).LeaseGrant(ctx, request)
				if err != nil {
					return err
				}
				p := g.printer(cmd.OutOrStdout())
				switch g.format {
				case "json":
					return p.json(r)
				case "fields":
					p.header(r.Header)
					p.id("ID", uint64(r.ID))
					p.field("TTL", r.TTL)
				default:
					p.line("lease %016x granted with TTL(%ds)", r.ID, r.TTL)
				}
				return nil
			})
		},
	}
}

// withLease is for commands that take a lease's id.
func (g *global) withLease(name string, do func(cmd *cobra.Command, id clientv3.LeaseID) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("lease %s takes a lease's id", name)
		}
		id, err := leaseID(args[0])
		if err != nil {
			return err
		}
		return do(cmd, id)
	}
}

func newLeaseRevoke(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "End a lease and delete its keys",
		RunE: g.withLease("revoke", func(cmd *cobra.Command, id clientv3.LeaseID) error {
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				r, err := c.Revoke(ctx, id)
				if err != nil {
					return err
				}
				p := g.printer(cmd.OutOrStdout())
				switch g.format {
				case "json":
					return p.json(r)
				case "fields":
					p.header((*etcdserverpb.LeaseRevokeResponse)(r).Header)
				default:
					p.line("lease %016x revoked", int64(id))
				}
				return nil
			})
		}),
	}
}

func newLeaseTTL(g *global) *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use: "timetolive ID", Short: "Say how long a lease has left",
		RunE: g.withLease("timetolive", func(cmd *cobra.Command, id clientv3.LeaseID) error {
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				var opts []clientv3.LeaseOption
				if keys {
					opts = append(opts, clientv3.WithAttachedKeys())
				}
				r, err := c.TimeToLive(ctx, id, opts...)
				if err != nil {
					return err
				}
				return g.printer(cmd.OutOrStdout()).timeToLive(r, keys)
			})
		}),
	}
	cmd.Flags().BoolVar(&keys, "keys", false, "list the keys that are attached to it")
	return cmd
}

func (p *printer) timeToLive(r *clientv3.LeaseTimeToLiveResponse, keys bool) error {
	switch {
	case p.format == "json":
		return p.json(r)
	case p.format == "fields":
		p.header(r.ResponseHeader)
		p.id("ID", uint64(r.ID))
		p.field("TTL", r.TTL)
		p.field("GrantedTTL", r.GrantedTTL)
		for _, k := range r.Keys {
			p.field("Key", string(k))
		}
	case r.GrantedTTL == 0 && r.TTL == -1:
		p.line("lease %016x already expired", int64(r.ID))
	default:
		text := fmt.Sprintf("lease %016x granted with TTL(%ds), remaining(%ds)", int64(r.ID), r.GrantedTTL, r.TTL)
		if keys {
			var names []string
			for _, k := range r.Keys {
				names = append(names, p.text(k))
			}
			text += fmt.Sprintf(", attached keys(%v)", names)
		}
		p.line("%s", text)
	}
	return nil
}

func newLeaseList(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all leases",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("lease list takes no argument")
			}
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				r, err := c.Leases(ctx)
				if err != nil {
					return err
				}
				p := g.printer(cmd.OutOrStdout())
				switch g.format {
				case "json":
					return p.json(r)
				case "fields":
					p.header(r.ResponseHeader)
					for _, l := range r.Leases {
						p.id("ID", uint64(l.ID))
					}
				default:
					p.line("found %d leases", len(r.Leases))
					for _, l := range r.Leases {
						p.line("%016x", int64(l.ID))
					}
				}
				return nil
			})
		},
	}
}

func newLeaseKeepAlive(g *global) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use: "keep-alive ID", Short: "Keep a lease alive until Ctrl-C",
		RunE: g.withLease("keep-alive", func(cmd *cobra.Command, id clientv3.LeaseID) error {
			if once {
				return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
					r, err := c.KeepAliveOnce(ctx, id)
					if err != nil {
						return err
					}
					return g.printer(cmd.OutOrStdout()).keptAlive(r)
				})
			}
			return g.with(cmd, func(c *clientv3.Client) error {
				answers, err := c.KeepAlive(cmd.Context(), id)
				if err != nil {
					return err
				}
				for r := range answers {
					if err := g.printer(cmd.OutOrStdout()).keptAlive(r); err != nil {
						return err
					}
				}
				if cmd.Context().Err() != nil {
					return nil
				}
				return errors.New("the lease expired or was revoked")
			})
		}),
	}
	cmd.Flags().BoolVar(&once, "once", false, "keep it alive once, and print what it has left")
	return cmd
}

func (p *printer) keptAlive(r *clientv3.LeaseKeepAliveResponse) error {
	switch p.format {
	case "json":
		return p.json(r)
	case "fields":
		p.header(r.ResponseHeader)
		p.id("ID", uint64(r.ID))
		p.field("TTL", r.TTL)
	default:
		p.line("lease %016x keepalived with TTL(%d)", int64(r.ID), r.TTL)
	}
	return nil
}
