package store

import (
	"fmt"
)

// A command, as it lies in the log:
//
//	+---------+------+----------------------------------------+
//	| version | kind | the request's fields in their order     |
//	|   u8    |  u8  | (flags as one byte, integers as varints) |
//	+---------+------+----------------------------------------+
//
// The version rises when an older program could not read what is written; such
// a program stops rather than guess (ErrUnknownVersion).
const commandVersion = 1

// maxTxnDepth bounds how deep transactions nest in one command.
const maxTxnDepth = 256

type kind uint8

const (
	kindPut kind = 1 + iota
	kindDeleteRange
	kindTxn
	kindCompact
	kindLeaseGrant
	kindLeaseRevoke
	kindLeaseCheckpoint
	kindLeaseRenew
	kindAlarm
	kindPublish
	kindRange // within a transaction only
	kindCheck
)

// Command is what may be proposed: *PutRequest, *DeleteRangeRequest,
// *TxnRequest, *CompactRequest, *LeaseGrantRequest, *LeaseRevokeRequest,
// *LeaseCheckpointRequest, *LeaseRenewRequest, *AlarmRequest, *PublishRequest and
// *CheckRequest.
type Command interface {
	kind() kind
	appendTo(dst []byte) []byte
}

func (*PutRequest) kind() kind             { return kindPut }
func (*DeleteRangeRequest) kind() kind     { return kindDeleteRange }
func (*TxnRequest) kind() kind             { return kindTxn }
func (*CompactRequest) kind() kind         { return kindCompact }
func (*LeaseGrantRequest) kind() kind      { return kindLeaseGrant }
func (*LeaseRevokeRequest) kind() kind     { return kindLeaseRevoke }
func (*LeaseCheckpointRequest) kind() kind { return kindLeaseCheckpoint }
func (*LeaseRenewRequest) kind() kind      { return kindLeaseRenew }
func (*AlarmRequest) kind() kind           { return kindAlarm }
func (*PublishRequest) kind() kind         { return kindPublish }
func (*CheckRequest) kind() kind           { return kindCheck }

// AppendCommand appends cmd as a command's bytes.
func AppendCommand(dst []byte, cmd Command) []byte {
	return cmd.appendTo(append(dst, commandVersion, byte(cmd.kind())))
}

// DecodeCommand is the inverse of AppendCommand. The command aliases b. The
// error is ErrUnknownVersion or ErrBadCommand.
func DecodeCommand(b []byte) (Command, error) {
	if len(b) > 0 && b[0] > commandVersion {
		return nil, fmt.Errorf("%w: command of version %d", ErrUnknownVersion, b[0])
	}
	if len(b) < 2 || b[0] != commandVersion {
		return nil, ErrBadCommand
	}
	r := reader{b: b[2:]}
	var cmd Command
	switch kind(b[1]) {
	case kindPut:
		cmd = r.put(new(PutRequest))
	case kindDeleteRange:
		cmd = r.deleteRange()
	case kindTxn:
		cmd = r.txn(maxTxnDepth)
	case kindCompact:
		cmd = &CompactRequest{Revision: r.int()}
	case kindLeaseGrant:
		cmd = &LeaseGrantRequest{ID: r.int(), TTL: r.int()}
	case kindLeaseRevoke:
		cmd = &LeaseRevokeRequest{ID: r.int(), Term: r.uint()}
	case kindLeaseCheckpoint:
		cmd = r.leaseCheckpoint()
	case kindLeaseRenew:
		cmd = r.leaseRenew()
	case kindAlarm:
		cmd = &AlarmRequest{Action: AlarmAction(r.int32()), Member: r.uint(), Alarm: AlarmType(r.int32())}
	case kindPublish:
		cmd = r.publish()
	case kindCheck:
		cmd = &CheckRequest{Sample: r.uint(), Member: r.uint(), Hash: r.uint()}
	default:
		return nil, fmt.Errorf("%w: kind %d", ErrBadCommand, b[1])
	}
	if !r.done() {
		return nil, fmt.Errorf("%w: kind %d", ErrBadCommand, b[1])
	}
	return cmd, nil
}

const (
	flagPrevKV      = 1
	flagIgnoreValue = 2
	flagIgnoreLease = 4

	flagKeysOnly  = 1
	flagCountOnly = 2
	flagSorted    = 4 // order and target follow
	flagBounds    = 8 // the bounds on revisions follow
)

func bit(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

func (p *PutRequest) appendTo(dst []byte) []byte {
	dst = append(dst, bit(p.PrevKV, flagPrevKV)|bit(p.IgnoreValue, flagIgnoreValue)|bit(p.IgnoreLease, flagIgnoreLease))
	dst = appendInt(dst, p.Lease)
	dst = appendBytes(dst, p.Key)
	return appendBytes(dst, p.Value)
}

func (r *reader) put(p *PutRequest) *PutRequest {
	f := r.flags(flagPrevKV | flagIgnoreValue | flagIgnoreLease)
	*p = PutRequest{PrevKV: f&flagPrevKV != 0, IgnoreValue: f&flagIgnoreValue != 0, IgnoreLease: f&flagIgnoreLease != 0}
	p.Lease = r.int()
	p.Key = r.bytes()
	p.Value = r.bytes()
	return p
}

func (d *DeleteRangeRequest) appendTo(dst []byte) []byte {
	dst = append(dst, bit(d.PrevKV, flagPrevKV))
	dst = appendBytes(dst, d.Key)
	return appendBytes(dst, d.RangeEnd)
}

func (r *reader) deleteRange() *DeleteRangeRequest {
	f := r.flags(flagPrevKV)
	return &DeleteRangeRequest{PrevKV: f&flagPrevKV != 0, Key: r.bytes(), RangeEnd: r.bytes()}
}

func (q *RangeRequest) appendTo(dst []byte) []byte {
	sorted := q.SortOrder != 0 || q.SortTarget != 0
	bounds := q.hasRevisionBounds()
	dst = append(dst, bit(q.KeysOnly, flagKeysOnly)|bit(q.CountOnly, flagCountOnly)|bit(sorted, flagSorted)|bit(bounds, flagBounds))
	dst = appendBytes(dst, q.Key)
	dst = appendBytes(dst, q.RangeEnd)
	dst = appendInt(dst, q.Limit)
	dst = appendInt(dst, q.Revision)
	if sorted {
		dst = appendInt(dst, int64(q.SortOrder))
		dst = appendInt(dst, int64(q.SortTarget))
	}
	if bounds {
		dst = appendInt(dst, q.MinModRevision)
		dst = appendInt(dst, q.MaxModRevision)
		dst = appendInt(dst, q.MinCreateRevision)
		dst = appendInt(dst, q.MaxCreateRevision)
	}
	return dst
}

func (q *RangeRequest) hasRevisionBounds() bool {
	return q.MinModRevision != 0 || q.MaxModRevision != 0 || q.MinCreateRevision != 0 || q.MaxCreateRevision != 0
}

func (r *reader) rangeRequest() *RangeRequest {
	f := r.flags(flagKeysOnly | flagCountOnly | flagSorted | flagBounds)
	q := &RangeRequest{
		KeysOnly: f&flagKeysOnly != 0, CountOnly: f&flagCountOnly != 0,
		Key: r.bytes(), RangeEnd: r.bytes(), Limit: r.int(), Revision: r.int(),
	}
	if f&flagSorted != 0 {
		q.SortOrder = SortOrder(r.int32())
		q.SortTarget = SortTarget(r.int32())
		if q.SortOrder == 0 && q.SortTarget == 0 {
			r.fail()
		}
	}
	if f&flagBounds != 0 {
		q.MinModRevision, q.MaxModRevision = r.int(), r.int()
		q.MinCreateRevision, q.MaxCreateRevision = r.int(), r.int()
		if !q.hasRevisionBounds() {
			r.fail()
		}
	}
	return q
}

func (t *TxnRequest) appendTo(dst []byte) []byte {
	dst = appendUint(dst, uint64(len(t.Compare)))
	for i := range t.Compare {
		dst = t.Compare[i].appendTo(dst)
	}
	dst = appendOps(dst, t.Success)
	return appendOps(dst, t.Failure)
}

func (c *Compare) appendTo(dst []byte) []byte {
	dst = appendInt(dst, int64(c.Result))
	dst = appendInt(dst, int64(c.Target))
	dst = appendBytes(dst, c.Key)
	dst = appendBytes(dst, c.RangeEnd)
	dst = appendBytes(dst, c.Value)
	return appendInt(dst, c.Number)
}

func appendOps(dst []byte, ops []RequestOp) []byte {
	dst = appendUint(dst, uint64(len(ops)))
	for i := range ops {
		switch op := &ops[i]; {
		case op.Range != nil:
			dst = op.Range.appendTo(append(dst, byte(kindRange)))
		case op.Put != nil:
			dst = op.Put.appendTo(append(dst, byte(kindPut)))
		case op.DeleteRange != nil:
			dst = op.DeleteRange.appendTo(append(dst, byte(kindDeleteRange)))
		case op.Txn != nil:
			dst = op.Txn.appendTo(append(dst, byte(kindTxn)))
		default:
			dst = append(dst, 0)
		}
	}
	return dst
}

func (r *reader) txn(depth int) *TxnRequest {
	if depth == 0 {
		r.fail()
		return nil
	}
	t := &TxnRequest{}
	if n := r.count(); n > 0 {
		// Each takes six bytes at least.
		t.Compare = make([]Compare, 0, min(n, len(r.b)/6))
		for range n {
			if r.bad {
				break
			}
			t.Compare = append(t.Compare, Compare{
				Result: CompareResult(r.int32()), Target: CompareTarget(r.int32()),
				Key: r.bytes(), RangeEnd: r.bytes(), Value: r.bytes(), Number: r.int(),
			})
		}
	}
	t.Success = r.ops(depth)
	t.Failure = r.ops(depth)
	return t
}

func (r *reader) ops(depth int) []RequestOp {
	n := r.count()
	if n == 0 {
		return nil
	}
	ops := make([]RequestOp, 0, min(n, len(r.b)/3))
	for range n {
		var op RequestOp
		switch kind(r.byte()) {
		case kindRange:
			op.Range = r.rangeRequest()
		case kindPut:
			op.Put = r.put(new(PutRequest))
		case kindDeleteRange:
			op.DeleteRange = r.deleteRange()
		case kindTxn:
			op.Txn = r.txn(depth - 1)
		default:
			r.fail()
		}
		if r.bad {
			return nil
		}
		ops = append(ops, op)
	}
	return ops
}

func (c *CompactRequest) appendTo(dst []byte) []byte { return appendInt(dst, c.Revision) }

func (g *LeaseGrantRequest) appendTo(dst []byte) []byte {
	return appendInt(appendInt(dst, g.ID), g.TTL)
}

func (v *LeaseRevokeRequest) appendTo(dst []byte) []byte {
	return appendUint(appendInt(dst, v.ID), v.Term)
}

func (c *LeaseCheckpointRequest) appendTo(dst []byte) []byte {
	dst = appendUint(dst, uint64(len(c.Checkpoints)))
	for _, p := range c.Checkpoints {
		dst = appendInt(appendInt(dst, p.ID), p.Remaining)
	}
	return appendUint(dst, c.Term)
}

func (r *reader) leaseCheckpoint() *LeaseCheckpointRequest {
	c := &LeaseCheckpointRequest{}
	if n := r.count(); n > 0 {
		c.Checkpoints = make([]LeaseCheckpoint, 0, min(n, len(r.b)/2))
		for range n {
			if r.bad {
				break
			}
			c.Checkpoints = append(c.Checkpoints, LeaseCheckpoint{ID: r.int(), Remaining: r.int()})
		}
	}
	c.Term = r.uint()
	return c
}

func (n *LeaseRenewRequest) appendTo(dst []byte) []byte {
	dst = appendUint(dst, uint64(len(n.IDs)))
	for _, id := range n.IDs {
		dst = appendInt(dst, id)
	}
	return dst
}

func (r *reader) leaseRenew() *LeaseRenewRequest {
	req := &LeaseRenewRequest{}
	if n := r.count(); n > 0 {
		req.IDs = make([]int64, 0, n)
		for range n {
			req.IDs = append(req.IDs, r.int())
		}
	}
	return req
}

func (a *AlarmRequest) appendTo(dst []byte) []byte {
	dst = appendInt(dst, int64(a.Action))
	dst = appendUint(dst, a.Member)
	return appendInt(dst, int64(a.Alarm))
}

func (c *CheckRequest) appendTo(dst []byte) []byte {
	return appendUint(appendUint(appendUint(dst, c.Sample), c.Member), c.Hash)
}

func (p *PublishRequest) appendTo(dst []byte) []byte { return p.Member.appendTo(dst) }

func (m *Member) appendTo(dst []byte) []byte {
	dst = appendUint(dst, m.ID)
	dst = appendString(dst, m.Name)
	dst = appendUint(dst, uint64(len(m.ClientURLs)))
	for _, u := range m.ClientURLs {
		dst = appendString(dst, u)
	}
	return dst
}

func (r *reader) member() Member {
	m := Member{ID: r.uint(), Name: string(r.bytes())}
	for range r.count() {
		if r.bad {
			break
		}
		m.ClientURLs = append(m.ClientURLs, string(r.bytes()))
	}
	return m
}

func (r *reader) publish() *PublishRequest { return &PublishRequest{Member: r.member()} }
