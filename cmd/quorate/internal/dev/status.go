package dev

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/quorate/quorate/server"
)

const (
	pollInterval   = 25 * time.Millisecond
	statusPatience = time.Second
)

// dial makes a connection that is tried again quickly: a member that was killed
// is about to be restarted.
func dial(endpoint string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: statusPatience}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: statusPatience}))
}

func status(ctx context.Context, conn *grpc.ClientConn) (*etcdserverpb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	return etcdserverpb.NewMaintenanceClient(conn).Status(ctx, &etcdserverpb.StatusRequest{})
}

// watch asks a member again and again whether it leads.
func (c *cluster) watch(ctx context.Context, m *member) {
	conn, err := dial(m.endpoint)
	if err != nil {
		c.say("node %d cannot be asked how it is: %v", m.node, err)
		return
	}
	defer conn.Close()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if m.info().Process != Running {
			continue
		}
		if s, err := status(ctx, conn); err == nil && s.Leader == m.id {
			c.sawLeader(m.node, s.RaftTerm)
		}
	}
}

// PrintStatus asks each member that runs, and prints a table.
func PrintStatus(ctx context.Context, out io.Writer, members []Info) {
	names := map[uint64]string{0: "none"}
	for _, m := range members {
		names[uint64(server.Member{Name: memberName(m.Node)}.ID())] = fmt.Sprintf("node %d", m.Node)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tSTATE\tTERM\tLEADER\tREVISION\tCOMMITTED\tAPPLIED\tENDPOINT\tPID")
	for _, m := range members {
		fmt.Fprintln(table, statusLine(ctx, m, names))
	}
	table.Flush()
}

func statusLine(ctx context.Context, m Info, names map[uint64]string) string {
	pid := ""
	if m.PID != 0 {
		pid = fmt.Sprint(m.PID)
	}
	silent := func(state string) string {
		return fmt.Sprintf("%d\t%s\t\t\t\t\t\t%s\t%s", m.Node, state, m.Endpoint, pid)
	}
	if m.Process != Running {
		return silent(m.Process)
	}
	conn, err := dial(m.Endpoint)
	if err != nil {
		return silent("silent")
	}
	defer conn.Close()
	s, err := status(ctx, conn)
	if err != nil {
		return silent("silent")
	}
	state := "follows"
	switch s.Leader {
	case 0:
		state = "leaderless"
	case s.Header.MemberId:
		state = "leads"
	}
	return fmt.Sprintf("%d\t%s\t%d\t%s\t%d\t%d\t%d\t%s\t%s",
		m.Node, state, s.RaftTerm, names[s.Leader], s.Header.Revision, s.RaftIndex, s.RaftAppliedIndex, m.Endpoint, pid)
}
