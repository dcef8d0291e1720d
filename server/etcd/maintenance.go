package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/store"
)

type maintenanceServer struct {
	*Server
	etcdserverpb.UnimplementedMaintenanceServer
}

// Alarm raises, clears or lists alarms.
func (s *maintenanceServer) Alarm(ctx context.Context, r *etcdserverpb.AlarmRequest) (*etcdserverpb.AlarmResponse, error) {
	of := store.AlarmType(r.Alarm)
	if of == store.AlarmDivergent {
		return nil, status.Errorf(codes.InvalidArgument, "etcdserver: there is no alarm %d", r.Alarm)
	}
	ask := &store.AlarmRequest{Action: store.AlarmAction(r.Action), Member: r.MemberID, Alarm: of}
	done, err := propose[*store.AlarmResponse](ctx, s.Server, ask)
	if err != nil {
		return nil, err
	}
	all := done.Alarms
	if of == store.AlarmCorrupt && ask.Action != store.AlarmActivate {
		// CORRUPT is listed and cleared whoever raised it.
		ask.Alarm = store.AlarmDivergent
		if done, err = propose[*store.AlarmResponse](ctx, s.Server, ask); err != nil {
			return nil, err
		}
		all = append(all, done.Alarms...)
	}
	return &etcdserverpb.AlarmResponse{Header: s.header(done.Revision), Alarms: alarms(all)}, nil
}

func alarms(all []store.Alarm) []*etcdserverpb.AlarmMember {
	var out []*etcdserverpb.AlarmMember
	for _, a := range all {
		of := etcdserverpb.AlarmType(a.Type)
		if a.Type == store.AlarmDivergent {
			of = etcdserverpb.AlarmType_CORRUPT
		}
		out = append(out, &etcdserverpb.AlarmMember{MemberID: a.Member, Alarm: of})
	}
	return out
}

// Status describes this member, as it is, without asking another.
func (s *maintenanceServer) Status(ctx context.Context, _ *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	status, err := s.keys.Status(ctx)
	if err != nil {
		return nil, refusal(ctx, err)
	}
	out := &etcdserverpb.StatusResponse{
		Header: s.header(0), Version: Version, StorageVersion: "3.7.0",
		Leader: uint64(status.Leader), RaftTerm: uint64(status.Term),
		RaftIndex: uint64(status.Committed), RaftAppliedIndex: uint64(status.Applied),
		DbSize: status.SizeBytes, DbSizeInUse: status.UsedBytes, DbSizeQuota: status.QuotaBytes,
		IsLearner: status.Learner, DowngradeInfo: &etcdserverpb.DowngradeInfo{},
	}
	if status.Leader == raft.None {
		out.Errors = append(out.Errors, rpctypes.ErrNoLeader.Error())
	}
	for _, a := range alarms(status.Alarms) {
		out.Errors = append(out.Errors, a.String())
	}
	return out, nil
}

// Defragment has nothing to do: space is given back all the time.
func (s *maintenanceServer) Defragment(ctx context.Context, _ *etcdserverpb.DefragmentRequest) (*etcdserverpb.DefragmentResponse, error) {
	if err := s.keys.Operate(ctx); err != nil {
		return nil, refusal(ctx, err)
	}
	return &etcdserverpb.DefragmentResponse{}, nil
}

// Hash gives a hash of all keys and their history on this member. It is not the
// number that etcd would give.
func (s *maintenanceServer) Hash(ctx context.Context, _ *etcdserverpb.HashRequest) (*etcdserverpb.HashResponse, error) {
	h, err := s.keys.HashKV(ctx, 0)
	if err != nil {
		return nil, refusal(ctx, err)
	}
	return &etcdserverpb.HashResponse{Header: s.header(h.Revision), Hash: h.Hash}, nil
}

// HashKV is Hash up to a revision.
func (s *maintenanceServer) HashKV(ctx context.Context, r *etcdserverpb.HashKVRequest) (*etcdserverpb.HashKVResponse, error) {
	h, err := s.keys.HashKV(ctx, max(r.Revision, 0))
	if err != nil {
		return nil, refusal(ctx, err)
	}
	if r.Revision < 0 {
		// Up to it there is nothing. Etcd says so, too.
		h.Hash, h.Revision = 0, r.Revision
	}
	return &etcdserverpb.HashKVResponse{
		Header: s.header(0), Hash: h.Hash, CompactRevision: h.Compacted, HashRevision: h.Revision,
	}, nil
}
