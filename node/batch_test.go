package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/rsm"
)

// crowded gives a group of one replica on a node whose processors are all busy, to
// which so many proposals usually come while a batch is under way.
func crowded(t *testing.T, usual int64, config func(*Config)) *Group {
	c := newCluster(t, 1)
	if config != nil {
		c.config = config
	}
	c.start(1)
	t.Cleanup(c.stopAll)
	c.propose("first", 1)
	g := c.groups[1]
	crowd(g, usual)
	return g
}

func crowd(g *Group, usual int64) {
	g.call(func() {
		g.worker.yielded = time.Hour
		g.batching.usual.Store(16 * usual)
	})
	synctest.Wait()
}

// together proposes so many commands at once and gives how long each took.
func together(g *Group, count int) []time.Duration {
	took := make([]time.Duration, count)
	var wait sync.WaitGroup
	began := time.Now()
	for i := range count {
		wait.Go(func() {
			if _, err := g.Propose(context.Background(), fmt.Append(nil, i)); err == nil {
				took[i] = time.Since(began)
			} else {
				took[i] = -1
			}
		})
	}
	wait.Wait()
	return took
}

// FC-09: where processors are busy and many propose, fewer proposals than usual wait for others,
// but not longer than is configured. As many as usual do not wait.
func TestProposalsWaitForOthers(t *testing.T) {
	for _, test := range []struct {
		name   string
		usual  int64
		count  int
		config func(*Config)
		want   time.Duration
	}{
		{name: "fewer than usual", usual: 10, count: 3, want: 5 * time.Millisecond},
		{name: "as many as usual", usual: 10, count: 10},
		{name: "one that is always alone", usual: 1, count: 1},
		{name: "a longer delay", usual: 10, count: 3, config: func(cfg *Config) { cfg.MaxBatchDelay = 20 * time.Millisecond }, want: 20 * time.Millisecond},
		{name: "never", usual: 10, count: 3, config: func(cfg *Config) { cfg.MaxBatchDelay = -1 }},
		{name: "too short for a timer", usual: 10, count: 3, config: func(cfg *Config) { cfg.MaxBatchDelay = waitMin - 1 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := crowded(t, test.usual, test.config)
				for _, took := range together(g, test.count) {
					if took != test.want {
						t.Errorf("a proposal took %v, want %v", took, test.want)
					}
				}
			})
		})
	}
}

// Those that wait are joined by others, and go when they are enough.
func TestProposalsThatWaitAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := crowded(t, 4, nil)
		first := make(chan []time.Duration)
		go func() { first <- together(g, 2) }()
		time.Sleep(3 * time.Millisecond)
		for _, took := range together(g, 2) {
			if took != 0 {
				t.Errorf("the last to come took %v, want nothing", took)
			}
		}
		for _, took := range <-first {
			if took != 3*time.Millisecond {
				t.Errorf("the first to come took %v, want 3ms", took)
			}
		}
	})
}

// Where processors are to spare nobody waits, however many are usual.
func TestNothingWaitsWhereProcessorsAreIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := crowded(t, 100, nil)
		g.call(func() { g.worker.yielded = waitMin/waitFactor - 1 })
		synctest.Wait()
		for _, took := range together(g, 3) {
			if took != 0 {
				t.Errorf("a proposal took %v, want nothing", took)
			}
		}
	})
}

// Processors that are scarce no more are found out by what is proposed.
func TestWaitingEndsWhenProcessorsAreIdleAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := crowded(t, 10, nil)
		g.call(func() { g.worker.yielded = time.Millisecond })
		synctest.Wait()
		if took := together(g, 1)[0]; took == 0 {
			t.Error("nothing waited while processors were scarce")
		}
		for range 20 {
			together(g, 1) // in a bubble it takes no time to let others run
		}
		g.call(func() { g.batching.usual.Store(16 * 10) })
		synctest.Wait()
		if took := together(g, 1)[0]; took != 0 {
			t.Errorf("a proposal took %v, want nothing", took)
		}
	})
}

// What is usual follows from what happens: one caller alone is one, and fifty whose
// batches overlap are fifty, however many batches they make.
func TestUsualProposals(t *testing.T) {
	var b batching
	rounds := func(batches ...int) {
		for range 40 {
			var measuring *proposal
			for _, size := range batches {
				batch := make([]replica.Proposal, size)
				for i := range batch {
					batch[i] = &proposal{}
				}
				b.measure(batch)
				if last := batch[size-1].(*proposal); last.after != 0 {
					measuring = last
				}
			}
			b.measured(measuring.after)
		}
	}
	for _, batches := range [][]int{{1}, {20, 20, 10}, {1}, {50}} {
		rounds(batches...)
		want := 0
		for _, size := range batches {
			want += size
		}
		if usual := int(b.usual.Load()) / 16; usual < want*9/10 || usual > want {
			t.Errorf("batches of %v: %d proposals are usual, want %d", batches, usual, want)
		}
	}
}

// A caller who proposes one after the other is found out to be alone.
func TestOneCallerIsUsuallyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := crowded(t, 100, func(cfg *Config) { cfg.MaxBatchDelay = -1 })
		for range 60 {
			together(g, 1)
		}
		if usual := g.batching.usual.Load() / 16; usual != 1 {
			t.Errorf("%d proposals are usual, want 1", usual)
		}
	})
}

// A proposal that waits may be taken back, and is certainly not applied then.
func TestProposalThatWaitsIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := crowded(t, 10, nil)
		before, _ := g.ReadStale(context.Background(), nil)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := g.Propose(ctx, []byte("taken back")); !errors.Is(err, ErrNotProposed) {
			t.Fatalf("error %v, want ErrNotProposed", err)
		}
		time.Sleep(time.Second)
		if after, _ := g.ReadStale(context.Background(), nil); after != before {
			t.Errorf("state is %v, was %v", after, before)
		}
		if pending := g.pendingBytes.Load(); pending != 0 {
			t.Errorf("%d bytes are pending", pending)
		}
	})
}

// Proposals that wait are answered when the group stops or is closed.
func TestProposalsThatWaitAreAnsweredAtTheEnd(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		end  func(*Group)
		want error
	}{
		"closed":  {func(g *Group) { g.Close() }, ErrClosed},
		"stopped": {func(g *Group) { g.Fail(broken) }, broken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := crowded(t, 10, func(cfg *Config) { cfg.MaxBatchDelay = time.Hour })
				answered := make(chan error)
				propose := func() {
					_, err := g.Propose(context.Background(), []byte("late"))
					answered <- err
				}
				go propose()
				go propose()
				synctest.Wait()
				began := time.Now()
				test.end(g)
				for range 2 {
					if err := <-answered; !errors.Is(err, test.want) {
						t.Errorf("error %v, want %v", err, test.want)
					}
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("the answers took %v", took)
				}
			})
		})
	}
}

// A follower's proposals wait before they are forwarded.
func TestForwardedProposalsWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader, follower := forwarding3(t)
		defer c.stopAll()
		c.propose("first", leader)
		g := c.groups[follower]
		for count, want := range map[int]time.Duration{2: 5 * time.Millisecond, 3: 0} {
			crowd(g, 3)
			for _, took := range together(g, count) {
				if took != want {
					t.Errorf("%d proposals took %v, want %v", count, took, want)
				}
			}
		}
	})
}

// A proposal measures once: it is used again for another.
func TestProposalMeasuresOnce(t *testing.T) {
	p := &proposal{group: &Group{}, done: make(chan struct{}, 1), after: 1}
	p.Done(replica.Applied, rsm.Result{})
	if p.after != 0 {
		t.Errorf("it would measure again from %d", p.after)
	}
}
