package explore

import (
	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
)

// event is one thing that happens in a group.
type event struct {
	at int // which replica
	in input
	// Of a bounded network: the message stays, for another delivery; of what the
	// replica sends, only these are not lost, as bits.
	again bool
	kept  uint16
}

// all keeps whatever is sent.
const all = ^uint16(0)

// stepper makes the successors of a state.
type stepper struct {
	w      *world
	limits [budgets]int
	next   state
	// prune drops answers that will be ignored.
	prune bool
	// transitions counts the events tried, each with each choice of losses.
	transitions uint64
}

// visitor is given each successor; next is valid until it returns. It tells
// whether to go on.
type visitor func(e event, next *state, err *check.Violation) bool

// successors visits what can happen in s.
func (t *stepper) successors(s *state, visit visitor) bool {
	for at := range t.w.scope.members() {
		for _, in := range t.w.locals.at(s.locals[at]).ops {
			b := in.budget()
			if b != unbounded && t.limits[b] != Unlimited && nibble(s.used, int(b)) >= uint64(t.limits[b]) {
				continue
			}
			if b == reads {
				in += input(nibble(s.used, int(reads)))
			}
			if !t.happens(s, event{at: at, in: in, kept: all}, visit) {
				return false
			}
		}
	}
	bounded := t.w.scope.InFlight > 0
	for _, id := range s.messages {
		e := event{at: int(t.w.messages.at(id).to) - 1, in: firstMessage + input(id), again: !bounded, kept: all}
		if !t.happens(s, e, visit) {
			return false
		}
		if limit := t.limits[duplicates]; bounded && (limit == Unlimited || nibble(s.used, int(duplicates)) < uint64(limit)) {
			e.again = true
			if !t.happens(s, e, visit) {
				return false
			}
		}
	}
	return true
}

// happens makes the successors of one event: one, unless the network is bounded,
// when any of the messages sent may be lost. What is lost is lost at once: to lose
// it later brings nothing new.
func (t *stepper) happens(s *state, e event, visit visitor) bool {
	o := t.w.outcomes.at(t.w.outcome(s.locals[e.at], e.in))
	if t.w.scope.InFlight == 0 {
		return t.follow(s, e, o, visit)
	}
	n := len(o.messages)
	for kept := range uint16(1) << n {
		e.kept = kept
		if !t.follow(s, e, o, visit) {
			return false
		}
	}
	return true
}

// advance makes s the successor of an event, where no choice of losses makes it one of
// several; nothing of s changes if the event does not happen.
func (t *stepper) advance(s *state, e event) (violation *check.Violation) {
	t.happens(s, e, func(_ event, next *state, err *check.Violation) bool {
		s.copyFrom(next)
		violation = err
		return true
	})
	return violation
}

// follow makes the successor of an event whose outcome is known.
func (t *stepper) follow(s *state, e event, o *outcome, visit visitor) bool {
	t.transitions++
	if o.broken {
		return t.w.clients || visit(e, s, o.err)
	}
	removes := e.in >= firstMessage && !e.again
	if o == t.w.outcomes.at(idle) && !removes {
		return true
	}
	n := &t.next
	n.copyFrom(s)
	if removes {
		n.removeMessage(uint32(e.in - firstMessage))
	}
	bounded := t.w.scope.InFlight > 0
	if bounded && e.again {
		t.use(n, duplicates)
	}
	if o == t.w.outcomes.at(idle) {
		return visit(e, n, nil)
	}
	n.locals[e.at] = o.next
	if e.in < firstMessage {
		if b := e.in.budget(); b != unbounded {
			if b == reads {
				n.asked(e.in)
			}
			t.use(n, b)
		}
	}
	err := o.err
	if was := t.w.locals.at(s.locals[e.at]); t.w.clients {
		err = (&clientJudge{w: t.w, s: n, at: e.at, was: was}).judge(o)
	} else if err == nil {
		err = (&groupJudge{w: t.w, s: n, at: e.at, was: was}).judge(o)
	}
	t.w.forget(n, e.at, t.prune && o.settled)
	for i, id := range o.messages {
		m := t.w.messages.at(id)
		if e.kept>>i&1 == 0 || t.prune && t.w.locals.at(n.locals[m.to-1]).ignores(m) {
			if e.kept != all && e.kept>>i&1 != 0 {
				return true // the same as losing it
			}
			continue
		}
		if !n.hasMessage(id) {
			n.addMessage(id)
		} else if e.kept != all {
			return true // likewise
		}
	}
	if bounded && len(n.messages) > t.w.scope.InFlight {
		return true
	}
	return visit(e, n, err)
}

// use counts what is bounded.
func (t *stepper) use(s *state, b budget) {
	if t.limits[b] != Unlimited && nibble(s.used, int(b)) < maxUses {
		s.used += 1 << (4 * b)
	}
}

// start gives the first state: replicas with nothing on their disks but the
// initial configuration.
func (w *world) start() (*state, error) {
	s := &state{}
	for i := range w.scope.members() {
		disk := record{first: 1, snapshot: raft.SnapshotMeta{
			Configuration: raft.ConfigurationEntry{Configuration: w.scope.configuration()},
		}}
		e := &effect{}
		r, err := newReplica(w.scope, raft.NodeID(i+1), disk, e)
		if err != nil {
			return nil, err
		}
		r.settle(e)
		s.locals[i] = w.local(r)
	}
	return s, nil
}
