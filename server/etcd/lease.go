package etcd

import (
	"context"
	"errors"
	"io"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/quorate/quorate/store"
)

type leaseServer struct {
	*Server
	etcdserverpb.UnsafeLeaseServer
}

// LeaseGrant makes a lease.
func (s *leaseServer) LeaseGrant(ctx context.Context, r *etcdserverpb.LeaseGrantRequest) (*etcdserverpb.LeaseGrantResponse, error) {
	done, err := s.keys.Grant(ctx, r.ID, r.TTL)
	if err != nil {
		return nil, refusal(ctx, err)
	}
	return &etcdserverpb.LeaseGrantResponse{Header: s.header(done.Revision), ID: done.ID, TTL: done.TTL}, nil
}

// LeaseRevoke ends a lease and deletes its keys.
func (s *leaseServer) LeaseRevoke(ctx context.Context, r *etcdserverpb.LeaseRevokeRequest) (*etcdserverpb.LeaseRevokeResponse, error) {
	done, err := propose[*store.LeaseRevokeResponse](ctx, s.Server, &store.LeaseRevokeRequest{ID: r.ID})
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.LeaseRevokeResponse{Header: s.header(done.Revision)}, nil
}

// LeaseTimeToLive says how long a lease has left. One that does not exist has -1.
func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *etcdserverpb.LeaseTimeToLiveRequest) (*etcdserverpb.LeaseTimeToLiveResponse, error) {
	l, err := s.keys.TimeToLive(ctx, r.ID, r.Keys)
	if errors.Is(err, store.ErrLeaseNotFound) {
		return &etcdserverpb.LeaseTimeToLiveResponse{Header: s.header(0), ID: r.ID, TTL: -1}, nil
	}
	if err != nil {
		return nil, refusal(ctx, err)
	}
	return &etcdserverpb.LeaseTimeToLiveResponse{
		Header: s.header(0), ID: r.ID, TTL: int64(l.Remaining.Seconds()), GrantedTTL: l.TTL, Keys: l.Keys,
	}, nil
}

// LeaseLeases lists all leases.
func (s *leaseServer) LeaseLeases(ctx context.Context, _ *etcdserverpb.LeaseLeasesRequest) (*etcdserverpb.LeaseLeasesResponse, error) {
	leases, err := s.keys.Leases(ctx)
	if err != nil {
		return nil, refusal(ctx, err)
	}
	out := &etcdserverpb.LeaseLeasesResponse{Header: s.header(0)}
	for _, l := range leases {
		out.Leases = append(out.Leases, &etcdserverpb.LeaseStatus{ID: l.ID})
	}
	return out, nil
}

// LeaseKeepAlive keeps leases alive as often as the client asks, one after the
// other. One that does not exist any more has 0 left.
func (s *leaseServer) LeaseKeepAlive(stream grpc.BidiStreamingServer[etcdserverpb.LeaseKeepAliveRequest, etcdserverpb.LeaseKeepAliveResponse]) error {
	ended := make(chan error, 1)
	// Not waited for here: it ends with the connection's stream, which does when
	// this returns, and grpc-go's server waits for that.
	go func() { ended <- s.keepAlive(stream) }()
	select {
	case err := <-ended:
		return err
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

func (s *leaseServer) keepAlive(stream grpc.BidiStreamingServer[etcdserverpb.LeaseKeepAliveRequest, etcdserverpb.LeaseKeepAliveResponse]) error {
	ctx := stream.Context()
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if ctx.Err() == nil {
				s.streamFailed("receive", "lease-keepalive")
			}
			return err
		}
		// The header's revision is from before the renewal, so that nobody sees a
		// lease alive at a revision at which it was revoked.
		out := &etcdserverpb.LeaseKeepAliveResponse{Header: s.header(0), ID: r.ID}
		ttl, err := s.keys.KeepAlive(ctx, r.ID)
		switch {
		case errors.Is(err, store.ErrLeaseNotFound):
		case err != nil:
			return refusal(ctx, err)
		default:
			out.TTL = ttl
		}
		if err := stream.Send(out); err != nil {
			if ctx.Err() == nil {
				s.streamFailed("send", "lease-keepalive")
			}
			return err
		}
	}
}
