package keyspace

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
)

// handClock is a runtime whose time is set.
type handClock struct {
	Process
	now time.Time
}

func (h *handClock) Now() time.Time { return h.now }

// TestTimeBetweenLeaders: a new leader takes from leases the time in which nobody
// led, by its own clock and never more than really passed.
func TestTimeBetweenLeaders(t *testing.T) {
	start := time.Unix(1000, 0)
	clock := &handClock{now: start}
	var p *Keeper
	ms := func(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }
	at := func(n int) { clock.now = ms(n) }
	passed := func(now, heard int, wantGap, wantSince time.Duration) {
		t.Helper()
		at(now)
		if gap, since := p.passed(clock.now, 5, ms(heard)); gap != wantGap || since != wantSince {
			t.Errorf("at %d ms, heard at %d: %v and %v passed, want %v and %v", now, heard, gap, since, wantGap, wantSince)
		}
	}
	begin := func() { at(0); p = NewKeeper(clock) }

	begin()
	at(1000)
	p.ClockMoved(4) // the old leader's last command is applied, and it is heard of once more
	at(2500)
	p.LeaderChanged(false) // an election begins
	at(2600)
	p.LeaderChanged(true)
	passed(2700, 1100, 1600*time.Millisecond, 0)
	at(2800) // the first command of the new term is applied: it was made after the election began
	p.ClockMoved(5)
	passed(2800, 1100, 1400*time.Millisecond, 0)
	passed(2900, 1100, 1400*time.Millisecond, 100*time.Millisecond)
	at(3000)
	p.ClockMoved(5)
	passed(3000, 1100, 1400*time.Millisecond, 0)

	begin() // an old command is applied only after the election: it came before all the same
	at(2500)
	p.LeaderChanged(false)
	at(2600)
	p.LeaderChanged(true)
	p.ClockMoved(4)
	passed(2700, 1100, 1600*time.Millisecond, 0)

	begin() // this member led before, and its own last commands count
	at(1000)
	p.LeaderChanged(true)
	at(2000)
	p.LeaderChanged(false)
	at(3000)
	p.LeaderChanged(false)
	passed(3100, 500, 1100*time.Millisecond, 0)

	begin() // it was started after the last command came: by then it had been made
	passed(700, -100, 700*time.Millisecond, 0)

	begin() // heard of another leader after its own election had begun: nothing is taken
	at(2500)
	p.LeaderChanged(false)
	p.ClockMoved(5)
	passed(2500, 2600, 0, 0)
}

// quiet is an observer of nothing but what the keeper hears.
type quiet struct{ *Keeper }

func (quiet) Wants() (events, prevs bool)            { return false, false }
func (quiet) Committed(int64, int64, []store.Commit) {}
func (quiet) Restored(int64, int64)                  {}

// heardGroup is a group of one member that last heard of another leader at a time.
type heardGroup struct {
	oneMember
	at    time.Time
	apply func(command []byte) rsm.Result
}

func (g *heardGroup) Heard() time.Time                 { return g.at }
func (g *heardGroup) Leader() (raft.NodeID, raft.Term) { return 1, 5 }
func (g *heardGroup) Propose(_ context.Context, command []byte) (rsm.Result, error) {
	return g.apply(command), nil
}

// TestCheckpointOfANewLeader: what a new leader logs of leases is less by the time
// without a leader, but for those that were granted since: such a one once ended
// 0.8 s before its time.
func TestCheckpointOfANewLeader(t *testing.T) {
	start := time.Unix(1000, 0)
	clock := &handClock{now: start}
	p := NewKeeper(clock)
	s, err := store.Open(engine.NewMemory(store.Split), quiet{p})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	index := raft.Index(0)
	apply := func(term raft.Term, command []byte) rsm.Result {
		index++
		entries := []rsm.Entry{{Index: index, Term: term, Command: command}}
		if err := s.Apply(entries); err != nil {
			t.Error(err)
		}
		return entries[0].Result
	}
	apply(4, store.AppendCommand(nil, &store.LeaseGrantRequest{ID: 1, TTL: 10}))
	clock.now = start.Add(3 * time.Second)
	p.LeaderChanged(false)
	p.LeaderChanged(true)
	apply(5, store.AppendCommand(nil, &store.LeaseGrantRequest{ID: 2, TTL: 10}))

	ctx, cancel := context.WithCancel(context.Background())
	var logged []store.LeaseCheckpoint
	g := &heardGroup{oneMember: oneMember{store: s}, at: start.Add(500 * time.Millisecond)}
	g.apply = func(command []byte) rsm.Result {
		c, err := store.DecodeCommand(command)
		if err != nil {
			t.Error(err)
		}
		if c, ok := c.(*store.LeaseCheckpointRequest); ok {
			logged = append(logged, c.Checkpoints...)
			if c.Term != 5 {
				t.Errorf("the checkpoint is for term %d, want 5", c.Term)
			}
			defer cancel()
		}
		return apply(5, command)
	}
	k := New(Config{Group: g, Store: s, Keeper: p, Self: 1, Authorizer: AllowAll{}, MaxRequestBytes: 1 << 20, ElectionTimeout: time.Second})
	k.reign(ctx, p, 5)
	want := []store.LeaseCheckpoint{{ID: 1, Remaining: int64(7500 * time.Millisecond)}, {ID: 2, Remaining: int64(10 * time.Second)}}
	if !slices.Equal(logged, want) {
		t.Errorf("logged %v, want %v", logged, want)
	}
}
