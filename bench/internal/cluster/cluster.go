// Package cluster runs several nodes of the library in this process, connected
// over loopback TCP, each with a directory of its own, hosting groups whose state
// machine does next to nothing: what is measured is the library.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/quorate/quorate/bench/internal/countfs"
	"github.com/quorate/quorate/bench/internal/histogram"
	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport/tcp"
	"github.com/quorate/quorate/vfs"
)

// Config says what to run.
type Config struct {
	// Dir gets a directory for each node.
	Dir string
	// Nodes and Groups are how many of each; every node hosts every group.
	Nodes, Groups int
	// NoSync leaves out the syncs.
	NoSync bool
	// Node and Group, if not nil, change what each node and group is started with.
	Node  func(*node.Config)
	Group func(*node.GroupConfig)
}

// Cluster is the nodes that run.
type Cluster struct {
	Nodes []*node.Node
	// Groups[i][j] is node i's replica of group j+1.
	Groups [][]*node.Group
	// Transports are those of the nodes.
	Transports []*tcp.Transport
	FS         *countfs.FS
	// Syncs[i] are the syncs of node i's log.
	Syncs []*Syncs
	dirs  []string
}

// Start opens the nodes and waits until each group has a leader.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c := &Cluster{FS: &countfs.FS{FS: vfs.OS(), NoSync: cfg.NoSync}}
	if err := c.start(ctx, cfg); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, cfg Config) error {
	transports := make([]*tcp.Transport, cfg.Nodes)
	peers := map[raft.NodeID]string{}
	var voters []raft.NodeID
	logger := slog.New(slog.DiscardHandler)
	for i := range transports {
		t, err := tcp.New(tcp.Config{Listen: "127.0.0.1:0", Logger: logger})
		if err != nil {
			return err
		}
		transports[i], c.Transports = t, append(c.Transports, t)
		id := raft.NodeID(i + 1)
		peers[id] = t.Address()
		voters = append(voters, id)
	}
	for i, t := range transports {
		syncs := &Syncs{}
		nodeConfig := node.Config{
			ID: voters[i], Cluster: "bench", Dir: path.Join(cfg.Dir, "node-"+strconv.Itoa(i+1)),
			Transport: t, Peers: peers, FS: c.FS, Logger: logger, Observer: syncs,
		}
		if cfg.Node != nil {
			cfg.Node(&nodeConfig)
		}
		n, err := node.Open(nodeConfig)
		if err != nil {
			return fmt.Errorf("open node %d: %w", voters[i], err)
		}
		c.Nodes = append(c.Nodes, n)
		c.Syncs = append(c.Syncs, syncs)
		c.dirs = append(c.dirs, nodeConfig.Dir)
	}
	for _, n := range c.Nodes {
		var groups []*node.Group
		for j := range cfg.Groups {
			groupConfig := node.GroupConfig{ID: raft.GroupID(j + 1), Voters: voters, StateMachine: &counter{}}
			if cfg.Group != nil {
				cfg.Group(&groupConfig)
			}
			g, err := n.StartGroup(groupConfig)
			if err != nil {
				return fmt.Errorf("start group %d on node %d: %w", j+1, n.ID(), err)
			}
			groups = append(groups, g)
		}
		c.Groups = append(c.Groups, groups)
	}
	for j := range cfg.Groups {
		if _, err := c.Leader(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// Leader gives the replica that leads group j+1, once there is one.
func (c *Cluster) Leader(ctx context.Context, j int) (*node.Group, error) {
	for {
		for i := range c.Groups {
			g := c.Groups[i][j]
			if err := g.Ready(ctx); err != nil {
				return nil, err
			}
			if leader, _ := g.Leader(); leader == c.Nodes[i].ID() {
				return g, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// Follower gives a replica of group j+1 that does not lead.
func (c *Cluster) Follower(ctx context.Context, j int) (*node.Group, error) {
	leader, err := c.Leader(ctx, j)
	if err != nil {
		return nil, err
	}
	for i := range c.Groups {
		if c.Groups[i][j] != leader {
			return c.Groups[i][j], nil
		}
	}
	return leader, nil
}

// WALDir is the directory of a node's log.
func (c *Cluster) WALDir(i int) string { return path.Join(c.dirs[i], "wal") }

// Close stops the nodes.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}

// Syncs are the syncs of one node's log, as its Observer sees them.
type Syncs struct {
	mu    sync.Mutex
	times histogram.Histogram
}

// Take gives the times of the syncs since the last Take.
func (s *Syncs) Take(to *histogram.Histogram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to.Add(&s.times)
	s.times = histogram.Histogram{}
}

// WALSync notes a sync.
func (s *Syncs) WALSync(_, _ int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times.Record(took)
}

// The rest of an Observer.

func (s *Syncs) LeaderChanged(raft.GroupID, raft.NodeID, raft.Term) {}
func (s *Syncs) Applied(raft.GroupID, int, time.Duration)           {}
func (s *Syncs) Trace(raft.GroupID, raft.NodeID, raft.Event)        {}
func (s *Syncs) TraceEnabled() bool                                 { return false }

// A counter answers each command with its number.
type counter struct {
	mu    sync.RWMutex
	count uint64
}

func (c *counter) Apply(entries []rsm.Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range entries {
		c.count++
		entries[i].Result.Value = c.count
	}
	return nil
}

func (c *counter) Read(context.Context, any) (any, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return nil, nil
}

func (c *counter) Snapshot() (rsm.View, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return view(strconv.FormatUint(c.count, 10)), nil
}

func (c *counter) Restore(r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, 32))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count, err = strconv.ParseUint(string(data), 10, 64)
	return err
}

func (c *counter) Close() error { return nil }

type view string

func (v view) WriteSnapshot(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, string(v))
	return err
}

func (v view) Close() error { return nil }
