package network

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// queueMax bounds what waits on one link; more is lost, as at any router.
const queueMax = 4096

// A queue is one link in one direction.
type queue struct {
	carried, lost *atomic.Int64

	mu     sync.Mutex
	link   Link
	chance *rand.Rand
	free   time.Time // when the throttle lets the next byte pass
	last   time.Time // when the last packet leaves: links keep order

	waiting chan waiting
	ended   chan struct{}
}

type waiting struct {
	packet []byte
	leaves time.Time
}

func newQueue(seed uint64, carried, lost *atomic.Int64, ended chan struct{}) *queue {
	return &queue{
		carried: carried, lost: lost, chance: rand.New(rand.NewPCG(seed, 17)),
		waiting: make(chan waiting, queueMax), ended: ended,
	}
}

func (q *queue) set(l Link) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.link = l
}

// decide says what becomes of a packet: it is lost, or it leaves at some time;
// the zero time is at once.
func (q *queue) decide(size int, now time.Time) (leaves time.Time, lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.link
	if l.Cut || l.Loss > 0 && q.chance.Float64() < l.Loss {
		return time.Time{}, true
	}
	if l.Delay == 0 && l.Jitter == 0 && l.BytesPerSecond == 0 && !q.last.After(now) {
		return time.Time{}, false
	}
	leaves = now.Add(l.Delay)
	if l.Jitter > 0 {
		leaves = leaves.Add(time.Duration(q.chance.Int64N(int64(l.Jitter))))
	}
	if l.BytesPerSecond > 0 {
		if q.free.Before(now) {
			q.free = now
		}
		if q.free.Sub(now) > 2*time.Second {
			return time.Time{}, true
		}
		q.free = q.free.Add(time.Duration(size) * time.Second / time.Duration(l.BytesPerSecond))
		leaves = later(leaves, q.free)
	}
	leaves = later(leaves, q.last)
	q.last = leaves
	return leaves, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// put sends a packet; deliver must not keep it.
func (q *queue) put(packet []byte, deliver func([]byte)) {
	leaves, lost := q.decide(len(packet), time.Now())
	switch {
	case lost:
		q.lost.Add(1)
		return
	case leaves.IsZero():
		q.carried.Add(1)
		deliver(packet)
		return
	}
	select {
	case q.waiting <- waiting{append([]byte(nil), packet...), leaves}:
	default:
		q.lost.Add(1)
	}
}

// run delivers what had to wait.
func (q *queue) run(deliver func([]byte)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case w := <-q.waiting:
			timer.Reset(time.Until(w.leaves))
			select {
			case <-timer.C:
			case <-q.ended:
				return
			}
			q.mu.Lock()
			cut := q.link.Cut
			q.mu.Unlock()
			if cut { // while it was on its way
				q.lost.Add(1)
				continue
			}
			q.carried.Add(1)
			deliver(w.packet)
		case <-q.ended:
			return
		}
	}
}
