package etcd

import (
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/quorate/quorate/store"
)

// Requests and answers of etcd's API as the store's, and back. The store's types
// alias the messages' bytes.

func rangeRequest(r *etcdserverpb.RangeRequest) *store.RangeRequest {
	return &store.RangeRequest{
		Key: r.Key, RangeEnd: r.RangeEnd, Limit: r.Limit, Revision: r.Revision,
		SortOrder: store.SortOrder(r.SortOrder), SortTarget: store.SortTarget(r.SortTarget),
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
	}
}

func putRequest(r *etcdserverpb.PutRequest) *store.PutRequest {
	return &store.PutRequest{
		Key: r.Key, Value: r.Value, Lease: r.Lease, PrevKV: r.PrevKv,
		IgnoreValue: r.IgnoreValue, IgnoreLease: r.IgnoreLease,
	}
}

func deleteRequest(r *etcdserverpb.DeleteRangeRequest) *store.DeleteRangeRequest {
	return &store.DeleteRangeRequest{Key: r.Key, RangeEnd: r.RangeEnd, PrevKV: r.PrevKv}
}

// txnRequest translates a transaction that checkTxn accepted.
func txnRequest(r *etcdserverpb.TxnRequest) *store.TxnRequest {
	t := &store.TxnRequest{Success: requestOps(r.Success), Failure: requestOps(r.Failure)}
	if len(r.Compare) > 0 {
		t.Compare = make([]store.Compare, len(r.Compare))
	}
	for i, c := range r.Compare {
		t.Compare[i] = compare(c)
	}
	return t
}

// compare takes the operand that belongs to the target, as etcd does: one of
// another target's counts as zero.
func compare(c *etcdserverpb.Compare) store.Compare {
	out := store.Compare{
		Result: store.CompareResult(c.Result), Target: store.CompareTarget(c.Target),
		Key: c.Key, RangeEnd: c.RangeEnd,
	}
	switch c.Target {
	case etcdserverpb.Compare_VERSION:
		out.Number = c.GetVersion()
	case etcdserverpb.Compare_CREATE:
		out.Number = c.GetCreateRevision()
	case etcdserverpb.Compare_MOD:
		out.Number = c.GetModRevision()
	case etcdserverpb.Compare_VALUE:
		out.Value = c.GetValue()
	case etcdserverpb.Compare_LEASE:
		out.Number = c.GetLease()
	}
	return out
}

func requestOps(ops []*etcdserverpb.RequestOp) []store.RequestOp {
	if len(ops) == 0 {
		return nil
	}
	out := make([]store.RequestOp, len(ops))
	for i, op := range ops {
		switch r := op.Request.(type) {
		case *etcdserverpb.RequestOp_RequestRange:
			out[i].Range = rangeRequest(r.RequestRange)
		case *etcdserverpb.RequestOp_RequestPut:
			out[i].Put = putRequest(r.RequestPut)
		case *etcdserverpb.RequestOp_RequestDeleteRange:
			out[i].DeleteRange = deleteRequest(r.RequestDeleteRange)
		case *etcdserverpb.RequestOp_RequestTxn:
			out[i].Txn = txnRequest(r.RequestTxn)
		}
	}
	return out
}

func keyValue(kv *store.KeyValue) *mvccpb.KeyValue {
	if kv == nil {
		return nil
	}
	return &mvccpb.KeyValue{
		Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision,
		ModRevision: kv.ModRevision, Version: kv.Version, Lease: kv.Lease,
	}
}

func keyValues(kvs []store.KeyValue) []*mvccpb.KeyValue {
	if len(kvs) == 0 {
		return nil
	}
	// One allocation for all of them.
	messages := make([]mvccpb.KeyValue, len(kvs))
	out := make([]*mvccpb.KeyValue, len(kvs))
	for i := range kvs {
		kv, m := &kvs[i], &messages[i]
		m.Key, m.Value, m.Lease = kv.Key, kv.Value, kv.Lease
		m.CreateRevision, m.ModRevision, m.Version = kv.CreateRevision, kv.ModRevision, kv.Version
		out[i] = m
	}
	return out
}

func rangeResponse(r *store.RangeResponse) *etcdserverpb.RangeResponse {
	return &etcdserverpb.RangeResponse{Kvs: keyValues(r.KVs), More: r.More, Count: r.Count}
}

func putResponse(r *store.PutResponse) *etcdserverpb.PutResponse {
	return &etcdserverpb.PutResponse{PrevKv: keyValue(r.PrevKV)}
}

func deleteResponse(r *store.DeleteRangeResponse) *etcdserverpb.DeleteRangeResponse {
	return &etcdserverpb.DeleteRangeResponse{Deleted: r.Deleted, PrevKvs: keyValues(r.PrevKVs)}
}

func txnResponse(t *store.TxnResponse) *etcdserverpb.TxnResponse {
	out := &etcdserverpb.TxnResponse{Succeeded: t.Succeeded}
	if len(t.Responses) > 0 {
		out.Responses = make([]*etcdserverpb.ResponseOp, len(t.Responses))
	}
	for i := range t.Responses {
		out.Responses[i] = responseOp(&t.Responses[i])
	}
	return out
}

// responseOp answers an operation of a transaction. Its header has nothing but
// the revision, and a nested transaction's has not even that.
func responseOp(r *store.ResponseOp) *etcdserverpb.ResponseOp {
	out := &etcdserverpb.ResponseOp{}
	switch {
	case r.Range != nil:
		m := rangeResponse(r.Range)
		m.Header = &etcdserverpb.ResponseHeader{Revision: r.Range.Revision}
		out.Response = &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: m}
	case r.Put != nil:
		m := putResponse(r.Put)
		m.Header = &etcdserverpb.ResponseHeader{Revision: r.Put.Revision}
		out.Response = &etcdserverpb.ResponseOp_ResponsePut{ResponsePut: m}
	case r.DeleteRange != nil:
		m := deleteResponse(r.DeleteRange)
		m.Header = &etcdserverpb.ResponseHeader{Revision: r.DeleteRange.Revision}
		out.Response = &etcdserverpb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: m}
	case r.Txn != nil:
		m := txnResponse(r.Txn)
		m.Header = &etcdserverpb.ResponseHeader{Revision: r.Txn.Revision}
		out.Response = &etcdserverpb.ResponseOp_ResponseTxn{ResponseTxn: m}
	}
	return out
}
