package wal

import (
	"fmt"
	"slices"
	"sort"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
)

// extent is where a run of entries stands: what one record of one batch holds of
// a group, less what was truncated, compacted or written again since.
type extent struct {
	first, last raft.Index // live entries
	base        raft.Index // the entry at offset; base <= first
	seg         *segment
	offset      int64 // in the file
	length      int64 // of the entries from base on, as they were written
	runs        []raft.TermRun
}

// term gives the term of an entry of the extent.
func (x *extent) term(i raft.Index) raft.Term {
	n := sort.Search(len(x.runs), func(k int) bool { return x.runs[k].First > i })
	return x.runs[max(n-1, 0)].Term
}

// group is what the log holds of a group. Extents are in order, do not overlap,
// and lie within [head.first, head.last]; they cover it unless entries are lost.
type group struct {
	id       raft.GroupID
	head     head
	snapshot raft.SnapshotMeta
	configs  []raft.ConfigurationEntry
	extents  []extent
	// headSeg and metaSeg have the newest record, and the newest with meta.
	headSeg, metaSeg *segment
	// changes counts what took entries away, for readers.
	changes uint64
	faults  []Fault
	// stuck: Maintain found an entry damaged and leaves the group alone.
	stuck bool

	// staged is the head after the records of the batch that is being made.
	staged     head
	stagedRuns []raft.TermRun
}

func newGroup(id raft.GroupID) *group {
	g := &group{id: id, head: head{first: 1}}
	g.staged = g.head
	return g
}

// find gives the position of the first extent that ends at i or later.
func (g *group) find(i raft.Index) int {
	return sort.Search(len(g.extents), func(k int) bool { return g.extents[k].last >= i })
}

// term gives the term of an entry in the log, or of the one before it.
func (g *group) term(i raft.Index) (raft.Term, bool) {
	if i+1 == g.head.first {
		return g.head.prevTerm, true
	}
	if k := g.find(i); k < len(g.extents) && g.extents[k].first <= i {
		return g.extents[k].term(i), true
	}
	return 0, false
}

// apply makes a record part of the group: its data begins in seg at offset.
func (g *group) apply(r *record, seg *segment, offset int64) error {
	if r.first != 0 {
		x := extent{
			first: r.first, last: r.last, base: r.first, seg: seg,
			offset: offset + int64(r.entriesAt), length: int64(r.entriesLen), runs: r.runs,
		}
		if r.kind == kindUpdate {
			g.keep(g.head.first, r.first-1)
			g.extents = append(g.extents, x)
			for _, c := range r.configs {
				g.configs = append(g.configs, c.decoded)
			}
		} else {
			g.replace(x)
			for _, c := range r.configs {
				at, found := slices.BinarySearchFunc(g.configs, c.decoded.ID.Index,
					func(e raft.ConfigurationEntry, i raft.Index) int { return int(int64(e.ID.Index) - int64(i)) })
				if !found {
					g.configs = slices.Insert(g.configs, at, c.decoded)
				}
			}
		}
		seg.live += x.length
	}
	g.head = r.head
	g.keep(r.head.first, r.head.last)
	g.headSeg = seg
	seg.refer(g)
	if len(r.meta) > 0 {
		m, err := entry.DecodeSnapshotMeta(r.meta)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		g.snapshot, g.metaSeg = m, seg
	}
	if r.flags&flagAccepted != 0 {
		g.faults = nil
	}
	return nil
}

// keep forgets the entries outside [first, last].
func (g *group) keep(first, last raft.Index) {
	if last < first {
		if len(g.extents) > 0 {
			g.changes++
		}
		for k := range g.extents {
			g.extents[k].drop()
		}
		g.extents, g.configs = nil, nil
		return
	}
	lo := g.find(first)
	for k := range g.extents[:lo] {
		g.extents[k].drop()
	}
	// hi is the first extent that lies wholly behind last.
	hi := sort.Search(len(g.extents), func(k int) bool { return g.extents[k].first > last })
	for k := max(lo, hi); k < len(g.extents); k++ {
		g.extents[k].drop()
	}
	if lo > 0 || hi < len(g.extents) {
		g.changes++
	}
	hi = max(lo, hi)
	clear(g.extents[hi:])
	g.extents = slices.Delete(g.extents[:hi], 0, lo)
	if n := len(g.extents); n > 0 {
		if x := &g.extents[n-1]; x.last > last {
			x.last = last
			g.changes++
		}
		if x := &g.extents[0]; x.first < first {
			x.first = first
		}
	}
	g.configs = slices.DeleteFunc(g.configs, func(c raft.ConfigurationEntry) bool {
		return c.ID.Index < first || c.ID.Index > last
	})
}

func (x *extent) drop() { x.seg.live -= x.length }

// replace puts x in the place of whatever is known of its entries.
func (g *group) replace(x extent) {
	lo := g.find(x.first)
	hi := lo
	var around []extent
	for hi < len(g.extents) && g.extents[hi].first <= x.last {
		old := g.extents[hi]
		parts := 0
		if old.first < x.first {
			left := old
			left.last = x.first - 1
			around = append(around, left)
			parts++
		}
		if old.last > x.last {
			right := old
			right.first = x.last + 1
			around = append(around, right)
			parts++
		}
		// The parts share the old bytes: those live until both are gone.
		old.seg.live += old.length * int64(parts-1)
		hi++
	}
	around = append(around, x)
	slices.SortFunc(around, func(a, b extent) int { return int(int64(a.first) - int64(b.first)) })
	g.extents = slices.Replace(g.extents, lo, hi, around...)
}

// hole gives the first index of [head.first, head.last] that no extent has.
func (g *group) hole() (raft.Index, bool) {
	next := g.head.first
	for k := range g.extents {
		if g.extents[k].first != next {
			return next, true
		}
		next = g.extents[k].last + 1
	}
	return next, next <= g.head.last
}

// holds reports whether extents have all of [first, last].
func (g *group) holds(first, last raft.Index) bool {
	if first == 0 {
		return false
	}
	for k := g.find(first); k < len(g.extents) && g.extents[k].first <= first; k++ {
		if g.extents[k].last >= last {
			return true
		}
		first = g.extents[k].last + 1
	}
	return false
}

// runs gives the terms of the log.
func (g *group) runs() []raft.TermRun {
	var runs []raft.TermRun
	for k := range g.extents {
		x := &g.extents[k]
		for i, run := range x.runs {
			if run.First > x.last {
				break
			}
			if i+1 < len(x.runs) && x.runs[i+1].First <= x.first {
				continue
			}
			run.First = max(run.First, x.first)
			if n := len(runs); n == 0 || runs[n-1].Term != run.Term {
				runs = append(runs, run)
			}
		}
	}
	return runs
}

// needs reports whether the group needs the segment: its newest record, its
// newest description of the snapshot, or an entry is there and nowhere else.
func (g *group) needs(seg *segment) bool {
	return g.headSeg == seg || g.metaSeg == seg || slices.ContainsFunc(g.extents, func(x extent) bool { return x.seg == seg })
}

func (g *group) state() GroupState {
	return GroupState{
		Group:          g.id,
		HardState:      g.head.hard,
		Snapshot:       g.snapshot,
		Generation:     g.head.generation,
		First:          g.head.first,
		Last:           g.head.last,
		PrevTerm:       g.head.prevTerm,
		Runs:           g.runs(),
		Configurations: slices.Clone(g.configs),
		LastChecksum:   g.head.lastSum,
		Faults:         slices.Clone(g.faults),
	}
}
