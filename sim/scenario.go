package sim

import (
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// A scenario is a few faults in a row that are aimed at one another: what takes
// single faults, drawn one by one, many thousand seeds to meet. Each of them is a
// fault like any other, in the run's script too, and nothing else befalls the
// cluster meanwhile.
type scenario int

const (
	// deposedLeader: a leader hears its peers late or not at all, and does not
	// notice soon, while others elect a new one; clients reach all of them.
	deposedLeader scenario = iota
	// rivalCandidates: nobody leads, two stand for election in one term, and who
	// votes loses power after it did.
	rivalCandidates
	// laggingFollower: a node misses so much that it needs a snapshot, and fails
	// while it receives that.
	laggingFollower

	scenarios = iota
)

var scenarioNames = [scenarios]string{
	deposedLeader: "deposed leader", rivalCandidates: "rival candidates", laggingFollower: "lagging follower",
}

// stage draws a scenario and lets it begin, if it can.
func (w *world) stage() {
	s := scenario(w.aimRand.IntN(scenarios))
	begin := [scenarios]func(*world) bool{
		deposedLeader:   (*world).deposeLeader,
		rivalCandidates: (*world).rivals,
		laggingFollower: (*world).lag,
	}[s]
	if len(w.nodes) > 1 && begin(w) {
		w.count(countScenario + counter(s))
	}
}

// later has a step of a scenario happen, unless faults have ended by then.
func (w *world) later(in time.Duration, step func()) {
	healed := w.healed
	w.staged = max(w.staged, w.now.after(in))
	w.at(in, faultEvent, func() {
		if !w.calm && w.healed == healed {
			step()
		}
	})
}

// share is a random share of a duration, up to the whole.
func (w *world) share(d time.Duration) time.Duration { return between(w.aimRand, 1, max(1, d)) }

// roundTrip is about how long a question and its answer take, written down first.
func (w *world) roundTrip() time.Duration { return 2*(w.p.latency+w.p.jitter) + w.p.syncTime }

// isolate cuts a node off, in both directions.
func (w *world) isolate(id raft.NodeID, d time.Duration) {
	w.befall(&Fault{Kind: Isolate, Node: id, In: true, Out: true, For: d})
}

func (w *world) deposeLeader() bool {
	r, t := w.aimRand, w.p.election
	group := r.IntN(len(w.judges))
	leader := w.leaderOf(group)
	if leader == nil {
		return false
	}
	old := leader.id
	d := between(r, 2*t, 7*t)
	how := r.IntN(4)
	if how < 2 {
		d += 2 * t
	}
	if how < 2 || r.IntN(3) > 0 {
		w.befall(&Fault{Kind: ClockDrift, Node: old, Percent: pick(r, 15, 30), For: d})
	}
	switch how {
	case 0, 1:
		// It goes on speaking for a while, and all that it hears is late.
		w.befall(&Fault{Kind: SlowLinks, Node: old, In: true, By: between(r, 2*t, d), For: d})
		w.later(w.share(t/2), func() {
			w.befall(&Fault{Kind: Isolate, Node: old, Out: true, For: d})
		})
	case 2: // it sleeps, and hears nobody when it wakes
		w.befall(&Fault{Kind: PauseLeader, Node: old, For: d / 2})
		w.later(w.share(t/8), func() { w.isolate(old, d) })
	default:
		w.isolate(old, d)
	}
	w.later(t+w.share(t/4), func() { w.stand(old) })
	if r.IntN(2) == 0 {
		w.later(d, func() {})
		return true
	}
	// When it is back its successor is gone in its turn.
	w.later(d+w.share(w.roundTrip()), func() {
		next := w.leaderOf(group)
		if next == nil || next.id == old {
			return
		}
		if r.IntN(2) == 0 {
			w.isolate(next.id, 4*t)
		} else {
			f := Fault{Kind: PowerLoss, Node: next.id, Draw: r.Uint64() >> 40}
			w.drawPowerLoss(&f, r)
			f.Back = between(r, 2*t, 6*t)
			w.befall(&f)
		}
		for i := range 3 {
			w.later(t+time.Duration(i)*t/2+w.share(t/8), func() {
				w.befall(&Fault{Kind: Campaign, Node: old})
			})
		}
	})
	w.later(d+4*t, func() {})
	return true
}

// stand has one of the others stand for election.
func (w *world) stand(except raft.NodeID) {
	if n := w.nodes[w.drawPeer(except, w.aimRand)-1]; n.up {
		w.befall(&Fault{Kind: Campaign, Node: n.id})
	}
}

func (w *world) rivals() bool {
	r, t := w.aimRand, w.p.election
	// Nobody hears anybody until nobody leads.
	dark := 2*t + w.share(t/2)
	for _, n := range w.nodes {
		w.isolate(n.id, dark)
	}
	order := r.Perm(len(w.nodes))
	one, other := raft.NodeID(order[0]+1), raft.NodeID(order[1]+1)
	apart := dark + between(r, 3*t, 7*t)
	w.befall(&Fault{Kind: CutOneWay, Node: one, Peer: other, For: apart})
	w.befall(&Fault{Kind: CutOneWay, Node: other, Peer: one, For: apart})
	campaign := func(n raft.NodeID) { w.befall(&Fault{Kind: Campaign, Node: n}) }
	late := r.IntN(3) == 0
	if r.IntN(3) == 0 {
		w.later(dark, func() { w.befall(&Fault{Kind: RepeatMessages, Percent: 50, For: apart - dark}) })
	}
	w.later(dark+time.Microsecond, func() {
		for _, i := range order[2:] {
			if late && r.IntN(4) > 0 {
				continue
			}
			f := Fault{
				Kind: pick(r, PowerLoss, PowerLoss, Kill), Node: raft.NodeID(i + 1), On: VoteGranted,
				Back: w.share(w.roundTrip() / 4), Draw: r.Uint64() >> 40,
			}
			if f.Kind == PowerLoss && r.IntN(4) == 0 {
				f.Data, f.Entries = pick(r, vfs.Keeps()...), pick(r, vfs.Keeps()...)
			}
			w.befall(&f)
		}
		if late {
			// The votes for one are late, and the next election is under way when
			// they come.
			w.befall(&Fault{
				Kind: SlowLinks, Node: one, In: true, On: VoteRequested,
				By: between(r, t, 5*t/2), For: 2 * w.roundTrip(),
			})
		}
		campaign(one)
		if !late {
			w.later(w.share(w.roundTrip()), func() { campaign(other) })
			return
		}
		again := t/2 + w.share(t)
		w.later(again-t/4, func() { campaign(other) }) // and learns the term
		w.later(again, func() { campaign(other) })
		w.later(again+w.share(w.roundTrip()), func() { campaign(one) })
	})
	w.later(apart, func() {})
	return true
}

func (w *world) lag() bool {
	r, t := w.aimRand, w.p.election
	n := w.nodes[r.IntN(len(w.nodes))]
	d := between(r, 4*t, 10*t)
	if l := w.leaderOf(r.IntN(len(w.judges))); l != nil && r.IntN(2) == 0 {
		// What its clients ask of it is in its log, and nowhere else; soon, for the
		// others must not have come further.
		n, d = l, between(r, 2*t, 6*t)
	}
	w.isolate(n.id, d)
	// With a disk that lets the log wait, more rests on what is not durable yet.
	stalled := r.IntN(2) == 0
	if stalled {
		w.later(d-w.share(t/4), func() {
			w.befall(&Fault{Kind: StallDisk, Node: n.id, On: SnapshotStored, For: between(r, t/2, 2*t)})
		})
	}
	for range 1 + r.IntN(2) {
		f := Fault{
			Kind: pick(r, PowerLoss, PowerLoss, PowerLoss, Kill), Node: n.id,
			On:    pick(r, SnapshotStored, SnapshotInstalled, SnapshotAcknowledged, SnapshotAcknowledged, LogCompacted),
			After: w.share(4 * w.p.syncTime), Back: w.share(t), Draw: r.Uint64() >> 40,
		}
		switch {
		case stalled:
			f.After = w.share(t / 2)
		case f.On == SnapshotAcknowledged || r.IntN(2) == 0:
			f.After = 0
		}
		if f.Kind == PowerLoss && r.IntN(2) == 0 {
			f.Data, f.Entries = pick(r, vfs.Keeps()...), pick(r, vfs.Keeps()...)
		}
		w.later(d-w.share(t/4), func() { w.befall(&f) })
	}
	if r.IntN(3) == 0 {
		// Another leader begins while the snapshot of this one is on its way.
		w.later(d+w.share(t/2), func() {
			if l := w.leaderOf(0); l != nil && l != n {
				w.isolate(l.id, 2*t)
			}
		})
	}
	w.later(d+2*t, func() {})
	return true
}

// aim lets a drawn fault wait for a moment, now and then.
func (w *world) aim(f *Fault) {
	r := w.aimRand
	switch f.Kind {
	case PowerLoss, PowerLossEverywhere, Kill, Pause, Isolate, Partition, StallDisk, SlowLinks:
	default:
		return
	}
	if w.p.aimed == 0 || r.Float64() >= w.p.aimed {
		return
	}
	f.On = Moment(1 + r.IntN(moments))
	if r.IntN(2) == 0 {
		f.After = w.share(2 * w.roundTrip())
	}
	if r.IntN(2) == 0 && f.Back > 0 {
		f.Back = w.share(w.roundTrip())
	}
	if r.IntN(2) == 0 {
		f.Node = raft.None // whoever is first
	}
}

// drawAims draws how much of what befalls this seed is aimed, and what else makes
// damage plain to clients.
func (w *world) drawAims() {
	r, p := w.aimRand, &w.p
	p.aimed = pick(r, 0, 0.2, 0.5)
	p.staged = pick(r, 0, 0.2, 0.4)
	p.hot = r.IntN(3) > 0
	if r.IntN(3) > 0 {
		p.weight[SlowLinks] = 0.1 + r.Float64()
	}
}
