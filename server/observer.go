package server

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/raft/tracelog"
	"github.com/quorate/quorate/server/keyspace"
)

// observer measures what a node does, under etcd's names.
type observer struct {
	keeper        *keyspace.Keeper
	self          raft.NodeID
	fsync, apply  prometheus.Histogram
	commit        prometheus.Histogram
	leaderChanges prometheus.Counter
	walBytes      prometheus.Gauge
	entries       prometheus.Counter
	slowApplies   prometheus.Counter
	// leader is the last that was seen to lead.
	leader atomic.Uint64
	// ring keeps the protocol's events, or is nil; dump writes it down.
	ring *tracelog.Ring
	dump func(cause error)
}

func newObserver(registry prometheus.Registerer, self raft.NodeID, keeper *keyspace.Keeper) *observer {
	// Two to the power of 13 milliseconds at most, as in etcd.
	buckets := prometheus.ExponentialBuckets(0.001, 2, 14)
	o := &observer{
		self: self, keeper: keeper,
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "etcd_disk_wal_fsync_duration_seconds", Help: "How long it took to make a batch of the log durable.", Buckets: buckets,
		}),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "quorate_apply_batch_duration_seconds", Help: "How long it took to apply a batch of committed entries.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 15),
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "etcd_disk_backend_commit_duration_seconds", Help: "How long it took to apply a batch of committed entries, in etcd's buckets.", Buckets: buckets,
		}),
		slowApplies: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcd_server_slow_apply_total", Help: "Batches of committed entries that took more than 100 ms to apply.",
		}),
		leaderChanges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcd_server_leader_changes_seen_total", Help: "How often another member was seen to lead.",
		}),
		// It only grows; etcd has it as a gauge.
		walBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcd_disk_wal_write_bytes_total", Help: "Bytes written to the log.",
		}),
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quorate_applied_entries_total", Help: "Entries applied.",
		}),
	}
	registry.MustRegister(o.fsync, o.apply, o.commit, o.slowApplies, o.leaderChanges, o.walBytes, o.entries)
	return o
}

// LeaderChanged counts leaders.
func (o *observer) LeaderChanged(_ raft.GroupID, leader raft.NodeID, _ raft.Term) {
	o.keeper.LeaderChanged(leader == o.self)
	if leader != raft.None && o.leader.Swap(uint64(leader)) != uint64(leader) {
		o.leaderChanges.Inc()
	}
}

// WALSync measures the log's disk.
func (o *observer) WALSync(_, bytes int, took time.Duration) {
	o.fsync.Observe(took.Seconds())
	o.walBytes.Add(float64(bytes))
}

// slowApply is etcd's bound.
const slowApply = 100 * time.Millisecond

// Applied measures the state machine.
func (o *observer) Applied(_ raft.GroupID, entries int, took time.Duration) {
	o.apply.Observe(took.Seconds())
	o.commit.Observe(took.Seconds())
	if took > slowApply {
		o.slowApplies.Inc()
	}
	o.entries.Add(float64(entries))
}

// Trace keeps an event.
func (o *observer) Trace(group raft.GroupID, node raft.NodeID, event raft.Event) {
	o.ring.Trace(group, node, event)
}

// TraceEnabled reports whether events are kept.
func (o *observer) TraceEnabled() bool { return o.ring != nil }

// Stopped writes down what led to it.
func (o *observer) Stopped(_ raft.GroupID, cause error) {
	if o.dump != nil {
		o.dump(cause)
	}
}
