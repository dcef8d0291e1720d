// Package store is the server's state machine: a keyspace with revisions, its
// history, leases, alarms and the members' published attributes, kept in an
// ordered key-value engine (store/engine) and changed by commands alone.
//
// It decides what etcd's v3 API means: which revision a change gets, what a
// transaction compares and does, what is found at an old revision, what a
// compaction forgets, which keys go with a lease. A refusal is a typed code in
// the command's result ([Code]) and never an error of Apply: an error of Apply
// says that this replica cannot go on.
//
// It refuses to know Raft: [rsm] hands it committed commands, and the index of
// the last one lies in the same engine batch as its effects. It reads no clock:
// time is the timestamp of an entry. It starts no goroutine. It checks what
// etcd's applier checks; what etcd's gRPC layer checks before (an empty key, too
// many operations, [CheckTxn]'s duplicate keys) is the server's to refuse, and a
// command that was not checked still gives the same state on every replica.
//
// # Concurrency
//
// Apply, Snapshot, Restore and Close are called by one goroutine at a time. All
// reads may be called by any number of goroutines beside them: a read takes the
// revision that was published last and never sees a part of a commit.
//
// # Neighbours
//
// store/watch delivers events to watchers, store/lease keeps a leader's
// deadlines; both own what this package must not have: goroutines, and a clock.
package store
