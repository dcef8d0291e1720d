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
	// Clients judges by what clients are answered, and whether that is safe. From
	// states in which it is not, it goes on by chance, beyond the bounds of the
	// scope, until a client is answered wrongly (B-20).
	Clients bool
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
	first    *state
	level    []*block // the next to be expanded

	mu    sync.Mutex
	found []finding
	// most is how many violations are looked for before the search ends.
	most int
	stop atomic.Bool
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
	w := newWorld(&scope, !options.NoSymmetry)
	if options.Clients {
		return w.exploreClients(ctx, options)
	}
	return w.explore(ctx, options)
}

func (w *world) explore(ctx context.Context, options Options) (Result, error) {
	x, err := w.explorer(options, 1)
	if err != nil {
		return Result{}, err
	}
	err = x.explore(ctx)
	result := Result{Progress: x.progress(0)}
	if len(x.found) > 0 {
		t := newTeller(w)
		result.Violation = x.retrace(&x.found[0], t.tell)
		result.Trace = t.broken(result.Violation)
		result.Depth = result.Trace.Steps
		err = nil
	}
	return result, err
}

// explorer is ready to explore w until it has found most violations.
func (w *world) explorer(options Options, most int) (*explorer, error) {
	w.judgedBy(options)
	w.forgetful = options.NoMemory
	first, err := w.start()
	if err != nil {
		return nil, fmt.Errorf("explore: scope %s: %w", w.scope.Name, err)
	}
	x := &explorer{w: w, options: options, seen: newVisited(1 << 16), most: most, first: first}
	x.options.Workers = max(1, options.Workers)
	root := &output{x: x}
	root.add(first, 0)
	x.level = root.blocks
	return x, nil
}

// explore visits level after level, until there is none or enough was found.
func (x *explorer) explore(ctx context.Context) error {
	var err error
	for len(x.level) > 0 && err == nil && len(x.found) == 0 {
		x.level, err = x.expand(ctx, x.level)
		if len(x.level) > 0 {
			x.done.Depth++
		}
	}
	return err
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
				return x.violated(finding{parent: number, event: e, violation: err})
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

// violated notes a violation, and tells whether to look for more.
func (x *explorer) violated(f finding) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.found) < x.most {
		x.found = append(x.found, f)
	}
	enough := len(x.found) >= x.most
	if enough {
		x.stop.Store(true)
	}
	return !enough
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
