package storesim

import (
	"bytes"
	"context"
	"fmt"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/sim"
)

// A group is a process's keyspace.Group. It forwards to the leader as node.Group
// does, over the simulated network, and answers with node's errors.
type group struct {
	p *process
	// life and next name what is forwarded.
	life, next uint64
	sent       []*proposal
	taken      map[forwarder]uint64 // the newest that was taken
	waiting    []*task              // for a leader
}

type forwarder struct {
	node raft.NodeID
	life uint64
}

var _ keyspace.Group = (*group)(nil)

func newGroup(p *process) *group {
	return &group{p: p, life: p.on.Rand().Uint64(), taken: map[forwarder]uint64{}}
}

// A proposal waits for its outcome.
type proposal struct {
	id      uint64
	task    *task
	p       *process
	done    bool
	outcome replica.Outcome
	result  rsm.Result
}

func (w *proposal) answer(outcome replica.Outcome, result rsm.Result) {
	if w.done {
		w.p.s.world.Fail(fmt.Errorf("node %d: a proposal is answered twice", w.p.on.Node()))
		return
	}
	w.done, w.outcome, w.result = true, outcome, result
	w.p.soon(w.task.wake)
}

// Propose is node.Group's, with forwarding.
func (g *group) Propose(ctx context.Context, command []byte) (rsm.Result, error) {
	if err := ctx.Err(); err != nil {
		return rsm.Result{}, fmt.Errorf("%w: %w", node.ErrNotProposed, err)
	}
	leader, term := g.p.on.Leader()
	if leader == raft.None {
		return rsm.Result{}, &node.NotLeaderError{Leader: leader, Term: term}
	}
	w := &proposal{task: g.p.s.current, p: g.p}
	own := bytes.Clone(command) // its caller may use it again when he leaves
	if leader == g.p.on.Node() {
		g.p.soon(func() { g.take(own, w.answer) })
	} else {
		g.p.soon(func() { g.forward(leader, own, w) })
	}
	for !w.done {
		if err := ctx.Err(); err != nil {
			w.answer0()
			return rsm.Result{}, fmt.Errorf("%w: %w", node.ErrUnknownOutcome, err)
		}
		g.p.s.park()
	}
	if w.outcome == replica.Applied {
		return w.result, nil
	}
	return rsm.Result{}, g.errorOf(w.outcome)
}

// answer0 is for who has left: an answer that comes later is nobody's.
func (w *proposal) answer0() { w.task = &task{ended: true} }

// errorOf is node's.
func (g *group) errorOf(outcome replica.Outcome) error {
	switch outcome {
	case replica.NotLeader:
		leader, term := g.p.on.Leader()
		return &node.NotLeaderError{Leader: leader, Term: term}
	case replica.Overloaded:
		return node.ErrOverloaded
	case replica.NotReady:
		return node.ErrNotReady
	case replica.Stopped:
		return node.ErrClosed
	case replica.Unknown:
		if g.p.s.plant == unknownIsRefused {
			return &node.NotLeaderError{}
		}
	}
	return node.ErrUnknownOutcome
}

// take hands a command to the replica here, or answers it if it is a question.
func (g *group) take(command []byte, done func(replica.Outcome, rsm.Result)) {
	if answer := g.p.keeper.Answer(command); answer != nil {
		answer(func(result rsm.Result, ok bool) {
			if ok {
				done(replica.Applied, result)
			} else {
				done(replica.NotLeader, rsm.Result{})
			}
		})
		return
	}
	g.p.on.Propose(command, done)
}

// forwardPatience is how many election timeouts an answer may take, as in node.
const forwardPatience = 10

// forward has the leader take a command.
func (g *group) forward(leader raft.NodeID, command []byte, w *proposal) {
	if now, _ := g.p.on.Leader(); now != leader {
		w.answer(replica.NotLeader, rsm.Result{})
		return
	}
	g.next++
	w.id = g.next
	g.sent = append(g.sent, w)
	g.p.s.count(countForwarded)
	g.p.s.world.Tracef("node %d: forwards proposal %d to node %d", g.p.on.Node(), g.next, leader)
	_, term := g.p.on.Leader()
	from, id := forwarder{g.p.on.Node(), g.life}, w.id
	g.p.on.Carry(leader, func(to *sim.Process) {
		if p := g.p.s.processOf(to); p != nil {
			p.group.takeForwarded(from, term, id, command)
		}
	})
	g.p.on.After(forwardPatience*g.p.s.world.ElectionTimeout(), func() { g.settle(id, replica.Unknown, rsm.Result{}) })
}

// takeForwarded takes a command that another node forwarded, once.
func (g *group) takeForwarded(from forwarder, term raft.Term, id uint64, command []byte) {
	if term <= g.p.on.Born() && g.p.s.plant != takeLate {
		return // an earlier process here may have taken it
	}
	if id <= g.taken[from] && g.p.s.plant != takeTwice {
		return
	}
	g.taken[from] = id
	g.p.s.world.Tracef("node %d: takes proposal %d of node %d", g.p.on.Node(), id, from.node)
	g.take(command, func(outcome replica.Outcome, result rsm.Result) {
		g.p.soon(func() {
			g.p.on.Carry(from.node, func(to *sim.Process) {
				if p := g.p.s.processOf(to); p != nil && p.group.life == from.life {
					p.group.settle(id, outcome, result)
				}
			})
		})
	})
}

// settle answers what was forwarded under an id.
func (g *group) settle(id uint64, outcome replica.Outcome, result rsm.Result) {
	for i, w := range g.sent {
		if w.id == id {
			g.sent = append(g.sent[:i], g.sent[i+1:]...)
			w.answer(outcome, result)
			return
		}
	}
}

// leaderChanged answers what was forwarded to another leader, and wakes who waits
// for one.
func (g *group) leaderChanged() {
	sent := g.sent
	g.sent = nil
	for _, w := range sent {
		w.answer(replica.Unknown, rsm.Result{})
	}
	waiting := g.waiting
	g.waiting = nil
	for _, t := range waiting {
		g.p.soon(t.wake)
	}
}

// Read is node.Group's.
func (g *group) Read(ctx context.Context, query any) (any, error) {
	if g.p.s.plant == staleRead {
		return g.p.store.Read(ctx, query)
	}
	t, done, gone := g.p.s.current, false, false
	var outcome replica.Outcome
	g.p.on.Read(func(o replica.Outcome) {
		done, outcome = true, o
		if !gone {
			g.p.soon(t.wake)
		}
	}, func() bool { return gone })
	for !done {
		if err := ctx.Err(); err != nil {
			gone = true
			return nil, fmt.Errorf("node: read not confirmed by a leader: %w", err)
		}
		g.p.s.park()
	}
	if outcome != replica.Applied {
		return nil, g.errorOf(outcome)
	}
	return g.p.store.Read(ctx, query)
}

// ReadStale is node.Group's.
func (g *group) ReadStale(ctx context.Context, query any) (any, error) {
	return g.p.store.Read(ctx, query)
}

// Ready is node.Group's.
func (g *group) Ready(ctx context.Context) error {
	for {
		if leader, _ := g.Leader(); leader != raft.None {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: no leader known: %w", node.ErrNotReady, err)
		}
		g.waiting = append(g.waiting, g.p.s.current)
		g.p.s.park()
	}
}

// Leader is node.Group's.
func (g *group) Leader() (raft.NodeID, raft.Term) { return g.p.on.Leader() }

// Status is node.Group's.
func (g *group) Status(context.Context) (node.GroupStatus, error) {
	return node.GroupStatus{Status: g.p.on.Status(), Exists: g.p.on.Exists(), Applied: g.p.on.Applied()}, nil
}
