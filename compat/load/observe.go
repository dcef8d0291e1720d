package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// A Reign is a time in which a member said that it leads.
type Reign struct {
	Member   string
	Term     uint64
	From, To time.Time
}

// Observer asks each member again and again who leads.
type Observer struct {
	mu     sync.Mutex
	leads  map[uint64]string // by term, for ever
	faults []error
	reigns []Reign
	wg     sync.WaitGroup
}

// observeInterval is how often each member is asked.
const observeInterval = 100 * time.Millisecond

// Observe asks until ctx ends. Each client is of one member alone.
func Observe(ctx context.Context, nodes []*cluster.Node, dial Dialer) *Observer {
	o := &Observer{leads: make(map[uint64]string)}
	for i, n := range nodes {
		c := dial(i)
		o.wg.Go(func() { o.follow(ctx, n, c) })
	}
	return o
}

func (o *Observer) follow(ctx context.Context, n *cluster.Node, c *clientv3.Client) {
	tick := time.NewTicker(observeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !n.Running() {
			continue
		}
		asked := time.Now()
		one, cancel := context.WithTimeout(ctx, time.Second)
		st, err := c.Status(one, n.ClientURL)
		cancel()
		if err == nil && st.Leader != 0 && st.Leader == st.Header.MemberId {
			o.saw(n.Name, st.RaftTerm, asked, time.Now())
		}
	}
}

func (o *Observer) saw(member string, term uint64, asked, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if was := o.leads[term]; was != "" && was != member {
		o.faults = append(o.faults, fmt.Errorf("%s and %s both lead in term %d", was, member, term))
	}
	o.leads[term] = member
	for i := range o.reigns {
		if r := &o.reigns[i]; r.Member == member && r.Term == term {
			r.To = now
			return
		}
	}
	o.reigns = append(o.reigns, Reign{member, term, asked, now})
}

// Take gives the reigns that ended after a time, and what was wrong since the
// last call.
func (o *Observer) Take(since time.Time) ([]Reign, []error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var recent []Reign
	for _, r := range o.reigns {
		if r.To.After(since) {
			recent = append(recent, r)
		}
	}
	o.reigns = append([]Reign(nil), recent...)
	faults := o.faults
	o.faults = nil
	return recent, faults
}

// Wait waits until the observer has stopped.
func (o *Observer) Wait() { o.wg.Wait() }

// Equal holds the replicas' hashes of one revision against each other, with each
// member asked through a client of its own.
func Equal(ctx context.Context, nodes []*cluster.Node, revision int64, dial Dialer) error {
	first, what := "", ""
	for i, n := range nodes {
		c := dial(i)
		// A linearizable read has the member catch up.
		if _, err := c.Get(ctx, "caught up?"); err != nil {
			return fmt.Errorf("%s does not catch up: %w", n.Name, err)
		}
		h, err := c.HashKV(ctx, n.ClientURL, revision)
		if err != nil {
			return fmt.Errorf("%s gives no hash of revision %d: %w", n.Name, revision, err)
		}
		is := fmt.Sprintf("hash %d of revision %d, compacted %d", h.Hash, h.HashRevision, h.CompactRevision)
		switch {
		case what == "":
			first, what = n.Name, is
		case is != what:
			return fmt.Errorf("the replicas differ: %s has %s, %s has %s", first, what, n.Name, is)
		}
	}
	return nil
}

// Leader is the member that said last that it leads.
func (o *Observer) Leader() (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, term := "", uint64(0)
	for _, r := range o.reigns {
		if r.Term > term {
			name, term = r.Member, r.Term
		}
	}
	return name, name != ""
}
