// Package storesim runs the server's state machine and its request logic in the
// simulator: nodes that each hold a store on an engine which forgets what was not
// flushed, the watchers' hub, the keeper of leases and the keyspace behind the
// gRPC surface, with clients that put, read, delete, compare, compact, hold leases
// and watch while nodes are killed, cut off and starved.
//
// It decides whether what happened was right. Every committed command is applied
// to a twin (store/twin) first; every replica's answers, hash and records are
// compared with it after every batch, every restart and every restore. A value is
// written at most once, and never if its client was told so; a read sees all that
// was committed before it and nothing that never was; a watcher is told of every
// revision once, in order, all its events together, across restarts and leaders;
// no lease ends before the time that its holder was promised.
//
// Requests are the server's own code, which blocks. Each runs as a coroutine that
// is resumed by events, so that no two ever run at once and a seed decides all.
package storesim
