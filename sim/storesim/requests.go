package storesim

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/twin"
)

// request draws a request and judges its answer.
func (c *client) request() {
	r := c.rand()
	switch n := r.IntN(100); {
	case n < 26:
		p := c.put()
		resp, err := c.propose(p)
		if err == nil {
			c.judgePut(p, resp.(*store.PutResponse))
		}
	case n < 32:
		_, _ = c.propose(c.remove()) // the answer is compared where it was made
	case n < 47:
		if t := c.txn(2); store.CheckTxn(t) == nil { // as the gRPC layer refuses it
			if t.ReadOnly() {
				c.readTxn(t)
			} else {
				_, _ = c.propose(t)
			}
		}
	case n < 49:
		_, _ = c.propose(&store.CompactRequest{Revision: c.s.twin.Revision - r.Int64N(60) + 1})
	case n < 74:
		c.read(c.ranged(), r.IntN(4) == 0)
	case n < 79:
		c.grant()
	case n < 81:
		if id := c.lease(); id != 0 {
			_, _ = c.propose(&store.LeaseRevokeRequest{ID: id})
		}
	case n < 93:
		c.keepAlive()
	case n < 97:
		c.timeToLive()
	case r.IntN(8) == 0:
		_, _ = c.propose(&store.AlarmRequest{Action: store.AlarmActivate, Member: 1, Alarm: store.AlarmNoSpace})
	default:
		_, _ = c.propose(&store.AlarmRequest{Action: store.AlarmDeactivate, Member: 1, Alarm: store.AlarmNoSpace})
	}
}

// judgePut: what was acknowledged is what is at its revision.
func (c *client) judgePut(p *store.PutRequest, resp *store.PutResponse) {
	if !p.IgnoreValue {
		c.s.values[string(p.Value)].acknowledged = true
	}
	kv, ok := c.s.twin.Get(p.Key, resp.Revision)
	if !ok || kv.ModRevision != resp.Revision || !p.IgnoreValue && string(kv.Value) != string(p.Value) {
		c.s.world.Seen(fmt.Errorf("a put of key %q was answered with revision %d, at which the key is %+v", p.Key, resp.Revision, kv))
	}
}

// read asks for a range.
func (c *client) read(q *store.RangeRequest, serializable bool) {
	s := c.s
	floor, compacted := s.twin.Revision, s.twin.Compacted
	var resp *store.RangeResponse
	err := c.call(func(ctx context.Context, k *keyspace.Keyspace) (err error) {
		resp, err = k.Range(ctx, q, serializable)
		return err
	})
	switch {
	case errors.Is(err, store.ErrCompacted):
		s.count(countCompactedRead)
		if q.Revision >= s.twin.Compacted {
			s.world.Seen(fmt.Errorf("a read at revision %d is refused as compacted, up to %d", q.Revision, s.twin.Compacted))
		}
	case errors.Is(err, store.ErrFutureRev):
		if !serializable && q.Revision <= floor {
			s.world.Seen(fmt.Errorf("a read at revision %d is refused as of the future, when the store was at %d", q.Revision, floor))
		}
	case err != nil:
		s.count(countReadRefused)
	default:
		s.count(countReadAnswered)
		if serializable {
			s.count(countStaleRead)
		}
		c.judgeRead(q, resp, serializable, floor, compacted)
	}
}

// judgeRead: an answer is what the twin had at its revision, which is no older
// than what was committed when it was asked, if it is linearizable (B-22).
func (c *client) judgeRead(q *store.RangeRequest, resp *store.RangeResponse, serializable bool, floor, compacted int64) {
	s := c.s
	s.world.Note(uint64(c.id), uint64(resp.Revision), uint64(resp.Count))
	if resp.Revision > s.twin.Revision || !serializable && resp.Revision < floor {
		s.world.Seen(fmt.Errorf("a read was answered at revision %d; it was %d when it was asked, and is %d", resp.Revision, floor, s.twin.Revision))
		return
	}
	revision := resp.Revision
	if q.Revision > 0 {
		s.count(countOldRead)
		if revision = q.Revision; !serializable && revision < compacted {
			s.world.Seen(fmt.Errorf("a read at revision %d was answered, which was compacted before it was asked (%d)", revision, compacted))
			return
		}
	}
	if want := s.twin.Content(q, revision, resp.Revision); !twin.EqualRange(resp, want) {
		s.world.Seen(fmt.Errorf("range %+v was answered %+v, want %+v", q, resp, want))
	}
}

// readTxn asks for a transaction that only reads, all of it at one revision.
func (c *client) readTxn(t *store.TxnRequest) {
	s := c.s
	floor := s.twin.Revision
	var resp *store.TxnResponse
	err := c.call(func(ctx context.Context, k *keyspace.Keyspace) (err error) {
		resp, err = k.ReadTxn(ctx, t, false)
		return err
	})
	if err != nil {
		return
	}
	s.count(countReadTxn)
	if resp.Revision < floor || resp.Revision > s.twin.Revision {
		s.world.Seen(fmt.Errorf("a reading transaction was answered at revision %d; it was %d when it was asked, and is %d", resp.Revision, floor, s.twin.Revision))
		return
	}
	ops := t.Success
	if !resp.Succeeded {
		ops = t.Failure
	}
	for i, op := range ops {
		revision := resp.Revision
		if op.Range.Revision > 0 {
			revision = op.Range.Revision
		}
		if want := s.twin.Content(op.Range, revision, resp.Revision); !twin.EqualRange(resp.Responses[i].Range, want) {
			s.world.Seen(fmt.Errorf("range %+v of a transaction was answered %+v, want %+v", op.Range, resp.Responses[i].Range, want))
		}
	}
}

// grant makes a lease.
func (c *client) grant() {
	asked := c.s.world.Now()
	resp, err := c.propose(&store.LeaseGrantRequest{TTL: 1 + c.rand().Int64N(3)})
	if err == nil {
		g := resp.(*store.LeaseGrantResponse)
		c.s.leases.promise(c.s, g.ID, asked, g.TTL)
	}
}

// lease draws a lease, more often than not one of the newest.
func (c *client) lease() int64 {
	ids, r := c.s.leases.ids, c.rand()
	if len(ids) == 0 {
		return 0
	}
	newest := min(len(ids), 4)
	if r.IntN(8) == 0 {
		newest = len(ids)
	}
	return ids[len(ids)-1-r.IntN(newest)]
}

// keepAlive has a lease given its whole time again.
func (c *client) keepAlive() {
	s, id, asked := c.s, c.lease(), c.s.world.Now()
	if id == 0 {
		return
	}
	known := s.leases.lease(id).promised > 0
	var ttl int64
	err := c.call(func(ctx context.Context, k *keyspace.Keyspace) (err error) {
		ttl, err = k.KeepAlive(ctx, id)
		return err
	})
	switch {
	case err == nil:
		s.count(countKeepAlive)
		s.leases.promise(s, id, asked, ttl)
	case errors.Is(err, store.ErrLeaseNotFound):
		s.count(countLeaseGone)
		if known && s.twin.Leases[id] != nil {
			s.world.Seen(fmt.Errorf("lease %d cannot be kept alive because it is not found, and is there", id))
		}
	}
}

// timeToLive asks how long a lease has left.
func (c *client) timeToLive() {
	s, id := c.s, c.lease()
	if id == 0 {
		return
	}
	promised := s.leases.lease(id).promised
	var l keyspace.Lease
	err := c.call(func(ctx context.Context, k *keyspace.Keyspace) (err error) {
		l, err = k.TimeToLive(ctx, id, true)
		return err
	})
	switch {
	case err == nil:
		s.count(countTimeToLive)
		if until := s.world.Now() + l.Remaining; until < promised {
			s.world.Seen(fmt.Errorf("lease %d is said to end %v before the time that was promised", id, promised-until))
		}
	case errors.Is(err, store.ErrLeaseNotFound) && promised > 0 && s.twin.Leases[id] != nil:
		s.world.Seen(fmt.Errorf("lease %d is said to be not found, and is there", id))
	}
}
