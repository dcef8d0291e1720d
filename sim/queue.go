package sim

import "time"

// instant is a moment of virtual time, in nanoseconds since the beginning.
type instant int64

func (t instant) after(d time.Duration) instant { return t + instant(d) }

// An event happens at one moment. Events of one moment happen in the order in
// which they were scheduled.
type event struct {
	at   instant
	kind eventKind
	// node, if not nil, is whose event it is: it does not happen if the process
	// that was running under boot has ended, and waits while it is paused.
	node *node
	boot int
	do   func()
}

type eventKind uint8

const (
	workerEvent eventKind = 1 + iota
	timerEvent
	syncEvent
	applyEvent
	readEvent
	snapshotEvent
	packetEvent
	clientEvent
	faultEvent
	judgeEvent
)

// queue is a heap by time and number, of four children each. The events
// themselves lie apart from it and do not move: what moves holds no pointer,
// which halves the cost.
type queue struct {
	heap   []place
	events []event
	free   []int32
	seq    uint64
}

// place is where an event stands in the order.
type place struct {
	at   instant
	seq  uint64
	slot int32
}

func (p *place) before(o *place) bool { return p.at < o.at || p.at == o.at && p.seq < o.seq }

func (q *queue) push(e event) {
	q.seq++
	p := place{at: e.at, seq: q.seq}
	if n := len(q.free); n > 0 {
		p.slot = q.free[n-1]
		q.free = q.free[:n-1]
		q.events[p.slot] = e
	} else {
		p.slot = int32(len(q.events))
		q.events = append(q.events, e)
	}
	q.heap = append(q.heap, p)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !p.before(&q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = p
}

func (q *queue) pop() (event, bool) {
	if len(q.heap) == 0 {
		return event{}, false
	}
	top := q.heap[0].slot
	n := len(q.heap) - 1
	last := q.heap[n]
	q.heap = q.heap[:n]
	i := 0
	for {
		least := 4*i + 1
		if least >= n {
			break
		}
		for child := least + 1; child < min(4*i+5, n); child++ {
			if q.heap[child].before(&q.heap[least]) {
				least = child
			}
		}
		if !q.heap[least].before(&last) {
			break
		}
		q.heap[i] = q.heap[least]
		i = least
	}
	if n > 0 {
		q.heap[i] = last
	}
	e := q.events[top]
	q.events[top].do, q.events[top].node = nil, nil
	q.free = append(q.free, top)
	return e, true
}
