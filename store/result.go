package store

import (
	"fmt"

	"github.com/quorate/quorate/rsm"
)

// A result: Value is the revision of the store after the command. Data is empty
// if the command was done and there is nothing to say but the revision, and
// otherwise
//
//	+---------+------+---------------------------+
//	| version | code | the response's other fields |
//	|   u8    |  u8  | if the code is CodeOK       |
//	+---------+------+---------------------------+
const resultVersion = 1

// Response is what a command answers: the response type of the request's name;
// *LeaseRenewResponse to a *LeaseCheckpointRequest too.
type Response interface{ response() }

func (*PutResponse) response()         {}
func (*DeleteRangeResponse) response() {}
func (*TxnResponse) response()         {}
func (*CompactResponse) response()     {}
func (*LeaseGrantResponse) response()  {}
func (*LeaseRevokeResponse) response() {}
func (*LeaseRenewResponse) response()  {}
func (*AlarmResponse) response()       {}
func (*PublishResponse) response()     {}
func (*CheckResponse) response()       {}

// DecodeResult gives what a command answered, of which r is the result. A
// refusal is an *Error; anything else that is wrong is ErrBadResult or
// ErrUnknownVersion. The response aliases r.Data.
func DecodeResult(cmd Command, r rsm.Result) (Response, error) {
	d := reader{b: r.Data}
	if len(r.Data) > 0 {
		if v := d.byte(); v != resultVersion {
			return nil, fmt.Errorf("%w: result of version %d", ErrUnknownVersion, v)
		}
		switch c := Code(d.byte()); {
		case d.bad || c >= codeEnd:
			return nil, ErrBadResult
		case c != CodeOK:
			if !d.done() {
				return nil, ErrBadResult
			}
			return nil, byCode[c]
		}
	}
	if r.Value > 1<<63-1 {
		return nil, ErrBadResult
	}
	revision := int64(r.Value)
	empty := len(r.Data) == 0
	var resp Response
	switch cmd.kind() {
	case kindPut:
		p := &PutResponse{Revision: revision}
		if !empty {
			kv := d.keyValue()
			p.PrevKV = &kv
		}
		resp = p
	case kindDeleteRange:
		p := &DeleteRangeResponse{Revision: revision}
		if !empty {
			p.Deleted, p.PrevKVs = d.int(), d.keyValues()
		}
		resp = p
	case kindTxn:
		if empty {
			return nil, ErrBadResult
		}
		t := d.txnResponse(maxTxnDepth)
		if t != nil {
			t.Revision = revision
		}
		resp = t
	case kindCompact:
		resp = &CompactResponse{Revision: revision}
	case kindLeaseGrant:
		resp = &LeaseGrantResponse{Revision: revision, ID: d.int(), TTL: d.int()}
	case kindLeaseRevoke:
		resp = &LeaseRevokeResponse{Revision: revision}
	case kindLeaseCheckpoint, kindLeaseRenew:
		resp = &LeaseRenewResponse{Revision: revision}
	case kindAlarm:
		a := &AlarmResponse{Revision: revision}
		if !empty {
			for range d.count() {
				if d.bad {
					break
				}
				a.Alarms = append(a.Alarms, Alarm{Member: d.uint(), Type: AlarmType(d.int32())})
			}
		}
		resp = a
	case kindPublish:
		resp = &PublishResponse{Revision: revision}
	case kindCheck:
		resp = &CheckResponse{Revision: revision}
	}
	if !d.done() {
		return nil, ErrBadResult
	}
	return resp, nil
}

func refusal(c Code) []byte { return []byte{resultVersion, byte(c)} }

var okHead = []byte{resultVersion, byte(CodeOK)}

func (kv *KeyValue) size() int { return len(kv.Key) + len(kv.Value) + 24 }

func (kv *KeyValue) appendTo(dst []byte) []byte {
	dst = appendBytes(dst, kv.Key)
	dst = appendBytes(dst, kv.Value)
	dst = appendInt(dst, kv.CreateRevision)
	dst = appendInt(dst, kv.ModRevision)
	dst = appendInt(dst, kv.Version)
	return appendInt(dst, kv.Lease)
}

func (r *reader) keyValue() KeyValue {
	return KeyValue{
		Key: r.bytes(), Value: r.bytes(), CreateRevision: r.int(), ModRevision: r.int(),
		Version: r.int(), Lease: r.int(),
	}
}

func appendKeyValues(dst []byte, kvs []KeyValue) []byte {
	dst = appendUint(dst, uint64(len(kvs)))
	for i := range kvs {
		dst = kvs[i].appendTo(dst)
	}
	return dst
}

func (r *reader) keyValues() []KeyValue {
	n := r.count()
	if n == 0 {
		return nil
	}
	// Each takes six bytes at least.
	kvs := make([]KeyValue, 0, min(n, len(r.b)/6))
	for range n {
		if r.bad {
			return nil
		}
		kvs = append(kvs, r.keyValue())
	}
	return kvs
}

func (p *PutResponse) appendData(dst []byte) []byte {
	if p.PrevKV == nil {
		return dst
	}
	return p.PrevKV.appendTo(append(dst, okHead...))
}

func (p *DeleteRangeResponse) appendData(dst []byte) []byte {
	if p.Deleted == 0 {
		return dst
	}
	dst = appendInt(append(dst, okHead...), p.Deleted)
	return appendKeyValues(dst, p.PrevKVs)
}

func (t *TxnResponse) appendData(dst []byte) []byte {
	return t.appendFields(append(dst, okHead...))
}

// appendFields leaves out the revision, which a nested one does not have.
func (t *TxnResponse) appendFields(dst []byte) []byte {
	dst = append(dst, bit(t.Succeeded, 1))
	dst = appendUint(dst, uint64(len(t.Responses)))
	for i := range t.Responses {
		switch op := &t.Responses[i]; {
		case op.Range != nil:
			dst = append(dst, byte(kindRange), bit(op.Range.More, 1))
			dst = appendInt(appendInt(dst, op.Range.Revision), op.Range.Count)
			dst = appendKeyValues(dst, op.Range.KVs)
		case op.Put != nil:
			dst = append(dst, byte(kindPut), bit(op.Put.PrevKV != nil, 1))
			dst = appendInt(dst, op.Put.Revision)
			if op.Put.PrevKV != nil {
				dst = op.Put.PrevKV.appendTo(dst)
			}
		case op.DeleteRange != nil:
			dst = append(dst, byte(kindDeleteRange))
			dst = appendInt(appendInt(dst, op.DeleteRange.Revision), op.DeleteRange.Deleted)
			dst = appendKeyValues(dst, op.DeleteRange.PrevKVs)
		case op.Txn != nil:
			dst = op.Txn.appendFields(append(dst, byte(kindTxn)))
		}
	}
	return dst
}

func (r *reader) txnResponse(depth int) *TxnResponse {
	if depth == 0 {
		r.fail()
		return nil
	}
	t := &TxnResponse{Succeeded: r.flags(1) != 0}
	n := r.count()
	if n > 0 {
		t.Responses = make([]ResponseOp, 0, min(n, len(r.b)/3))
	}
	for range n {
		var op ResponseOp
		switch kind(r.byte()) {
		case kindRange:
			more := r.flags(1) != 0
			op.Range = &RangeResponse{More: more, Revision: r.int(), Count: r.int(), KVs: r.keyValues()}
		case kindPut:
			prev := r.flags(1) != 0
			op.Put = &PutResponse{Revision: r.int()}
			if prev {
				kv := r.keyValue()
				op.Put.PrevKV = &kv
			}
		case kindDeleteRange:
			op.DeleteRange = &DeleteRangeResponse{Revision: r.int(), Deleted: r.int(), PrevKVs: r.keyValues()}
		case kindTxn:
			op.Txn = r.txnResponse(depth - 1)
		default:
			r.fail()
		}
		if r.bad {
			return nil
		}
		t.Responses = append(t.Responses, op)
	}
	return t
}

func (g *LeaseGrantResponse) appendData(dst []byte) []byte {
	return appendInt(appendInt(append(dst, okHead...), g.ID), g.TTL)
}

func (a *AlarmResponse) appendData(dst []byte) []byte {
	if len(a.Alarms) == 0 {
		return dst
	}
	dst = appendUint(append(dst, okHead...), uint64(len(a.Alarms)))
	for _, al := range a.Alarms {
		dst = appendInt(appendUint(dst, al.Member), int64(al.Type))
	}
	return dst
}
