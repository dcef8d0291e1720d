package explore

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
)

// world holds every state of a replica and every message that has come up, each
// once and by number, and what each event at each of them leads to.
//
// raft.Raft is a function: the same input in the same state has the same effects.
// So each event in each state of a replica is run once, by the real code, judged,
// and then remembered; what a state of the group costs is a few look-ups. The
// states of a group are many orders of magnitude more than those of a replica,
// of which they are made.
type world struct {
	scope *Scope
	// renamings are the ways to exchange members that leave the configuration as
	// it is, identity first. By each of them a part of the state has another hash.
	renamings []renaming

	mu           sync.Mutex
	locals       list[local]
	localByState map[string]uint32
	messages     list[interned]
	messageBy    map[string]uint32
	outcomes     list[outcome]

	remembered *memory // of outcomes, by local and input
	// forgetful runs every event anew, and compares with what is remembered.
	forgetful bool
	// twins counts, when forgetful, the replicas that were compared with the one
	// that stands for their state.
	twins map[uint32]int
	// only, if not nil, are the properties that are judged.
	only []string
	// clients: answers are judged, and nothing else. A replica that would find
	// itself broken is none of their business, and what leads to it does not happen.
	clients bool
	// tamper, if not nil, changes what comes of an event: tests break properties
	// by it, to see the judges find them.
	tamper func(in input, m *message, r *replica, e *effect)
}

// renaming is a permutation of ids: id has the name renaming[id].
type renaming [maxReplicas + 1]raft.NodeID

func (p *renaming) name(id raft.NodeID) raft.NodeID { return p[id] }

// local is a state of one replica.
type local struct {
	replica *replica
	digest
	ops    []input
	hashes []uint64 // by renaming
}

// interned is a message that was ever sent.
type interned struct {
	message
	hashes []uint64
	term   raft.Term
	answer bool
}

// outcome is what an event at a replica leads to.
type outcome struct {
	next     uint32   // the local state
	messages []uint32 // that leave, each once
	acks     []ack
	reads    []raft.ReadState
	err      *check.Violation
	// broken: the replica has found itself broken, or cannot start; nothing comes
	// of the event.
	broken bool
	// What the judges of the group have to look at.
	elected, committed, logChanged, diskChanged, matched bool
	// settled: answers to this replica may have become worthless.
	settled bool
}

// ack is that a replica has told the leader of term that it holds its log up to
// match.
type ack struct {
	term  raft.Term
	match raft.Index
}

// idle is the outcome of an event that changes nothing.
const idle = 0

func newWorld(scope *Scope, symmetry bool) *world {
	w := &world{
		scope: scope, twins: map[uint32]int{}, localByState: map[string]uint32{}, messageBy: map[string]uint32{}, remembered: newMemory(),
		renamings: renamings(scope, symmetry),
	}
	w.outcomes.add(outcome{}) // idle
	return w
}

// renamings gives the permutations of the members that leave the configuration as
// it is: those of the voters and those of the learners, in each half alike.
func renamings(scope *Scope, symmetry bool) []renaming {
	n := scope.members()
	role := func(id raft.NodeID) int {
		r := 0
		if int(id) > scope.Voters {
			r = 1
		}
		for _, o := range scope.Outgoing {
			if o == id {
				r += 2
			}
		}
		return r
	}
	var all []renaming
	var p renaming
	var used [maxReplicas + 1]bool
	var place func(id raft.NodeID)
	place = func(id raft.NodeID) {
		if int(id) > n {
			all = append(all, p)
			return
		}
		for to := raft.NodeID(1); int(to) <= n; to++ {
			if !used[to] && role(id) == role(to) {
				used[to] = true
				p[id] = to
				place(id + 1)
				used[to] = false
			}
		}
	}
	place(1) // the identity comes first
	if !symmetry {
		all = all[:1]
	}
	return all
}

// hash gives 64 bits of an encoding that are as good as random.
func hash(encoding []byte) uint64 {
	sum := sha256.Sum256(encoding)
	return binary.LittleEndian.Uint64(sum[:])
}

// local numbers a state of a replica.
func (w *world) local(r *replica) uint32 {
	identity := func(id raft.NodeID) raft.NodeID { return id }
	encoding := r.append(make([]byte, 0, 256), identity)
	w.mu.Lock()
	id, known := w.localByState[string(encoding)]
	w.mu.Unlock()
	if known {
		return id
	}
	l := local{replica: r, digest: r.digest(), ops: w.possible(r)}
	l.hashes = append(l.hashes, hash(encoding))
	for i := 1; i < len(w.renamings); i++ {
		encoding := r.append(make([]byte, 0, 256), w.renamings[i].name)
		l.hashes = append(l.hashes, hash(encoding))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if id, known := w.localByState[string(encoding)]; known {
		return id
	}
	id = w.locals.add(l)
	w.localByState[string(encoding)] = id
	return id
}

// possible gives the operations that the scope allows at all.
func (w *world) possible(r *replica) []input {
	limits := w.scope.limits()
	ops := r.operations()
	kept := ops[:0:0]
	for _, in := range ops {
		if b := in.budget(); b == unbounded || limits[b] != 0 {
			kept = append(kept, in)
		}
	}
	return kept
}

// message numbers a message.
func (w *world) message(m *message) uint32 {
	identity := func(id raft.NodeID) raft.NodeID { return id }
	encoding := m.append(make([]byte, 0, 64), identity)
	w.mu.Lock()
	defer w.mu.Unlock()
	if id, known := w.messageBy[string(encoding)]; known {
		return id
	}
	in := interned{message: *m}
	in.term, in.answer = m.answer()
	for i := range w.renamings {
		in.hashes = append(in.hashes, hash(m.append([]byte{'m'}, w.renamings[i].name)))
	}
	id := w.messages.add(in)
	w.messageBy[string(encoding)] = id
	return id
}

// outcome gives what in leads to at the replica in state from.
func (w *world) outcome(from uint32, in input) uint32 {
	key := uint64(from+1)<<32 | uint64(in)
	if id, known := w.remembered.get(key); known {
		if w.forgetful {
			w.compare(from, in, id)
		}
		return id
	}
	o := w.run(from, in)
	id := uint32(idle)
	if o.next != from || len(o.messages) > 0 || len(o.reads) > 0 || o.err != nil {
		w.mu.Lock()
		id = w.outcomes.add(o)
		w.mu.Unlock()
	}
	return w.remembered.put(key, id)
}

// run lets in happen, by the real code.
func (w *world) run(from uint32, in input) outcome {
	before := w.locals.at(from)
	var m *message
	if in >= firstMessage {
		m = &w.messages.at(uint32(in - firstMessage)).message
	}
	after, e, err := attempt(before.replica.clone(), in, m)
	if err != nil {
		return outcome{next: from, broken: true, err: &check.Violation{Property: OwnInvariants, Group: 1, Node: before.replica.id, Message: err.Error()}}
	}
	if w.tamper != nil {
		w.tamper(in, m, after, e)
	}
	o := outcome{next: w.local(after), reads: e.reads}
	if w.forgetful {
		w.compareTwins(o.next, after)
	}
	is := w.locals.at(o.next)
	judge := replicaJudge{w: w, in: in, before: before.replica, after: after, was: before.digest, is: is.digest, effect: e}
	o.err = judge.judge()
	if m != nil && o.err == nil && w.judges(Idempotence) {
		o.err = idempotent(after, in, m)
	}
	for i := range e.messages {
		sent := &e.messages[i]
		if id := w.message(sent); !contains(o.messages, id) {
			o.messages = append(o.messages, id)
		}
		switch b := sent.body.(type) {
		case *raft.AppendEntriesResponse:
			if b.Success && b.Match > 0 {
				o.acks = append(o.acks, ack{b.Term, b.Match})
			}
		case *raft.InstallSnapshotResponse:
			if b.Match > 0 {
				o.acks = append(o.acks, ack{b.Term, b.Match})
			}
		}
	}
	was := &before.digest
	o.elected = is.state == raft.Leader && (was.state != raft.Leader || was.term != is.term)
	o.committed = is.commit > was.commit
	o.logChanged = is.live != was.live
	o.diskChanged = is.disk != was.disk
	o.matched = is.match != was.match
	o.settled = is.diskTerm != was.diskTerm || is.state != was.state || is.term != was.term
	return o
}

// judges reports whether a property is looked at.
func (w *world) judges(property string) bool {
	return w.only == nil || slices.Contains(w.only, property)
}

// judgedBy lets those judge that options name.
func (w *world) judgedBy(options Options) {
	switch {
	case options.Clients:
		w.clients, w.only = true, rungs[0]
	case options.Figure3:
		w.only = figure3
	}
}

// figure3 are the properties of Figure 3.
var figure3 = []string{
	check.ElectionSafety, check.LeaderAppendOnly, check.LogMatching, check.LeaderCompleteness, check.StateMachineSafety,
}

// attempt performs an event. A panic is an invariant that raft found broken.
func attempt(r *replica, in input, m *message) (after *replica, e *effect, err error) {
	e = &effect{}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	after, err = r.perform(in, m, e)
	return after, e, err
}

// idempotent delivers a message once more (B-30, RP-12).
func idempotent(r *replica, in input, m *message) *check.Violation {
	again, _, err := attempt(r.clone(), in, m)
	if err != nil {
		return &check.Violation{Property: Idempotence, Group: 1, Node: r.id, Message: fmt.Sprintf("delivered once more: %v", err)}
	}
	one, two := r.live(), again.live()
	if one.hard != two.hard || one.log != two.log || one.first != two.first || one.snapshot.ID != two.snapshot.ID ||
		r.core.State() != again.core.State() || r.core.CommitIndex() != again.core.CommitIndex() {
		return &check.Violation{Property: Idempotence, Group: 1, Node: r.id, Message: fmt.Sprintf(
			"delivered once more: %v of %+v with log %v, committed %d becomes %v of %+v with log %v, committed %d",
			r.core.State(), one.hard, one.log, r.core.CommitIndex(), again.core.State(), two.hard, two.log, again.core.CommitIndex())}
	}
	return nil
}

// events gives how many different events the real code has run.
func (w *world) events() int {
	w.remembered.mu.Lock()
	defer w.remembered.mu.Unlock()
	return w.remembered.used
}

func contains(list []uint32, id uint32) bool {
	for _, other := range list {
		if other == id {
			return true
		}
	}
	return false
}
