package replica

import (
	"fmt"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/wal"
)

// Config is how a replica behaves. All fields are set by whoever creates it.
type Config struct {
	Group raft.GroupID
	Raft  raft.Config
	// Incarnation is that of the node's data directory.
	Incarnation raft.Incarnation
	// Voters are the first members, for a group that does not exist yet.
	Voters []raft.NodeID
	// FirstRead names the first read. Drawn at random at each start: an answer to
	// a read of before a restart may still be on its way, and must not be taken
	// for that of a later one.
	FirstRead raft.ReadID
	// OnDisk: the state machine keeps its own state, and is given only what is
	// durable in the local log.
	OnDisk bool

	// MaxBatchBytes bounds the entries of one AppendEntries (FC-03).
	MaxBatchBytes int
	// MaxUnappliedBytes bounds what is handed to the state machine and not yet
	// applied (FC-05).
	MaxUnappliedBytes int
	// CacheBytes of durable, handed-over entries are kept in memory for
	// followers that are a little behind.
	CacheBytes int

	// SnapshotBytes, SnapshotFactor and TailBytes as in node.GroupConfig.
	SnapshotBytes  int64
	SnapshotFactor int
	TailBytes      int64
}

// Restored is what a replica begins with.
type Restored struct {
	// Log is what the write-ahead log holds of the group; its zero value means
	// that the group does not exist here yet.
	Log wal.GroupState
	// Snapshot is what the state machine was restored from, zero if from
	// nothing. It may be newer than Log.Snapshot.
	Snapshot raft.SnapshotMeta
	// SnapshotSize is the size of that snapshot in bytes.
	SnapshotSize int64
	// Applied is what the state machine holds: Snapshot.ID.Index, or the durable
	// index of a state machine on disk.
	Applied raft.Index
}

// A Proposal is a command on its way, and whoever waits for it. Its methods are
// called by the replica and by whoever applies; Done exactly once.
type Proposal interface {
	Command() []byte
	// Done ends the wait. The result is that of the command if outcome is
	// Applied.
	Done(outcome Outcome, result rsm.Result)
}

// A Reader waits until a linearizable read may look at the state machine.
type Reader interface {
	// Ready lets the reader go on, with Applied, or with the reason why it must
	// not read here. Called once.
	Ready(outcome Outcome)
	// Abandoned reports that nobody waits any more.
	Abandoned() bool
}

// Outcome is what became of a proposal or a read.
type Outcome uint8

// The outcomes.
const (
	// Applied: the command was applied; the read may look.
	Applied Outcome = 1 + iota
	// NotLeader: nothing was appended.
	NotLeader
	// Overloaded: nothing was appended, a bound is reached.
	Overloaded
	// NotReady: nothing was appended, the group does not exist here yet.
	NotReady
	// Unknown: the command may have been applied, or may yet be.
	Unknown
	// Stopped: the replica stopped before anything was appended.
	Stopped
)

// Replica is one group's replica. Not safe for concurrent use. A method that
// breaks an invariant panics with *invariant.Error; one that finds the replica
// unable to go on sets Output.Fatal. Either way the owner stops the replica.
type Replica struct {
	cfg  Config
	core *raft.Raft // nil until the group exists here
	boot *bootstrap // nil once it does

	tail         tail
	lastChecksum uint32 // of the log's last entry

	persisted raft.Seq // newest Persist known to be durable
	outbox    []held   // in order of seq
	appends   []appendToPeer
	reading   []appendToPeer // waiting for bytes from the write-ahead log

	waiting  []waitingProposal // in order of index, all after handed
	handover handover
	reads    reads
	snap     snapshots

	leadership Leadership

	// receive and the sources below are reused by step.
	receive  raft.Receive
	incoming incoming
	proposed []Proposal
	stamp    Timestamp
}

// Timestamp is the interval in which the leader's clock says that now lies.
type Timestamp struct {
	// Earliest is in nanoseconds since the Unix epoch.
	Earliest int64
	// Uncertainty is the length of the interval in microseconds.
	Uncertainty uint32
}

// Leadership is what a replica knows of who leads.
type Leadership struct {
	Term   raft.Term
	Leader raft.NodeID
	State  raft.State
}

// held is a message that waits for a durable write.
type held struct {
	seq     raft.Seq
	message raft.Message
}

// appendToPeer is an AppendEntries whose entries are still to be attached.
type appendToPeer struct {
	peer raft.NodeID
	body *raft.AppendEntries
}

type waitingProposal struct {
	index    raft.Index
	proposal Proposal
}

// New makes the replica of a group from what is on disk. Call Start next.
func New(cfg Config, restored Restored) (*Replica, error) {
	r := &Replica{cfg: cfg}
	r.reads.next = cfg.FirstRead
	log := restored.Log
	r.lastChecksum = log.LastChecksum
	if log.Last == 0 && log.Snapshot.ID.Index == 0 {
		if len(cfg.Voters) > 0 {
			r.boot = newBootstrap(cfg)
			return r, nil
		}
	}
	return r, r.begin(restored)
}

// begin makes the protocol core of a group that exists.
func (r *Replica) begin(restored Restored) error {
	log := restored.Log
	state := raft.Restored{
		HardState:      log.HardState,
		Snapshot:       log.Snapshot,
		First:          log.First,
		Last:           log.Last,
		PrevTerm:       log.PrevTerm,
		Runs:           log.Runs,
		Configurations: log.Configurations,
		Applied:        restored.Applied,
	}
	if restored.Snapshot.ID.Index > log.Snapshot.ID.Index {
		state.Snapshot = restored.Snapshot
	}
	core, err := raft.New(r.cfg.Raft, state)
	if err != nil {
		return fmt.Errorf("group %d: %w", r.cfg.Group, err)
	}
	r.core = core
	r.handover.begin(restored.Applied)
	r.snap.begin(state.Snapshot.ID, restored.SnapshotSize, log)
	return nil
}

// Exists reports whether the group exists here.
func (r *Replica) Exists() bool { return r.core != nil }

// Status describes the replica; zero while the group does not exist here.
func (r *Replica) Status() raft.Status {
	if r.core == nil {
		return raft.Status{ID: r.cfg.Raft.ID}
	}
	return r.core.Status()
}

// Core gives the protocol core to checkers, which must not step it.
func (r *Replica) Core() *raft.Raft { return r.core }

// SetTime tells the replica what time it is, for the entries that it creates.
// The owner calls it before inputs that arrive later than the last call.
func (r *Replica) SetTime(now Timestamp) { r.stamp = now }

// Start begins: the first timers, or the first bootstrap message.
func (r *Replica) Start(out *Output) {
	if r.core == nil {
		r.boot.start(out)
		return
	}
	r.effects(r.core.Start(), out)
	c := r.core.Configuration().Configuration
	if voters := c.Voters(); !c.Joint() && len(voters) == 1 && voters[0] == r.cfg.Raft.ID {
		// There is nobody else to hear from.
		r.step(&raft.Campaign{}, out)
	}
	r.settle(out)
}

// TimerFired brings back a timer that an Output armed.
func (r *Replica) TimerFired(kind raft.TimerKind, generation uint64, out *Output) {
	switch kind {
	case ReadRetryTimer:
		r.retryReads(generation, out)
	case BootstrapTimer:
		if r.boot != nil {
			r.boot.timerFired(generation, out)
		}
	default:
		if r.core == nil {
			return
		}
		r.step(&raft.TimerFired{Kind: kind, Generation: generation}, out)
	}
	r.settle(out)
}

// Persisted reports that Output.Updates up to seq are durable.
func (r *Replica) Persisted(seq raft.Seq, out *Output) {
	if r.core == nil {
		r.bootstrapped(out)
		return
	}
	r.persisted = seq
	r.step(&raft.Persisted{Seq: seq}, out)
	r.release(out)
	r.installPersisted(seq, out)
	r.snap.persisted(seq, out)
	r.settle(out)
}

// PeerUnreachable reports that the transport lost contact with a node.
func (r *Replica) PeerUnreachable(peer raft.NodeID, out *Output) {
	if r.core == nil {
		return
	}
	r.step(&raft.PeerUnreachable{Peer: peer}, out)
	r.settle(out)
}

// Propose appends commands at the leader. If this replica does not lead, or a
// bound is reached, all of them are told so. It reports whether they were
// appended, before any of them is answered.
func (r *Replica) Propose(batch []Proposal, out *Output) bool {
	if len(batch) == 0 {
		return false
	}
	if r.core == nil {
		refuse(batch, NotReady)
		return false
	}
	bytes := 0
	for _, p := range batch {
		bytes += entry.Size(len(p.Command()))
	}
	r.proposed = batch
	answer := r.step(&raft.Propose{Count: len(batch), Bytes: bytes}, out)
	r.proposed = nil
	switch {
	case answer.First != 0:
	case r.core.State() == raft.Leader:
		refuse(batch, Overloaded)
	default:
		refuse(batch, NotLeader)
	}
	r.settle(out)
	return answer.First != 0
}

func refuse(batch []Proposal, outcome Outcome) {
	for _, p := range batch {
		p.Done(outcome, rsm.Result{})
	}
}

// Campaign makes the replica stand for election at once.
func (r *Replica) Campaign(out *Output) {
	if r.core == nil {
		return
	}
	r.step(&raft.Campaign{}, out)
	r.settle(out)
}

// Stop answers everything that waits. Nothing else is called afterwards.
func (r *Replica) Stop() {
	r.failWaiting()
	r.reads.failAll(Stopped)
}

// step gives the core one input and takes over its effects.
func (r *Replica) step(in raft.Input, out *Output) raft.Proposed {
	eff := r.core.Step(in)
	answer := eff.Proposed
	r.effects(eff, out)
	return answer
}

// effects takes over what the core asked for. Sends with entries are only noted:
// attaching their bytes steps the core again, see settle.
func (r *Replica) effects(eff *raft.Effects, out *Output) {
	out.Trace = append(out.Trace, eff.Trace...)
	if eff.Persist.Seq != 0 {
		r.persist(&eff.Persist, out)
	}
	out.Timers = append(out.Timers, eff.Timers...)
	for _, m := range eff.Send {
		if ae, ok := m.Body.(*raft.AppendEntries); ok && ae.Last > ae.Prev.Index {
			r.appends = append(r.appends, appendToPeer{m.To, ae})
			continue
		}
		out.send(r.cfg.Group, m)
	}
	for _, m := range eff.AfterSync {
		if eff.AfterSyncSeq <= r.persisted {
			out.send(r.cfg.Group, m)
			continue
		}
		r.outbox = append(r.outbox, held{eff.AfterSyncSeq, m})
	}
	for _, transfer := range eff.Snapshots {
		r.snap.pin(transfer.Peer)
		out.Snapshots = append(out.Snapshots, transfer)
	}
	if eff.Install.ID.Index != 0 {
		r.install(eff.Install, eff.Persist.Seq)
	}
	for _, read := range eff.Reads {
		r.answerRead(read, out)
	}
	r.handover.committed = max(r.handover.committed, eff.Committed)
}

// settle follows up a step until nothing is left to do: ask for reads, attach
// entries to messages, hand over what was committed, notice a change of leadership.
func (r *Replica) settle(out *Output) {
	if r.core == nil {
		return
	}
	r.askArrived(out)
	r.attachAll(out)
	if r.noticeLeadership(out) {
		// What the last leader was asked for, this one can answer now.
		r.retryReads(r.reads.timer, out)
		r.askArrived(out)
		r.attachAll(out)
	}
	r.handOver(out)
	r.tail.evict(r.cfg.CacheBytes, min(r.handover.handed, r.core.DurableIndex()))
}

func (r *Replica) attachAll(out *Output) {
	for len(r.appends) > 0 {
		a := r.appends[0]
		r.appends = r.appends[:copy(r.appends, r.appends[1:])]
		r.attach(a, out)
	}
}

// noticeLeadership answers what waited for a leadership that is lost. It reports
// whether another leader is known from now on.
func (r *Replica) noticeLeadership(out *Output) (another bool) {
	now := Leadership{Term: r.core.CurrentTerm(), Leader: r.core.Leader(), State: r.core.State()}
	if now == r.leadership {
		return false
	}
	before := r.leadership
	r.leadership = now
	out.Leadership, out.LeadershipChanged = now, true
	if before.State == raft.Leader && (now.State != raft.Leader || now.Term != before.Term) {
		r.failWaiting()
		r.reading = r.reading[:0]
	}
	return now.Leader != raft.None && (now.Leader != before.Leader || now.Term != before.Term)
}

// failWaiting answers the proposals that no longer have a leader to commit
// them. They may be committed all the same, by the next leader.
func (r *Replica) failWaiting() {
	for i := range r.waiting {
		r.waiting[i].proposal.Done(Unknown, rsm.Result{})
		r.waiting[i] = waitingProposal{}
	}
	r.waiting = r.waiting[:0]
}

// release sends what waited for writes that are durable now.
func (r *Replica) release(out *Output) {
	n := 0
	for n < len(r.outbox) && r.outbox[n].seq <= r.persisted {
		out.send(r.cfg.Group, r.outbox[n].message)
		n++
	}
	if n > 0 {
		rest := copy(r.outbox, r.outbox[n:])
		clear(r.outbox[rest:])
		r.outbox = r.outbox[:rest]
	}
}

// Output is what a replica asks of its owner. Several inputs may be gathered in
// one Output; each list is in order. Reset it between uses.
type Output struct {
	// Updates are to be made durable, in order, and answered by Persisted with
	// the Seq of the last one that is.
	Updates []Update
	// Send may leave at once.
	Send []transport.Envelope
	// Timers are to be armed or stopped.
	Timers []raft.Timer
	// Apply are tasks for the state machine, in order, each answered.
	Apply []Task
	// LogReads are to be read from the write-ahead log and answered by LogRead.
	LogReads []LogRead
	// Snapshots are to be sent to peers and answered by SnapshotSent.
	Snapshots []raft.SendSnapshot
	// Obsolete, if its Index is not zero: snapshots before it may be removed.
	Obsolete raft.EntryID
	// Leadership as it is now, if LeadershipChanged.
	Leadership        Leadership
	LeadershipChanged bool
	// ConfigurationChanged: another configuration is in force.
	Trace []raft.Event
	// Fatal, if not nil: the replica cannot go on, and must be stopped.
	Fatal error
}

// Update is one durable write with its number in the group.
type Update struct {
	Seq raft.Seq
	wal.Update
}

// Reset empties the output and keeps its memory.
func (o *Output) Reset() {
	clear(o.Updates)
	clear(o.Send)
	clear(o.Apply)
	clear(o.LogReads)
	*o = Output{
		Updates: o.Updates[:0], Send: o.Send[:0], Timers: o.Timers[:0], Apply: o.Apply[:0],
		LogReads: o.LogReads[:0], Snapshots: o.Snapshots[:0], Trace: o.Trace[:0],
	}
}

func (o *Output) send(group raft.GroupID, m raft.Message) {
	o.Send = append(o.Send, transport.Envelope{Group: group, Message: m})
}

func (o *Output) fail(err error) {
	if o.Fatal == nil {
		o.Fatal = err
	}
}

// Timers of the replica's own, beside the protocol's.
const (
	// ReadRetryTimer runs for half an election timeout while a read waits.
	ReadRetryTimer raft.TimerKind = 64 + iota
	// BootstrapTimer runs for half an election timeout while the group does not
	// exist.
	BootstrapTimer
)
