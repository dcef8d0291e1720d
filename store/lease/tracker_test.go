package lease

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/store"
)

var start = time.Unix(1000, 0)

func TestNotLeading(t *testing.T) {
	x := New(time.Second, time.Second)
	x.Granted(start, 1, 5)
	if _, err := x.KeepAlive(start, 1); !errors.Is(err, ErrNotLeading) {
		t.Errorf("got %v, want ErrNotLeading", err)
	}
	if _, _, err := x.Remaining(start, 1); !errors.Is(err, ErrNotLeading) {
		t.Errorf("got %v, want ErrNotLeading", err)
	}
	if ids := x.Expired(start.Add(time.Hour), 10); ids != nil {
		t.Errorf("got %v expired", ids)
	}
	if req := x.Renewals(); req != nil {
		t.Errorf("got %+v to log", req)
	}
}

// TestTwin holds the tracker against a list that is gone through.
func TestTwin(t *testing.T) {
	const period, retry = 300 * time.Millisecond, 2 * time.Second
	type entry struct {
		ttl               time.Duration
		deadline, wake    time.Time
		expired, unlogged bool
	}
	rng := rand.New(rand.NewPCG(3, 4))
	now, x := start, New(period, retry)
	x.Promote(now, nil)
	all, lookups := map[int64]*entry{}, map[error]int{}
	for range 50000 {
		now = now.Add(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
		id := rng.Int64N(30)
		e := all[id]
		switch n := rng.IntN(100); {
		case n < 20:
			x.Granted(now, id, 1+id%7)
			if ttl := time.Duration(1+id%7) * time.Second; e == nil {
				all[id] = &entry{ttl: ttl, deadline: now.Add(ttl), wake: now.Add(ttl)}
			}
		case n < 25:
			x.Revoked(id)
			delete(all, id)
		case n < 70:
			var want error
			switch {
			case e == nil:
				want = ErrNotFound
			case e.expired || !now.Before(e.deadline):
				want = ErrExpired
			default:
				e.deadline, e.unlogged = now.Add(e.ttl), true
				e.wake = e.deadline
			}
			ttl, err := x.KeepAlive(now, id)
			if !errors.Is(err, want) || err == nil && ttl != 1+id%7 {
				t.Fatalf("lease %d: got %d, %v, want %v", id, ttl, err, want)
			}
			lookups[want]++
		case n < 75:
			var want []int64
			for id, e := range all {
				if e.unlogged {
					want = append(want, id)
					e.unlogged = false
				}
			}
			req := x.Renewals()
			if (req == nil) != (len(all) == 0) {
				t.Fatalf("got %+v to log of %d leases", req, len(all))
			}
			if req != nil {
				slices.Sort(req.IDs)
				slices.Sort(want)
				if !slices.Equal(req.IDs, want) {
					t.Fatalf("got %v to log, want %v", req.IDs, want)
				}
			}
		case n < 76:
			// Another leader, whose clock is another; the log knows a part of what
			// is left.
			var infos []store.LeaseInfo
			now = start.Add(time.Duration(rng.Int64N(int64(time.Hour))))
			for id, e := range all {
				left := time.Duration(rng.Int64N(int64(e.ttl)+int64(time.Second))) - time.Second
				infos = append(infos, store.LeaseInfo{ID: id, TTL: int64(e.ttl / time.Second), Remaining: int64(left)})
				e.deadline = now.Add(max(left, 0) + period)
				e.wake, e.expired, e.unlogged = e.deadline, false, false
			}
			x.Demote()
			x.Promote(now, infos)
		default:
			ids := x.Expired(now, 1+rng.IntN(4))
			for i, id := range ids {
				e := all[id]
				if e == nil || e.wake.After(now) || i > 0 && e.wake.Before(all[ids[i-1]].wake) && !all[ids[i-1]].expired {
					t.Fatalf("lease %d is named at %v: %+v", id, now, e)
				}
			}
			for _, id := range ids {
				all[id].expired, all[id].wake = true, now.Add(retry)
			}
			lookups[nil] += len(ids)
		}
		first, ok := x.Next()
		if ok != (len(all) > 0) {
			t.Fatalf("a next deadline: %v, of %d leases", ok, len(all))
		}
		for id, e := range all {
			if e.wake.Before(first) {
				t.Fatalf("the next deadline is %v, but lease %d has %v", first, id, e.wake)
			}
			left, ttl, err := x.Remaining(now, id)
			if err != nil || ttl != e.ttl || left != max(e.deadline.Sub(now), 0) {
				t.Fatalf("lease %d: %v of %v left, %v, want %v of %v", id, left, ttl, err, e.deadline.Sub(now), e.ttl)
			}
		}
	}
	for _, err := range []error{nil, ErrNotFound, ErrExpired} {
		if lookups[err] == 0 {
			t.Errorf("never met: %v", err)
		}
	}
}
