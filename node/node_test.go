package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport/mem"
	"github.com/quorate/quorate/vfs"
)

// register is a state machine: a list of the commands that it was given.
type register struct {
	mu       sync.Mutex
	commands []string
	// fail, if set, is what Apply returns for a command that equals poison.
	poison string
}

func (r *register) Apply(entries []rsm.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range entries {
		command := string(entries[i].Command)
		if r.poison != "" && command == r.poison {
			return errors.New("poisoned")
		}
		r.commands = append(r.commands, command)
		entries[i].Result = rsm.Result{Value: uint64(len(r.commands)), Data: []byte("did " + command)}
	}
	return nil
}

func (r *register) Read(context.Context, any) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.commands, " "), nil
}

func (r *register) Snapshot() (rsm.View, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return view(strings.Join(r.commands, " ")), nil
}

func (r *register) Restore(from io.Reader) error {
	data, err := io.ReadAll(from)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = strings.Fields(string(data))
	return err
}

func (r *register) Close() error { return nil }

type view string

func (v view) WriteSnapshot(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, string(v))
	return err
}
func (v view) Close() error { return nil }

// A cluster is nodes on disks and a network in memory, in virtual time.
type cluster struct {
	t       *testing.T
	network *mem.Network
	voters  []raft.NodeID
	disks   map[raft.NodeID]*vfs.Mem
	nodes   map[raft.NodeID]*Node
	groups  map[raft.NodeID]*Group
	machine map[raft.NodeID]rsm.StateMachine
	config  func(*Config)
	group   func(*GroupConfig)
}

func newCluster(t *testing.T, size int) *cluster {
	c := &cluster{
		t: t, network: mem.NewNetwork(), disks: map[raft.NodeID]*vfs.Mem{}, nodes: map[raft.NodeID]*Node{},
		groups: map[raft.NodeID]*Group{}, machine: map[raft.NodeID]rsm.StateMachine{},
		config: func(*Config) {}, group: func(*GroupConfig) {},
	}
	for id := raft.NodeID(1); id <= raft.NodeID(size); id++ {
		c.voters = append(c.voters, id)
		c.disks[id] = vfs.NewMem()
	}
	return c
}

// open opens a node without a group.
func (c *cluster) open(id raft.NodeID) (*Node, error) {
	cfg := Config{
		ID: id, Cluster: "test", Dir: "data", Transport: c.network.Transport(id), FS: c.disks[id],
		SegmentSizeBytes: 256 << 10, Logger: slog.New(slog.DiscardHandler),
	}
	cfg.Peers = map[raft.NodeID]string{}
	for _, peer := range c.voters {
		cfg.Peers[peer] = fmt.Sprintf("mem-%d", peer)
	}
	c.config(&cfg)
	return Open(cfg)
}

func (c *cluster) start(ids ...raft.NodeID) {
	c.t.Helper()
	for _, id := range ids {
		n, err := c.open(id)
		if err != nil {
			c.t.Fatalf("open node %d: %v", id, err)
		}
		cfg := GroupConfig{ID: 1, Voters: c.voters, StateMachine: &register{}}
		c.group(&cfg)
		g, err := n.StartGroup(cfg)
		if err != nil {
			c.t.Fatalf("start group on node %d: %v", id, err)
		}
		c.nodes[id], c.groups[id], c.machine[id] = n, g, cfg.StateMachine
	}
}

func (c *cluster) stop(ids ...raft.NodeID) {
	c.t.Helper()
	for _, id := range ids {
		if err := c.nodes[id].Close(); err != nil {
			c.t.Errorf("close node %d: %v", id, err)
		}
	}
}

func (c *cluster) isolate(id raft.NodeID) {
	for _, other := range c.voters {
		if other != id {
			c.network.Cut(id, other)
			c.network.Cut(other, id)
		}
	}
}

func (c *cluster) stopAll() { c.stop(c.voters...) }

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// leader waits for a leader among the nodes.
func (c *cluster) leader(among ...raft.NodeID) raft.NodeID {
	c.t.Helper()
	for range 1000 {
		for _, id := range among {
			if leader, _ := c.groups[id].Leader(); leader == id {
				return id
			}
		}
		<-time.After(100 * time.Millisecond)
	}
	c.t.Fatal("no leader")
	return 0
}

// propose proposes at whoever leads until it is answered.
func (c *cluster) propose(command string, among ...raft.NodeID) rsm.Result {
	c.t.Helper()
	for range 100 {
		result, err := c.groups[c.leader(among...)].Propose(patience(c.t), []byte(command))
		if err == nil {
			return result
		}
		if !errors.Is(err, ErrNotLeader) {
			c.t.Fatalf("propose %q: %v", command, err)
		}
	}
	c.t.Fatalf("nobody took %q", command)
	return rsm.Result{}
}

func (c *cluster) read(id raft.NodeID) string {
	c.t.Helper()
	answer, err := c.groups[id].Read(patience(c.t), nil)
	if err != nil {
		c.t.Fatalf("read at node %d: %v", id, err)
	}
	return answer.(string)
}

// CM-08, RD-05: what is proposed at the leader is answered with its result and
// read linearizably at every replica.
func TestProposeAndReadAnywhere(t *testing.T) {
	for _, size := range []int{1, 3, 5} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, size)
			c.start(c.voters...)
			defer c.stopAll()
			for i := 1; i <= 10; i++ {
				result := c.propose(fmt.Sprint("c", i), c.voters...)
				if result.Value != uint64(i) || string(result.Data) != fmt.Sprint("did c", i) {
					t.Fatalf("command %d: %d, %q", i, result.Value, result.Data)
				}
				for _, id := range c.voters {
					if got := c.read(id); !strings.HasSuffix(got, fmt.Sprint("c", i)) {
						t.Fatalf("node %d of %d reads %q after c%d was acknowledged", id, size, got, i)
					}
				}
			}
		})
	}
}

// A follower refuses a proposal and names the leader.
func TestFollowerNamesTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.start(c.voters...)
		defer c.stopAll()
		leader := c.leader(c.voters...)
		for _, id := range c.voters {
			if err := c.groups[id].Ready(patience(t)); err != nil {
				t.Fatal(err)
			}
			if id == leader {
				continue
			}
			_, err := c.groups[id].Propose(patience(t), []byte("x"))
			var not *NotLeaderError
			if !errors.Is(err, ErrNotLeader) || !errors.As(err, &not) || not.Leader != leader {
				t.Fatalf("node %d: %v, want a pointer to node %d", id, err, leader)
			}
		}
	})
}

// The leader's machine goes away: the others elect, and nothing acknowledged is
// lost; it comes back and catches up.
func TestLeaderGoesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.start(c.voters...)
		c.propose("before", c.voters...)
		old := c.leader(c.voters...)
		c.stop(old)
		var others []raft.NodeID
		for _, id := range c.voters {
			if id != old {
				others = append(others, id)
			}
		}
		c.propose("after", others...)
		c.start(old)
		defer c.stopAll()
		if got := c.read(old); got != "before after" {
			t.Fatalf("the old leader reads %q", got)
		}
	})
}

// PS-02, PS-04: power is lost on all nodes at once, with nothing kept but what
// was synced.
func TestPowerLossOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.start(c.voters...)
		var want []string
		for i := range 20 {
			command := fmt.Sprint("c", i)
			c.propose(command, c.voters...)
			want = append(want, command)
		}
		crashed := map[raft.NodeID]*vfs.Mem{}
		for _, id := range c.voters {
			crashed[id] = c.disks[id].CrashClone(vfs.CrashOptions{})
		}
		c.stopAll()
		c.disks = crashed
		c.start(c.voters...)
		defer c.stopAll()
		for _, id := range c.voters {
			if got := c.read(id); got != strings.Join(want, " ") {
				t.Fatalf("node %d reads %q after the power loss", id, got)
			}
		}
	})
}

// CM-08, CS-14: a leader that is cut off answers what waits as soon as it steps
// down: outcome unknown, never failed (EL-18).
func TestIsolatedLeaderAnswersUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.start(c.voters...)
		defer c.stopAll()
		leader := c.leader(c.voters...)
		c.propose("a", c.voters...)
		c.isolate(leader)
		began := time.Now()
		_, err := c.groups[leader].Propose(patience(t), []byte("b"))
		if !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("got %v, want an unknown outcome", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("answered after %v, want within two election timeouts", took)
		}
		if _, err := c.groups[leader].Propose(patience(t), []byte("c")); !errors.Is(err, ErrNotLeader) {
			t.Fatalf("after stepping down: %v", err)
		}
		c.network.Heal()
	})
}

// A caller's patience ends: before the command was taken it is certainly not
// applied, afterwards nobody knows.
func TestContextsEndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.start(c.voters...)
		defer c.stopAll()
		leader := c.leader(c.voters...)
		g := c.groups[leader]
		done, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := g.Propose(done, []byte("x")); !errors.Is(err, ErrNotProposed) || !errors.Is(err, context.Canceled) {
			t.Fatalf("with a dead context: %v", err)
		}
		c.isolate(leader)
		short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := g.Propose(short, []byte("x")); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("cut off: %v", err)
		}
		if _, err := g.Read(short, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("read, cut off: %v", err)
		}
		c.network.Heal()
	})
}

// FC-04: what waits is bounded; beyond it a proposal is refused and certainly not
// applied.
func TestOverloadIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.config = func(cfg *Config) { cfg.MaxPendingBytes, cfg.MaxEntryBytes = 64<<10, 32<<10 }
		c.start(c.voters...)
		defer c.stopAll()
		leader := c.leader(c.voters...)
		c.propose("first", c.voters...)
		c.isolate(leader)
		var wait sync.WaitGroup
		var mu sync.Mutex
		count := map[string]int{}
		for range 100 {
			wait.Go(func() {
				_, err := c.groups[leader].Propose(context.Background(), make([]byte, 4<<10))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, ErrOverloaded):
					count["overloaded"]++
				case errors.Is(err, ErrUnknownOutcome), errors.Is(err, ErrNotLeader):
					count["taken"]++
				default:
					count[fmt.Sprint(err)]++
				}
			})
		}
		wait.Wait()
		if count["taken"] > 16 || count["overloaded"] < 84 || count["taken"]+count["overloaded"] != 100 {
			t.Fatalf("outcomes %v, want at most 16 taken and the rest refused", count)
		}
		if _, err := c.groups[leader].Propose(patience(t), make([]byte, 33<<10)); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("too large: %v", err)
		}
		c.network.Heal()
	})
}

// PS-07: a failed sync is final for the log. The node's groups stop and say so;
// the others go on.
func TestFailedSyncStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.start(c.voters...)
		leader := c.leader(c.voters...)
		c.propose("a", c.voters...)
		c.disks[leader].SetHook(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpSyncData || op.Kind == vfs.OpSync {
				return vfs.Fault{Err: errors.New("input/output error")}
			}
			return vfs.Fault{}
		})
		// It may still be committed by the others' disks (CM-04), but never with
		// an answer that counts this one.
		_, first := c.groups[leader].Propose(patience(t), []byte("b"))
		<-time.After(5 * time.Second)
		_, err := c.groups[leader].Propose(patience(t), []byte("c"))
		var stopped *StoppedError
		if !errors.Is(err, ErrGroupStopped) || !errors.As(err, &stopped) || !strings.Contains(stopped.Error(), "input/output error") {
			t.Fatalf("after the failed sync: %v", err)
		}
		var others []raft.NodeID
		for _, id := range c.voters {
			if id != leader {
				others = append(others, id)
			}
		}
		c.propose("d", others...)
		got := c.read(others[0])
		if first == nil && !strings.Contains(got, "b") {
			t.Fatalf("b was acknowledged and is gone: %q", got)
		}
		if !strings.HasSuffix(got, "d") || strings.Contains(got, "c") {
			t.Fatalf("the others read %q", got)
		}
		c.stop(others...)
		_ = c.nodes[leader].Close() // reports the disk's error
	})
}

// A state machine that fails stops its group on that node alone.
func TestFailingStateMachineStopsItsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.start(c.voters...)
		defer c.stopAll()
		leader := c.leader(c.voters...)
		m := c.machine[leader].(*register)
		m.mu.Lock()
		m.poison = "poison"
		m.mu.Unlock()
		if _, err := c.groups[leader].Propose(patience(t), []byte("poison")); !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("the proposer was told %v", err)
		}
		<-time.After(10 * time.Second)
		if _, err := c.groups[leader].Read(patience(t), nil); !errors.Is(err, ErrGroupStopped) {
			t.Fatalf("the stopped group answers %v", err)
		}
		var others []raft.NodeID
		for _, id := range c.voters {
			if id != leader {
				others = append(others, id)
			}
		}
		c.propose("next", others...)
		if got := c.read(others[1]); got != "poison next" {
			t.Fatalf("the others read %q", got)
		}
	})
}

// SN-05, SN-07, SN-09: a node that was away while the log was compacted is sent a
// snapshot; SN-03: and everything is still there after a restart of all.
func TestSnapshotsCatchUpAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.group = func(cfg *GroupConfig) { cfg.SnapshotBytes, cfg.TailBytes = 4<<10, 1<<10 }
		c.start(c.voters...)
		leader := c.leader(c.voters...)
		away := c.voters[int(leader)%3]
		var others []raft.NodeID
		for _, id := range c.voters {
			if id != away {
				others = append(others, id)
			}
		}
		c.stop(away)
		var want []string
		for i := range 300 {
			command := fmt.Sprintf("command-%03d", i)
			c.propose(command, others...)
			want = append(want, command)
		}
		status, err := c.groups[c.leader(others...)].Status(patience(t))
		if err != nil || status.FirstIndex < 50 {
			t.Fatalf("the log was not compacted: begins at %d, %v", status.FirstIndex, err)
		}
		c.start(away)
		if got := c.read(away); got != strings.Join(want, " ") {
			t.Fatalf("after catching up node %d reads %d bytes, want %d", away, len(got), len(strings.Join(want, " ")))
		}
		c.propose("last", c.voters...)
		c.stopAll()
		c.start(c.voters...)
		defer c.stopAll()
		for _, id := range c.voters {
			if got := c.read(id); got != strings.Join(append(want, "last"), " ") {
				t.Fatalf("after the restart node %d reads %d bytes", id, len(got))
			}
		}
	})
}

// SF-07: a snapshot that rots on the leader's disk is refused by whoever is sent it.
// The leader has another one made, though nothing is proposed any more.
func TestRottenSnapshotIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.group = func(cfg *GroupConfig) { cfg.SnapshotBytes, cfg.TailBytes = 4<<10, 1<<10 }
		c.start(c.voters...)
		defer c.stopAll()
		leader := c.leader(c.voters...)
		away := c.voters[int(leader)%3]
		c.stop(away)
		var want []string
		for i := range 300 {
			command := fmt.Sprintf("command-%03d", i)
			c.propose(command, leader)
			want = append(want, command)
		}
		names, err := c.disks[leader].List("data/snapshots")
		if err != nil {
			t.Fatal(err)
		}
		rotten := 0
		for _, name := range names {
			if strings.HasSuffix(name, ".snapshot") {
				rotten++
				if err := c.disks[leader].Corrupt("data/snapshots/"+name, 200, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		if rotten == 0 {
			t.Fatalf("no snapshot among %q", names)
		}
		c.start(away)
		if got := c.read(away); got != strings.Join(want, " ") {
			t.Fatalf("node %d reads %d bytes, want %d", away, len(got), len(strings.Join(want, " ")))
		}
		if now := c.leader(leader); now != leader {
			t.Fatalf("node %d leads, want %d", now, leader)
		}
	})
}

// PS-09: a node that comes back with an empty disk is refused under its old id,
// and is told what to do.
func TestWipedNodeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.start(c.voters...)
		c.propose("a", c.voters...)
		leader := c.leader(c.voters...)
		wiped := c.voters[int(leader)%3]
		c.stop(wiped)
		c.disks[wiped] = vfs.NewMem()
		var log strings.Builder
		var mu sync.Mutex
		c.config = func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&lockedWriter{&mu, &log}, nil)) }
		c.start(wiped)
		defer c.stopAll()
		for range 20 {
			c.propose("more", leader)
		}
		short, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.groups[wiped].Ready(short); err == nil {
			t.Fatal("the wiped node joined the group")
		}
		if got := c.machine[wiped].(*register); len(got.commands) != 0 {
			t.Fatalf("the wiped node applied %v", got.commands)
		}
		mu.Lock()
		defer mu.Unlock()
		if !strings.Contains(log.String(), "under a new node id") {
			t.Fatalf("its log does not say what to do:\n%s", log.String())
		}
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// PS-10: a data directory belongs to one node of one cluster, and to one process.
func TestForeignDirectoriesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2)
		n, err := c.open(1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.open(1); err == nil || !strings.Contains(err.Error(), "in use by another process") {
			t.Fatalf("opened twice: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		c.config = func(cfg *Config) { cfg.Cluster = "other" }
		if _, err := c.open(1); err == nil || !strings.Contains(err.Error(), "another cluster") {
			t.Fatalf("another cluster's directory: %v", err)
		}
		c.config = func(*Config) {}
		c.disks[2] = c.disks[1]
		if _, err := c.open(2); err == nil || !strings.Contains(err.Error(), "belongs to node 1") {
			t.Fatalf("another node's directory: %v", err)
		}
		if err := errors.Join(c.disks[1].Remove("data/identity"), c.disks[1].SyncDir("data")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.open(1); err == nil || !strings.Contains(err.Error(), "no identity file") {
			t.Fatalf("a log without an identity: %v", err)
		}
	})
}

// MG-01: groups on one node share log, transport and workers, and nothing else.
func TestManyGroupsShareANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups = 40
		c := newCluster(t, 3)
		all := map[raft.NodeID][]*Group{}
		for _, id := range c.voters {
			n, err := c.open(id)
			if err != nil {
				t.Fatal(err)
			}
			c.nodes[id] = n
			for i := range groups {
				g, err := n.StartGroup(GroupConfig{ID: raft.GroupID(i + 1), Voters: c.voters, StateMachine: &register{}})
				if err != nil {
					t.Fatal(err)
				}
				all[id] = append(all[id], g)
			}
		}
		defer c.stopAll()
		for i := range groups {
			for _, id := range c.voters {
				c.groups[id] = all[id][i]
			}
			c.propose(fmt.Sprint("group", i+1), c.voters...)
		}
		for i := range groups {
			for _, id := range c.voters {
				c.groups[id] = all[id][i]
				if got := c.read(id); got != fmt.Sprint("group", i+1) {
					t.Fatalf("group %d on node %d reads %q", i+1, id, got)
				}
			}
		}
	})
}

// onDisk is a state machine that keeps its own state: here on a map that
// survives the node, durable only when flushed.
type onDisk struct {
	register
	store   *diskStore
	applied raft.Index // guarded by store.mu
}

type diskStore struct {
	mu       sync.Mutex
	index    raft.Index
	commands []string
}

func openOnDisk(store *diskStore) *onDisk {
	store.mu.Lock()
	defer store.mu.Unlock()
	o := &onDisk{store: store, applied: store.index}
	o.commands = append([]string(nil), store.commands...)
	return o
}

func (o *onDisk) Apply(entries []rsm.Entry) error {
	if err := o.register.Apply(entries); err != nil {
		return err
	}
	last := entries[len(entries)-1].Index
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	o.applied = last
	if last%16 == 0 { // now and then all becomes durable, atomically (CM-07)
		o.store.index, o.store.commands = last, append([]string(nil), o.commands...)
	}
	return nil
}

func (o *onDisk) Restore(from io.Reader) error {
	var index [8]byte
	if _, err := io.ReadFull(from, index[:]); err != nil {
		return err
	}
	if err := o.register.Restore(from); err != nil {
		return err
	}
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	o.applied = raft.Index(binary.LittleEndian.Uint64(index[:]))
	o.store.index = o.applied
	o.store.commands = append([]string(nil), o.commands...)
	return nil
}

func (o *onDisk) Snapshot() (rsm.View, error) {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	// A picture names its own index: that of the state which it holds.
	index := binary.LittleEndian.AppendUint64(nil, uint64(o.applied))
	o.mu.Lock()
	defer o.mu.Unlock()
	return view(string(index) + strings.Join(o.commands, " ")), nil
}

func (o *onDisk) DurableIndex() raft.Index {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	return o.store.index
}

func (o *onDisk) Flush() {}

// CM-07: a state machine on disk goes on from its durable index, is given each command
// once, and lets the log be compacted up to what it holds durable.
func TestStateMachineOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		byNode := map[raft.NodeID]*diskStore{1: {}, 2: {}, 3: {}}
		next := raft.NodeID(0)
		c.config = func(cfg *Config) { next = cfg.ID }
		c.group = func(cfg *GroupConfig) {
			cfg.StateMachine = openOnDisk(byNode[next])
			cfg.SnapshotBytes, cfg.TailBytes = 2<<10, 512
		}
		c.start(c.voters...)
		var want []string
		propose := func(count int) {
			for range count {
				command := fmt.Sprint("c", len(want))
				c.propose(command, c.voters...)
				want = append(want, command)
			}
		}
		propose(200)
		status, err := c.groups[c.leader(c.voters...)].Status(patience(t))
		if err != nil || status.FirstIndex < 50 {
			t.Fatalf("the log was not compacted: begins at %d, %v", status.FirstIndex, err)
		}
		c.stopAll()
		c.start(c.voters...)
		propose(10)
		defer c.stopAll()
		for _, id := range c.voters {
			if got := c.read(id); got != strings.Join(want, " ") {
				t.Fatalf("node %d reads %q\nwant %q", id, got, strings.Join(want, " "))
			}
		}
	})
}

// flip damages the bytes of a command wherever a node's log holds them.
func (c *cluster) flip(id raft.NodeID, command string) {
	c.t.Helper()
	names, err := c.disks[id].List("data/wal")
	if err != nil {
		c.t.Fatal(err)
	}
	found := 0
	for _, name := range names {
		name = "data/wal/" + name
		data, err := readFile(c.disks[id], name, 1<<30)
		if err != nil {
			c.t.Fatal(err)
		}
		for at := 0; ; found++ {
			i := strings.Index(string(data[at:]), command)
			if i < 0 {
				break
			}
			at += i
			if err := c.disks[id].Corrupt(name, int64(at), 0x40); err != nil {
				c.t.Fatal(err)
			}
			at += len(command)
		}
	}
	if found == 0 {
		c.t.Fatalf("node %d's log does not hold %q", id, command)
	}
}

// SF-02, PS-05: damage is reported with its place and never cut, where other
// nodes have a copy; a lone voter's damaged tail is cut and said to be.
func TestDamagedLog(t *testing.T) {
	for _, test := range []struct {
		name   string
		voters int
		flip   string
		want   string // of the error; empty if the group starts
		reads  string
	}{
		{"the tail of a lone voter", 1, "needle-9", "", "needle-1 needle-2"},
		{"the middle of a lone voter's log", 1, "needle-1", "entry", ""},
		{"the tail of one of three", 3, "needle-9", "entry", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, test.voters)
				c.start(c.voters...)
				for _, command := range []string{"needle-1", "needle-2", "needle-9"} {
					c.propose(command, c.voters...)
				}
				c.read(1) // so that node 1 has it, also if it follows
				c.stopAll()
				c.flip(1, test.flip)
				n, err := c.open(1)
				if err != nil {
					t.Fatal(err)
				}
				defer n.Close()
				g, err := n.StartGroup(GroupConfig{ID: 1, Voters: c.voters, StateMachine: &register{}})
				if test.want == "" {
					if err != nil {
						t.Fatalf("not started: %v", err)
					}
					c.groups[1] = g
					if got := c.read(1); got != test.reads {
						t.Fatalf("reads %q, want %q", got, test.reads)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), "the log is damaged") || !strings.Contains(err.Error(), "group 1, index") || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("started with damage, or reported as %v", err)
				}
			})
		})
	}
}

// A follower that was away gets the state of a state machine on disk, which is
// pictured for it on demand.
func TestStateMachineOnDiskIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		byNode := map[raft.NodeID]*diskStore{1: {}, 2: {}, 3: {}}
		next := raft.NodeID(0)
		c.config = func(cfg *Config) { next = cfg.ID }
		c.group = func(cfg *GroupConfig) {
			cfg.StateMachine = openOnDisk(byNode[next])
			cfg.SnapshotBytes, cfg.TailBytes = 2<<10, 512
		}
		c.start(c.voters...)
		leader := c.leader(c.voters...)
		away := c.voters[int(leader)%3]
		c.stop(away)
		var others []raft.NodeID
		for _, id := range c.voters {
			if id != away {
				others = append(others, id)
			}
		}
		var want []string
		for i := range 200 {
			want = append(want, fmt.Sprint("c", i))
			c.propose(want[i], others...)
		}
		c.start(away)
		defer c.stopAll()
		if got := c.read(away); got != strings.Join(want, " ") {
			t.Fatalf("node %d reads %q", away, got)
		}
		c.stop(away)
		c.start(away)
		if got := c.read(away); got != strings.Join(want, " ") {
			t.Fatalf("restarted, node %d reads %q", away, got)
		}
	})
}
