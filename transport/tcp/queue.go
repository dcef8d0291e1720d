package tcp

import (
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

const (
	// bulkFrom is how many bytes wait before entries are queued apart, so that
	// the messages of other groups overtake them.
	bulkFrom = 256 << 10
	// bulkChunk is how much of what is queued apart is written at a time.
	bulkChunk = 256 << 10
	// referenceFrom is the length from which entries are not copied but written
	// from where they are.
	referenceFrom = 4 << 10
	// keepCap bounds the buffers that are used again, keepBatches their number.
	keepCap     = 2 * frameSoft
	keepBatches = 8
)

// A batch is a frame in the making, or being written.
type batch struct {
	wire.Batch
	// groups are those of the envelopes, if the batch is in the bulk lane.
	groups []raft.GroupID
}

// A queue holds what waits to be sent to one peer, already encoded, in two lanes.
// The front lane is written first. Only while it is long are envelopes with entries
// put into the bulk lane, and everything else of their groups behind them, so that
// the messages of one group stay in order. It is not safe for concurrent use.
type queue struct {
	front, bulk []*batch
	// frontBytes is the size of front; bulkGroups counts the envelopes in bulk.
	frontBytes int
	bulkGroups map[raft.GroupID]int
	// bytes and count are those of all that is queued or being written.
	bytes, count int
	// frameMax bounds a frame; reference is the length from which entries are
	// not copied.
	frameMax, reference int
	bytesMax, countMax  int
	free                []*batch
}

// add queues e, unless there is no room or e can never be sent: then err says why.
func (q *queue) add(e *transport.Envelope) (added bool, err error) {
	carries := len(e.Entries) > 0
	bytesMax, countMax := q.bytesMax, q.countMax
	if !carries {
		bytesMax += bytesMax / 8
		countMax += countMax/8 + 1
	}
	if q.count >= countMax || q.bytes+wire.SizeOf(e) > bytesMax {
		return false, nil
	}
	bulk := len(q.bulkGroups) > 0 && q.bulkGroups[e.Group] > 0 || carries && q.frontBytes >= bulkFrom
	lane := &q.front
	if bulk {
		lane = &q.bulk
	}
	var b *batch
	before := 0
	if n := len(*lane); n > 0 {
		b = (*lane)[n-1]
		before = b.Size()
		if added, err = b.Append(e, frameSoft, q.reference); err != nil {
			return false, err
		}
	}
	if !added {
		b, before = q.newBatch(), 0
		added, err = b.Append(e, q.frameMax, q.reference)
		if !added || err != nil {
			q.release(b)
			if err == nil {
				err = errTooLarge
			}
			return false, err
		}
		*lane = append(*lane, b)
	}
	grown := b.Size() - before
	q.bytes += grown
	q.count++
	if bulk {
		b.groups = append(b.groups, e.Group)
		if q.bulkGroups == nil {
			q.bulkGroups = make(map[raft.GroupID]int)
		}
		q.bulkGroups[e.Group]++
	} else {
		q.frontBytes += grown
	}
	return true, nil
}

func (q *queue) empty() bool { return len(q.front) == 0 && len(q.bulk) == 0 }

// single reports whether all that is queued is one frame in one piece of at most
// sizeMax bytes.
func (q *queue) single(sizeMax int) bool {
	return len(q.front) == 1 && len(q.bulk) == 0 && q.front[0].Size() <= sizeMax && q.front[0].Contiguous()
}

// take appends what is to be written next: the front lane and a piece of the bulk
// lane. Until written is called it counts as queued.
func (q *queue) take(to []*batch) []*batch {
	to = append(to, q.front...)
	clear(q.front)
	q.front = q.front[:0]
	q.frontBytes = 0
	n, size := 0, 0
	for n < len(q.bulk) && size < bulkChunk {
		b := q.bulk[n]
		n++
		size += b.Size()
		for _, g := range b.groups {
			if q.bulkGroups[g]--; q.bulkGroups[g] == 0 {
				delete(q.bulkGroups, g)
			}
		}
		to = append(to, b)
	}
	left := copy(q.bulk, q.bulk[n:])
	clear(q.bulk[left:])
	q.bulk = q.bulk[:left]
	return to
}

// written ends the accounting of a batch that was taken and keeps its buffer.
func (q *queue) written(b *batch) {
	q.bytes -= b.Size()
	q.count -= b.Len()
	q.release(b)
}

func (q *queue) newBatch() *batch {
	if n := len(q.free); n > 0 {
		b := q.free[n-1]
		q.free[n-1] = nil
		q.free = q.free[:n-1]
		return b
	}
	b := new(batch)
	b.Reset()
	return b
}

func (q *queue) release(b *batch) {
	if len(q.free) >= keepBatches || b.Cap() > keepCap {
		return
	}
	b.Reset()
	b.groups = b.groups[:0]
	q.free = append(q.free, b)
}
