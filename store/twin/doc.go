// Package twin is what a store has to be equal to: etcd's meaning, written down a
// second time with maps and slices and no engine, no cache and no encoding.
//
// It decides nothing that package store does not decide as well, and shares no
// code with it but the types of requests and answers. Tests and the simulator feed
// both the same commands and compare every answer, every event, and the hash over
// all changes, which is written down here a second time too: its values are kept
// in states and snapshots, so neither of the two may ever change alone.
//
// A twin forgets nothing: it also tells what was, at any revision that ever was,
// for who compares it with a replica that is behind.
package twin
