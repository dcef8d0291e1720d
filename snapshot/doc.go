// Package snapshot keeps the files that replace a log's prefix: it writes them,
// verifies them, sends their bytes and takes them in from another node.
//
// It decides what a snapshot file looks like, when one counts (whole, verified by
// reading it back, durable under its name: SN-03, SF-07), and which bytes of a
// broken transfer still serve. It refuses to decide when a snapshot is taken, to
// whom one is sent, which are old, and what a state machine's bytes mean. It
// starts no goroutine and reads no clock.
//
// # Whose identity
//
// A snapshot holds committed state, which is the same truth on every node of the
// cluster, and no promise of the node that took it. So a file is bound to its
// cluster and group, and names the node that made it only for people to read: a
// received file keeps the sender's bytes, one checksum is good on every node that
// holds it, and a copy that has rotted can be fetched again. What is bound to the
// node and its incarnation is the directory, by a file of its own (IDENTITY), so
// that swapped disks are refused (PS-10) although their snapshots are valid.
package snapshot
