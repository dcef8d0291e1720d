// Package lease keeps the deadlines of leases on the node that leads.
//
// It decides which leases are over, and which renewals are still to be logged. It
// ends no lease: it names those that whoever leads is to propose the revocation
// of, and the log decides. It reads no clock: the time comes with each call, from
// one monotonic clock.
//
// # How nothing expires early, and little expires late
//
// A renewal is promised to a client only after it was logged: [Tracker.KeepAlive]
// notes it, [Tracker.Renewals] hands out all that were noted, every period P, as
// one command, and the client is answered when that was applied. So no renewal
// that a client knows of is unknown to a later leader, and a thousand of them cost
// one log entry. The command goes out every P even if nothing was renewed, as
// long as there are leases: it carries the log's clock on, so a new leader knows
// what is left of each lease but for the time since the last one. It gives each
// that, and P on top for what two clocks may differ in: at most the time without
// a leader and 2P late. Who promotes it may know by its own clock how long that was,
// and take it from the leases: then they are about 2P late at most.
package lease

import (
	"container/heap"
	"errors"
	"sync"
	"time"

	"github.com/quorate/quorate/store"
)

// The refusals.
var (
	// ErrNotLeading: the tracker was not promoted, or was demoted. Ask the leader.
	ErrNotLeading = errors.New("lease: not leading")
	// ErrNotFound: there is no such lease.
	ErrNotFound = errors.New("lease: not found")
	// ErrExpired: the lease is over, and its revocation under way. Wait until it
	// is gone or somebody else leads; only then is it clear what became of it.
	ErrExpired = errors.New("lease: expired")
)

// Tracker is the deadlines. All methods may be called from any goroutine.
type Tracker struct {
	period time.Duration
	retry  time.Duration

	mu      sync.Mutex
	leading bool
	leases  map[int64]*tracked
	queue   queue
	// renewed are to be logged.
	renewed []int64
}

type tracked struct {
	id       int64
	ttl      time.Duration
	deadline time.Time
	// wake is when to look at it: at its deadline, or when its revocation is to be
	// proposed again.
	wake     time.Time
	place    int
	expired  bool
	renewing bool // it is in renewed
}

// New gives a tracker that does not lead. Period is P, the time between two
// commands of Renewals; retry the time after which an expired lease that is still
// there is named again.
func New(period, retry time.Duration) *Tracker {
	return &Tracker{period: period, retry: retry}
}

// Promote begins to lead, with the leases as the store has them once all entries
// of earlier terms are applied.
func (t *Tracker) Promote(now time.Time, leases []store.LeaseInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leading, t.renewed = true, nil
	t.leases = make(map[int64]*tracked, len(leases))
	t.queue = make(queue, 0, len(leases))
	for _, l := range leases {
		left := max(time.Duration(l.Remaining), 0)
		t.add(l.ID, seconds(l.TTL), now.Add(left).Add(t.period))
	}
}

// Demote ends leading: nothing expires here any more.
func (t *Tracker) Demote() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leading, t.leases, t.queue, t.renewed = false, nil, nil, nil
}

// Leading reports whether the tracker was promoted and not demoted since.
func (t *Tracker) Leading() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leading
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

func (t *Tracker) add(id int64, ttl time.Duration, deadline time.Time) {
	l := &tracked{id: id, ttl: ttl, deadline: deadline, wake: deadline}
	t.leases[id] = l
	heap.Push(&t.queue, l)
}

// Granted is called when a grant is applied. TTL is in seconds.
func (t *Tracker) Granted(now time.Time, id, ttl int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.leading {
		return
	}
	if t.leases[id] == nil {
		t.add(id, seconds(ttl), now.Add(seconds(ttl)))
	}
}

// Revoked is called when a revocation is applied.
func (t *Tracker) Revoked(id int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.leases[id]; l != nil {
		heap.Remove(&t.queue, l.place)
		delete(t.leases, id)
	}
}

// KeepAlive notes a renewal and gives the whole time to live, in seconds, that
// the client may be told of once the next command of Renewals is applied.
func (t *Tracker) KeepAlive(now time.Time, id int64) (ttl int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.leases[id]
	switch {
	case !t.leading:
		return 0, ErrNotLeading
	case l == nil:
		return 0, ErrNotFound
	case l.expired || !now.Before(l.deadline):
		return 0, ErrExpired
	}
	l.deadline = now.Add(l.ttl)
	l.wake = l.deadline
	heap.Fix(&t.queue, l.place)
	if !l.renewing {
		l.renewing = true
		t.renewed = append(t.renewed, id)
	}
	return int64(l.ttl / time.Second), nil
}

// Renewals gives the command that is to be proposed every period, or nil if there
// is nothing to log. Renewals of a command that was not applied are lost with
// this node's leading; their clients are not answered.
func (t *Tracker) Renewals() *store.LeaseRenewRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.leases) == 0 {
		t.renewed = nil
		return nil
	}
	req := &store.LeaseRenewRequest{}
	for _, id := range t.renewed {
		if l := t.leases[id]; l != nil && l.renewing {
			l.renewing = false
			req.IDs = append(req.IDs, id)
		}
	}
	t.renewed = nil
	return req
}

// Expired gives leases that are over, no more than most, the one that is over
// longest first, to have their revocation proposed. Each comes again after the
// time for a retry unless it is Revoked.
func (t *Tracker) Expired(now time.Time, most int) []int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []int64
	for len(ids) < most && len(t.queue) > 0 && !now.Before(t.queue[0].wake) {
		l := t.queue[0]
		ids = append(ids, l.id)
		l.expired, l.wake = true, now.Add(t.retry)
		heap.Fix(&t.queue, 0)
	}
	return ids
}

// Next gives the time at which Expired will have something, if it ever will.
func (t *Tracker) Next() (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return time.Time{}, false
	}
	return t.queue[0].wake, true
}

// Remaining gives what is left of a lease, 0 if it is over, and the whole of it.
func (t *Tracker) Remaining(now time.Time, id int64) (left, ttl time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.leases[id]
	switch {
	case !t.leading:
		return 0, 0, ErrNotLeading
	case l == nil:
		return 0, 0, ErrNotFound
	}
	return max(l.deadline.Sub(now), 0), l.ttl, nil
}

// queue is a heap of leases by wake.
type queue []*tracked

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].wake.Equal(q[j].wake) {
		return q[i].id < q[j].id
	}
	return q[i].wake.Before(q[j].wake)
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *queue) Push(x any) {
	l := x.(*tracked)
	l.place = len(*q)
	*q = append(*q, l)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	l := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return l
}
