package load

import (
	"context"
	"sync"
	"time"
)

// A Call is one request of a client that sets no deadline.
type Call struct {
	From, To time.Time
	Err      error
}

// Stallers are clients that set no deadline and note how long each request takes.
type Stallers struct {
	mu    sync.Mutex
	calls [][]Call
	wg    sync.WaitGroup
}

// Stall has so many clients write and read by turns, without a deadline, until ctx
// ends.
func Stall(ctx context.Context, prefix string, count int, dial Dialer) *Stallers {
	s := &Stallers{calls: make([][]Call, count)}
	for i := range count {
		c, key := dial(i), prefix+text(uint64(i))
		s.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				call := Call{From: time.Now()}
				if n%2 == 0 {
					_, call.Err = c.Put(ctx, key, text(uint64(n)))
				} else {
					_, call.Err = c.Get(ctx, key)
				}
				call.To = time.Now()
				s.mu.Lock()
				s.calls[i] = append(s.calls[i], call)
				s.mu.Unlock()
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	return s
}

// Wait waits until the clients have stopped.
func (s *Stallers) Wait() { s.wg.Wait() }

// Resumed gives the first time at which a write or read that was asked for after a
// moment was answered well, for any client.
func (s *Stallers) Resumed(after time.Time) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first time.Time
	for _, calls := range s.calls {
		for _, c := range calls {
			if c.From.After(after) && c.Err == nil && (first.IsZero() || c.To.Before(first)) {
				first = c.To
			}
		}
	}
	return first, !first.IsZero()
}

// Longest gives how long, around a stretch of time, the longest request took, and
// the longest time in which a client had no success, over all clients.
func (s *Stallers) Longest(from, to time.Time) (call, without time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, calls := range s.calls {
		var good time.Time
		for _, c := range calls {
			if c.To.Before(from) || c.From.After(to) {
				if c.Err == nil {
					good = c.To
				}
				if !c.From.After(to) {
					continue
				}
			}
			if !c.From.After(to) {
				call = max(call, c.To.Sub(c.From))
			}
			if c.Err == nil {
				if !good.IsZero() && good.Before(to) {
					without = max(without, c.To.Sub(good))
				}
				good = c.To
			}
		}
	}
	return call, without
}
