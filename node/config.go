package node

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/vfs"
)

// Config is how a node behaves. Zero fields mean the documented default.
type Config struct {
	// ID is this node in its cluster: not zero, never reused. Required.
	ID raft.NodeID
	// Cluster names the cluster. All its nodes are given the same name, of any
	// length; nodes of different clusters refuse each other. Required.
	Cluster string
	// Dir is the node's data directory, made if it does not exist. Required.
	Dir string
	// Transport reaches the other nodes. The node starts and closes it. Required.
	Transport transport.Transport
	// Peers are the other nodes' addresses, before a configuration in a log
	// says better.
	Peers map[raft.NodeID]string

	// ElectionTimeout is the least time without a sign of a leader after which
	// a follower stands for election; each draw is from [ElectionTimeout,
	// 1.5*ElectionTimeout). Default 1s; at least twice HeartbeatInterval, and well
	// above ten times the one-way delay between nodes (EL-12).
	ElectionTimeout time.Duration
	// HeartbeatInterval is how often a leader is heard when there is nothing to
	// send. Default ElectionTimeout/10.
	HeartbeatInterval time.Duration

	// SegmentSizeBytes is the size of a WAL segment. Default 64 MiB.
	SegmentSizeBytes int64
	// MaxBatchBytes bounds what one append to a follower carries. Default 1 MiB
	// (FC-03).
	MaxBatchBytes int
	// MaxEntryBytes bounds one command. Default 8 MiB.
	MaxEntryBytes int
	// MaxPendingBytes bounds, per group, the commands that wait to be applied;
	// a proposal beyond it is refused with ErrOverloaded. Default 64 MiB.
	MaxPendingBytes int
	// MaxBatchDelay bounds how long proposals wait for others to share a batch with.
	// They wait only on a machine whose processors are all busy, and only while fewer
	// wait than usual. Default 5 ms; negative: they never wait. Less than 2 ms is as
	// good as never.
	MaxBatchDelay time.Duration

	// FS is the disk. Default the operating system's.
	FS vfs.FS
	// Logger receives what operators should know. Default slog.Default.
	Logger *slog.Logger
	// Observer, if not nil, receives measurements and events.
	Observer Observer
}

// GroupConfig is how one group behaves on this node.
type GroupConfig struct {
	// ID names the group; not zero. Required.
	ID raft.GroupID
	// Voters are the group's first members, the same on each of them: the group
	// is created when all of them have attested that they hold nothing of it
	// (MB-18). Once the group exists its log says who its members are, and this
	// is not read.
	Voters []raft.NodeID
	// StateMachine is replicated. The group closes it. An rsm.OnDisk keeps its
	// own state; any other lives in memory. Required.
	StateMachine rsm.StateMachine

	// Forward: a replica that does not lead sends proposals on to the one that
	// does, so that Propose works on every node. Otherwise it answers
	// ErrNotLeader, and the caller goes to the leader itself, which is faster.
	Forward bool
	// Answer, if not nil, is shown every command that reaches the replica that
	// leads, forwarded or not, before it is appended. If it gives a function, the
	// command was a question to the leader: it is not appended, and the function
	// is called with reply, which is to be called once, from any goroutine, with
	// what Propose returns; false is ErrNotLeader. Both must not wait; the command
	// is theirs until Answer returns. What the answer is worth when leadership is
	// lost meanwhile is their business.
	Answer func(command []byte) func(reply func(result rsm.Result, ok bool))

	// SnapshotBytes: a snapshot is taken when the log grew by at least so much,
	// and by at least SnapshotFactor times the last snapshot, since then
	// (SN-11). Defaults 64 MiB and 4.
	SnapshotBytes  int64
	SnapshotFactor int
	// TailBytes of log are kept behind a snapshot, so that a follower which is a
	// little late needs no snapshot (SN-12). Default SnapshotBytes/4.
	TailBytes int64
}

// An Observer receives what a node measures. Its methods are called from the
// node's goroutines, must not block, and must not call the node.
type Observer interface {
	// LeaderChanged: the group has another leader, or none (raft.None).
	LeaderChanged(group raft.GroupID, leader raft.NodeID, term raft.Term)
	// WALSync: one batch of so many updates and bytes became durable.
	WALSync(updates int, bytes int, took time.Duration)
	// Applied: a batch of entries was applied.
	Applied(group raft.GroupID, entries int, took time.Duration)
	// Trace: what the protocol did and why. Called only if TraceEnabled was true
	// when the group was started.
	Trace(group raft.GroupID, node raft.NodeID, event raft.Event)
	TraceEnabled() bool
}

// A StopObserver is an Observer that is told, too, when a group stops on this node
// because it cannot go on, after the last of its events. It may take its time: the
// group does not come back.
type StopObserver interface {
	Stopped(group raft.GroupID, cause error)
}

// WithDefaults gives c with every zero field that has a default set to it.
func (c Config) WithDefaults() Config {
	setDefault(&c.ElectionTimeout, time.Second)
	setDefault(&c.HeartbeatInterval, c.ElectionTimeout/10)
	setDefault(&c.SegmentSizeBytes, 64<<20)
	setDefault(&c.MaxBatchBytes, 1<<20)
	setDefault(&c.MaxEntryBytes, 8<<20)
	setDefault(&c.MaxPendingBytes, 64<<20)
	setDefault(&c.MaxBatchDelay, 5*time.Millisecond)
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate reports everything wrong with c, not only the first thing.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("node: "+format, args...))
		}
	}
	bad(c.ID == raft.None, "ID is required and not zero")
	bad(c.Cluster == "", "Cluster is required: any name that all nodes share")
	bad(c.Dir == "", "Dir is required: the node's data directory")
	bad(c.Transport == nil, "Transport is required")
	// EL-12, TM-02.
	bad(c.ElectionTimeout < 2*c.HeartbeatInterval, "ElectionTimeout (%v) must be at least twice HeartbeatInterval (%v)", c.ElectionTimeout, c.HeartbeatInterval)
	bad(c.HeartbeatInterval <= 0, "HeartbeatInterval (%v) must be positive", c.HeartbeatInterval)
	bad(c.SegmentSizeBytes < 0, "SegmentSizeBytes (%d) must be positive", c.SegmentSizeBytes)
	bad(c.MaxBatchBytes < 0, "MaxBatchBytes (%d) must be positive", c.MaxBatchBytes)
	bad(c.MaxEntryBytes < 0 || c.MaxEntryBytes > 12<<20, "MaxEntryBytes (%d) must be positive and at most 12 MiB", c.MaxEntryBytes)
	bad(c.MaxPendingBytes < c.MaxEntryBytes, "MaxPendingBytes (%d) must be at least MaxEntryBytes (%d)", c.MaxPendingBytes, c.MaxEntryBytes)
	return errors.Join(errs...)
}

// WithDefaults gives c with every zero field that has a default set to it.
func (c GroupConfig) WithDefaults() GroupConfig {
	setDefault(&c.SnapshotBytes, 64<<20)
	setDefault(&c.SnapshotFactor, 4)
	setDefault(&c.TailBytes, c.SnapshotBytes/4)
	return c
}

// Validate reports everything wrong with c, not only the first thing.
func (c GroupConfig) Validate() error {
	var errs []error
	if c.ID == 0 {
		errs = append(errs, errors.New("node: GroupConfig.ID is required and not zero"))
	}
	if c.StateMachine == nil {
		errs = append(errs, errors.New("node: GroupConfig.StateMachine is required"))
	}
	if slices.Contains(c.Voters, raft.None) {
		errs = append(errs, errors.New("node: GroupConfig.Voters holds node id 0, which is nobody"))
	}
	if c.SnapshotBytes < 0 || c.SnapshotFactor < 0 || c.TailBytes < 0 {
		errs = append(errs, errors.New("node: SnapshotBytes, SnapshotFactor and TailBytes must not be negative"))
	}
	return errors.Join(errs...)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
