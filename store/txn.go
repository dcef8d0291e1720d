package store

import (
	"bytes"
	"cmp"
)

// A writer makes changes at the revision after the current one; until the
// transaction ends they can be taken back.
type writer interface {
	source
	put(key, value []byte, lease int64) error
	remove(key []byte) error
	// changed counts the changes of the transaction so far.
	changed() int
	hasLease(id int64) bool
}

// An executor does what requests ask for, over a source.
type executor struct {
	answerer
	w writer // nil for what only reads
}

// at is the revision that an operation of a transaction sees: its own changes
// count as soon as there is one.
func (x *executor) at() int64 {
	if x.w != nil && x.w.changed() > 0 {
		return x.current + 1
	}
	return x.current
}

// txn judges all conditions, then checks all operations that will be done, then
// does them.
func (x *executor) txn(t *TxnRequest) (*TxnResponse, error) {
	path, err := x.judge(t, nil)
	if err != nil {
		return nil, err
	}
	if _, err := x.check(t, path); err != nil {
		return nil, err
	}
	resp, _, err := x.do(t, path)
	if err != nil {
		return nil, err
	}
	resp.Revision = x.at()
	return resp, nil
}

func (t *TxnRequest) branch(succeeded bool) []RequestOp {
	if succeeded {
		return t.Success
	}
	return t.Failure
}

// judge appends, for t and then for each nested transaction in the branch that
// is taken, whether the conditions hold. All see the state before the
// transaction.
func (x *executor) judge(t *TxnRequest, path []bool) ([]bool, error) {
	succeeded := true
	for i := range t.Compare {
		holds, err := x.compare(&t.Compare[i])
		if err != nil {
			return nil, err
		}
		if !holds {
			succeeded = false
			break
		}
	}
	path = append(path, succeeded)
	var err error
	for _, op := range t.branch(succeeded) {
		if op.Txn == nil {
			continue
		}
		if path, err = x.judge(op.Txn, path); err != nil {
			return nil, err
		}
	}
	return path, nil
}

func (x *executor) compare(c *Compare) (bool, error) {
	holds, found := true, false
	visit := func(_ []byte, v *version) bool {
		found = true
		holds = c.holds(v)
		return holds
	}
	if r := (keyRange{c.Key, c.RangeEnd}); r.single() {
		get := x.src.get
		if c.Target != CompareValue {
			get = x.src.getMeta
		}
		v, ok, err := get(c.Key, x.current)
		if err != nil {
			return false, err
		}
		if ok {
			visit(c.Key, &v)
		}
	} else if err := x.src.scan(r, x.current, visit); err != nil {
		return false, err
	}
	if !found {
		return c.Target != CompareValue && c.holds(&version{}), nil
	}
	return holds, nil
}

func (c *Compare) holds(v *version) bool {
	order := 0
	switch c.Target {
	case CompareVersion:
		order = cmp.Compare(v.version, c.Number)
	case CompareCreate:
		order = cmp.Compare(v.create, c.Number)
	case CompareMod:
		order = cmp.Compare(v.main, c.Number)
	case CompareValue:
		order = bytes.Compare(v.value, c.Value)
	case CompareLease:
		order = cmp.Compare(v.lease, c.Number)
	}
	switch c.Result {
	case CompareEqual:
		return order == 0
	case CompareNotEqual:
		return order != 0
	case CompareGreater:
		return order > 0
	case CompareLess:
		return order < 0
	}
	return true
}

// check refuses what could not be done, before anything is. It takes t's place
// and those of the transactions within it off path.
func (x *executor) check(t *TxnRequest, path []bool) ([]bool, error) {
	succeeded, path := path[0], path[1:]
	for _, op := range t.branch(succeeded) {
		var err error
		switch {
		case op.Range != nil:
			switch rev := op.Range.Revision; {
			case rev == 0:
			case rev > x.current:
				err = ErrFutureRev
			case rev < x.compacted:
				err = ErrCompacted
			}
		case op.Put != nil:
			err = x.checkPut(op.Put)
		case op.Txn != nil:
			path, err = x.check(op.Txn, path)
		}
		if err != nil {
			return nil, err
		}
	}
	return path, nil
}

func (x *executor) checkPut(p *PutRequest) error {
	if p.Lease != 0 && !x.w.hasLease(p.Lease) {
		return ErrLeaseNotFound
	}
	if p.IgnoreValue || p.IgnoreLease {
		_, ok, err := x.src.getMeta(p.Key, x.current)
		if err != nil {
			return err
		}
		if !ok {
			return ErrKeyNotFound
		}
	}
	return nil
}

func (x *executor) do(t *TxnRequest, path []bool) (*TxnResponse, []bool, error) {
	resp := &TxnResponse{Succeeded: path[0]}
	path = path[1:]
	ops := t.branch(resp.Succeeded)
	if len(ops) > 0 {
		resp.Responses = make([]ResponseOp, len(ops))
	}
	for i, op := range ops {
		var err error
		switch out := &resp.Responses[i]; {
		case op.Range != nil:
			a := x.answerer
			a.current = x.at()
			out.Range, err = a.answer(op.Range, true)
		case op.Put != nil:
			out.Put, err = x.put(op.Put)
		case op.DeleteRange != nil:
			out.DeleteRange, err = x.deleteRange(op.DeleteRange)
		case op.Txn != nil:
			out.Txn, path, err = x.do(op.Txn, path)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return resp, path, nil
}

// put does a put that was checked. That the key is absent after all, which no
// transaction that CheckTxn lets through can bring about, refuses the whole.
func (x *executor) put(p *PutRequest) (*PutResponse, error) {
	resp := &PutResponse{Revision: x.current + 1}
	value, lease := p.Value, p.Lease
	if p.PrevKV || p.IgnoreValue || p.IgnoreLease {
		prev, ok, err := x.src.get(p.Key, x.at())
		if err != nil {
			return nil, err
		}
		if !ok && (p.IgnoreValue || p.IgnoreLease) {
			return nil, ErrKeyNotFound
		}
		if ok {
			old := bytes.Clone(prev.value)
			if p.IgnoreValue {
				value = old
			}
			if p.IgnoreLease {
				lease = prev.lease
			}
			if p.PrevKV {
				kv := prev.keyValue(bytes.Clone(p.Key))
				kv.Value = old
				resp.PrevKV = &kv
			}
		}
	}
	return resp, x.w.put(p.Key, value, lease)
}

func (x *executor) deleteRange(d *DeleteRangeRequest) (*DeleteRangeResponse, error) {
	resp := &DeleteRangeResponse{}
	var copies arena
	var keys [][]byte
	visit := func(key []byte, v *version) bool {
		key = copies.copy(key)
		keys = append(keys, key)
		if d.PrevKV {
			kv := v.keyValue(key)
			kv.Value = copies.copy(v.value)
			resp.PrevKVs = append(resp.PrevKVs, kv)
		}
		return true
	}
	if r := (keyRange{d.Key, d.RangeEnd}); r.single() {
		v, ok, err := x.src.get(d.Key, x.at())
		if err != nil {
			return nil, err
		}
		if ok {
			visit(d.Key, &v)
		}
	} else if err := x.src.scan(r, x.at(), visit); err != nil {
		return nil, err
	}
	for _, key := range keys {
		if err := x.w.remove(key); err != nil {
			return nil, err
		}
	}
	resp.Deleted = int64(len(keys))
	resp.Revision = x.at()
	return resp, nil
}

// ReadOnly reports whether t needs no log: there are only ranges in it. As in
// etcd a nested transaction counts as a write.
func (t *TxnRequest) ReadOnly() bool {
	for _, ops := range [][]RequestOp{t.Success, t.Failure} {
		for i := range ops {
			if ops[i].Range == nil {
				return false
			}
		}
	}
	return true
}

// puts reports whether there is a put anywhere in t.
func (t *TxnRequest) puts() bool {
	for _, ops := range [][]RequestOp{t.Success, t.Failure} {
		for i := range ops {
			if ops[i].Put != nil || ops[i].Txn != nil && ops[i].Txn.puts() {
				return true
			}
		}
	}
	return false
}
