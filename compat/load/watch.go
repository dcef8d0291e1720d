package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A Seen is an event and when a watch told of it.
type Seen struct {
	*mvccpb.Event
	At time.Time
}

// A View is what one watch of everything told.
type View struct {
	Name   string
	Events []Seen
	// Faults are what it told wrongly, as far as that shows at once.
	Faults []error
	// Bookmarks counts the revisions that were announced, Resumed how often the
	// stream ended and was taken up again.
	Bookmarks, Resumed int
}

// everything is the range of all keys.
var everything = []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithPrevKV(), clientv3.WithProgressNotify()}

// Watchers watch everything through several clients, from one revision on.
type Watchers struct {
	from int64

	mu    sync.Mutex
	last  int64 // known at the end
	views []*View
	told  []int64 // up to where each is
	wg    sync.WaitGroup
}

// Watch begins to watch everything after a revision, each client by itself.
func Watch(ctx context.Context, after int64, names []string, dial Dialer) *Watchers {
	w := &Watchers{from: after + 1, told: make([]int64, len(names))}
	for i, name := range names {
		v := &View{Name: name}
		w.views = append(w.views, v)
		w.told[i] = after
		client := dial(i)
		w.wg.Go(func() { w.watch(ctx, i, v, client) })
	}
	return w
}

// Told is the revision up to which every watcher was told of everything.
func (w *Watchers) Told() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	least := w.told[0]
	for _, t := range w.told {
		least = min(least, t)
	}
	return least
}

// Finish waits until every watcher was told of a revision, or ctx ends.
func (w *Watchers) Finish(last int64) []*View {
	w.mu.Lock()
	w.last = last
	w.mu.Unlock()
	w.wg.Wait()
	return w.views
}

func (w *Watchers) finished(told int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last != 0 && told >= w.last
}

// watch follows one stream after another, each from where the one before ended.
func (w *Watchers) watch(ctx context.Context, place int, v *View, c *clientv3.Client) {
	told := w.from - 1
	fault := func(format string, args ...any) {
		if len(v.Faults) < 10 {
			v.Faults = append(v.Faults, fmt.Errorf(format, args...))
		}
	}
	for {
		stream, end := context.WithCancel(ctx)
		events := c.Watch(clientv3.WithRequireLeader(stream), "\x00", append([]clientv3.OpOption{clientv3.WithRev(told + 1)}, everything...)...)
		ask := time.NewTicker(500 * time.Millisecond)
		for open := true; open; {
			select {
			case resp, ok := <-events:
				if !ok || errors.Is(resp.Err(), rpctypes.ErrNoLeader) {
					// Without a leader a stream ends, as the client asked.
					open = false
					v.Resumed++
					break
				}
				if err := resp.Err(); err != nil {
					fault("the stream ended after revision %d: %w", told, err)
					end()
					return
				}
				at := time.Now()
				for i, ev := range resp.Events {
					// A revision that was begun is told whole.
					if i == 0 && ev.Kv.ModRevision <= told {
						fault("revision %d is told of after %d: again, or in two parts", ev.Kv.ModRevision, told)
					}
					v.Events = append(v.Events, Seen{ev, at})
				}
				if n := len(resp.Events); n > 0 {
					told = resp.Events[n-1].Kv.ModRevision
				}
				if resp.IsProgressNotify() {
					v.Bookmarks++
					// Every revision has an event, and all are watched.
					if resp.Header.Revision > told {
						fault("revision %d is announced as told, the last event was of %d", resp.Header.Revision, told)
					}
				}
				w.mu.Lock()
				w.told[place] = told
				w.mu.Unlock()
			case <-ask.C:
				if w.finished(told) {
					end()
					return
				}
				_ = c.RequestProgress(clientv3.WithRequireLeader(stream))
			case <-ctx.Done():
				fault("told up to revision %d when the time was over: %w", told, ctx.Err())
				end()
				return
			}
		}
		ask.Stop()
		end()
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// A Part is what a watch of a part of the keys, from a revision of the past or the
// present on, told until it was given up.
type Part struct {
	Key, End        string
	NoPut, NoDelete bool
	// First is the revision asked for, and Last that up to which it was told.
	First, Last int64
	Events      []*mvccpb.Event
	Faults      []error
}

// Seekers start watches of parts again and again until ctx ends.
type Seekers struct {
	prefix string
	mu     sync.Mutex
	parts  []*Part
	wg     sync.WaitGroup
}

// Seek starts seekers; the range of revisions to begin with is asked of limits.
func Seek(ctx context.Context, prefix string, count int, seed uint64, dial Dialer, limits func() (oldest, newest int64)) *Seekers {
	s := &Seekers{prefix: prefix}
	for i := range count {
		client, rng := dial(i), rand.New(rand.NewPCG(seed, 5000+uint64(i)))
		s.wg.Go(func() {
			for ctx.Err() == nil {
				oldest, newest := limits()
				p := s.draw(rng, oldest, newest)
				s.seek(ctx, client, p, time.Duration(500+rng.IntN(4000))*time.Millisecond)
				s.mu.Lock()
				s.parts = append(s.parts, p)
				s.mu.Unlock()
			}
		})
	}
	return s
}

// Wait gives what the seekers were told.
func (s *Seekers) Wait() []*Part {
	s.wg.Wait()
	return s.parts
}

func (s *Seekers) draw(rng *rand.Rand, oldest, newest int64) *Part {
	kinds := []string{"register/", "pair/", "set/", "list/", "lock", "lease/"}
	p := &Part{Key: s.prefix + kinds[rng.IntN(len(kinds))]}
	switch rng.IntN(3) {
	case 0: // one key
		p.Key += text(rng.Uint64N(registers))
	default:
		p.End = clientv3.GetPrefixRangeEnd(p.Key)
	}
	p.NoPut = rng.IntN(6) == 0
	p.NoDelete = !p.NoPut && rng.IntN(6) == 0
	p.First = newest + 1
	if oldest < newest && rng.IntN(3) > 0 {
		p.First = oldest + rng.Int64N(newest-oldest)
	}
	return p
}

// seek watches for a while.
func (s *Seekers) seek(ctx context.Context, c *clientv3.Client, p *Part, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	opts := []clientv3.OpOption{clientv3.WithRev(p.First), clientv3.WithPrevKV(), clientv3.WithProgressNotify()}
	if p.End != "" {
		opts = append(opts, clientv3.WithRange(p.End))
	}
	if p.NoPut {
		opts = append(opts, clientv3.WithFilterPut())
	}
	if p.NoDelete {
		opts = append(opts, clientv3.WithFilterDelete())
	}
	p.Last = p.First - 1
	ask := time.NewTicker(200 * time.Millisecond)
	defer ask.Stop()
	events := c.Watch(ctx, p.Key, opts...)
	for {
		select {
		case resp, ok := <-events:
			if !ok || resp.CompactRevision != 0 {
				return // what was told so far is judged
			}
			if resp.Err() != nil {
				return
			}
			for i, ev := range resp.Events {
				if i == 0 && ev.Kv.ModRevision <= p.Last {
					p.Faults = append(p.Faults, fmt.Errorf("revision %d is told of after %d", ev.Kv.ModRevision, p.Last))
				}
				p.Events = append(p.Events, ev)
			}
			if n := len(resp.Events); n > 0 {
				p.Last = max(p.Last, resp.Events[n-1].Kv.ModRevision)
			}
			if resp.IsProgressNotify() {
				p.Last = max(p.Last, resp.Header.Revision)
			}
		case <-ask.C:
			_ = c.RequestProgress(ctx)
		case <-ctx.Done():
			return
		}
	}
}
