// Package engine is the seam between the store and what keeps its records: an
// ordered map from byte strings to byte strings that is changed by atomic
// batches and written to disk later, in order.
//
// It decides what a crash may take: always the newest batches, whole, never one
// of the middle (so the record that names the last applied command, written in
// each batch, says exactly what survived), and [Engine.GetDurable] tells what a
// crash can no longer take. It refuses to know what the records mean and keeps no
// log of its own: whoever uses it can repeat what was lost.
//
// [OpenPebble] keeps the records in Pebble, [NewMemory] in memory, for tests and
// the simulator. Package enginetest is the contract that both keep.
package engine

import "errors"

// ErrClosed: the engine was closed.
var ErrClosed = errors.New("engine: closed")

// SplitFunc gives the length of a key's prefix. Keys with the same prefix lie
// together; it must hold that a prefix is never the beginning of another
// prefix's key. A key may be all prefix.
type SplitFunc func(key []byte) int

// Reader reads a state of the records.
type Reader interface {
	// Get appends the value of key to dst. It reports whether there is one.
	Get(dst, key []byte) ([]byte, bool, error)
	// NewIterator gives an iterator over the keys in [lower, upper), as they are
	// now; nil is no bound. The bounds are all prefix and are not kept.
	NewIterator(lower, upper []byte) (Iterator, error)
}

// Iterator walks over the records that were there when it was made. It starts
// nowhere. Not safe for concurrent use; it must be closed, and an engine that is
// to be closed waits for that.
type Iterator interface {
	First() bool
	Last() bool
	// SeekGE moves to the first key that is key or greater, SeekLT to the last
	// that is less.
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	// SeekPrefixGE is SeekGE among the keys that have key's prefix alone: after it
	// only Next may follow, and ends with the prefix. It is quicker than SeekGE,
	// most of all if there are no such keys.
	SeekPrefixGE(key []byte) bool
	Next() bool
	Prev() bool
	// NextPrefix moves to the first key with another prefix. It is quicker than
	// Next if there are many with this one. Not after SeekPrefixGE.
	NextPrefix() bool
	// Valid reports whether the iterator is at a key.
	Valid() bool
	// Key and Value are of the record it is at, until it moves.
	Key() []byte
	Value() []byte
	// Error says why the iterator is not valid, if not for want of keys.
	Error() error
	Close() error
}

// Snapshot is a state of the records that does not change. It must be closed.
type Snapshot interface {
	Reader
	Close() error
}

// Batch collects changes. Later ones win over earlier ones. Not safe for
// concurrent use. What it is given is copied.
type Batch interface {
	Set(key, value []byte)
	Delete(key []byte)
	// DeleteRange deletes the keys of [from, to).
	DeleteRange(from, to []byte)
	// Size is about how many bytes were given to it.
	Size() int
	// Commit makes all the changes at once, without waiting for the disk. The
	// batch is empty afterwards and can be used again.
	Commit() error
	// Close releases the batch.
	Close()
}

// Engine holds the records. Reads may be made from any goroutine, beside one
// that commits.
type Engine interface {
	Reader
	NewBatch() Batch
	NewSnapshot() (Snapshot, error)
	// GetDurable is Get from what a crash can no longer take.
	GetDurable(dst, key []byte) ([]byte, bool, error)
	// NewDurableIterator walks over that. It looks into no memory, which makes it
	// the quicker the more there is.
	NewDurableIterator(lower, upper []byte) (Iterator, error)
	// Flush starts to make durable what was committed, and does not wait.
	Flush() error
	// Sync is Flush and waits.
	Sync() error
	Metrics() Metrics
	// Err is not nil once the engine has failed for good. Commit and reads fail
	// with it as well.
	Err() error
	// Close waits for open iterators and snapshots to be closed. It does not
	// flush: what is not durable is lost, as in a crash.
	Close() error
}

// Checkpointer is an engine that can copy itself cheaply.
type Checkpointer interface {
	// Checkpoint makes dir, which must not exist, an engine that holds all that
	// was committed before the call.
	Checkpoint(dir string) error
}

// Metrics is how an engine fares.
type Metrics struct {
	// DiskBytes is what the files take.
	DiskBytes uint64
	// MemoryBytes is what is committed and not yet in files.
	MemoryBytes uint64
	// Files counts the tables.
	Files int64
	// Flushes and Compactions count those that ended; CompactionDebtBytes is what
	// waits to be compacted.
	Flushes             int64
	Compactions         int64
	CompactionDebtBytes uint64
	// WriteStalls counts how often commits had to wait for the disk.
	WriteStalls int64
	// ReadAmplification is how many tables a read may have to look into.
	ReadAmplification int
	// CacheHits and CacheMisses are of blocks.
	CacheHits   int64
	CacheMisses int64
	// BackgroundErrors counts flushes and compactions that failed and are tried
	// again.
	BackgroundErrors int64
}
