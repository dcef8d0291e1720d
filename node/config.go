package node

import (
	"log/slog"
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
	// 2*ElectionTimeout). Default 1s; at least twice HeartbeatInterval, and well
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
