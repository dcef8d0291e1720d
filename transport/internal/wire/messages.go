package wire

import (
	"fmt"
	"hash/crc32"
	"math"
	"net"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// A Messages frame's payload is
//
//	count u32 | envelopes, each followed by the entries that it carries
const messagesHeader = 4

// A Batch collects envelopes for one Messages frame. Entries that are long stay
// where they are; everything else is in one buffer. The zero Batch is not ready:
// Reset it first.
type Batch struct {
	buf    []byte
	pieces []piece
	// size is that of the whole frame, pieces included.
	size  int
	count int
}

// piece is bytes that stand in the frame before buf[at:].
type piece struct {
	at    int
	bytes []byte
}

// Reset empties the batch and keeps its buffer.
func (b *Batch) Reset() {
	if cap(b.buf) < HeaderSize+messagesHeader {
		b.buf = make([]byte, 0, 1024)
	}
	b.buf = b.buf[:HeaderSize+messagesHeader]
	clear(b.pieces)
	b.pieces = b.pieces[:0]
	b.size = len(b.buf)
	b.count = 0
}

// Len is how many envelopes the batch holds.
func (b *Batch) Len() int { return b.count }

// Size is the size of the frame in bytes.
func (b *Batch) Size() int { return b.size }

// Cap is the size of the batch's own buffer, for those who keep batches.
func (b *Batch) Cap() int { return cap(b.buf) }

// Contiguous reports whether the frame is one piece.
func (b *Batch) Contiguous() bool { return len(b.pieces) == 0 }

// SizeOf is about how many bytes an envelope will take: what queues count.
func SizeOf(e *transport.Envelope) int {
	n := 96 + len(e.Forward)
	for _, p := range e.Entries {
		n += len(p)
	}
	return n
}

// Append adds an envelope, if the frame does not become larger than sizeMax;
// otherwise, and if the envelope cannot be encoded, it changes nothing. Entries
// in pieces of at least referenceFrom bytes are not copied and must not change
// until the frame is written.
func (b *Batch) Append(e *transport.Envelope, sizeMax, referenceFrom int) (added bool, err error) {
	entries := 0
	for _, p := range e.Entries {
		entries += len(p)
	}
	if entries > 0 {
		if _, ok := e.Message.Body.(*raft.AppendEntries); !ok {
			return false, fmt.Errorf("transport: entries attached to a message of type %T", e.Message.Body)
		}
	}
	if sizeMax = min(sizeMax, math.MaxUint32); entries+len(e.Forward) > sizeMax-b.size {
		return false, nil
	}
	before := len(b.buf)
	buf, err := appendBody(b.buf, e, entries)
	if err != nil {
		return false, err
	}
	if b.size+len(buf)-before+entries > sizeMax {
		b.buf = buf[:before]
		return false, nil
	}
	body := len(buf) - before
	for _, p := range e.Entries {
		switch {
		case len(p) == 0:
		case len(p) < referenceFrom:
			buf = append(buf, p...)
		default:
			b.pieces = append(b.pieces, piece{at: len(buf), bytes: p})
		}
	}
	b.buf = buf
	b.size += body + entries
	b.count++
	return true, nil
}

// Seal fills in header, count and checksum. Afterwards Buffers gives the frame.
func (b *Batch) Seal() {
	le.PutUint32(b.buf[HeaderSize:], uint32(b.count))
	putHeader(b.buf, Messages, b.size-HeaderSize)
	sum := crc32.Update(0, castagnoli, b.buf[:12])
	at := HeaderSize
	for i := range b.pieces {
		p := &b.pieces[i]
		sum = crc32.Update(sum, castagnoli, b.buf[at:p.at])
		sum = crc32.Update(sum, castagnoli, p.bytes)
		at = p.at
	}
	sum = crc32.Update(sum, castagnoli, b.buf[at:])
	le.PutUint32(b.buf[12:], sum)
}

// Buffers appends the parts of the sealed frame, in order. They are valid until
// Reset.
func (b *Batch) Buffers(to net.Buffers) net.Buffers {
	at := 0
	for i := range b.pieces {
		p := &b.pieces[i]
		if p.at > at {
			to = append(to, b.buf[at:p.at])
		}
		to = append(to, p.bytes)
		at = p.at
	}
	if len(b.buf) > at {
		to = append(to, b.buf[at:])
	}
	return to
}

// slab hands out values from arrays of a few, to allocate less often. What one
// array held is freed together.
type slab[T any] struct{ free []T }

const slabLen = 16

func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.free = make([]T, max(n, slabLen))
	}
	v := s.free[:n:n]
	s.free = s.free[n:]
	return v
}

func (s *slab[T]) one() *T { return &s.take(1)[0] }

// A Decoder decodes the Messages frames of one connection.
type Decoder struct {
	// From and To are the nodes that shook hands.
	From, To raft.NodeID

	appendEntries slab[raft.AppendEntries]
	responses     slab[raft.AppendEntriesResponse]
	runs          slab[raft.TermRun]
	pieces        slab[[]byte]
}

// Decode appends the envelopes in a payload whose checksum was verified. With
// share the entries and forwarded bytes are parts of payload, which then belongs to
// the receiver; otherwise they are copied, those of one frame into one buffer.
// After an error to is returned as it was.
func (d *Decoder) Decode(to []transport.Envelope, payload []byte, share bool) ([]transport.Envelope, error) {
	c := cursor{b: payload}
	before := len(to)
	n := c.u32()
	if uint64(n) > uint64(len(c.b)/envelopeMin) {
		c.fail("%d envelopes are announced, %d bytes are there", n, len(c.b))
	}
	entries := 0
	for i := uint32(0); i < n && c.err == nil; i++ {
		e := transport.Envelope{Message: raft.Message{From: d.From, To: d.To}}
		d.envelope(&c, &e)
		if len(e.Entries) > 0 {
			entries += len(e.Entries[0])
		}
		entries += len(e.Forward)
		to = append(to, e)
	}
	if err := c.end(); err != nil {
		clear(to[before:])
		return to[:before], fmt.Errorf("messages: %w", err)
	}
	if entries > 0 && !share {
		fresh := make([]byte, 0, entries)
		own := func(b []byte) []byte {
			at := len(fresh)
			fresh = append(fresh, b...)
			return fresh[at:len(fresh):len(fresh)]
		}
		for i := before; i < len(to); i++ {
			e := &to[i]
			if len(e.Entries) > 0 {
				e.Entries[0] = own(e.Entries[0])
			}
			if len(e.Forward) > 0 {
				e.Forward = own(e.Forward)
			}
		}
	}
	return to, nil
}

func (d *Decoder) envelope(c *cursor, e *transport.Envelope) {
	kind := c.u8()
	e.Group = raft.GroupID(c.u64())
	if kind == kindForward {
		n := c.u32()
		if uint64(n) > uint64(len(c.b)) {
			c.fail("%d forwarded bytes are announced, %d are there", n, len(c.b))
			return
		}
		e.Forward = c.take(int(n))
		return
	}
	if kind == kindBootstrap {
		e.Bootstrap = &transport.Bootstrap{
			Incarnation: raft.Incarnation(c.u64()), Seen: raft.Incarnation(c.u64()),
			Empty: c.bool(), Configuration: c.configurationEntry(),
		}
		return
	}
	term := raft.Term(c.u64())
	switch kind {
	case kindPreVote:
		e.Message.Body = &raft.PreVote{Term: term, LastLog: c.id()}
	case kindPreVoteResponse:
		e.Message.Body = &raft.PreVoteResponse{Term: term, Granted: c.bool()}
	case kindRequestVote:
		e.Message.Body = &raft.RequestVote{Term: term, LastLog: c.id(), Transfer: c.bool()}
	case kindRequestVoteResponse:
		e.Message.Body = &raft.RequestVoteResponse{Term: term, Granted: c.bool(), LastLog: c.id()}
	case kindAppendEntries:
		m := d.appendEntries.one()
		m.Term = term
		m.Prev = c.id()
		m.Last = raft.Index(c.u64())
		m.Commit = raft.Index(c.u64())
		m.Round = c.u64()
		runs, entries := c.u32(), c.u32()
		if uint64(runs) > uint64(len(c.b)/16) {
			c.fail("%d term runs are announced, %d bytes are there", runs, len(c.b))
			return
		}
		if runs > 0 {
			m.Runs = d.runs.take(int(runs))
		}
		for i := range m.Runs {
			m.Runs[i] = raft.TermRun{First: raft.Index(c.u64()), Term: raft.Term(c.u64())}
		}
		if uint64(entries) > uint64(len(c.b)) {
			c.fail("%d bytes of entries are announced, %d are there", entries, len(c.b))
			return
		}
		if entries > 0 {
			e.Entries = d.pieces.take(1)
			e.Entries[0] = c.take(int(entries))
		}
		e.Message.Body = m
	case kindAppendEntriesResponse:
		m := d.responses.one()
		m.Term = term
		m.Success = c.bool()
		m.Match = raft.Index(c.u64())
		m.Round = c.u64()
		m.Prev = raft.Index(c.u64())
		m.Hint = c.id()
		e.Message.Body = m
	case kindInstallSnapshot:
		e.Message.Body = &raft.InstallSnapshot{Term: term, Round: c.u64(), Snapshot: c.meta()}
	case kindInstallSnapshotResponse:
		e.Message.Body = &raft.InstallSnapshotResponse{Term: term, Match: raft.Index(c.u64()), Round: c.u64()}
	case kindTimeoutNow:
		e.Message.Body = &raft.TimeoutNow{Term: term}
	case kindReadIndexRequest:
		e.Message.Body = &raft.ReadIndexRequest{Term: term, Read: raft.ReadID(c.u64())}
	case kindReadIndexResponse:
		e.Message.Body = &raft.ReadIndexResponse{Term: term, Read: raft.ReadID(c.u64()), Index: raft.Index(c.u64())}
	default:
		c.fail("unknown kind of message %d", kind)
	}
}
