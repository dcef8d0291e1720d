package nemesis

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/load"
)

// A prober writes all the time, so that it is known when nobody could.
type prober struct {
	client *clientv3.Client
	key    string

	mu   sync.Mutex
	good []time.Time // when a write was asked for that succeeded
	n    int
}

const (
	probeInterval = 50 * time.Millisecond
	probePatience = 500 * time.Millisecond
)

// write writes once, and gives the revision.
func (p *prober) write(ctx context.Context) (int64, error) {
	p.mu.Lock()
	p.n++
	value := fmt.Sprint(p.n)
	p.mu.Unlock()
	one, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	asked := time.Now()
	resp, err := p.client.Put(one, p.key, value)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.good = append(p.good, asked)
	return resp.Header.Revision, nil
}

// run writes until ctx ends, several at a time: one that hangs must not hide that
// others succeed.
func (p *prober) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			wg.Go(func() { _, _ = p.write(ctx) }) // what fails is a gap
		}
	}
}

// gaps are the times in which no write succeeded, longer than a fifth of an
// election, and the longest.
func (p *prober) gaps(from, to time.Time) (all []load.Interval, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := from
	for _, at := range append(p.good, to) {
		if d := at.Sub(last); d > 0 {
			longest = max(longest, d)
			if d > election/5 {
				// Leases are kept by whoever leads: time stands still without a leader.
				all = append(all, load.Interval{From: last, To: at, What: "no write succeeded", All: true})
			}
			last = at
		}
	}
	return all, longest
}
