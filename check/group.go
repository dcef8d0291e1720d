package check

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
)

// A Hasher is a state machine that can tell a hash of its whole state cheaply.
type Hasher interface {
	rsm.StateMachine
	Hash() uint64
}

// Group judges one group. The zero value is not ready: see NewGroup. Not safe for
// concurrent use. After the first violation it looks at nothing any more.
type Group struct {
	id  raft.GroupID
	err *Violation

	nodes     []*replicaHistory // ordered by id
	created   map[raft.EntryID]*Entry
	leaders   map[raft.Term]*leadership
	committed []commitment // of index i at i-1
	configs   []raft.ConfigurationEntry

	reference Hasher
	onCommit  func(e *entry.Entry)
	bounds    Bounds
}

// commitment is that an entry was committed.
type commitment struct {
	entry *Entry
	by    raft.Term // the term of the leader that committed it
	hash  uint64    // of the state up to it
}

type leadership struct {
	node raft.NodeID
	boot int
	last *Entry // of the leader's log, while it leads and when it ended
}

// replicaHistory is what is known of one replica, over all its restarts.
type replicaHistory struct {
	id   raft.NodeID
	boot int
	up   bool

	// live is the record as the replica has it, durable as its disk has it;
	// pending lies between them.
	live, durable record
	pending       []change

	// Of the step before.
	status  raft.Status
	applied raft.Index
	matches map[raft.NodeID]raft.Index // of the leadership of term matchTerm
	ofTerm  raft.Term

	grants map[raft.Term]raft.NodeID

	// snapshots are those that are stored durably, oldest first.
	snapshots []raft.EntryID
	// excused: its disk was damaged. wiped: all on it is gone.
	excused, wiped bool
}

// NewGroup begins to judge a group of these nodes. The reference, which may be
// nil, is a state machine of its own, to which every entry is applied when it is
// committed first; replicas must agree with it.
func NewGroup(id raft.GroupID, nodes []raft.NodeID, reference Hasher) *Group {
	g := &Group{
		id: id, created: map[raft.EntryID]*Entry{}, leaders: map[raft.Term]*leadership{}, reference: reference,
	}
	for _, n := range nodes {
		g.nodes = append(g.nodes, &replicaHistory{id: n, grants: map[raft.Term]raft.NodeID{}, matches: map[raft.NodeID]raft.Index{}})
	}
	slices.SortFunc(g.nodes, func(a, b *replicaHistory) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return g
}

// OnCommit has f called for every entry that is committed, in order, once. The
// entry's payload must not be changed.
func (g *Group) OnCommit(f func(e *entry.Entry)) { g.onCommit = f }

// Err is the first violation, or nil.
func (g *Group) Err() *Violation { return g.err }

// Fail reports a violation that somebody else found.
func (g *Group) Fail(node raft.NodeID, property, format string, args ...any) {
	if g.err == nil {
		g.err = &Violation{Property: property, Group: g.id, Node: node, Message: fmt.Sprintf(format, args...)}
	}
}

func (g *Group) node(id raft.NodeID) *replicaHistory {
	for _, r := range g.nodes {
		if r.id == id {
			return r
		}
	}
	return nil
}

// Update is a durable write that a replica asks for: the parts of a wal.Update
// that matter here.
type Update struct {
	HardState        raft.HardState
	HardStateChanged bool
	ResetLog         bool
	KeepSuffix       bool
	Reset            raft.SnapshotMeta
	Compact          raft.Index
	First, Last      raft.Index
	Entries          [][]byte
	// Bootstrap: this is entry 1, which no leader creates.
	Bootstrap bool
}

// Updated observes that a replica asks for a write, in order. The state is that
// of the replica after the step.
func (g *Group) Updated(id raft.NodeID, u *Update, state raft.State, term raft.Term) {
	if g.err != nil {
		return
	}
	r := g.node(id)
	c := change{
		hard: u.HardState, hardSet: u.HardStateChanged, keep: u.KeepSuffix, compact: u.Compact,
		first: u.First, bootstrap: u.Bootstrap,
	}
	if u.HardStateChanged && u.HardState.CurrentTerm < r.live.hard.CurrentTerm {
		g.Fail(id, Monotonic, "currentTerm falls from %d to %d", r.live.hard.CurrentTerm, u.HardState.CurrentTerm)
		return
	}
	leads := state == raft.Leader && r.status.State == raft.Leader && r.status.HardState.CurrentTerm == term
	if leads && (u.ResetLog || u.First != 0 && u.First <= r.live.last().position()) {
		g.Fail(id, LeaderAppendOnly, "leader of term %d replaces its log from %d on (it ends at %v), snapshot: %v",
			term, u.First, r.live.last().id(), u.ResetLog)
		return
	}
	if (u.ResetLog || u.Compact != 0) && u.Reset.ID.Index != 0 {
		e := g.commitment(u.Reset.ID.Index)
		if e == nil || e.ID != u.Reset.ID {
			g.Fail(id, SnapshotConsistency, "log rests on snapshot %v, committed is %v", u.Reset.ID, e.id())
			return
		}
		c.snapshot = u.Reset.ID
		if u.ResetLog {
			c.reset = e
			if !u.KeepSuffix && r.live.at(e.ID.Index) == e && r.live.last() != e {
				g.Fail(id, SnapshotConsistency, "installing %v removes the entries after it, up to %v, though it matched", e.ID, r.live.last().id())
				return
			}
		}
		g.checkMeta(id, &u.Reset)
		if u.Reset.ID.Index < r.live.snapshot.Index {
			g.Fail(id, Monotonic, "snapshot falls from %v to %v", r.live.snapshot, u.Reset.ID)
		}
	}
	if u.First != 0 && g.err == nil {
		g.append(r, u, &c)
	}
	if g.err != nil {
		return
	}
	r.live.apply(&c)
	r.pending = append(r.pending, c)
	if l := g.leaders[term]; l != nil && l.node == id && l.boot == r.boot && state == raft.Leader {
		l.last = r.live.last()
	}
}

// append finds the entries of an update among those that exist, or lets their
// leader create them.
func (g *Group) append(r *replicaHistory, u *Update, c *change) {
	// What the write itself leaves of the log before First.
	base := r.live
	if c.reset != nil || c.compact != 0 {
		base = r.live.clone()
		without := *c
		without.first = 0
		base.apply(&without)
	}
	if u.First < base.first() || u.First > base.last().position()+1 {
		g.Fail(r.id, LogMatching, "entries [%d, %d] for a log [%d, %d]", u.First, u.Last, base.first(), base.last().position())
		return
	}
	before := base.at(u.First - 1)
	next := u.First
	for _, data := range u.Entries {
		for len(data) > 0 {
			h, err := entry.Peek(data)
			if err != nil || h.Size > len(data) || h.ID.Index != next {
				g.Fail(r.id, LogMatching, "write of entry %d: found %v, %v", next, h.ID, err)
				return
			}
			e := g.find(r, h, data[:h.Size:h.Size], before, u.Bootstrap)
			if e == nil {
				return
			}
			c.entries = append(c.entries, e)
			data = data[h.Size:]
			before = e
			next++
		}
	}
	if next != u.Last+1 {
		g.Fail(r.id, LogMatching, "write of entries [%d, %d] has them up to %d", u.First, u.Last, next-1)
		return
	}
	if committed := g.commitment(u.First); committed != nil && r.live.at(u.First) == committed && u.First <= r.status.CommitIndex && c.entries[0] != committed {
		g.Fail(r.id, CommittedAppendOnly, "committed entry %v is replaced by %v", committed.ID, c.entries[0].ID)
	}
}

func (g *Group) find(r *replicaHistory, h entry.Header, data []byte, before *Entry, bootstrap bool) *Entry {
	e := g.created[h.ID]
	if e != nil {
		if e.Checksum != h.Checksum || len(e.Data) != len(data) {
			g.Fail(r.id, UniqueCreation, "entry %v has checksum %08x here and %08x elsewhere", h.ID, h.Checksum, e.Checksum)
			return nil
		}
		if e.Before != before {
			g.Fail(r.id, LogMatching, "entry %v follows %v here and %v elsewhere", h.ID, before.id(), e.Before.id())
			return nil
		}
		return e
	}
	if h.ID.Term < before.id().Term {
		g.Fail(r.id, Monotonic, "entry %v follows %v", h.ID, before.id())
		return nil
	}
	if !bootstrap {
		l := g.leaders[h.ID.Term]
		if l == nil || l.node != r.id || l.boot != r.boot {
			g.Fail(r.id, UniqueCreation, "entry %v is created by a node that does not lead term %d", h.ID, h.ID.Term)
			return nil
		}
	}
	e = &Entry{ID: h.ID, Checksum: h.Checksum, Before: before, Data: data}
	if before != nil {
		e.configuration = before.configuration
	}
	if h.Kind == entry.Configuration {
		e.configuration = e
	}
	g.created[h.ID] = e
	return e
}

// Written observes that the next count writes of a replica were handed to the
// disk: they are durable after Synced, and after a crash all of them or none.
func (g *Group) Written(id raft.NodeID, count int) {
	r := g.node(id)
	for i := range r.pending {
		if count == 0 {
			return
		}
		if !r.pending[i].written {
			r.pending[i].written = true
			count--
		}
	}
}

// Synced observes that what was handed to the disk is durable.
func (g *Group) Synced(id raft.NodeID) {
	if g.err != nil {
		return
	}
	r := g.node(id)
	n := 0
	for n < len(r.pending) && r.pending[n].written {
		r.durable.apply(&r.pending[n])
		n++
	}
	r.pending = r.pending[:copy(r.pending, r.pending[n:])]
}

// Restart is what a replica finds on its disk.
type Restart struct {
	HardState raft.HardState
	Snapshot  raft.EntryID
	// PrevTerm is that of the entry before First. Entries are encoded, back to
	// back, from First on.
	First    raft.Index
	PrevTerm raft.Term
	Entries  [][]byte
	// Killed: only the process ended, so that nothing may be lost that was
	// handed to the disk. After a loss of power the last write may be, whole.
	Killed bool
	// Whole and None, if not nil, are set to whether what was found agrees with
	// the last write being there, or not being there: all groups of a node must
	// agree on one of them.
	Whole, None *bool
}

// Stopped observes that a replica's process or machine has ended.
func (g *Group) Stopped(id raft.NodeID) { g.node(id).up = false }

// Started observes a replica that begins with what it found.
func (g *Group) Started(id raft.NodeID, found *Restart) {
	if g.err != nil {
		return
	}
	r := g.node(id)
	r.boot++
	r.up = true
	is := record{hard: found.HardState, snapshot: found.Snapshot}
	if found.First > 1 {
		is.before = g.created[raft.EntryID{Term: found.PrevTerm, Index: found.First - 1}]
		if is.before == nil {
			g.Fail(id, Recovery, "the log begins after entry %d.%d, which never was", found.PrevTerm, found.First-1)
			return
		}
	}
	for _, data := range found.Entries {
		for len(data) > 0 {
			h, err := entry.Peek(data)
			if err != nil || h.Size > len(data) {
				g.Fail(id, Recovery, "after %v: %v", is.last().id(), err)
				return
			}
			e := g.created[h.ID]
			if e == nil || e.Checksum != h.Checksum || e.Before != is.last() {
				g.Fail(id, Recovery, "entry %v after %v is not what was written", h.ID, is.last().id())
				return
			}
			is.entries = append(is.entries, e)
			data = data[h.Size:]
		}
	}
	none := r.durable
	whole := r.durable.clone()
	for i := range r.pending {
		if r.pending[i].written {
			whole.apply(&r.pending[i])
		}
	}
	wholeFits, noneFits := is.equal(&whole), is.equal(&none)
	if found.Whole != nil {
		*found.Whole, *found.None = wholeFits, noneFits
	}
	if !wholeFits && (found.Killed || !noneFits) {
		g.Fail(id, Recovery, "restart (process killed: %v) finds %s; durable was %s, with the last write %s", found.Killed, &is, &none, &whole)
		return
	}
	r.live, r.durable = is.clone(), is
	r.pending = r.pending[:0]
	r.status = raft.Status{}
	r.applied = 0
	r.ofTerm = 0
}

// String describes a record in a line.
func (r *record) String() string {
	return fmt.Sprintf("term %d, vote %d, snapshot %v, log (%v, %v]", r.hard.CurrentTerm, r.hard.VotedFor, r.snapshot, r.before.id(), r.last().id())
}

// commitment gives the committed entry at index, or nil.
func (g *Group) commitment(index raft.Index) *Entry {
	if index == 0 || index > raft.Index(len(g.committed)) {
		return nil
	}
	return g.committed[index-1].entry
}

// Committed is the greatest index that any replica ever knew to be committed.
func (g *Group) Committed() raft.Index { return raft.Index(len(g.committed)) }

// LastTerm is the greatest term that had a leader.
func (g *Group) LastTerm() raft.Term {
	var last raft.Term
	for t := range g.leaders {
		last = max(last, t)
	}
	return last
}
