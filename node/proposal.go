package node

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/rsm"
)

// A proposal is a command on its way through a group, and the goroutine that
// waits for it. Finished proposals are used again; one whose caller left early is
// not, since the replica still holds it.
type proposal struct {
	group   *Group
	command []byte
	size    int64
	state   atomic.Int32
	outcome replica.Outcome
	result  rsm.Result
	after   int64         // what batching.measured is to be told, or 0
	done    chan struct{} // capacity 1
}

// The states of a proposal, as far as its command's bytes are concerned.
const (
	queued    int32 = iota // not looked at yet: the caller may take it back
	taken                  // being encoded: the bytes must not change
	encoded                // no longer looked at
	withdrawn              // taken back: certainly not proposed
)

func newProposal(g *Group, command []byte, size int64) *proposal {
	p, ok := g.node.proposals.Get().(*proposal)
	if !ok {
		p = &proposal{done: make(chan struct{}, 1)}
	}
	p.group, p.command, p.size = g, command, size
	p.state.Store(queued)
	return p
}

// Command gives the bytes to replicate.
func (p *proposal) Command() []byte { return p.command }

// Done ends the wait. It is the last thing that its caller does with p.
func (p *proposal) Done(outcome replica.Outcome, result rsm.Result) {
	p.group.pendingBytes.Add(-p.size)
	p.outcome, p.result = outcome, result
	if p.after != 0 {
		p.group.batching.measured(p.after)
		p.after = 0
	}
	p.state.Store(encoded)
	p.done <- struct{}{}
}

// wait returns when the command is answered or the caller's patience ends.
func (p *proposal) wait(ctx context.Context) (rsm.Result, error) {
	if ctx.Done() == nil {
		<-p.done
		return p.finish()
	}
	select {
	case <-p.done:
		return p.finish()
	case <-ctx.Done():
	}
	if p.state.CompareAndSwap(queued, withdrawn) {
		return rsm.Result{}, fmt.Errorf("%w: %w", ErrNotProposed, ctx.Err())
	}
	// The caller may change the command when we return: wait for the few
	// microseconds in which it is being encoded.
	for p.state.Load() == taken {
		runtime.Gosched()
	}
	return rsm.Result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
}

func (p *proposal) finish() (rsm.Result, error) {
	g, outcome, result := p.group, p.outcome, p.result
	p.group, p.command, p.result = nil, nil, rsm.Result{}
	g.node.proposals.Put(p)
	if outcome == replica.Applied {
		return result, nil
	}
	return rsm.Result{}, g.errorOf(outcome)
}

// errorOf says what an outcome means to a caller.
func (g *Group) errorOf(outcome replica.Outcome) error {
	switch outcome {
	case replica.NotLeader:
		l := g.leadership.Load()
		return &NotLeaderError{Leader: l.Leader, Term: l.Term}
	case replica.Overloaded:
		return fmt.Errorf("%w: too much of group %d is not yet committed", ErrOverloaded, g.cfg.ID)
	case replica.NotReady:
		return fmt.Errorf("%w: group %d waits for its first members", ErrNotReady, g.cfg.ID)
	case replica.Stopped:
		return g.ended()
	}
	if s := g.stopped.Load(); s != nil {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, s.Cause)
	}
	return fmt.Errorf("%w: leadership of group %d was lost, or the group closed, while the command was under way", ErrUnknownOutcome, g.cfg.ID)
}

// takeProposals takes the proposals that their callers have not taken back, in
// place.
func takeProposals(all []replica.Proposal) []replica.Proposal {
	batch := all[:0]
	for _, each := range all {
		p := each.(*proposal)
		if p.state.CompareAndSwap(queued, taken) {
			batch = append(batch, p)
		} else {
			p.group.pendingBytes.Add(-p.size)
		}
	}
	clear(all[len(batch):])
	return batch
}

// appended says that a batch was encoded, before any of it is answered.
func appended(batch []replica.Proposal) {
	for _, p := range batch {
		p.(*proposal).state.Store(encoded)
	}
}

// A reader waits until a linearizable read may look at the state machine.
type reader struct {
	group   *Group
	gaveUp  atomic.Bool
	outcome replica.Outcome
	done    chan struct{} // capacity 1
}

func newReader(g *Group) *reader {
	r, ok := g.node.readers.Get().(*reader)
	if !ok {
		r = &reader{done: make(chan struct{}, 1)}
	}
	r.group = g
	return r
}

// Ready lets the reader go on.
func (r *reader) Ready(outcome replica.Outcome) {
	r.group.pendingReads.Add(-1)
	r.outcome = outcome
	r.done <- struct{}{}
}

// Abandoned reports that the caller has left.
func (r *reader) Abandoned() bool { return r.gaveUp.Load() }

func (r *reader) wait(ctx context.Context) error {
	select {
	case <-r.done:
	case <-ctx.Done():
		r.gaveUp.Store(true)
		return fmt.Errorf("node: read not confirmed by a leader of group %d: %w", r.group.cfg.ID, ctx.Err())
	}
	g, outcome := r.group, r.outcome
	r.group = nil
	g.node.readers.Put(r)
	if outcome == replica.Applied {
		return nil
	}
	return g.errorOf(outcome)
}

// watch is a condition that any number of goroutines can wait for with a
// context.
type watch struct {
	mu sync.Mutex
	c  chan struct{}
}

// wait gives a channel that is closed by the next notify.
func (w *watch) wait() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.c == nil {
		w.c = make(chan struct{})
	}
	return w.c
}

func (w *watch) notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.c != nil {
		close(w.c)
		w.c = nil
	}
}
