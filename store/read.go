package store

import (
	"bytes"
	"context"
	"math"
	"sort"

	"github.com/quorate/quorate/store/engine"
)

// A source is where a transaction or a range finds versions. What it hands out
// is valid until it is asked again.
type source interface {
	// get gives the newest version of key that is not newer than revision, unless
	// that is a deletion.
	get(key []byte, revision int64) (version, bool, error)
	// getMeta is get at the revision before the transaction, and gives no value.
	getMeta(key []byte, revision int64) (version, bool, error)
	// scan gives those of the keys of a range, in order, until visit returns false.
	scan(r keyRange, revision int64, visit func(key []byte, v *version) bool) error
}

// maxRevision is later than any.
const maxRevision = math.MaxInt64

// A keyRange is a range as requests give it.
type keyRange struct {
	key, end []byte
}

func (r keyRange) single() bool { return len(r.end) == 0 }
func (r keyRange) open() bool   { return len(r.end) == 1 && r.end[0] == 0 }

func (r keyRange) empty() bool {
	return !r.single() && !r.open() && bytes.Compare(r.key, r.end) >= 0
}

func (r keyRange) contains(key []byte) bool {
	switch {
	case r.single():
		return bytes.Equal(key, r.key)
	case r.open():
		return bytes.Compare(key, r.key) >= 0
	}
	return bytes.Compare(key, r.key) >= 0 && bytes.Compare(key, r.end) < 0
}

// bounds gives the engine's bounds of the versions of the range.
func (r keyRange) bounds() (lower, upper []byte) {
	room := func(key []byte) []byte { return make([]byte, 0, len(key)+8) }
	lower = appendVersionBound(room(r.key), r.key)
	switch {
	case r.single():
		return lower, append(appendVersionBound(room(r.key), r.key), 0, 2)
	case r.open():
		return lower, []byte{spaceVersion + 1}
	}
	return lower, appendVersionBound(room(r.end), r.end)
}

// A cursor reads versions through an iterator over version records.
type cursor struct {
	it   engine.Iterator
	seek []byte
	key  []byte
}

// get looks a key up. The iterator's bounds must include it.
func (c *cursor) get(key []byte, revision int64) (version, bool, error) {
	c.seek = appendVersionPrefix(c.seek[:0], key)
	if revision < maxRevision {
		c.seek = appendSuffix(c.seek, revision, math.MaxUint32)
	}
	if !c.it.SeekPrefixGE(c.seek) {
		return version{}, false, c.it.Error()
	}
	_, main, sub, err := splitVersionKey(c.it.Key())
	if err != nil {
		return version{}, false, err
	}
	v, err := decodeVersion(main, sub, c.it.Value())
	return v, err == nil && !v.deleted, err
}

// first moves to the first key of r that exists at revision, next to the one
// after. They give the key and the version, valid until the cursor moves.
func (c *cursor) first(r keyRange, revision int64) ([]byte, version, bool, error) {
	c.seek = appendVersionBound(c.seek[:0], r.key)
	return c.settle(c.it.SeekGE(c.seek), revision)
}

func (c *cursor) next(revision int64) ([]byte, version, bool, error) {
	return c.settle(c.it.NextPrefix(), revision)
}

func (c *cursor) settle(valid bool, revision int64) ([]byte, version, bool, error) {
	for valid {
		escaped, main, sub, err := splitVersionKey(c.it.Key())
		if err != nil {
			return nil, version{}, false, err
		}
		if main > revision {
			// Written after the revision that is read. The version to be found is
			// often next; if there are many newer ones, seek.
			c.seek = append(append(append(c.seek[:0], spaceVersion), escaped...), keyEnd...)
			prefix := len(c.seek)
			c.seek = appendSuffix(c.seek, revision, math.MaxUint32)
			if valid = c.it.Next(); valid && bytes.Compare(c.it.Key(), c.seek) < 0 {
				valid = c.it.SeekGE(c.seek)
			}
			if !valid || !bytes.HasPrefix(c.it.Key(), c.seek[:prefix]) {
				continue
			}
			if escaped, main, sub, err = splitVersionKey(c.it.Key()); err != nil {
				return nil, version{}, false, err
			}
		}
		v, err := decodeVersion(main, sub, c.it.Value())
		if err != nil {
			return nil, version{}, false, err
		}
		if !v.deleted {
			c.key = appendUnescaped(c.key[:0], escaped)
			return c.key, v, true, nil
		}
		valid = c.it.NextPrefix()
	}
	return nil, version{}, false, c.it.Error()
}

// A view is the source of reads that stand outside the log: one picture of the
// engine. Its iterator covers one range, which the first call decides.
type view struct {
	reader engine.Reader
	cursor cursor
	within keyRange
}

func (v *view) close() error {
	if v.cursor.it == nil {
		return nil
	}
	return v.cursor.it.Close()
}

// open makes the iterator that a range needs.
func (v *view) open(r keyRange) error {
	if v.cursor.it != nil {
		return nil
	}
	lower, upper := r.bounds()
	it, err := v.reader.NewIterator(lower, upper)
	if err != nil {
		return err
	}
	v.cursor.it, v.within = it, r
	return nil
}

func (v *view) get(key []byte, revision int64) (version, bool, error) {
	return v.cursor.get(key, revision)
}

func (v *view) getMeta(key []byte, revision int64) (version, bool, error) {
	return v.get(key, revision)
}

func (v *view) scan(r keyRange, revision int64, visit func(key []byte, v *version) bool) error {
	if r.empty() {
		return nil
	}
	key, ver, ok, err := v.cursor.first(r, revision)
	for ok && r.contains(key) && visit(key, &ver) {
		key, ver, ok, err = v.cursor.next(revision)
	}
	return err
}

// everything is the range of all keys.
var everything = keyRange{key: nil, end: []byte{0}}

// An arena keeps copies of byte strings close together.
type arena struct{ free []byte }

func (a *arena) copy(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if len(b) > cap(a.free)-len(a.free) {
		a.free = make([]byte, 0, max(len(b), min(2*cap(a.free), 64<<10), 256))
	}
	n := len(a.free)
	a.free = append(a.free, b...)
	return a.free[n:len(a.free):len(a.free)]
}

// An answerer answers ranges from a source.
type answerer struct {
	src source
	ctx context.Context // nil within Apply
	// current is the revision that is read by default, and the newest.
	current   int64
	compacted int64
}

// revision gives the revision that a request reads.
func (a *answerer) revision(asked int64) (int64, error) {
	switch {
	case asked > a.current:
		return 0, ErrFutureRev
	case asked <= 0:
		return a.current, nil
	case asked < a.compacted:
		return 0, ErrCompacted
	}
	return asked, nil
}

// answer does what etcd does, in etcd's order: the limit counts before the bounds
// on revisions and the sorting only if neither is asked for, and an answer
// without values that is not sorted by value has no leases either. Without count
// the total is not counted beyond what the limit lets in.
func (a *answerer) answer(q *RangeRequest, count bool) (*RangeResponse, error) {
	revision, err := a.revision(q.Revision)
	if err != nil {
		return nil, err
	}
	resp := &RangeResponse{Revision: a.current}
	limit := q.Limit
	if !q.inKeyOrder() || q.hasRevisionBounds() {
		limit = 0
	}
	if limit > 0 && limit < math.MaxInt64 {
		limit++
	}
	values := !q.KeysOnly || q.SortTarget == SortByValue
	r := keyRange{q.Key, q.RangeEnd}
	if r.single() && !q.CountOnly {
		resp.KVs = make([]KeyValue, 0, 1)
	}
	var copies arena
	visits := 0
	take := func(key []byte, v *version) bool {
		if visits++; visits%1024 == 0 && a.ctx != nil && a.ctx.Err() != nil {
			return false
		}
		if !q.CountOnly && (limit <= 0 || int64(len(resp.KVs)) < limit) {
			kv := v.keyValue(copies.copy(key))
			if values {
				kv.Value = copies.copy(v.value)
			} else {
				kv.Value, kv.Lease = nil, 0
			}
			resp.KVs = append(resp.KVs, kv)
		} else if !count && !q.CountOnly {
			return false
		}
		resp.Count++
		return true
	}
	if r.single() {
		v, ok, err := a.src.get(r.key, revision)
		if err != nil {
			return nil, err
		}
		if ok {
			take(r.key, &v)
		}
	} else if err := a.src.scan(r, revision, take); err != nil {
		return nil, err
	}
	if a.ctx != nil {
		if err := a.ctx.Err(); err != nil {
			return nil, err
		}
	}
	q.prune(resp)
	q.sort(resp.KVs)
	if q.Limit > 0 && int64(len(resp.KVs)) > q.Limit {
		resp.KVs, resp.More = resp.KVs[:q.Limit], true
	}
	if q.KeysOnly {
		for i := range resp.KVs {
			resp.KVs[i].Value = nil
		}
	}
	return resp, nil
}

// inKeyOrder reports whether the answer comes in the order of keys without
// sorting. As in etcd, no order with another target than the key counts as such,
// although the answer is sorted then.
func (q *RangeRequest) inKeyOrder() bool {
	return q.SortOrder == SortNone || q.SortTarget == SortByKey && q.SortOrder == SortAscend
}

func (q *RangeRequest) prune(resp *RangeResponse) {
	if !q.hasRevisionBounds() {
		return
	}
	out := func(v, low, high int64) bool { return low != 0 && v < low || high != 0 && v > high }
	kept := resp.KVs[:0]
	for _, kv := range resp.KVs {
		if !out(kv.ModRevision, q.MinModRevision, q.MaxModRevision) && !out(kv.CreateRevision, q.MinCreateRevision, q.MaxCreateRevision) {
			kept = append(kept, kv)
		}
	}
	resp.KVs = kept
}

// sort uses sort.Sort, as etcd does, so that even keys that compare as equal come
// in the same order.
func (q *RangeRequest) sort(kvs []KeyValue) {
	order := q.SortOrder
	if q.SortTarget != SortByKey && order == SortNone {
		order = SortAscend
	}
	if order == SortNone || q.SortTarget == SortByKey && order == SortAscend {
		return
	}
	var by sort.Interface = byTarget{kvs, q.SortTarget}
	switch order {
	case SortAscend:
		sort.Sort(by)
	case SortDescend:
		sort.Sort(sort.Reverse(by))
	}
}

type byTarget struct {
	kvs    []KeyValue
	target SortTarget
}

func (s byTarget) Len() int      { return len(s.kvs) }
func (s byTarget) Swap(i, j int) { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }

func (s byTarget) Less(i, j int) bool {
	a, b := &s.kvs[i], &s.kvs[j]
	switch s.target {
	case SortByKey:
		return bytes.Compare(a.Key, b.Key) < 0
	case SortByVersion:
		return a.Version < b.Version
	case SortByCreate:
		return a.CreateRevision < b.CreateRevision
	case SortByMod:
		return a.ModRevision < b.ModRevision
	case SortByValue:
		return bytes.Compare(a.Value, b.Value) < 0
	}
	return false
}
