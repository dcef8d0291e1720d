package explore

import (
	"bytes"
	"fmt"

	"github.com/quorate/quorate/raft"
)

// What Options.NoMemory does: it puts to the test what the memory rests on, that
// raft.Raft is a function and that equal encodings are equal states.

// compare runs an event once more: the same must come of it.
func (w *world) compare(from uint32, in input, remembered uint32) {
	o := w.run(from, in)
	want := *w.outcomes.at(remembered)
	if remembered == idle {
		want.next = from
	}
	if o.next != want.next || fmt.Sprint(o.messages, o.reads, o.err) != fmt.Sprint(want.messages, want.reads, want.err) {
		panic(fmt.Sprintf("explore: event %d in state %d led to %+v, and now to %+v", in, from, want, o))
	}
}

// twinsMax is how many replicas of one state are compared: they came to it by
// different ways.
const twinsMax = 8

// compareTwins gives a replica, and the one that stands for its state, each event
// that is known: the same must come of it at both.
func (w *world) compareTwins(id uint32, r *replica) {
	w.mu.Lock()
	w.twins[id]++
	enough := w.twins[id] > twinsMax
	messages := w.messages.n
	w.mu.Unlock()
	l := w.locals.at(id)
	if enough || l.replica == r {
		return
	}
	for _, in := range l.ops {
		w.compareTwin(l.replica, r, in, nil)
	}
	for i := range messages {
		if m := w.messages.at(uint32(i)); m.to == r.id {
			w.compareTwin(l.replica, r, firstMessage+input(i), &m.message)
		}
	}
}

func (w *world) compareTwin(a, b *replica, in input, m *message) {
	one, oneEffect, oneErr := attempt(a.clone(), in, m)
	two, twoEffect, twoErr := attempt(b.clone(), in, m)
	if fmt.Sprint(oneErr) != fmt.Sprint(twoErr) {
		panic(fmt.Sprintf("explore: event %d in equal states ends in %v and in %v", in, oneErr, twoErr))
	}
	if oneErr != nil {
		return
	}
	identity := func(id raft.NodeID) raft.NodeID { return id }
	var x, y []byte
	for i := range oneEffect.messages {
		x = oneEffect.messages[i].append(x, identity)
	}
	for i := range twoEffect.messages {
		y = twoEffect.messages[i].append(y, identity)
	}
	x, y = one.append(x, identity), two.append(y, identity)
	if !bytes.Equal(x, y) || fmt.Sprint(oneEffect.reads) != fmt.Sprint(twoEffect.reads) {
		panic(fmt.Sprintf("explore: event %d in equal states leads to\n%x\nand\n%x\n%+v\n%+v", in, x, y, one.core.Status(), two.core.Status()))
	}
}
