package storesim

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/store"
)

// A leaseJudge knows until when each lease was promised to its holder, and when
// it has to end.
type leaseJudge struct {
	known map[int64]*leaseState
	ids   []int64 // in the order in which they were granted
}

type leaseState struct {
	ttl time.Duration
	// promised is until when the holder may rely on it: a time to live after he
	// asked for what was answered.
	promised time.Duration
	// renewed is when the last grant or renewal was committed, ended when the end
	// was, and expired whether by expiry.
	renewed, ended time.Duration
	expired        bool
}

func (j *leaseJudge) lease(id int64) *leaseState {
	l := j.known[id]
	if l == nil {
		l = &leaseState{ended: -1}
		j.known[id] = l
	}
	return l
}

// committed hears of every command.
func (j *leaseJudge) committed(s *Service, cmd store.Command, resp store.Response, err error) {
	if err != nil {
		return
	}
	now := s.world.Now()
	switch c := cmd.(type) {
	case *store.LeaseGrantRequest:
		g := resp.(*store.LeaseGrantResponse)
		*j.lease(g.ID) = leaseState{ttl: time.Duration(g.TTL) * time.Second, renewed: now, ended: -1}
		j.ids = append(j.ids, g.ID)
	case *store.LeaseRenewRequest:
		for _, id := range c.IDs {
			if l := j.known[id]; l != nil && l.ended < 0 {
				l.renewed = now
			}
		}
	case *store.LeaseRevokeRequest:
		l := j.lease(c.ID)
		l.ended, l.expired = now, c.Term != 0
		if !l.expired {
			return
		}
		if l.promised > now {
			s.world.Seen(fmt.Errorf("lease %d ends %v before the time that was promised", c.ID, l.promised-now))
		}
		if late, judged := l.late(s, now); judged {
			s.count(countExpiredLate)
			if late > 0 {
				s.world.Seen(fmt.Errorf("lease %d ends %v later than it must, without a fault since it was due", c.ID, late))
			}
		}
	}
}

// promise hears of an answer by which a holder may rely on a lease.
func (j *leaseJudge) promise(s *Service, id int64, asked time.Duration, ttl int64) {
	l := j.lease(id)
	l.promised = max(l.promised, asked+time.Duration(ttl)*time.Second)
	if l.ended >= 0 && l.expired && l.promised > l.ended {
		s.world.Seen(fmt.Errorf("lease %d had ended %v before the time that was promised now", id, l.promised-l.ended))
	}
}

// late says by how much a lease is later than it must, and whether that can be
// said: it is due two periods of renewals after its time to live, and a leader has
// to be there to see it.
func (l *leaseState) late(s *Service, now time.Duration) (time.Duration, bool) {
	const periods = 2 * 250 * time.Millisecond
	due := max(l.renewed+l.ttl, s.calm+10*s.world.ElectionTimeout()) + periods
	return now - (due + s.world.ElectionTimeout() + time.Second), s.calm >= 0
}

// overdue names a lease that should be gone.
func (j *leaseJudge) overdue(s *Service) error {
	now := s.world.Now()
	for _, id := range j.ids {
		if l := j.known[id]; l.ended < 0 && s.twin.Leases[id] != nil {
			if late, judged := l.late(s, now); judged && late > 0 {
				return fmt.Errorf("lease %d is %v later than it must", id, late)
			}
		}
	}
	return nil
}
