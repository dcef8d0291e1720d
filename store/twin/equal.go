package twin

import (
	"bytes"
	"slices"

	"github.com/quorate/quorate/store"
)

// EqualKV, EqualEvents and Equal compare answers; nothing and empty are the same.
func EqualKV(a, b *store.KeyValue) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.CreateRevision == b.CreateRevision &&
		a.ModRevision == b.ModRevision && a.Version == b.Version && a.Lease == b.Lease
}

func equalKVs(a, b []store.KeyValue) bool {
	return slices.EqualFunc(a, b, func(a, b store.KeyValue) bool { return EqualKV(&a, &b) })
}

// EqualRange compares answers to ranges.
func EqualRange(a, b *store.RangeResponse) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Revision == b.Revision && a.More == b.More && a.Count == b.Count && equalKVs(a.KVs, b.KVs)
}

// EqualTxn compares answers to transactions.
func EqualTxn(a, b *store.TxnResponse) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Revision == b.Revision && a.Succeeded == b.Succeeded && slices.EqualFunc(a.Responses, b.Responses, func(a, b store.ResponseOp) bool {
		return EqualRange(a.Range, b.Range) && equalPut(a.Put, b.Put) && equalDelete(a.DeleteRange, b.DeleteRange) && EqualTxn(a.Txn, b.Txn)
	})
}

func equalPut(a, b *store.PutResponse) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Revision == b.Revision && EqualKV(a.PrevKV, b.PrevKV)
}

func equalDelete(a, b *store.DeleteRangeResponse) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Revision == b.Revision && a.Deleted == b.Deleted && equalKVs(a.PrevKVs, b.PrevKVs)
}

// Equal compares answers to commands.
func Equal(a, b store.Response) bool {
	switch a := a.(type) {
	case *store.PutResponse:
		b, ok := b.(*store.PutResponse)
		return ok && equalPut(a, b)
	case *store.DeleteRangeResponse:
		b, ok := b.(*store.DeleteRangeResponse)
		return ok && equalDelete(a, b)
	case *store.TxnResponse:
		b, ok := b.(*store.TxnResponse)
		return ok && EqualTxn(a, b)
	case *store.CompactResponse:
		b, ok := b.(*store.CompactResponse)
		return ok && *a == *b
	case *store.LeaseGrantResponse:
		b, ok := b.(*store.LeaseGrantResponse)
		return ok && *a == *b
	case *store.LeaseRevokeResponse:
		b, ok := b.(*store.LeaseRevokeResponse)
		return ok && *a == *b
	case *store.LeaseRenewResponse:
		b, ok := b.(*store.LeaseRenewResponse)
		return ok && *a == *b
	case *store.AlarmResponse:
		b, ok := b.(*store.AlarmResponse)
		return ok && a.Revision == b.Revision && slices.Equal(a.Alarms, b.Alarms)
	case *store.PublishResponse:
		b, ok := b.(*store.PublishResponse)
		return ok && *a == *b
	case *store.CheckResponse:
		b, ok := b.(*store.CheckResponse)
		return ok && *a == *b
	}
	return a == nil && b == nil
}

// EqualEvent compares events.
func EqualEvent(a, b *store.Event) bool {
	return a.Type == b.Type && EqualKV(&a.KV, &b.KV) && EqualKV(a.Prev, b.Prev)
}
