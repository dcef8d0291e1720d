package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/snapshot"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/vfs"
	"github.com/quorate/quorate/wal"
)

// node is a machine with a disk, and the process that runs on it.
type node struct {
	w    *world
	id   raft.NodeID
	ids  []raft.NodeID // of all first members
	disk *vfs.Mem
	// incarnation is what was last told to others under this disk.
	incarnation raft.Incarnation
	clock       time.Duration // how wrong its clock is
	read        time.Duration // how wrong it was when the process began, which looks once
	drift       int           // its clock's speed in percent

	// up: the process runs, under the number boot. Each start has another.
	up     bool
	boot   int
	paused instant // until when the process is stopped

	fault diskFault
	// other is what the disk would be had each power loss since the process last ran
	// kept nothing, if one of them tore sectors.
	other *vfs.Mem
	// hurt: its disk failed in this boot, so that giving up is right.
	hurt bool
	// failed: the log failed in this boot, and all groups stopped (PS-07).
	failed bool
	// failing and full: what is wrong with the disk outlasts a restart.
	failing, full bool
	// doubt: since the process last ran, the machine lost power or the log
	// failed, so that the last write may be there or not.
	doubt      bool
	restarting bool
	everUp     bool
	// loss says how the power loss is to be that was arranged for one of the next
	// calls to the disk.
	loss *Fault
	// sick: what was durable was damaged, see the atlas. away: the node found out
	// and stays away, with all its replicas. wiped: its disk is not the one that
	// the others know.
	sick, away, wiped bool
	lie               *lie // of its disk, before it comes out

	log    *wal.WAL
	store  *snapshot.Store
	groups []*group
	// process is what a Service has here, from its boot on.
	process *Process
	syncer  syncer
	woken   bool
	sends   []packet // by peer, while a worker runs
}

// powerLost is what an event panics with when the disk of a node has no power
// any more: nothing that would follow in the process follows.
type powerLost struct{ node *node }

func newNode(w *world, id raft.NodeID, ids []raft.NodeID) *node {
	n := &node{w: w, id: id, ids: ids, disk: vfs.NewMem(), clock: between(w.nodeRand, 0, 2*time.Second), drift: 100}
	n.syncer.node = n
	return n
}

// after schedules something in the process that runs now.
func (n *node) after(in time.Duration, kind eventKind, do func()) {
	n.w.q.push(event{at: n.w.now.after(in), kind: kind, node: n, boot: n.boot, do: do})
}

// spread draws a duration around d, now and then a long one.
func (n *node) spread(d time.Duration) time.Duration {
	r := n.w.nodeRand
	t := d/2 + time.Duration(r.Int64N(int64(d)+1))
	if r.IntN(64) == 0 {
		t *= 8
	}
	return t
}

// checkPower ends the event if the disk lost power in it.
func (n *node) checkPower(err error) error {
	if errors.Is(err, vfs.ErrCrashed) {
		panic(powerLost{n})
	}
	return err
}

// start starts the process.
func (n *node) start() {
	n.boot++
	n.up, n.failed, n.restarting = true, false, false
	n.hurt = n.failing || n.full || n.sick || n.w.cfg.ClientsOnly
	n.read = n.clock
	n.paused = 0
	n.everUp = true
	n.w.count(countRestart)
	n.w.tracef("node %d: start %d", n.id, n.boot)
	err := n.open()
	if errors.Is(err, errTornForDamage) {
		// Rather than go on without the replica, which one in some thousand runs
		// would be, the same power loss takes its other course: nothing unsynced is
		// kept.
		n.w.tracef("node %d: %v; nothing unsynced is kept instead", n.id, err)
		_ = n.log.Close() // of a disk that is no more
		n.disk, n.other = n.other, nil
		err = n.open()
	}
	if err == nil {
		n.other = nil
		return
	}
	switch n.checkPower(err); {
	case n.failing || n.full || errors.Is(err, vfs.ErrNoSpace) || n.hurt && !n.sick:
		n.w.tracef("node %d: cannot start: %v", n.id, err)
		n.exit()
		n.restartIn(between(n.w.operatorRand, n.w.p.election, 4*n.w.p.election))
	case n.sick:
		n.w.count(countNodeAway)
		n.w.tracef("node %d: stays away: %v", n.id, err)
		n.away = true
		n.exit()
	default:
		n.w.fail(fmt.Errorf("node %d cannot start: %w", n.id, err))
	}
}

// errDamaged: what a replica needs is damaged, and named.
var errDamaged = errors.New("damaged")

// errTornForDamage: power was lost within a sector, and the log cannot tell that
// from rot (it says so; see package wal). Until logs are repaired from peers such
// a replica stays away for good.
var errTornForDamage = errors.New("a sector torn within is taken for damage")

// tornForDamage reports whether all that is wrong with the log is such a tail.
func (n *node) tornForDamage() bool {
	found := false
	for i := range n.w.judges {
		log, _ := n.log.Group(raft.GroupID(i + 1))
		for _, f := range log.Faults {
			if !f.Tail {
				return false
			}
			found = true
		}
	}
	return found && n.other != nil
}

func (n *node) open() error {
	if err := n.identify(); err != nil {
		return err
	}
	var cluster [16]byte
	copy(cluster[:], "simulated")
	var err error
	n.log, err = wal.Open(wal.Options{
		FS: n.disk, Dir: "wal", SegmentSizeBytes: n.w.p.segmentBytes,
		Identity: wal.Identity{Cluster: cluster, Node: n.id, Incarnation: n.incarnation},
	})
	if err != nil {
		n.log = nil
		return fmt.Errorf("log: %w", err)
	}
	if n.tornForDamage() {
		return errTornForDamage
	}
	n.store, err = snapshot.Open(snapshot.Options{
		FS: n.disk, Dir: "snapshots", ChunkBytes: n.w.p.chunkBytes,
		Identity: snapshot.Identity{Cluster: cluster, Node: n.id, Incarnation: n.incarnation},
	})
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	n.syncer = syncer{node: n, more: true}
	n.groups = n.groups[:0]
	whole, none := true, true
	for _, judge := range n.w.judges {
		g, err := n.openGroup(judge, &whole, &none)
		if errors.Is(err, errDamaged) && n.sick && !n.failing {
			n.w.count(countReplicaAway)
			n.w.tracef("node %d, group %d: stays away: %v", n.id, judge.ID(), err)
			g, err = n.absent(judge), nil
		}
		if err != nil {
			return err
		}
		n.groups = append(n.groups, g)
	}
	if n.sick && len(n.log.Damages()) > 0 {
		n.w.count(countDamageSurvived)
	}
	n.doubt = false
	if !whole && !none && !n.w.cfg.ClientsOnly {
		return errors.New("one group has the last batch and another has not (PS-06)")
	}
	if !whole {
		n.w.count(countTailLost)
	}
	for _, g := range n.groups {
		n.woken = true
		if !g.gone {
			g.begin()
		}
	}
	n.woken = false
	n.gather()
	n.syncer.next()
	return nil
}

// identify reads the incarnation of the data directory, or gives it one.
func (n *node) identify() error {
	if err := n.disk.MkdirAll("node"); err != nil {
		return err
	}
	const name, temp = "node/identity", "node/identity.new"
	if f, err := n.disk.OpenRead(name); err == nil {
		var b [8]byte
		_, err = f.ReadAt(b[:], 0)
		n.incarnation = raft.Incarnation(binary.LittleEndian.Uint64(b[:]))
		return errors.Join(err, f.Close(), n.disk.SyncDir("node"))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if n.incarnation != 0 {
		n.w.count(countIdentityRedrawn)
	}
	n.incarnation = raft.Incarnation(n.w.nodeRand.Uint64() | 1)
	if err := n.disk.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := n.disk.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(n.incarnation)), 0)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = n.disk.Rename(temp, name)
	}
	if err == nil {
		err = n.disk.SyncDir("node")
	}
	return err
}

// exit ends the process; what it handed to the operating system stays.
func (n *node) exit() {
	n.up, n.lie = false, nil
	if n.process != nil {
		n.w.service.Ended(n.process)
		n.process = nil
	}
	for _, g := range n.groups {
		g.gone = true
		g.judge.Stopped(n.id)
	}
	if n.log != nil {
		// It does not sync, and the files are closed for a process that ends.
		if err := n.log.Close(); err != nil && !errors.Is(err, vfs.ErrCrashed) && !n.hurt {
			n.w.fail(fmt.Errorf("node %d: close: %w", n.id, err))
		}
		n.log = nil
	}
	n.groups = n.groups[:0]
	n.woken = false
	for i := range n.sends {
		n.sends[i].envelopes = n.sends[i].envelopes[:0]
	}
	n.w.net.disconnected(n)
}

// lose takes the power away, also from a machine whose process has ended.
func (n *node) lose(f *Fault) {
	if n.up {
		n.exit()
	}
	if f == nil {
		if f = n.loss; f == nil {
			f = &Fault{Draw: n.w.operatorRand.Uint64()}
			n.w.drawPowerLoss(f, n.w.operatorRand)
		}
	}
	n.loss = nil
	o := vfs.CrashOptions{Data: f.Data, Entries: f.Entries, Rand: stream(f.Draw+uint64(n.id), diskStream)}
	n.w.tracef("node %d: power lost, keeps data %v, entries %v", n.id, o.Data, o.Entries)
	if n.other == nil && (o.Data == vfs.KeepTorn || o.Data == vfs.KeepMixed) {
		n.other = n.disk
	}
	if n.other != nil {
		n.other = n.other.CrashClone(vfs.CrashOptions{})
		n.other.SetHook(nil)
		n.other.SetCapacity(0)
	}
	n.disk = n.disk.Crash(o)
	n.disk.SetHook(nil)
	n.fault = diskFault{}
	n.failing, n.full, n.doubt = false, false, true
	n.disk.SetCapacity(0)
	n.restartIn(f.Back)
}

// restartIn starts the process again after a while, if nobody else does.
func (n *node) restartIn(in time.Duration) {
	if n.restarting || n.away {
		return
	}
	n.restarting = true
	if n.w.calm {
		in /= 8
	}
	n.w.at(in, faultEvent, func() {
		if n.restarting && !n.up && !n.away {
			n.start()
		}
	})
}

// fail stops all groups: the log they share can no longer be trusted (PS-07).
func (n *node) fail(err error) {
	if n.failed {
		return
	}
	n.checkPower(err)
	if !n.hurt && !errors.Is(err, vfs.ErrNoSpace) {
		n.w.fail(fmt.Errorf("node %d: log failed on a good disk: %w", n.id, err))
		return
	}
	n.failed = true
	n.w.count(countNodeFailed)
	n.w.tracef("node %d: log failed: %v", n.id, err)
	for _, g := range n.groups {
		g.stop(err)
	}
	// Somebody sees it and restarts the machine, or the process alone, to which
	// the system shows what never reached the disk.
	r, t := n.w.operatorRand, n.w.p.election
	n.after(between(r, t/2, 4*t), faultEvent, func() {
		if r.IntN(2) == 0 {
			n.lose(nil)
		} else {
			n.w.count(countRestartOnCache)
			n.kill(between(r, 0, 4*t))
		}
	})
}

// wake lets a worker look at the groups soon.
func (n *node) wake() {
	if n.woken {
		return
	}
	n.woken = true
	n.after(n.w.p.wake, workerEvent, func() {
		for _, g := range n.groups {
			g.process()
		}
		n.woken = false
		n.gather()
	})
}

// gather takes over what the groups asked for and sends it on its way.
func (n *node) gather() {
	for _, g := range n.groups {
		g.carryOut()
	}
	for i := range n.sends {
		p := &n.sends[i]
		if len(p.envelopes) > 0 {
			n.w.net.send(n, p.to, p.envelopes)
			clear(p.envelopes)
			p.envelopes = p.envelopes[:0]
		}
	}
	n.syncer.next()
}

// packet is what goes to one node together.
type packet struct {
	to        raft.NodeID
	envelopes []transport.Envelope
}

func (n *node) send(e transport.Envelope) {
	for i := range n.sends {
		if n.sends[i].to == e.Message.To {
			n.sends[i].envelopes = append(n.sends[i].envelopes, e)
			return
		}
	}
	n.sends = append(n.sends, packet{e.Message.To, []transport.Envelope{e}})
}

// receive is what the network calls.
func (n *node) receive(envelopes []transport.Envelope) {
	for _, e := range envelopes {
		if g := n.group(e.Group); g != nil && e.Message.To == n.id {
			g.deliver(e)
		}
	}
}

func (n *node) group(id raft.GroupID) *group {
	if i := int(id) - 1; i >= 0 && i < len(n.groups) {
		return n.groups[i]
	}
	return nil
}

func (n *node) timestamp() replica.Timestamp {
	// As in node, a process reads the clock when it starts, and from then on only how
	// much time has passed.
	uncertainty := min(n.read.Abs()/time.Microsecond, math.MaxUint32)
	return replica.Timestamp{Earliest: 1e18 + int64(n.w.now) + int64(n.read), Uncertainty: uint32(uncertainty)}
}
