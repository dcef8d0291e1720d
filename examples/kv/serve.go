package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport/tcp"
)

// group is the only group of this program. A node can host many.
const group raft.GroupID = 1

// serveConfig is one member.
type serveConfig struct {
	id              raft.NodeID
	cluster         string
	dir             string
	listen          string // for the other members
	http            string // for clients
	peers           map[raft.NodeID]string
	httpPeers       map[raft.NodeID]string
	electionTimeout time.Duration
	snapshotBytes   int64
	segmentBytes    int64
	patience        time.Duration
}

// serve runs one member until ctx ends.
func serve(ctx context.Context, cfg serveConfig, out io.Writer, logger *slog.Logger) (err error) {
	listener, err := net.Listen("tcp", cfg.http)
	if err != nil {
		return fmt.Errorf("cannot serve HTTP: %w", explainListen(err, cfg.http, "--http"))
	}
	defer listener.Close()
	transport, err := tcp.New(tcp.Config{Listen: cfg.listen, Logger: logger})
	if err != nil {
		return fmt.Errorf("cannot listen for the other members: %w", explainListen(err, cfg.listen, "--listen"))
	}
	n, err := node.Open(node.Config{
		ID: cfg.id, Cluster: cfg.cluster, Dir: cfg.dir,
		Transport: transport, Peers: cfg.peers,
		ElectionTimeout: cfg.electionTimeout, SegmentSizeBytes: cfg.segmentBytes, Logger: logger,
		Observer: observer{logger: logger, slow: cfg.electionTimeout / 2},
	})
	if err != nil {
		return errors.Join(err, transport.Close())
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	g, err := n.StartGroup(node.GroupConfig{
		ID: group, Voters: slices.Sorted(maps.Keys(cfg.peers)),
		StateMachine: newMachine(), SnapshotBytes: cfg.snapshotBytes,
	})
	if err != nil {
		return err
	}

	a := &api{id: cfg.id, group: g, addresses: cfg.httpPeers, patience: cfg.patience}
	server := newServer(a.handler(), cfg.patience)
	server.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(out, "node %d of cluster %q serves http://%s\n", cfg.id, cfg.cluster, listener.Addr())

	select {
	case err := <-served:
		return fmt.Errorf("HTTP server: %w", err)
	case <-ctx.Done():
	}
	// Answer what is under way, then leave.
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		err = errors.Join(err, server.Close())
		logger.Warn("clients were cut off", "error", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("HTTP server: %w", err)
	}
	return nil
}

// observer is told what the node measures. A server would keep it for its metrics;
// this one only complains of a disk so slow that it endangers leadership.
type observer struct {
	logger *slog.Logger
	slow   time.Duration
}

const slowDisk = "the disk is slow"

// WALSync is told of every batch that became durable.
func (o observer) WALSync(updates, bytes int, took time.Duration) {
	if took > o.slow {
		o.logger.Warn(slowDisk, "sync took", took, "updates", updates, "bytes", bytes)
	}
}

// The rest of node.Observer.
func (observer) LeaderChanged(raft.GroupID, raft.NodeID, raft.Term) {}
func (observer) Applied(raft.GroupID, int, time.Duration)           {}
func (observer) Trace(raft.GroupID, raft.NodeID, raft.Event)        {}
func (observer) TraceEnabled() bool                                 { return false }

// explainListen says what to do about an address that cannot be had.
func explainListen(err error, address, flag string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another process: stop that one, or choose another address with %s: %w", address, flag, err)
	}
	return err
}

// parsePeers reads "1=host:port,2=host:port".
func parsePeers(text string) (map[raft.NodeID]string, error) {
	peers := map[raft.NodeID]string{}
	for part := range strings.SplitSeq(text, ",") {
		id, address, ok := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseUint(id, 10, 64)
		if !ok || err != nil || n == 0 {
			return nil, fmt.Errorf("%q is not of the form ID=HOST:PORT with an id from 1 on", part)
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("%q: %w", part, err)
		}
		if _, twice := peers[raft.NodeID(n)]; twice {
			return nil, fmt.Errorf("node %d is named twice", n)
		}
		peers[raft.NodeID(n)] = address
	}
	return peers, nil
}
