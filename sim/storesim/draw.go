package storesim

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/store"
)

var keys = []string{"a", "ab", "abc", "b", "b\x00", "b\x00\x01", "b\x00\xff", "b\x01", "c", "d", "e", "f", "\xff", "\xff\xff", "\x00"}

func (c *client) bit(oneIn int) bool { return c.rand().IntN(oneIn) == 0 }

func (c *client) key() []byte { return []byte(keys[c.rand().IntN(len(keys))]) }

func (c *client) bounds() (key, end []byte) {
	key = c.key()
	switch c.rand().IntN(6) {
	case 0, 1, 2:
		return key, nil
	case 3:
		return key, []byte{0}
	default:
		return key, c.key()
	}
}

// put draws a put; its value is like no other.
func (c *client) put() *store.PutRequest {
	p := &store.PutRequest{Key: c.key(), PrevKV: c.bit(3)}
	if c.bit(4) {
		p.Lease = c.lease()
	}
	if c.bit(12) {
		p.IgnoreValue = true
		return p
	}
	c.puts++
	p.Value = fmt.Appendf(nil, "%d/%d%s", c.id, c.puts, strings.Repeat(".", c.rand().IntN(60)))
	if c.bit(12) {
		p.IgnoreLease, p.Lease = true, 0
	}
	return p
}

func (c *client) remove() *store.DeleteRangeRequest {
	d := &store.DeleteRangeRequest{PrevKV: c.bit(2)}
	if d.Key, d.RangeEnd = c.key(), nil; c.bit(4) {
		d.RangeEnd = c.key()
	}
	return d
}

// revision draws the revision of a read: the newest, mostly.
func (c *client) revision() int64 {
	t := c.s.twin
	switch c.rand().IntN(8) {
	case 0:
		return t.Revision - c.rand().Int64N(30)
	case 1:
		return t.Compacted + c.rand().Int64N(4) - 1
	case 2:
		return t.Revision + c.rand().Int64N(2)
	}
	return 0
}

func (c *client) ranged() *store.RangeRequest {
	r := c.rand()
	q := &store.RangeRequest{Revision: max(c.revision(), 0), KeysOnly: c.bit(6), CountOnly: c.bit(8), Limit: int64(max(0, r.IntN(8)-4))}
	q.Key, q.RangeEnd = c.bounds()
	if c.bit(4) {
		q.SortOrder, q.SortTarget = store.SortOrder(r.IntN(3)), store.SortTarget(r.IntN(5))
	}
	for _, p := range []*int64{&q.MinModRevision, &q.MaxModRevision, &q.MinCreateRevision, &q.MaxCreateRevision} {
		if c.bit(16) {
			*p = max(c.s.twin.Revision-r.Int64N(30), 0)
		}
	}
	return q
}

func (c *client) compare() store.Compare {
	r := c.rand()
	x := store.Compare{Result: store.CompareResult(r.IntN(4)), Target: store.CompareTarget(r.IntN(5))}
	x.Key, x.RangeEnd = c.bounds()
	x.Number = []int64{0, 1, 2, c.s.twin.Revision, c.s.twin.Revision - 3, c.lease()}[r.IntN(6)]
	if kv, ok := c.s.twin.Get(x.Key, c.s.twin.Revision); ok {
		x.Value = kv.Value
		if c.bit(2) { // what holds unless somebody was quicker
			x = store.Compare{Target: store.CompareMod, Key: x.Key, Number: kv.ModRevision}
		}
	}
	return x
}

func (c *client) ops(depth int) []store.RequestOp {
	var ops []store.RequestOp
	r := c.rand()
	for range r.IntN(4) {
		switch n := r.IntN(10); {
		case n < 4:
			ops = append(ops, store.RequestOp{Put: c.put()})
		case n < 7:
			ops = append(ops, store.RequestOp{Range: c.ranged()})
		case n < 9 || depth == 0:
			ops = append(ops, store.RequestOp{DeleteRange: c.remove()})
		default:
			ops = append(ops, store.RequestOp{Txn: c.txn(depth - 1)})
		}
	}
	return ops
}

func (c *client) txn(depth int) *store.TxnRequest {
	t := &store.TxnRequest{Success: c.ops(depth), Failure: c.ops(depth)}
	for range c.rand().IntN(3) {
		t.Compare = append(t.Compare, c.compare())
	}
	return t
}
