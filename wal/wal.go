package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"sync"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// DefaultSegmentSizeBytes is the size of a segment if Options says nothing.
const DefaultSegmentSizeBytes = 64 << 20

// batchBytesMax bounds what one Write puts down.
const batchBytesMax = 1 << 30

// Errors of a WAL in use.
var (
	// ErrCompacted: the entry lies before the log's first.
	ErrCompacted = errors.New("wal: compacted")
	// ErrRange: the entry lies behind the log's last, or the group is unknown.
	ErrRange = errors.New("wal: no such entry")
	// ErrInvalid: an Update contradicts itself or the log. Nothing was written.
	ErrInvalid = errors.New("wal: invalid update")
	// ErrClosed: the WAL is closed.
	ErrClosed = errors.New("wal: closed")
)

// Options say where a WAL is and whose.
type Options struct {
	FS       vfs.FS
	Dir      string
	Identity Identity
	// SegmentSizeBytes is the size of new segments: a multiple of 512, at least
	// 4 KiB. Zero is DefaultSegmentSizeBytes. It may differ from what the
	// directory was written with.
	SegmentSizeBytes int64
	// Logger hears what recovery cut and found. Nil: nobody does.
	Logger *slog.Logger
}

// WAL is the log of all groups of a node.
//
// Write, Sync and Maintain belong to one goroutine, the owner. Read, Group,
// Groups, Stats, Prepare and NeedsPrepare may be called beside them from any.
// Close may be called when nothing else runs.
type WAL struct {
	make   maker
	logger *slog.Logger
	lock   vfs.Unlocker

	// prepare is held while a segment is made; before mu.
	prepare sync.Mutex

	mu       sync.RWMutex // guards all below for those who are not the owner
	err      error        // final
	groups   map[raft.GroupID]*group
	segments []*segment // oldest first; the last is written to
	next     *segment   // ready to follow
	sequence uint64     // newest that was given away
	free     []string
	damages  []Fault
	stats    Stats

	// The owner's.
	number  uint64 // of the newest batch written
	durable uint64 // of the newest batch synced
	prev    uint32 // body checksum of batch number
	// No segment before oldest is needed; a synced batch says so of those before
	// oldestDurable, which are gone or may go.
	oldest, oldestWritten, oldestDurable uint64
	// credit is how many bytes Maintain may copy.
	credit int64

	data, stream, identity []byte
	prints                 []fingerprint
	records                []record
	copyBuffer             []byte
}

// Stats are figures of a WAL.
type Stats struct {
	// Segments and Bytes are the files in use, prepared and free ones included;
	// LiveBytes those of entries that no snapshot has replaced.
	Segments  int
	Bytes     int64
	LiveBytes int64
	// Batches, Syncs (fdatasyncs of segments) and BytesWritten since Open;
	// CopiedBytes are those of entries that Maintain wrote again.
	Batches, Syncs            uint64
	BytesWritten, CopiedBytes uint64
}

// fail makes err final (PS-07).
func (w *WAL) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf("wal: failed: %w", err)
	}
	return w.err
}

func (w *WAL) failure() error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.err
}

// Write puts down one batch of updates, in order: all of them or, after a crash
// before Sync has returned, none. Nothing is durable before Sync. Reads see the
// entries at once.
//
// ErrInvalid and an error that wraps vfs.ErrNoSpace while the next segment is
// made leave everything as it was. Any other error is final.
func (w *WAL) Write(updates []Update) error {
	if err := w.failure(); err != nil {
		return err
	}
	if len(updates) == 0 {
		return nil
	}
	w.records = w.records[:0]
	var err error
	for i := range updates {
		var r record
		if r, err = w.stage(&updates[i]); err != nil {
			err = fmt.Errorf("%w: group %d: %w", ErrInvalid, updates[i].Group, err)
			break
		}
		w.records = append(w.records, r)
	}
	if err == nil {
		err = w.writeBatch(w.records)
	}
	if err == nil {
		// What may be copied: it does not grow beyond what a full round takes.
		w.credit = min(w.credit+int64(len(w.data)+len(w.identity)), segmentsKept*w.make.size)
	}
	if err != nil {
		w.unstage(updates)
	}
	clear(w.records)
	return err
}

func (w *WAL) unstage(updates []Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range updates {
		if g := w.groups[updates[i].Group]; g != nil {
			g.staged, g.stagedRuns = g.head, nil
		}
	}
}

// stage makes the record of an update. Only the owner changes groups, so that it
// may look at them without the lock.
func (w *WAL) stage(u *Update) (record, error) {
	g := w.groups[u.Group]
	if g == nil {
		g = newGroup(u.Group)
		w.mu.Lock()
		w.groups[u.Group] = g
		w.mu.Unlock()
	}
	h := g.staged
	r := record{group: u.Group, kind: kindUpdate}
	if u.HardStateChanged {
		h.hard = u.HardState
	}
	if u.ResetLog {
		id := u.Reset.ID
		if id.Index == 0 {
			return r, errors.New("reset to no snapshot")
		}
		if u.KeepSuffix && id.Index+1 < h.first {
			return r, fmt.Errorf("reset to %v leaves a hole before the log's first, %d", id, h.first)
		}
		if !u.KeepSuffix || h.last <= id.Index {
			if !u.KeepSuffix || h.last < id.Index {
				h.lastSum = u.Reset.Checksum
			}
			h.last = id.Index
		}
		h.first, h.prevTerm, h.generation = id.Index+1, id.Term, u.Generation
	}
	if c := u.Compact; c > h.first {
		if c > h.last+1 {
			return r, fmt.Errorf("compaction to %d of the log [%d, %d]", c, h.first, h.last)
		}
		term, ok := g.stagedTerm(c - 1)
		if !ok {
			return r, fmt.Errorf("compaction to %d: no entry before it in [%d, %d]", c, h.first, h.last)
		}
		h.first, h.prevTerm = c, term
	}
	if (u.ResetLog || u.Compact != 0) && u.Reset.ID.Index != 0 {
		if u.Reset.ID.Index+1 < h.first {
			return r, fmt.Errorf("snapshot at %v does not reach the log's first, %d", u.Reset.ID, h.first)
		}
		h.snapshot = u.Reset.ID
		meta, err := entry.AppendSnapshotMeta(nil, &u.Reset)
		if err != nil {
			return r, err
		}
		r.meta = meta
	}
	if u.First != 0 {
		if u.First < h.first || u.First > h.last+1 {
			return r, fmt.Errorf("entries [%d, %d] for the log [%d, %d]", u.First, u.Last, h.first, h.last)
		}
		h.last = u.Last
	}
	r.first, r.last, r.entries = u.First, u.Last, u.Entries
	if err := r.indexEntries(); err != nil {
		return r, err
	}
	if n := len(r.refs); n > 0 {
		h.lastSum = r.refs[n-1].sum
		g.stagedRuns = append(g.stagedRuns, r.runs...)
	}
	r.head, g.staged = h, h
	return r, nil
}

// stagedTerm gives the term of an entry of the log as it will be after the
// records that are staged, or of the one before it.
func (g *group) stagedTerm(i raft.Index) (raft.Term, bool) {
	if i+1 == g.staged.first {
		return g.staged.prevTerm, true
	}
	for k := len(g.stagedRuns) - 1; k >= 0; k-- {
		if g.stagedRuns[k].First <= i {
			return g.stagedRuns[k].Term, true
		}
	}
	return g.term(i)
}

// writeBatch writes records as one batch and makes them part of the groups.
func (w *WAL) writeBatch(records []record) error {
	bytes := uint64(0)
	for i := range records {
		records[i].entriesAt = batchHeaderSize + int(bytes) + recordHeaderSize + len(records[i].meta)
		bytes += uint64(records[i].size())
		if bytes > batchBytesMax {
			return fmt.Errorf("%w: batch above %d bytes", ErrInvalid, batchBytesMax)
		}
	}
	dataLen := dataSectors(bytes)
	idLen := idSectors(identityStreamSize(dataLen, records))
	seg := w.segments[len(w.segments)-1]
	if dataLen+idLen > uint64(seg.room()) {
		var err error
		if seg, err = w.advance(dataLen + idLen); err != nil {
			return err
		}
	}
	h := batchHeader{
		Sequence: seg.header.Sequence, Number: w.number + 1, Durable: w.durable, Oldest: w.oldest,
		DataAt: seg.front, DataLen: uint32(dataLen), IDTop: seg.back, IDLen: uint32(idLen),
		Prev: w.prev, Records: uint32(len(records)), Bytes: uint32(bytes),
	}
	w.encode(&h, records)
	offset := int64(h.DataAt) * sectorSize
	if _, err := seg.file.WriteAt(w.data, offset); err != nil {
		return w.fail(fmt.Errorf("batch %d: %s: %w", h.Number, seg.name, err))
	}
	if _, err := seg.file.WriteAt(w.identity, int64(h.IDTop-h.IDLen)*sectorSize); err != nil {
		return w.fail(fmt.Errorf("identity of batch %d: %s: %w", h.Number, seg.name, err))
	}
	w.number, w.prev, w.oldestWritten = h.Number, h.Body, h.Oldest

	w.mu.Lock()
	defer w.mu.Unlock()
	seg.front += h.DataLen
	seg.back -= h.IDLen
	seg.dirty = true
	w.stats.Batches++
	w.stats.BytesWritten += uint64(len(w.data) + len(w.identity))
	for i := range records {
		g := w.groups[records[i].group]
		if err := g.apply(&records[i], seg, offset); err != nil {
			return err
		}
		g.staged, g.stagedRuns = g.head, g.stagedRuns[:0]
	}
	return nil
}

// encode fills the data and identity buffers and h.Body.
func (w *WAL) encode(h *batchHeader, records []record) {
	w.data = grow(w.data, int(h.DataLen)*sectorSize)
	b := w.data[:batchHeaderSize]
	for i := range records {
		b = records[i].appendData(b)
	}
	clear(w.data[len(b):])
	w.prints = sealData(h, w.data, w.prints)
	w.stream = appendIdentityStream(w.stream[:0], h, w.prints, records)
	w.identity = cutIdentity(h, w.stream, w.identity)
}

// advance makes the next segment the one that is written to.
func (w *WAL) advance(sectors uint64) (*segment, error) {
	w.prepare.Lock()
	defer w.prepare.Unlock()
	if err := w.prepareLocked(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	seg := w.next
	w.segments = append(w.segments, seg)
	w.next = nil
	w.mu.Unlock()
	if uint64(seg.room()) >= sectors {
		return seg, nil
	}
	// A batch above the size of a segment gets one of its own size. The segment
	// that was ready stays behind, empty.
	w.mu.Lock()
	w.sequence++
	sequence, oldest := w.sequence, w.segments[0].header.Sequence
	w.mu.Unlock()
	seg, err := w.make.fresh(sequence, roundSize(sectors), 0, oldest)
	if err != nil {
		return nil, w.prepareError(err)
	}
	w.mu.Lock()
	w.segments = append(w.segments, seg)
	w.mu.Unlock()
	return seg, nil
}

// NeedsPrepare reports whether no segment is ready to follow the one in use.
func (w *WAL) NeedsPrepare() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.err == nil && w.next == nil
}

// Prepare makes the next segment ready, so that Write does not have to. It may
// run beside Write and Sync. An error that wraps vfs.ErrNoSpace leaves the log
// as it was; any other is final.
func (w *WAL) Prepare() error {
	w.prepare.Lock()
	defer w.prepare.Unlock()
	return w.prepareLocked()
}

func (w *WAL) prepareLocked() error {
	w.mu.Lock()
	err, ready := w.err, w.next != nil
	var free string
	if err == nil && !ready {
		w.sequence++
		if n := len(w.free); n > 0 {
			free = w.free[n-1]
			w.free = w.free[:n-1]
		}
	}
	sequence, oldest := w.sequence, w.segments[0].header.Sequence
	w.mu.Unlock()
	if err != nil || ready {
		return err
	}
	seg, err := w.makeSegment(free, sequence, 0, oldest)
	if err != nil {
		return w.prepareError(err)
	}
	w.mu.Lock()
	w.next = seg
	w.mu.Unlock()
	return nil
}

// makeSegment uses the free file, if there is one that can be used.
func (w *WAL) makeSegment(free string, sequence, firstBatch, oldest uint64) (*segment, error) {
	if free == "" {
		return w.make.fresh(sequence, w.make.size, firstBatch, oldest)
	}
	seg, err := w.make.recycle(free, sequence, firstBatch, oldest)
	if err == nil {
		return seg, nil
	}
	// It had no promise to keep: do without it, unless it is a segment by now.
	if removeErr := w.make.fs.Remove(path.Join(w.make.dir, free)); removeErr != nil {
		return nil, err
	}
	return w.make.fresh(sequence, w.make.size, firstBatch, oldest)
}

// prepareError gives a sequence number back after a full disk; any other error
// is final.
func (w *WAL) prepareError(err error) error {
	if !errors.Is(err, vfs.ErrNoSpace) {
		return w.fail(fmt.Errorf("prepare segment: %w", err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sequence--
	return fmt.Errorf("wal: prepare segment: %w", err)
}

// Sync makes durable all that was written: one fdatasync, or one for each
// segment that was written to since the last. An error is final (PS-07).
func (w *WAL) Sync() error {
	if err := w.failure(); err != nil {
		return err
	}
	for _, seg := range w.segments {
		if !seg.dirty {
			continue
		}
		if err := seg.file.SyncData(); err != nil {
			return w.fail(fmt.Errorf("sync %s: %w", seg.name, err))
		}
		seg.dirty = false
		w.mu.Lock()
		w.stats.Syncs++
		w.mu.Unlock()
	}
	w.durable, w.oldestDurable = w.number, w.oldestWritten
	return nil
}

// Groups gives the state of every group, ordered by id.
func (w *WAL) Groups() []GroupState {
	w.mu.RLock()
	defer w.mu.RUnlock()
	states := make([]GroupState, 0, len(w.groups))
	for _, g := range w.groups {
		if g.headSeg != nil || len(g.faults) > 0 {
			states = append(states, g.state())
		}
	}
	slices.SortFunc(states, func(a, b GroupState) int {
		if a.Group < b.Group {
			return -1
		}
		return 1
	})
	return states
}

// Group gives the state of one group; false if nothing was ever written of it.
func (w *WAL) Group(id raft.GroupID) (GroupState, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	g := w.groups[id]
	if g == nil || g.headSeg == nil && len(g.faults) == 0 {
		return GroupState{}, false
	}
	return g.state(), true
}

// Damages gives everything that Open found damaged, also what did no harm
// because a second copy of it was intact. Where there is one with the verdict
// Unknown, a batch is lost that may have been the only one of a group, which
// Groups then does not list: do not take such a group for new.
func (w *WAL) Damages() []Fault {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return slices.Clone(w.damages)
}

// Stats gives the figures.
func (w *WAL) Stats() Stats {
	w.mu.RLock()
	defer w.mu.RUnlock()
	s := w.stats
	for _, seg := range w.segments {
		s.Bytes += seg.header.Size
		s.LiveBytes += seg.live
	}
	s.Segments = len(w.segments) + len(w.free)
	s.Bytes += int64(len(w.free)) * w.make.size
	if w.next != nil {
		s.Segments++
		s.Bytes += w.next.header.Size
	}
	return s
}

// Close releases the files. It does not sync: what Sync did not cover may be
// lost.
func (w *WAL) Close() error {
	w.prepare.Lock()
	defer w.prepare.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(w.err, ErrClosed) {
		return nil
	}
	var errs []error
	for _, seg := range w.segments {
		errs = append(errs, seg.file.Close())
	}
	if w.next != nil {
		errs = append(errs, w.next.file.Close())
	}
	errs = append(errs, w.lock.Unlock())
	w.err = ErrClosed
	return errors.Join(errs...)
}
