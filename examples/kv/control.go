package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/raft"
)

// The other commands find a running cluster by a socket in a directory that only
// this user may enter. One JSON request per connection, one JSON answer.

type controlRequest struct {
	Command string `json:"command"`
	Target  string `json:"target,omitempty"`
}

type controlAnswer struct {
	Text    string       `json:"text,omitempty"`
	Error   string       `json:"error,omitempty"`
	Members []memberInfo `json:"members,omitempty"`
}

// memberInfo is what the cluster knows of a process of its own.
type memberInfo struct {
	ID      raft.NodeID `json:"id"`
	HTTP    string      `json:"http"`
	Process string      `json:"process"` // "running", "paused" or "stopped"
	PID     int         `json:"pid,omitempty"`
}

const (
	maxControlBytes = 64 << 10
	controlPatience = 20 * time.Second
)

func socketPath(name string) string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("quorate-kv-%d", os.Getuid()), name+".sock")
}

// askCluster sends one request to the cluster of that name.
func askCluster(ctx context.Context, name string, request controlRequest) (controlAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, controlPatience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socketPath(name))
	if err != nil {
		return controlAnswer{}, fmt.Errorf("no cluster %q runs here: start one with kv cluster, in another terminal (%w)", name, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return controlAnswer{}, fmt.Errorf("cluster %q: %w", name, err)
	}
	var answer controlAnswer
	if err := json.NewDecoder(io.LimitReader(conn, maxControlBytes)).Decode(&answer); err != nil {
		return controlAnswer{}, fmt.Errorf("cluster %q does not answer: %w", name, err)
	}
	if answer.Error != "" {
		return controlAnswer{}, errors.New(answer.Error)
	}
	return answer, nil
}

// listenControl opens the socket of a cluster that is about to start.
func listenControl(name string) (net.Listener, error) {
	path := socketPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("a cluster %q runs already: stop it, or give this one another --name, --http-port and --raft-port", name)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}

// serveControl answers requests until the listener is closed.
func serveControl(listener net.Listener, carryOut func(controlRequest) controlAnswer) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conn.SetDeadline(time.Now().Add(controlPatience))
		var request controlRequest
		if err := json.NewDecoder(io.LimitReader(conn, maxControlBytes)).Decode(&request); err == nil {
			json.NewEncoder(conn).Encode(carryOut(request))
		}
		conn.Close()
	}
}

// printStatus asks each member that runs and prints a table.
func printStatus(ctx context.Context, out io.Writer, members []memberInfo) {
	c := newClient(time.Second)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tSTATE\tTERM\tLEADER\tCOMMIT\tAPPLIED\tSNAPSHOT\tHTTP\tPID")
	for _, m := range members {
		if m.Process != running {
			fmt.Fprintf(table, "%d\t%s\t\t\t\t\t\t%s\t%s\n", m.ID, m.Process, m.HTTP, pidText(m.PID))
			continue
		}
		s, err := c.status(ctx, m.HTTP)
		if err != nil {
			fmt.Fprintf(table, "%d\tsilent\t\t\t\t\t\t%s\t%s\n", m.ID, m.HTTP, pidText(m.PID))
			continue
		}
		leader := "none"
		if s.Leader != raft.None {
			leader = fmt.Sprintf("node %d", s.Leader)
		}
		fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%d\t%d\t%d\t%s\t%s\n",
			m.ID, s.State, s.Term, leader, s.CommitIndex, s.AppliedIndex, s.SnapshotIndex, m.HTTP, pidText(m.PID))
	}
	table.Flush()
}

func pidText(pid int) string {
	if pid == 0 {
		return "-"
	}
	return fmt.Sprint(pid)
}
