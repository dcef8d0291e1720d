package node

import (
	"sync"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// A worker steps the groups that were given to it, one at a time. Everything that
// happens to a group goes through its inbox; a wake-up takes all that arrived
// while the worker was busy, for all groups, and hands on what results at once:
// one message queue per peer, one update list for the log.
type worker struct {
	node *Node

	mu       sync.Mutex
	ready    []*Group // with something in their inbox
	urgent   bool     // a ready group has proposals
	sleeping bool
	closing  bool
	wake     chan struct{} // capacity 1

	// Used by the worker's goroutine alone.
	spare   []*Group
	timers  timerHeap
	alarm   *time.Timer
	sends   []peerSends
	updates []queuedUpdate
	yielded time.Duration // how long cutYields take, smoothed
	done    chan struct{}
}

// peerSends gathers what goes to one peer.
type peerSends struct {
	peer      raft.NodeID
	envelopes []transport.Envelope
}

func startWorker(n *Node) *worker {
	w := &worker{node: n, wake: make(chan struct{}, 1), done: make(chan struct{}), alarm: time.NewTimer(time.Hour)}
	go w.run()
	return w
}

// enqueue marks a group as having something to do. The caller holds w.mu and has
// put it into the group's inbox.
func (w *worker) enqueue(g *Group) {
	if !g.queued {
		g.queued = true
		w.ready = append(w.ready, g)
	}
	if w.sleeping {
		w.sleeping = false
		w.wake <- struct{}{}
	}
}

func (w *worker) run() {
	defer close(w.done)
	defer w.alarm.Stop()
	for {
		groups, ok := w.take()
		if !ok {
			return
		}
		now := w.node.now()
		for _, g := range groups {
			g.process(now)
			w.gather(g)
		}
		for g := w.timers.due(now); g != nil; g = w.timers.due(now) {
			g.fireTimers(now)
			w.gather(g)
			w.timers.fix(g)
		}
		w.flush()
	}
}

// take waits until there is something to do and takes all of it.
func (w *worker) take() ([]*Group, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.ready) == 0 && !w.closing {
		wait := time.Hour
		if at, ok := w.timers.next(); ok {
			wait = time.Duration(at - w.node.now())
			if wait <= 0 {
				return nil, true
			}
		}
		w.sleeping = true
		w.mu.Unlock()
		w.alarm.Reset(wait)
		select {
		case <-w.wake:
			w.mu.Lock()
		case <-w.alarm.C:
			w.mu.Lock()
			if w.sleeping {
				w.sleeping = false
			} else {
				<-w.wake // somebody was just about to wake us
			}
		}
	}
	if w.closing {
		return nil, false
	}
	if w.urgent {
		w.urgent = false
		w.mu.Unlock()
		w.yield()
		w.mu.Lock()
	}
	groups, now := w.ready, w.node.now()
	w.ready, w.spare = w.spare[:0], groups
	for _, g := range groups {
		g.inbox, g.work = g.work, g.inbox
		g.collect(now)
		g.queued = false
	}
	return groups, true
}

// gather takes over what a group's replica asked for: what the log and the peers
// get is sent with that of the other groups, the rest at once.
func (w *worker) gather(g *Group) {
	out := &g.out
	for i := range out.Updates {
		w.updates = append(w.updates, queuedUpdate{g, out.Updates[i]})
	}
	for _, envelope := range out.Send {
		w.send(envelope)
	}
	g.carryOut(out)
	out.Reset()
}

func (w *worker) send(envelope transport.Envelope) {
	to := envelope.Message.To
	for i := range w.sends {
		if w.sends[i].peer == to {
			w.sends[i].envelopes = append(w.sends[i].envelopes, envelope)
			return
		}
	}
	w.sends = append(w.sends, peerSends{to, []transport.Envelope{envelope}})
}

// flush gives the log and the transport what was gathered, the log first: the
// sync takes longer, and runs beside the network (FC-08).
func (w *worker) flush() {
	if len(w.updates) > 0 {
		w.node.syncer.add(w.updates)
		clear(w.updates)
		w.updates = w.updates[:0]
	}
	for i := range w.sends {
		s := &w.sends[i]
		if len(s.envelopes) > 0 {
			w.node.cfg.Transport.Send(s.peer, s.envelopes)
			clear(s.envelopes)
			s.envelopes = s.envelopes[:0]
		}
	}
}

func (w *worker) close() {
	w.mu.Lock()
	w.closing = true
	if w.sleeping {
		w.sleeping = false
		w.wake <- struct{}{}
	}
	w.mu.Unlock()
	<-w.done
}
