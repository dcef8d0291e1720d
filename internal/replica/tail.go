package replica

import (
	"encoding/binary"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
)

// A tail is the newest part of the log as the encoded bytes of its entries. What
// it no longer holds is read from the write-ahead log.
type tail struct {
	// chunks[head:] are contiguous: each begins where the one before it ends.
	chunks []chunk
	head   int
	bytes  int
}

// A chunk is entries [first, last], back to back, as they were appended
// together. Its bytes never change.
type chunk struct {
	first, last raft.Index
	data        []byte
}

func (t *tail) live() []chunk { return t.chunks[t.head:] }

// before caps last at the entry before those that the tail holds: what the tail
// holds may not be in the write-ahead log yet, which may still have entries there
// that were truncated.
func (t *tail) before(last raft.Index) raft.Index {
	if live := t.live(); len(live) > 0 && live[0].first <= last {
		return live[0].first - 1
	}
	return last
}

// append adds entries [first, last]. If they do not follow what the tail holds,
// the tail forgets it: a gap is never kept.
func (t *tail) append(first, last raft.Index, data []byte) {
	if live := t.live(); len(live) > 0 && live[len(live)-1].last+1 != first {
		t.reset()
	}
	t.chunks = append(t.chunks, chunk{first, last, data})
	t.bytes += len(data)
}

// truncate drops the entries from first on.
func (t *tail) truncate(first raft.Index) {
	for len(t.live()) > 0 {
		c := &t.chunks[len(t.chunks)-1]
		if c.last < first {
			return
		}
		t.bytes -= len(c.data)
		if c.first < first {
			n := prefixLen(c.data, int(first-c.first))
			c.data, c.last = c.data[:n:n], first-1
			t.bytes += n
			return
		}
		*c = chunk{}
		t.chunks = t.chunks[:len(t.chunks)-1]
	}
	t.reset()
}

func (t *tail) reset() {
	clear(t.chunks)
	t.chunks, t.head, t.bytes = t.chunks[:0], 0, 0
}

// evict forgets the oldest chunks while the tail is larger than maxBytes, but
// none that holds an entry after keep.
func (t *tail) evict(maxBytes int, keep raft.Index) {
	for t.bytes > maxBytes && t.head < len(t.chunks) && t.chunks[t.head].last <= keep {
		t.bytes -= len(t.chunks[t.head].data)
		t.chunks[t.head] = chunk{}
		t.head++
	}
	if t.head > 64 && t.head > len(t.chunks)/2 {
		n := copy(t.chunks, t.chunks[t.head:])
		clear(t.chunks[n:])
		t.chunks, t.head = t.chunks[:n], 0
	}
}

// slice appends to dst the bytes of entries from first on, up to last and up to
// maxBytes but at least one entry, as pieces of whole entries. It reports the
// last entry taken, or false if the tail does not hold first.
func (t *tail) slice(dst [][]byte, first, last raft.Index, maxBytes int) (pieces [][]byte, lastTaken raft.Index, bytes int, ok bool) {
	live := t.live()
	if len(live) == 0 || first < live[0].first || first > live[len(live)-1].last {
		return dst, 0, 0, false
	}
	// The chunk that holds first, by binary search.
	lo, hi := 0, len(live)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if live[mid].last < first {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	lastTaken = first - 1
	for _, c := range live[lo:] {
		if c.first > last {
			break
		}
		data := c.data
		if c.first < first {
			data = data[prefixLen(data, int(first-c.first)):]
			c.first = first
		}
		if c.last > last {
			data = data[:prefixLen(data, int(last-c.first)+1)]
			c.last = last
		}
		if bytes+len(data) > maxBytes {
			n, count := prefixFitting(data, maxBytes-bytes, bytes == 0)
			if count > 0 {
				dst = append(dst, data[:n:n])
				bytes += n
				lastTaken += raft.Index(count)
			}
			return dst, lastTaken, bytes, true
		}
		dst = append(dst, data)
		bytes += len(data)
		lastTaken = c.last
	}
	return dst, lastTaken, bytes, true
}

// prefixLen is the length of the first count entries in data, which were
// verified when they came in.
func prefixLen(data []byte, count int) int {
	n := 0
	for ; count > 0; count-- {
		n += encodedLen(data[n:])
	}
	return n
}

// prefixFitting is the length and number of the leading entries that fit in
// maxBytes; with atLeastOne the first is taken in any case.
func prefixFitting(data []byte, maxBytes int, atLeastOne bool) (n, count int) {
	for n < len(data) {
		size := encodedLen(data[n:])
		if n+size > maxBytes && (count > 0 || !atLeastOne) {
			break
		}
		n += size
		count++
	}
	return n, count
}

// encodedLen is the length of the entry at the beginning of data, which was
// verified when it came in. Every format version begins with the payload's length.
func encodedLen(data []byte) int {
	return entry.Size(int(binary.LittleEndian.Uint32(data)))
}
