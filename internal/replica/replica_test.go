package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport"
)

// A lab is a few replicas with a disk and a network that do what a test says.
// Nothing moves by itself: settle carries out what the replicas asked for.
type lab struct {
	t       *testing.T
	nodes   []*labNode
	network []transport.Envelope
	cut     map[raft.NodeID]bool
	voters  []raft.NodeID
}

type labNode struct {
	lab     *lab
	id      raft.NodeID
	config  Config
	replica *Replica
	applier *Applier
	machine *journal
	out     Output
	log     map[raft.Index][]byte
	// hold keeps updates from becoming durable.
	hold    bool
	held    []Update
	synced  []Update
	timers  map[raft.TimerKind]raft.Timer
	fatal   error
	stored  map[raft.EntryID]storedSnapshot
	trace   []raft.Event
	applies []Task
	// obsolete is the snapshot before which all were last said to be so.
	obsolete raft.EntryID
	stall    bool // the state machine does nothing
	// slow keeps transfers to be done later; transfers counts them.
	slow      bool
	waiting   []func()
	transfers int
}

type storedSnapshot struct {
	meta raft.SnapshotMeta
	data string
}

// journal is a state machine that remembers its commands.
type journal struct {
	commands []string
}

func (j *journal) Apply(entries []rsm.Entry) error {
	for i := range entries {
		command := string(entries[i].Command)
		if command == "poison" {
			return errors.New("poisoned")
		}
		j.commands = append(j.commands, command)
		entries[i].Result = rsm.Result{Value: uint64(entries[i].Index), Data: []byte("did " + command)}
	}
	return nil
}

func (j *journal) Read(context.Context, any) (any, error) { return strings.Join(j.commands, " "), nil }
func (j *journal) Snapshot() (rsm.View, error)            { return nil, errors.New("not used") }
func (j *journal) Close() error                           { return nil }

func (j *journal) Restore(r io.Reader) error {
	data, err := io.ReadAll(r)
	j.commands = strings.Fields(string(data))
	return err
}

func newLab(t *testing.T, voters int, change ...func(*Config)) *lab {
	l := &lab{t: t, cut: map[raft.NodeID]bool{}}
	for id := raft.NodeID(1); id <= raft.NodeID(voters); id++ {
		l.voters = append(l.voters, id)
	}
	for _, id := range l.voters {
		cfg := Config{
			Group: 7, Raft: raft.Config{ID: id}, Incarnation: raft.Incarnation(100 + id), Voters: l.voters,
			MaxBatchBytes: 1 << 10, MaxUnappliedBytes: 1 << 20, CacheBytes: 1 << 20,
			SnapshotBytes: 1 << 30, SnapshotFactor: 4, TailBytes: 1 << 10,
		}
		for _, c := range change {
			c(&cfg)
		}
		l.nodes = append(l.nodes, l.boot(id, cfg))
	}
	return l
}

func (l *lab) boot(id raft.NodeID, cfg Config) *labNode {
	n := &labNode{
		lab: l, id: id, config: cfg, machine: &journal{}, log: map[raft.Index][]byte{},
		timers: map[raft.TimerKind]raft.Timer{}, stored: map[raft.EntryID]storedSnapshot{},
	}
	n.applier = NewApplier(n.machine, raft.SnapshotMeta{})
	var err error
	if n.replica, err = New(cfg, Restored{}); err != nil {
		l.t.Fatal(err)
	}
	return n
}

func (l *lab) node(id raft.NodeID) *labNode { return l.nodes[id-1] }

// start starts every node and lets the group come into being.
func (l *lab) start() {
	for _, n := range l.nodes {
		n.replica.Start(&n.out)
	}
	l.settle()
	for i := 0; i < 5 && !l.node(1).replica.Exists(); i++ {
		l.fire(BootstrapTimer)
	}
	if !l.node(1).replica.Exists() {
		l.t.Fatal("the group was not created")
	}
}

// elect makes a node leader.
func (l *lab) elect(id raft.NodeID) {
	l.t.Helper()
	for range 3 {
		for _, n := range l.nodes {
			l.fireAt(n, raft.StickinessTimer)
		}
		l.fireAt(l.node(id), raft.ElectionTimer)
		if l.node(id).replica.Core().State() == raft.Leader {
			return
		}
	}
	l.t.Fatalf("node %d was not elected: %v", id, l.node(id).replica.Status())
}

func (l *lab) fire(kind raft.TimerKind) {
	for _, n := range l.nodes {
		l.fireAt(n, kind)
	}
}

func (l *lab) fireAt(n *labNode, kind raft.TimerKind) {
	if t, ok := n.timers[kind]; ok {
		delete(n.timers, kind)
		n.replica.TimerFired(kind, t.Generation, &n.out)
		l.settle()
	}
}

// settle carries outputs out until nothing is left.
func (l *lab) settle() {
	l.t.Helper()
	for range 10000 {
		busy := false
		for _, n := range l.nodes {
			busy = n.carryOut() || busy
		}
		for len(l.network) > 0 {
			env := l.network[0]
			l.network = l.network[1:]
			busy = true
			if l.cut[env.Message.From] || l.cut[env.Message.To] {
				continue
			}
			n := l.node(env.Message.To)
			if err := n.replica.Receive(env, &n.out); err != nil {
				l.t.Fatalf("node %d: %v", n.id, err)
			}
			n.carryOut()
		}
		if !busy {
			return
		}
	}
	l.t.Fatal("the replicas do not come to rest")
}

// carryOut does what a replica asked for.
func (n *labNode) carryOut() bool {
	out := n.out
	n.out = Output{}
	if out.Fatal != nil {
		n.fatal = out.Fatal
	}
	n.trace = append(n.trace, out.Trace...)
	if out.Obsolete.Index != 0 {
		n.obsolete = out.Obsolete
	}
	for _, timer := range out.Timers {
		if delete(n.timers, timer.Kind); !timer.Stop {
			n.timers[timer.Kind] = timer
		}
	}
	n.held = append(n.held, out.Updates...)
	n.lab.network = append(n.lab.network, out.Send...)
	n.applies = append(n.applies, out.Apply...)
	for _, request := range out.LogReads {
		n.replica.LogRead(request, n.readLog(request), nil, &n.out)
	}
	for _, transfer := range out.Snapshots {
		n.transfer(transfer)
	}
	busy := len(out.Send)+len(out.LogReads)+len(out.Snapshots) > 0
	if !n.hold && len(n.held) > 0 {
		n.persist()
		busy = true
	}
	for !n.stall && len(n.applies) > 0 {
		task := n.applies[0]
		n.applies = n.applies[1:]
		n.do(task)
		busy = true
	}
	return busy
}

func (n *labNode) persist() {
	updates := n.held
	n.held = nil
	for _, u := range updates {
		if u.ResetLog && !u.KeepSuffix {
			clear(n.log)
		}
		if u.First != 0 {
			for i := range n.log {
				if i >= u.First {
					delete(n.log, i)
				}
			}
			next := u.First
			for _, data := range u.Entries {
				for len(data) > 0 {
					size := encodedLen(data)
					n.log[next] = data[:size]
					data = data[size:]
					next++
				}
			}
			if next != u.Last+1 {
				n.lab.t.Fatalf("node %d: update [%d, %d] holds entries up to %d", n.id, u.First, u.Last, next-1)
			}
		}
		if u.Compact != 0 {
			for i := range n.log {
				if i < u.Compact {
					delete(n.log, i)
				}
			}
		}
	}
	n.synced = append(n.synced, updates...)
	n.replica.Persisted(updates[len(updates)-1].Seq, &n.out)
}

func (n *labNode) readLog(request LogRead) []byte {
	var data []byte
	for i := request.First; i <= request.Last; i++ {
		if e := n.log[i]; len(data) == 0 || len(data)+len(e) <= request.MaxBytes {
			data = append(data, e...)
		} else {
			break
		}
	}
	return data
}

func (n *labNode) do(task Task) {
	switch {
	case task.Snapshot:
		n.snapshot()
	case task.Restore.ID.Index != 0:
		s, ok := n.stored[task.Restore.ID]
		if !ok {
			n.lab.t.Fatalf("node %d: restore from %v, which is not stored", n.id, task.Restore.ID)
		}
		if err := n.machine.Restore(strings.NewReader(s.data)); err != nil {
			n.lab.t.Fatal(err)
		}
		n.applier.Restored(s.meta)
		n.replica.Applied(&task, &n.out)
	default:
		if err := n.applier.Apply(&task); err != nil {
			n.fatal = err
			return
		}
		n.replica.Applied(&task, &n.out)
	}
}

func (n *labNode) snapshot() {
	s := storedSnapshot{n.applier.At(), strings.Join(n.machine.commands, " ")}
	n.stored[s.meta.ID] = s
	n.replica.SnapshotTaken(s.meta, int64(len(s.data)), &n.out)
}

func (n *labNode) transfer(transfer raft.SendSnapshot) {
	if n.lab.cut[n.id] || n.lab.cut[transfer.Peer] {
		n.replica.SnapshotSent(transfer.Peer, false, &n.out)
		return
	}
	var newest storedSnapshot
	for _, s := range n.stored {
		if s.meta.ID.Index > newest.meta.ID.Index {
			newest = s
		}
	}
	n.transfers++
	if n.slow {
		n.slow = false
		n.waiting = append(n.waiting, func() { n.deliver(transfer, newest) })
		return
	}
	n.deliver(transfer, newest)
}

func (n *labNode) deliver(transfer raft.SendSnapshot, newest storedSnapshot) {
	to := n.lab.node(transfer.Peer)
	to.stored[newest.meta.ID] = newest
	to.replica.SnapshotReceived(n.id, transfer.Term, transfer.Round, newest.meta, int64(len(newest.data)), &to.out)
	n.replica.SnapshotSent(transfer.Peer, true, &n.out)
}

// order is a proposal that remembers its answer.
type order struct {
	command string
	outcome Outcome
	result  rsm.Result
}

func (o *order) Command() []byte { return []byte(o.command) }
func (o *order) Done(outcome Outcome, result rsm.Result) {
	if o.outcome != 0 {
		panic("answered twice: " + o.command)
	}
	o.outcome, o.result = outcome, result
}

type question struct {
	outcome Outcome
	left    bool
}

func (q *question) Ready(outcome Outcome) {
	if q.outcome != 0 {
		panic("a read is answered twice")
	}
	q.outcome = outcome
}
func (q *question) Abandoned() bool { return q.left }

func (n *labNode) propose(commands ...string) []*order {
	var orders []*order
	var batch []Proposal
	for _, c := range commands {
		o := &order{command: c}
		orders, batch = append(orders, o), append(batch, o)
	}
	n.replica.Propose(batch, &n.out)
	n.lab.settle()
	return orders
}

func (n *labNode) read() *question {
	q := &question{}
	n.replica.Read([]Reader{q}, &n.out)
	n.lab.settle()
	return q
}

func (l *lab) wantEverywhere(want string) {
	l.t.Helper()
	for _, n := range l.nodes {
		if got := strings.Join(n.machine.commands, " "); got != want {
			l.t.Errorf("node %d applied %q, want %q", n.id, got, want)
		}
	}
}

// MB-18: the group comes into being once all have attested, with one entry 1.
func TestBootstrapWritesOneFirstEntry(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	first := l.node(1).log[1]
	for _, n := range l.nodes {
		if !n.replica.Exists() || string(n.log[1]) != string(first) {
			t.Fatalf("node %d: entry 1 is %x, at node 1 %x", n.id, n.log[1], first)
		}
		c := n.replica.Core().Configuration()
		if m, ok := c.Configuration.Member(n.id); !ok || m.Incarnation != n.config.Incarnation || m.Role != raft.Voter {
			t.Fatalf("node %d: configuration %v", n.id, c)
		}
	}
	e, _, err := entry.Decode(first)
	if err != nil || e.Kind != entry.Configuration || e.Index != 1 {
		t.Fatalf("entry 1: %+v, %v", e, err)
	}
}

// MB-18: while one member has not spoken there is no group, and so no election.
func TestBootstrapWaitsForEveryMember(t *testing.T) {
	l := newLab(t, 3)
	l.cut[3] = true
	for _, n := range l.nodes {
		n.replica.Start(&n.out)
	}
	l.settle()
	for range 10 {
		l.fire(BootstrapTimer)
	}
	for _, n := range l.nodes {
		if n.replica.Exists() {
			t.Fatalf("node %d has the group without node 3", n.id)
		}
	}
	l.cut[3] = false
	l.fire(BootstrapTimer)
	l.fire(BootstrapTimer)
	for _, n := range l.nodes {
		if !n.replica.Exists() {
			t.Fatalf("node %d has no group though all have attested", n.id)
		}
	}
}

// PS-09, MB-19: a member that comes back without its disk is refused, and told why.
func TestWipedMemberIsRefused(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	cfg := l.node(2).config
	cfg.Incarnation = 999
	l.nodes[1] = l.boot(2, cfg)
	l.node(2).replica.Start(&l.node(2).out)
	l.settle()
	if err := l.node(2).fatal; err == nil || !strings.Contains(err.Error(), "its disk was lost or replaced") {
		t.Fatalf("the wiped member was told %v", err)
	}
	if l.node(2).replica.Exists() {
		t.Fatal("the wiped member joined under its old id")
	}
}

// MB-18: an attestation given to a founder that then lost its disk does not count
// for what came back.
func TestAttestationIsBoundToAnIncarnation(t *testing.T) {
	l := newLab(t, 3)
	founder := l.node(1)
	for from := raft.NodeID(2); from <= 3; from++ {
		err := founder.replica.Receive(transport.Envelope{
			Group:     7,
			Message:   raft.Message{From: from, To: 1},
			Bootstrap: &transport.Bootstrap{Incarnation: raft.Incarnation(100 + from), Seen: 555, Empty: true},
		}, &founder.out)
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(founder.out.Updates) != 0 {
		t.Fatal("entry 1 was written on attestations given to another incarnation")
	}
}

// MB-18: a member takes entry 1 over although another has lost its disk since it was
// written, but not if that is the founder, which may write another.
func TestEntryOneIsTakenOverFromItsFounder(t *testing.T) {
	for _, test := range []struct {
		name  string
		wiped raft.NodeID
		taken bool
	}{{"another member", 2, true}, {"the founder", 1, false}} {
		t.Run(test.name, func(t *testing.T) {
			n := newLab(t, 3).node(3)
			hears := func(from raft.NodeID, b transport.Bootstrap) {
				t.Helper()
				err := n.replica.Receive(transport.Envelope{
					Group: 7, Message: raft.Message{From: from, To: 3}, Bootstrap: &b,
				}, &n.out)
				if err != nil {
					t.Fatal(err)
				}
			}
			var began raft.Configuration
			for id := raft.NodeID(1); id <= 3; id++ {
				began.Members = append(began.Members, raft.Member{ID: id, Incarnation: raft.Incarnation(100 + id), Role: raft.Voter})
			}
			hears(test.wiped, transport.Bootstrap{Incarnation: 999, Seen: n.config.Incarnation, Empty: true})
			hears(3-test.wiped, transport.Bootstrap{
				Incarnation:   raft.Incarnation(100 + 3 - test.wiped),
				Configuration: raft.ConfigurationEntry{ID: raft.EntryID{Term: 1, Index: 1}, Configuration: began},
			})
			if taken := len(n.out.Updates) > 0; taken != test.taken {
				t.Errorf("takes entry 1 over: %v, want %v", taken, test.taken)
			}
		})
	}
}

// CM-08: a proposer is answered after commit and apply, with its own result.
func TestProposeAnswersWithTheResult(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(2)
	for i, o := range l.node(2).propose("a", "b", "c") {
		if o.outcome != Applied || string(o.result.Data) != "did "+o.command {
			t.Errorf("command %d: outcome %d, result %q", i, o.outcome, o.result.Data)
		}
	}
	l.wantEverywhere("a b c")
	if o := l.node(1).propose("d")[0]; o.outcome != NotLeader {
		t.Errorf("a follower answered a proposal with %d", o.outcome)
	}
}

// PS-01, PS-02, FC-08: what promises something durable waits for the disk, while
// entries leave before the leader's own write is done.
func TestAnswersWaitForTheDisk(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.node(2).hold, l.node(3).hold = true, true
	o := l.node(1).propose("a")[0]
	if o.outcome != 0 {
		t.Fatalf("committed with outcome %d before any follower had it on disk", o.outcome)
	}
	l.node(3).hold = false
	l.settle()
	if o.outcome != Applied {
		t.Fatalf("not committed with two of three disks: %d", o.outcome)
	}
}

// PS-08: entries that arrive again while their write is in the queue are not
// acknowledged before it, although there is nothing more to write.
func TestRepeatedEntriesWaitForTheFirstWrite(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.node(2).hold, l.node(3).hold = true, true
	o := &order{command: "a"}
	l.node(1).replica.Propose([]Proposal{o}, &l.node(1).out)
	l.node(1).carryOut()
	repeated := slices.Clone(l.network)
	l.settle()
	l.network = append(l.network, repeated...)
	l.settle()
	if o.outcome != 0 {
		t.Fatalf("committed with outcome %d before any follower had it on disk", o.outcome)
	}
	l.node(2).hold = false
	l.settle()
	if o.outcome != Applied {
		t.Fatalf("not committed with two of three disks: %d", o.outcome)
	}
}

// CM-04: the leader's own disk may be the slow one.
func TestCommitWithoutTheLeadersDisk(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.node(1).hold = true
	if o := l.node(1).propose("a")[0]; o.outcome != Applied {
		t.Fatalf("outcome %d with both followers' disks", o.outcome)
	}
}

// CM-08: proposals that lost their leader are answered at once: outcome unknown.
func TestLostLeadershipAnswersWhatWaits(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.cut[1] = true
	o := l.node(1).propose("lost")[0]
	if o.outcome != 0 {
		t.Fatalf("answered %d without a majority", o.outcome)
	}
	l.elect(2)
	l.node(2).propose("kept")
	l.cut[1] = false
	l.fireAt(l.node(2), raft.HeartbeatTimer)
	if o.outcome != Unknown {
		t.Fatalf("outcome %d, want unknown", o.outcome)
	}
	l.fireAt(l.node(2), raft.HeartbeatTimer)
	l.wantEverywhere("kept")
}

// The only voter leads as soon as it is there, without waiting whether it hears
// from others.
func TestSoleVoterLeadsAtOnce(t *testing.T) {
	l := newLab(t, 1)
	l.start()
	if state := l.node(1).replica.Core().State(); state != raft.Leader {
		t.Fatalf("%v, no timer having fired", state)
	}
	l.node(1).propose("a")
	l.wantEverywhere("a")
}

// FC-01, RP-11: a follower that was away is served from the log on disk when the
// memory of the leader no longer reaches back.
func TestLaggingFollowerIsServedFromTheLog(t *testing.T) {
	l := newLab(t, 3, func(c *Config) { c.CacheBytes = 0 })
	l.start()
	l.elect(1)
	l.cut[3] = true
	want := ""
	for i := range 40 {
		command := fmt.Sprintf("command-%02d", i)
		want = strings.TrimSpace(want + " " + command)
		l.node(1).propose(command)
	}
	l.cut[3] = false
	l.node(1).replica.PeerUnreachable(3, &l.node(1).out)
	for range 20 {
		l.fireAt(l.node(1), raft.HeartbeatTimer)
	}
	l.wantEverywhere(want)
}

// SN-05, SN-09: one for whom the log does not reach back far enough gets the
// snapshot, and goes on from there.
func TestFollowerBehindTheLogGetsASnapshot(t *testing.T) {
	l := newLab(t, 3, func(c *Config) { c.SnapshotBytes, c.TailBytes, c.CacheBytes = 500, 100, 0 })
	l.start()
	l.elect(1)
	l.cut[3] = true
	want := ""
	for i := range 60 {
		command := fmt.Sprintf("command-%02d", i)
		want = strings.TrimSpace(want + " " + command)
		l.node(1).propose(command)
	}
	if first := l.node(1).replica.Core().FirstIndex(); first < 20 {
		t.Fatalf("the leader's log still begins at %d", first)
	}
	l.cut[3] = false
	for range 20 {
		l.fireAt(l.node(1), raft.HeartbeatTimer)
	}
	l.wantEverywhere(want)
	if len(l.node(3).stored) == 0 {
		t.Fatal("node 3 caught up without a snapshot")
	}
	l.node(1).propose("after")
	l.wantEverywhere(want + " after")
}

// RP-16 and a failing state machine: the replica stops, and proposers are told
// that the outcome is unknown.
func TestStateMachineErrorStopsTheReplica(t *testing.T) {
	l := newLab(t, 1)
	l.start()
	l.elect(1)
	o := l.node(1).propose("poison")[0]
	if o.outcome != Unknown || l.node(1).fatal == nil {
		t.Fatalf("outcome %d, error %v", o.outcome, l.node(1).fatal)
	}
}

// SN-11, SN-12: a snapshot is due when the log has grown by the least size and by
// the factor of the last one; a tail of the log stays behind it, whoever lags.
func TestWhenASnapshotIsDue(t *testing.T) {
	l := newLab(t, 3, func(c *Config) { c.SnapshotBytes, c.SnapshotFactor, c.TailBytes = 2000, 4, 300 })
	l.start()
	l.elect(1)
	l.cut[3] = true // a slow follower defers nothing
	n := l.node(1)
	grown, last := int64(0), int64(0)
	for range 400 {
		before := len(n.stored)
		n.propose("0123456789012345678901234567890123456789")
		grown += int64(entry.Size(40))
		if len(n.stored) == before {
			continue
		}
		if due := max(2000, 4*last); grown < due || grown > due+200 {
			t.Fatalf("snapshot %d after %d bytes, due after %d", len(n.stored), grown, due)
		}
		status := n.replica.Status()
		kept := int64(status.Snapshot.Index-status.FirstIndex+1) * int64(entry.Size(40))
		if kept < 200 || kept > 500 {
			t.Fatalf("%d bytes of log are kept behind the snapshot, want about 300", kept)
		}
		grown, last = 0, n.replica.snap.size
	}
	if len(n.stored) < 3 {
		t.Fatalf("%d snapshots were taken", len(n.stored))
	}
}

// SN-05, SN-12: while a follower is being sent a snapshot, the log behind it is
// kept, within a bound, however many newer snapshots are taken: one transfer is
// enough.
func TestLogIsKeptForARunningTransfer(t *testing.T) {
	l := newLab(t, 3, func(c *Config) { c.SnapshotBytes, c.SnapshotFactor, c.TailBytes, c.CacheBytes = 500, 0, 1, 0 })
	l.start()
	l.elect(1)
	leader := l.node(1)
	l.cut[3] = true
	want := ""
	propose := func(count int) {
		for range count {
			command := fmt.Sprintf("command-%03d", len(strings.Fields(want)))
			want = strings.TrimSpace(want + " " + command)
			leader.propose(command)
		}
	}
	propose(60)
	l.cut[3] = false
	leader.slow = true
	for range 5 {
		l.fireAt(leader, raft.HeartbeatTimer)
	}
	if len(leader.waiting) != 1 {
		t.Fatalf("%d transfers are under way", len(leader.waiting))
	}
	taken := len(leader.stored)
	propose(25)
	if len(leader.stored) == taken {
		t.Fatal("no snapshot was taken during the transfer")
	}
	leader.waiting[0]()
	l.settle()
	for range 10 {
		l.fireAt(leader, raft.HeartbeatTimer)
	}
	l.wantEverywhere(want)
	if leader.transfers != 1 {
		t.Errorf("it took %d transfers", leader.transfers)
	}
	// The bound: a transfer that never ends does not keep the log for ever.
	l.cut[3] = true
	propose(60)
	l.cut[3] = false
	leader.slow = true
	for range 5 {
		l.fireAt(leader, raft.HeartbeatTimer)
	}
	propose(400)
	if status := leader.replica.Status(); status.LastLog.Index-status.FirstIndex > 200 {
		t.Errorf("the log is kept from %d to %d", status.FirstIndex, status.LastLog.Index)
	}
}

// Stop answers everything that waits.
func TestStopAnswersWhatWaits(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.cut[1] = true
	o, q := l.node(1).propose("a")[0], l.node(1).read()
	l.node(1).replica.Stop()
	if o.outcome != Unknown || q.outcome != Stopped {
		t.Fatalf("proposal %d, read %d", o.outcome, q.outcome)
	}
}

// A message whose entries are not what its header names is dropped whole.
func TestMalformedEntriesAreDropped(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	e := entry.Entry{Term: 9, Index: 3, Kind: entry.Command, Payload: []byte("x")}
	good, _ := e.AppendTo(nil)
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	header := raft.AppendEntries{Term: 9, Prev: raft.EntryID{Term: 2, Index: 2}, Last: 3, Runs: []raft.TermRun{{First: 3, Term: 9}}}
	missing, wrongTerm := header, header
	missing.Last = 4
	wrongTerm.Runs = []raft.TermRun{{First: 3, Term: 8}}
	for name, m := range map[string]struct {
		body *raft.AppendEntries
		data []byte
	}{
		"a flipped bit":     {&header, flipped},
		"half an entry":     {&header, good[:len(good)/2]},
		"too few entries":   {&missing, good},
		"too many entries":  {&header, append(append([]byte(nil), good...), good...)},
		"another term":      {&wrongTerm, good},
		"no entries at all": {&header, nil},
	} {
		n := l.node(2)
		before := n.replica.Status()
		err := n.replica.Receive(transport.Envelope{
			Group: 7, Message: raft.Message{From: 3, To: 2, Body: m.body}, Entries: [][]byte{m.data},
		}, &n.out)
		if after := n.replica.Status(); err == nil || after.LastLog != before.LastLog || after.HardState != before.HardState {
			t.Errorf("%s: error %v, log now ends at %v", name, err, after.LastLog)
		}
	}
}
