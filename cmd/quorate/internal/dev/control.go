package dev

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The other commands find a running cluster by a socket in a directory that only
// this user may enter. One JSON request per connection, one JSON answer.

// Request is what another terminal asks: "status", "kill", "restart", "pause" or
// "resume", and for all but the first, whom: a node's number, "leader" or "all".
type Request struct {
	Command string `json:"command"`
	Target  string `json:"target,omitempty"`
}

// Answer is what became of it.
type Answer struct {
	Text    string `json:"text,omitempty"`
	Error   string `json:"error,omitempty"`
	Members []Info `json:"members,omitempty"`
}

const (
	maxControlBytes = 64 << 10
	controlPatience = 30 * time.Second
)

func socketDir() string { return filepath.Join(os.TempDir(), fmt.Sprintf("quorate-%d", os.Getuid())) }

func socketPath(name string) string { return filepath.Join(socketDir(), name+".sock") }

// Ask sends one request to the cluster of that name on this machine.
func Ask(ctx context.Context, name string, request Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, controlPatience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socketPath(name))
	if err != nil {
		return Answer{}, fmt.Errorf("no cluster %q runs here: start one with 'quorate dev' in another terminal (%w)", name, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return Answer{}, fmt.Errorf("cluster %q: %w", name, err)
	}
	var answer Answer
	if err := json.NewDecoder(io.LimitReader(conn, maxControlBytes)).Decode(&answer); err != nil {
		return Answer{}, fmt.Errorf("cluster %q does not answer: %w", name, err)
	}
	if answer.Error != "" {
		return Answer{}, errors.New(answer.Error)
	}
	return answer, nil
}

// Endpoints are those of the cluster with the default name, if one runs, the ones
// of running nodes first.
func Endpoints(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer, err := Ask(ctx, DefaultName, Request{Command: "status"})
	if err != nil {
		return nil
	}
	slices.SortStableFunc(answer.Members, func(a, b Info) int {
		return cmp.Compare(rank(a.Process), rank(b.Process))
	})
	var endpoints []string
	for _, m := range answer.Members {
		endpoints = append(endpoints, m.Endpoint)
	}
	return endpoints
}

func rank(process string) int { return slices.Index([]string{Running, Paused, Stopped}, process) }

// listenControl opens the socket of a cluster that is about to start.
func listenControl(name string) (net.Listener, error) {
	path := socketPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("a cluster %q runs already: stop it, or give this one another --name and --port", name)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}

// serveControl answers requests, one after the other, until the listener is
// closed.
func serveControl(listener net.Listener, carryOut func(Request) Answer) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conn.SetDeadline(time.Now().Add(controlPatience))
		var request Request
		if err := json.NewDecoder(io.LimitReader(conn, maxControlBytes)).Decode(&request); err == nil {
			json.NewEncoder(conn).Encode(carryOut(request))
		}
		conn.Close()
	}
}
