package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
)

// startSchedule begins with faults, drawn or of a script; in the middle and at
// the end they cease, and the cluster has to show that it makes progress (B-28).
func (w *world) startSchedule() {
	switch {
	case w.cfg.Quiet:
		w.calm = true
		w.until(w.p.operations, w.lastCalm)
	case w.cfg.Script != nil:
		w.play(w.cfg.Script.Steps)
	default:
		w.misbehave(w.p.operations/2, w.p.faults/2, func() {
			w.healing(Heal, func() {
				w.misbehave(w.p.operations, w.p.faults, w.lastCalm)
			})
		})
	}
}

// lastCalm ends the run.
func (w *world) lastCalm() {
	w.healing(End, func() {})
}

// healing draws which quorum has to manage alone first, and heals.
func (w *world) healing(kind FaultKind, then func()) {
	f := Fault{At: time.Duration(w.now), Kind: kind}
	if !w.cfg.Quiet {
		f.Nodes, f.Draw = w.drawQuorum(w.faultRand), w.faultRand.Uint64()>>40
	}
	w.healBy(&f, then)
}

func (w *world) healBy(f *Fault, then func()) {
	w.script.Steps = append(w.script.Steps, *f)
	w.tracef("fault: %v", f)
	w.heal(f, func() {
		if f.Kind != End {
			w.calm = false
			clear(w.steady)
			then()
			return
		}
		for _, c := range w.clients {
			c.stopped = true
		}
		if w.service != nil {
			w.service.Stop()
		}
		w.poll(10*w.p.election, w.p.heartbeat, check.Progress, w.quiet, func() { w.done = true })
	})
}

// play lets the steps of a script happen. One that does not end with End is
// given time to show what it does.
func (w *world) play(steps []Fault) {
	if len(steps) == 0 {
		w.at(8*w.p.election, faultEvent, w.lastCalm)
		return
	}
	f := steps[0]
	w.at(max(0, f.At-time.Duration(w.now)), faultEvent, func() {
		switch f.Kind {
		case Heal:
			f.At = time.Duration(w.now)
			w.healBy(&f, func() { w.play(steps[1:]) })
		case End:
			f.At = time.Duration(w.now)
			w.healBy(&f, func() {})
		default:
			w.befall(&f)
			w.play(steps[1:])
		}
	})
}

// until waits for enough operations.
func (w *world) until(operations int, then func()) {
	w.at(w.p.election, faultEvent, func() {
		if w.operations >= operations {
			then()
			return
		}
		w.until(operations, then)
	})
}

// misbehave injects faults until there were enough.
func (w *world) misbehave(operations, faults int, then func()) {
	in := time.Duration(w.faultRand.ExpFloat64() * float64(w.p.mean))
	// Nothing new befalls who sleeps, or while they wake: at that moment much happens,
	// in an order that a script, which schedules its steps sooner, would not meet again.
	// Nor does anything while a scenario goes on.
	in = max(min(in, 8*w.p.mean), time.Duration(max(w.asleep, w.staged)-w.now)+1)
	w.at(in, faultEvent, func() {
		switch {
		case w.operations >= operations && w.faults >= faults:
			w.finish(then)
			return
		case w.now >= w.asleep:
			if w.p.staged > 0 && w.aimRand.Float64() < w.p.staged {
				w.stage()
			} else {
				w.inject()
			}
		}
		w.misbehave(operations, faults, then)
	})
}

// finish ends a time of faults, now and then with a scenario: what that leaves
// behind is what the cluster has to recover from.
func (w *world) finish(then func()) {
	if w.p.staged > 0 && w.aimRand.IntN(2) == 0 {
		w.stage()
	}
	w.at(max(0, time.Duration(w.staged-w.now))+1, faultEvent, then)
}

// poll asks until an answer is no error, and fails after a while.
func (w *world) poll(patience, every time.Duration, property string, ask func() error, then func()) {
	err := ask()
	switch {
	case err == nil:
		then()
	case patience <= 0:
		w.end(fmt.Errorf("%s: %w", property, err))
	default:
		w.at(every, judgeEvent, func() { w.poll(patience-every, every, property, ask, then) })
	}
}

// sound gives the nodes of which progress is demanded.
func (w *world) sound() (s NodeSet) {
	for _, n := range w.nodes {
		if !n.sick {
			s = s.With(n.id)
		}
	}
	return s
}

// led: each group has a leader that each of these nodes knows, and that runs.
func (w *world) led(nodes NodeSet) error {
	for i := range w.judges {
		var leader raft.NodeID
		for _, n := range w.nodes {
			if !nodes.Has(n.id) {
				continue
			}
			if !n.up || i >= len(n.groups) || n.groups[i].gone {
				return fmt.Errorf("node %d is not running", n.id)
			}
			g := n.groups[i]
			if g.leader == raft.None {
				return fmt.Errorf("group %d, node %d: knows no leader in term %d", g.id, n.id, g.term)
			}
			if leader == raft.None {
				leader = g.leader
			}
			if g.leader != leader {
				return fmt.Errorf("group %d: node %d follows %d, another %d", g.id, n.id, g.leader, leader)
			}
		}
		if l := w.nodes[leader-1]; !l.up || i >= len(l.groups) || l.groups[i].state != raft.Leader {
			return fmt.Errorf("group %d: node %d is followed and does not lead", i+1, leader)
		}
	}
	return nil
}

// governed: each group has a leader that most nodes follow. It need not be one of
// those that are whole, and not all of these need to hear it.
func (w *world) governed() error {
	for i := range w.judges {
		best := 0
		for _, l := range w.nodes {
			if !l.up || i >= len(l.groups) || l.groups[i].gone || l.groups[i].state != raft.Leader {
				continue
			}
			follow := 0
			for _, n := range w.nodes {
				if n.up && i < len(n.groups) && !n.groups[i].gone && n.groups[i].leader == l.id && n.groups[i].term == l.groups[i].term {
					follow++
				}
			}
			best = max(best, follow)
		}
		if best <= len(w.nodes)/2 {
			return fmt.Errorf("group %d: no leader has more than %d of %d nodes", i+1, best, len(w.nodes))
		}
	}
	return nil
}

// quiet: nothing is under way, and all replicas are equal.
func (w *world) quiet() error {
	for _, c := range w.clients {
		if c.current != nil {
			return fmt.Errorf("client %d waits", c.id)
		}
	}
	var unequal error
	for _, g := range w.judges {
		if err := g.Converged(); err != nil && !w.cfg.ClientsOnly {
			unequal = errors.Join(unequal, err)
		}
	}
	if w.service != nil {
		return errors.Join(w.service.Quiet(), unequal)
	}
	return unequal
}
