package twin

import (
	"sort"

	"github.com/quorate/quorate/store"
)

// Range answers a range at the newest revision.
func (m *Twin) Range(q *store.RangeRequest) (*store.RangeResponse, error) {
	return m.RangeAt(q, m.Revision)
}

// RangeAt answers a range as a store whose newest revision is current would.
func (m *Twin) RangeAt(q *store.RangeRequest, current int64) (*store.RangeResponse, error) {
	revision := q.Revision
	switch {
	case revision > current:
		return nil, store.ErrFutureRev
	case revision <= 0:
		revision = current
	case revision < m.Compacted:
		return nil, store.ErrCompacted
	}
	return m.Content(q, revision, current), nil
}

// Content is the answer to a range that is not refused, read at a revision from a
// store whose newest is current.
func (m *Twin) Content(q *store.RangeRequest, revision, current int64) *store.RangeResponse {
	all := m.within(q.Key, q.RangeEnd, revision)
	resp := &store.RangeResponse{Revision: current, Count: int64(len(all))}
	if q.CountOnly {
		return resp
	}
	bounded := q.MinModRevision != 0 || q.MaxModRevision != 0 || q.MinCreateRevision != 0 || q.MaxCreateRevision != 0
	// What etcd's index cuts off before it filters and sorts: one more than is
	// wanted, to know of more.
	if q.Limit > 0 && !bounded && (q.SortOrder == store.SortNone || q.SortTarget == store.SortByKey && q.SortOrder == store.SortAscend) &&
		q.Limit < int64(len(all)) {
		all = all[:q.Limit+1]
	}
	var kvs []store.KeyValue
	for _, kv := range all {
		if q.MinModRevision != 0 && kv.ModRevision < q.MinModRevision || q.MaxModRevision != 0 && kv.ModRevision > q.MaxModRevision ||
			q.MinCreateRevision != 0 && kv.CreateRevision < q.MinCreateRevision || q.MaxCreateRevision != 0 && kv.CreateRevision > q.MaxCreateRevision {
			continue
		}
		kvs = append(kvs, kv)
	}
	sorted := q.SortOrder != store.SortNone || q.SortTarget != store.SortByKey
	if sorted && (q.SortTarget != store.SortByKey || q.SortOrder == store.SortDescend) {
		var by sort.Interface = sorter{kvs, q.SortTarget}
		if q.SortOrder == store.SortDescend {
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
			if q.SortTarget != store.SortByValue {
				kv.Lease = 0
			}
		}
		resp.KVs = append(resp.KVs, kv)
	}
	return resp
}

type sorter struct {
	kvs    []store.KeyValue
	target store.SortTarget
}

func (s sorter) Len() int      { return len(s.kvs) }
func (s sorter) Swap(i, j int) { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }

func (s sorter) Less(i, j int) bool {
	a, b := s.kvs[i], s.kvs[j]
	switch s.target {
	case store.SortByVersion:
		return a.Version < b.Version
	case store.SortByCreate:
		return a.CreateRevision < b.CreateRevision
	case store.SortByMod:
		return a.ModRevision < b.ModRevision
	case store.SortByValue:
		return string(a.Value) < string(b.Value)
	}
	return string(a.Key) < string(b.Key)
}
