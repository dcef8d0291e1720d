package explore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/check"
)

// Options are how a scope is explored. The zero value is the usual way.
type Options struct {
	// Workers explore at once; zero means one.
	Workers int
	// MaxStates ends the exploration with ErrTooManyStates; zero is no bound.
	MaxStates int
	// NoSymmetry, NoPruning and NoMemory turn off what saves work: taking states
	// for one that differ in names only, dropping answers that will be ignored,
	// remembering what an event leads to. The verdict must not depend on them.
	NoSymmetry, NoPruning, NoMemory bool
	// Figure3 judges by the five properties of Figure 3 alone, and not by what
	// they rest on, so as to see what a bug comes to. What stops a replica, since
	// it finds itself broken, counts as well.
	Figure3 bool
	// Progress, if not nil, is called now and then, by one goroutine at a time.
	Progress func(Progress)
}

// Progress tells how far an exploration is.
type Progress struct {
	States, Transitions uint64
	Depth               int
	// Queue is how many states of this depth are still to be expanded.
	Queue uint64
	// Replicas, Messages and Events are the parts that states are made of, and
	// the events that the real code has run.
	Replicas, Messages, Events int
}

// Result is what an exploration has found.
type Result struct {
	Progress
	// Violation is nil if every state within the bounds keeps every property.
	// Otherwise Trace is the shortest way to it.
	Violation *check.Violation
	Trace     *Trace
}

// ErrTooManyStates is returned when MaxStates were found and more are left.
var ErrTooManyStates = errors.New("explore: too many states")

// block is a part of a level: states, one behind the other, and what is needed to
// tell how each was reached.
type block struct {
	base   uint32 // the number of its first state
	n      int
	states []byte
	parent [blockStates]uint32
	prints [blockStates]uint64
}

const blockStates = 4096

// explorer visits the states of a scope level by level, so that whatever it finds
// it finds by a shortest way.
type explorer struct {
	w       *world
	options Options

	// seen is taken for writing to grow it.
	growing sync.RWMutex
	seen    *visited

	blocks   list[*block]
	blocksMu sync.Mutex
	states   atomic.Uint64
	done     Progress

	mu    sync.Mutex
	found *finding
	stop  atomic.Bool
}

// finding is a violation, and the state before it.
type finding struct {
	parent    uint32
	event     event
	violation *check.Violation
}

// Explore visits every state of the scope. It returns an error if it could not,
// and no error if it found a violation.
func Explore(ctx context.Context, scope Scope, options Options) (Result, error) {
	if err := scope.Validate(); err != nil {
		return Result{}, fmt.Errorf("explore: scope %s: %w", scope.Name, err)
	}
	return newWorld(&scope, !options.NoSymmetry).explore(ctx, options)
}

func (w *world) explore(ctx context.Context, options Options) (Result, error) {
	w.figure3 = options.Figure3
	x := &explorer{w: w, options: options, seen: newVisited(1 << 16)}
	x.w.forgetful = options.NoMemory
	x.options.Workers = max(1, options.Workers)
	first, err := x.w.start()
	if err != nil {
		return Result{}, fmt.Errorf("explore: scope %s: %w", w.scope.Name, err)
	}
	root := &output{x: x}
	root.add(first, 0)
	level := root.blocks
	x.states.Store(1)
	for len(level) > 0 && err == nil && x.found == nil {
		level, err = x.expand(ctx, level)
		if len(level) > 0 {
			x.done.Depth++
		}
	}
	result := Result{Progress: x.progress(0)}
	if x.found != nil {
		result.Trace = x.trace(first)
		result.Violation, result.Depth = x.found.violation, result.Trace.Steps
		err = nil
	}
	return result, err
}

// expand visits the successors of a level and gives the next one.
func (x *explorer) expand(ctx context.Context, level []*block) (next []*block, err error) {
	var taken, left atomic.Int64
	for _, b := range level {
		left.Add(int64(b.n))
	}
	var workers sync.WaitGroup
	var mu sync.Mutex // of next, err and x.done
	for range x.options.Workers {
		workers.Go(func() {
			out := &output{x: x}
			step := &stepper{w: x.w, limits: x.w.scope.limits(), prune: x.prunes()}
			for !x.stop.Load() {
				i := taken.Add(1) - 1
				if i >= int64(len(level)) {
					break
				}
				x.expandBlock(level[i], step, out)
				rest := left.Add(-int64(level[i].n))
				level[i].states = nil
				mu.Lock()
				x.done.Transitions += step.transitions
				step.transitions = 0
				if x.options.Progress != nil {
					x.options.Progress(x.progress(uint64(rest)))
				}
				if err == nil && ctx.Err() != nil {
					err = ctx.Err()
				}
				if err == nil && x.options.MaxStates > 0 && x.states.Load() > uint64(x.options.MaxStates) {
					err = ErrTooManyStates
				}
				if err != nil {
					x.stop.Store(true)
				}
				mu.Unlock()
			}
			mu.Lock()
			defer mu.Unlock()
			next = append(next, out.blocks...)
		})
	}
	workers.Wait()
	return next, err
}

// expandBlock visits the successors of a block.
func (x *explorer) expandBlock(b *block, step *stepper, out *output) {
	x.growing.RLock()
	defer x.growing.RUnlock()
	var s state
	src := b.states
	for i := range b.n {
		src = s.decode(src, x.w.scope.members())
		number := b.base + uint32(i)
		if !step.successors(&s, func(e event, next *state, err *check.Violation) bool {
			if err != nil {
				x.violated(&finding{parent: number, event: e, violation: err})
				return false
			}
			if print := x.w.fingerprint(next); x.seen.add(print) {
				out.put(next, print, number)
			}
			return true
		}) {
			return
		}
		// Half full at most, and each worker may add many before it looks again.
		if i%64 == 63 && x.crowded() {
			x.growing.RUnlock()
			x.growing.Lock()
			if x.crowded() {
				x.seen.grow()
			}
			x.growing.Unlock()
			x.growing.RLock()
		}
	}
}

// prunes reports whether answers are dropped that will be ignored. Where the
// number of messages in flight is bounded they are lost anyway, or else delivered,
// which shows that they are ignored.
func (x *explorer) prunes() bool { return !x.options.NoPruning && x.w.scope.InFlight == 0 }

func (x *explorer) crowded() bool { return x.states.Load()*2 > uint64(len(x.seen.keys)) }

func (x *explorer) violated(f *finding) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.found == nil {
		x.found = f
	}
	x.stop.Store(true)
}

func (x *explorer) progress(queue uint64) Progress {
	p := x.done
	p.States, p.Queue = x.states.Load(), queue
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	p.Replicas, p.Messages = x.w.locals.n, x.w.messages.n
	p.Events = x.w.events()
	return p
}

// output collects the states that one worker finds.
type output struct {
	x      *explorer
	blocks []*block
}

// add puts a state into the set and the queue.
func (o *output) add(s *state, parent uint32) {
	print := o.x.w.fingerprint(s)
	o.x.seen.add(print)
	o.put(s, print, parent)
}

// put queues a state that was not in the set.
func (o *output) put(s *state, print uint64, parent uint32) {
	var b *block
	if n := len(o.blocks); n > 0 {
		b = o.blocks[n-1]
	}
	if b == nil || b.n == blockStates {
		b = &block{}
		o.x.blocksMu.Lock()
		b.base = o.x.blocks.add(b) * blockStates
		o.x.blocksMu.Unlock()
		o.blocks = append(o.blocks, b)
	}
	b.states = s.append(b.states, o.x.w.scope.members())
	b.parent[b.n], b.prints[b.n] = parent, print
	b.n++
	o.x.states.Add(1)
}
