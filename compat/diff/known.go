package diff

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// A Difference is something that Quorate does otherwise than etcd, on purpose, and
// the operations that show it. The sequences draw none of these.
type Difference struct {
	RPC  string // as "KV.Txn"
	Says string
	Ops  []Op
	// EtcdPanics: the operations are for Quorate alone.
	EtcdPanics bool
}

func puts(names ...string) []Op {
	var ops []Op
	for _, k := range names {
		ops = append(ops, Op{Kind: Put, Msg: &pb.PutRequest{Key: []byte(k)}})
	}
	return ops
}

// Differences are all that are known.
var Differences = []Difference{
	{
		RPC: "KV.RangeStream",
		Says: "With a `sort_target` other than KEY and no `sort_order` etcd sorts each part of the answer by itself, " +
			"goes on after whatever key came last, and so misses and miscounts keys. Quorate counts them all.",
		Ops: append(puts("a", "b", "a", "d", "e", "f"), Op{Kind: RangeStream, Msg: &pb.RangeRequest{
			Key: []byte("0"), RangeEnd: []byte{0}, Limit: 4, SortTarget: pb.RangeRequest_VERSION,
		}}),
	},
	{
		RPC: "KV.Txn",
		Says: "A transaction that deletes all keys from one on (`range_end` \"\\0\") and then puts one of them with " +
			"`ignore_value` or `ignore_lease`: etcd panics, and again whenever it starts. Quorate answers it.",
		Ops: append(puts("b"), Op{Kind: Txn, Msg: &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}}},
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b"), IgnoreValue: true}}},
		}}}),
		EtcdPanics: true,
	},
	{
		RPC: "Maintenance.HashKV",
		Says: "At the revision of a past compaction etcd answers with the hash that it kept from then, and the compaction " +
			"before that as `compact_revision`; Quorate with the present ones.",
		Ops: append(puts("a", "a"), Op{Kind: Compact, Msg: &pb.CompactionRequest{Revision: 3, Physical: true}},
			Op{Kind: HashKV, Msg: &pb.HashKVRequest{Revision: 3}}),
	},
	{
		RPC: "Maintenance.HashKV",
		Says: "After a compaction to 0, which both accept as the first one, etcd answers a request for the present revision " +
			"with the hash of revision 0; Quorate with that of the present one.",
		Ops: append(puts("a"), Op{Kind: Compact, Msg: &pb.CompactionRequest{Physical: true}}, Op{Kind: HashKV, Msg: &pb.HashKVRequest{}}),
	},
}
