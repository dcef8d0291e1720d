package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
)

// A client does one operation after another, at any node, follows hints to the
// leader, and gives up on an operation when its patience ends.
type client struct {
	w       *world
	id      int
	stopped bool
	current *operation
	hints   []raft.NodeID // of the leader, by group
	// home, if there is one, is the node that it asks unless it knows better: it
	// reads there, whoever leads.
	home raft.NodeID
	// patience is how long it waits for a command, readPatience for a read.
	patience, readPatience time.Duration
	seen                   []raft.Index // of each group's log, by what was answered (B-21)
}

// operation is one attempt of a client to do something. It is also what the
// replica knows as a proposal or a reader.
type operation struct {
	w       *world
	client  *client
	id      uint64
	group   int
	input   any
	command []byte // nil: query is read
	query   any
	answer  any
	index   raft.Index // up to which the state was that answered
	stale   bool
	// call and answered are when the client asked and heard.
	call, answered instant
	at             raft.NodeID // a node that it has to be done at, or raft.None
	then           func()      // after it succeeded; the client of such an operation never gives up

	deadline instant
	floor    raft.Index
	on       *group // where it is now; nil while nobody has it
	taken    bool   // a replica appended it, or may have
	ended    bool
}

func (w *world) startClients() {
	for i := range w.p.clients {
		c := w.newClient(i + 1)
		c.settle()
		w.clients = append(w.clients, c)
		c.think()
	}
}

func (w *world) newClient(id int) *client {
	return &client{
		w: w, id: id, patience: w.p.patience, readPatience: w.p.patience,
		hints: make([]raft.NodeID, w.p.groups), seen: make([]raft.Index, w.p.groups),
	}
}

// settle draws a client's habits.
func (c *client) settle() {
	r := c.w.aimRand
	if r.IntN(2) == 0 {
		c.home = raft.NodeID(1 + r.IntN(len(c.w.nodes)))
	}
	hasty := min(c.patience, c.w.p.election/2+8*c.w.p.latency)
	switch r.IntN(4) {
	case 0, 1:
		c.patience, c.readPatience = hasty, hasty
	case 2:
		c.readPatience = hasty
	}
}

func (c *client) think() {
	mean := c.w.p.think
	if c.w.calm && !c.w.cfg.Quiet {
		// Who has to catch up within a time must not be outrun by the load.
		mean *= 4
		if c.w.cfg.Heavy {
			mean *= 4
		}
	}
	d := time.Duration(c.w.clientRand.ExpFloat64() * float64(mean))
	c.w.at(min(d, 8*mean), clientEvent, c.next)
}

// next begins the next operation, unless everything is asleep.
func (c *client) next() {
	switch {
	case c.stopped:
	case c.w.asleep > c.w.now:
		c.w.at(time.Duration(c.w.asleep-c.w.now), clientEvent, c.next)
	default:
		c.begin(c.draw())
	}
}

// draw makes an operation up.
func (c *client) draw() *operation {
	w, r := c.w, c.w.clientRand
	o := &operation{w: w, client: c, group: r.IntN(w.p.groups)}
	if w.p.skew > 1 && r.Float64()*w.p.skew > 1 {
		o.group = 0
	}
	c.drawInto(o)
	if o.command == nil {
		o.stale = r.IntN(10) == 0
	}
	return o
}

// drawInto lets the subject make the operation up.
func (c *client) drawInto(o *operation) {
	w := c.w
	w.nextOp++
	o.id = w.nextOp
	op := w.subject.Draw(&Draw{Rand: w.clientRand, ID: o.id, Client: c.id, Peek: func(query any) any {
		answer, err := w.references[o.group].Read(context.Background(), query)
		if err != nil {
			w.fail(fmt.Errorf("the reference cannot read %v: %w", query, err))
		}
		return answer
	}})
	o.command, o.query, o.input = nil, op.Query, op.Input
	switch {
	case w.service != nil:
		o.command = op.Command
	case op.Command != nil:
		o.command = frame(o.id, op.Command)
	}
	switch {
	case o.input != nil:
	case op.Command != nil:
		o.input = op.Command
	default:
		o.input = op.Query
	}
}

// begin sends the operation off.
func (c *client) begin(o *operation) {
	w := c.w
	w.operations++
	o.call = w.now
	if o.command != nil {
		w.outstanding[o.id] = o
	}
	c.current = o
	patience := c.patience
	if o.command == nil {
		patience = c.readPatience
	}
	o.deadline = w.now.after(patience)
	w.at(patience, clientEvent, func() { o.giveUp() })
	o.try()
}

// try sends the operation to a node.
func (o *operation) try() {
	w, r := o.w, o.w.clientRand
	to := o.at
	if to == raft.None {
		to = o.client.hints[o.group]
	}
	if to == raft.None || o.at == raft.None && r.IntN(8) == 0 || o.at == raft.None && o.command == nil {
		to = raft.NodeID(1 + r.IntN(len(w.nodes)))
		if home := o.client.home; home != raft.None && r.IntN(8) > 0 {
			to = home
		}
	}
	w.arriveAt(o, to, w.p.latency)
}

func (w *world) arriveAt(o *operation, to raft.NodeID, in time.Duration) {
	w.at(in, clientEvent, func() {
		n := w.nodes[to-1]
		switch {
		case o.ended:
		case n.up && n.paused > w.now:
			w.arriveAt(o, to, time.Duration(n.paused-w.now))
		case !n.up || o.group >= len(n.groups) || n.groups[o.group].gone:
			o.client.hints[o.group] = raft.None
			o.retry(w.p.election / 4) // nobody listens: certainly not done
		default:
			o.arrive(n.groups[o.group])
		}
	})
}

func (o *operation) arrive(g *group) {
	o.on = g
	if o.command != nil {
		g.inbox.proposals = append(g.inbox.proposals, o)
		g.n.wake()
		return
	}
	if o.stale {
		o.look()
		return
	}
	o.floor = g.judge.ReadBegun()
	if g.state != raft.Leader {
		o.w.count(countReadForwarded)
	}
	g.inbox.reads = append(g.inbox.reads, &reader{o: o, g: g, floor: o.floor})
	g.n.wake()
}

// Command is replica.Proposal's.
func (o *operation) Command() []byte { return o.command }

// Done is replica.Proposal's.
func (o *operation) Done(outcome replica.Outcome, result rsm.Result) {
	w, g := o.w, o.on
	if g == nil {
		w.fail(fmt.Errorf("operation %d is answered twice", o.id))
		return
	}
	o.on = nil
	o.taken = outcome == replica.Applied || outcome == replica.Unknown
	w.note(o.id, uint64(outcome), result.Value)
	switch outcome {
	case replica.Applied:
		if o.answer = result; w.service == nil {
			o.index = w.commits[o.id].index
		} else {
			o.index = g.applier.At().ID.Index
		}
		w.at(w.p.latency, clientEvent, func() { o.succeed() })
	case replica.Unknown:
		w.at(w.p.latency, clientEvent, func() { o.unknown() })
	default:
		if outcome == replica.Overloaded {
			w.count(countOverloaded)
		} else {
			w.count(countNotLeader)
		}
		hint := g.leader
		wait := w.p.latency
		if hint == raft.None || hint == g.n.id {
			wait += w.p.election / 8
		}
		w.at(wait, clientEvent, func() {
			if !o.ended {
				o.client.hints[o.group] = hint
				o.try()
			}
		})
	}
}

// retry tries again somewhere.
func (o *operation) retry(in time.Duration) {
	o.w.at(in, clientEvent, func() {
		if !o.ended {
			o.try()
		}
	})
}

// reader is one attempt to read.
type reader struct {
	o     *operation
	g     *group
	floor raft.Index
	ready bool
}

// Abandoned is replica.Reader's.
func (r *reader) Abandoned() bool { return r.o.ended }

// Ready is replica.Reader's.
func (r *reader) Ready(outcome replica.Outcome) {
	w := r.o.w
	if r.ready {
		w.fail(fmt.Errorf("read %d is answered twice", r.o.id))
		return
	}
	r.ready = true
	if outcome != replica.Applied {
		if !r.o.ended {
			r.o.retry(w.p.latency + w.p.election/8)
		}
		return
	}
	// Whoever reads does so a little later, beside the applying.
	r.g.n.after(w.p.wake, readEvent, func() {
		if r.o.ended || r.g.gone {
			return
		}
		applied := r.g.applier.At().ID.Index
		r.g.judge.ReadDone(r.g.n.id, r.floor, applied)
		r.o.look()
	})
}

// look reads the state as it is.
func (o *operation) look() {
	g, w := o.on, o.w
	o.index = g.applier.At().ID.Index
	if w.service == nil {
		answer, err := g.query(o.query)
		if err != nil {
			w.fail(fmt.Errorf("node %d: read %v: %w", g.n.id, o.query, err))
			return
		}
		o.answer = answer
	}
	w.note(o.id, uint64(o.index))
	w.at(w.p.latency, clientEvent, func() { o.succeed() })
}

// succeed: the client has its answer.
func (o *operation) succeed() {
	if o.ended {
		return
	}
	w := o.w
	o.answered = w.now
	if o.command != nil {
		delete(w.outstanding, o.id)
		if _, ok := w.commits[o.id]; !ok && w.service == nil {
			w.judges[o.group].Fail(raft.None, check.StateMachineSafety, "operation %d was answered and is not committed", o.id)
		}
	}
	if !o.stale {
		if seen := &o.client.seen[o.group]; o.index < *seen {
			w.judges[o.group].Fail(raft.None, check.MonotoneReads, "client %d is answered from the state up to %d after one up to %d", o.client.id, o.index, *seen)
		} else {
			*seen = o.index
		}
		w.history[o.group] = append(w.history[o.group], check.Witnessed{Operation: check.Operation{
			Client: o.client.id, Input: o.input, Output: o.answer, Call: int64(o.call), Return: int64(w.now),
		}, Index: o.index, Read: o.command == nil})
	}
	o.end()
}

// unknown: the operation may have taken effect, or may yet.
func (o *operation) unknown() {
	if o.ended {
		return
	}
	o.w.count(countUnknown)
	o.end()
}

// giveUp ends the client's patience.
func (o *operation) giveUp() {
	if o.ended {
		return
	}
	if o.command != nil {
		if o.on == nil && !o.taken {
			// Nobody ever took it.
			o.w.refused[o.id] = true
			delete(o.w.outstanding, o.id)
		} else {
			o.w.count(countUnknown)
		}
	}
	o.client.hints[o.group] = raft.None
	o.end()
}

func (o *operation) end() {
	o.ended = true
	c := o.client
	if c.current == o {
		c.current = nil
	}
	if o.then != nil {
		o.then()
		return
	}
	c.think()
}

// committed hears of every committed entry, in order.
func (w *world) committed(group int, e *entry.Entry) {
	w.note(uint64(e.Index), uint64(e.Term), uint64(e.Checksum))
	if e.Kind != entry.Command || w.service != nil {
		return
	}
	if len(e.Payload) < operationBytes {
		w.fail(fmt.Errorf("entry %d is committed, and nobody's", e.Index))
		return
	}
	id := binary.LittleEndian.Uint64(e.Payload)
	if w.refused[id] {
		w.judges[group].Fail(raft.None, check.StateMachineSafety, "operation %d was refused and is committed at %d", id, e.Index)
	}
	if before, ok := w.commits[id]; ok {
		w.judges[group].Fail(raft.None, check.StateMachineSafety, "operation %d is committed at %d and at %d", id, before.index, e.Index)
	}
	w.commits[id] = commit{w.now, e.Index}
}

// judgeHistory judges what clients saw. An operation without an answer takes
// effect until it was committed, or, all replicas being equal and quiet now,
// never.
func (w *world) judgeHistory() {
	for id := uint64(1); id <= w.nextOp; id++ {
		o := w.outstanding[id]
		if o == nil {
			continue
		}
		c, ok := w.commits[id]
		switch {
		case w.cfg.ClientsOnly:
			c.at = check.Never
		case !ok:
			w.count(countUnknownNever)
			continue
		}
		w.count(countUnknownCommitted)
		w.history[o.group] = append(w.history[o.group], check.Witnessed{Operation: check.Operation{
			Client: o.client.id, Input: o.input, Unknown: true, Call: int64(o.call), Return: int64(c.at),
		}, Index: c.index})
	}
	if w.subject.Model == nil {
		return
	}
	for i, history := range w.history {
		// The log's order proves most; a search that knows nothing of the log is
		// a second opinion, as far as it comes to one.
		if !w.cfg.ClientsOnly {
			if err := w.subject.Model.Witness(history); err != nil {
				w.fail(fmt.Errorf("group %d: %w", i+1, err))
				return
			}
		}
		if w.cfg.noSearch {
			continue
		}
		operations := make([]check.Operation, len(history))
		for k := range history {
			operations[k] = history[k].Operation
		}
		patience := searchPatience
		if w.subject.Model.Partition == nil {
			patience /= 10 // it seldom comes to an end
		}
		switch err := w.subject.Model.Linearizable(operations, patience); {
		case err == nil:
		case errors.Is(err, check.ErrUndecided):
			w.count(countUndecided) // too many outcomes are unknown
		default:
			w.err = nil // what clients saw wrong says more than that they wait
			w.end(fmt.Errorf("group %d: %w", i+1, err))
		}
	}
}

// searchPatience bounds the search for an order. It is time of the real clock, and
// decides nothing but whether there is a second opinion.
const searchPatience = 3 * time.Second

// probe demands that each group takes a write, and that each of these nodes
// answers a read of each group, within a time (B-28). Without readers it is enough
// that each group has committed something by then: whoever writes may have asked
// nodes that are cut off, one after the other.
func (w *world) probe(readers NodeSet, patience time.Duration, then func()) {
	left, deadline := 0, w.now.after(patience)
	var floors []raft.Index
	for _, judge := range w.judges {
		floors = append(floors, judge.Committed())
	}
	waiting := map[string]bool{}
	ask := func(group int, at raft.NodeID, write bool) {
		left++
		name := fmt.Sprintf("a write to group %d", group+1)
		if !write {
			name = fmt.Sprintf("a read of group %d at node %d", group+1, at)
		}
		waiting[name] = true
		answered := func() {
			left--
			delete(waiting, name)
		}
		var attempt func()
		c := w.newClient(-1 - left)
		if readers != 0 {
			// Who lags answers late, and who has a queue commits late; to give up
			// and ask anew is to wait longer. (Of a quorum alone, nodes that are
			// cut off would never answer.)
			c.patience, c.readPatience = patience, patience
		}
		attempt = func() {
			o := &operation{w: w, client: c, group: group, at: at}
			for tries := 0; ; tries++ {
				if c.drawInto(o); (o.command != nil) == write {
					break
				}
				if tries == 1000 { // the subject has none
					answered()
					return
				}
			}
			o.then = func() {
				if o.answered != 0 {
					answered()
					return
				}
				attempt() // it gave up or does not know
			}
			c.begin(o)
		}
		attempt()
	}
	for i := range w.judges {
		ask(i, raft.None, true)
		for _, id := range readers.list() {
			ask(i, id, false)
		}
	}
	w.poll(patience, w.p.election/8, check.Progress, func() error {
		if left == 0 || readers == 0 && w.now >= deadline && w.committedAbove(floors) {
			return nil
		}
		return fmt.Errorf("%d probes are not answered, such as %s", left, slices.Sorted(maps.Keys(waiting))[0])
	}, then)
}

// committedAbove reports whether each group has committed more than it had.
func (w *world) committedAbove(floors []raft.Index) bool {
	for i, judge := range w.judges {
		if judge.Committed() <= floors[i] {
			return false
		}
	}
	return true
}
