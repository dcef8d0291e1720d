package node

import (
	"container/heap"
	"math"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
)

// groupTimers are the timers of one group. Arming one is a store: a timer that
// is pushed back again and again, as every heartbeat does, is looked at only when
// its first deadline passes.
type groupTimers struct {
	slots [timerSlots]timerSlot
	// key is the deadline under which the group stands in its worker's heap, at
	// position; it is never later than the earliest of slots.
	key      int64
	position int // zero: not in the heap; else index+1
}

type timerSlot struct {
	deadline   int64 // on the node's clock; zero: not armed
	generation uint64
}

const (
	protocolTimers = int(raft.TransferTimer) + 1
	forwardSlot    = protocolTimers + 2 // the node's own
	batchSlot      = forwardSlot + 1
	timerSlots     = batchSlot + 1
)

// slotOf places the replica's own timers behind the protocol's.
func slotOf(kind raft.TimerKind) int {
	if kind >= replica.ReadRetryTimer {
		return protocolTimers + int(kind-replica.ReadRetryTimer)
	}
	return int(kind)
}

func kindOf(slot int) raft.TimerKind {
	if slot >= protocolTimers {
		return replica.ReadRetryTimer + raft.TimerKind(slot-protocolTimers)
	}
	return raft.TimerKind(slot)
}

// earliest is the first deadline, or the largest number if no timer runs.
func (t *groupTimers) earliest() int64 {
	first := int64(math.MaxInt64)
	for i := range t.slots {
		if d := t.slots[i].deadline; d != 0 && d < first {
			first = d
		}
	}
	return first
}

// set arms or stops timers as a replica asked.
func (g *Group) setTimers(timers []raft.Timer, now int64) {
	for _, t := range timers {
		slot := &g.timers.slots[slotOf(t.Kind)]
		*slot = timerSlot{}
		if !t.Stop {
			*slot = timerSlot{deadline: now + int64(g.node.duration(t.Kind)), generation: t.Generation}
		}
	}
	if len(timers) > 0 {
		g.worker.timers.fix(g)
	}
}

// fireTimers steps the group's replica for every timer that is due.
func (g *Group) fireTimers(now int64) {
	for i := range g.timers.slots {
		slot := g.timers.slots[i]
		if slot.deadline == 0 || slot.deadline > now {
			continue
		}
		switch i {
		case forwardSlot:
			g.timers.slots[i] = timerSlot{}
			g.forwardsExpired(slot.generation)
			continue
		case batchSlot:
			g.waited(now)
			continue
		}
		kind := kindOf(i)
		if kind == raft.ElectionTimer && now-slot.deadline > int64(g.node.cfg.ElectionTimeout/2) {
			// This process was paused, and its leader's messages may be waiting
			// unread: let them be heard before campaigning (TM-04).
			g.timers.slots[i].deadline = now + int64(g.node.duration(kind))
			continue
		}
		g.timers.slots[i] = timerSlot{}
		g.step(now, func() { g.replica.TimerFired(kind, slot.generation, &g.out) })
	}
}

// timerHeap orders a worker's groups by their next deadline. Used by the worker's
// goroutine alone.
type timerHeap struct{ groups groupHeap }

// due gives a group with a deadline that has passed, or nil.
func (h *timerHeap) due(now int64) *Group {
	for len(h.groups) > 0 && h.groups[0].timers.key <= now {
		g := h.groups[0]
		if g.timers.earliest() <= now {
			return g
		}
		h.fix(g)
	}
	return nil
}

// next is the time of the first deadline; it may be early.
func (h *timerHeap) next() (int64, bool) {
	if len(h.groups) == 0 {
		return 0, false
	}
	return h.groups[0].timers.key, true
}

// fix puts a group where its timers say. A key that is too early stays until it
// passes, unless it has passed.
func (h *timerHeap) fix(g *Group) {
	t := &g.timers
	earliest := t.earliest()
	switch {
	case g.gone || earliest == math.MaxInt64:
		if t.position != 0 {
			heap.Remove(&h.groups, t.position-1)
		}
	case t.position == 0:
		t.key = earliest
		heap.Push(&h.groups, g)
	case earliest < t.key || t.key <= g.node.now():
		t.key = earliest
		heap.Fix(&h.groups, t.position-1)
	}
}

type groupHeap []*Group

func (h groupHeap) Len() int           { return len(h) }
func (h groupHeap) Less(i, j int) bool { return h[i].timers.key < h[j].timers.key }
func (h groupHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timers.position, h[j].timers.position = i+1, j+1
}

func (h *groupHeap) Push(x any) {
	g := x.(*Group)
	*h = append(*h, g)
	g.timers.position = len(*h)
}

func (h *groupHeap) Pop() any {
	old := *h
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	g.timers.position = 0
	return g
}
