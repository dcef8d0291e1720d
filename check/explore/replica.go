package explore

import (
	"encoding/binary"
	"slices"

	"github.com/quorate/quorate/raft"
)

// replica is one raft.Raft and the least runtime that carries out what it asks
// for. Three things it does at once, since to do them later would bring nothing
// new: it reports entries as sent in the moment they are handed over, it applies
// what is committed, which only raises an index that snapshots are taken at, and
// it starts again in the moment it crashes, for who is down is as silent as who
// is not scheduled.
type replica struct {
	scope *Scope
	id    raft.NodeID
	core  *raft.Raft

	// disk survives a crash. queue are the writes asked for that are not durable,
	// each as it will leave the disk; live is the last of these, or the disk.
	disk  record
	queue []record
	// durable is the number of the newest durable write.
	durable raft.Seq
	held    []held

	timers [raft.TransferTimer + 1]uint64 // generation, zero if it does not run
	// applied is what the state machine holds, live.log up to there. While the
	// write installing is under way it waits to be restored.
	applied    raft.Index
	installing raft.Seq
	// transfers are the peers that are being sent a snapshot, waiting the reads
	// that wait for an answer, as bits.
	transfers, waiting uint16
}

// record is what a replica has on its disk.
type record struct {
	hard     raft.HardState
	snapshot raft.SnapshotMeta
	// first is where the log begins; log has also what was before.
	first raft.Index
	log   terms
}

// held is a message that waits for a write.
type held struct {
	seq raft.Seq
	message
}

// effect is what a step brings about beyond the replica.
type effect struct {
	messages []message
	reads    []raft.ReadState
	events   []raft.Event
	// wrote are the writes that were asked for, each with the state that the
	// replica had then.
	wrote []wrote
}

// wrote is one write: the log before and after it.
type wrote struct {
	raft.Persist
	before, after record
	state         raft.State
	image         terms // of the snapshot that it installs
}

// newReplica gives the replica that begins with disk.
func newReplica(scope *Scope, id raft.NodeID, disk record, e *effect) (*replica, error) {
	r := &replica{scope: scope, id: id, disk: disk, applied: disk.snapshot.ID.Index}
	restored := raft.Restored{HardState: disk.hard, Snapshot: disk.snapshot}
	if last := disk.log.last(); last >= disk.first {
		restored.First, restored.Last = disk.first, last
		restored.PrevTerm = disk.log.at(disk.first - 1)
		restored.Runs = disk.log.runs(disk.first, last)
	}
	core, err := raft.New(scope.config(id), restored)
	if err != nil {
		return nil, err
	}
	r.core = core
	r.carryOut(core.Start(), nil, e)
	return r, nil
}

func (r *replica) clone() *replica {
	c := *r
	c.core = r.core.Clone()
	c.queue = slices.Clone(r.queue)
	c.held = slices.Clone(r.held)
	return &c
}

// live is the record as the core has it.
func (r *replica) live() *record {
	if n := len(r.queue); n > 0 {
		return &r.queue[n-1]
	}
	return &r.disk
}

// step gives the core one input and carries out what follows. received is the
// message that it came in, if it did.
func (r *replica) step(in raft.Input, received *message, e *effect) {
	r.carryOut(r.core.Step(in), received, e)
}

// settle does what is done at once: after each event, not after each step.
func (r *replica) settle(e *effect) {
	for r.scope.SyncWrites && len(r.queue) > 0 {
		r.sync(len(r.queue), e)
	}
	r.apply(e)
	if !r.scope.PreVote && !r.scope.Stickiness && r.timers[raft.StickinessTimer] != 0 {
		r.fire(raft.StickinessTimer, e) // nobody asks for what it ends
	}
}

// apply lets the state machine apply what is committed.
func (r *replica) apply(e *effect) {
	if commit := r.core.CommitIndex(); r.installing == 0 && r.applied < commit {
		r.applied = commit
		r.step(&raft.Applied{Index: commit}, nil, e)
	}
}

// carryOut is the runtime.
func (r *replica) carryOut(effects *raft.Effects, received *message, e *effect) {
	e.events = append(e.events, effects.Trace...)
	if p := &effects.Persist; p.Seq != 0 {
		w := wrote{Persist: *p, before: *r.live(), state: r.core.State()}
		w.Runs = slices.Clone(p.Runs)
		w.after = w.before
		if p.ResetLog {
			w.image = received.image
		}
		w.after.apply(p, w.image)
		r.queue = append(r.queue, w.after)
		e.wrote = append(e.wrote, w)
	}
	if effects.Install.ID.Index != 0 {
		r.installing = effects.Persist.Seq
		r.applied = effects.Install.ID.Index
	}
	for _, t := range effects.Timers {
		r.timers[t.Kind] = t.Generation
		if t.Stop {
			r.timers[t.Kind] = 0
		}
	}
	var handed []raft.Sent
	for _, m := range effects.Send {
		ae, ok := m.Body.(*raft.AppendEntries)
		if !ok || ae.Last == ae.Prev.Index {
			e.messages = append(e.messages, message{from: m.From, to: m.To, body: m.Body})
			continue
		}
		if r.scope.OneEntryPerMessage && ae.Last > ae.Prev.Index+1 {
			ae = firstEntry(ae)
		}
		e.messages = append(e.messages, message{from: m.From, to: m.To, body: ae})
		handed = append(handed, raft.Sent{Peer: m.To, Last: ae.Last})
	}
	for _, m := range effects.AfterSync {
		h := held{seq: effects.AfterSyncSeq, message: message{from: m.From, to: m.To, body: m.Body}}
		if h.seq <= r.durable {
			e.messages = append(e.messages, h.message)
		} else {
			r.hold(h)
		}
	}
	for _, s := range effects.Snapshots {
		snapshot := r.live().snapshot
		e.messages = append(e.messages, message{
			from: r.id, to: s.Peer, image: r.live().log.prefix(snapshot.ID.Index),
			body: &raft.InstallSnapshot{Term: s.Term, Round: s.Round, Snapshot: snapshot, Done: true},
		})
		r.transfers |= 1 << s.Peer
	}
	for _, read := range effects.Reads {
		if bit := uint16(1) << read.Read; r.waiting&bit != 0 {
			r.waiting &^= bit
			e.reads = append(e.reads, read)
		}
	}
	for i := range handed {
		r.step(&handed[i], nil, e)
	}
}

// hold keeps a message for after a write, unless the same is kept for that or an
// earlier one: the network repeats what it will by itself.
func (r *replica) hold(h held) {
	identity := func(id raft.NodeID) raft.NodeID { return id }
	key := string(h.message.append(nil, identity))
	for i := range r.held {
		if string(r.held[i].message.append(nil, identity)) == key {
			return
		}
	}
	r.held = append(r.held, h)
}

// firstEntry is ae with the first of its entries only.
func firstEntry(ae *raft.AppendEntries) *raft.AppendEntries {
	one := *ae
	one.Last = ae.Prev.Index + 1
	one.Runs = ae.Runs[:1:1]
	return &one
}

// apply does what a write-ahead log does with a write. image is what the
// snapshot holds that it installs.
func (r *record) apply(p *raft.Persist, image terms) {
	if p.HardStateChanged {
		r.hard = p.HardState
	}
	if p.ResetLog {
		r.snapshot, r.first = p.Reset, p.Reset.ID.Index+1
		if p.KeepSuffix {
			r.log = image | r.log&^r.log.prefix(p.Reset.ID.Index)
		} else {
			r.log = image
		}
	}
	if p.Compact != 0 {
		r.snapshot, r.first = p.Reset, max(r.first, p.Compact)
	}
	if p.First == 0 {
		return
	}
	r.log = r.log.prefix(p.First - 1)
	run := 0
	for index := p.First; index <= p.Last; index++ {
		for run+1 < len(p.Runs) && p.Runs[run+1].First <= index {
			run++
		}
		r.log = r.log.with(index, p.Runs[run].Term)
	}
}

// sync makes the first count writes of the queue durable.
func (r *replica) sync(count int, e *effect) {
	r.disk = r.queue[count-1]
	r.queue = slices.Delete(r.queue, 0, count)
	r.durable += raft.Seq(count)
	n := 0
	for n < len(r.held) && r.held[n].seq <= r.durable {
		e.messages = append(e.messages, r.held[n].message)
		n++
	}
	r.held = slices.Delete(r.held, 0, n)
	r.step(&raft.Persisted{Seq: r.durable}, nil, e)
	if r.installing != 0 && r.installing <= r.durable {
		r.installing = 0
		r.step(&raft.Applied{Index: r.applied}, nil, e)
	}
}

// fire lets a timer run out.
func (r *replica) fire(kind raft.TimerKind, e *effect) {
	generation := r.timers[kind]
	r.timers[kind] = 0
	r.step(&raft.TimerFired{Kind: kind, Generation: generation}, nil, e)
}

// takeSnapshot takes one of all that is applied, and compacts the log up to it.
func (r *replica) takeSnapshot(e *effect) {
	id := raft.EntryID{Term: r.live().log.at(r.applied), Index: r.applied}
	r.step(&raft.SnapshotTaken{
		Snapshot: raft.SnapshotMeta{ID: id, Configuration: r.core.ConfigurationAt(id.Index)},
		First:    id.Index + 1,
	}, nil, e)
}

// append encodes the replica: equal bytes are replicas that equal events find
// equal.
func (r *replica) append(dst []byte, rename func(raft.NodeID) raft.NodeID) []byte {
	number := func(values ...uint64) {
		for _, v := range values {
			dst = binary.AppendUvarint(dst, v)
		}
	}
	dst = r.core.AppendStateRenamed(dst, rename)
	number(uint64(r.applied), uint64(max(r.installing, r.durable)-r.durable), uint64(renameBits(r.transfers, rename)), uint64(r.waiting))
	number(uint64(len(r.queue)))
	dst = r.disk.append(dst, rename)
	for i := range r.queue {
		dst = r.queue[i].append(dst, rename)
	}
	number(uint64(len(r.held)))
	// What waits for the same write leaves together, in no order.
	waits := make([]string, len(r.held))
	for i := range r.held {
		waits[i] = string(r.held[i].message.append([]byte{byte(r.held[i].seq - r.durable)}, rename))
	}
	slices.Sort(waits)
	for _, w := range waits {
		dst = append(dst, w...)
	}
	return dst
}

func (r *record) append(dst []byte, rename func(raft.NodeID) raft.NodeID) []byte {
	vote := raft.None
	if r.hard.VotedFor != raft.None {
		vote = rename(r.hard.VotedFor)
	}
	for _, v := range [...]uint64{
		uint64(r.hard.CurrentTerm), uint64(vote), uint64(r.snapshot.ID.Term), uint64(r.snapshot.ID.Index),
		uint64(r.snapshot.Configuration.ID.Term), uint64(r.snapshot.Configuration.ID.Index), uint64(r.first), uint64(r.log),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

// renameBits moves each bit to the place of its new name.
func renameBits(set uint16, rename func(raft.NodeID) raft.NodeID) uint16 {
	var out uint16
	for id := raft.NodeID(1); set>>id != 0; id++ {
		if set>>id&1 != 0 {
			out |= 1 << rename(id)
		}
	}
	return out
}
