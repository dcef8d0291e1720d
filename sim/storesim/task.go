package storesim

import (
	"context"
	"iter"
	"time"

	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/sim"
)

// A task is code that blocks, as a coroutine. It runs when it is woken, until it
// parks again or ends, and never beside anything else.
type task struct {
	s      *Service
	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	ended  bool
}

// ended is what a task panics with that is stopped while it is parked, so that
// nothing after the wait happens but what is deferred.
type stopped struct{}

// start runs f until it parks.
func (s *Service) start(f func()) *task {
	t := &task{s: s}
	t.resume, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		defer func() {
			if r := recover(); r != nil && r != any(stopped{}) {
				panic(r)
			}
		}()
		f()
	})
	t.wake()
	return t
}

// wake lets a task go on. It is called by events only, never by another task.
func (t *task) wake() {
	if t.ended {
		return
	}
	before := t.s.current
	t.s.current = t
	_, more := t.resume()
	t.s.current = before
	t.ended = !more
}

// end stops a task where it is parked.
func (t *task) end() {
	if t.ended {
		return
	}
	t.ended = true
	before := t.s.current
	t.s.current = t
	t.stop()
	t.s.current = before
}

// park waits until the task that runs is woken.
func (s *Service) park() {
	if !s.current.yield(struct{}{}) {
		panic(stopped{})
	}
}

// sleep parks for a while.
func (s *Service) sleep(d time.Duration) {
	t, over := s.current, false
	s.world.After(d, func() { over = true; t.wake() })
	for !over {
		s.park()
	}
}

// A virtual is a process's keyspace.Runtime on virtual time. What waits in it ends
// with the process.
type virtual struct{ p *process }

var epoch = time.Unix(1_000_000_000, 0)

// Now is virtual.
func (r virtual) Now() time.Time {
	now := r.p.s.world.Now()
	if r.p.s.plant == fastClock {
		now *= 2
	}
	return epoch.Add(now)
}

// WithTimeout wakes the task that asks when the time is over.
func (r virtual) WithTimeout(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := r.p.s.current
	r.p.on.After(d, func() {
		if ctx.Err() == nil {
			cancel(cause)
			t.wake()
		}
	})
	return ctx, func() { cancel(context.Canceled) }
}

// NewSignal gives one for a task.
func (r virtual) NewSignal() keyspace.Signal { return &signal{p: r.p} }

// Go starts a task of the process, soon.
func (r virtual) Go(f func()) { r.p.soon(func() { r.p.run(f) }) }

type signal struct {
	p       *process
	set     bool
	waiting *task
}

func (x *signal) Set() {
	if x.set = true; x.waiting == nil {
		return
	}
	t := x.waiting
	x.waiting = nil
	x.p.soon(t.wake)
}

// longWait is a wait that nobody waits for the end of.
const longWait = 10 * time.Minute

func (x *signal) Wait(ctx context.Context, d time.Duration) {
	t, over := x.p.s.current, false
	if !x.set && d < longWait {
		x.p.on.After(d, func() {
			if !over {
				over = true
				t.wake()
			}
		})
	}
	for !x.set && !over && ctx.Err() == nil {
		x.waiting = t
		x.p.s.park()
	}
	over, x.set, x.waiting = true, false, nil
}

// soon has f happen in the process, as an event of its own.
func (p *process) soon(f func()) { p.on.After(0, f) }

// run starts a task that ends with the process at the latest.
func (p *process) run(f func()) *task {
	t := p.s.start(f)
	if !t.ended {
		p.tasks = append(p.tasks, t)
	}
	if len(p.tasks) > 64 {
		kept := p.tasks[:0]
		for _, t := range p.tasks {
			if !t.ended {
				kept = append(kept, t)
			}
		}
		p.tasks = kept
	}
	return t
}

var _ keyspace.Runtime = virtual{}

// alive reports whether a process runs.
func alive(p *sim.Process) bool { return p != nil && p.Running() }
