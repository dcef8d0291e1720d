package replica

import (
	"fmt"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/internal/invariant"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
)

// A Task is work for the state machine. Tasks are done in order, one at a time.
// Exactly one of the three parts is set.
type Task struct {
	// Entries are committed entries [First, Last], back to back. Answer with
	// Applied.
	First, Last raft.Index
	Entries     [][]byte
	bytes       int
	waiting     []waitingProposal

	// Restore, if its index is not zero: replace the state by this snapshot.
	// Answer with Applied(Restore.ID.Index).
	Restore raft.SnapshotMeta

	// Snapshot: take a picture of the state and store it. Answer with
	// SnapshotTaken or SnapshotFailed.
	Snapshot bool
}

// handover moves committed entries to the state machine, in order, each once
// (CM-06).
type handover struct {
	committed raft.Index
	handed    raft.Index // the last entry given to the state machine
	applied   raft.Index // the last entry that it reported
	unapplied int        // bytes in between
	reading   bool       // the next entries are being read from the log

	// install is a snapshot to restore from once its write is durable.
	install    raft.SnapshotMeta
	installSeq raft.Seq
}

func (h *handover) begin(applied raft.Index) {
	h.committed, h.handed, h.applied = applied, applied, applied
}

// handOver gives the state machine what may be applied, within bounds (FC-05).
func (r *Replica) handOver(out *Output) {
	h := &r.handover
	limit := h.committed
	if r.cfg.OnDisk {
		// Its effects may become durable before the log does, and must never be
		// ahead of it.
		limit = min(limit, r.core.DurableIndex())
	}
	for h.handed < limit && h.install.ID.Index == 0 && !h.reading && h.unapplied < r.cfg.MaxUnappliedBytes {
		pieces, last, bytes, ok := r.tail.slice(nil, h.handed+1, limit, r.cfg.MaxBatchBytes)
		if !ok {
			h.reading = true
			out.LogReads = append(out.LogReads, LogRead{First: h.handed + 1, Last: r.tail.before(limit), MaxBytes: r.cfg.MaxBatchBytes})
			return
		}
		r.hand(pieces, last, bytes, out)
	}
}

func (r *Replica) hand(pieces [][]byte, last raft.Index, bytes int, out *Output) {
	h := &r.handover
	out.Apply = append(out.Apply, Task{
		First: h.handed + 1, Last: last, Entries: pieces, bytes: bytes, waiting: r.takeWaiting(last),
	})
	h.handed = last
	h.unapplied += bytes
}

// takeWaiting removes the proposals up to an index from those that wait.
func (r *Replica) takeWaiting(last raft.Index) []waitingProposal {
	n := 0
	for n < len(r.waiting) && r.waiting[n].index <= last {
		n++
	}
	if n == 0 {
		return nil
	}
	if n == len(r.waiting) {
		taken := r.waiting
		r.waiting = nil
		return taken
	}
	taken := append([]waitingProposal(nil), r.waiting[:n]...)
	rest := copy(r.waiting, r.waiting[n:])
	clear(r.waiting[rest:])
	r.waiting = r.waiting[:rest]
	return taken
}

// read brings entries to apply that the tail no longer held.
func (h *handover) read(r *Replica, request LogRead, data []byte, err error, out *Output) {
	h.reading = false
	if request.First != h.handed+1 || h.install.ID.Index != 0 {
		return // a snapshot took their place meanwhile
	}
	if err != nil {
		out.fail(fmt.Errorf("group %d: committed entry %d cannot be read back: %w", r.cfg.Group, request.First, err))
		return
	}
	count, err := r.checkRead(request.First, data)
	if err != nil {
		out.fail(fmt.Errorf("group %d: read back from the log: %w", r.cfg.Group, err))
		return
	}
	r.hand([][]byte{data}, request.First+raft.Index(count)-1, len(data), out)
}

// install notes a snapshot that takes the log's place.
func (r *Replica) install(meta raft.SnapshotMeta, seq raft.Seq) {
	r.handover.install, r.handover.installSeq = meta, seq
}

// installPersisted begins the restoring once the log says that the snapshot is
// in force: the commit point of an install (SN-03).
func (r *Replica) installPersisted(seq raft.Seq, out *Output) {
	h := &r.handover
	if h.install.ID.Index == 0 || h.installSeq > seq {
		return
	}
	meta := h.install
	h.install = raft.SnapshotMeta{}
	if meta.ID.Index <= h.handed {
		return
	}
	out.Apply = append(out.Apply, Task{Restore: meta})
	h.handed = meta.ID.Index
	h.unapplied = 0
	r.snap.installed(meta)
}

// Applied reports that the state machine has done a task, and holds the effects
// of everything up to last.
func (r *Replica) Applied(task *Task, out *Output) {
	h := &r.handover
	last := task.Last
	if task.Restore.ID.Index != 0 {
		last = task.Restore.ID.Index
		// Not when it came into force: it may have come while the state machine had
		// still to be restored from one before (B-25).
		out.Obsolete = task.Restore.ID
	} else {
		h.unapplied = max(0, h.unapplied-task.bytes)
	}
	if last <= h.applied {
		invariant.Failf("group %d: applied up to %d after %d", r.cfg.Group, last, h.applied)
	}
	h.applied = last
	r.step(&raft.Applied{Index: last}, out)
	r.reads.applied(last)
	r.considerSnapshot(out)
	r.settle(out)
}

// AppliedIndex is the last entry that the state machine reported.
func (r *Replica) AppliedIndex() raft.Index { return r.handover.applied }

// An Applier does the tasks of one state machine. Used by one goroutine at a
// time.
type Applier struct {
	machine rsm.StateMachine
	// at is what a snapshot of the state as it is now would replace.
	at      raft.SnapshotMeta
	entries []rsm.Entry
}

// NewApplier applies to a state machine that holds what at says.
func NewApplier(machine rsm.StateMachine, at raft.SnapshotMeta) *Applier {
	return &Applier{machine: machine, at: at}
}

// At is what the state machine holds.
func (a *Applier) At() raft.SnapshotMeta { return a.at }

// Restored says that the state machine was restored from a snapshot.
func (a *Applier) Restored(meta raft.SnapshotMeta) { a.at = meta }

// Apply applies a task's entries and answers their proposers. An error means
// that this replica cannot go on; the proposers are told that their outcome is
// unknown.
func (a *Applier) Apply(task *Task) error {
	err := a.apply(task)
	next := 0
	for _, w := range task.waiting {
		if err != nil {
			w.proposal.Done(Unknown, rsm.Result{})
			continue
		}
		for a.entries[next].Index != w.index {
			next++
		}
		w.proposal.Done(Applied, a.entries[next].Result)
	}
	task.waiting = nil
	clear(a.entries)
	a.entries = a.entries[:0]
	return err
}

func (a *Applier) apply(task *Task) error {
	a.entries = a.entries[:0]
	at := a.at
	for _, data := range task.Entries {
		for len(data) > 0 {
			e, n, err := entry.Decode(data)
			if err != nil {
				return fmt.Errorf("apply entry %d: %w", at.ID.Index+1, err)
			}
			data = data[n:]
			if e.Index != at.ID.Index+1 || e.Term < at.ID.Term {
				return fmt.Errorf("apply: entry %d.%d follows %v", e.Term, e.Index, at.ID)
			}
			if at.Checksum != 0 && e.Prev != at.Checksum {
				return fmt.Errorf("apply: entry %d.%d is not chained to %v", e.Term, e.Index, at.ID)
			}
			at.ID, at.Checksum = raft.EntryID{Term: e.Term, Index: e.Index}, e.Checksum
			at.MaxTimestamp = max(at.MaxTimestamp, e.Timestamp+int64(e.Uncertainty)*1000)
			switch e.Kind {
			case entry.Command:
				a.entries = append(a.entries, rsm.Entry{Index: e.Index, Term: e.Term, Timestamp: e.Timestamp, Command: e.Payload})
			case entry.NoOp:
			case entry.Configuration:
				c, err := entry.DecodeConfiguration(e.Payload)
				if err != nil {
					return fmt.Errorf("apply configuration entry %d: %w", e.Index, err)
				}
				at.Configuration = raft.ConfigurationEntry{ID: at.ID, Configuration: c}
			default:
				// RP-16: to skip what other replicas apply would diverge.
				return fmt.Errorf("apply: entry %d.%d is of unknown kind %d; this version is too old for this log", e.Term, e.Index, e.Kind)
			}
		}
	}
	if at.ID.Index != task.Last {
		return fmt.Errorf("apply: entries up to %d where the task names [%d, %d]", at.ID.Index, task.First, task.Last)
	}
	if len(a.entries) > 0 {
		if err := a.machine.Apply(a.entries); err != nil {
			return fmt.Errorf("state machine: apply entries [%d, %d]: %w", task.First, task.Last, err)
		}
	}
	a.at = at
	return nil
}

// Abandon answers a task's proposers that its outcome is unknown, because nobody
// will apply it here.
func (t *Task) Abandon() {
	for _, w := range t.waiting {
		w.proposal.Done(Unknown, rsm.Result{})
	}
	t.waiting = nil
}
