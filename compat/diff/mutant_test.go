package diff

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A mutant is an etcd that does one thing wrong. It keeps what it must know.
type mutant struct {
	name string
	// make returns how one server's answers are falsified.
	make func() falsifier
}

// falsifier changes what passes between client and server; each part may be nil.
type falsifier struct {
	request func(req any)
	answer  func(req, resp any)
	refuse  func(err error) error
	// watched returns what the client gets instead of resp, perhaps nothing.
	watched func(resp *pb.WatchResponse) []*pb.WatchResponse
}

// falsified passes everything through a falsifier.
type falsified struct {
	grpc.ClientConnInterface
	falsifier
}

func (f falsified) Invoke(ctx context.Context, method string, req, resp any, opts ...grpc.CallOption) error {
	if f.request != nil {
		f.request(req)
	}
	err := f.ClientConnInterface.Invoke(ctx, method, req, resp, opts...)
	if err != nil && f.refuse != nil {
		return f.refuse(err)
	}
	if err == nil && f.answer != nil {
		f.answer(req, resp)
	}
	return err
}

func (f falsified) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	st, err := f.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil || f.watched == nil || !strings.HasSuffix(method, "/Watch") {
		return st, err
	}
	return &falsifiedWatch{ClientStream: st, watched: f.watched}, nil
}

type falsifiedWatch struct {
	grpc.ClientStream
	watched func(*pb.WatchResponse) []*pb.WatchResponse
	queue   []*pb.WatchResponse
}

func (w *falsifiedWatch) RecvMsg(m any) error {
	for len(w.queue) == 0 {
		resp := new(pb.WatchResponse)
		if err := w.ClientStream.RecvMsg(resp); err != nil {
			return err
		}
		w.queue = w.watched(resp)
	}
	proto.Merge(m.(proto.Message), w.queue[0])
	w.queue = w.queue[1:]
	return nil
}

func onAnswer[R any](change func(req any, resp R)) func() falsifier {
	return func() falsifier {
		return falsifier{answer: func(req, resp any) {
			if r, ok := resp.(R); ok {
				change(req, r)
			}
		}}
	}
}

func onRequest[R any](change func(req R)) func() falsifier {
	return func() falsifier {
		return falsifier{request: func(req any) {
			if r, ok := req.(R); ok {
				change(r)
			}
		}}
	}
}

func onWatch(watched func(*pb.WatchResponse) []*pb.WatchResponse) func() falsifier {
	return func() falsifier { return falsifier{watched: watched} }
}

func each(change func(*pb.WatchResponse)) func() falsifier {
	return onWatch(func(r *pb.WatchResponse) []*pb.WatchResponse {
		change(r)
		return []*pb.WatchResponse{r}
	})
}

var mutants = []mutant{
	{"a limited range does not say that there is more", onAnswer(func(_ any, r *pb.RangeResponse) { r.More = false })},
	{"a limited range counts what it returns", onAnswer(func(req any, r *pb.RangeResponse) {
		if req.(*pb.RangeRequest).Limit > 0 {
			r.Count = int64(len(r.Kvs))
		}
	})},
	{"keys only with values", onRequest(func(r *pb.RangeRequest) { r.KeysOnly = false })},
	{"descending is ascending", onRequest(func(r *pb.RangeRequest) { r.SortOrder = min(r.SortOrder, 1) })},
	{"no bound on the revision of creation", onRequest(func(r *pb.RangeRequest) { r.MaxCreateRevision = 0 })},
	{"an old revision reads the newest", onRequest(func(r *pb.RangeRequest) { r.Revision = 0 })},
	{"a put tells no value before", onAnswer(func(_ any, r *pb.PutResponse) { r.PrevKv = nil })},
	{"a put forgets its lease", onRequest(func(r *pb.PutRequest) {
		if !r.IgnoreLease {
			r.Lease = 0
		}
	})},
	{"deletions are miscounted", onAnswer(func(_ any, r *pb.DeleteRangeResponse) { r.Deleted = min(r.Deleted, 1) })},
	{"not equal is equal", onRequest(func(r *pb.TxnRequest) {
		for _, c := range r.Compare {
			c.Result = min(c.Result, pb.Compare_LESS)
		}
	})},
	{"a range is compared at its first key only", onRequest(func(r *pb.TxnRequest) {
		for _, c := range r.Compare {
			c.RangeEnd = nil
		}
	})},
	{"an inner transaction has a header with a revision", onAnswer(func(_ any, r *pb.TxnResponse) {
		for _, op := range r.Responses {
			if t := op.GetResponseTxn(); t != nil {
				t.Header = r.Header
			}
		}
	})},
	{"a lease keeps a key that lost it", onAnswer(func(req any, r *pb.LeaseTimeToLiveResponse) {
		if req.(*pb.LeaseTimeToLiveRequest).Keys && r.TTL > 0 {
			r.Keys = append(r.Keys, []byte("lost"))
		}
	})},
	{"the revision of a revocation", onAnswer(func(_ any, r *pb.LeaseRevokeResponse) { r.Header.Revision++ })},
	{"a refusal of another text", func() falsifier {
		return falsifier{refuse: func(err error) error {
			return status.Error(status.Code(err), strings.Replace(status.Convert(err).Message(), "duplicate", "double", 1))
		}}
	}},
	{"a refusal of another code", func() falsifier {
		return falsifier{refuse: func(err error) error {
			if rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(rpctypes.ErrGRPCCompacted) {
				return rpctypes.ErrGRPCFutureRev
			}
			return err
		}}
	}},
	{"an alarm is not listed", onAnswer(func(req any, r *pb.AlarmResponse) {
		if req.(*pb.AlarmRequest).Action == pb.AlarmRequest_GET {
			r.Alarms = nil
		}
	})},
	{"events tell no value before", each(func(r *pb.WatchResponse) {
		for _, ev := range r.Events {
			ev.PrevKv = nil
		}
	})},
	{"a watch that ends tells no compaction's revision", each(func(r *pb.WatchResponse) {
		if r.CompactRevision > 0 {
			r.CompactRevision = 1
		}
	})},
	{"a deletion is told as a put", each(func(r *pb.WatchResponse) {
		if len(r.Events) > 0 && r.Events[0].Type == mvccpb.Event_DELETE {
			r.Events[0].Type = mvccpb.Event_PUT
		}
	})},
	{"every hundredth message of events is lost", func() falsifier {
		n := 0
		return falsifier{watched: func(r *pb.WatchResponse) []*pb.WatchResponse {
			if len(r.Events) > 0 {
				if n++; n%100 == 0 {
					return nil
				}
			}
			return []*pb.WatchResponse{r}
		}}
	}},
	{"a revision is cut in two", onWatch(func(r *pb.WatchResponse) []*pb.WatchResponse {
		if n := len(r.Events); n > 1 && r.Events[n-1].Kv.ModRevision == r.Events[n-2].Kv.ModRevision {
			rest := proto.Clone(r).(*pb.WatchResponse)
			r.Events, rest.Events = r.Events[:n-1], rest.Events[n-1:]
			return []*pb.WatchResponse{r, rest}
		}
		return []*pb.WatchResponse{r}
	})},
	{"progress runs ahead of events", onWatch(func(r *pb.WatchResponse) []*pb.WatchResponse {
		if len(r.Events) == 0 {
			return []*pb.WatchResponse{r}
		}
		ahead := &pb.WatchResponse{Header: r.Header, WatchId: -1}
		return []*pb.WatchResponse{ahead, r}
	})},
}

// TestMutantsAreFound: an etcd with any one fault is told from a right one.
func TestMutantsAreFound(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			faulty := func(ctx context.Context, t testing.TB) (Target, func(), error) {
				target, stop, err := startEtcd(ctx, t)
				target.Name = "the mutant"
				target.Conn = falsified{target.Conn, m.make()}
				return target, stop, err
			}
			for seed := range uint64(4) {
				if d := runOn(t.Context(), t, startEtcd, faulty, Generate(seed, 1500), NewCoverage()); d != nil {
					t.Logf("seed %d: %.600s", seed, d.Error())
					return
				}
			}
			t.Error("not found by 4 seeds of 1,500 operations")
		})
	}
}
