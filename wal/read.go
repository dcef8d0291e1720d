package wal

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
)

// readChunk is how much of an extent is read to find where an entry begins.
const readChunk = 64 << 10

// Read appends to dst the encoded entries of a group, back to back, from first
// on up to last: as many as fit into maxBytes, and at least one. It gives dst
// and the index of the last entry read. Each entry is verified by its checksum,
// its index and the term that the log has there.
//
// ErrCompacted: first lies before the log. ErrRange: first lies behind it.
// ErrCorrupt: an entry is damaged; those before it are given, if there are any,
// without an error. Read may run beside all other calls but Close, and never
// gives an entry that was truncated before it was called.
func (w *WAL) Read(id raft.GroupID, first, last raft.Index, maxBytes int, dst []byte) ([]byte, raft.Index, error) {
	start := len(dst)
	for {
		extents, changes, err := w.pin(id, first, last)
		if err != nil {
			return dst, 0, err
		}
		var end raft.Index
		dst, end, err = readExtents(extents, first, last, maxBytes, dst[:start])
		unpin(extents)
		if !w.changed(id, changes) {
			return dst, end, err
		}
		// The log lost entries meanwhile, perhaps these: once more.
	}
}

// pin gives the extents that have entries of [first, last] and keeps their
// segments from being reused.
func (w *WAL) pin(id raft.GroupID, first, last raft.Index) ([]extent, uint64, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.err != nil {
		return nil, 0, w.err
	}
	g := w.groups[id]
	switch {
	case g == nil:
		return nil, 0, fmt.Errorf("%w: group %d is unknown", ErrRange, id)
	case first < g.head.first:
		return nil, 0, fmt.Errorf("%w: group %d: entry %d, the log begins at %d", ErrCompacted, id, first, g.head.first)
	case first > g.head.last || last < first:
		return nil, 0, fmt.Errorf("%w: group %d: entries [%d, %d] of the log [%d, %d]", ErrRange, id, first, last, g.head.first, g.head.last)
	}
	lo := g.find(first)
	if lo == len(g.extents) || g.extents[lo].first > first {
		return nil, 0, fmt.Errorf("%w: group %d: entry %d is missing", ErrCorrupt, id, first)
	}
	hi := lo
	for hi < len(g.extents) && g.extents[hi].first <= last {
		g.extents[hi].seg.readers.Add(1)
		hi++
	}
	return slices.Clone(g.extents[lo:hi]), g.changes, nil
}

func unpin(extents []extent) {
	for k := range extents {
		extents[k].seg.readers.Add(-1)
	}
}

func (w *WAL) changed(id raft.GroupID, changes uint64) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.err == nil && w.groups[id].changes != changes
}

func readExtents(extents []extent, first, last raft.Index, maxBytes int, dst []byte) ([]byte, raft.Index, error) {
	start, next := len(dst), first
	for k := range extents {
		x := &extents[k]
		if next > last || k > 0 && (x.first != next || len(dst)-start >= maxBytes) {
			break
		}
		grown, end, err := x.read(next, min(last, x.last), maxBytes-(len(dst)-start), next == first, dst)
		dst = grown
		full := end < min(last, x.last)
		if err != nil {
			if end >= first {
				return dst, end, nil
			}
			return dst, 0, err
		}
		next = end + 1
		if full {
			break
		}
	}
	return dst, next - 1, nil
}

// read appends entries [from, to] of the extent, up to maxBytes; one at least if
// atLeastOne. It gives the last index that it read, from-1 if none.
func (x *extent) read(from, to raft.Index, maxBytes int, atLeastOne bool, dst []byte) ([]byte, raft.Index, error) {
	next, start := x.base, len(dst)
	pos, end := x.offset, x.offset+x.length // not read yet
	at := start                             // beginning of entry next in dst
	fill := func(want int) error {
		want = int(min(int64(max(want, min(readChunk, maxBytes))), end-pos))
		n := len(dst)
		dst = slices.Grow(dst, want)[:n+want]
		if err := readFull(x.seg.file, dst[n:], pos); err != nil {
			dst = dst[:n]
			return err
		}
		pos += int64(want)
		return nil
	}
	fail := func(err error) ([]byte, raft.Index, error) {
		offset := pos - int64(len(dst)-at)
		return dst[:at], next - 1, fmt.Errorf("%w: %s offset %d, entry %d: %w", ErrCorrupt, x.seg.name, offset, next, err)
	}
	for next < from {
		// Skip: only headers are needed, and what was skipped makes room.
		dst = append(dst[:start], dst[at:]...)
		at = start
		if len(dst)-at < entry.HeaderSize {
			if err := fill(entry.HeaderSize); err != nil {
				return fail(err)
			}
		}
		for next < from && len(dst)-at >= entry.HeaderSize {
			h, err := entry.Peek(dst[at:])
			if err == nil && h.ID.Index != next {
				err = fmt.Errorf("found entry %v", h.ID)
			}
			if err != nil {
				return fail(err)
			}
			if have := len(dst) - at; h.Size > have {
				pos += int64(h.Size - have)
				dst = dst[:at]
				if pos > end {
					return fail(fmt.Errorf("entry of %d bytes ends behind the batch", h.Size))
				}
			} else {
				at += h.Size
			}
			next++
		}
		if len(dst)-at < entry.HeaderSize && pos == end && next < from {
			return fail(entry.ErrShort)
		}
	}
	dst = append(dst[:start], dst[at:]...)
	at = start
	for next <= to {
		have := len(dst) - at
		if have < entry.HeaderSize {
			if err := fill(entry.HeaderSize - have); err != nil {
				return fail(err)
			}
			if have = len(dst) - at; have < entry.HeaderSize {
				return fail(entry.ErrShort)
			}
		}
		h, err := entry.Peek(dst[at:])
		if err != nil {
			return fail(err)
		}
		if at+h.Size-start > maxBytes && (next > from || !atLeastOne) {
			break
		}
		if h.Size > have {
			if err := fill(h.Size - have); err != nil {
				return fail(err)
			}
		}
		e, n, err := entry.Decode(dst[at:])
		if err == nil && (e.Index != next || e.Term != x.term(next)) {
			err = fmt.Errorf("found entry %v, the log has %d.%d here", e.ID(), x.term(next), next)
		}
		if err != nil {
			return fail(err)
		}
		at += n
		next++
	}
	return dst[:at], next - 1, nil
}
