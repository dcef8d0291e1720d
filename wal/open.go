package wal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"

	"github.com/quorate/quorate/raft"
)

// Open recovers the log in a directory, which it makes if need be, and takes its
// lock. Damage other than a torn tail does not make it fail: it is in the
// GroupState of each group that it concerns, and in Damages. It fails if the
// directory belongs to another identity (ErrIdentity), has a newer format
// (ErrUnknownVersion) or cannot be read or written.
func Open(o Options) (*WAL, error) {
	if o.SegmentSizeBytes == 0 {
		o.SegmentSizeBytes = DefaultSegmentSizeBytes
	}
	if o.SegmentSizeBytes < segmentSizeMin || o.SegmentSizeBytes > segmentSizeMax || o.SegmentSizeBytes%sectorSize != 0 {
		return nil, fmt.Errorf("wal: SegmentSizeBytes %d: want a multiple of %d in [%d, %d]", o.SegmentSizeBytes, sectorSize, segmentSizeMin, int64(segmentSizeMax))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return nil, err
	}
	lock, err := o.FS.Lock(path.Join(o.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("wal: %s: %w", o.Dir, err)
	}
	w, err := open(o)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	w.lock = lock
	return w, nil
}

func open(o Options) (*WAL, error) {
	r, err := analyze(o.FS, o.Dir, &o.Identity)
	if err != nil {
		return nil, err
	}
	w := &WAL{
		make:   maker{fs: o.FS, dir: o.Dir, identity: o.Identity, size: o.SegmentSizeBytes},
		logger: o.Logger,
		groups: r.groups, damages: r.damages,
		number: r.number, durable: r.number, prev: r.prev, sequence: r.sequence,
		oldest: r.oldest, oldestWritten: r.oldest, oldestDurable: r.oldest,
	}
	if err := w.settle(r); err != nil {
		return nil, errors.Join(fmt.Errorf("wal: %s: %w", o.Dir, err), r.close())
	}
	w.report(r)
	return w, nil
}

// settle makes what was recovered durable and goes on from there.
func (w *WAL) settle(r *recovered) error {
	// What this recovery read may be in the system's cache only; what it builds on
	// must be durable before it is told to anyone. To sync is not enough: if a sync
	// failed in an earlier life, the system still shows the bytes, takes them for
	// written, and a later sync that succeeds writes nothing (PS-07). So what
	// nothing proves to have been synced is written again first.
	unsynced := map[*segment]bool{}
	for _, f := range r.batches {
		if f.last > r.durable {
			if err := f.rewrite(); err != nil {
				return err
			}
			unsynced[f.seg] = true
		}
		for _, p := range f.patches {
			if _, err := f.seg.file.WriteAt(p.bytes, p.offset); err != nil {
				return err
			}
			unsynced[f.seg] = true
		}
	}
	for _, seg := range r.files {
		if !unsynced[seg] {
			continue
		}
		if err := seg.file.SyncData(); err != nil {
			return err
		}
	}
	for _, name := range r.temporary {
		if err := w.make.fs.Remove(path.Join(w.make.dir, name)); err != nil {
			return err
		}
	}
	if err := w.takeFree(r.free); err != nil {
		return err
	}
	// A name that was not synced yet is about to be relied upon.
	if err := w.make.fs.SyncDir(w.make.dir); err != nil {
		return err
	}
	if r.inPlace != nil {
		for _, seg := range r.files {
			if seg.header.Sequence >= r.oldest && seg.header.Sequence <= r.inPlace.header.Sequence {
				w.segments = append(w.segments, seg)
			} else if len(r.spare) > 0 && seg == r.spare[0] && seg.header.Size == w.make.size {
				w.next = seg
			}
		}
		return w.discard(r)
	}
	for _, seg := range r.files {
		if seg.header.Sequence >= r.oldest && (seg.damaged || seg.held || seg.sealsFor(w.segments, r.number)) {
			w.segments = append(w.segments, seg)
		}
	}
	w.sequence++
	oldest := w.sequence
	if len(w.segments) > 0 && w.segments[0].header.Sequence > r.oldest {
		oldest = w.segments[0].header.Sequence
	} else if len(w.segments) > 0 {
		oldest = r.oldest
	}
	w.oldest, w.oldestWritten, w.oldestDurable = oldest, oldest, oldest
	var free string
	if n := len(w.free); n > 0 {
		free = w.free[n-1]
		w.free = w.free[:n-1]
	}
	seg, err := w.makeSegment(free, w.sequence, r.number+1, oldest)
	if err != nil {
		return err
	}
	r.files = append(r.files, seg)
	w.segments = append(w.segments, seg)
	return w.discard(r)
}

// rewrite writes what stands in the place of a batch once more, as it is.
func (f *found) rewrite() error {
	for _, place := range [...]struct{ at, sectors uint32 }{{f.dataAt, f.dataLen}, {f.idTop - f.idLen, f.idLen}} {
		if place.sectors == 0 {
			continue // its extent is not known, and it is not built on
		}
		b := make([]byte, int64(place.sectors)*sectorSize)
		offset := int64(place.at) * sectorSize
		if n, err := f.seg.file.ReadAt(b, offset); n < len(b) {
			return err
		}
		if _, err := f.seg.file.WriteAt(b, offset); err != nil {
			return err
		}
	}
	return nil
}

// takeFree keeps the free files that have the right size.
func (w *WAL) takeFree(names []string) error {
	for _, name := range names {
		full := path.Join(w.make.dir, name)
		f, err := w.make.fs.OpenRead(full)
		if err != nil {
			return err
		}
		size, err := f.Size()
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if size == w.make.size && len(w.free) < freeMax {
			w.free = append(w.free, name)
		} else if err := w.make.fs.Remove(full); err != nil {
			return err
		}
	}
	return nil
}

// discard closes and removes the segments that are not in use.
func (w *WAL) discard(r *recovered) error {
	used := map[*segment]bool{w.next: true}
	for _, seg := range w.segments {
		used[seg] = true
	}
	kept := r.files[:0]
	var gone []*segment
	for _, seg := range r.files {
		if used[seg] {
			kept = append(kept, seg)
		} else {
			gone = append(gone, seg)
		}
	}
	r.files = kept
	for _, seg := range gone {
		if err := w.uncover(seg); err != nil {
			return err
		}
		err := seg.file.Close()
		if err = errors.Join(err, w.make.fs.Remove(path.Join(w.make.dir, seg.name))); err != nil {
			return err
		}
	}
	return nil
}

func (w *WAL) report(r *recovered) {
	if r.cut != 0 {
		w.logger.Info("wal: cut a torn tail that was never acknowledged", "batch", r.cut)
	}
	for _, d := range r.damages {
		level := slog.LevelError
		if d.Verdict == Mended {
			level = slog.LevelWarn
		}
		w.logger.Log(context.Background(), level, "wal: damage", "file", d.File, "offset", d.Offset, "verdict", d.Verdict.String(), "detail", d.Detail)
	}
	for _, g := range w.groups {
		for _, f := range g.faults {
			w.logger.Error("wal: group must not be started", "group", uint64(f.Group), "index", uint64(f.Index),
				"file", f.File, "offset", f.Offset, "verdict", f.Verdict.String(), "tail", f.Tail, "detail", f.Detail)
		}
	}
}

// CutTail forgets the damaged end of a group's log: the entries from the first
// fault on, all of which must be faults with Tail set. The cut is durable when it
// returns. It is for a group with one voter, that voter here: nobody has another
// copy, and refusing for ever is the alternative. In any other group a cut entry
// may be one that was acknowledged (SF-03), and the peers have it: never call it
// there. What was cut is logged.
func (w *WAL) CutTail(id raft.GroupID) error {
	if err := w.failure(); err != nil {
		return err
	}
	g := w.groups[id]
	if g == nil || len(g.faults) == 0 {
		return nil
	}
	r := record{group: id, kind: kindUpdate, flags: flagAccepted, head: g.head}
	for _, f := range g.faults {
		if !f.Tail {
			return fmt.Errorf("wal: group %d cannot be cut: %v", id, f)
		}
		if f.Index != 0 && f.Index <= r.head.last {
			r.head.last = f.Index - 1
		}
	}
	if r.head.last < g.head.last {
		sum, err := g.checksumAt(r.head.last)
		if err != nil {
			return err
		}
		r.head.lastSum = sum
	}
	w.logger.Error("wal: cut the damaged tail of a group", "group", uint64(id), "from", uint64(r.head.last+1), "to", uint64(g.head.last))
	if err := w.writeBatch([]record{r}); err != nil {
		return err
	}
	return w.Sync()
}

// checksumAt gives the checksum of an entry of the log; zero before the first,
// where it is not known.
func (g *group) checksumAt(i raft.Index) (uint32, error) {
	if i < g.head.first {
		return 0, nil
	}
	x := &g.extents[g.find(i)]
	b, _, err := x.read(i, i, 0, true, nil)
	if err != nil {
		return 0, err
	}
	return le.Uint32(b[40:]), nil
}
