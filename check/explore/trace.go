package explore

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
)

// Trace is a way to a state.
type Trace struct {
	Scope Scope
	// Schedule replays it: see Replay.
	Schedule string
	// Story tells what happens, and why, a line each.
	Story []string
	// Steps is how many events there are.
	Steps int
}

// retrace goes the way to a violation once more, from each state to the next,
// since only fingerprints and predecessors were kept. It calls step with each state
// and what happens in it.
func (x *explorer) retrace(f *finding, step func(s *state, e event)) *check.Violation {
	var prints []uint64
	number := f.parent
	for number != 0 {
		b := *x.blocks.at(number / blockStates)
		prints = append(prints, b.prints[number%blockStates])
		number = b.parent[number%blockStates]
	}
	slices.Reverse(prints)
	steps := &stepper{w: x.w, limits: x.w.scope.limits(), prune: x.prunes()}
	s := &state{}
	s.copyFrom(x.first)
	for _, print := range prints {
		var way event
		to := &state{}
		steps.successors(s, func(e event, next *state, err *check.Violation) bool {
			if err != nil || x.w.fingerprint(next) != print {
				return true
			}
			way = e
			to.copyFrom(next)
			return false
		})
		step(s, way)
		s = to
	}
	// The state before the violation may be another by name than that in which it
	// was found: look for it again.
	var last event
	violation := f.violation
	steps.successors(s, func(e event, _ *state, err *check.Violation) bool {
		if err != nil && err.Property == f.violation.Property {
			last, violation = e, err
			return false
		}
		return true
	})
	step(s, last)
	return violation
}

// teller writes a trace.
type teller struct {
	w      *world
	tokens []string
	trace  *Trace
}

func newTeller(w *world) *teller { return &teller{w: w, trace: &Trace{Scope: *w.scope}} }

// tell tells one event in a state of the group, by letting it happen once more.
func (t *teller) tell(s *state, e event) {
	l := t.w.locals.at(s.locals[e.at])
	id := e.at + 1
	var m *message
	what := ""
	if e.in >= firstMessage {
		in := t.w.messages.at(uint32(e.in - firstMessage))
		m = &in.message
		what = "receives " + m.String()
		if e.again && t.w.scope.InFlight > 0 {
			what += ", which will come again"
		}
	} else {
		what = e.in.describe(l.replica)
	}
	t.trace.Steps++
	t.tokens = append(t.tokens, t.w.token(e))
	t.trace.Story = append(t.trace.Story, fmt.Sprintf("%3d. %d  %s", t.trace.Steps, id, what))
	after, effect, err := attempt(l.replica.clone(), e.in, m)
	for _, ev := range effect.events {
		t.trace.Story = append(t.trace.Story, fmt.Sprintf("        %v", ev))
	}
	for i := range effect.messages {
		note := ""
		o := t.w.outcomes.at(t.w.outcome(s.locals[e.at], e.in))
		if number := slices.Index(o.messages, t.w.message(&effect.messages[i])); e.kept != all && number >= 0 && e.kept>>number&1 == 0 {
			note = " (lost)"
		}
		t.trace.Story = append(t.trace.Story, fmt.Sprintf("        -> %v%s", &effect.messages[i], note))
	}
	if err == nil && after.live().log != l.live {
		t.trace.Story = append(t.trace.Story, fmt.Sprintf("        log %v, on disk %v", after.live().log, after.disk.log))
	}
	t.trace.Schedule = strings.Join(t.tokens, " ")
}

// broken ends the trace.
func (t *teller) broken(v *check.Violation) *Trace {
	t.trace.Story = append(t.trace.Story, "", "BROKEN "+v.Error())
	return t.trace
}

// token names an event in a schedule.
func (w *world) token(e event) string {
	if e.in < firstMessage {
		return fmt.Sprintf("%d%s", e.at+1, e.in.token())
	}
	again := ""
	if e.again && w.scope.InFlight > 0 {
		again = "+"
	}
	return fmt.Sprintf("%d%s%s", e.at+1, w.messages.at(uint32(e.in-firstMessage)).token(), again)
}

// token names a message in a schedule.
func (m *interned) token() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], m.hashes[0])
	return ":" + hex.EncodeToString(b[:4])
}

// ErrSchedule is wrapped by what Replay says of a schedule that makes no sense.
var ErrSchedule = fmt.Errorf("explore: schedule")

// Replay lets a schedule happen: events separated by blanks, each the id of a
// replica and what happens there, as a Trace has them. It tells the story, and the
// violation if there is one, by the judges that options name.
func Replay(scope Scope, schedule string, options Options) (Result, error) {
	if err := scope.Validate(); err != nil {
		return Result{}, err
	}
	w := newWorld(scope.boundless(), false)
	w.judgedBy(options)
	if options.Clients {
		w.only = rungs[len(rungs)-1]
		if r, err := w.replay(schedule); err != nil || r.Violation != nil {
			return r, err
		}
		w.only = rungs[0] // no client has seen anything: is it unsafe?
	}
	return w.replay(schedule)
}

func (w *world) replay(schedule string) (Result, error) {
	s, err := w.start()
	if err != nil {
		return Result{}, err
	}
	t := newTeller(w)
	step := &stepper{w: w, limits: w.scope.limits()}
	var result Result
	for _, token := range strings.Fields(schedule) {
		e, err := step.named(s, token)
		if err != nil {
			return result, fmt.Errorf("%w after %d events", err, t.trace.Steps)
		}
		t.tell(s, e)
		if result.Violation = step.advance(s, e); result.Violation != nil {
			t.broken(result.Violation)
			break
		}
	}
	result.Trace = t.trace
	result.Depth = t.trace.Steps
	return result, nil
}

// named gives the event that a token of a schedule names. The error wraps ErrSchedule.
func (t *stepper) named(s *state, token string) (event, error) {
	id, name, ok := splitToken(strings.TrimSuffix(token, "+"))
	if !ok || id > t.w.scope.members() {
		return event{}, fmt.Errorf("%w: %q names no replica", ErrSchedule, token)
	}
	at := id - 1
	if strings.HasPrefix(name, ":") {
		for _, id := range s.messages {
			if m := t.w.messages.at(id); m.to == raft.NodeID(at+1) && m.token() == name {
				return event{at: at, in: firstMessage + input(id), again: true, kept: all}, nil
			}
		}
	} else {
		for _, in := range t.w.locals.at(s.locals[at]).replica.operations() {
			if in.budget() == reads {
				in += input(nibble(s.used, int(reads)))
			}
			if in.token() == name {
				return event{at: at, in: in, kept: all}, nil
			}
		}
	}
	return event{}, fmt.Errorf("%w: %q cannot happen", ErrSchedule, token)
}
