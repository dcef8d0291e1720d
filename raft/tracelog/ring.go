package tracelog

import (
	"fmt"
	"io"
	"sync"

	"github.com/quorate/quorate/raft"
)

// A Ring keeps the newest records of one start of a node, in memory that is
// allocated once: about 150 bytes a record. To add one takes some tens of
// nanoseconds and allocates nothing. It is safe for concurrent use.
type Ring struct {
	node raft.NodeID
	boot uint64
	now  func() int64

	mu    sync.Mutex
	slots []slot
	added uint64
}

// slot is a Record without what all records of a ring have in common.
type slot struct {
	time  int64
	group raft.GroupID
	event raft.Event
}

// NewRing makes a ring of so many records, at least one. Boot is greater at each
// start of the node, such as the time of it; now is the clock that records are
// stamped with, in nanoseconds since the Unix epoch.
func NewRing(node raft.NodeID, boot uint64, records int, now func() int64) *Ring {
	return &Ring{node: node, boot: boot, now: now, slots: make([]slot, max(1, records))}
}

// Trace adds an event. It has the form of node.Observer's method.
func (r *Ring) Trace(group raft.GroupID, _ raft.NodeID, event raft.Event) {
	now := r.now()
	r.mu.Lock()
	r.slots[r.added%uint64(len(r.slots))] = slot{now, group, event}
	r.added++
	r.mu.Unlock()
}

// WriteTo writes a file of the records in the ring, oldest first. It copies them
// at once, so that none is missing in between, and holds up nobody while it writes.
func (r *Ring) WriteTo(w io.Writer) (total int64, err error) {
	r.mu.Lock()
	n := min(r.added, uint64(len(r.slots)))
	first := r.added - n
	slots := make([]slot, n)
	for i := range slots {
		slots[i] = r.slots[(first+uint64(i))%uint64(len(r.slots))]
	}
	r.mu.Unlock()
	buf := AppendHeader(nil, false)
	for i := range slots {
		s := &slots[i]
		record := Record{Node: r.node, Boot: r.boot, Seq: first + uint64(i) + 1, Time: s.time, Group: s.group, Event: s.event}
		buf = record.AppendTo(buf)
		if len(buf) >= 1<<16 || i+1 == len(slots) {
			written, err := w.Write(buf)
			if total += int64(written); err != nil {
				return total, fmt.Errorf("write trace: %w", err)
			}
			buf = buf[:0]
		}
	}
	if len(buf) > 0 { // the header alone
		written, err := w.Write(buf)
		return total + int64(written), err
	}
	return total, nil
}
