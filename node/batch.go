package node

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/replica"
)

// A batch of proposals costs every replica a message, a write and some wake-ups,
// whatever it carries; and who is answered together proposes together again. Where
// processors are to spare, a batch is cut at once, and small. Where they are not, a
// process that serves a thousand callers would spend itself on batches of a few:
// there proposals wait a little for others.
//
// They wait as long as fewer of them wait than are usually put into batches while one
// batch is under way, so one caller alone never waits for others; for a few times what
// a goroutine waits for a processor there, and for Config.MaxBatchDelay at most. Such
// a wait that a timer could hardly keep is left out.
const (
	// cutYields is how often a worker lets other goroutines run before it cuts a
	// batch of proposals: clients that were just answered are in the run queue and
	// about to propose again. A timer would be a thousand times too coarse. How long
	// it takes tells how scarce processors are.
	cutYields = 8
	// waitFactor is how many times longer than that proposals may wait.
	waitFactor = 8
	// waitMin is the shortest such wait.
	waitMin = 2 * time.Millisecond
	// yieldMax is what counts of a single measurement: this process may have been
	// stopped meanwhile.
	yieldMax = 2 * time.Millisecond
)

// batching is a group's proposals that are in no batch yet.
type batching struct {
	// The worker's lock guards these.
	waiting []replica.Proposal
	held    bool // until more wait, or batchSlot's timer fires

	// batched counts the proposals that were put into batches. usual is how many
	// that are while one batch is under way, smoothed, in sixteenths; one proposal at
	// a time measures it.
	batched   atomic.Int64
	usual     atomic.Int64
	measuring atomic.Bool
}

// add takes a proposal, and reports whether a batch may be cut now. The caller
// holds the worker's lock.
func (b *batching) add(p *proposal) bool {
	b.waiting = append(b.waiting, p)
	return !b.held || b.ripe()
}

// ripe reports that as many wait as usual.
func (b *batching) ripe() bool { return int64(len(b.waiting)) >= b.usual.Load()/16 }

// measure has the last proposal of a batch tell how many join it under way.
func (b *batching) measure(batch []replica.Proposal) {
	if len(batch) > 0 && b.measuring.CompareAndSwap(false, true) {
		batch[len(batch)-1].(*proposal).after = b.batched.Load() + 1
	}
	b.batched.Add(int64(len(batch)))
}

// measured takes what a proposal tells that was answered.
func (b *batching) measured(after int64) {
	usual := b.usual.Load()
	b.usual.Store(usual + ((b.batched.Load()-after+1)*16-usual)/4)
	b.measuring.Store(false)
}

// yield lets other goroutines run. Runs on the worker's goroutine.
func (w *worker) yield() {
	began := w.node.now()
	for range cutYields {
		runtime.Gosched()
	}
	took := min(time.Duration(w.node.now()-began), yieldMax)
	w.yielded += (took - w.yielded) / 8
}

// patience is how long proposals may wait for others.
func (w *worker) patience() time.Duration {
	if limit := min(waitFactor*w.yielded, w.node.cfg.MaxBatchDelay); limit >= waitMin {
		return limit
	}
	return 0
}

// collect cuts a batch of what waits, unless that is to wait for more. Runs on the
// worker's goroutine, which holds its lock.
func (g *Group) collect(now int64) {
	b := &g.batching
	switch {
	case len(b.waiting) == 0:
		return
	case g.gone || b.ripe():
	case b.held:
		return
	default:
		if limit := g.worker.patience(); limit > 0 {
			b.held = true
			g.timers.slots[batchSlot] = timerSlot{deadline: now + int64(limit)}
			g.worker.timers.fix(g)
			return
		}
	}
	g.cut()
}

// cut makes a batch of what waits. Runs on the worker's goroutine, which holds its
// lock.
func (g *Group) cut() {
	b := &g.batching
	g.batch, b.waiting = b.waiting, g.batch[:0]
	b.held = false
	g.timers.slots[batchSlot] = timerSlot{}
}

// waited proposes what has waited for as long as it may.
func (g *Group) waited(now int64) {
	g.worker.mu.Lock()
	g.cut()
	g.worker.mu.Unlock()
	g.proposeBatch(now)
}

// proposeBatch proposes the batch that was cut.
func (g *Group) proposeBatch(now int64) {
	if len(g.batch) > 0 {
		g.propose(now, g.batch)
		clear(g.batch)
		g.batch = g.batch[:0]
	}
}
