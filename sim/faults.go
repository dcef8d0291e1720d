package sim

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// faultKind is a kind of fault that befalls the cluster.
type faultKind int

const (
	powerLoss faultKind = iota
	powerLossOfAll
	midOperation
	kill
	cutOneWay
	partition
	isolateLeader
	loseMessages
	repeatMessages
	disorderMessages
	delayMessages
	pause
	pauseLeader
	slowDisk
	stallDisk
	failSync
	failWrite
	failRead
	failMetadata
	fullDisk
	connectionLost
	campaign

	faultKinds
)

var faultNames = [faultKinds]string{
	"power lost", "power lost everywhere", "power lost between two disk calls", "process killed", "link cut one way",
	"partition", "leader isolated", "messages lost", "messages repeated", "messages disordered", "messages delayed",
	"process paused", "leader paused", "disk slow", "disk stalls", "disk fails to sync", "disk fails to write",
	"disk fails to read", "disk fails to create, rename, remove", "disk full", "connection lost", "election forced",
}

// startSchedule begins with faults; in the middle and at the end they cease, and
// the cluster has to show that it makes progress (B-28).
func (w *world) startSchedule() {
	if w.cfg.Quiet {
		w.calm = true
		w.until(w.p.operations, 0, w.lastCalm)
		return
	}
	w.misbehave(w.p.operations/2, w.p.faults/2, func() {
		w.heal(func() {
			w.calm = false
			w.misbehave(w.p.operations, w.p.faults, w.lastCalm)
		})
	})
}

func (w *world) lastCalm() {
	w.heal(func() {
		for _, c := range w.clients {
			c.stopped = true
		}
		if w.service != nil {
			w.service.Stop()
		}
		w.poll(10*w.p.election, w.p.heartbeat, check.Progress, w.quiet, func() { w.done = true })
	})
}

// until waits for enough operations and faults.
func (w *world) until(operations, faults int, then func()) {
	w.at(w.p.election, faultEvent, func() {
		if w.operations >= operations && w.faults >= faults {
			then()
			return
		}
		w.until(operations, faults, then)
	})
}

// misbehave injects faults until there were enough.
func (w *world) misbehave(operations, faults int, then func()) {
	in := time.Duration(w.faultRand.ExpFloat64() * float64(w.p.mean))
	w.at(min(in, 8*w.p.mean), faultEvent, func() {
		if w.operations >= operations && w.faults >= faults {
			then()
			return
		}
		w.inject()
		w.misbehave(operations, faults, then)
	})
}

// heal ends all faults and demands progress: of each group a leader within ten
// timeouts, then within ten more that every node answers.
func (w *world) heal(then func()) {
	w.calm = true
	w.tracef("all faults end")
	w.net.weather = weather{}
	for a := range w.net.cut {
		clear(w.net.cut[a])
	}
	settled := w.now
	for _, n := range w.nodes {
		n.disk.SetHook(nil)
		n.disk.SetCapacity(0)
		n.disk.StopAt(0)
		n.fault, n.failing, n.full = diskFault{}, false, false
		if n.paused > w.now {
			settled = max(settled, n.paused)
		}
		stopped := n.failed
		for _, g := range n.groups {
			stopped = stopped || g.gone
		}
		switch {
		case n.up && n.failed:
			n.lose()
		case n.up && stopped:
			n.kill()
		}
		if !n.up {
			n.start()
		}
		if n.syncer.stalled > w.now {
			settled = max(settled, n.syncer.stalled)
		}
	}
	w.at(time.Duration(settled-w.now), judgeEvent, func() {
		w.poll(10*w.p.election, w.p.election/4, check.Progress, w.led, func() {
			w.probe(func() {
				w.count(countProgress)
				then()
			})
		})
	})
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

// led: each group has a leader that each node knows.
func (w *world) led() error {
	for i := range w.judges {
		var leader raft.NodeID
		for _, n := range w.nodes {
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
	for _, g := range w.judges {
		if err := g.Converged(); err != nil && !w.cfg.ClientsOnly {
			return err
		}
	}
	if w.service != nil {
		return w.service.Quiet()
	}
	return nil
}

// inject draws a fault and lets it happen.
func (w *world) inject() {
	r := w.faultRand
	total := 0.0
	for _, weight := range w.p.weight {
		total += weight
	}
	x := r.Float64() * total
	kind := faultKind(0)
	for x -= w.p.weight[0]; x > 0 && kind < faultKinds-1; x -= w.p.weight[kind] {
		kind++
	}
	n := w.nodes[r.IntN(len(w.nodes))]
	if !w.befall(kind, n) {
		return
	}
	w.faults++
	w.coverage[kind]++
	w.note(uint64(kind), uint64(n.id))
}

func (w *world) befall(kind faultKind, n *node) bool {
	r, t := w.faultRand, w.p.election
	long := between(r, t/4, 6*t)
	switch kind {
	case powerLoss:
		if !n.everUp {
			return false
		}
		n.lose()
	case powerLossOfAll:
		for _, n := range w.nodes {
			if n.everUp {
				n.lose()
			}
		}
	case midOperation:
		if !n.up {
			return false
		}
		n.loseSoon(uint64(1 + r.IntN(pick(r, 4, 16, 64))))
	case kill:
		if !n.up {
			return false
		}
		n.kill()
	case cutOneWay:
		a, b := r.IntN(len(w.nodes)), r.IntN(len(w.nodes))
		if a == b {
			return false
		}
		w.tracef("fault: %d no longer reaches %d", a+1, b+1)
		w.cutFor(long, func(from, to int) bool { return from == a && to == b })
	case partition:
		if len(w.nodes) == 1 {
			return false
		}
		side := make([]bool, len(w.nodes))
		for i := range side {
			side[i] = r.IntN(2) == 0
		}
		w.tracef("fault: partition %v", side)
		w.cutFor(long, func(from, to int) bool { return side[from] != side[to] })
	case isolateLeader:
		l := w.leaderOf(r.IntN(len(w.judges)))
		if l == nil || len(w.nodes) == 1 {
			return false
		}
		out := r.IntN(3) > 0
		in := !out || r.IntN(2) == 0
		w.tracef("fault: leader %d is cut off, out %v, in %v", l.id, out, in)
		w.cutFor(long, func(from, to int) bool {
			return out && from == int(l.id)-1 || in && to == int(l.id)-1
		})
	case loseMessages:
		w.rain(long, func(x *weather) { x.lose = pick(r, 0.02, 0.1, 0.3) })
	case repeatMessages:
		w.rain(long, func(x *weather) { x.repeat = pick(r, 0.02, 0.1, 0.5) })
	case disorderMessages:
		w.rain(long, func(x *weather) { x.disorder = true })
	case delayMessages:
		w.rain(long, func(x *weather) { x.delay = pick(r, 0.01, 0.05, 0.2) })
	case pause:
		n.pauseFor(long)
	case pauseLeader:
		l := w.leaderOf(r.IntN(len(w.judges)))
		if l == nil {
			return false
		}
		l.pauseFor(long)
	case slowDisk:
		w.tracef("fault: node %d: slow disk", n.id)
		n.fault.until, n.fault.factor = w.now.after(long), pick(r, 4, 16, 64)
	case stallDisk:
		w.tracef("fault: node %d: disk stalls for %v", n.id, long)
		n.fault.stall = long
	case failSync:
		n.failCalls(1, pick(r, 1, 4), vfs.OpSyncData, vfs.OpSync, vfs.OpSyncDir)
	case failWrite:
		n.failCalls(1, pick(r, 1, 8), vfs.OpWrite, vfs.OpPreallocate, vfs.OpTruncate)
	case failRead:
		n.failCalls(1+r.IntN(4), pick(r, 1, 4), vfs.OpRead, vfs.OpOpenRead)
	case failMetadata:
		n.failCalls(1, pick(r, 1, 4), vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpList, vfs.OpMkdir)
	case fullDisk:
		n.fillFor(long)
	case connectionLost:
		if !n.up || len(w.nodes) == 1 {
			return false
		}
		n.unreachable(w.nodes[r.IntN(len(w.nodes))].id, 0)
	case campaign:
		if !n.up {
			return false
		}
		for _, g := range n.groups {
			g.call(func() { g.replica.Campaign(&g.out) })
		}
	default:
		return false
	}
	return true
}

func (w *world) leaderOf(group int) *node {
	for _, n := range w.nodes {
		if n.up && group < len(n.groups) && n.groups[group].state == raft.Leader {
			return n
		}
	}
	return nil
}

// cutFor holds back packets on some links for a while.
func (w *world) cutFor(d time.Duration, link func(from, to int) bool) {
	cut := w.net.cut
	for from := range cut {
		for to := range cut[from] {
			if from != to && link(from, to) {
				cut[from][to]++
				w.at(d, faultEvent, func() {
					if cut[from][to] > 0 { // else healed meanwhile
						cut[from][to]--
					}
				})
			}
		}
	}
}

// rain changes the weather for a while.
func (w *world) rain(d time.Duration, change func(*weather)) {
	change(&w.net.weather)
	w.tracef("fault: weather %+v", w.net.weather)
	w.at(d, faultEvent, func() { w.net.weather = weather{} })
}

// kill ends the process; the machine runs on.
func (n *node) kill() {
	if n.failed {
		n.doubt = true // of the batch that failed any part may be in the cache
	}
	n.w.tracef("node %d: killed", n.id)
	n.exit()
	n.restartIn(between(n.w.faultRand, 0, 4*n.w.p.election))
}

// pauseFor stops the process for a while (SIGSTOP).
func (n *node) pauseFor(d time.Duration) {
	n.w.tracef("fault: node %d: paused for %v", n.id, d)
	n.paused = n.w.now.after(d)
}

// loseSoon takes the power away before the calls-th call from now that changes
// the disk.
func (n *node) loseSoon(calls uint64) {
	n.w.tracef("fault: node %d: %d disk calls are left", n.id, calls-1)
	n.disk.StopAt(n.disk.Changes() + calls)
	n.w.count(countMidOperation)
}

// fillFor leaves little space on the disk for a while.
func (n *node) fillFor(d time.Duration) {
	n.w.tracef("fault: node %d: disk full for %v", n.id, d)
	n.hurt, n.full = true, true
	disk := n.disk
	disk.SetCapacity(disk.Used() + int64(n.w.faultRand.IntN(8<<10)) + 1)
	n.w.at(d, faultEvent, func() {
		if n.disk == disk {
			disk.SetCapacity(0)
			n.full = false
		}
	})
}
