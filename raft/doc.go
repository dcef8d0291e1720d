// Package raft is the Raft protocol as a function: it takes one input at a time
// and answers with the effects that follow. It decides elections, replication,
// commitment, membership in force, snapshots and linearizable reads for one
// replica of one group; each box of the paper's Figure 2 has a file of its name.
// It refuses to do anything else: it writes no disk, sends no message, reads no
// clock, draws no random number, starts no goroutine and never sees a payload.
// The same inputs give the same effects.
//
// # What the runtime does
//
// It calls [Raft.Start] once, then [Raft.Step] for everything that happens, one
// input at a time, and carries out the [Effects] of each step before the next:
//
//   - Persist is queued for the disk; writes become durable in order, and each is
//     reported by [Persisted].
//   - Send may leave at once, AfterSync once the write AfterSyncSeq is durable.
//   - Every AppendEntries with entries in Send is answered exactly once, by [Sent],
//     [Compacted] or [Unreadable], and every [SendSnapshot] by [SnapshotSent].
//   - Timers are armed and stopped in order; one that runs out is reported by
//     [TimerFired] with its generation.
//   - Entries up to Committed may be applied, which [Applied] reports.
//
// A body is immutable from the moment it is in an Effects, and several messages
// may share one.
package raft
