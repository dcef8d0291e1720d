package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/quorate/quorate/compat/internal/cluster"
	"github.com/quorate/quorate/compat/internal/network"
	"github.com/quorate/quorate/compat/load"
)

// env is a cluster, what is under it, and the round that is under way.
type env struct {
	config  Config
	network network.Network
	cluster *cluster.Cluster
	nodes   []*cluster.Node
	// clientLinks: what is between clients and members can be cut too. bounded:
	// each member's disk is a file system of its own.
	clientLinks, bounded bool
	result               *Result
	observer             *load.Observer

	mu      sync.Mutex
	clients []*clientv3.Client
	round   *Round
	full    map[int]bool // members whose disk was full in this round
	tracks  map[string]*sync.Mutex
	faults  sync.WaitGroup
}

// open makes the network, the disks and the cluster.
func open(ctx context.Context, cfg Config) (*env, error) {
	e := &env{config: cfg, tracks: map[string]*sync.Mutex{processes: {}, links: {}, disks: {}}}
	var err error
	if cfg.Relay || !network.Inside() {
		e.network, err = network.NewRelay(cfg.Nodes, cfg.Seed)
	} else {
		e.network, err = network.New(cfg.Nodes, cfg.Seed)
		e.clientLinks = true
	}
	if err != nil {
		return nil, err
	}
	e.bounded = true
	for i := range cfg.Nodes {
		dir := filepath.Join(cfg.Dir, fmt.Sprintf("n%d", i+1))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if network.Limit(dir, diskBytes) != nil {
			e.bounded = false
		}
	}
	e.cluster, err = cluster.Start(ctx, cluster.Config{
		Nodes: cfg.Nodes, Dir: cfg.Dir, Heartbeat: heartbeat, Election: election, Network: e.network,
		Flags: []string{fmt.Sprintf("--disk-reserve-bytes=%d", reserveBytes)},
	})
	if err != nil {
		return nil, err
	}
	e.nodes = e.cluster.Nodes
	return e, nil
}

func (e *env) close() {
	for _, c := range e.clients {
		_ = c.Close() // it ends with us
	}
	e.cluster.Stop()
	_ = e.network.Close() // so does this
}

// dial gives a client of all members, or of some alone, that leaves one which does
// not answer.
func (e *env) dial(nodes ...int) *clientv3.Client {
	var endpoints []string
	for _, n := range nodes {
		endpoints = append(endpoints, e.nodes[n].Endpoint())
	}
	cfg := e.cluster.ClientConfig(endpoints...)
	cfg.DialKeepAliveTime, cfg.DialKeepAliveTimeout = 2*time.Second, 2*time.Second
	cfg.Logger = zap.NewNop()
	// A member that comes back is found again within a second.
	cfg.DialOptions = []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: time.Second,
	})}
	c, err := clientv3.New(cfg)
	if err != nil {
		panic(err) // only a mistake in the configuration is found so early
	}
	e.mu.Lock()
	e.clients = append(e.clients, c)
	e.mu.Unlock()
	return c
}

// dialer gives clients of which every second is of one member alone.
func (e *env) dialer() load.Dialer {
	return func(worker int) *clientv3.Client {
		if worker%2 == 1 {
			return e.dial(worker / 2 % len(e.nodes))
		}
		return e.dial()
	}
}

// closeClients ends the clients that were made since there were so many.
func (e *env) closeClients(keep int) {
	e.mu.Lock()
	gone := slices.Clone(e.clients[keep:])
	e.clients = e.clients[:keep]
	e.mu.Unlock()
	for _, c := range gone {
		_ = c.Close() // nobody uses it
	}
}

// leader is the member that was last seen to lead; without one, the first.
func (e *env) leader() int {
	name, found := e.observer.Leader()
	if !found {
		return 0
	}
	return slices.IndexFunc(e.nodes, func(n *cluster.Node) bool { return n.Name == name })
}

func (e *env) violate(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if len(text) > 2000 {
		text = text[:2000] + "…"
	}
	e.round.Violations = append(e.round.Violations, text)
	fmt.Fprintf(e.config.Out, "  VIOLATION: %s\n", text)
}

func (e *env) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.round.Notes = append(e.round.Notes, fmt.Sprintf(format, args...))
}

// noteFilled remembers that a member's disk was full, which may stop it.
func (e *env) noteFilled(node int, completely bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if completely {
		e.full[node] = true
	}
}

// inject begins a fault, holds it and ends it.
func (e *env) inject(ctx context.Context, rng *rand.Rand, name string, hold time.Duration) {
	k := kinds[name]
	track := e.tracks[k.track]
	track.Lock()
	defer track.Unlock()
	if ctx.Err() != nil {
		return
	}
	from := time.Now()
	f, err := k.begin(e, rng)
	if err != nil {
		e.note("%s could not be had: %v", name, err)
	}
	if f.end == nil {
		return
	}
	e.wait(ctx, hold)
	if err := f.end(); err != nil {
		e.note("%s could not be ended: %v", name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.round.Faults = append(e.round.Faults, Injected{
		Kind: name, What: f.what, Nodes: f.nodes, From: e.result.since(from), To: e.result.since(time.Now()),
	})
}
