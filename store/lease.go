package store

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// MaxLeaseTTL is the longest time to live, in seconds. It is etcd's.
const MaxLeaseTTL = 9_000_000_000

// A lease ends when somebody revokes it through the log, never by itself. What
// the log knows of its time is a deadline by the log's own clock (state.clock):
// it starts a whole TTL away, is set back there by each renewal that is logged,
// and passes while leaders are at work. A new leader takes from it what is left,
// which spares it any comparison of two machines' clocks.
type lease struct {
	id       int64
	ttl      int64 // seconds
	deadline int64 // of state.clock, in nanoseconds
	// set is the term in which the deadline was set, 0 if that was before the store
	// was opened. Not a part of the state.
	set uint64
}

func (l *lease) appendTo(dst []byte) []byte {
	return appendInt(appendInt(append(dst, recordVersion), l.ttl), l.deadline)
}

func decodeLease(id int64, b []byte) (*lease, error) {
	r := reader{b: b}
	if v := r.byte(); v != recordVersion {
		return nil, fmt.Errorf("%w: lease of version %d", ErrUnknownVersion, v)
	}
	l := &lease{id: id, ttl: r.int(), deadline: r.int()}
	if !r.done() || l.ttl < 1 || l.ttl > MaxLeaseTTL {
		return nil, fmt.Errorf("%w: lease %d", errDamaged, id)
	}
	return l, nil
}

// after gives the deadline that is a number of nanoseconds away.
func (s *state) after(d int64) int64 {
	if d > 0 && s.clock > math.MaxInt64-d {
		return math.MaxInt64
	}
	return s.clock + d
}

func (a *applier) hasLease(id int64) bool { return a.s.side.leases[id] != nil }

func (a *applier) grant(c *LeaseGrantRequest) (*LeaseGrantResponse, error) {
	if c.TTL > MaxLeaseTTL {
		return nil, ErrLeaseTTLTooLarge
	}
	id := c.ID
	if id != 0 && a.hasLease(id) {
		return nil, ErrLeaseExist
	}
	// The index is new to every replica, so its hash is an id that few have.
	for n := uint64(0); id == 0 || c.ID == 0 && a.hasLease(id); n++ {
		id = int64(hashWord(hashWord('l', a.at), n) >> 1)
	}
	l := &lease{id: id, ttl: max(c.TTL, 1), set: a.state.term}
	l.deadline = a.state.after(l.ttl * int64(time.Second))
	side := &a.s.side
	side.mu.Lock()
	side.leases[id] = l
	side.mu.Unlock()
	a.writeLease(l)
	a.hash('g', uint64(id), uint64(l.ttl))
	if a.s.leases != nil {
		a.leases = append(a.leases, *l)
	}
	return &LeaseGrantResponse{ID: id, TTL: l.ttl}, nil
}

func (a *applier) writeLease(l *lease) {
	a.scratch = appendLeaseKey(a.scratch[:0], l.id)
	a.value = l.appendTo(a.value[:0])
	a.batch.Set(a.scratch, a.value)
}

// revoke deletes the lease and, at one revision and in their order, its keys.
func (a *applier) revoke(id int64) error {
	if !a.hasLease(id) {
		return ErrLeaseNotFound
	}
	keys, err := a.s.leaseKeys(a.s.engine, id)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := a.remove(key); err != nil {
			return err
		}
	}
	if err := a.end(); err != nil {
		return err
	}
	side := &a.s.side
	side.mu.Lock()
	delete(side.leases, id)
	side.mu.Unlock()
	a.scratch = appendLeaseKey(a.scratch[:0], id)
	a.batch.Delete(a.scratch)
	a.hash('r', uint64(id))
	if a.s.leases != nil {
		a.leases = append(a.leases, lease{id: id})
	}
	return nil
}

// setDeadline passes over a lease that is gone.
func (a *applier) setDeadline(id int64, remaining func(l *lease) int64) {
	l := a.s.side.leases[id]
	if l == nil {
		return
	}
	deadline := a.state.after(remaining(l))
	a.s.side.mu.Lock()
	l.deadline, l.set = deadline, a.state.term
	a.s.side.mu.Unlock()
	a.writeLease(l)
	a.hash('d', uint64(id), uint64(deadline))
}

func (a *applier) checkpoint(c *LeaseCheckpointRequest) {
	for _, p := range c.Checkpoints {
		a.setDeadline(p.ID, func(l *lease) int64 {
			return min(max(p.Remaining, 0), l.ttl*int64(time.Second))
		})
	}
}

func (a *applier) renew(c *LeaseRenewRequest) {
	for _, id := range c.IDs {
		a.setDeadline(id, func(l *lease) int64 { return l.ttl * int64(time.Second) })
	}
}

func (l *lease) info(clock int64) LeaseInfo {
	return LeaseInfo{ID: l.id, TTL: l.ttl, Remaining: min(l.deadline-clock, l.ttl*int64(time.Second))}
}

// Lease gives a lease. Remaining is by the log's clock, which lags behind: what a
// new leader gives a lease is Remaining, and the time between two
// LeaseRenewRequests, since the last of them may not have been logged.
func (s *Store) Lease(id int64) (LeaseInfo, bool) {
	clock := s.published.Load().clock
	s.side.mu.RLock()
	defer s.side.mu.RUnlock()
	l := s.side.leases[id]
	if l == nil {
		return LeaseInfo{}, false
	}
	return l.info(clock), true
}

// LeaseSetIn reports whether a lease's deadline was last set by a command of a term,
// since the store was opened.
func (s *Store) LeaseSetIn(id int64, term uint64) bool {
	s.side.mu.RLock()
	defer s.side.mu.RUnlock()
	l := s.side.leases[id]
	return l != nil && l.set == term
}

// Leases lists the leases, the one with the least time left first.
func (s *Store) Leases() []LeaseInfo {
	clock := s.published.Load().clock
	s.side.mu.RLock()
	list := make([]LeaseInfo, 0, len(s.side.leases))
	for _, l := range s.side.leases {
		list = append(list, l.info(clock))
	}
	s.side.mu.RUnlock()
	slices.SortFunc(list, func(a, b LeaseInfo) int {
		return cmp.Or(cmp.Compare(a.Remaining, b.Remaining), cmp.Compare(a.ID, b.ID))
	})
	return list
}
