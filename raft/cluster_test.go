package raft

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
)

func init() { checkEverything = true }

// payload is an entry as the cluster of the tests stores it. hash covers the
// entry and all before it, so that equal hashes mean equal logs.
type payload struct {
	term          Term
	value         uint64
	hash          uint64
	configuration *Configuration
}

// chain hashes one entry behind its predecessors (FNV-1a over the numbers).
func chain(previous uint64, term Term, value uint64) uint64 {
	h := previous ^ 14695981039346656037
	for _, v := range [...]uint64{uint64(term), value} {
		for range 8 {
			h = (h ^ v&0xff) * 1099511628211
			v >>= 8
		}
	}
	return h
}

// store is a log with its entries: on a disk, or as the replica sees it.
type store struct {
	hardState    HardState
	snapshot     SnapshotMeta
	snapshotHash uint64
	// first-1 is covered by firstHash, of term prevTerm.
	first     Index
	prevTerm  Term
	firstHash uint64
	entries   []payload
}

func (s *store) last() Index { return s.first + Index(len(s.entries)) - 1 }

func (s *store) at(index Index) *payload { return &s.entries[index-s.first] }

// hashAt gives the hash of the log up to index, if it is known.
func (s *store) hashAt(index Index) (uint64, bool) {
	switch {
	case index+1 == s.first:
		return s.firstHash, true
	case index >= s.first && index <= s.last():
		return s.at(index).hash, true
	case index == s.snapshot.ID.Index:
		return s.snapshotHash, true
	}
	return 0, false
}

// dropBefore forgets the entries before first.
func (s *store) dropBefore(first Index) {
	if first <= s.first {
		return
	}
	p := s.at(first - 1)
	s.prevTerm, s.firstHash = p.term, p.hash
	s.entries = slices.Clone(s.entries[first-s.first:])
	s.first = first
}

// write is a Persist with the bytes it refers to.
type write struct {
	Persist
	entries      []payload
	snapshotHash uint64
}

// apply performs a write, its parts in the order of Persist's fields.
func (s *store) apply(w *write) {
	if w.HardStateChanged {
		s.hardState = w.HardState
	}
	if w.ResetLog {
		s.snapshot, s.snapshotHash = w.Reset, w.snapshotHash
		if w.KeepSuffix {
			s.dropBefore(w.Reset.ID.Index + 1)
		} else {
			s.first, s.entries = w.Reset.ID.Index+1, nil
			s.prevTerm, s.firstHash = w.Reset.ID.Term, w.snapshotHash
		}
	}
	if w.Compact != 0 {
		s.snapshot, s.snapshotHash = w.Reset, w.snapshotHash
		s.dropBefore(w.Compact)
	}
	if w.First != 0 {
		s.entries = append(slices.Clone(s.entries[:w.First-s.first]), w.entries...)
	}
}

func (s *store) clone() store {
	c := *s
	c.entries = slices.Clone(s.entries)
	return c
}

// restored is what New is given after a restart.
func (s *store) restored() Restored {
	out := Restored{
		HardState: s.hardState, Snapshot: s.snapshot,
		First: s.first, Last: s.last(), PrevTerm: s.prevTerm,
	}
	for i, p := range s.entries {
		index := s.first + Index(i)
		if n := len(out.Runs); n == 0 || out.Runs[n-1].Term != p.term {
			out.Runs = append(out.Runs, TermRun{First: index, Term: p.term})
		}
		if p.configuration != nil {
			out.Configurations = append(out.Configurations, ConfigurationEntry{
				ID: EntryID{Term: p.term, Index: index}, Configuration: *p.configuration,
			})
		}
	}
	return out
}

// packet is a message on the network, with the bytes that go with it.
type packet struct {
	Message
	entries      []payload
	snapshotHash uint64
	// final: the last chunk of a snapshot.
	final bool
}

// held is a message that waits for a write.
type held struct {
	seq Seq
	packet
}

// replica is a node of the cluster: the core, and a runtime in its simplest form.
type replica struct {
	id   NodeID
	raft *Raft // nil while it is down
	// disk is what survives; log is what the core believes; queue is between.
	disk, log store
	queue     []write
	afterSync []held
	timers    [timerKinds]Timer
	// handed are AppendEntries with entries that wait to be sent, transfers are
	// snapshots that wait to be sent.
	handed    []Message
	transfers []SendSnapshot
	// applied and state are the state machine; install waits for its write.
	applied    Index
	state      uint64
	install    SnapshotMeta
	installSeq Seq
	installed  uint64
	reads      map[ReadID]Index
}

// cluster is a group of replicas, its network, and a judge that remembers all of
// history and is told nothing by the protocol.
type cluster struct {
	t        testing.TB
	cfg      Config
	replicas []*replica
	network  []packet
	// trace, if not nil, is told every event.
	trace func(id NodeID, e Event)

	nextValue uint64
	nextRead  ReadID

	// leaders has the leader of each term, leaderLog the hashes of its log, so
	// that leaderLog[t][i] covers the entries up to i (zero: not known).
	leaders   map[Term]NodeID
	leaderLog map[Term]map[Index]uint64
	// created has the hash of every entry that was ever in a log.
	created map[EntryID]uint64
	// committed and applied have the hash up to each index.
	committed    map[Index]uint64
	committedMax Index
	applied      map[Index]uint64
	// granted has the vote of each replica and term that ever left it, and
	// votesDurable all that ever was on its disk.
	granted      map[[2]uint64]NodeID
	votesDurable map[[3]uint64]bool
	done         struct{ commits, elections, installs, reads, truncations int }
}

// voters makes a configuration of voters.
func voters(ids ...NodeID) Configuration {
	var c Configuration
	for _, id := range ids {
		c.Members = append(c.Members, Member{ID: id, Role: Voter})
	}
	return c
}

// newCluster makes a cluster whose replicas all begin with the configuration as
// entry 1 of term 1.
func newCluster(t testing.TB, cfg Config, configuration Configuration) *cluster {
	t.Helper()
	c := &cluster{
		t: t, cfg: cfg,
		leaders: map[Term]NodeID{}, leaderLog: map[Term]map[Index]uint64{},
		created: map[EntryID]uint64{}, committed: map[Index]uint64{}, applied: map[Index]uint64{},
		granted: map[[2]uint64]NodeID{}, votesDurable: map[[3]uint64]bool{},
	}
	first := payload{term: 1, value: 0, hash: chain(0, 1, 0), configuration: &configuration}
	ids := slices.Clone(configuration.Outgoing)
	for _, m := range configuration.Members {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		r := &replica{id: id, reads: map[ReadID]Index{}}
		r.disk = store{hardState: HardState{CurrentTerm: 1}, first: 1, entries: []payload{first}}
		c.replicas = append(c.replicas, r)
	}
	return c
}

// start starts every replica.
func (c *cluster) start() {
	for _, r := range c.replicas {
		c.restart(r)
	}
}

func (c *cluster) get(id NodeID) *replica {
	for _, r := range c.replicas {
		if r.id == id {
			return r
		}
	}
	c.t.Fatalf("no replica %d", id)
	return nil
}

// restart makes a replica from its disk.
func (c *cluster) restart(r *replica) {
	c.t.Helper()
	cfg := c.cfg
	cfg.ID = r.id
	core, err := New(cfg, r.disk.restored())
	if err != nil {
		c.t.Fatalf("replica %d: %v", r.id, err)
	}
	r.raft = core
	r.log = r.disk.clone()
	r.timers = [timerKinds]Timer{}
	r.applied = r.disk.snapshot.ID.Index
	r.state = r.disk.snapshotHash
	r.install, r.installSeq = SnapshotMeta{}, 0
	c.carryOut(r, core.Start(), nil)
}

// crash stops a replica; of its queue the first kept writes reach the disk.
func (c *cluster) crash(r *replica, kept int) {
	for i := range min(kept, len(r.queue)) {
		c.toDisk(r, &r.queue[i])
	}
	r.raft = nil
	r.queue, r.afterSync, r.handed, r.transfers = nil, nil, nil, nil
	clear(r.reads)
}

// toDisk performs a write on the disk.
func (c *cluster) toDisk(r *replica, w *write) {
	r.disk.apply(w)
	if vote := r.disk.hardState.VotedFor; vote != None {
		c.votesDurable[[3]uint64{uint64(r.id), uint64(r.disk.hardState.CurrentTerm), uint64(vote)}] = true
	}
}

// step gives a replica one input and carries out what follows.
func (c *cluster) step(r *replica, in Input, p *packet) {
	if r.raft == nil {
		return
	}
	c.carryOut(r, r.raft.Step(in), p)
}

// carryOut is the runtime: it takes over everything that the effects ask for.
func (c *cluster) carryOut(r *replica, e *Effects, received *packet) {
	c.t.Helper()
	if c.trace != nil {
		for _, event := range e.Trace {
			c.trace(r.id, event)
		}
	}
	if e.Persist.Seq != 0 {
		c.takeWrite(r, &e.Persist, received)
	}
	if e.Install.ID.Index != 0 {
		r.install, r.installSeq, r.installed = e.Install, e.Persist.Seq, received.snapshotHash
	}
	for _, m := range e.Send {
		if ae, ok := m.Body.(*AppendEntries); ok && ae.Last > ae.Prev.Index {
			r.handed = append(r.handed, m)
			continue
		}
		c.leave(r, packet{Message: m})
	}
	for _, m := range e.AfterSync {
		h := held{seq: e.AfterSyncSeq, packet: packet{Message: m}}
		if h.seq <= r.raft.persistedSeq {
			c.leave(r, h.packet)
		} else {
			r.afterSync = append(r.afterSync, h)
		}
	}
	r.transfers = append(r.transfers, e.Snapshots...)
	for _, timer := range e.Timers {
		r.timers[timer.Kind] = timer
		if timer.Stop {
			r.timers[timer.Kind] = Timer{}
		}
	}
	for _, read := range e.Reads {
		c.judgeRead(r, read)
	}
	c.judge(r, e)
}

// takeWrite queues a write and makes it part of the log that the core sees.
func (c *cluster) takeWrite(r *replica, p *Persist, received *packet) {
	w := write{Persist: *p}
	w.Runs = slices.Clone(p.Runs)
	if p.ResetLog {
		w.snapshotHash = received.snapshotHash
	} else if p.Compact != 0 {
		w.snapshotHash, _ = r.log.hashAt(p.Reset.ID.Index)
	}
	if p.First != 0 && p.First <= r.log.last() {
		c.done.truncations++
	}
	for i, index := 0, p.First; p.First != 0 && index <= p.Last; index++ {
		for i+1 < len(p.Runs) && p.Runs[i+1].First <= index {
			i++
		}
		var entry payload
		if p.Source == FromMessage {
			ae := received.Body.(*AppendEntries)
			entry = received.entries[index-ae.Prev.Index-1]
		} else {
			c.nextValue++
			entry = payload{term: p.Runs[i].Term, value: c.nextValue}
			previous, _ := r.log.hashAt(index - 1)
			if n := len(w.entries); n > 0 {
				previous = w.entries[n-1].hash
			}
			entry.hash = chain(previous, entry.term, entry.value)
			id := EntryID{Term: entry.term, Index: index}
			if _, twice := c.created[id]; twice {
				c.t.Fatalf("replica %d creates %v a second time (RP-01)", r.id, id)
			}
			c.created[id] = entry.hash
		}
		if entry.term != p.Runs[i].Term {
			c.t.Fatalf("replica %d: entry %d has term %d, its Persist says %d", r.id, index, entry.term, p.Runs[i].Term)
		}
		w.entries = append(w.entries, entry)
	}
	r.queue = append(r.queue, w)
	r.log.apply(&w)
	r.log.hardState = p.HardState
}

// leave puts a message on the network, unless what it promises is not durable.
func (c *cluster) leave(r *replica, p packet) {
	c.t.Helper()
	switch m := p.Body.(type) {
	case *RequestVoteResponse:
		if m.Granted {
			key := [2]uint64{uint64(r.id), uint64(m.Term)}
			if other, voted := c.granted[key]; voted && other != p.To {
				c.t.Fatalf("replica %d votes in term %d for %d and for %d (EL-06)", r.id, m.Term, other, p.To)
			}
			c.granted[key] = p.To
			if !c.votesDurable[[3]uint64{uint64(r.id), uint64(m.Term), uint64(p.To)}] {
				c.t.Fatalf("replica %d grants %d term %d before that is durable (PS-01)", r.id, p.To, m.Term)
			}
		}
	case *AppendEntriesResponse:
		if m.Success {
			c.judgeAck(r, m.Term, m.Match)
		}
	case *InstallSnapshotResponse:
		if m.Match > 0 {
			c.judgeAck(r, m.Term, m.Match)
		}
	}
	if r.disk.hardState.CurrentTerm < p.Body.MessageTerm() {
		switch p.Body.(type) {
		case *RequestVote, *PreVote, *PreVoteResponse:
		default:
			c.t.Fatalf("replica %d sends %T of term %d, its disk has %d (PS-01)",
				r.id, p.Body, p.Body.MessageTerm(), r.disk.hardState.CurrentTerm)
		}
	}
	c.network = append(c.network, p)
}

// judgeAck: what is acknowledged is on the disk, and equal to the leader's log.
func (c *cluster) judgeAck(r *replica, term Term, match Index) {
	c.t.Helper()
	if match == 0 {
		return
	}
	own, known := r.disk.hashAt(match)
	if !known && match >= r.disk.first {
		c.t.Fatalf("replica %d acknowledges %d, its disk ends at %d (PS-02)", r.id, match, r.disk.last())
	}
	if leader := c.leaderLog[term][match]; known && leader != 0 && leader != own {
		c.t.Fatalf("replica %d acknowledges %d of term %d, its disk has another entry (RP-06)", r.id, match, term)
	}
}

// judge checks the replica against all of history after a step (B-1 to B-13).
func (c *cluster) judge(r *replica, e *Effects) {
	c.t.Helper()
	core := r.raft
	if core.LastIndex() != r.log.last() || core.FirstIndex() != r.log.first {
		c.t.Fatalf("replica %d: core has [%d, %d], log [%d, %d]", r.id, core.FirstIndex(), core.LastIndex(), r.log.first, r.log.last())
	}
	if e.Persist.First != 0 {
		for index := e.Persist.First; index <= e.Persist.Last; index++ {
			p := r.log.at(index)
			id := EntryID{Term: p.term, Index: index}
			if h, ok := c.created[id]; ok && h != p.hash {
				c.t.Fatalf("replica %d: entry %v with another prefix (Log Matching)", r.id, id)
			}
			c.created[id] = p.hash
			if term, ok := core.Term(index); !ok || term != p.term {
				c.t.Fatalf("replica %d: entry %v has term %d in the core", r.id, id, term)
			}
		}
	}
	if core.State() == Leader {
		term := core.CurrentTerm()
		if other, ok := c.leaders[term]; ok && other != r.id {
			c.t.Fatalf("term %d has leaders %d and %d (Election Safety)", term, other, r.id)
		} else if !ok {
			c.becameLeader(r, term)
		}
		for index := max(e.Persist.First, 1); index <= e.Persist.Last; index++ {
			c.leaderLog[term][index] = r.log.at(index).hash
		}
	}
	for index := c.firstUnjudged(r); index <= e.Committed; index++ {
		hash, known := r.log.hashAt(index)
		if !known {
			continue
		}
		if other, ok := c.committed[index]; ok && other != hash {
			c.t.Fatalf("replica %d commits another entry at %d (State Machine Safety)", r.id, index)
		} else if !ok {
			c.committed[index] = hash
			c.committedMax = max(c.committedMax, index)
			c.done.commits++
		}
	}
}

// firstUnjudged is where a replica's committed entries were not compared yet;
// comparing some again is harmless.
func (c *cluster) firstUnjudged(r *replica) Index { return max(r.applied+1, r.log.first) }

// becameLeader checks Leader Completeness.
func (c *cluster) becameLeader(r *replica, term Term) {
	c.t.Helper()
	c.done.elections++
	c.leaders[term] = r.id
	c.leaderLog[term] = map[Index]uint64{}
	for index := r.log.first - 1; index <= r.log.last(); index++ {
		c.leaderLog[term][index], _ = r.log.hashAt(index)
	}
	for index := r.log.first; index <= c.committedMax; index++ {
		hash, known := r.log.hashAt(index)
		if want, ok := c.committed[index]; ok && (!known || hash != want) {
			c.t.Fatalf("leader %d of term %d lacks the committed entry %d (Leader Completeness)", r.id, term, index)
		}
	}
	if r.disk.hardState != (HardState{CurrentTerm: term, VotedFor: r.id}) {
		c.t.Fatalf("replica %d leads term %d with %+v on its disk (EL-09)", r.id, term, r.disk.hardState)
	}
}

// judgeRead: a read sees all that was committed when it began (B-22).
func (c *cluster) judgeRead(r *replica, read ReadState) {
	c.t.Helper()
	need, asked := r.reads[read.Read]
	if !asked {
		return
	}
	delete(r.reads, read.Read)
	if read.Refused != noReason {
		return
	}
	c.done.reads++
	if read.Index < need {
		c.t.Fatalf("replica %d: read at %d, but %d was committed before it", r.id, read.Index, need)
	}
}

// read begins a linearizable read.
func (c *cluster) read(r *replica) {
	c.nextRead++
	r.reads[c.nextRead] = c.committedMax
	c.step(r, &ReadIndex{Read: c.nextRead}, nil)
}

// flush makes the oldest write of a replica durable.
func (c *cluster) flush(r *replica) {
	if len(r.queue) == 0 {
		return
	}
	w := r.queue[0]
	r.queue = r.queue[1:]
	c.toDisk(r, &w)
	var leaving []packet
	for len(r.afterSync) > 0 && r.afterSync[0].seq <= w.Seq {
		leaving = append(leaving, r.afterSync[0].packet)
		r.afterSync = r.afterSync[1:]
	}
	for _, p := range leaving {
		c.leave(r, p)
	}
	c.step(r, &Persisted{Seq: w.Seq}, nil)
	if r.installSeq != 0 && r.installSeq <= w.Seq {
		r.applied, r.state = r.install.ID.Index, r.installed
		c.judgeApplied(r)
		r.installSeq = 0
		c.done.installs++
		c.step(r, &Applied{Index: r.applied}, nil)
	}
}

// apply applies what is committed.
func (c *cluster) apply(r *replica) {
	if r.raft == nil || r.installSeq != 0 || r.applied >= r.raft.CommitIndex() {
		return
	}
	for r.applied < r.raft.CommitIndex() {
		r.applied++
		r.state = r.log.at(r.applied).hash
		c.judgeApplied(r)
	}
	c.step(r, &Applied{Index: r.applied}, nil)
}

// judgeApplied: equal indexes mean equal states.
func (c *cluster) judgeApplied(r *replica) {
	c.t.Helper()
	if other, ok := c.applied[r.applied]; ok && other != r.state {
		c.t.Fatalf("replica %d: state after %d differs (State Machine Safety)", r.id, r.applied)
	}
	c.applied[r.applied] = r.state
}

// transmit sends the oldest AppendEntries that was handed over, at most most of
// its entries.
func (c *cluster) transmit(r *replica, most int) {
	if len(r.handed) == 0 {
		return
	}
	m := r.handed[0]
	r.handed = r.handed[1:]
	ae := *m.Body.(*AppendEntries)
	if ae.Prev.Index+1 < r.log.first {
		c.step(r, &Compacted{Peer: m.To}, nil)
		return
	}
	ae.Last = min(ae.Last, ae.Prev.Index+Index(most))
	p := packet{Message: Message{From: m.From, To: m.To, Body: &ae}}
	runs := ae.Runs
	ae.Runs = nil
	for index, i := ae.Prev.Index+1, 0; index <= ae.Last; index++ {
		for i+1 < len(runs) && runs[i+1].First <= index {
			i++
		}
		if index > r.log.last() || r.log.at(index).term != runs[i].Term {
			// The log has changed since: a leader no longer.
			c.step(r, &Sent{Peer: m.To, Last: ae.Prev.Index}, nil)
			return
		}
		entry := r.log.at(index)
		p.entries = append(p.entries, *entry)
		if n := len(ae.Runs); n == 0 || ae.Runs[n-1].Term != entry.term {
			ae.Runs = append(ae.Runs, TermRun{First: index, Term: entry.term})
		}
		if entry.configuration != nil {
			ae.Configurations = append(ae.Configurations, ConfigurationEntry{
				ID: EntryID{Term: entry.term, Index: index}, Configuration: *entry.configuration,
			})
		}
	}
	if ae.Last > ae.Prev.Index {
		c.leave(r, p)
	}
	c.step(r, &Sent{Peer: m.To, Last: ae.Last, Bytes: 10 * len(p.entries)}, nil)
}

// transfer sends the snapshot that was asked for first; ok is what the sender
// believes of it.
func (c *cluster) transfer(r *replica, ok bool) {
	if len(r.transfers) == 0 {
		return
	}
	s := r.transfers[0]
	r.transfers = r.transfers[1:]
	if ok {
		body := &InstallSnapshot{Term: s.Term, Round: s.Round, Snapshot: r.log.snapshot}
		c.leave(r, packet{
			Message:      Message{From: r.id, To: s.Peer, Body: body},
			snapshotHash: r.log.snapshotHash, final: true,
		})
	}
	c.step(r, &SnapshotSent{Peer: s.Peer, OK: ok}, nil)
}

// takeSnapshot takes one of what is applied, keeping a tail of the log.
func (c *cluster) takeSnapshot(r *replica, tail Index) {
	if r.raft == nil || r.installSeq != 0 || r.applied <= r.log.snapshot.ID.Index || r.applied == 0 {
		return
	}
	id := EntryID{Term: r.log.at(r.applied).term, Index: r.applied}
	first := r.applied + 1 - min(tail, r.applied)
	c.step(r, &SnapshotTaken{
		Snapshot: SnapshotMeta{ID: id, Configuration: r.raft.ConfigurationAt(id.Index)},
		First:    first,
	}, nil)
}

// deliver gives a packet to its receiver, chunks of a snapshot before its end.
func (c *cluster) deliver(p packet) {
	r := c.get(p.To)
	if r.raft == nil {
		return
	}
	m := p.Message
	if p.final {
		body := *m.Body.(*InstallSnapshot)
		body.Done = true
		m.Body = &body
	}
	c.step(r, &Receive{Message: m}, &p)
}

// fire lets a timer run out, if it runs.
func (c *cluster) fire(r *replica, kind TimerKind) {
	if r.raft == nil || r.timers[kind].Generation == 0 {
		return
	}
	timer := r.timers[kind]
	r.timers[kind] = Timer{}
	c.step(r, &TimerFired{Kind: kind, Generation: timer.Generation}, nil)
}

// settle delivers, writes, sends and applies everything until nothing is left.
func (c *cluster) settle() {
	c.t.Helper()
	for range 10000 {
		if !c.settleOnce() {
			return
		}
	}
	c.t.Fatalf("it never settles")
}

// settleOnce does so with all that there is now.
func (c *cluster) settleOnce() (busy bool) {
	arrived := c.network
	c.network = nil
	for _, p := range arrived {
		c.deliver(p)
		busy = true
	}
	for _, r := range c.replicas {
		if r.raft == nil {
			continue
		}
		for n := 0; len(r.handed)+len(r.queue)+len(r.transfers) > 0; n++ {
			if n > 10000 {
				c.t.Fatalf("replica %d never comes to rest", r.id)
			}
			c.transmit(r, 1<<20)
			c.flush(r)
			c.transfer(r, true)
			busy = true
		}
		if r.installSeq == 0 && r.applied < r.raft.CommitIndex() {
			c.apply(r)
			busy = true
		}
	}
	return busy
}

// leader gives the leader of the newest term, or nil.
func (c *cluster) leader() *replica {
	var found *replica
	for _, r := range c.replicas {
		if r.raft != nil && r.raft.State() == Leader &&
			(found == nil || r.raft.CurrentTerm() > found.raft.CurrentTerm()) {
			found = r
		}
	}
	return found
}

// elect makes id the leader and settles.
func (c *cluster) elect(id NodeID) *replica {
	c.t.Helper()
	for _, r := range c.replicas {
		c.fire(r, StickinessTimer)
	}
	r := c.get(id)
	c.fire(r, ElectionTimer)
	c.settle()
	if r.raft.State() != Leader {
		c.t.Fatalf("replica %d is %v, want leader", id, r.raft.State())
	}
	return r
}

// electBy makes r the leader by the votes of these alone, and delivers nothing else.
func (c *cluster) electBy(r *replica, ids ...NodeID) {
	c.t.Helper()
	for range 9 {
		c.network = nil
		c.fire(r, ElectionTimer)
		c.drain(r)
		for _, p := range c.take(r.id, None) {
			if slices.Contains(ids, p.To) {
				c.deliver(p)
				c.drain(c.get(p.To))
			}
		}
		for _, p := range c.take(None, r.id) {
			c.deliver(p)
		}
		c.drain(r)
		c.network = nil
		if r.raft.State() == Leader {
			return
		}
	}
	c.t.Fatalf("replica %d is not elected by %v", r.id, ids)
}

// take takes what is on its way from one replica and to one (None: any).
func (c *cluster) take(from, to NodeID) []packet {
	var taken []packet
	c.network = slices.DeleteFunc(c.network, func(p packet) bool {
		if (from == None || p.From == from) && (to == None || p.To == to) {
			taken = append(taken, p)
			return true
		}
		return false
	})
	return taken
}

// drain makes all writes of a replica durable.
func (c *cluster) drain(r *replica) {
	for len(r.queue) > 0 {
		c.flush(r)
	}
}

// exchange lets the leader's heartbeat and its entries, at most most of them, reach
// one follower, and the follower's answers the leader.
func (c *cluster) exchange(leader, follower *replica, most int) {
	c.fire(leader, HeartbeatTimer)
	for n := len(leader.handed); n > 0; n-- {
		if leader.handed[0].To == follower.id {
			c.transmit(leader, most)
		} else {
			leader.handed = append(leader.handed[1:], leader.handed[0])
		}
	}
	for _, p := range c.take(leader.id, follower.id) {
		c.deliver(p)
	}
	c.drain(follower)
	for _, p := range c.take(follower.id, leader.id) {
		c.deliver(p)
	}
}

// propose appends count commands at r and reports whether they were taken.
func (c *cluster) propose(r *replica, count int) bool {
	if r.raft == nil {
		return false
	}
	e := r.raft.Step(&Propose{Count: count, Bytes: 10 * count})
	taken := e.Proposed.Refused == noReason
	c.carryOut(r, e, nil)
	return taken
}

// sameInputSameEffects steps a clone beside the replica (the core is a function).
func (c *cluster) sameInputSameEffects(r *replica, in Input) {
	c.t.Helper()
	if r.raft == nil {
		return
	}
	one, two := r.raft.Clone(), r.raft.Clone()
	before := r.raft.AppendState(nil)
	a, b := one.Step(in), two.Step(in)
	if !reflect.DeepEqual(a, b) {
		c.t.Fatalf("replica %d: %T has effects\n%+v\nand\n%+v", r.id, in, a, b)
	}
	if x, y := one.AppendState(nil), two.AppendState(nil); !slices.Equal(x, y) {
		c.t.Fatalf("replica %d: %T leads to two states", r.id, in)
	}
	if !slices.Equal(before, r.raft.AppendState(nil)) {
		c.t.Fatalf("replica %d: a clone's step changed the original", r.id)
	}
}

// String tells where everybody is, for failures.
func (c *cluster) String() string {
	out := ""
	for _, r := range c.replicas {
		if r.raft == nil {
			out += fmt.Sprintf("%d down, disk [%d, %d] term %d\n", r.id, r.disk.first, r.disk.last(), r.disk.hardState.CurrentTerm)
			continue
		}
		out += fmt.Sprintf("%+v\n", r.raft.Status())
	}
	return out + fmt.Sprint(slices.Sorted(maps.Keys(c.leaders)))
}
