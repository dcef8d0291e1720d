package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// endpointStatus is what one server said, in the form of etcdctl's JSON.
type endpointStatus struct {
	Endpoint string                       `json:"Endpoint"`
	Status   *etcdserverpb.StatusResponse `json:"Status"`
}

func newStatus(g *global) *cobra.Command {
	var cluster bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show how each server of --endpoints is", GroupID: "operate", Aliases: []string{"endpoint"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !calledAs(cmd, args, "endpoint", "status") {
				return usage("status takes no argument: name servers with --endpoints")
			}
			var all []endpointStatus
			var failed error
			err := g.with(cmd, func(c *clientv3.Client) error {
				endpoints := g.endpoints
				if cluster {
					var err error
					if endpoints, err = g.clusterEndpoints(cmd.Context(), c); err != nil {
						return err
					}
				}
				for _, endpoint := range endpoints {
					ctx, cancel := context.WithTimeout(cmd.Context(), g.commandTimeout)
					r, err := c.Status(ctx, endpoint)
					cancel()
					if err != nil {
						failed = errors.Join(failed, fmt.Errorf("%s: %w", endpoint, err))
						continue
					}
					all = append(all, endpointStatus{endpoint, (*etcdserverpb.StatusResponse)(r)})
				}
				return nil
			})
			if err != nil {
				return err
			}
			return errors.Join(g.printer(cmd.OutOrStdout()).statuses(all), failed)
		},
	}
	cmd.Flags().BoolVar(&cluster, "cluster", false, "all members, by what --endpoints tell of them")
	return cmd
}

// clusterEndpoints asks one server where all are.
func (g *global) clusterEndpoints(ctx context.Context, c *clientv3.Client) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, g.commandTimeout)
	defer cancel()
	r, err := c.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	var endpoints []string
	for _, m := range r.Members {
		endpoints = append(endpoints, m.ClientURLs...)
	}
	return endpoints, nil
}

func (p *printer) statuses(all []endpointStatus) error {
	if p.format == "json" {
		return p.json(all)
	}
	t := table{header: []string{
		"ENDPOINT", "ID", "VERSION", "STORAGE VERSION", "DB SIZE", "IN USE", "PERCENTAGE NOT IN USE", "QUOTA", "IS LEADER", "IS LEARNER",
		"RAFT TERM", "RAFT INDEX", "RAFT APPLIED INDEX", "ERRORS", "DOWNGRADE TARGET VERSION", "DOWNGRADE ENABLED",
	}}
	for _, one := range all {
		s := one.Status
		if p.format == "fields" {
			p.statusFields(one)
			continue
		}
		t.add(one.Endpoint, fmt.Sprintf("%x", s.Header.MemberId), s.Version, s.StorageVersion, size(s.DbSize), size(s.DbSizeInUse), notInUse(s), size(s.DbSizeQuota),
			s.Leader == s.Header.MemberId, s.IsLearner, s.RaftTerm, s.RaftIndex, s.RaftAppliedIndex, strings.Join(s.Errors, ", "),
			s.GetDowngradeInfo().GetTargetVersion(), s.GetDowngradeInfo().GetEnabled())
	}
	if p.format != "fields" {
		p.rows(&t)
	}
	return nil
}

func (p *printer) statusFields(one endpointStatus) {
	s := one.Status
	p.header(s.Header)
	for _, f := range []struct {
		name  string
		value any
	}{
		{"Version", s.Version},
		{"StorageVersion", s.StorageVersion},
		{"DBSize", s.DbSize},
		{"DBSizeInUse", s.DbSizeInUse},
		{"DBSizeQuota", s.DbSizeQuota},
		{"Leader", s.Leader},
		{"IsLearner", s.IsLearner},
		{"RaftIndex", s.RaftIndex},
		{"RaftAppliedIndex", s.RaftAppliedIndex},
		{"Errors", s.Errors},
		{"Endpoint", one.Endpoint},
		{"DowngradeTargetVersion", s.GetDowngradeInfo().GetTargetVersion()},
		{"DowngradeEnabled", s.GetDowngradeInfo().GetEnabled()},
	} {
		p.field(f.name, f.value)
	}
	p.line("")
}

// notInUse is how much of the store's files holds nothing.
func notInUse(s *etcdserverpb.StatusResponse) string {
	return fmt.Sprintf("%d%%", 100-s.DbSizeInUse*100/max(s.DbSize, 1))
}

// size is a number of bytes for people, in steps of a thousand as etcdctl's.
func size(bytes int64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%d B", bytes)
	}
	value, units := float64(bytes), "kMGTPE"
	for _, unit := range units {
		if value /= 1000; value < 999.5 {
			if value < 9.95 {
				return fmt.Sprintf("%.1f %cB", value, unit)
			}
			return fmt.Sprintf("%.0f %cB", value, unit)
		}
	}
	return fmt.Sprintf("%d B", bytes)
}

func newMembers(g *global) *cobra.Command {
	var consistency string
	cmd := &cobra.Command{
		Use: "members", Short: "List the cluster's members", GroupID: "operate", Aliases: []string{"member"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !calledAs(cmd, args, "member", "list") {
				return usage("members takes no argument")
			}
			var opts []clientv3.OpOption
			switch consistency {
			case "l":
			case "s":
				opts = append(opts, clientv3.WithSerializable())
			default:
				return usage("--consistency is l or s, not %q", consistency)
			}
			return g.do(cmd, func(ctx context.Context, c *clientv3.Client) error {
				r, err := c.MemberList(ctx, opts...)
				if err != nil {
					return err
				}
				return g.printer(cmd.OutOrStdout()).response((*etcdserverpb.MemberListResponse)(r))
			})
		},
	}
	cmd.Flags().StringVar(&consistency, "consistency", "l", "`l` asks the leader; s answers from one server alone")
	return cmd
}

// calledAs reports whether a command was called by etcdctl's two words for it.
func calledAs(cmd *cobra.Command, args []string, first, second string) bool {
	return cmd.CalledAs() == first && len(args) == 1 && args[0] == second
}

func newAlarm(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "alarm", Short: "List or disarm alarms", GroupID: "operate"}
	for _, c := range []struct {
		name, short string
		do          func(ctx context.Context, c *clientv3.Client) (*clientv3.AlarmResponse, error)
	}{
		{"list", "List alarms", func(ctx context.Context, c *clientv3.Client) (*clientv3.AlarmResponse, error) {
			return c.AlarmList(ctx)
		}},
		{"disarm", "Disarm all alarms; one whose reason stands is raised again", func(ctx context.Context, c *clientv3.Client) (*clientv3.AlarmResponse, error) {
			return c.AlarmDisarm(ctx, &clientv3.AlarmMember{})
		}},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: c.name, Short: c.short,
			RunE: func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return usage("alarm %s takes no argument", c.name)
				}
				return g.do(cmd, func(ctx context.Context, client *clientv3.Client) error {
					r, err := c.do(ctx, client)
					if err != nil {
						return err
					}
					return g.printer(cmd.OutOrStdout()).response((*etcdserverpb.AlarmResponse)(r))
				})
			},
		})
	}
	return cmd
}
