package sim

import (
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// inject draws a fault and lets it happen, if it can.
func (w *world) inject() {
	r := w.faultRand
	total := 0.0
	for _, weight := range w.p.weight {
		total += weight
	}
	x := r.Float64() * total
	kind := FaultKind(0)
	for x -= w.p.weight[0]; x > 0 && kind < faultKinds-1; x -= w.p.weight[kind] {
		kind++
	}
	f := Fault{At: time.Duration(w.now), Kind: kind, Node: w.nodes[r.IntN(len(w.nodes))].id, Draw: r.Uint64() >> 40}
	if w.drawFault(&f) {
		w.aim(&f)
		w.befall(&f)
	}
}

// drawFault fills in what the kind uses. It reports false if the fault makes no
// sense now.
func (w *world) drawFault(f *Fault) bool {
	r, t := w.faultRand, w.p.election
	f.For = between(r, t/4, 6*t)
	n := w.nodes[f.Node-1]
	many := len(w.nodes) > 1
	switch f.Kind {
	case PowerLoss, PowerLossEverywhere:
		w.drawPowerLoss(f, r)
		return n.everUp
	case PowerLossMidCall:
		w.drawPowerLoss(f, r)
		f.Count = 1 + r.IntN(pick(r, 4, 16, 64))
		return n.up
	case Kill:
		f.For, f.Draw, f.Back = 0, 0, between(r, 0, 4*t)
		return n.up
	case CutOneWay:
		f.Peer, f.Draw = w.drawPeer(f.Node, r), 0
	case Partition:
		f.Node, f.Draw = 0, 0
		f.Nodes = w.drawNodes(r)
	case Isolate:
		l := w.leaderOf(r.IntN(len(w.judges)))
		if l == nil {
			return false
		}
		f.Node, f.Draw = l.id, 0
		f.Out = r.IntN(3) > 0
		f.In = !f.Out || r.IntN(2) == 0
	case Ring:
		f.Node = 0
		return len(w.nodes) > 3
	case Bridge:
		f.Draw = 0
		f.Nodes = w.drawNodes(r) &^ (1 << f.Node)
		return len(w.nodes) > 2
	case HalfDeadSwitch:
		f.Node, f.Nodes = 0, w.drawNodes(r)
	case Swizzle:
		f.Node, f.Nodes = 0, w.drawNodes(r)
	case LoseMessages:
		f.Node, f.Draw, f.Percent = 0, 0, pick(r, 2, 10, 30)
	case RepeatMessages:
		f.Node, f.Draw, f.Percent = 0, 0, pick(r, 2, 10, 50)
	case DisorderMessages:
		f.Node, f.Draw = 0, 0
	case DelayMessages:
		f.Node, f.Draw, f.Percent = 0, 0, pick(r, 1, 5, 20)
	case CorruptFrames:
		f.Node, f.Draw, f.Percent = 0, 0, pick(r, 1, 5, 20)
	case MinutesLate:
		f.Node, f.Draw, f.Percent = 0, 0, pick(r, 5, 20, 60)
		f.For = between(r, time.Minute, 4*time.Minute)
		// A service's clients do not sleep. Nobody sleeps twice.
		return many && w.service == nil && w.asleep == 0
	case Pause:
		f.Draw = 0
		return true
	case PauseLeader:
		l := w.leaderOf(r.IntN(len(w.judges)))
		if l == nil {
			return false
		}
		f.Node, f.Draw = l.id, 0
		return true
	case SlowDisk:
		f.Draw, f.Factor = 0, pick(r, 4, 16, 64)
		return true
	case StallDisk:
		f.Draw = 0
		return true
	case FailSync, FailMetadata:
		f.For, f.Count, f.OneOf = 0, 1, pick(r, 1, 4)
		return true
	case FailWrite:
		f.For, f.Count, f.OneOf = 0, 1, pick(r, 1, 8)
		return true
	case FailRead:
		f.For, f.Count, f.OneOf = 0, 1+r.IntN(4), pick(r, 1, 4)
		return true
	case FullDisk:
		f.Draw, f.Count = 0, 1+r.IntN(8<<10)
		return true
	case RotLog, RotSnapshot, MisdirectWrite, StaleWrite:
		f.For = 0
		return n.everUp && w.mayHurt(n)
	case WipeDisk:
		f.For, f.Draw, f.Back = 0, 0, between(r, 0, 4*t)
		return n.everUp && w.mayHurt(n)
	case ClockJump:
		f.For, f.Draw = 0, 0
		f.By = pick(r, time.Second, time.Minute, time.Hour)
		if f.By = between(r, -f.By, f.By); f.By == 0 {
			f.By = -time.Nanosecond
		}
		return true
	case ClockDrift:
		f.Draw, f.Percent = 0, pick(r, 70, 90, 110, 150)
		return true
	case ConnectionLost:
		f.For, f.Draw, f.Peer = 0, 0, w.drawPeer(f.Node, r)
		return n.up && many
	case Campaign:
		f.For, f.Draw = 0, 0
		return n.up
	case SlowLinks:
		f.Draw, f.By = 0, between(r, w.p.latency, 2*t)
		f.Out = r.IntN(3) > 0
		f.In = !f.Out || r.IntN(2) == 0
	}
	return many
}

func (w *world) drawPowerLoss(f *Fault, r *rand.Rand) {
	f.For, f.Back = 0, between(r, 0, 6*w.p.election)
	f.Data, f.Entries = pick(r, vfs.Keeps()...), pick(r, vfs.Keeps()...)
	if r.IntN(4) == 0 {
		f.Data, f.Entries = vfs.KeepNone, vfs.KeepNone
	}
}

func (w *world) drawPeer(of raft.NodeID, r *rand.Rand) raft.NodeID {
	peer := raft.NodeID(1 + r.IntN(len(w.nodes)))
	if peer == of {
		peer = of%raft.NodeID(len(w.nodes)) + 1
	}
	return peer
}

// drawNodes draws some of the nodes, not all.
func (w *world) drawNodes(r *rand.Rand) (s NodeSet) {
	for _, n := range w.nodes {
		if r.IntN(2) == 0 {
			s = s.With(n.id)
		}
	}
	if len(s.list()) == len(w.nodes) || s == 0 {
		s = NodeSet(0).With(w.nodes[r.IntN(len(w.nodes))].id)
	}
	return s
}

// drawQuorum draws a smallest quorum of the nodes that are sound.
func (w *world) drawQuorum(r *rand.Rand) (s NodeSet) {
	var sound []raft.NodeID
	for _, n := range w.nodes {
		if !n.sick {
			sound = append(sound, n.id)
		}
	}
	r.Shuffle(len(sound), func(i, j int) { sound[i], sound[j] = sound[j], sound[i] })
	for _, id := range sound[:len(w.nodes)/2+1] {
		s = s.With(id)
	}
	return s
}

func (w *world) leaderOf(group int) *node {
	for _, n := range w.nodes {
		if n.up && group < len(n.groups) && n.groups[group].state == raft.Leader && !n.groups[group].gone {
			return n
		}
	}
	return nil
}

// exist reports whether every group was created.
func (w *world) exist() bool {
	for _, g := range w.judges {
		if g.Committed() == 0 {
			return false
		}
	}
	return true
}
