package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A Tenure is a lease's life as its holder knows it.
type Tenure struct {
	Key string
	TTL time.Duration
	// Renewed is when the last renewal that was answered was asked for: until a
	// time to live after it the lease must live.
	Renewed time.Time
	// Abandoned is when the holder was sure to renew no more.
	Abandoned time.Time
	// Wrong is an answer that a holder must not get.
	Wrong error
}

// Leases are granted, kept alive for a while and abandoned.
type Leases struct {
	prefix   string
	recorder *Recorder

	mu    sync.Mutex
	ended []Tenure
	ids   int
}

// Tenures are the leases that were abandoned.
func (l *Leases) Tenures() []Tenure {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended[:len(l.ended):len(l.ended)]
}

func (l *Leases) key() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids++
	return fmt.Sprintf("%slease/%d", l.prefix, l.ids)
}

// LongestTTL is the longest time to live that is asked for.
const LongestTTL = 4 * time.Second

func (l *Leases) hold(ctx context.Context, c *clientv3.Client, rng *rand.Rand) {
	for ctx.Err() == nil {
		ttl := LongestTTL - time.Duration(rng.IntN(3))*time.Second
		renewals := rng.IntN(6)
		if err := l.one(ctx, c, ttl, renewals, rng.IntN(2) == 0); err != nil && ctx.Err() == nil {
			select { // the cluster has no leader now
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

func (l *Leases) one(ctx context.Context, c *clientv3.Client, ttl time.Duration, renewals int, streamed bool) error {
	t := Tenure{Key: l.key(), TTL: ttl, Renewed: time.Now()}
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	granted, err := c.Grant(short, int64(ttl/time.Second))
	cancel()
	if err != nil {
		return err
	}
	defer func() {
		t.Abandoned = time.Now()
		l.mu.Lock()
		l.ended = append(l.ended, t)
		l.mu.Unlock()
	}()
	short, cancel = context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	o := Op{Kind: "write with a lease", Client: -1, Writes: []Write{{Key: t.Key, Value: "held"}}}
	if err := l.recorder.do(o, func(o *Op) error {
		resp, err := c.Put(short, t.Key, "held", clientv3.WithLease(granted.ID))
		if err == nil {
			o.Revision = resp.Header.Revision
		}
		return err
	}); err != nil {
		return err // perhaps it is there, perhaps not: judged only if it was
	}
	renew := func(ctx context.Context) (int64, error) {
		resp, err := c.KeepAliveOnce(ctx, granted.ID)
		if err != nil {
			return 0, err
		}
		return resp.TTL, nil
	}
	if streamed {
		streaming, cancel := context.WithCancel(ctx)
		defer cancel()
		if renew, err = stream(streaming, c, granted.ID); err != nil {
			return err
		}
	}
	for range renewals {
		select {
		case <-time.After(ttl / 3):
		case <-ctx.Done():
			return nil
		}
		asked := time.Now()
		one, cancel := context.WithTimeout(ctx, ttl)
		left, err := renew(one)
		cancel()
		switch {
		case errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && left <= 0:
			// Its end is judged by the log; told too early, it is a lie also here.
			if now := time.Now(); now.Before(t.Renewed.Add(ttl)) {
				t.Wrong = fmt.Errorf("its holder was told of its end %v after a renewal", now.Sub(t.Renewed))
			}
			return nil
		case err != nil:
			return err // it may have been renewed, which its holder does not count on
		case left != int64(ttl/time.Second):
			t.Wrong = fmt.Errorf("it was renewed for %d s", left)
		}
		t.Renewed = asked
	}
	return nil
}

// stream renews through one stream, as most holders do. It is the raw stream: the
// client's own does not say to which request an answer belongs.
func stream(ctx context.Context, c *clientv3.Client, id clientv3.LeaseID) (func(context.Context) (int64, error), error) {
	s, err := clientv3.RetryLeaseClient(c).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	type answer struct {
		ttl int64
		err error
	}
	return func(ctx context.Context) (int64, error) {
		if err := s.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
			return 0, err
		}
		answers := make(chan answer, 1)
		go func() {
			resp, err := s.Recv()
			answers <- answer{resp.GetTTL(), err}
		}()
		select {
		case a := <-answers:
			return a.ttl, a.err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}, nil
}
