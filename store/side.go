package store

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// A side is what a store keeps in memory as well as in the engine: little, and
// asked for often. Only the applying goroutine changes it; it alone may read
// without the lock.
type side struct {
	mu      sync.RWMutex
	leases  map[int64]*lease
	alarms  map[Alarm]struct{}
	members map[uint64]Member
	// How many alarms of each type are raised.
	noSpace, corrupt int
}

func (s *side) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases = make(map[int64]*lease)
	s.alarms = make(map[Alarm]struct{})
	s.members = make(map[uint64]Member)
	s.noSpace, s.corrupt = 0, 0
}

// setAlarm reports whether that changed anything.
func (s *side) setAlarm(a Alarm, raised bool) bool {
	if _, was := s.alarms[a]; was == raised {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if raised {
		s.raise(a)
		return true
	}
	delete(s.alarms, a)
	s.count(a.Type, -1)
	return true
}

// raise is for who holds the lock.
func (s *side) raise(a Alarm) {
	s.alarms[a] = struct{}{}
	s.count(a.Type, 1)
}

func (s *side) count(of AlarmType, step int) {
	switch of {
	case AlarmNoSpace:
		s.noSpace += step
	case AlarmCorrupt:
		s.corrupt += step
	}
}

// listAlarms gives those of a type, or all for AlarmNone, in order.
func (s *side) listAlarms(of AlarmType) []Alarm {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Alarm
	for a := range s.alarms {
		if of == AlarmNone || a.Type == of {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b Alarm) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Member, b.Member))
	})
	return list
}

func (s *side) setMember(m Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[m.ID] = m
}

func (s *side) listMembers() []Member {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.members), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
}
