package sim

import "time"

// instant is a moment of virtual time, in nanoseconds since the beginning.
type instant int64

func (t instant) after(d time.Duration) instant { return t + instant(d) }

// An event happens at one moment. Events of one moment happen in the order in
// which they were scheduled.
type event struct {
	at   instant
	seq  uint64
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

// queue is a binary heap by time and number.
type queue struct {
	heap []event
	seq  uint64
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !q.heap[i].before(&q.heap[parent]) {
			break
		}
		q.heap[i], q.heap[parent] = q.heap[parent], q.heap[i]
		i = parent
	}
}

func (q *queue) pop() (event, bool) {
	if len(q.heap) == 0 {
		return event{}, false
	}
	top := q.heap[0]
	n := len(q.heap) - 1
	q.heap[0] = q.heap[n]
	q.heap[n] = event{}
	q.heap = q.heap[:n]
	i := 0
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < n && q.heap[child].before(&q.heap[least]) {
				least = child
			}
		}
		if least == i {
			return top, true
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }
