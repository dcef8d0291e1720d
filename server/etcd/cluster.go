package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// clusterServer lists the members; they cannot be changed.
type clusterServer struct {
	*Server
	etcdserverpb.UnimplementedClusterServer
}

// MemberList gives the members of the group's configuration, with what each has
// published.
func (s *clusterServer) MemberList(ctx context.Context, r *etcdserverpb.MemberListRequest) (*etcdserverpb.MemberListResponse, error) {
	members, err := s.keys.Members(ctx, r.Linearizable)
	if err != nil {
		return nil, refusal(ctx, err)
	}
	// As in etcd, without a revision: it has nothing to do with the keys.
	h := s.header(0)
	h.Revision = 0
	out := &etcdserverpb.MemberListResponse{Header: h}
	for _, m := range members {
		out.Members = append(out.Members, &etcdserverpb.Member{
			ID: m.ID, Name: m.Name, PeerURLs: s.config.PeerURLs[m.ID], ClientURLs: m.ClientURLs, IsLearner: m.Learner,
		})
	}
	return out, nil
}
