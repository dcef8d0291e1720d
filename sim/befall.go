package sim

import (
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// befall lets a fault happen, and notes it in the run's script.
func (w *world) befall(f *Fault) {
	if f.Kind >= faultKinds || int(f.Node) > len(w.nodes) || int(f.Peer) > len(w.nodes) {
		return // of a script for another cluster
	}
	f.At = time.Duration(w.now)
	w.script.Steps = append(w.script.Steps, *f)
	w.faults++
	w.coverage[f.Kind]++
	w.note(uint64(f.Kind), uint64(f.Node), f.Draw)
	w.tracef("fault: %v", f)
	if f.On != 0 {
		w.arm(f)
		return
	}
	w.strike(f)
}

// strike lets a fault do what it does.
func (w *world) strike(f *Fault) {
	if f.Node != raft.None && faultsOfNodes[f.Kind] != nil {
		faultsOfNodes[f.Kind](w.nodes[f.Node-1], f)
	} else if faultsOfAll[f.Kind] != nil {
		faultsOfAll[f.Kind](w, f)
	}
}

// rand is the chance within a fault.
func (f *Fault) rand() *rand.Rand { return stream(f.Draw, faultStream) }

var faultsOfNodes = [faultKinds]func(n *node, f *Fault){
	PowerLoss: func(n *node, f *Fault) { n.lose(f) },
	PowerLossMidCall: func(n *node, f *Fault) {
		n.disk.StopAt(n.disk.Changes() + uint64(f.Count))
		n.loss = f
		n.w.count(countMidOperation)
	},
	Kill: func(n *node, f *Fault) {
		if n.up {
			n.kill(f.Back)
		}
	},
	Pause:       func(n *node, f *Fault) { n.paused = n.w.now.after(f.For) },
	PauseLeader: func(n *node, f *Fault) { n.paused = n.w.now.after(f.For) },
	SlowDisk:    func(n *node, f *Fault) { n.fault.until, n.fault.factor = n.w.now.after(f.For), f.Factor },
	StallDisk:   func(n *node, f *Fault) { n.fault.stall = f.For },
	FailSync:    func(n *node, f *Fault) { n.failCalls(f, vfs.OpSyncData, vfs.OpSync, vfs.OpSyncDir) },
	FailWrite:   func(n *node, f *Fault) { n.failCalls(f, vfs.OpWrite, vfs.OpPreallocate, vfs.OpTruncate) },
	FailRead:    func(n *node, f *Fault) { n.failCalls(f, vfs.OpRead, vfs.OpOpenRead) },
	FailMetadata: func(n *node, f *Fault) {
		n.failCalls(f, vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpList, vfs.OpMkdir)
	},
	FullDisk:       func(n *node, f *Fault) { n.fill(f) },
	RotLog:         func(n *node, f *Fault) { n.rot(f, "wal") },
	RotSnapshot:    func(n *node, f *Fault) { n.rot(f, "snapshots") },
	MisdirectWrite: func(n *node, f *Fault) { n.loseWrite(f) },
	StaleWrite:     func(n *node, f *Fault) { n.loseWrite(f) },
	WipeDisk:       func(n *node, f *Fault) { n.wipe(f) },
	ClockJump:      func(n *node, f *Fault) { n.clock += f.By },
	ClockDrift: func(n *node, f *Fault) {
		n.setDrift(f.Percent)
		n.w.at(f.For, faultEvent, func() { n.setDrift(100) })
	},
	ConnectionLost: func(n *node, f *Fault) {
		if n.up && f.Peer != raft.None {
			n.unreachable(f.Peer, 0)
		}
	},
	Campaign: func(n *node, _ *Fault) {
		for _, g := range n.groups {
			g.call(func() { g.replica.Campaign(&g.out) })
		}
	},
	CutOneWay: func(n *node, f *Fault) {
		n.w.cutFor(f.For, func(from, to raft.NodeID) bool { return from == f.Node && to == f.Peer })
	},
	Isolate: func(n *node, f *Fault) {
		n.w.cutFor(f.For, func(from, to raft.NodeID) bool { return f.Out && from == f.Node || f.In && to == f.Node })
	},
	SlowLinks: func(n *node, f *Fault) {
		n.w.slowFor(f.For, f.By, func(from, to raft.NodeID) bool { return f.Out && from == f.Node || f.In && to == f.Node })
	},
	Bridge: func(n *node, f *Fault) {
		n.w.cutFor(f.For, func(from, to raft.NodeID) bool {
			return from != f.Node && to != f.Node && f.Nodes.Has(from) != f.Nodes.Has(to)
		})
	},
}

var faultsOfAll = [faultKinds]func(w *world, f *Fault){
	PowerLossEverywhere: func(w *world, f *Fault) {
		for _, n := range w.nodes {
			if n.everUp {
				n.lose(f)
			}
		}
	},
	Partition: func(w *world, f *Fault) {
		w.cutFor(f.For, func(from, to raft.NodeID) bool { return f.Nodes.Has(from) != f.Nodes.Has(to) })
	},
	Ring: func(w *world, f *Fault) {
		place := f.rand().Perm(len(w.nodes))
		w.cutFor(f.For, func(from, to raft.NodeID) bool {
			apart := (place[from-1] - place[to-1] + len(place)) % len(place)
			return apart != 1 && apart != len(place)-1
		})
	},
	HalfDeadSwitch: func(w *world, f *Fault) {
		r := f.rand()
		w.cutFor(f.For, func(from, to raft.NodeID) bool {
			return (f.Nodes.Has(from) || f.Nodes.Has(to)) && r.IntN(2) == 0
		})
	},
	Swizzle: func(w *world, f *Fault) {
		order := f.Nodes.list()
		back := f.rand().Perm(len(order))
		step := f.For / time.Duration(2*len(order))
		for i, id := range order {
			w.at(time.Duration(i)*step, faultEvent, func() {
				if w.calm {
					return
				}
				w.cutFor(f.For/2+time.Duration(back[i]-i)*step, func(from, to raft.NodeID) bool { return from == id || to == id })
			})
		}
	},
	LoseMessages:     func(w *world, f *Fault) { w.rain(f, func(x *weather) { x.lose = f.Percent }) },
	RepeatMessages:   func(w *world, f *Fault) { w.rain(f, func(x *weather) { x.repeat = f.Percent }) },
	DisorderMessages: func(w *world, f *Fault) { w.rain(f, func(x *weather) { x.disorder = true }) },
	DelayMessages:    func(w *world, f *Fault) { w.rain(f, func(x *weather) { x.delay = f.Percent }) },
	CorruptFrames:    func(w *world, f *Fault) { w.rain(f, func(x *weather) { x.corrupt = f.Percent }) },
	MinutesLate:      func(w *world, f *Fault) { w.sleep(f) },
}

// cutFor holds back packets on some links for a while.
func (w *world) cutFor(d time.Duration, link func(from, to raft.NodeID) bool) {
	cut := w.net.cut
	for from := range cut {
		for to := range cut[from] {
			if from == to || !link(raft.NodeID(from+1), raft.NodeID(to+1)) {
				continue
			}
			cut[from][to]++
			w.at(d, faultEvent, func() {
				if cut[from][to] > 0 { // else healed meanwhile
					cut[from][to]--
				}
			})
		}
	}
}

// slowFor lets packets on some links be late for a while.
func (w *world) slowFor(d, by time.Duration, link func(from, to raft.NodeID) bool) {
	slow := w.net.slow
	for from := range slow {
		for to := range slow[from] {
			if from == to || !link(raft.NodeID(from+1), raft.NodeID(to+1)) {
				continue
			}
			slow[from][to] += by
			healed := w.healed
			w.at(d, faultEvent, func() {
				if w.healed == healed {
					slow[from][to] -= by
				}
			})
		}
	}
}

// rain changes the weather for a while.
func (w *world) rain(f *Fault, change func(*weather)) {
	change(&w.net.weather)
	w.at(f.For, faultEvent, func() { w.net.weather = weather{} })
}

// sleep lets everything stand still for minutes, clients as well, after a while
// in which packets are recorded. They arrive again when all have woken.
func (w *world) sleep(f *Fault) {
	recorded := 2 * w.p.election
	w.net.weather.record, w.net.weather.wake = f.Percent, w.now.after(recorded+f.For)
	w.asleep = w.now // no second time
	w.at(recorded, faultEvent, func() {
		w.net.weather.record = 0
		if w.calm {
			return // healed meanwhile
		}
		w.count(countSlept)
		w.asleep = w.now.after(f.For)
		for _, n := range w.nodes {
			n.paused = max(n.paused, w.asleep)
		}
	})
}

// setDrift has the node's clock run at another speed; the timers that run go on
// with it.
func (n *node) setDrift(percent int) {
	was := n.drift
	if n.drift = max(1, percent); was == n.drift {
		return
	}
	for _, g := range n.groups {
		for i := range g.timers {
			if slot := &g.timers[i]; slot.deadline > n.w.now {
				slot.deadline = n.w.now.after(time.Duration(slot.deadline-n.w.now) * time.Duration(was) / time.Duration(n.drift))
			}
		}
		if !g.gone {
			g.setAlarm()
		}
	}
}

// kill ends the process; the machine runs on.
func (n *node) kill(back time.Duration) {
	if n.failed {
		n.doubt = true // of the batch that failed any part may be in the cache
	}
	n.w.tracef("node %d: killed", n.id)
	n.exit()
	n.restartIn(back)
}

// fill leaves little space on the disk for a while.
func (n *node) fill(f *Fault) {
	n.hurt, n.full = true, true
	disk := n.disk
	disk.SetCapacity(disk.Used() + int64(f.Count))
	n.w.at(f.For, faultEvent, func() {
		if n.disk == disk {
			disk.SetCapacity(0)
			n.full = false
		}
	})
}
