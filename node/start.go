package node

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/wal"
)

// StartGroup starts this node's replica of a group: it restores the state machine
// from the newest snapshot, and from then on follows the log. If the group does
// not exist yet and this node is one of its first members, it is created as soon
// as all of them have started it.
//
// It fails if the group's part of the log or its snapshot is damaged: such a
// replica is never served around the damage.
func (n *Node) StartGroup(cfg GroupConfig) (*Group, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	if failed := n.failed.Load(); failed != nil {
		return nil, failed
	}
	if n.group(cfg.ID) != nil {
		return nil, fmt.Errorf("node: group %d is started already", cfg.ID)
	}
	g := &Group{
		node: n, worker: n.worker(cfg.ID), cfg: cfg, halted: make(chan struct{}), closed: make(chan struct{}),
		logger: n.cfg.Logger.With(slog.Uint64("node", uint64(n.cfg.ID)), slog.Uint64("group", uint64(cfg.ID))),
	}
	g.leadership.Store(&replica.Leadership{})
	g.forwards = forwarding{life: rand.Uint64(), sent: map[uint64]*proposal{}, taken: map[raft.NodeID][]forwardLife{}}
	g.traced = n.cfg.Observer != nil && n.cfg.Observer.TraceEnabled()
	restored, at, err := n.restore(cfg)
	if err != nil {
		return nil, fmt.Errorf("node: start group %d: %w", cfg.ID, err)
	}
	g.forwards.born = restored.Log.HardState.CurrentTerm
	g.machine = &machine{group: g, sm: cfg.StateMachine, applier: replica.NewApplier(cfg.StateMachine, at)}
	g.machine.idle = sync.NewCond(&n.applies.mu)
	g.replica, err = replica.New(n.replicaConfig(cfg), restored)
	if err != nil {
		return nil, fmt.Errorf("node: start %w", err)
	}
	n.groups.Store(cfg.ID, g)
	g.call(func() { g.replica.Start(&g.out) })
	return g, nil
}

func (n *Node) replicaConfig(cfg GroupConfig) replica.Config {
	_, onDisk := cfg.StateMachine.(rsm.OnDisk)
	return replica.Config{
		Group:             cfg.ID,
		Raft:              raft.Config{ID: n.cfg.ID, MaxUncommittedBytes: 2 * n.cfg.MaxPendingBytes},
		Incarnation:       n.identity.Incarnation,
		Voters:            cfg.Voters,
		FirstRead:         raft.ReadID(rand.Uint64()),
		OnDisk:            onDisk,
		MaxBatchBytes:     n.cfg.MaxBatchBytes,
		MaxUnappliedBytes: max(n.cfg.MaxPendingBytes/4, n.cfg.MaxBatchBytes),
		CacheBytes:        4 * n.cfg.MaxBatchBytes,
		SnapshotBytes:     cfg.SnapshotBytes,
		SnapshotFactor:    cfg.SnapshotFactor,
		TailBytes:         cfg.TailBytes,
	}
}

// restore finds what the disk holds of a group and brings its state machine as
// far as it can without the log. It gives what the state machine then holds.
func (n *Node) restore(cfg GroupConfig) (replica.Restored, raft.SnapshotMeta, error) {
	log, found := n.log.Group(cfg.ID)
	if !found {
		// A batch of which nothing is known may have been this group's only one:
		// to take the group for new would be to forget what it promised (SF-03).
		for _, f := range n.log.Damages() {
			if f.Verdict == wal.Unknown {
				return replica.Restored{}, raft.SnapshotMeta{}, fmt.Errorf("nothing of the group is in the log, but the log is damaged where it may have been: %v; this replica must join anew under a new node id", f)
			}
		}
		if disk, ok := cfg.StateMachine.(rsm.OnDisk); ok {
			// One that outlived its log must not begin anew.
			if _, _, err := replica.GoOn(&log, disk.DurableIndex()); err != nil {
				return replica.Restored{}, raft.SnapshotMeta{}, err
			}
		}
		return replica.Restored{}, raft.SnapshotMeta{}, nil
	}
	if len(log.Faults) > 0 {
		var err error
		if log, err = n.cutTail(log); err != nil {
			return replica.Restored{}, raft.SnapshotMeta{}, err
		}
	}
	restored := replica.Restored{Log: log}
	if disk, ok := cfg.StateMachine.(rsm.OnDisk); ok {
		durable := disk.DurableIndex()
		at, goesOn, err := replica.GoOn(&log, durable)
		if err != nil || goesOn {
			restored.Applied = durable
			return restored, at, err
		}
	}
	info, ok := replica.NewestUsable(&log, n.store.List(log.Group))
	switch {
	case ok:
	case log.Snapshot.ID.Index == 0:
		return restored, raft.SnapshotMeta{}, nil
	default:
		return restored, raft.SnapshotMeta{}, fmt.Errorf("the log begins after snapshot %v, whose file is missing or damaged; this replica must join anew under a new node id", log.Snapshot.ID)
	}
	r, err := n.store.Open(info)
	if err != nil {
		return restored, raft.SnapshotMeta{}, fmt.Errorf("open snapshot %v: %w", info.Meta.ID, err)
	}
	if err := errors.Join(cfg.StateMachine.Restore(r), r.Close()); err != nil {
		return restored, raft.SnapshotMeta{}, fmt.Errorf("restore snapshot %v: %w", info.Meta.ID, err)
	}
	restored.Snapshot, restored.SnapshotSize, restored.Applied = info.Meta, int64(info.Size), info.Meta.ID.Index
	return restored, info.Meta, nil
}

// cutTail cuts the damaged end of the log of a group that has this node as its
// only voter: nobody else can have the entries, and to refuse for ever is the
// alternative. Any other damage is reported; it is never served around.
func (n *Node) cutTail(log wal.GroupState) (wal.GroupState, error) {
	var errs []error
	tail := true
	for _, f := range log.Faults {
		errs = append(errs, errors.New(f.String()))
		tail = tail && f.Tail
	}
	damage := fmt.Errorf("the log is damaged; this replica is not started, others go on: %w", errors.Join(errs...))
	c := log.Snapshot.Configuration.Configuration
	if k := len(log.Configurations); k > 0 {
		c = log.Configurations[k-1].Configuration
	}
	if voters := c.Voters(); !tail || c.Joint() || len(voters) != 1 || voters[0] != n.cfg.ID {
		return log, damage
	}
	var err error
	if !n.syncer.call(func() { err = n.log.CutTail(log.Group) }) {
		err = ErrClosed
	}
	if err != nil {
		return log, errors.Join(damage, err)
	}
	n.cfg.Logger.Error("the damaged end of the log was cut, for no other node has a copy; the newest commands may be lost", slog.Uint64("group", uint64(log.Group)), slog.Any("damage", damage))
	log, _ = n.log.Group(log.Group)
	return log, nil
}
