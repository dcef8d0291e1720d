package store

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
)

// A model is etcd's meaning written down as simply as it can be: every change
// that ever was, in a list, and each question answered by going through it.
type model struct {
	revision  int64
	compacted int64
	changes   []modelChange
	leases    map[int64]*modelLease
	alarms    map[Alarm]bool
	members   map[uint64]Member

	clock, stamp int64
	term         uint64
}

type modelChange struct {
	revision int64
	deleted  bool
	kv       KeyValue // a deletion's has the key alone
}

type modelLease struct{ ttl, deadline int64 }

func newModel() *model {
	return &model{
		revision: 1, compacted: -1, leases: map[int64]*modelLease{},
		alarms: map[Alarm]bool{}, members: map[uint64]Member{},
	}
}

func (m *model) tick(term uint64, stamp int64) {
	if term != m.term {
		m.term, m.stamp = term, stamp
	} else if stamp > m.stamp {
		m.clock += stamp - m.stamp
		m.stamp = stamp
	}
}

// at gives the keys that exist at a revision.
func (m *model) at(revision int64) map[string]KeyValue {
	kvs := map[string]KeyValue{}
	for _, c := range m.changes {
		switch {
		case c.revision > revision:
		case c.deleted:
			delete(kvs, string(c.kv.Key))
		default:
			kvs[string(c.kv.Key)] = c.kv
		}
	}
	return kvs
}

func inRange(key string, start, end []byte) bool {
	switch {
	case len(end) == 0:
		return key == string(start)
	case string(end) == "\x00":
		return key >= string(start)
	}
	return key >= string(start) && key < string(end)
}

// within gives what exists of a range at a revision, by key.
func (m *model) within(start, end []byte, revision int64) []KeyValue {
	var kvs []KeyValue
	for key, kv := range m.at(revision) {
		if inRange(key, start, end) {
			kvs = append(kvs, kv)
		}
	}
	slices.SortFunc(kvs, func(a, b KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return kvs
}

func (m *model) ranged(q *RangeRequest, current int64) (*RangeResponse, error) {
	revision := q.Revision
	switch {
	case revision > current:
		return nil, ErrFutureRev
	case revision <= 0:
		revision = current
	case revision < m.compacted:
		return nil, ErrCompacted
	}
	all := m.within(q.Key, q.RangeEnd, revision)
	resp := &RangeResponse{Revision: current, Count: int64(len(all))}
	if q.CountOnly {
		return resp, nil
	}
	bounded := q.MinModRevision != 0 || q.MaxModRevision != 0 || q.MinCreateRevision != 0 || q.MaxCreateRevision != 0
	// What etcd's index cuts off before it filters and sorts: one more than is
	// wanted, to know of more.
	if q.Limit > 0 && !bounded && (q.SortOrder == SortNone || q.SortTarget == SortByKey && q.SortOrder == SortAscend) &&
		q.Limit < int64(len(all)) {
		all = all[:q.Limit+1]
	}
	var kvs []KeyValue
	for _, kv := range all {
		if q.MinModRevision != 0 && kv.ModRevision < q.MinModRevision || q.MaxModRevision != 0 && kv.ModRevision > q.MaxModRevision ||
			q.MinCreateRevision != 0 && kv.CreateRevision < q.MinCreateRevision || q.MaxCreateRevision != 0 && kv.CreateRevision > q.MaxCreateRevision {
			continue
		}
		kvs = append(kvs, kv)
	}
	sorted := q.SortOrder != SortNone || q.SortTarget != SortByKey
	if sorted && (q.SortTarget != SortByKey || q.SortOrder == SortDescend) {
		less := func(i, j int) bool {
			a, b := kvs[i], kvs[j]
			switch q.SortTarget {
			case SortByVersion:
				return a.Version < b.Version
			case SortByCreate:
				return a.CreateRevision < b.CreateRevision
			case SortByMod:
				return a.ModRevision < b.ModRevision
			case SortByValue:
				return string(a.Value) < string(b.Value)
			}
			return string(a.Key) < string(b.Key)
		}
		var by sort.Interface = sorter{kvs, less}
		if q.SortOrder == SortDescend {
			by = sort.Reverse(by)
		}
		sort.Sort(by)
	}
	if q.Limit > 0 && int64(len(kvs)) > q.Limit {
		kvs, resp.More = kvs[:q.Limit], true
	}
	for _, kv := range kvs {
		if q.KeysOnly {
			kv.Value = nil
			if q.SortTarget != SortByValue {
				kv.Lease = 0
			}
		}
		resp.KVs = append(resp.KVs, kv)
	}
	return resp, nil
}

type sorter struct {
	kvs  []KeyValue
	less func(i, j int) bool
}

func (s sorter) Len() int           { return len(s.kvs) }
func (s sorter) Less(i, j int) bool { return s.less(i, j) }
func (s sorter) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }

// A modelTxn is a model with the changes of a transaction at its end, all of the
// next revision.
type modelTxn struct {
	*model
	before int
}

func (m *model) begin() *modelTxn { return &modelTxn{m, len(m.changes)} }

func (x *modelTxn) seen() int64 {
	if len(x.changes) > x.before {
		return x.revision + 1
	}
	return x.revision
}

func (x *modelTxn) end() int64 {
	x.revision = x.seen()
	return x.revision
}

func (x *modelTxn) put(p *PutRequest) (*PutResponse, error) {
	prev, exists := x.at(x.seen())[string(p.Key)]
	if !exists && (p.IgnoreValue || p.IgnoreLease) {
		return nil, ErrKeyNotFound
	}
	kv := KeyValue{
		Key: p.Key, Value: p.Value, Lease: p.Lease, Version: 1,
		CreateRevision: x.revision + 1, ModRevision: x.revision + 1,
	}
	if exists {
		kv.Version, kv.CreateRevision = prev.Version+1, prev.CreateRevision
	}
	if p.IgnoreValue {
		kv.Value = prev.Value
	}
	if p.IgnoreLease {
		kv.Lease = prev.Lease
	}
	x.changes = append(x.changes, modelChange{revision: x.revision + 1, kv: kv})
	resp := &PutResponse{Revision: x.revision + 1}
	if p.PrevKV && exists {
		resp.PrevKV = &prev
	}
	return resp, nil
}

func (x *modelTxn) remove(d *DeleteRangeRequest) *DeleteRangeResponse {
	resp := &DeleteRangeResponse{}
	for _, kv := range x.within(d.Key, d.RangeEnd, x.seen()) {
		resp.Deleted++
		if d.PrevKV {
			resp.PrevKVs = append(resp.PrevKVs, kv)
		}
		x.changes = append(x.changes, modelChange{x.revision + 1, true, KeyValue{Key: kv.Key}})
	}
	resp.Revision = x.seen()
	return resp
}

func (m *model) compare(c *Compare) bool {
	holds := func(kv KeyValue) bool {
		n := 0
		switch c.Target {
		case CompareVersion:
			n = cmp.Compare(kv.Version, c.Number)
		case CompareCreate:
			n = cmp.Compare(kv.CreateRevision, c.Number)
		case CompareMod:
			n = cmp.Compare(kv.ModRevision, c.Number)
		case CompareLease:
			n = cmp.Compare(kv.Lease, c.Number)
		case CompareValue:
			n = bytes.Compare(kv.Value, c.Value)
		}
		return c.Result == CompareEqual && n == 0 || c.Result == CompareNotEqual && n != 0 ||
			c.Result == CompareGreater && n > 0 || c.Result == CompareLess && n < 0
	}
	kvs := m.within(c.Key, c.RangeEnd, m.revision)
	if len(kvs) == 0 {
		return c.Target != CompareValue && holds(KeyValue{})
	}
	for _, kv := range kvs {
		if !holds(kv) {
			return false
		}
	}
	return true
}

// A planned transaction is one whose conditions were judged.
type planned struct {
	succeeded bool
	ops       []RequestOp
	nested    map[int]*planned
}

func (m *model) plan(t *TxnRequest) *planned {
	p := &planned{succeeded: true, ops: t.Success, nested: map[int]*planned{}}
	for i := range t.Compare {
		if !m.compare(&t.Compare[i]) {
			p.succeeded, p.ops = false, t.Failure
		}
	}
	for i, op := range p.ops {
		if op.Txn != nil {
			p.nested[i] = m.plan(op.Txn)
		}
	}
	return p
}

func (m *model) checkPut(p *PutRequest) error {
	if p.Lease != 0 && m.leases[p.Lease] == nil {
		return ErrLeaseNotFound
	}
	if _, exists := m.at(m.revision)[string(p.Key)]; !exists && (p.IgnoreValue || p.IgnoreLease) {
		return ErrKeyNotFound
	}
	return nil
}

func (m *model) check(p *planned) error {
	for i, op := range p.ops {
		var err error
		switch {
		case op.Range != nil:
			if r := op.Range.Revision; r > m.revision {
				err = ErrFutureRev
			} else if r != 0 && r < m.compacted {
				err = ErrCompacted
			}
		case op.Put != nil:
			err = m.checkPut(op.Put)
		case op.Txn != nil:
			err = m.check(p.nested[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *modelTxn) do(p *planned) (*TxnResponse, error) {
	resp := &TxnResponse{Succeeded: p.succeeded}
	for i, op := range p.ops {
		var out ResponseOp
		var err error
		switch {
		case op.Range != nil:
			out.Range, err = x.ranged(op.Range, x.seen())
		case op.Put != nil:
			out.Put, err = x.put(op.Put)
		case op.DeleteRange != nil:
			out.DeleteRange = x.remove(op.DeleteRange)
		case op.Txn != nil:
			out.Txn, err = x.do(p.nested[i])
		}
		if err != nil {
			return nil, err
		}
		resp.Responses = append(resp.Responses, out)
	}
	return resp, nil
}

func (m *model) txn(t *TxnRequest) (Response, error) {
	p := m.plan(t)
	if err := m.check(p); err != nil {
		return nil, err
	}
	x := m.begin()
	resp, err := x.do(p)
	if err != nil {
		m.changes = m.changes[:x.before]
		return nil, err
	}
	resp.Revision = x.end()
	return resp, nil
}

func (m *model) raised(of AlarmType) bool {
	for a := range m.alarms {
		if a.Type == of {
			return true
		}
	}
	return false
}

func putsAnything(ops []RequestOp) bool {
	for _, op := range ops {
		if op.Put != nil || op.Txn != nil && (putsAnything(op.Txn.Success) || putsAnything(op.Txn.Failure)) {
			return true
		}
	}
	return false
}

func (m *model) refused(cmd Command) error {
	corrupt, full := m.raised(AlarmCorrupt), m.raised(AlarmNoSpace)
	switch c := cmd.(type) {
	case *PutRequest, *LeaseGrantRequest:
		if !corrupt && full {
			return ErrNoSpace
		}
	case *TxnRequest:
		if !corrupt && full && (putsAnything(c.Success) || putsAnything(c.Failure)) {
			return ErrNoSpace
		}
	case *DeleteRangeRequest, *CompactRequest, *LeaseRevokeRequest:
	default:
		return nil
	}
	if corrupt {
		return ErrCorrupt
	}
	return nil
}

func (m *model) apply(cmd Command) (Response, error) {
	if err := m.refused(cmd); err != nil {
		return nil, err
	}
	switch c := cmd.(type) {
	case *PutRequest:
		if err := m.checkPut(c); err != nil {
			return nil, err
		}
		x := m.begin()
		resp, err := x.put(c)
		x.end()
		return resp, err
	case *DeleteRangeRequest:
		x := m.begin()
		resp := x.remove(c)
		x.end()
		return resp, nil
	case *TxnRequest:
		return m.txn(c)
	case *CompactRequest:
		if c.Revision <= m.compacted {
			return nil, ErrCompacted
		}
		if c.Revision > m.revision {
			return nil, ErrFutureRev
		}
		m.compacted = c.Revision
		return &CompactResponse{Revision: m.revision}, nil
	case *LeaseGrantRequest:
		if c.TTL > MaxLeaseTTL {
			return nil, ErrLeaseTTLTooLarge
		}
		if m.leases[c.ID] != nil {
			return nil, ErrLeaseExist
		}
		ttl := max(c.TTL, 1)
		m.leases[c.ID] = &modelLease{ttl, m.clock + ttl*1e9}
		return &LeaseGrantResponse{Revision: m.revision, ID: c.ID, TTL: ttl}, nil
	case *LeaseRevokeRequest:
		if c.Term != 0 && c.Term != m.term {
			return nil, ErrInvalid
		}
		if m.leases[c.ID] == nil {
			return nil, ErrLeaseNotFound
		}
		x := m.begin()
		for _, key := range m.leaseKeys(c.ID) {
			x.remove(&DeleteRangeRequest{Key: key})
		}
		delete(m.leases, c.ID)
		return &LeaseRevokeResponse{Revision: x.end()}, nil
	case *LeaseCheckpointRequest:
		if c.Term != 0 && c.Term != m.term {
			return nil, ErrInvalid
		}
		for _, p := range c.Checkpoints {
			if l := m.leases[p.ID]; l != nil {
				l.deadline = m.clock + min(max(p.Remaining, 0), l.ttl*1e9)
			}
		}
		return &LeaseRenewResponse{Revision: m.revision}, nil
	case *LeaseRenewRequest:
		for _, id := range c.IDs {
			if l := m.leases[id]; l != nil {
				l.deadline = m.clock + l.ttl*1e9
			}
		}
		return &LeaseRenewResponse{Revision: m.revision}, nil
	case *AlarmRequest:
		return m.alarm(c), nil
	case *PublishRequest:
		m.members[c.Member.ID] = c.Member
		return &PublishResponse{Revision: m.revision}, nil
	case *CheckRequest:
		return &CheckResponse{Revision: m.revision}, nil
	}
	panic("no such command")
}

func (m *model) leaseKeys(id int64) [][]byte {
	var keys [][]byte
	for _, kv := range m.within(nil, []byte{0}, m.revision) {
		if kv.Lease == id {
			keys = append(keys, kv.Key)
		}
	}
	return keys
}

func (m *model) listAlarms(of AlarmType) []Alarm {
	var list []Alarm
	for a := range m.alarms {
		if of == AlarmNone || of == a.Type {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b Alarm) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Member, b.Member))
	})
	return list
}

func (m *model) alarm(c *AlarmRequest) *AlarmResponse {
	resp := &AlarmResponse{Revision: m.revision}
	a := Alarm{c.Member, c.Alarm}
	switch {
	case c.Action == AlarmGet:
		resp.Alarms = m.listAlarms(c.Alarm)
	case c.Action == AlarmActivate && c.Alarm != AlarmNone:
		m.alarms[a] = true
		resp.Alarms = []Alarm{a}
	case c.Action == AlarmDeactivate && m.alarms[a]:
		delete(m.alarms, a)
		resp.Alarms = []Alarm{a}
	}
	return resp
}

// events gives what changed from a revision on, or false if some of it may have
// been compacted.
func (m *model) events(from int64, prev bool) ([]Commit, bool) {
	if from < m.compacted {
		return nil, false
	}
	var commits []Commit
	for i, c := range m.changes {
		if c.revision < from {
			continue
		}
		if c.revision == m.compacted && slices.ContainsFunc(m.changes[i+1:], func(later modelChange) bool {
			return later.revision == c.revision && bytes.Equal(later.kv.Key, c.kv.Key)
		}) {
			continue
		}
		e := Event{KV: c.kv}
		if c.deleted {
			e = Event{Type: EventDelete, KV: KeyValue{Key: c.kv.Key, ModRevision: c.revision}}
		}
		if old, ok := m.at(c.revision - 1)[string(c.kv.Key)]; ok && prev && c.revision-1 >= m.compacted &&
			(c.deleted || c.kv.CreateRevision != c.revision) {
			e.Prev = &old
		}
		if n := len(commits); n == 0 || commits[n-1].Revision != c.revision {
			commits = append(commits, Commit{Revision: c.revision})
		}
		last := &commits[len(commits)-1]
		last.Events = append(last.Events, e)
	}
	return commits, true
}
