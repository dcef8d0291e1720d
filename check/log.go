package check

import (
	"github.com/quorate/quorate/raft"
)

// An Entry is one entry of the history, the same object wherever it is stored:
// two logs that hold the same Entry hold the same entries before it.
type Entry struct {
	ID       raft.EntryID
	Checksum uint32
	// Before is the entry that precedes it; nil for the first.
	Before *Entry
	// Data is the entry as its creator encoded it.
	Data []byte
	// configuration is the newest configuration entry at or before this one.
	configuration *Entry
}

// position is the index of e; zero for none.
func (e *Entry) position() raft.Index {
	if e == nil {
		return 0
	}
	return e.ID.Index
}

func (e *Entry) id() raft.EntryID {
	if e == nil {
		return raft.EntryID{}
	}
	return e.ID
}

// ancestor gives the entry at index in the log that ends with e.
func (e *Entry) ancestor(index raft.Index) *Entry {
	for e != nil && e.ID.Index > index {
		e = e.Before
	}
	return e
}

// record is the persistent state of a replica, as it is in memory or as it is
// durable.
type record struct {
	hard     raft.HardState
	snapshot raft.EntryID
	// before precedes entries; entries[0] has index before+1.
	before  *Entry
	entries []*Entry
}

func (r *record) first() raft.Index { return r.before.position() + 1 }

func (r *record) last() *Entry {
	if n := len(r.entries); n > 0 {
		return r.entries[n-1]
	}
	return r.before
}

// at gives the entry at index, or nil if the record does not hold it. The entry
// before the first is known.
func (r *record) at(index raft.Index) *Entry {
	first := r.first()
	switch {
	case index+1 == first:
		return r.before
	case index < first || index-first >= raft.Index(len(r.entries)):
		return nil
	}
	return r.entries[index-first]
}

// covers reports whether the record holds e, in its log or behind its beginning.
func (r *record) covers(e *Entry) bool {
	if e.ID.Index < r.first() {
		return r.before.ancestor(e.ID.Index) == e
	}
	return r.at(e.ID.Index) == e
}

// change is a durable write, with its entries found.
type change struct {
	hard      raft.HardState
	hardSet   bool
	reset     *Entry // the log is replaced by the snapshot that ends in it
	keep      bool
	snapshot  raft.EntryID // what the log rests on from now on, if its index is not zero
	compact   raft.Index
	first     raft.Index
	entries   []*Entry
	written   bool
	bootstrap bool
}

// apply does what a write-ahead log does with the write.
func (r *record) apply(c *change) {
	if c.hardSet {
		r.hard = c.hard
	}
	if c.reset != nil {
		var kept []*Entry
		if c.keep && r.last().position() > c.reset.ID.Index {
			kept = r.entries[c.reset.ID.Index+1-r.first():]
		}
		r.before, r.entries = c.reset, kept
	}
	if c.compact > r.first() {
		n := c.compact - r.first()
		r.before = r.entries[n-1]
		r.entries = r.entries[n:]
	}
	if c.snapshot.Index != 0 {
		r.snapshot = c.snapshot
	}
	if c.first != 0 {
		r.entries = append(r.entries[:c.first-r.first()], c.entries...)
	}
}

func (r *record) equal(o *record) bool {
	if r.hard != o.hard || r.snapshot != o.snapshot || r.before != o.before || len(r.entries) != len(o.entries) {
		return false
	}
	// Equal ends are equal logs.
	return len(r.entries) == 0 || r.last() == o.last()
}

func (r *record) clone() record {
	c := *r
	c.entries = append([]*Entry(nil), r.entries...)
	return c
}
