package explore

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/check"
)

// What a broken rule comes to is seen by clients only much later, after crashes and
// elections for which no scope that is explored to its end has room. So the search
// for a wrong answer climbs. First the scope is explored to its end, for states in
// which something that a client was answered is not safe any more. From these on,
// chance decides what happens, again and again, until it comes to something worse,
// and from there on again, until a client is answered wrongly: whoever is told of
// that needs to know nothing but the answers. It is made as short as it can be.
//
// That nothing is unsafe in a scope is shown. That nothing comes of what is unsafe
// is not.
const (
	// harms is from how many states the walks begin.
	harms = 16
	// walks is how many there are at most for each rung, and walkEvents how long
	// each is.
	walks      = 1 << 18
	walkEvents = 48
	// walksAtOnce are those after which a worker forgets what it has met: in a
	// walk nearly every state is new.
	walksAtOnce = 1024
)

// rungs are what is looked for, each with what is worse: that what was answered is
// not safe, that a leader lacks it, that one commits without it, and that a client
// sees it.
var rungs = [][]string{
	{QuorumLog, check.LeaderCompleteness, check.StateMachineSafety, check.Linearizability},
	{check.LeaderCompleteness, check.StateMachineSafety, check.Linearizability},
	{check.StateMachineSafety, check.Linearizability},
	{check.Linearizability},
}

// exploreClients is Explore, judged by what clients are answered alone.
func (w *world) exploreClients(ctx context.Context, options Options) (Result, error) {
	x, err := w.explorer(options, harms)
	if err != nil {
		return Result{}, err
	}
	err = x.explore(ctx)
	result := Result{Progress: x.progress(0)}
	if len(x.found) == 0 {
		return result, err
	}
	s := &search{scope: w.scope.boundless(), tamper: w.tamper, progress: func(events uint64) {
		if options.Progress != nil {
			p := result.Progress
			p.Transitions += events
			options.Progress(p)
		}
	}}
	for i := range x.found {
		t := newTeller(w)
		x.retrace(&x.found[i], t.tell)
		s.begins = append(s.begins, t.tokens)
	}
	for _, properties := range rungs[1:] {
		s.climb(ctx, properties, max(1, options.Workers))
		if len(s.found) > 0 {
			s.begins = s.schedules()
		}
	}
	result.Transitions += s.events.Load()
	if len(s.found) == 0 {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		s.properties = rungs[0] // no client has seen it: this is what there is
	}
	told, err := s.world().replay(strings.Join(s.shortest(s.begins[0]), " "))
	result.Violation, result.Trace, result.Depth = told.Violation, told.Trace, told.Depth
	return result, err
}

// search takes walks that begin with one of some schedules, until enough of them
// have broken one of some properties. The walk of a number is always the same.
type search struct {
	scope      *Scope
	tamper     func(in input, m *message, r *replica, e *effect)
	begins     [][]string
	properties []string
	progress   func(events uint64) // is called by one goroutine at a time

	taken, events atomic.Uint64
	mu            sync.Mutex
	found         map[uint64][]string // schedules, by the number of the walk
}

// climb looks for one of some properties broken.
func (s *search) climb(ctx context.Context, properties []string, workers int) {
	s.properties = properties
	s.taken.Store(0)
	s.found = map[uint64][]string{}
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for ctx.Err() == nil {
				first := s.taken.Add(walksAtOnce) - walksAtOnce
				if first >= walks || s.enoughBefore(first) {
					return
				}
				s.take(first)
				s.mu.Lock()
				s.progress(s.events.Load())
				s.mu.Unlock()
			}
		})
	}
	running.Wait()
}

// enough is how many walks have to find something: of what clients see, one does.
func (s *search) enough() int {
	if len(s.properties) == 1 {
		return 1
	}
	return harms
}

// enoughBefore reports whether enough was found by lesser walks than number.
func (s *search) enoughBefore(number uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.found) < s.enough() {
		return false
	}
	before := 0
	for n := range s.found {
		if n < number {
			before++
		}
	}
	return before >= s.enough()
}

// world gives a new one, in which nothing is bounded.
func (s *search) world() *world {
	w := newWorld(s.scope, false)
	w.judgedBy(Options{Clients: true})
	w.only, w.tamper = s.properties, s.tamper
	return w
}

// schedules gives what was found, that of the least walk first.
func (s *search) schedules() [][]string {
	var list [][]string
	for _, number := range slices.Sorted(maps.Keys(s.found)) {
		list = append(list, s.found[number])
	}
	return list[:min(len(list), s.enough())]
}

// take takes some walks.
func (s *search) take(first uint64) {
	w := s.world()
	starts := make([]*state, len(s.begins))
	for number := first; number < first+walksAtOnce && !s.enoughBefore(number); number++ {
		i := number % uint64(len(s.begins))
		if starts[i] == nil {
			var happened []string
			var v *check.Violation
			if starts[i], happened, v = w.follow(s.begins[i]); v != nil {
				s.note(number, happened) // it has come to that already
				continue
			}
		}
		k := newWalker(w, starts[i], number)
		found := k.walk()
		s.events.Add(uint64(len(k.way)))
		if !found {
			continue
		}
		schedule := slices.Clone(s.begins[i])
		for _, e := range k.way {
			schedule = append(schedule, w.token(e))
		}
		s.note(number, schedule)
	}
}

func (s *search) note(number uint64, schedule []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found[number] = schedule
}

// shortest leaves out of the schedule whatever the wrong answer does not need.
func (s *search) shortest(schedule []string) []string {
	for size := len(schedule) / 2; size > 0; {
		shorter := false
		for i := 0; i < len(schedule); {
			without := append(slices.Clone(schedule[:i]), schedule[min(i+size, len(schedule)):]...)
			if _, happened, v := s.world().follow(without); v != nil && len(happened) < len(schedule) {
				schedule, shorter = happened, true
			} else {
				i += size
			}
		}
		if !shorter || size > 1 {
			size /= 2
		}
	}
	return schedule
}

// follow lets a schedule happen up to a violation. It passes over what cannot
// happen, and gives the rest.
func (w *world) follow(schedule []string) (s *state, happened []string, v *check.Violation) {
	s, err := w.start()
	if err != nil {
		return nil, nil, nil // as nothing of a boundless scope makes it do
	}
	step := &stepper{w: w, limits: w.scope.limits()}
	for _, token := range schedule {
		e, err := step.named(s, token)
		if err != nil {
			continue
		}
		happened = append(happened, token)
		if v = step.advance(s, e); v != nil {
			break
		}
	}
	return s, happened, v
}

// walker lets things happen by chance. At times one replica is cut off from the
// others: what comes to something takes two sides that do not know of each other.
type walker struct {
	w    *world
	step *stepper
	rng  *rand.Rand
	s    state
	// fresh are messages that were not delivered yet, or were sent again.
	fresh []uint32
	cut   int // which replica is cut off, if it is one
	way   []event
}

func newWalker(w *world, start *state, number uint64) *walker {
	k := &walker{w: w, step: &stepper{w: w, limits: w.scope.limits()}, rng: rand.New(rand.NewPCG(number, 0)), cut: -1}
	k.s.copyFrom(start)
	k.fresh = append(k.fresh, start.messages...)
	return k
}

// walk reports whether it came to what is looked for.
func (k *walker) walk() bool {
	for len(k.way) < walkEvents {
		e, ok := k.chance()
		if !ok {
			continue
		}
		k.way = append(k.way, e)
		o := k.w.outcomes.at(k.w.outcome(k.s.locals[e.at], e.in))
		if k.step.advance(&k.s, e) != nil {
			return true
		}
		k.fresh = append(k.fresh, o.messages...)
		if l := k.w.locals.at(k.s.locals[e.at]); l.term >= maxTerms-1 || l.live.last() >= maxIndex-2 {
			break
		}
	}
	return false
}

// chance gives something that can happen.
func (k *walker) chance() (event, bool) {
	if k.rng.IntN(12) == 0 {
		k.cut = k.rng.IntN(2*k.w.scope.members()) - k.w.scope.members()
	}
	if k.rng.IntN(5) < 3 {
		return k.delivery()
	}
	at := k.rng.IntN(k.w.scope.members())
	ops := k.w.locals.at(k.s.locals[at]).ops
	if len(ops) == 0 {
		return event{}, false
	}
	in := ops[k.rng.IntN(len(ops))]
	rare := 1
	switch in.budget() {
	case elections, contacts:
		rare = 3
	case crashes, disconnects:
		rare = 6
	case reads:
		if nibble(k.s.used, int(reads)) == maxUses {
			return event{}, false
		}
		in += input(nibble(k.s.used, int(reads)))
	}
	return event{at: at, in: in, kept: all}, k.rng.IntN(rare) == 0
}

// delivery gives the delivery of a message, mostly of one that is new.
func (k *walker) delivery() (event, bool) {
	if len(k.s.messages) == 0 {
		return event{}, false
	}
	id := k.s.messages[k.rng.IntN(len(k.s.messages))]
	if n := len(k.fresh); n > 0 && k.rng.IntN(10) > 0 {
		i := k.rng.IntN(n)
		id = k.fresh[i]
		k.fresh[i] = k.fresh[n-1]
		k.fresh = k.fresh[:n-1]
	}
	m := k.w.messages.at(id)
	apart := k.cut >= 0 && (int(m.to) == k.cut+1) != (int(m.from) == k.cut+1)
	return event{at: int(m.to) - 1, in: firstMessage + input(id), again: true, kept: all}, !apart
}
