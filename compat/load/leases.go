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

var errNoLeader = rpctypes.ErrNoLeader

// A tenure is a lease's life as its holder knows it.
type tenure struct {
	key string
	ttl time.Duration
	// renewed is when the last renewal that was answered was asked for: until a
	// time to live after it the lease must live.
	renewed time.Time
	// abandoned is when the holder was sure to renew no more.
	abandoned time.Time
}

// leases grants leases, keeps each alive for a while and abandons it.
type leases struct {
	prefix string
	mu     sync.Mutex
	ended  []tenure
	ids    int
}

func (l *leases) key() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids++
	return fmt.Sprintf("%slease/%d", l.prefix, l.ids)
}

func (l *leases) hold(ctx context.Context, c *clientv3.Client, rng *rand.Rand) {
	for ctx.Err() == nil {
		if err := l.one(ctx, c, time.Duration(2+rng.IntN(3))*time.Second, rng.IntN(6)); err != nil && ctx.Err() == nil {
			select { // the cluster has no leader now
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

func (l *leases) one(ctx context.Context, c *clientv3.Client, ttl time.Duration, renewals int) error {
	t := tenure{key: l.key(), ttl: ttl, renewed: time.Now()}
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	granted, err := c.Grant(short, int64(ttl/time.Second))
	cancel()
	if err != nil {
		return err
	}
	defer func() {
		t.abandoned = time.Now()
		l.mu.Lock()
		l.ended = append(l.ended, t)
		l.mu.Unlock()
	}()
	short, cancel = context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if _, err := c.Put(short, t.key, "held", clientv3.WithLease(granted.ID)); err != nil {
		return err // perhaps it is there, perhaps not: judged only if it was
	}
	for range renewals {
		select {
		case <-time.After(ttl / 3):
		case <-ctx.Done():
			return nil
		}
		asked := time.Now()
		one, cancel := context.WithTimeout(ctx, ttl)
		resp, err := c.KeepAliveOnce(one, granted.ID)
		cancel()
		switch {
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			return nil
		case err != nil:
			return err // it may have been renewed, which its holder does not count on
		}
		if resp.TTL != int64(ttl/time.Second) {
			return fmt.Errorf("renewed for %d s, granted for %v", resp.TTL, ttl)
		}
		t.renewed = asked
	}
	return nil
}

// judgeLeases: none ended before its holder's last answered renewal ran out; none
// lived longer than allowed after its end was due. An end that is due while nobody
// can write is due when somebody can. While no process runs no time passes that
// anybody could know of.
func judgeLeases(tenures []tenure, log []seen, disturbed []interval, late time.Duration) (judged int, worst time.Duration, err error) {
	deleted := make(map[string]time.Time)
	put := make(map[string]bool)
	for _, ev := range log {
		if ev.Type == mvccpb.Event_DELETE {
			deleted[string(ev.Kv.Key)] = ev.at
		} else {
			put[string(ev.Kv.Key)] = true
		}
	}
	var wrong []error
	for _, t := range tenures {
		if !put[t.key] {
			continue
		}
		judged++
		end, gone := deleted[t.key]
		if gone && end.Before(t.renewed.Add(t.ttl)) {
			wrong = append(wrong, fmt.Errorf("the lease of %s ended %v before its %v were over", t.key, t.renewed.Add(t.ttl).Sub(end), t.ttl))
		}
		due := t.abandoned.Add(t.ttl)
		var met []string
		for _, d := range disturbed {
			if d.to.Before(t.renewed) || d.from.After(due.Add(late)) {
				continue
			}
			met = append(met, d.what)
			switch {
			case d.all && d.from.Before(due):
				due = due.Add(d.to.Sub(d.from))
			case !d.from.After(due.Add(late)) && d.to.After(due):
				due = d.to
			}
		}
		over := end.Sub(due)
		switch {
		case !gone:
			wrong = append(wrong, fmt.Errorf("the lease of %s, due %v ago, has not ended; met %q", t.key, time.Since(due), met))
		case over > late:
			wrong = append(wrong, fmt.Errorf("the lease of %s for %v ended %v late; met %q", t.key, t.ttl, over, met))
		default:
			worst = max(worst, over)
		}
	}
	return judged, worst, errors.Join(wrong...)
}

// An interval is a time from a fault until writes succeed.
type interval struct {
	from, to time.Time
	what     string
	all      bool // no process ran for a part of it
}
