package wal

import (
	"errors"
	"path"
	"slices"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
)

const (
	// The log is let grow to this many segments, and to this many times what is
	// live in it, before old segments are emptied by copying. So copies are at
	// most about half of what else is written, and the disk is bounded by the
	// larger of the two and a few segments more.
	segmentsKept = 4
	liveFactor   = 3
	// stateBytes is about what a group's state takes when it is copied: a record
	// in the data and one in the identity.
	stateBytes = 512
	// freeMax is how many files are kept to be recycled.
	freeMax = 2
)

// Maintain bounds the log's size on disk. Segments are freed oldest first. One
// that no group needs any more is retired: the next batch says so, and when that
// is durable its file is kept for recycling or removed. If the log has grown
// large against what is live in it, entries and states that lag in the oldest
// segments are written again at the end, as one batch of at most maxBytes (and at
// least one entry), which counts as written by the owner: the next Sync makes it
// durable. More says that another call would go on. No more is copied than was
// written by Write: where small segments or small batches make copies no denser
// than what they replace, copying would never end.
//
// An error of the disk is final; one that wraps vfs.ErrNoSpace is not.
func (w *WAL) Maintain(maxBytes int) (more bool, err error) {
	if err := w.failure(); err != nil {
		return false, err
	}
	if err := w.remove(); err != nil {
		return false, w.fail(err)
	}
	limit := w.retire()
	if limit == 0 || w.credit <= 0 {
		return false, nil
	}
	records, complete, err := w.gather(limit, maxBytes)
	if err != nil || len(records) == 0 {
		return false, err
	}
	if err := w.writeBatch(records); err != nil {
		return false, err
	}
	w.credit -= int64(len(w.data) + len(w.identity))
	w.mu.Lock()
	for i := range records {
		w.stats.CopiedBytes += uint64(records[i].entriesLen)
	}
	w.mu.Unlock()
	return (!complete || w.retire() != 0) && w.credit > 0, nil
}

// remove frees the files of the segments that a durable batch gave up.
func (w *WAL) remove() error {
	for {
		w.mu.Lock()
		seg := w.segments[0]
		if seg.header.Sequence >= w.oldestDurable || len(w.segments) == 1 || seg.readers.Load() > 0 {
			w.mu.Unlock()
			return nil
		}
		w.segments = w.segments[1:]
		keep := seg.header.Size == w.make.size && len(w.free) < freeMax
		w.mu.Unlock()
		if err := w.uncover(seg); err != nil {
			return err
		}
		if err := seg.file.Close(); err != nil {
			return err
		}
		name := path.Join(w.make.dir, seg.name)
		if !keep {
			if err := w.make.fs.Remove(name); err != nil {
				return err
			}
			continue
		}
		free := segmentName(seg.header.Sequence, suffixFree)
		if err := w.make.fs.Rename(name, path.Join(w.make.dir, free)); err != nil {
			return err
		}
		w.mu.Lock()
		w.free = append(w.free, free)
		w.mu.Unlock()
	}
}

// uncover comes before a segment's name goes. If the segment is a seal, those
// before it are gone for good first: a power loss that brought back the name of
// one, and not the seal's, would bring back what the seal cut.
func (w *WAL) uncover(seg *segment) error {
	if seg.header.FirstBatch == 0 {
		return nil
	}
	return w.make.fs.SyncDir(w.make.dir)
}

// retire moves oldest past the segments that nobody needs and that are synced:
// a batch that gives one up claims that what was in it was durable. It gives the sequence
// before which segments are to be emptied; zero if none is.
func (w *WAL) retire() (limit uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	bytes, live := int64(0), int64(len(w.groups))*stateBytes
	var inUse []*segment
	for k, seg := range w.segments {
		if seg.header.Sequence < w.oldest {
			continue
		}
		if len(inUse) == 0 && k < len(w.segments)-1 && !seg.dirty && !w.needed(seg) {
			w.oldest = w.segments[k+1].header.Sequence
			continue
		}
		inUse = append(inUse, seg)
		bytes += seg.header.Size
		live += seg.live
	}
	for len(inUse) > segmentsKept && bytes > liveFactor*live {
		bytes -= inUse[0].header.Size
		inUse = inUse[1:]
		limit = inUse[0].header.Sequence
	}
	return limit
}

// needed reports whether a group needs the segment, and forgets those that do
// not.
func (w *WAL) needed(seg *segment) bool {
	if seg.damaged {
		for _, g := range w.groups {
			if len(g.faults) > 0 {
				return true
			}
		}
		seg.damaged = false
	}
	for id, g := range seg.groups {
		if g.needs(seg) {
			return true
		}
		delete(seg.groups, id)
	}
	return false
}

// gather makes records of what groups have in the segments that are needed before
// limit, in the order of the groups' ids. Complete says that this is all of it.
// What comes from many sparse segments goes into one batch: a copy that was as
// sparse as what it replaces would have to be copied again for ever.
func (w *WAL) gather(limit uint64, maxBytes int) (records []record, complete bool, err error) {
	old := func(s *segment) bool {
		return s != nil && s.header.Sequence >= w.oldest && s.header.Sequence < limit
	}
	w.mu.RLock()
	var ids []raft.GroupID
	for _, seg := range w.segments {
		if !old(seg) {
			continue
		}
		for id, g := range seg.groups {
			if g.needs(seg) && len(g.faults) == 0 && !g.stuck {
				ids = append(ids, id)
			}
		}
	}
	w.mu.RUnlock()
	slices.Sort(ids)
	ids = slices.Compact(ids)
	w.copyBuffer = w.copyBuffer[:0]
	size := 0
next:
	for _, id := range ids {
		g := w.groups[id]
		if size >= maxBytes {
			return seal(records, record{})
		}
		r := record{group: id, kind: kindCopy, head: g.head}
		if old(g.metaSeg) {
			if r.meta, err = entry.AppendSnapshotMeta(nil, &g.snapshot); err != nil {
				return nil, false, err
			}
		}
		for k := range g.extents {
			x := &g.extents[k]
			if !old(x.seg) {
				continue
			}
			if r.first != 0 && r.last+1 != x.first {
				// Entries of one record are contiguous.
				records = append(records, r)
				r = record{group: id, kind: kindCopy, head: g.head}
				size += r.size()
			}
			if size >= maxBytes {
				return seal(records, r)
			}
			before := r.size()
			full, err := w.copyExtent(&r, x, maxBytes-size, size == 0 && r.first == 0)
			if errors.Is(err, ErrCorrupt) {
				// Damage that came since Open: the segment stays, for repair.
				w.logger.Error("wal: damaged entry stays where it is", "group", uint64(id), "error", err)
				g.stuck = true
				if r.first != 0 {
					records = append(records, r)
				}
				continue next
			}
			if err != nil {
				return nil, false, err
			}
			size += r.size() - before
			if !full {
				return seal(records, r)
			}
		}
		records = append(records, r)
		size += recordHeaderSize
	}
	records, _, err = seal(records, record{})
	return records, err == nil, err
}

// seal indexes the entries of records, with r if it has any. What was gathered is
// not all of the segment.
func seal(records []record, r record) ([]record, bool, error) {
	if r.first != 0 {
		records = append(records, r)
	}
	for k := range records {
		if err := records[k].indexEntries(); err != nil {
			return nil, false, err
		}
	}
	return records, false, nil
}

// copyExtent adds entries of x, which follow those of r, up to maxBytes. One
// record for what was written in many is what makes a copy smaller: each has a
// header.
func (w *WAL) copyExtent(r *record, x *extent, maxBytes int, atLeastOne bool) (full bool, err error) {
	start := len(w.copyBuffer)
	b, last, err := x.read(x.first, x.last, maxBytes, atLeastOne, w.copyBuffer)
	if err != nil {
		return false, err
	}
	w.copyBuffer = b
	if last < x.first {
		return false, nil
	}
	if r.first == 0 {
		r.first = x.first
	}
	r.last = last
	r.entries = append(r.entries, b[start:len(b):len(b)])
	r.entriesLen += len(b) - start
	return last == x.last, nil
}
