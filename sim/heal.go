package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
)

// Within how many of the longest election timeouts a quorum that was healed has
// to have a leader, and has to have committed, from the moment at which it runs.
const (
	leaderWithin = 3
	commitWithin = 5
	// behind is how many entries a node may lack, and be in time for that: all of
	// the quorum may be needed to commit.
	behind = 64
	// catchUpWithin is in how many election timeouts a node that lacks more has to
	// catch up with as many, and one that lacks less with half, which is much where
	// links are slow, windows narrow and clients busy.
	catchUpWithin = 10
)

// longest is the longest time for which an election timer runs.
func (w *world) longest() time.Duration { return 2 * w.p.election }

// heal ends all faults, in two steps. First a quorum is whole and has to show
// progress alone: the others stay as they are, and the links to them are cut, cut
// in one direction or open. Then all are whole; each has to know a leader within
// ten timeouts, to catch up, and to answer within ten more.
func (w *world) heal(f *Fault, then func()) {
	w.calm = true
	w.healed++
	w.armed = w.armed[:0]
	w.net.heal()
	quorum := f.Nodes & w.sound()
	if 2*len(quorum.list()) <= len(w.nodes) || !w.exist() {
		// None is asked for, or is left; or all are needed to create a group.
		w.healRest(then)
		return
	}
	r := f.rand()
	settled := w.now
	for _, a := range w.nodes {
		if quorum.Has(a.id) {
			settled = max(settled, a.mend())
		}
		for _, b := range w.nodes {
			if quorum.Has(a.id) && quorum.Has(b.id) {
				w.net.cut[a.id-1][b.id-1] = 0
			} else if quorum.Has(a.id) != quorum.Has(b.id) {
				w.net.apart[a.id-1][b.id-1] = r.IntN(3) > 0
			}
		}
	}
	w.at(time.Duration(settled-w.now), judgeEvent, func() {
		begun := w.now
		w.tracef("nodes %v are whole", quorum)
		every := w.p.election / 8
		w.poll(leaderWithin*w.longest(), every, check.Progress, w.governed, func() {
			w.slowest.leader = max(w.slowest.leader, float64(w.now-begun)/float64(w.longest()))
			left := commitWithin*w.longest() - time.Duration(w.now-begun)
			for lag := slices.Max(w.lags(quorum, w.newest())); lag > behind; lag -= behind {
				left += catchUpWithin * w.p.election
			}
			w.probe(0, left, func() {
				w.slowest.commit = max(w.slowest.commit, float64(w.now-begun)/float64(w.longest()))
				w.count(countQuorumProgress)
				w.healRest(then)
			})
		})
	})
}

// healRest makes all whole that can be.
func (w *world) healRest(then func()) {
	w.tracef("all faults end")
	w.net.heal()
	settled := w.now
	for a := range w.net.cut {
		clear(w.net.cut[a])
		clear(w.net.apart[a])
	}
	for _, n := range w.nodes {
		settled = max(settled, n.mend())
	}
	w.at(time.Duration(settled-w.now), judgeEvent, func() {
		w.poll(10*w.p.election, w.p.election/4, check.Progress, func() error { return w.led(w.sound()) }, func() {
			for i := range w.judges {
				w.steady[i] = w.judges[i].LastTerm()
			}
			newest := w.newest()
			w.catchUp(w.lags(w.sound(), newest), newest, func() {
				w.probe(w.sound(), 10*w.p.election, func() {
					w.count(countProgress)
					then()
				})
			})
		})
	})
}

// catchUp waits until everyone has applied what was committed when it began.
func (w *world) catchUp(before, committed []raft.Index, then func()) {
	w.poll(catchUpWithin*w.p.election, w.p.election/4, check.Progress, func() error {
		for i, lag := range w.lags(w.sound(), committed) {
			if lag > before[i]-min((before[i]+1)/2, behind) {
				return fmt.Errorf("a node lacks %d entries, and %d ten timeouts ago", lag, before[i])
			}
		}
		return nil
	}, func() {
		after := w.lags(w.sound(), committed)
		if slices.ContainsFunc(after, func(lag raft.Index) bool { return lag > 0 }) {
			w.catchUp(after, committed, then)
			return
		}
		then()
	})
}

// newest gives the last entry that each group has committed.
func (w *world) newest() []raft.Index {
	committed := make([]raft.Index, len(w.judges))
	for _, n := range w.nodes {
		for i, g := range n.groups {
			if n.up && !g.gone && g.replica.Core() != nil {
				committed[i] = max(committed[i], g.replica.Core().CommitIndex())
			}
		}
	}
	return committed
}

// lags gives for each node and each group how many of the entries that were committed
// it has not applied, if it is one of these nodes.
func (w *world) lags(of NodeSet, committed []raft.Index) []raft.Index {
	var lags []raft.Index
	for _, n := range w.nodes {
		for i, index := range committed {
			applied := raft.Index(0)
			if !of.Has(n.id) {
				applied = index
			} else if n.up && i < len(n.groups) && !n.groups[i].gone {
				applied = n.groups[i].replica.AppliedIndex()
			}
			lags = append(lags, max(index, applied)-applied)
		}
	}
	return lags
}

// mend ends what ails a node, and starts it if it does not run and can. It gives
// the moment from which on it works as it should.
func (n *node) mend() instant {
	w := n.w
	settled := max(w.now, n.paused)
	n.disk.SetHook(nil)
	n.disk.SetCapacity(0)
	n.disk.StopAt(0)
	n.fault, n.failing, n.full, n.loss = diskFault{}, false, false, nil
	n.setDrift(100)
	stopped := n.failed
	for _, g := range n.groups {
		stopped = stopped || g.gone && !g.away
	}
	switch {
	case n.up && n.failed:
		n.lose(nil)
	case n.up && stopped:
		n.kill(0)
	}
	if !n.up && !n.away {
		n.start()
	}
	return max(settled, n.syncer.stalled)
}

// disturbed is B-27: where nothing fails and all are well connected, nobody
// disturbs a leader's term. A disk that was damaged may still fail its node.
func (g *group) disturbed() {
	w := g.w
	if steady := w.steady[g.id-1]; steady != 0 && g.term > steady && len(w.sound().list()) == len(w.nodes) {
		g.judge.Fail(g.n.id, check.LeaderStickiness, "%v in term %d after %d, though nothing fails", g.state, g.term, steady)
	}
}
