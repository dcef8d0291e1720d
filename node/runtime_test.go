package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/vfs"
)

// campaigns counts the elections that a node stands for.
type campaigns struct{ count atomic.Int64 }

func (c *campaigns) LeaderChanged(raft.GroupID, raft.NodeID, raft.Term) {}
func (c *campaigns) WALSync(int, int, time.Duration)                    {}
func (c *campaigns) Applied(raft.GroupID, int, time.Duration)           {}
func (c *campaigns) TraceEnabled() bool                                 { return true }

func (c *campaigns) Trace(_ raft.GroupID, _ raft.NodeID, event raft.Event) {
	if event.Kind == raft.PreElectionStarted {
		c.count.Add(1)
	}
}

// TM-04: a node whose process was paused past its election timeout hears its
// leader, whose messages are still on their way to it, before it would campaign.
func TestPauseIsNotSilenceOfTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		seen := map[raft.NodeID]*campaigns{1: {}, 2: {}, 3: {}}
		c.config = func(cfg *Config) { cfg.Observer = seen[cfg.ID] }
		c.start(c.voters...)
		defer c.stopAll()
		leader := c.leader(c.voters...)
		c.propose("a", c.voters...)
		follower := c.voters[int(leader)%3]
		before := seen[follower].count.Load()
		// The process is away for ten election timeouts; nothing is read meanwhile.
		back := make(chan struct{})
		c.groups[follower].call(func() { <-back })
		c.isolate(follower)
		<-time.After(10 * time.Second)
		c.network.Heal()
		close(back)
		<-time.After(5 * time.Second)
		if n := seen[follower].count.Load() - before; n != 0 {
			t.Errorf("after the pause the node stood for election %d times", n)
		}
		if now, _ := c.groups[follower].Leader(); now != leader {
			t.Errorf("it follows node %d, want %d", now, leader)
		}
	})
}

// FC-09, PS-11: what arrives while a sync runs becomes one batch: far fewer syncs
// than proposals.
func TestProposalsShareSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		var syncs atomic.Int64
		c.disks[1].SetWaiter(func(d time.Duration) { <-time.After(d) })
		c.disks[1].SetHook(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpSyncData {
				syncs.Add(1)
				return vfs.Fault{Delay: time.Millisecond}
			}
			return vfs.Fault{}
		})
		c.start(1)
		defer c.stopAll()
		c.propose("first", 1)
		before := syncs.Load()
		var wait sync.WaitGroup
		for i := range 500 {
			wait.Go(func() {
				if _, err := c.groups[1].Propose(context.Background(), []byte(fmt.Sprint("c", i))); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if n := syncs.Load() - before; n > 5 {
			t.Errorf("500 proposals at once took %d syncs", n)
		}
	})
}

// PS-02, CM-03, CM-04: no proposal, forwarded or not, is answered before two of three disks
// have synced it, however many share a sync. One slow disk holds up nobody.
func TestNothingIsAnsweredBeforeAMajorityHasSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		forwarded(c)
		c.start(1, 2, 3)
		defer c.stopAll()
		c.propose("first", 1, 2, 3)
		synctest.Wait()
		hold := func(ids ...raft.NodeID) (release func()) {
			held := make(chan struct{})
			for _, id := range ids {
				c.disks[id].SetHook(func(op vfs.Op) vfs.Fault {
					if op.Kind == vfs.OpSyncData {
						<-held
					}
					return vfs.Fault{}
				})
			}
			return func() {
				for _, id := range ids {
					c.disks[id].SetHook(nil)
				}
				close(held)
				synctest.Wait()
			}
		}
		for _, slow := range [][]raft.NodeID{{1, 2}, {1, 3}, {2, 3}, {1}, {2}, {3}} {
			release := hold(slow...)
			var answered atomic.Int64
			var wait sync.WaitGroup
			for i := range 30 {
				wait.Go(func() {
					if _, err := c.groups[c.voters[i%3]].Propose(patience(t), []byte("x")); err != nil {
						t.Errorf("disks %v held: %v", slow, err)
					}
					answered.Add(1)
				})
			}
			// Well below an election timeout: the leader must not step down.
			<-time.After(200 * time.Millisecond)
			synctest.Wait()
			if got, want := answered.Load(), int64(30*(2-len(slow))); got != want {
				t.Errorf("disks %v held: %d of 30 answered, want %d", slow, got, want)
			}
			release()
			wait.Wait()
			c.propose("between", 1, 2, 3)
		}
	})
}

// While the next log segment is being made, however long that takes,
// writing goes on in the one in use.
func TestWritingGoesOnWhileASegmentIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.start(1)
		c.propose("first", 1)
		synctest.Wait() // the second segment is ready
		making, release := make(chan struct{}, 1), make(chan struct{})
		c.disks[1].SetHook(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpPreallocate {
				making <- struct{}{}
				<-release
			}
			return vfs.Fault{}
		})
		command := make([]byte, 16<<10)
		meanwhile := 0
		for range 24 { // into the second segment of 256 KiB, and not through it
			if _, err := c.groups[1].Propose(patience(t), command); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if meanwhile > 0 || len(making) > 0 {
				meanwhile++
			}
		}
		if meanwhile < 2 {
			t.Errorf("%d proposals were answered while a segment was made", meanwhile)
		}
		close(release)
		c.stopAll()
	})
}

// PS-07: a log that failed while the next segment was made has failed, also if nothing is
// to be written: the node says so at once, and not when the next proposal comes. A
// disk that is full is no failure.
func TestFailureWhileASegmentIsMade(t *testing.T) {
	for _, fault := range []error{errors.New("bad disk"), vfs.ErrNoSpace} {
		t.Run(fault.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1)
				c.start(1)
				c.propose("first", 1)
				synctest.Wait() // the second segment is ready
				var faults atomic.Int64
				c.disks[1].SetHook(func(op vfs.Op) vfs.Fault {
					if op.Kind == vfs.OpPreallocate {
						faults.Add(1)
						return vfs.Fault{Err: fault}
					}
					return vfs.Fault{}
				})
				command := make([]byte, 16<<10)
				for range 24 { // into the second segment of 256 KiB, and not through it
					_, err := c.groups[1].Propose(patience(t), command)
					synctest.Wait()
					if faults.Load() > 0 {
						break // the answer may have come too late
					}
					if err != nil {
						t.Error(err)
					}
				}
				if faults.Load() == 0 {
					t.Error("no segment was made")
				}
				if err := c.groups[1].err(); errors.Is(err, ErrGroupStopped) == errors.Is(fault, vfs.ErrNoSpace) {
					t.Errorf("the group says %v", err)
				}
				c.disks[1].SetHook(nil)
				_ = c.nodes[1].Close() // reports the disk's error
			})
		})
	}
}

// slowPicture is a state machine whose snapshots take as long as a test likes.
type slowPicture struct {
	register
	begun, release chan struct{}
}

type slowView struct {
	view
	of *slowPicture
}

func (s *slowPicture) Snapshot() (rsm.View, error) {
	v, err := s.register.Snapshot()
	return slowView{v.(view), s}, err
}

func (v slowView) WriteSnapshot(ctx context.Context, w io.Writer) error {
	select {
	case v.of.begun <- struct{}{}:
	default:
	}
	<-v.of.release
	return v.view.WriteSnapshot(ctx, w)
}

// SN-10: while a snapshot is being written, commands are applied and answered; it
// holds the state of the moment when it was begun.
func TestApplyGoesOnDuringASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		sm := &slowPicture{begun: make(chan struct{}, 1), release: make(chan struct{})}
		c.group = func(cfg *GroupConfig) {
			cfg.StateMachine, cfg.SnapshotBytes, cfg.TailBytes = sm, 2<<10, 256
		}
		c.start(1)
		defer c.stopAll()
		count := 0
		propose := func() {
			count++
			c.propose(fmt.Sprintf("command-%04d", count), 1)
		}
		for begun := false; !begun; {
			propose()
			select {
			case <-sm.begun:
				begun = true
			default:
			}
		}
		at := count
		for range 100 {
			propose() // would hang if applying waited for the snapshot
		}
		status, err := c.groups[1].Status(patience(t))
		if err != nil || status.Snapshot.Index != 0 {
			t.Fatalf("snapshot %v is in force before it was written (%v)", status.Snapshot, err)
		}
		close(sm.release)
		<-time.After(time.Second)
		status, err = c.groups[1].Status(patience(t))
		if err != nil || status.Snapshot.Index == 0 || int(status.Snapshot.Index) > at+4 {
			t.Fatalf("snapshot %v, want one of about the %d commands of the moment when it was begun (%v)", status.Snapshot, at, err)
		}
	})
}

// FC-05: a state machine that does not keep up is handed a bounded number of
// bytes, and proposals beyond the bound are refused.
type stuck struct {
	register
	gate chan struct{}
}

func (s *stuck) Apply(entries []rsm.Entry) error {
	<-s.gate
	return s.register.Apply(entries)
}

func TestSlowStateMachineIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.config = func(cfg *Config) { cfg.MaxPendingBytes, cfg.MaxEntryBytes, cfg.MaxBatchBytes = 1<<20, 16<<10, 16<<10 }
		sm := &stuck{gate: make(chan struct{})}
		c.group = func(cfg *GroupConfig) { cfg.StateMachine = sm }
		c.start(1)
		defer c.stopAll()
		c.leader(1)
		ctx, cancel := context.WithCancel(context.Background())
		var wait sync.WaitGroup
		for range 400 {
			wait.Go(func() { _, _ = c.groups[1].Propose(ctx, make([]byte, 4<<10)) })
		}
		<-time.After(5 * time.Second)
		m := c.groups[1].machine
		handed := 0
		c.nodes[1].applies.mu.Lock()
		for i := range m.tasks {
			for _, e := range m.tasks[i].Entries {
				handed += len(e)
			}
		}
		c.nodes[1].applies.mu.Unlock()
		if bound := 1<<20/4 + 2*(16<<10); handed > bound {
			t.Errorf("%d bytes wait for the state machine, the bound is %d", handed, bound)
		}
		if pending := c.groups[1].pendingBytes.Load(); pending > 1<<20 {
			t.Errorf("%d bytes of commands are pending", pending)
		}
		cancel()
		wait.Wait()
		close(sm.gate)
	})
}

// CM-10, B-7: equal commands give equal states on every replica, also on one that
// was restored from a snapshot.
func TestReplicasEndEqual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.group = func(cfg *GroupConfig) { cfg.SnapshotBytes, cfg.TailBytes = 2<<10, 256 }
		c.start(c.voters...)
		for i := range 100 {
			c.propose(fmt.Sprint("c", i), c.voters...)
		}
		restarted := c.voters[int(c.leader(c.voters...))%3]
		c.stop(restarted)
		c.start(restarted)
		defer c.stopAll()
		want := c.read(1)
		if strings.Count(want, " ") != 99 {
			t.Fatalf("100 commands left %d", strings.Count(want, " ")+1)
		}
		for _, id := range c.voters {
			if got := c.read(id); got != want {
				t.Errorf("node %d differs", id)
			}
		}
	})
}
