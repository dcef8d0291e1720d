package sim

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/snapshot"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/wal"
)

// group is a node's replica of a group, and what is done for it.
type group struct {
	n       *node
	w       *world
	id      raft.GroupID
	judge   *check.Group
	replica *replica.Replica
	out     replica.Output
	inbox   inbox
	spare   inbox // memory for the next one
	status  raft.Status
	timers  [timerSlots]timerSlot
	alarm   instant // when the timers are looked at next; zero: never
	gone    bool    // stopped: the replica is not stepped again
	away    bool    // found damaged at the start, and not started

	applier *replica.Applier
	machine *machine
	disk    rsm.OnDisk // the machine, if it is one
	hosted  *Process   // of a Service
	tasks   []replica.Task
	working bool

	receiving *receiver
	sending   []*sender

	// Of the step before.
	term   raft.Term
	state  raft.State
	leader raft.NodeID
}

// inbox is what happened to a group since a worker last looked.
type inbox struct {
	persisted raft.Seq
	synced    bool
	applied   []*replica.Task
	envelopes []transport.Envelope
	calls     []func()
	reads     []replica.Reader
	proposals []replica.Proposal
}

// emptied gives the memory of an inbox for another.
func (in *inbox) emptied() inbox {
	clear(in.applied)
	clear(in.envelopes)
	clear(in.calls)
	clear(in.reads)
	clear(in.proposals)
	return inbox{
		applied: in.applied[:0], envelopes: in.envelopes[:0], calls: in.calls[:0],
		reads: in.reads[:0], proposals: in.proposals[:0],
	}
}

const (
	protocolTimers = int(raft.TransferTimer) + 1
	timerSlots     = protocolTimers + 2
)

type timerSlot struct {
	deadline   instant // zero: not armed
	generation uint64
}

func slotOf(kind raft.TimerKind) int {
	if kind >= replica.ReadRetryTimer {
		return protocolTimers + int(kind-replica.ReadRetryTimer)
	}
	return int(kind)
}

func kindOf(slot int) raft.TimerKind {
	if slot >= protocolTimers {
		return replica.ReadRetryTimer + raft.TimerKind(slot-protocolTimers)
	}
	return raft.TimerKind(slot)
}

// openGroup begins a group with what the disk holds of it.
func (n *node) openGroup(judge *check.Group, whole, none *bool) (*group, error) {
	id := raft.GroupID(len(n.groups) + 1)
	g := &group{n: n, w: n.w, id: id, judge: judge}
	if err := g.openMachine(); err != nil {
		return nil, err
	}
	log, found := n.log.Group(id)
	if found && len(log.Faults) > 0 {
		return nil, fmt.Errorf("%w: the log: %v", errDamaged, log.Faults)
	}
	if !found {
		// A batch of which nothing is known may have been this group's only one: to
		// take the group for new would be to forget what it promised (SF-03).
		for _, f := range n.log.Damages() {
			if f.Verdict == wal.Unknown {
				return nil, fmt.Errorf("%w: nothing of the group is in the log, and %v", errDamaged, f)
			}
		}
	}
	restored, at, err := g.restore(log)
	if err != nil {
		return nil, err
	}
	if err := g.report(&log, whole, none); err != nil {
		return nil, err
	}
	if g.hosted != nil {
		g.hosted.born = restored.Log.HardState.CurrentTerm
	}
	g.applier = replica.NewApplier(g.machine, at)
	g.judge.Applied(n.id, at, g.machine.Hash())
	if n.w.cfg.plant == forgetVote {
		restored.Log.HardState.VotedFor = raft.None
	}
	p := &n.w.p
	g.replica, err = replica.New(replica.Config{
		Group: id,
		Raft: raft.Config{
			ID: n.id, MaxUncommittedBytes: p.maxUncommitted,
			MaxInFlightMessages: p.maxInFlight, MaxInFlightBytes: p.inFlightBytes,
		},
		Incarnation: n.incarnation, Voters: n.ids, OnDisk: g.disk != nil, FirstRead: raft.ReadID(n.w.nodeRand.Uint64()),
		MaxBatchBytes: p.maxBatchBytes, MaxUnappliedBytes: p.maxUnapplied, CacheBytes: p.cacheBytes,
		SnapshotBytes: p.snapshotBytes, SnapshotFactor: p.snapshotFactor, TailBytes: p.tailBytes,
	}, restored)
	if err != nil {
		return nil, err
	}
	if !g.replica.Exists() && n.boot > 1 {
		n.w.count(countBootstrapInterrupted)
	}
	n.w.tracef("node %d, group %d: %v", n.id, id, restored.Log.HardState)
	return g, nil
}

func (g *group) openMachine() (err error) {
	if g.w.service == nil {
		g.machine, err = g.w.newMachine(Place{Node: g.n.id, Group: g.id, Disk: g.n.disk})
	} else {
		g.hosted = &Process{g: g, boot: g.n.boot}
		g.n.process = g.hosted
		var hosted check.Hasher
		if hosted, err = g.w.service.Boot(g.hosted); err == nil {
			g.machine = bareMachine(hosted)
		}
	}
	if err != nil {
		return fmt.Errorf("state machine: %w", err)
	}
	g.disk, _ = g.machine.StateMachine.(rsm.OnDisk)
	return nil
}

// restore brings the state machine as far as it can without the log.
func (g *group) restore(log wal.GroupState) (replica.Restored, raft.SnapshotMeta, error) {
	restored := replica.Restored{Log: log}
	if g.disk != nil {
		durable := g.disk.DurableIndex()
		at, goesOn, err := replica.GoOn(&log, durable)
		if err != nil || goesOn {
			restored.Applied = durable
			return restored, at, err
		}
	}
	info, ok := replica.NewestUsable(&log, g.n.store.List(g.id))
	if !ok {
		if log.Snapshot.ID.Index != 0 {
			return restored, raft.SnapshotMeta{}, fmt.Errorf("%w: the log begins after snapshot %v, which is missing (B-25)", errDamaged, log.Snapshot.ID)
		}
		return restored, raft.SnapshotMeta{}, nil
	}
	r, err := g.n.store.Open(info)
	if err != nil {
		return restored, raft.SnapshotMeta{}, damaged(err)
	}
	if err := errors.Join(g.machine.Restore(r), r.Close()); err != nil {
		return restored, raft.SnapshotMeta{}, fmt.Errorf("restore snapshot %v: %w", info.Meta.ID, damaged(err))
	}
	g.w.count(countRestartFromSnapshot)
	restored.Snapshot, restored.SnapshotSize, restored.Applied = info.Meta, int64(info.Size), info.Meta.ID.Index
	return restored, info.Meta, nil
}

// damaged marks an error that says what is damaged.
func damaged(err error) error {
	if errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, wal.ErrCorrupt) {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}

// absent stands for a replica that is not started.
func (n *node) absent(judge *check.Group) *group {
	return &group{n: n, w: n.w, id: judge.ID(), judge: judge, gone: true, away: true}
}

// report shows the judge what the disk holds.
func (g *group) report(log *wal.GroupState, whole, none *bool) error {
	found := check.Restart{
		HardState: log.HardState, Snapshot: log.Snapshot.ID, First: log.First, PrevTerm: log.PrevTerm, Killed: !g.n.doubt,
	}
	var is, was bool
	found.Whole, found.None = &is, &was
	for next := log.First; next != 0 && next <= log.Last; {
		data, last, err := g.n.log.Read(g.id, next, log.Last, 1<<20, nil)
		if err != nil {
			return fmt.Errorf("read the log back: %w", damaged(err))
		}
		found.Entries = append(found.Entries, data)
		next = last + 1
	}
	g.judge.Started(g.n.id, &found)
	*whole = *whole && is
	*none = *none && was
	return nil
}

// begin is the first step.
func (g *group) begin() {
	g.step(func() { g.replica.Start(&g.out) })
}

// The deliver and post methods put something into the inbox and wake a worker.

func (g *group) deliver(e transport.Envelope) {
	if g.gone {
		return
	}
	g.inbox.envelopes = append(g.inbox.envelopes, e)
	g.n.wake()
}

func (g *group) call(f func()) {
	if g.gone {
		return
	}
	g.inbox.calls = append(g.inbox.calls, f)
	g.n.wake()
}

// process steps the replica through everything in the inbox, in the order in
// which package node does.
func (g *group) process() {
	in := g.inbox
	g.inbox, g.spare = g.spare, inbox{}
	defer func() { g.spare = in.emptied() }()
	if in.synced {
		g.step(func() { g.replica.Persisted(in.persisted, &g.out) })
	}
	for _, task := range in.applied {
		g.step(func() { g.replica.Applied(task, &g.out) })
	}
	for i := range in.envelopes {
		g.receive(&in.envelopes[i])
		if g.w.judgeRand.Uint32()%64 == 0 && !g.gone && g.replica.Exists() {
			before := g.status
			g.receive(&in.envelopes[i])
			g.w.count(countReplayedAtOnce)
			if !g.gone {
				g.judge.Replayed(g.n.id, &before, &g.status, &in.envelopes[i].Message)
			}
		}
	}
	for _, f := range in.calls {
		g.step(f)
	}
	if len(in.reads) > 0 {
		switch {
		case g.gone:
			for _, r := range in.reads {
				r.Ready(replica.Stopped)
			}
		case g.w.cfg.plant == unconfirmedRead:
			for _, r := range in.reads {
				r.Ready(replica.Applied)
			}
		default:
			g.step(func() { g.replica.Read(in.reads, &g.out) })
		}
	}
	if len(in.proposals) > 0 {
		if g.gone {
			for _, p := range in.proposals {
				p.Done(replica.Stopped, rsm.Result{})
			}
		} else {
			g.step(func() { g.replica.Propose(in.proposals, &g.out) })
		}
	}
}

func (g *group) receive(e *transport.Envelope) {
	g.step(func() {
		if err := g.replica.Receive(*e, &g.out); err != nil {
			g.judge.Fail(g.n.id, check.LogMatching, "an intact message is refused: %v", err)
		}
	})
}

// step calls the replica, shows the judge what it did and arms its timers.
func (g *group) step(f func()) {
	if g.gone {
		return
	}
	g.replica.SetTime(g.n.timestamp())
	updates, trace, sent := len(g.out.Updates), len(g.out.Trace), len(g.out.Send)
	existed := g.replica.Exists()
	f()
	if g.gone {
		return
	}
	out := &g.out
	for i := range out.Trace[trace:] {
		e := &out.Trace[trace+i]
		g.w.tracef("node %d, group %d: %v", g.n.id, g.id, e)
		if g.w.cfg.Events != nil {
			g.w.cfg.Events(time.Duration(g.w.now), g.n.id, g.n.boot, g.id, e)
		}
		g.traced(e)
		if len(g.w.armed) > 0 {
			g.w.arrived(g.n, momentOfEvent(e))
		}
	}
	core := g.replica.Core()
	var state raft.State
	var term raft.Term
	if core != nil {
		state, term = core.State(), core.CurrentTerm()
	}
	for i := range out.Updates[updates:] {
		u := &out.Updates[updates+i]
		g.judge.Updated(g.n.id, &check.Update{
			HardState: u.HardState, HardStateChanged: u.HardStateChanged, ResetLog: u.ResetLog, KeepSuffix: u.KeepSuffix,
			Reset: u.Reset, Compact: u.Compact, First: u.First, Last: u.Last, Entries: u.Entries, Bootstrap: !existed,
		}, state, term)
		g.w.note(uint64(g.n.id), uint64(u.HardState.CurrentTerm), uint64(u.First), uint64(u.Last), uint64(u.Compact))
	}
	if core != nil {
		status := &g.status
		core.StatusInto(status)
		g.judge.Stepped(g.n.id, status)
		g.w.note(uint64(g.n.id)<<32|uint64(g.id), uint64(status.HardState.CurrentTerm)<<8|uint64(state), uint64(status.CommitIndex), uint64(status.LastLog.Index))
		g.term, g.state, g.leader = term, state, status.Leader
		g.disturbed()
		g.tellLeader()
	}
	for i := range out.Send[sent:] {
		m := &out.Send[sent+i].Message
		g.judge.Sent(g.n.id, m)
		if len(g.w.armed) > 0 {
			g.w.arrived(g.n, momentOf(m))
		}
	}
	g.setTimers(out.Timers)
	out.Timers = out.Timers[:0]
	if out.Fatal != nil {
		if !g.n.hurt {
			g.w.fail(fmt.Errorf("node %d: stopped without a fault of its disk: %w", g.n.id, out.Fatal))
		}
		g.stop(out.Fatal)
	}
}

// traced notes what the protocol says it did.
func (g *group) traced(e *raft.Event) {
	g.w.note(uint64(e.Kind), uint64(e.Reason))
	switch e.Kind {
	case raft.BecameLeader:
		g.w.count(countElection)
		if e.Term > 2 {
			g.w.count(countLeaderChange)
		}
		g.judge.Elected(g.n.id, e.Term)
	case raft.OwnVoteCounted:
		g.judge.VotedForItself(g.n.id, e.Term)
	case raft.Truncated:
		g.w.count(countTruncated)
	case raft.LogCompacted:
		g.w.count(countCompacted)
	case raft.SnapshotInstalled:
		g.w.count(countSnapshotInstalled)
		if e.Reason == raft.SuffixMatches {
			g.w.count(countSuffixKept)
		} else {
			g.w.count(countSuffixDiscarded)
		}
	case raft.VoteWithheld:
		g.w.count(countVoteWithheld)
	case raft.BecameFollower:
		if e.Reason == raft.NoQuorumContact {
			g.w.count(countSteppedDown)
		}
	}
}

// carryOut does what the replica asked for.
func (g *group) carryOut() {
	out := &g.out
	if g.gone {
		for i := range out.Apply {
			out.Apply[i].Abandon()
		}
		out.Reset()
		return
	}
	g.n.syncer.add(g, out.Updates)
	for i := range out.Send {
		g.n.send(out.Send[i])
	}
	for i := range out.Updates {
		if g.w.cfg.plant == applyUncommitted && g.w.diskRand.IntN(100) == 0 {
			g.applyEarly(&out.Updates[i])
		}
	}
	g.tasks = append(g.tasks, out.Apply...)
	g.work()
	for _, request := range out.LogReads {
		g.readLog(request)
	}
	for _, transfer := range out.Snapshots {
		g.sendSnapshot(transfer)
	}
	if out.Obsolete.Index != 0 {
		g.removeSnapshots(out.Obsolete)
	}
	out.Reset()
}

// stop ends the group on this node because of a fault of its disk; the node is
// restarted in a while.
func (g *group) stop(cause error) {
	if g.gone {
		return
	}
	g.gone = true
	g.w.count(countGroupStopped)
	g.w.tracef("node %d, group %d: stopped: %v", g.n.id, g.id, cause)
	g.replica.Stop()
	for i := range g.tasks {
		g.tasks[i].Abandon()
	}
	g.tasks = nil
	g.endTransfers()
	if !g.n.failed {
		r, t := g.w.operatorRand, g.w.p.election
		g.n.after(between(r, t/2, 4*t), faultEvent, func() { g.n.kill(between(r, 0, 4*t)) })
	}
}

func (g *group) setTimers(timers []raft.Timer) {
	if len(timers) == 0 {
		return
	}
	for _, t := range timers {
		slot := &g.timers[slotOf(t.Kind)]
		*slot = timerSlot{}
		if !t.Stop {
			*slot = timerSlot{deadline: g.w.now.after(g.duration(t.Kind)), generation: t.Generation}
		}
	}
	g.setAlarm()
}

// setAlarm lets the timers be looked at when the first is due. An alarm that is
// too early stays.
func (g *group) setAlarm() {
	first := instant(math.MaxInt64)
	for i := range g.timers {
		if d := g.timers[i].deadline; d != 0 {
			first = min(first, d)
		}
	}
	if first == math.MaxInt64 || g.alarm != 0 && g.alarm <= first {
		return
	}
	g.alarm = first
	g.w.q.push(event{at: first, kind: timerEvent, node: g.n, boot: g.n.boot, do: func() {
		if g.alarm == first {
			g.alarm = 0
			g.fireTimers()
		}
	}})
}

// fireTimers steps the replica for every timer that is due.
func (g *group) fireTimers() {
	now := g.w.now
	for i := range g.timers {
		slot := g.timers[i]
		if slot.deadline == 0 || slot.deadline > now || g.gone {
			continue
		}
		kind := kindOf(i)
		if kind == raft.ElectionTimer && now > slot.deadline.after(g.w.p.election/2) {
			// The process was paused, and its leader's messages may be waiting
			// unread: let them be heard before campaigning (TM-04).
			g.w.count(countOverdueElection)
			g.timers[i].deadline = now.after(g.duration(kind))
			continue
		}
		g.timers[i] = timerSlot{}
		if kind == replica.ReadRetryTimer {
			g.w.count(countReadRetried)
		}
		g.step(func() { g.replica.TimerFired(kind, slot.generation, &g.out) })
	}
	if g.gone {
		return
	}
	g.setAlarm()
	g.n.gather()
}

// duration is how long a timer runs, by the node's clock.
func (g *group) duration(kind raft.TimerKind) time.Duration {
	t := g.w.p.election
	d := t / 2
	switch kind {
	case raft.ElectionTimer:
		d = t + time.Duration(g.w.nodeRand.Int64N(int64(t))) // EL-11
	case raft.HeartbeatTimer:
		d = g.w.p.heartbeat
	case raft.StickinessTimer, raft.QuorumContactTimer, raft.TransferTimer:
		d = t
	}
	return d * 100 / time.Duration(g.n.drift)
}
