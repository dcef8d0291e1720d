package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/store"
)

type kvServer struct {
	*Server
	etcdserverpb.UnsafeKVServer
}

// propose is for requests that change something: it gives the store's answer or
// etcd's refusal.
func propose[R store.Response](ctx context.Context, s *Server, command store.Command) (R, error) {
	var none R
	response, err := s.keys.Propose(ctx, command)
	if err != nil {
		return none, refusal(ctx, err)
	}
	return response.(R), nil
}

// Put writes a key.
func (s *kvServer) Put(ctx context.Context, r *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	done, err := propose[*store.PutResponse](ctx, s.Server, putRequest(r))
	if err != nil {
		return nil, err
	}
	out := putResponse(done)
	out.Header = s.header(done.Revision)
	return out, nil
}

// DeleteRange deletes keys.
func (s *kvServer) DeleteRange(ctx context.Context, r *etcdserverpb.DeleteRangeRequest) (*etcdserverpb.DeleteRangeResponse, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	done, err := propose[*store.DeleteRangeResponse](ctx, s.Server, deleteRequest(r))
	if err != nil {
		return nil, err
	}
	out := deleteResponse(done)
	out.Header = s.header(done.Revision)
	return out, nil
}

// Txn does one branch of a transaction. One that only reads does not go through
// the log.
func (s *kvServer) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	if err := checkTxn(r, s.config.MaxTxnOps); err != nil {
		return nil, err
	}
	t := txnRequest(r)
	if err := store.CheckTxn(t); err != nil {
		return nil, refusal(ctx, err)
	}
	var done *store.TxnResponse
	var err error
	if onlyReads, serializable := readsOnly(r); onlyReads {
		done, err = s.keys.ReadTxn(ctx, t, serializable)
		err = refusal(ctx, err)
	} else {
		done, err = propose[*store.TxnResponse](ctx, s.Server, t)
	}
	if err != nil {
		return nil, err
	}
	out := txnResponse(done)
	out.Header = s.header(done.Revision)
	return out, nil
}

// readsOnly reports whether a transaction only reads, and whether all its reads
// may be stale. A nested transaction counts as a write, as in etcd.
func readsOnly(r *etcdserverpb.TxnRequest) (onlyReads, serializable bool) {
	onlyReads, serializable = true, true
	for _, branch := range [][]*etcdserverpb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			read := op.GetRequestRange()
			onlyReads = onlyReads && read != nil
			serializable = serializable && read.GetSerializable()
		}
	}
	return onlyReads, serializable
}

// Compact forgets history. Space is given back in the background, so a physical
// compaction is answered at once too.
func (s *kvServer) Compact(ctx context.Context, r *etcdserverpb.CompactionRequest) (*etcdserverpb.CompactionResponse, error) {
	done, err := propose[*store.CompactResponse](ctx, s.Server, &store.CompactRequest{Revision: r.Revision})
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.CompactionResponse{Header: s.header(done.Revision)}, nil
}

// Range reads keys.
func (s *kvServer) Range(ctx context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	found, err := s.keys.Range(ctx, rangeRequest(r), r.Serializable)
	if err != nil {
		return nil, refusal(ctx, err)
	}
	out := rangeResponse(found)
	out.Header = s.header(found.Revision)
	return out, nil
}

const firstChunkKeys = 10

// RangeStream reads keys in chunks, all at the revision of the first. The last
// chunk alone has a header, and says how many keys there are.
func (s *kvServer) RangeStream(r *etcdserverpb.RangeRequest, stream grpc.ServerStreamingServer[etcdserverpb.RangeStreamResponse]) error {
	if err := checkRangeStream(r); err != nil {
		return err
	}
	ctx := stream.Context()
	request, serializable := rangeRequest(r), r.Serializable
	limit := r.Limit
	if !r.CountOnly {
		request.Limit = firstChunkKeys
		if limit > 0 {
			request.Limit = min(limit, firstChunkKeys)
		}
	}
	var revision, sent int64
	for {
		found, err := s.keys.Range(ctx, request, serializable)
		if err != nil {
			return refusal(ctx, err)
		}
		if r.CountOnly {
			return stream.Send(&etcdserverpb.RangeStreamResponse{RangeResponse: &etcdserverpb.RangeResponse{
				Header: s.header(found.Revision), Count: found.Count,
			}})
		}
		if revision == 0 {
			revision = found.Revision
			if request.Revision <= 0 {
				request.Revision = revision
			}
			serializable = true // the first answer was confirmed, and the revision is pinned
		}
		sent += int64(len(found.KVs))
		out := &etcdserverpb.RangeResponse{Kvs: keyValues(found.KVs)}
		done := !found.More || sent == limit
		if done {
			// Each answer counts what is left from its first key on.
			out.Header, out.More = s.header(revision), found.More
			out.Count = sent - int64(len(found.KVs)) + found.Count
		}
		size := proto.Size(out)
		if err := stream.Send(&etcdserverpb.RangeStreamResponse{RangeResponse: out}); err != nil || done {
			return err
		}
		last := found.KVs[len(found.KVs)-1].Key
		request.Key = append(append(make([]byte, 0, len(last)+1), last...), 0)
		request.Limit = nextChunk(request.Limit, size, s.config.MaxRequestBytes)
		if limit > 0 {
			request.Limit = min(request.Limit, limit-sent)
		}
	}
}

// nextChunk keeps chunks near the size of the largest request, in steps of two.
func nextChunk(keys int64, bytes, target int) int64 {
	switch {
	case bytes < target/2:
		return 2 * keys
	case bytes > 2*target:
		return max(keys/2, 1)
	}
	return keys
}
