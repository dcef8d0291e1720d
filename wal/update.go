package wal

import (
	"fmt"

	"github.com/quorate/quorate/raft"
)

// Update is what one group wants made durable: the runtime's form of a
// raft.Persist. Its parts take effect in the order of the fields.
type Update struct {
	Group raft.GroupID
	// HardState, if HardStateChanged.
	HardState        raft.HardState
	HardStateChanged bool
	// ResetLog replaces the log by the snapshot Reset; with KeepSuffix entries
	// after Reset.ID.Index stay, else none (SN-07). Generation is the state
	// machine's store generation that this install created (zero if none).
	ResetLog   bool
	KeepSuffix bool
	Reset      raft.SnapshotMeta
	Generation uint64
	// Compact, if not zero: entries before this index are forgotten, and Reset
	// names the snapshot that replaces them (SN-03: it is durable already).
	Compact raft.Index
	// Entries are encoded entries (package entry), back to back, for the
	// indexes [First, Last]; empty if First is zero. What the log held from
	// First on is truncated by the same write (PS-06). The slices are only read,
	// and are free again when Sync has returned.
	First, Last raft.Index
	Runs        []raft.TermRun
	Entries     [][]byte
}

// GroupState is what the log holds of one group after Open.
type GroupState struct {
	Group     raft.GroupID
	HardState raft.HardState
	// Snapshot is what the log rests on (from the last Reset or Compact).
	Snapshot   raft.SnapshotMeta
	Generation uint64
	// First and Last bound the log; Last is First-1 if it is empty. PrevTerm is
	// the term of the entry before First.
	First, Last raft.Index
	PrevTerm    raft.Term
	Runs        []raft.TermRun
	// Configurations are the configuration entries in [First, Last].
	Configurations []raft.ConfigurationEntry
	// LastChecksum is the checksum of entry Last, with which the next entry is
	// chained; of the entry before First if the log is empty (zero at index 0).
	LastChecksum uint32
	// Faults are damages found that are not a torn tail. A group with faults
	// must not be started; it is never served around them.
	Faults []Fault
}

// Fault is one damaged place.
type Fault struct {
	// File is a name in the log's directory; Offset is in bytes, -1 if nothing
	// tells it.
	File   string
	Offset int64
	Group  raft.GroupID
	// Index is the damaged entry; zero if the damage is not in an entry.
	Index   raft.Index
	Verdict Verdict
	// Tail: behind it nothing of the group's log is intact, or only what the
	// last batches brought, of which nothing proves that they were acknowledged.
	// Only such damage may be cut, by CutTail, and only in a group with one voter.
	Tail   bool
	Detail string
}

// String tells where the damage is and what it is.
func (f Fault) String() string {
	return fmt.Sprintf("%s offset %d, group %d, index %d: %v: %s", f.File, f.Offset, f.Group, f.Index, f.Verdict, f.Detail)
}

// Verdict is a row of PROTOCOL.md G.2.
type Verdict uint8

// The verdicts. Those up to Unknown are faults of a group; a fault is never
// taken for an absence (SF-03).
const (
	// FaultyEntry: the entry is bad and its identity is known (row "bad, ok").
	FaultyEntry Verdict = 1 + iota
	// Misdirected: entry and identity are each intact and contradict each other.
	Misdirected
	// Missing: the log says that the entry is there, and no place has it.
	Missing
	// Unknown: data and identity of a batch are bad, so that what it held of the
	// group is unknown (rows "bad, bad" and "bad, absent" with something after).
	Unknown
	// Mended: one of two copies is bad and the other has all: no group suffers.
	Mended
)

// String gives the verdict's name.
func (v Verdict) String() string {
	switch v {
	case FaultyEntry:
		return "faulty entry"
	case Misdirected:
		return "misdirected"
	case Missing:
		return "missing"
	case Unknown:
		return "unknown content"
	case Mended:
		return "second copy used"
	}
	return "unknown verdict"
}
