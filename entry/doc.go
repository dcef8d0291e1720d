// Package entry is a log entry as bytes. The leader encodes an entry once; the
// same bytes go into every log, over the wire, and back out to a follower that
// catches up, and the checksum made at the leader is verified at each of these
// places. Each entry carries the checksum of the one before it, so that bytes
// which are intact but stand in the wrong place are found as well (SF-01).
//
// It decides what an entry and a configuration look like as bytes. It refuses to
// decide what to do with bytes that are wrong: it says how they are wrong. It
// does no I/O and keeps no state.
package entry
