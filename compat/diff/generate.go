package diff

import (
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Limits that both servers are started with, small so that they are reached.
const (
	MaxRequestBytes = 8192
	MaxTxnOps       = 16
)

// Streams is how many watch streams a sequence uses.
const Streams = 3

// The key space is small, so that operations meet; its order has the snags of
// zero bytes, prefixes and bytes beyond ASCII.
var keys = [][]byte{
	[]byte("\x00"), []byte("\x00\x00"), []byte("a"), []byte("a\x00"), []byte("a/1"), []byte("a/2"), []byte("aa"),
	[]byte("b"), []byte("b/"), []byte("b/1"), []byte("c"), []byte("d"), []byte("e"), []byte("k\xff"), []byte("\xff"),
	[]byte("\xff\xff"),
}

var values = [][]byte{
	nil, []byte("0"), []byte("1"), []byte("2"), []byte("10"), []byte("\x00"), []byte("\xff"), []byte("value"),
}

var leases = []int64{1, 2, 3, 4, -7, 1 << 33}

// A generator draws operations. The same seed draws the same ones.
type generator struct {
	*rand.Rand
	kinds []weighted
	sum   int
}

// weighted is a drawing and how often it comes, of the sum of all.
type weighted struct {
	weight int
	draw   func(g generator) []Op
}

// Generate draws n operations from a seed.
func Generate(seed uint64, n int) []Op {
	g := generator{Rand: rand.New(rand.NewPCG(seed, 0x71756f72617465)), kinds: kinds()}
	for _, k := range g.kinds {
		g.sum += k.weight
	}
	ops := make([]Op, 0, n)
	for len(ops) < n {
		ops = append(ops, g.ops()...)
	}
	return append(ops[:n:n], Op{Kind: Settle})
}

func (g generator) chance(oneIn int) bool { return g.IntN(oneIn) == 0 }

func pick[T any](g generator, from []T) T { return from[g.IntN(len(from))] }

func one(k Kind, m proto.Message) []Op { return []Op{{Kind: k, Msg: m}} }

func kinds() []weighted {
	return []weighted{
		{220, func(g generator) []Op { return one(Put, g.put()) }},
		{170, func(g generator) []Op { return one(Range, g.rangeRequest()) }},
		{30, func(g generator) []Op { return one(RangeStream, g.streamedRange()) }},
		{70, func(g generator) []Op { return one(DeleteRange, g.deleteRange()) }},
		{170, func(g generator) []Op { return one(Txn, harmless(g.txn(3))) }},
		{12, func(g generator) []Op { return one(Compact, g.compact()) }},
		{30, func(g generator) []Op { return one(LeaseGrant, g.leaseGrant()) }},
		{14, func(g generator) []Op { return one(LeaseRevoke, &pb.LeaseRevokeRequest{ID: g.lease()}) }},
		{12, func(g generator) []Op { return one(LeaseKeepAlive, &pb.LeaseKeepAliveRequest{ID: g.lease()}) }},
		{20, func(g generator) []Op {
			return one(LeaseTimeToLive, &pb.LeaseTimeToLiveRequest{ID: g.lease(), Keys: !g.chance(3)})
		}},
		{8, func(g generator) []Op { return one(LeaseLeases, &pb.LeaseLeasesRequest{}) }},
		{40, generator.watchCreate},
		{20, func(g generator) []Op {
			return []Op{{Kind: WatchCancel, Msg: &pb.WatchCancelRequest{WatchId: int64(g.IntN(12))}, Stream: g.stream()}}
		}},
		{14, func(g generator) []Op {
			return []Op{{Kind: WatchProgress, Msg: &pb.WatchProgressRequest{}, Stream: g.stream()}}
		}},
		{5, func(g generator) []Op { return []Op{{Kind: WatchClose, Stream: g.stream()}} }},
		{6, func(generator) []Op { return []Op{{Kind: Settle}} }},
		{3, generator.alarm},
		{3, func(g generator) []Op { return one(MemberList, &pb.MemberListRequest{Linearizable: g.chance(2)}) }},
		{2, func(generator) []Op { return one(Status, &pb.StatusRequest{}) }},
		{4, func(g generator) []Op { return one(HashKV, g.hashKV()) }},
		{1, func(generator) []Op { return one(Hash, &pb.HashRequest{}) }},
		{1, func(generator) []Op { return one(Defragment, &pb.DefragmentRequest{}) }},
	}
}

func (g generator) ops() []Op {
	n := g.IntN(g.sum)
	for _, k := range g.kinds {
		if n -= k.weight; n < 0 {
			return k.draw(g)
		}
	}
	panic("diff: the weights do not sum up")
}

func (g generator) key() []byte {
	if g.chance(60) {
		return nil // refused
	}
	return pick(g, keys)
}

func (g generator) value() []byte {
	switch {
	case g.chance(400):
		return make([]byte, MaxRequestBytes+600<<10) // more than the connection takes
	case g.chance(120):
		return make([]byte, MaxRequestBytes+100) // more than a request may have
	case g.chance(50):
		return make([]byte, 700)
	}
	return pick(g, values)
}

func (g generator) lease() int64 {
	if g.chance(12) {
		return int64(g.IntN(100)) // hardly one that exists; now and then none at all
	}
	return pick(g, leases)
}

// rangeEnd draws the end of a range that begins at key.
func (g generator) rangeEnd(key []byte) []byte {
	switch g.IntN(8) {
	case 0, 1, 2:
		return nil // the key alone
	case 3:
		return []byte{0} // all from key on
	case 4:
		return prefixEnd(key)
	default:
		return pick(g, keys) // now and then before key: empty
	}
}

func prefixEnd(key []byte) []byte {
	end := append([]byte(nil), key...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

// revision draws what a read, a watch or a compaction may name: zero mostly,
// else around the present one and the last compaction's, and nonsense.
func (g generator) revision() int64 {
	switch g.IntN(16) {
	case 0, 1, 2:
		return current(-int64(g.IntN(40)))
	case 3:
		return current(0)
	case 4:
		return compacted(int64(g.IntN(3)) - 1)
	case 5:
		return compacted(int64(g.IntN(20)))
	case 6:
		if g.chance(3) {
			return current(1 + int64(g.IntN(3)))
		}
		return 1 + int64(g.IntN(5))
	case 7:
		if g.chance(6) {
			return -int64(g.IntN(4))
		}
	}
	return 0
}

func (g generator) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{Key: g.key()}
	r.RangeEnd = g.rangeEnd(r.Key)
	if g.chance(3) {
		r.Limit = int64(g.IntN(6))
	}
	if g.chance(60) {
		r.Limit = -1
	}
	r.Revision = g.revision()
	if g.chance(3) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.IntN(5))
	}
	if g.chance(80) {
		r.SortOrder = 7 // refused
	}
	if g.chance(80) {
		r.SortTarget = 9 // refused
	}
	r.Serializable = g.chance(3)
	r.KeysOnly = g.chance(6)
	r.CountOnly = g.chance(8)
	if g.chance(10) {
		for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
			if g.chance(2) {
				*bound = current(-int64(g.IntN(60)))
			}
		}
	}
	return r
}

// streamedRange has no target to sort by without an order: etcd does not refuse
// it, sorts each part by itself, and goes on after whatever key came last.
func (g generator) streamedRange() *pb.RangeRequest {
	r := g.rangeRequest()
	if r.SortOrder == pb.RangeRequest_NONE && r.SortTarget <= pb.RangeRequest_VALUE {
		r.SortTarget = pb.RangeRequest_KEY
	}
	return r
}

func (g generator) put() *pb.PutRequest {
	p := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.chance(3)}
	if g.chance(4) {
		p.Lease = g.lease()
	}
	if g.chance(12) {
		p.IgnoreValue = true
		if !g.chance(8) {
			p.Value = nil
		}
	}
	if g.chance(12) {
		p.IgnoreLease = true
		if !g.chance(8) {
			p.Lease = 0
		}
	}
	return p
}

func (g generator) deleteRange() *pb.DeleteRangeRequest {
	d := &pb.DeleteRangeRequest{Key: g.key(), PrevKv: g.chance(2)}
	if g.chance(3) {
		d.RangeEnd = g.rangeEnd(d.Key)
	}
	return d
}

func (g generator) compare() *pb.Compare {
	c := &pb.Compare{
		Key: g.key(), Result: pb.Compare_CompareResult(g.IntN(4)), Target: pb.Compare_CompareTarget(g.IntN(5)),
	}
	if g.chance(4) {
		c.RangeEnd = g.rangeEnd(c.Key)
	}
	union := c.Target
	if g.chance(30) {
		union = pb.Compare_CompareTarget(g.IntN(6)) // another's, or none
	}
	switch union {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: int64(g.IntN(4))}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.comparedRevision()}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.comparedRevision()}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: pick(g, values)}
	case pb.Compare_LEASE:
		l := int64(0)
		if g.chance(2) {
			l = pick(g, leases)
		}
		c.TargetUnion = &pb.Compare_Lease{Lease: l}
	}
	if g.chance(60) {
		c.Result = 9 // no such comparison
	}
	if g.chance(60) {
		c.Target = 9
	}
	return c
}

func (g generator) comparedRevision() int64 {
	if g.chance(3) {
		return 0 // the key does not exist
	}
	return current(-int64(g.IntN(30)))
}

func (g generator) txn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range g.IntN(3) {
		t.Compare = append(t.Compare, g.compare())
	}
	if g.chance(60) { // too many
		for range MaxTxnOps + 1 {
			t.Success = append(t.Success, put("d"))
		}
		return t
	}
	if g.chance(60) { // too many of two depths together
		inner := &pb.TxnRequest{}
		for range MaxTxnOps {
			inner.Failure = append(inner.Failure, get("a"))
		}
		t.Success = append(t.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: inner}})
		return t
	}
	t.Success = g.requestOps(depth)
	t.Failure = g.requestOps(depth)
	return t
}

// harmless changes a transaction that could crash etcd, which does not see that a
// deletion of all keys from one on overlaps a put.
func harmless(t *pb.TxnRequest) *pb.TxnRequest {
	var endless []*pb.DeleteRangeRequest
	puts := 0
	var walk func(t *pb.TxnRequest)
	walk = func(t *pb.TxnRequest) {
		for _, op := range slices.Concat(t.Success, t.Failure) {
			if d := op.GetRequestDeleteRange(); d != nil && len(d.RangeEnd) == 1 && d.RangeEnd[0] == 0 {
				endless = append(endless, d)
			}
			if op.GetRequestPut() != nil {
				puts++
			}
			if inner := op.GetRequestTxn(); inner != nil {
				walk(inner)
			}
		}
	}
	walk(t)
	if puts > 0 {
		for _, d := range endless {
			d.RangeEnd = []byte("\xff\xff\xff")
		}
	}
	return t
}

func put(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func get(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}

func (g generator) requestOps(depth int) []*pb.RequestOp {
	var ops []*pb.RequestOp
	readOnly := g.chance(4)
	for range g.IntN(4) {
		op := &pb.RequestOp{}
		switch n := g.IntN(12); {
		case g.chance(80): // an operation that says nothing
		case readOnly || n < 4:
			op.Request = &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}
		case n < 8:
			p := g.put()
			if len(p.Value) > 100 {
				p.Value = nil // the size of requests is drawn for puts alone
			}
			op.Request = &pb.RequestOp_RequestPut{RequestPut: p}
		case n < 10 || depth == 0:
			op.Request = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.deleteRange()}
		default:
			op.Request = &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth - 1)}
		}
		ops = append(ops, op)
	}
	return ops
}

func (g generator) compact() *pb.CompactionRequest {
	c := &pb.CompactionRequest{Revision: current(-int64(g.IntN(60))), Physical: g.chance(2)}
	switch g.IntN(6) {
	case 0:
		c.Revision = g.revision()
	case 1:
		c.Revision = compacted(int64(g.IntN(6)))
	}
	if c.Revision == 0 {
		// After a first compaction to 0 etcd takes its kept hash of revision 0 for
		// that of the present one.
		c.Revision = compacted(1)
	}
	return c
}

func (g generator) leaseGrant() *pb.LeaseGrantRequest {
	// Long enough to outlive the sequence.
	l := &pb.LeaseGrantRequest{ID: g.lease(), TTL: 3600 + int64(g.IntN(100))}
	switch {
	case g.chance(20):
		l.ID = 0 // the server chooses; it is revoked at once
	case g.chance(20):
		l.TTL = 9_000_000_001 // refused
	case g.chance(20):
		l.TTL = 9_000_000_000
	case g.chance(8):
		l.TTL = int64(g.IntN(4)) - 1 // raised to the least; it is revoked at once
	}
	return l
}

// hashKV names the present revision, a future or a negative one. At the revision
// of a past compaction etcd answers from a list that it keeps for itself.
func (g generator) hashKV() *pb.HashKVRequest {
	if g.chance(4) {
		return &pb.HashKVRequest{Revision: current(1 + int64(g.IntN(3)))}
	}
	if g.chance(6) {
		return &pb.HashKVRequest{Revision: -1 - int64(g.IntN(3))}
	}
	return &pb.HashKVRequest{}
}

func (g generator) stream() int { return g.IntN(Streams) }

func (g generator) watchCreate() []Op {
	w := &pb.WatchCreateRequest{
		Key: pick(g, keys), PrevKv: g.chance(2), Fragment: g.chance(4), ProgressNotify: g.chance(6),
	}
	if g.chance(10) {
		w.Key = nil // as the least key
	}
	w.RangeEnd = g.rangeEnd(w.Key)
	if g.chance(2) {
		w.RangeEnd = []byte{0}
	}
	if g.chance(2) {
		w.StartRevision = g.revision()
	}
	if g.chance(12) {
		w.StartRevision = compacted(-1)
	}
	if g.chance(40) {
		w.StartRevision = -1 // refused
	}
	for _, f := range []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE} {
		if g.chance(6) {
			w.Filters = append(w.Filters, f)
		}
	}
	if g.chance(40) {
		w.Filters = append(w.Filters, 5) // no such filter
	}
	if g.chance(3) {
		w.WatchId = int64(g.IntN(12))
	}
	return []Op{{Kind: WatchCreate, Msg: w, Stream: g.stream()}}
}

// alarm is raised and, a few operations later, lifted again, so that most of a
// sequence runs without.
func (g generator) alarm() []Op {
	a := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: pick(g, []uint64{0, 77})}
	if g.chance(4) {
		// The alarm NOSPACE of its own Quorate lifts by itself when there is space.
		a.Alarm, a.MemberID = pb.AlarmType_CORRUPT, selfMember
	}
	ops := []Op{{Kind: Alarm, Msg: a}}
	for range 1 + g.IntN(8) {
		ops = append(ops, g.otherThanAlarm()...)
	}
	list := &pb.AlarmRequest{Action: pb.AlarmRequest_GET}
	if g.chance(2) {
		list.Alarm = pb.AlarmType_NOSPACE
	}
	off := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: a.Alarm, MemberID: a.MemberID}
	return append(ops, Op{Kind: Alarm, Msg: list}, Op{Kind: Alarm, Msg: off})
}

// otherThanAlarm draws what meets an alarm.
func (g generator) otherThanAlarm() []Op {
	for {
		if ops := g.ops(); ops[0].Kind != Alarm {
			return ops
		}
	}
}
