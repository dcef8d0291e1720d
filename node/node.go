package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/snapshot"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/vfs"
	"github.com/quorate/quorate/wal"
)

// Node hosts groups on one machine. All methods are safe for concurrent use.
type Node struct {
	cfg      Config
	identity transport.Identity
	lock     vfs.Unlocker
	log      *wal.WAL
	store    *snapshot.Store
	start    time.Time // zero of the timers' clock

	workers []*worker
	syncer  *syncer
	applies *applyPool
	logs    *logReaders

	// proposals and readers are used again. Of the node and not of the package:
	// their channels belong to the synctest bubble that made them.
	proposals, readers sync.Pool

	// groups maps ids to *Group; read on every message.
	groups sync.Map
	// unreachable holds the nodes to which the connection was lost and not made
	// again.
	unreachable sync.Map
	// mu guards the life cycle: which groups are there, and closing.
	mu     sync.Mutex
	closed bool

	// background are the goroutines of transfers and snapshots; life ends them.
	background sync.WaitGroup
	life       context.Context
	end        context.CancelFunc
	failed     atomic.Pointer[StoppedError] // the log failed for all groups
}

// Open opens a node's data directory and begins to listen. Its groups are
// started one by one with StartGroup.
//
// It fails if the directory is in use, belongs to another node or cluster, or
// holds a log that is damaged beyond a single group.
func Open(cfg Config) (*Node, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, start: time.Now()}
	n.life, n.end = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.release())
	}
	return n, nil
}

func (n *Node) open() error {
	cfg := &n.cfg
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return fmt.Errorf("node: data directory: %w", err)
	}
	lock, err := cfg.FS.Lock(path.Join(cfg.Dir, "LOCK"))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("node: data directory %s is in use by another process: stop it, or give this node a directory of its own: %w", cfg.Dir, err)
	}
	if err != nil {
		return fmt.Errorf("node: lock data directory: %w", err)
	}
	n.lock = lock
	if n.identity, err = openIdentity(cfg.FS, cfg.Dir, clusterID(cfg.Cluster), cfg.ID); err != nil {
		return err
	}
	walIdentity := wal.Identity{Cluster: n.identity.Cluster, Node: n.identity.Node, Incarnation: n.identity.Incarnation}
	n.log, err = wal.Open(wal.Options{
		FS: cfg.FS, Dir: path.Join(cfg.Dir, "wal"), Identity: walIdentity,
		SegmentSizeBytes: cfg.SegmentSizeBytes, Logger: cfg.Logger,
	})
	if err != nil {
		return fmt.Errorf("node: open log: %w", err)
	}
	n.store, err = snapshot.Open(snapshot.Options{
		FS: cfg.FS, Dir: path.Join(cfg.Dir, "snapshots"),
		Identity: snapshot.Identity{Cluster: n.identity.Cluster, Node: n.identity.Node, Incarnation: n.identity.Incarnation},
		Logger:   cfg.Logger,
	})
	if err != nil {
		return fmt.Errorf("node: open snapshots: %w", err)
	}
	n.syncer = startSyncer(n)
	n.applies = startApplyPool(n, max(2, runtime.GOMAXPROCS(0)))
	n.logs = startLogReaders(n, 2)
	for range min(4, max(1, runtime.GOMAXPROCS(0)/2)) {
		n.workers = append(n.workers, startWorker(n))
	}
	for id, address := range cfg.Peers {
		if id != cfg.ID {
			cfg.Transport.SetPeer(id, address)
		}
	}
	if err := cfg.Transport.Start(n.identity, (*handler)(n)); err != nil {
		return fmt.Errorf("node: start transport: %w", err)
	}
	return nil
}

// ID is this node's id.
func (n *Node) ID() raft.NodeID { return n.cfg.ID }

// Incarnation is that of the node's data directory.
func (n *Node) Incarnation() raft.Incarnation { return n.identity.Incarnation }

// SetPeer tells where another node listens; it replaces what was known.
func (n *Node) SetPeer(id raft.NodeID, addresses ...string) {
	n.cfg.Transport.SetPeer(id, addresses...)
}

// Group gives a group that was started on this node.
func (n *Node) Group(id raft.GroupID) (*Group, error) {
	g := n.group(id)
	if g == nil {
		return nil, fmt.Errorf("%w: %d", ErrUnknownGroup, id)
	}
	return g, nil
}

func (n *Node) group(id raft.GroupID) *Group {
	g, ok := n.groups.Load(id)
	if !ok {
		return nil
	}
	return g.(*Group)
}

// eachGroup calls f for every group.
func (n *Node) eachGroup(f func(g *Group)) {
	n.groups.Range(func(_, g any) bool {
		f(g.(*Group))
		return true
	})
}

// Close stops the groups, then the node, and waits for all that it started. What
// was acknowledged is durable; what is still under way is answered
// ErrUnknownOutcome or ErrClosed.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	var errs []error
	n.eachGroup(func(g *Group) {
		if err := g.Close(); err != nil {
			errs = append(errs, err)
		}
	})
	return errors.Join(append(errs, n.release())...)
}

// release ends what open began, as far as it came.
func (n *Node) release() error {
	var errs []error
	n.end()
	if n.workers != nil {
		errs = append(errs, n.cfg.Transport.Close())
	}
	n.background.Wait()
	for _, w := range n.workers {
		w.close()
	}
	if n.logs != nil {
		n.logs.close()
	}
	if n.applies != nil {
		n.applies.close()
	}
	if n.syncer != nil {
		n.syncer.close()
	}
	if n.log != nil {
		errs = append(errs, n.log.Close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Unlock())
	}
	return errors.Join(errs...)
}

// spawn runs f on a goroutine that Close waits for. It reports false if the node
// is closing.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.background.Go(f)
	return true
}

// fail stops every group: the log they share can no longer be trusted to keep
// what it is given (PS-07).
func (n *Node) fail(err error) {
	n.cfg.Logger.Error("write-ahead log failed; all groups stop on this node, others go on",
		slog.Uint64("node", uint64(n.cfg.ID)), slog.Any("error", err))
	n.failed.Store(&StoppedError{Cause: err})
	n.eachGroup(func(g *Group) { g.call(func() { g.stop(err) }) })
}

// worker gives the worker that steps a group.
func (n *Node) worker(id raft.GroupID) *worker {
	return n.workers[uint64(id)%uint64(len(n.workers))]
}

// now is the time on the timers' clock, which is monotonic (TM-04).
func (n *Node) now() int64 { return int64(time.Since(n.start)) }

// duration is how long a timer runs.
func (n *Node) duration(kind raft.TimerKind) time.Duration {
	t := n.cfg.ElectionTimeout
	switch kind {
	case raft.ElectionTimer:
		// EL-11: drawn anew each time, on each node by itself. Half of t tells nodes
		// apart well enough, and the rest of twice t is left for the vote and the first
		// commit.
		return t + rand.N(t/2)
	case raft.HeartbeatTimer:
		return n.cfg.HeartbeatInterval
	case raft.StickinessTimer, raft.QuorumContactTimer, raft.TransferTimer:
		return t
	}
	return t / 2
}
