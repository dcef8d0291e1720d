package wal

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// Recovery reads every segment and judges every batch (SF-02, PROTOCOL.md G.2).
// A batch has two copies of what matters: its data, and its identity, which lacks
// only the payloads.
//
//	data | identity       | verdict
//	-----+----------------+------------------------------------------------------
//	ok   | ok, equal      | kept
//	ok   | bad or absent  | kept, the identity is written again
//	bad  | any, torn      | cut, with all that follows, if nothing proves that it
//	     |                | had been durable (below)
//	bad  | ok             | kept. State comes from the identity; each entry whose
//	     |                | bytes are bad is a FaultyEntry, unless it is a copy and
//	     |                | what it was copied from is still there
//	bad  | bad or absent  | Unknown: a fault of each group whose state a later
//	     |                | batch does not tell
//	ok   | ok, different  | Misdirected: a fault of the groups in it
//
// A bad batch is torn if a sector of it is as it was before the batch was
// written: its pre-image, which the segment keeps. Then the write never arrived
// whole, so the sync that would have covered it never returned, and neither it
// nor anything after it was acknowledged. Rot does not bring the old content of a
// sector back, so a batch without such a sector arrived whole and was damaged
// later: it may have been acknowledged and stays, as a fault.
//
// Proof that a batch had been durable, against which no pre-image counts (a disk
// that lost a write it had confirmed): the batch number is at most what a later
// intact batch says was durable when it was written, or the batch lies before a
// seal. Batches that were written together before one sync say nothing of each
// other. So any subset of the sectors of several unsynced batches may survive;
// the first that is torn is cut with those after it.
//
// What is cut stays on disk. The log goes on in a new segment whose header seals
// it: batches from the seal's number on, in older segments, do not exist. That
// header's becoming durable is the one step by which recovery takes effect; a
// crash before it leaves all as it was. Only if the free space of the last
// segment is wholly untouched, so that nothing is there to be mistaken later, the
// log goes on in place.
//
// The unit that a disk writes is taken to be a sector of 512 bytes. A sector that
// is torn within is recognised by its first or last four bytes being the old ones,
// unless these are nearly equal in old and new content; then it is a fault, which
// costs a repair and loses nothing.

// recovered is what the files of a directory say. Nothing was written.
type recovered struct {
	files           []*segment // all that were read, in order
	groups          map[raft.GroupID]*group
	batches         []*found
	number, durable uint64 // last batch kept; newest known to have been synced
	claimed         uint64 // newest that a batch says was synced: one that a recovery made durable may never have been
	prev            uint32
	oldest          uint64
	identity        Identity
	cut             uint64 // first batch cut, or zero
	inPlace         *segment
	spare           []*segment // behind inPlace, empty and untouched
	sequence        uint64     // largest in any name
	free, temporary []string
	damages         []Fault
	lastOf          map[raft.GroupID]uint64
	unproven        map[raft.GroupID]raft.Index // first entry of a batch that nothing proves durable
	clean           map[*segment]bool
	dir             string
}

func errWrongSequence(n uint64) error {
	return fmt.Errorf("%w: segment header of sequence %d", ErrCorrupt, n)
}

func (r *recovered) close() error {
	var errs []error
	for _, seg := range r.files {
		errs = append(errs, seg.file.Close())
	}
	return errors.Join(errs...)
}

// analyze reads a directory. It refuses one that belongs to another identity, if
// one is given; if not, it opens the files for reading only.
func analyze(fsys vfs.FS, dir string, identity *Identity) (*recovered, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	r := &recovered{
		groups: map[raft.GroupID]*group{}, lastOf: map[raft.GroupID]uint64{},
		unproven: map[raft.GroupID]raft.Index{}, clean: map[*segment]bool{},
		dir: dir, oldest: 1,
	}
	var segments []string
	for _, name := range names {
		for _, suffix := range []string{suffixSegment, suffixFree, suffixTemporary} {
			n, ok := parseName(name, suffix)
			if !ok {
				continue
			}
			r.sequence = max(r.sequence, n)
			switch suffix {
			case suffixSegment:
				segments = append(segments, name)
			case suffixFree:
				r.free = append(r.free, name)
			default:
				r.temporary = append(r.temporary, name)
			}
		}
	}
	slices.Sort(segments)
	a := &assembly{recovered: r, fsys: fsys, identity: identity}
	for _, name := range segments {
		if err := a.add(name); err != nil {
			return nil, errors.Join(fmt.Errorf("wal: %s: %w", path.Join(dir, name), err), r.close())
		}
	}
	a.finish()
	if err := r.replay(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// assembly puts the batches of the segments in order.
type assembly struct {
	*recovered
	fsys     vfs.FS
	identity *Identity
	buf      []byte
	known    bool   // a batch or seal was seen, so that next means something
	next     uint64 // number expected
	sealed   uint64 // batches up to this number are kept
	tails    []*found
}

func (a *assembly) add(name string) error {
	sequence, _ := parseName(name, suffixSegment)
	open := a.fsys.OpenRead
	if a.identity != nil {
		open = a.fsys.Open
	}
	s, buf, err := openScanner(open, a.dir, name, sequence, a.buf)
	a.buf = buf
	if s != nil {
		a.files = append(a.files, s.seg)
	}
	switch {
	case s == nil:
		return err
	case err != nil:
		// Neither copy of the header can be read. What was in the segment shows
		// by what is missing between its neighbours.
		s.seg.damaged = true
		a.damages = append(a.damages, Fault{File: name, Verdict: Unknown, Detail: err.Error()})
		a.tails = append(a.tails, &found{first: a.next, last: a.next, seg: s.seg})
		return nil
	}
	h := s.seg.header
	if a.identity != nil && h.Identity != *a.identity {
		return fmt.Errorf("%w: it belongs to %v, this is %v", ErrIdentity, h.Identity, *a.identity)
	}
	a.recovered.identity = h.Identity
	a.oldest = max(a.oldest, h.Oldest)
	if h.FirstBatch != 0 {
		a.seal(h.FirstBatch)
	}
	batches, tail, err := s.scan(a.next)
	if err != nil {
		return err
	}
	for _, f := range batches {
		if a.known && f.first > a.next {
			a.gap(f.first)
		}
		a.known, a.next, a.tails = true, f.last+1, nil
		a.batches = append(a.batches, f)
	}
	if tail == nil {
		tail = &found{seg: s.seg, blank: true, torn: true}
	}
	tail.first, tail.last = a.next, a.next
	a.tails = append(a.tails, tail)
	a.clean[s.seg] = s.clean()
	return nil
}

// seal drops the batches that an earlier recovery cut.
func (a *assembly) seal(first uint64) {
	for n := len(a.batches); n > 0 && a.batches[n-1].last >= first; n-- {
		f := a.batches[n-1]
		if f.first < first {
			f.last = first - 1
			break
		}
		a.batches = a.batches[:n-1]
	}
	if a.known && a.next < first {
		a.gap(first)
	}
	a.known, a.next, a.tails = true, first, nil
	a.sealed = max(a.sealed, first-1)
}

// gap notes that batches up to the given number are nowhere: they were behind
// the last batch of the segment before.
func (a *assembly) gap(number uint64) {
	f := &found{first: a.next, last: number - 1}
	if n := len(a.tails); n > 0 {
		f.seg, f.dataAt, f.torn = a.tails[0].seg, a.tails[0].dataAt, a.tails[0].torn
		for _, t := range a.tails {
			f.torn = f.torn && t.torn
		}
	} else {
		f.seg = a.files[len(a.files)-1]
	}
	a.batches = append(a.batches, f)
}

// finish decides what is cut and what is kept.
func (a *assembly) finish() {
	r := a.recovered
	for _, t := range a.tails {
		if t.blank {
			continue
		}
		if !t.torn {
			t.first, t.last = a.next, a.next
			a.batches = append(a.batches, t)
		}
		break
	}
	for _, f := range a.batches {
		r.claimed = max(r.claimed, f.durable)
	}
	r.durable = max(a.sealed, r.claimed)
	for k, f := range a.batches {
		if !f.dataOK && f.torn && f.first > r.durable {
			r.cut = f.first
			a.batches = a.batches[:k]
			break
		}
	}
	for _, f := range a.batches {
		r.oldest = max(r.oldest, f.oldest)
	}
	a.batches = slices.DeleteFunc(a.batches, func(f *found) bool { return f.seg.header.Sequence < r.oldest })
	if len(r.files) > 0 && (len(a.batches) > 0 || r.sequence > 0) {
		first := slices.IndexFunc(r.files, func(s *segment) bool { return s.header.Sequence >= r.oldest })
		if first < 0 || r.files[first].header.Sequence != r.oldest {
			f := &found{first: 1, last: 1, seg: &segment{name: segmentName(r.oldest, suffixSegment), header: segmentHeader{Sequence: r.oldest}}}
			if len(a.batches) > 0 {
				f.last = max(1, a.batches[0].first-1)
				f.first = f.last
			}
			a.batches = slices.Insert(a.batches, 0, f)
		}
	}
	r.batches = a.batches
	r.number = a.sealed
	healthy := true
	for _, f := range r.batches {
		f.seg.held = true
		r.number = max(r.number, f.last)
		healthy = healthy && (f.dataOK || f.idOK) && !f.contradict
	}
	if n := len(r.batches); n > 0 {
		r.prev = r.batches[n-1].body
	}
	if healthy && r.cut == 0 && len(r.damages) == 0 {
		a.chooseInPlace()
	}
}

// chooseInPlace finds the segment in which the log can go on.
func (a *assembly) chooseInPlace() {
	r := a.recovered
	at := len(r.files) - 1
	for at >= 0 && !r.files[at].held && r.files[at].header.FirstBatch == 0 {
		at--
	}
	if at < 0 {
		return
	}
	for _, seg := range r.files[at:] {
		if !r.clean[seg] {
			return
		}
	}
	r.inPlace, r.spare = r.files[at], r.files[at+1:]
}

// replay builds the groups from the batches.
func (r *recovered) replay() error {
	var unknown []*found
	var bad []badEntry
	chained := false // the batch before is known
	var prev uint32
	for _, f := range r.batches {
		if f.unknown() {
			f.seg.damaged = true
			unknown = append(unknown, f)
			chained = false
			r.damages = append(r.damages, Fault{
				File: f.seg.name, Offset: int64(f.dataAt) * sectorSize, Verdict: Unknown,
				Detail: fmt.Sprintf("batches %d to %d", f.first, f.last),
			})
			continue
		}
		contradict := f.contradict || chained && f.prev != prev
		chained, prev = true, f.body
		if !f.dataOK || len(f.patches) > 0 || contradict {
			r.damage(f, contradict)
		}
		for i := range f.records {
			rec := &f.records[i]
			g := r.groups[rec.group]
			if g == nil {
				g = newGroup(rec.group)
				r.groups[rec.group] = g
			}
			r.lastOf[rec.group] = f.last
			if rec.kind == kindCopy && f.damages(rec) && g.holds(rec.first, rec.last) {
				continue // what was copied is still there
			}
			if err := g.apply(rec, f.seg, int64(f.dataAt)*sectorSize); err != nil {
				return fmt.Errorf("wal: %s: group %d: %w", f.seg.name, rec.group, err)
			}
			if u, ok := r.unproven[rec.group]; rec.first != 0 && rec.kind == kindUpdate && f.first > r.claimed && (!ok || rec.first < u) {
				r.unproven[rec.group] = rec.first
			}
			if contradict {
				g.faults = append(g.faults, Fault{
					File: f.seg.name, Offset: int64(f.dataAt) * sectorSize, Group: g.id, Index: rec.first,
					Verdict: Misdirected, Detail: fmt.Sprintf("batch %d", f.first), Tail: f.last == r.number,
				})
			}
		}
		bad = append(bad, f.bad...)
	}
	for _, g := range r.groups {
		g.staged = g.head
		r.judge(g, bad, unknown)
	}
	return nil
}

// damages reports whether entries of a record are damaged.
func (f *found) damages(r *record) bool {
	return slices.ContainsFunc(f.bad, func(b badEntry) bool {
		return b.group == r.group && b.index >= r.first && b.index <= r.last
	})
}

// damage notes a batch with one bad copy.
func (r *recovered) damage(f *found, contradict bool) {
	d := Fault{File: f.seg.name, Offset: int64(f.dataAt) * sectorSize, Verdict: Mended}
	switch {
	case contradict:
		d.Verdict, d.Detail = Misdirected, fmt.Sprintf("batch %d: data and identity, or it and the batch before, contradict each other", f.first)
		f.seg.damaged = true
	case f.dataOK:
		d.Offset, d.Detail = f.patches[0].offset, fmt.Sprintf("batch %d, written again", f.first)
	default:
		d.Detail = fmt.Sprintf("data of batch %d", f.first)
		f.seg.damaged = len(f.bad) > 0
	}
	r.damages = append(r.damages, d)
}

// judge finds the faults of a group: entries that are damaged or nowhere, and
// what a batch that cannot be read may have held.
func (r *recovered) judge(g *group, bad []badEntry, unknown []*found) {
	var entries []Fault
	for _, b := range bad {
		if b.group != g.id {
			continue
		}
		if k := g.find(b.index); k < len(g.extents) && g.extents[k].first <= b.index {
			x := &g.extents[k]
			if x.seg == b.seg && b.offset >= x.offset && b.offset < x.offset+max(x.length, 1) {
				entries = append(entries, Fault{
					File: b.seg.name, Offset: b.offset, Group: g.id, Index: b.index,
					Verdict: FaultyEntry, Detail: "its identity is known",
				})
			}
		}
	}
	slices.SortFunc(entries, func(a, b Fault) int { return int(int64(a.Index) - int64(b.Index)) })
	// Damage is a tail if it reaches to the end of the group's log, or if nothing
	// proves that what it lies in was ever acknowledged.
	end := g.head.last
	for k := len(entries) - 1; k >= 0; k-- {
		if entries[k].Index == end {
			entries[k].Tail = true
			end--
		}
		if u, ok := r.unproven[g.id]; ok && entries[k].Index >= u {
			entries[k].Tail = true
		}
	}
	g.faults = append(g.faults, entries...)
	if i, missing := g.hole(); missing {
		last := len(g.extents) == 0 || g.extents[len(g.extents)-1].last < i
		g.faults = append(g.faults, Fault{Offset: -1, Group: g.id, Index: i, Verdict: Missing, Detail: "no batch has it", Tail: last})
	}
	if g.head.snapshot != g.snapshot.ID {
		g.faults = append(g.faults, Fault{
			Offset: -1, Group: g.id, Verdict: Missing,
			Detail: fmt.Sprintf("the description of snapshot %v", g.head.snapshot),
		})
	}
	if len(unknown) == 0 {
		return
	}
	for _, f := range unknown {
		if r.lastOf[g.id] < f.last {
			g.faults = append(g.faults, Fault{
				File: f.seg.name, Offset: int64(f.dataAt) * sectorSize, Group: g.id, Verdict: Unknown,
				Detail: fmt.Sprintf("batches %d to %d may have held something of it", f.first, f.last), Tail: f.last == r.number,
			})
		}
	}
	// Entries that such a batch replaced may still stand here. The chain shows it.
	if len(entries) == 0 {
		if i, err := g.verify(); err != nil {
			g.faults = append(g.faults, Fault{Offset: -1, Group: g.id, Index: i, Verdict: Missing, Detail: err.Error()})
		}
	}
}

// verify reads the whole log of a group and checks its chain. It gives the first
// index that is wrong.
func (g *group) verify() (raft.Index, error) {
	link := entry.Link{ID: raft.EntryID{Term: g.head.prevTerm, Index: g.head.first - 1}}
	var buf []byte
	for k := range g.extents {
		x := &g.extents[k]
		for next := x.first; next <= x.last; {
			b, last, err := x.read(next, x.last, readChunk, true, buf[:0])
			if err != nil {
				return last + 1, err
			}
			if link.ID.Index+1 == g.head.first {
				// What precedes the log is known by its term alone.
				h, err := entry.Peek(b)
				if err != nil {
					return next, err
				}
				link.Checksum = h.Prev
			}
			if link, err = entry.VerifyChain(link, b); err != nil {
				return link.ID.Index + 1, err
			}
			buf, next = b, last+1
		}
	}
	if g.head.last >= g.head.first && link.Checksum != g.head.lastSum {
		return g.head.last, fmt.Errorf("%w: the last entry is not the one that was written last", ErrCorrupt)
	}
	return 0, nil
}
