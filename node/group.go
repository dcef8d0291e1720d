package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/invariant"
	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport"
)

// Group is one replicated state machine, as this node's replica of it. All
// methods are safe for concurrent use.
type Group struct {
	node   *Node
	worker *worker
	cfg    GroupConfig
	logger *slog.Logger

	// The worker's lock guards inbox, queued and what batching says; the worker's
	// goroutine alone uses work, batch, out, replica, timers, gone and trace.
	inbox, work inbox
	queued      bool
	batching    batching
	batch       []replica.Proposal // that was cut
	out         replica.Output
	replica     *replica.Replica
	timers      groupTimers
	forwards    forwarding
	gone        bool // stopped or closed: the replica is not stepped again
	traced      bool
	told        bool         // the observer knows that it stopped
	configured  raft.EntryID // of the configuration that was last published

	machine *machine

	// heard is when entries of another leader last came, in the timers' time.
	heard         atomic.Int64
	leadership    atomic.Pointer[replica.Leadership]
	configuration atomic.Pointer[raft.Configuration]
	stopped       atomic.Pointer[StoppedError]
	pendingBytes  atomic.Int64
	pendingReads  atomic.Int64

	changed   watch // leadership or readiness changed
	closeOnce sync.Once
	closing   atomic.Bool
	receiving sync.Mutex    // one snapshot at a time
	halted    chan struct{} // the replica is not stepped again
	closed    chan struct{} // the worker has let go
	closeErr  error
}

// inbox is what happened to a group since its worker last looked.
type inbox struct {
	persisted raft.Seq
	synced    bool // persisted is set, possibly to zero
	applied   []replica.Task
	calls     []func() // dropped once the group is halted
	letGo     bool
	envelopes []transport.Envelope
	bytes     int // of envelopes
	reads     []replica.Reader
	answers   []forwardedAnswer
}

const (
	maxPendingReads   = 1 << 16
	maxInboxBytes     = 64 << 20
	maxInboxEnvelopes = 1 << 14
)

// GroupStatus describes a group on this node.
type GroupStatus struct {
	raft.Status
	// Exists: the group has been created, as far as this node knows.
	Exists bool
	// Applied is what the local state machine holds.
	Applied raft.Index
	// Err is why the group stopped on this node; nil while it runs.
	Err error
}

// Leader gives who leads, as far as this replica knows, and the term; raft.None
// if it knows of nobody.
func (g *Group) Leader() (raft.NodeID, raft.Term) {
	l := g.leadership.Load()
	return l.Leader, l.Term
}

// Heard gives when this replica last got entries or a snapshot from another one; when
// the node was opened if it never did. What is in its log of other leaders is older.
func (g *Group) Heard() time.Time { return g.node.start.Add(time.Duration(g.heard.Load())) }

// ID is the group's.
func (g *Group) ID() raft.GroupID { return g.cfg.ID }

// Ready waits until the group exists and a leader is known here, so that
// proposals and reads have somewhere to go.
func (g *Group) Ready(ctx context.Context) error {
	for {
		changed := g.changed.wait()
		if err := g.err(); err != nil {
			return err
		}
		if leader, _ := g.Leader(); leader != raft.None {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: no leader of group %d known: %w", ErrNotReady, g.cfg.ID, ctx.Err())
		}
	}
}

// Propose replicates a command and returns what the state machine answered, once
// the command is durable on a majority and applied by the leader. Only the leader
// takes proposals: others forward them to it if the group is configured so, else
// they answer ErrNotLeader, with a *NotLeaderError that names it.
// The command must not change until Propose returns.
//
// The error says what is certain: see the errors of this package. In particular,
// ErrUnknownOutcome means that the command may have been applied or may yet be.
func (g *Group) Propose(ctx context.Context, command []byte) (rsm.Result, error) {
	if len(command) > g.node.cfg.MaxEntryBytes {
		return rsm.Result{}, fmt.Errorf("%w: %d bytes, MaxEntryBytes is %d", ErrTooLarge, len(command), g.node.cfg.MaxEntryBytes)
	}
	if err := g.err(); err != nil {
		return rsm.Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return rsm.Result{}, fmt.Errorf("%w: %w", ErrNotProposed, err)
	}
	if l := g.leadership.Load(); l.State != raft.Leader && (!g.cfg.Forward || l.Leader == raft.None) {
		return rsm.Result{}, &NotLeaderError{Leader: l.Leader, Term: l.Term}
	}
	size := proposalSize(command)
	if g.pendingBytes.Add(size) > int64(g.node.cfg.MaxPendingBytes) {
		g.pendingBytes.Add(-size)
		return rsm.Result{}, fmt.Errorf("%w: %d bytes of commands wait in group %d", ErrOverloaded, g.node.cfg.MaxPendingBytes, g.cfg.ID)
	}
	p := newProposal(g, command, size)
	if !g.postProposal(p) {
		g.pendingBytes.Add(-size)
		return rsm.Result{}, g.ended()
	}
	return p.wait(ctx)
}

// Read answers a query from this replica's state machine, linearizably: it sees
// every command whose Propose returned before Read was called, on any node. It
// costs a round of messages (§6.4), shared by all reads that wait, and no disk
// write. While no leader is known it waits; ctx bounds the wait.
func (g *Group) Read(ctx context.Context, query any) (any, error) {
	if err := g.err(); err != nil {
		return nil, err
	}
	if g.pendingReads.Add(1) > maxPendingReads {
		g.pendingReads.Add(-1)
		return nil, fmt.Errorf("%w: %d reads wait in group %d", ErrOverloaded, maxPendingReads, g.cfg.ID)
	}
	r := newReader(g)
	if !g.postRead(r) {
		g.pendingReads.Add(-1)
		return nil, g.ended()
	}
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	return g.machine.read(ctx, query)
}

// ReadStale answers a query from this replica's state machine as it is, without
// asking anyone. It may be behind, also behind what the same caller has seen on
// another node.
func (g *Group) ReadStale(ctx context.Context, query any) (any, error) {
	if err := g.err(); err != nil {
		return nil, err
	}
	return g.machine.read(ctx, query)
}

// Status describes the group on this node.
func (g *Group) Status(ctx context.Context) (GroupStatus, error) {
	if err := g.err(); err != nil {
		status := GroupStatus{Err: err}
		status.ID = g.node.cfg.ID
		return status, err
	}
	answer := make(chan GroupStatus, 1)
	if !g.call(func() {
		answer <- GroupStatus{Status: g.replica.Status(), Exists: g.replica.Exists(), Applied: g.replica.AppliedIndex()}
	}) {
		return GroupStatus{}, g.ended()
	}
	select {
	case s := <-answer:
		return s, nil
	case <-g.halted:
		return GroupStatus{}, g.ended()
	case <-ctx.Done():
		return GroupStatus{}, ctx.Err()
	}
}

// Fail stops the group on this node for a fault that its user found: the replica
// serves nothing, acknowledges nothing and votes for nobody from then on, and all
// that waits is answered with ErrGroupStopped and the cause. The others go on.
func (g *Group) Fail(cause error) {
	g.call(func() { g.out.Fatal = cause })
}

// Close stops the group on this node. Its data stays; other replicas go on.
func (g *Group) Close() error {
	g.closeOnce.Do(func() {
		g.closing.Store(true)
		g.changed.notify()
		// The worker lets go, then the state machine's goroutine.
		if g.post(func(in *inbox) { in.letGo = true }) {
			<-g.closed
		}
		g.node.groups.Delete(g.cfg.ID)
		g.closeErr = g.machine.close()
	})
	return g.closeErr
}

// err says why the group takes nothing any more, or nil.
func (g *Group) err() error {
	if s := g.stopped.Load(); s != nil {
		return s
	}
	if g.closing.Load() {
		return fmt.Errorf("%w: group %d", ErrClosed, g.cfg.ID)
	}
	return nil
}

// ended is err for callers that know that the group is gone.
func (g *Group) ended() error {
	if err := g.err(); err != nil {
		return err
	}
	return fmt.Errorf("%w: group %d", ErrClosed, g.cfg.ID)
}

// The post methods put something into the group's inbox and wake its worker.
// They report false once the worker has let the group go.

func (g *Group) post(put func(in *inbox)) bool {
	w := g.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.released() {
		return false
	}
	put(&g.inbox)
	w.enqueue(g)
	return true
}

// released reports whether the worker has let the group go. Under the worker's
// lock the answer stays true.
func (g *Group) released() bool {
	select {
	case <-g.closed:
		return true
	default:
		return false
	}
}

// call has the worker step the group with f, unless the group is halted before.
func (g *Group) call(f func()) bool {
	return g.post(func(in *inbox) { in.calls = append(in.calls, f) })
}

func (g *Group) postProposal(p *proposal) bool {
	w := g.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.released() {
		return false
	}
	if g.batching.add(p) {
		w.urgent = true
		w.enqueue(g)
	}
	return true
}

func (g *Group) postRead(r *reader) bool {
	w := g.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.released() {
		return false
	}
	g.inbox.reads = append(g.inbox.reads, r)
	w.enqueue(g)
	return true
}

func (g *Group) postPersisted(seq raft.Seq) {
	w := g.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.released() {
		return
	}
	g.inbox.persisted, g.inbox.synced = seq, true
	w.enqueue(g)
}

func (g *Group) postApplied(task replica.Task) {
	w := g.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.released() {
		return
	}
	g.inbox.applied = append(g.inbox.applied, task)
	w.enqueue(g)
}

// deliver takes a message; it is dropped if too many wait, which the protocol
// takes for loss.
func (g *Group) deliver(env transport.Envelope) {
	size := len(env.Forward)
	for _, e := range env.Entries {
		size += len(e)
	}
	w := g.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	in := &g.inbox
	if g.released() || len(in.envelopes) >= maxInboxEnvelopes || (in.bytes > 0 && in.bytes+size > maxInboxBytes) {
		return
	}
	in.envelopes = append(in.envelopes, env)
	in.bytes += size
	w.enqueue(g)
}

// process steps the replica through everything in the work box. Runs on the
// worker's goroutine, as do the methods below.
func (g *Group) process(now int64) {
	in := &g.work
	if in.synced {
		g.step(now, func() { g.replica.Persisted(in.persisted, &g.out) })
	}
	for i := range in.applied {
		g.step(now, func() { g.replica.Applied(&in.applied[i], &g.out) })
	}
	for _, env := range in.envelopes {
		g.step(now, func() {
			if err := g.receive(env); err != nil {
				g.logger.Warn("dropped a malformed message", "error", err)
			}
		})
	}
	for _, f := range in.calls {
		g.step(now, f)
	}
	if len(in.reads) > 0 {
		if !g.gone {
			g.step(now, func() { g.replica.Read(in.reads, &g.out) })
		} else {
			for _, r := range in.reads {
				r.Ready(replica.Stopped)
			}
		}
	}
	g.proposeBatch(now)
	if len(in.answers) > 0 && !g.gone {
		g.sendAnswers(in.answers)
	}
	if in.letGo {
		g.letGo()
	}
	in.reset()
}

func (g *Group) receive(env transport.Envelope) error {
	if _, snapshot := env.Message.Body.(*raft.InstallSnapshot); snapshot || len(env.Entries) > 0 {
		g.heard.Store(g.node.now())
	}
	if env.Forward != nil {
		return g.receiveForward(env.Message.From, env.Forward)
	}
	return g.replica.Receive(env, &g.out)
}

// propose gives the replica what callers proposed, or the leader.
func (g *Group) propose(now int64, proposals []replica.Proposal) {
	if g.gone {
		for _, p := range proposals {
			p.Done(replica.Stopped, rsm.Result{})
		}
		return
	}
	batch := takeProposals(proposals)
	g.batching.measure(batch)
	if g.cfg.Forward && g.leadership.Load().State != raft.Leader {
		g.forward(batch)
		return
	}
	batch = g.takeQuestions(batch)
	g.step(now, func() {
		if g.replica.Propose(batch, &g.out) {
			appended(batch)
		}
	})
}

func (in *inbox) reset() {
	clear(in.applied)
	clear(in.calls)
	clear(in.envelopes)
	clear(in.reads)
	clear(in.answers)
	*in = inbox{
		applied: in.applied[:0], calls: in.calls[:0], envelopes: in.envelopes[:0],
		reads: in.reads[:0], answers: in.answers[:0],
	}
}

// step calls the replica and stops the group if it cannot go on. A broken
// invariant stops the group and never the process that hosts it.
func (g *Group) step(now int64, f func()) {
	if g.gone {
		return
	}
	defer func() {
		switch broken := recover().(type) {
		case nil:
		case *invariant.Error:
			g.stop(broken)
		default:
			panic(broken)
		}
	}()
	g.replica.SetTime(g.node.timestamp())
	f()
	if g.gone {
		return
	}
	g.setTimers(g.out.Timers, now)
	g.out.Timers = g.out.Timers[:0]
	if g.out.Fatal != nil {
		g.stop(g.out.Fatal)
	}
}

// carryOut does what the replica asked for beside writing and sending.
func (g *Group) carryOut(out *replica.Output) {
	if g.traced {
		for _, event := range out.Trace {
			g.node.cfg.Observer.Trace(g.cfg.ID, g.node.cfg.ID, event)
		}
	}
	if out.LeadershipChanged {
		l := out.Leadership
		g.publish(l)
	}
	if s := g.stopped.Load(); s != nil && !g.told {
		g.told = true
		if o, ok := g.node.cfg.Observer.(StopObserver); ok {
			o.Stopped(g.cfg.ID, s.Cause)
		}
	}
	if g.gone {
		for i := range out.Apply {
			out.Apply[i].Abandon()
		}
		return
	}
	g.publishConfiguration()
	if len(out.Apply) > 0 {
		g.node.applies.add(g.machine, out.Apply)
	}
	for _, request := range out.LogReads {
		g.node.logs.add(logRead{g, request})
	}
	for _, transfer := range out.Snapshots {
		g.sendSnapshot(transfer)
	}
	if out.Obsolete.Index != 0 {
		g.removeSnapshots(out.Obsolete)
	}
}

func (g *Group) publish(l replica.Leadership) {
	g.leadership.Store(&l)
	if to := g.forwards.to; l.Leader != to.Leader || l.Term != to.Term {
		g.abandonForwards()
	}
	g.changed.notify()
	g.logger.Info("leadership", "state", l.State.String(), "term", uint64(l.Term), "leader", uint64(l.Leader))
	if o := g.node.cfg.Observer; o != nil {
		o.LeaderChanged(g.cfg.ID, l.Leader, l.Term)
	}
}

// publishConfiguration lets Admit know the members and the transport their
// addresses.
func (g *Group) publishConfiguration() {
	if !g.replica.Exists() {
		return
	}
	c := g.replica.Core().Configuration()
	if c.ID == g.configured {
		return
	}
	g.configured = c.ID
	published := c.Configuration // c itself stays on the stack
	g.configuration.Store(&published)
	for _, m := range c.Configuration.Members {
		if m.ID != g.node.cfg.ID && len(m.Addresses) > 0 {
			g.node.cfg.Transport.SetPeer(m.ID, m.Addresses...)
		}
	}
}

// stop ends the group on this node because of a fault.
func (g *Group) stop(cause error) {
	if g.gone {
		return
	}
	g.logger.Error("group stopped on this node; the others go on", "error", cause)
	g.stopped.Store(&StoppedError{Group: g.cfg.ID, Cause: cause})
	g.halt()
	g.publish(replica.Leadership{Term: g.leadership.Load().Term})
}

// halt answers everything that waits and steps the replica no more.
func (g *Group) halt() {
	g.gone = true
	close(g.halted)
	g.replica.Stop()
	g.abandonForwards()
	g.timers.slots = [timerSlots]timerSlot{}
	w := g.worker
	w.timers.fix(g)
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.batching.held {
		g.batching.held = false
		w.enqueue(g)
	}
}

// letGo ends the group's part on the worker, for Close.
func (g *Group) letGo() {
	if !g.gone {
		g.halt()
	}
	w := g.worker
	w.mu.Lock()
	close(g.closed)
	late, proposals := g.inbox, g.batching.waiting
	g.inbox, g.batching.waiting = inbox{}, nil
	w.mu.Unlock()
	for _, p := range proposals {
		p.Done(replica.Stopped, rsm.Result{})
	}
	for _, r := range late.reads {
		r.Ready(replica.Stopped)
	}
}
