package twin

import (
	"cmp"
	"slices"

	"github.com/quorate/quorate/store"
)

// Apply does a command as the entry of a log, and gives its answer, or the
// *store.Error by which it is refused.
func (m *Twin) Apply(index, term uint64, timestamp int64, cmd store.Command) (store.Response, error) {
	m.tick(term, timestamp)
	if err := m.refused(cmd); err != nil {
		return nil, err
	}
	switch c := cmd.(type) {
	case *store.PutRequest:
		if err := m.checkPut(c); err != nil {
			return nil, err
		}
		x := m.begin()
		resp, err := x.put(c)
		if err != nil {
			return nil, err
		}
		x.end()
		return resp, nil
	case *store.DeleteRangeRequest:
		x := m.begin()
		resp := x.remove(c)
		x.end()
		return resp, nil
	case *store.TxnRequest:
		resp, err := m.txn(c)
		if err != nil {
			return nil, err
		}
		return resp, nil
	case *store.CompactRequest:
		return m.compact(c)
	case *store.LeaseGrantRequest:
		return m.grant(index, c)
	case *store.LeaseRevokeRequest:
		return m.revoke(c)
	case *store.LeaseCheckpointRequest:
		if c.Term != 0 && c.Term != m.term {
			return nil, store.ErrInvalid
		}
		for _, p := range c.Checkpoints {
			if l := m.Leases[p.ID]; l != nil {
				m.setDeadline(p.ID, l, min(max(p.Remaining, 0), l.TTL*1e9))
			}
		}
		return &store.LeaseRenewResponse{Revision: m.Revision}, nil
	case *store.LeaseRenewRequest:
		for _, id := range c.IDs {
			if l := m.Leases[id]; l != nil {
				m.setDeadline(id, l, l.TTL*1e9)
			}
		}
		return &store.LeaseRenewResponse{Revision: m.Revision}, nil
	case *store.AlarmRequest:
		return m.alarm(c), nil
	case *store.PublishRequest:
		m.members[c.Member.ID] = c.Member
		m.hashMember(&c.Member)
		return &store.PublishResponse{Revision: m.Revision}, nil
	case *store.CheckRequest:
		return &store.CheckResponse{Revision: m.Revision}, nil
	}
	return nil, store.ErrInvalid
}

// Raised reports whether there is an alarm of a type.
func (m *Twin) Raised(of store.AlarmType) bool {
	for a := range m.alarms {
		if a.Type == of {
			return true
		}
	}
	return false
}

func puts(ops []store.RequestOp) bool {
	for _, op := range ops {
		if op.Put != nil || op.Txn != nil && (puts(op.Txn.Success) || puts(op.Txn.Failure)) {
			return true
		}
	}
	return false
}

// refused is what may not be done while an alarm is raised.
func (m *Twin) refused(cmd store.Command) error {
	if len(m.alarms) == 0 {
		return nil
	}
	corrupt, full := m.Raised(store.AlarmCorrupt), m.Raised(store.AlarmNoSpace)
	switch c := cmd.(type) {
	case *store.PutRequest, *store.LeaseGrantRequest:
		if !corrupt && full {
			return store.ErrNoSpace
		}
	case *store.TxnRequest:
		if !corrupt && full && (puts(c.Success) || puts(c.Failure)) {
			return store.ErrNoSpace
		}
	case *store.DeleteRangeRequest, *store.CompactRequest, *store.LeaseRevokeRequest:
	default:
		return nil
	}
	if corrupt {
		return store.ErrCorrupt
	}
	return nil
}

func (m *Twin) compact(c *store.CompactRequest) (store.Response, error) {
	if c.Revision <= m.Compacted {
		return nil, store.ErrCompacted
	}
	if c.Revision > m.Revision {
		return nil, store.ErrFutureRev
	}
	m.Compacted = c.Revision
	m.effect('c', uint64(c.Revision))
	return &store.CompactResponse{Revision: m.Revision}, nil
}

func (m *Twin) grant(index uint64, c *store.LeaseGrantRequest) (store.Response, error) {
	if c.TTL > store.MaxLeaseTTL {
		return nil, store.ErrLeaseTTLTooLarge
	}
	id := c.ID
	if id != 0 && m.Leases[id] != nil {
		return nil, store.ErrLeaseExist
	}
	for n := uint64(0); id == 0 || c.ID == 0 && m.Leases[id] != nil; n++ {
		id = int64(word(word('l', index), n) >> 1)
	}
	ttl := max(c.TTL, 1)
	m.Leases[id] = &Lease{ttl, m.clock + ttl*1e9}
	m.effect('g', uint64(id), uint64(ttl))
	return &store.LeaseGrantResponse{Revision: m.Revision, ID: id, TTL: ttl}, nil
}

func (m *Twin) revoke(c *store.LeaseRevokeRequest) (store.Response, error) {
	if c.Term != 0 && c.Term != m.term {
		return nil, store.ErrInvalid
	}
	if m.Leases[c.ID] == nil {
		return nil, store.ErrLeaseNotFound
	}
	x := m.begin()
	for _, key := range m.LeaseKeys(c.ID) {
		x.remove(&store.DeleteRangeRequest{Key: key})
	}
	delete(m.Leases, c.ID)
	resp := &store.LeaseRevokeResponse{Revision: x.end()}
	m.effect('r', uint64(c.ID))
	return resp, nil
}

func (m *Twin) setDeadline(id int64, l *Lease, left int64) {
	l.Deadline = m.clock + left
	m.effect('d', uint64(id), uint64(l.Deadline))
}

// LeaseKeys gives the keys that are attached to a lease, in order.
func (m *Twin) LeaseKeys(id int64) [][]byte {
	var keys [][]byte
	for _, kv := range m.within(nil, []byte{0}, m.Revision) {
		if kv.Lease == id {
			keys = append(keys, kv.Key)
		}
	}
	return keys
}

// LeaseInfos lists the leases by their ids.
func (m *Twin) LeaseInfos() []store.LeaseInfo {
	var list []store.LeaseInfo
	for id, l := range m.Leases {
		list = append(list, store.LeaseInfo{ID: id, TTL: l.TTL, Remaining: min(l.Deadline-m.clock, l.TTL*1e9)})
	}
	slices.SortFunc(list, func(a, b store.LeaseInfo) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Alarms lists the alarms of a type, or all for store.AlarmNone.
func (m *Twin) Alarms(of store.AlarmType) []store.Alarm {
	var list []store.Alarm
	for a := range m.alarms {
		if of == store.AlarmNone || of == a.Type {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b store.Alarm) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Member, b.Member))
	})
	return list
}

// Members lists what members published, by their ids.
func (m *Twin) Members() []store.Member {
	var list []store.Member
	for _, p := range m.members {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b store.Member) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (m *Twin) alarm(c *store.AlarmRequest) *store.AlarmResponse {
	resp := &store.AlarmResponse{Revision: m.Revision}
	a := store.Alarm{Member: c.Member, Type: c.Alarm}
	switch {
	case c.Action == store.AlarmGet:
		resp.Alarms = m.Alarms(c.Alarm)
	case c.Action == store.AlarmActivate && c.Alarm != store.AlarmNone:
		if !m.alarms[a] {
			m.effect('A', a.Member, uint64(a.Type))
		}
		m.alarms[a] = true
		resp.Alarms = []store.Alarm{a}
	case c.Action == store.AlarmDeactivate && m.alarms[a]:
		delete(m.alarms, a)
		m.effect('D', a.Member, uint64(a.Type))
		resp.Alarms = []store.Alarm{a}
	}
	return resp
}
