package twin

import (
	"bytes"
	"cmp"

	"github.com/quorate/quorate/store"
)

func (m *Twin) compare(c *store.Compare) bool {
	holds := func(kv store.KeyValue) bool {
		n := 0
		switch c.Target {
		case store.CompareVersion:
			n = cmp.Compare(kv.Version, c.Number)
		case store.CompareCreate:
			n = cmp.Compare(kv.CreateRevision, c.Number)
		case store.CompareMod:
			n = cmp.Compare(kv.ModRevision, c.Number)
		case store.CompareLease:
			n = cmp.Compare(kv.Lease, c.Number)
		case store.CompareValue:
			n = bytes.Compare(kv.Value, c.Value)
		}
		return c.Result == store.CompareEqual && n == 0 || c.Result == store.CompareNotEqual && n != 0 ||
			c.Result == store.CompareGreater && n > 0 || c.Result == store.CompareLess && n < 0
	}
	kvs := m.within(c.Key, c.RangeEnd, m.Revision)
	if len(kvs) == 0 {
		return c.Target != store.CompareValue && holds(store.KeyValue{})
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
	ops       []store.RequestOp
	nested    map[int]*planned
}

func (m *Twin) plan(t *store.TxnRequest) *planned {
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

func (m *Twin) checkPut(p *store.PutRequest) error {
	if p.Lease != 0 && m.Leases[p.Lease] == nil {
		return store.ErrLeaseNotFound
	}
	if _, exists := m.at(string(p.Key), m.Revision); !exists && (p.IgnoreValue || p.IgnoreLease) {
		return store.ErrKeyNotFound
	}
	return nil
}

func (m *Twin) check(p *planned) error {
	for i, op := range p.ops {
		var err error
		switch {
		case op.Range != nil:
			if r := op.Range.Revision; r > m.Revision {
				err = store.ErrFutureRev
			} else if r != 0 && r < m.Compacted {
				err = store.ErrCompacted
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

func (x *txn) do(p *planned) (*store.TxnResponse, error) {
	resp := &store.TxnResponse{Succeeded: p.succeeded}
	for i, op := range p.ops {
		var out store.ResponseOp
		var err error
		switch {
		case op.Range != nil:
			out.Range, err = x.RangeAt(op.Range, x.seen())
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

// Txn does a transaction; one that only reads may be asked for at any time.
func (m *Twin) txn(t *store.TxnRequest) (*store.TxnResponse, error) {
	p := m.plan(t)
	if err := m.check(p); err != nil {
		return nil, err
	}
	x := m.begin()
	resp, err := x.do(p)
	if err != nil {
		x.rollback()
		return nil, err
	}
	resp.Revision = x.end()
	return resp, nil
}

// ReadTxn answers a transaction that only reads.
func (m *Twin) ReadTxn(t *store.TxnRequest) (*store.TxnResponse, error) { return m.txn(t) }
