// Package wal is the log that all groups of a node share: one sequence of
// batches in preallocated segment files, each batch durable by one fdatasync
// (PS-11, MG-01).
//
// It decides where a group's hard state, log bounds and entries stand on disk,
// what of them a crash left, what is damaged, and which files are still needed.
// It refuses to decide what a group should do: it neither votes nor truncates by
// itself, starts no goroutine, reads no clock and draws nothing, so that the same
// calls on the same disk give the same files.
//
// # Writing
//
// [WAL.Write] puts a batch of [Update]s down in two places, the data at the front
// of the segment's free space and its identity at the back, and [WAL.Sync] makes
// all that was written durable. Every batch begins in a sector of its own, so that
// no sector that was acknowledged is ever written again (PS-03). A failed write or
// sync is final: every later call gives the same error (PS-07).
//
// # Recovery
//
// [Open] reads everything. A batch that was torn by a crash before its sync
// returned is cut; any other damage is kept and reported as a [Fault] of the
// groups that it concerns, never cut and never taken for an absence (PS-05,
// SF-02, SF-03). The rules stand above the code in recover.go, with what each
// crash leaves in docs/disk-format.md.
//
// # Space
//
// Segments are freed oldest first. [WAL.Maintain] copies what lags in the oldest
// segment to the end, so that groups that rarely write do not hold back the disk
// space of one that writes much. [WAL.Prepare] makes the next segment ready ahead
// of time.
package wal
