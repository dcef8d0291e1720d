package twin

import (
	"bytes"
	"slices"

	"github.com/quorate/quorate/store"
)

// Twin is the model of a store. Its fields are to be read only.
type Twin struct {
	// Revision and Compacted are as in store.Status.
	Revision  int64
	Compacted int64
	// Keys counts the keys that exist.
	Keys int64
	// Hash is the chain over all changes.
	Hash uint64
	// Leases, by id.
	Leases map[int64]*Lease

	// keys has all versions of each key, the oldest first; sorted are the keys.
	keys   map[string][]version
	sorted []string
	// changes are those of all revisions, in order.
	changes []change
	// ends[r] is how many changes revisions up to r made.
	ends []int

	alarms  map[store.Alarm]bool
	members map[uint64]store.Member

	clock, timestamp int64
	term             uint64
}

// A version is what a revision left of a key; a deletion has no store.KeyValue but
// the key.
type version struct {
	revision int64
	deleted  bool
	kv       store.KeyValue
}

type change struct {
	version
	key string
}

// Lease is a lease.
type Lease struct {
	TTL int64 // seconds
	// Deadline is on the log's own clock.
	Deadline int64
}

// New gives the twin of an empty store.
func New() *Twin {
	return &Twin{
		Revision: 1, Compacted: -1, Leases: map[int64]*Lease{}, keys: map[string][]version{}, ends: []int{0, 0},
		alarms: map[store.Alarm]bool{}, members: map[uint64]store.Member{},
	}
}

// tick moves the log's clock: it goes on between entries of one leader.
func (m *Twin) tick(term uint64, timestamp int64) {
	if term != m.term {
		m.term, m.timestamp = term, timestamp
	} else if timestamp > m.timestamp {
		m.clock += timestamp - m.timestamp
		m.timestamp = timestamp
	}
}

// at gives a key as it was at a revision.
func (m *Twin) at(key string, revision int64) (store.KeyValue, bool) {
	versions := m.keys[key]
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].revision <= revision {
			return versions[i].kv, !versions[i].deleted
		}
	}
	return store.KeyValue{}, false
}

// Get gives a key as it was at a revision.
func (m *Twin) Get(key []byte, revision int64) (store.KeyValue, bool) {
	return m.at(string(key), revision)
}

// InRange reports whether a key is of a range as requests give it.
func InRange(key string, start, end []byte) bool {
	switch {
	case len(end) == 0:
		return key == string(start)
	case string(end) == "\x00":
		return key >= string(start)
	}
	return key >= string(start) && key < string(end)
}

// within gives what existed of a range at a revision, by key.
func (m *Twin) within(start, end []byte, revision int64) []store.KeyValue {
	if len(end) == 0 {
		if kv, ok := m.at(string(start), revision); ok {
			return []store.KeyValue{kv}
		}
		return nil
	}
	var kvs []store.KeyValue
	from, _ := slices.BinarySearch(m.sorted, string(start))
	for _, key := range m.sorted[from:] {
		if !InRange(key, start, end) {
			break
		}
		if kv, ok := m.at(key, revision); ok {
			kvs = append(kvs, kv)
		}
	}
	return kvs
}

// A txn is a twin with the changes of a transaction at its end, all of the next
// revision.
type txn struct {
	*Twin
	before int
	keys0  int64
}

func (m *Twin) begin() *txn { return &txn{m, len(m.changes), m.Keys} }

func (x *txn) seen() int64 {
	if len(x.changes) > x.before {
		return x.Revision + 1
	}
	return x.Revision
}

// add makes a change.
func (x *txn) add(v version) {
	key := string(v.kv.Key)
	versions, known := x.keys[key]
	if !known {
		i, _ := slices.BinarySearch(x.sorted, key)
		x.sorted = slices.Insert(x.sorted, i, key)
	}
	existed := len(versions) > 0 && !versions[len(versions)-1].deleted
	switch {
	case existed && v.deleted:
		x.Keys--
	case !existed && !v.deleted:
		x.Keys++
	}
	x.changes = append(x.changes, change{v, key})
	x.keys[key] = append(versions, v)
}

// rollback takes the changes back.
func (x *txn) rollback() {
	for i := len(x.changes) - 1; i >= x.before; i-- {
		key := x.changes[i].key
		x.keys[key] = x.keys[key][:len(x.keys[key])-1]
	}
	x.changes = x.changes[:x.before]
	x.Keys = x.keys0
}

// end makes the changes a revision, if there are any.
func (x *txn) end() int64 {
	if len(x.changes) == x.before {
		return x.Revision
	}
	x.Revision++
	x.ends = append(x.ends, len(x.changes))
	for i := x.before; i < len(x.changes); i++ {
		x.hashVersion(&x.changes[i].version, uint64(i-x.before))
	}
	return x.Revision
}

func (x *txn) put(p *store.PutRequest) (*store.PutResponse, error) {
	prev, exists := x.at(string(p.Key), x.seen())
	if !exists && (p.IgnoreValue || p.IgnoreLease) {
		return nil, store.ErrKeyNotFound
	}
	kv := store.KeyValue{
		Key: bytes.Clone(p.Key), Value: bytes.Clone(p.Value), Lease: p.Lease, Version: 1,
		CreateRevision: x.Revision + 1, ModRevision: x.Revision + 1,
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
	x.add(version{revision: x.Revision + 1, kv: kv})
	resp := &store.PutResponse{Revision: x.Revision + 1}
	if p.PrevKV && exists {
		resp.PrevKV = &prev
	}
	return resp, nil
}

func (x *txn) remove(d *store.DeleteRangeRequest) *store.DeleteRangeResponse {
	resp := &store.DeleteRangeResponse{}
	for _, kv := range x.within(d.Key, d.RangeEnd, x.seen()) {
		resp.Deleted++
		if d.PrevKV {
			resp.PrevKVs = append(resp.PrevKVs, kv)
		}
		x.add(version{x.Revision + 1, true, store.KeyValue{Key: kv.Key}})
	}
	resp.Revision = x.seen()
	return resp
}

// Written gives the value that each put of a revision wrote, and the keys.
func (m *Twin) Written(revision int64, visit func(kv *store.KeyValue)) {
	if revision < 2 || revision > m.Revision {
		return
	}
	for i := m.ends[revision-1]; i < m.ends[revision]; i++ {
		if !m.changes[i].deleted {
			visit(&m.changes[i].kv)
		}
	}
}

// Changed gives the keys that the revisions (after, upTo] changed, in order.
func (m *Twin) Changed(after, upTo int64, visit func(key []byte)) {
	for i := m.ends[max(after, 1)]; i < m.ends[min(upTo, m.Revision)]; i++ {
		visit(m.changes[i].kv.Key)
	}
}
