package diff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// A Target is a server to which operations are given.
type Target struct {
	Name string
	Conn grpc.ClientConnInterface
}

// answer is what came back: a message, or a refusal.
type answer struct {
	code codes.Code
	text string
	msg  proto.Message
}

func answered(msg proto.Message, err error) answer {
	if err == nil {
		return answer{msg: msg}
	}
	st := status.Convert(err)
	return answer{code: st.Code(), text: st.Message()}
}

func (a answer) equal(b answer) bool {
	return a.code == b.code && a.text == b.text && (a.msg == nil) == (b.msg == nil) &&
		(a.msg == nil || proto.Equal(a.msg, b.msg))
}

func (a answer) String() string {
	if a.msg == nil {
		return fmt.Sprintf("%v: %s", a.code, a.text)
	}
	return fmt.Sprintf("%T{%s}", a.msg, prototext.MarshalOptions{}.Format(a.msg))
}

// header is the header of an answer; nil of a refusal.
func (a answer) header() *pb.ResponseHeader {
	h, ok := a.msg.(interface{ GetHeader() *pb.ResponseHeader })
	if !ok {
		return nil
	}
	return h.GetHeader()
}

// side is one of the two servers with what is open to it.
type side struct {
	target    Target
	self      uint64 // its member's id
	keepAlive pb.Lease_LeaseKeepAliveClient
	streams   [Streams]*stream
	// log is a watch of all, from the first revision on.
	log *stream
}

// call gives one unary operation, or one exchange on a stream of its own.
func (s *side) call(ctx context.Context, k Kind, msg proto.Message) answer {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	a := s.exchange(ctx, k, msg)
	s.normalise(k, msg, a)
	return a
}

func (s *side) exchange(ctx context.Context, k Kind, msg proto.Message) answer {
	kv, lease := pb.NewKVClient(s.target.Conn), pb.NewLeaseClient(s.target.Conn)
	maintenance := pb.NewMaintenanceClient(s.target.Conn)
	switch k {
	case Range:
		return answered(orNil(kv.Range(ctx, msg.(*pb.RangeRequest))))
	case RangeStream:
		return answered(orNil(rangeStream(ctx, kv, msg.(*pb.RangeRequest))))
	case Put:
		return answered(orNil(kv.Put(ctx, msg.(*pb.PutRequest))))
	case DeleteRange:
		return answered(orNil(kv.DeleteRange(ctx, msg.(*pb.DeleteRangeRequest))))
	case Txn:
		return answered(orNil(kv.Txn(ctx, msg.(*pb.TxnRequest))))
	case Compact:
		return answered(orNil(kv.Compact(ctx, msg.(*pb.CompactionRequest))))
	case LeaseGrant:
		return s.grant(ctx, lease, msg.(*pb.LeaseGrantRequest))
	case LeaseRevoke:
		return answered(orNil(lease.LeaseRevoke(ctx, msg.(*pb.LeaseRevokeRequest))))
	case LeaseTimeToLive:
		return answered(orNil(lease.LeaseTimeToLive(ctx, msg.(*pb.LeaseTimeToLiveRequest))))
	case LeaseLeases:
		return answered(orNil(lease.LeaseLeases(ctx, msg.(*pb.LeaseLeasesRequest))))
	case LeaseKeepAlive:
		return s.renew(msg.(*pb.LeaseKeepAliveRequest))
	case Alarm:
		return answered(orNil(maintenance.Alarm(ctx, msg.(*pb.AlarmRequest))))
	case Status:
		return answered(orNil(maintenance.Status(ctx, msg.(*pb.StatusRequest))))
	case HashKV:
		return answered(orNil(maintenance.HashKV(ctx, msg.(*pb.HashKVRequest))))
	case Hash:
		return answered(orNil(maintenance.Hash(ctx, msg.(*pb.HashRequest))))
	case Defragment:
		return answered(orNil(maintenance.Defragment(ctx, msg.(*pb.DefragmentRequest))))
	case MemberList:
		return answered(orNil(pb.NewClusterClient(s.target.Conn).MemberList(ctx, msg.(*pb.MemberListRequest))))
	}
	panic("diff: " + string(k) + " is not an exchange")
}

// orNil keeps a nil pointer out of the interface.
func orNil[M any, P interface {
	*M
	proto.Message
}](m P, err error) (proto.Message, error) {
	if m == nil {
		return nil, err
	}
	return m, err
}

// rangeStream joins what comes in parts.
func rangeStream(ctx context.Context, kv pb.KVClient, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	st, err := kv.RangeStream(ctx, r)
	if err != nil {
		return nil, err
	}
	all := &pb.RangeResponse{}
	for {
		part, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		proto.Merge(all, part.RangeResponse)
	}
}

// grant revokes at once what would not outlive the sequence, and what the
// operations cannot name.
func (s *side) grant(ctx context.Context, c pb.LeaseClient, r *pb.LeaseGrantRequest) answer {
	resp, err := c.LeaseGrant(ctx, r)
	if err == nil && (r.ID == 0 || r.TTL < 60) {
		// It may have expired in between, on a slow machine.
		_, _ = c.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: resp.ID})
	}
	if err == nil && r.ID == 0 {
		resp.ID = 0
	}
	return answered(orNil(resp, err))
}

func (s *side) renew(r *pb.LeaseKeepAliveRequest) answer {
	if err := s.keepAlive.Send(r); err != nil {
		return answered(nil, err)
	}
	return answered(orNil(s.keepAlive.Recv()))
}

// normalise removes what two right servers may tell differently.
func (s *side) normalise(k Kind, req proto.Message, a answer) {
	if h := a.header(); h != nil {
		if k != HashKV && k != Hash {
			s.self = h.MemberId
		}
		h.ClusterId, h.MemberId, h.RaftTerm = 0, 0, 0
	}
	member := func(id uint64) uint64 {
		if id == s.self {
			return selfMember
		}
		return id
	}
	switch m := a.msg.(type) {
	case *pb.LeaseTimeToLiveResponse:
		if m.TTL > 0 {
			m.TTL = 1 // its clock
		}
		slices.SortFunc(m.Keys, func(a, b []byte) int { return slices.Compare(a, b) })
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(m.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	case *pb.AlarmResponse:
		for _, alarm := range m.Alarms {
			alarm.MemberID = member(alarm.MemberID)
		}
	case *pb.MemberListResponse:
		for _, mb := range m.Members {
			mb.ID = member(mb.ID)
			mb.Name, mb.PeerURLs, mb.ClientURLs = present(mb.Name), presentAll(mb.PeerURLs), presentAll(mb.ClientURLs)
		}
	case *pb.StatusResponse:
		m.Leader = member(m.Leader)
		for i := range m.Errors {
			m.Errors[i] = "an alarm"
		}
		m.Version, m.StorageVersion = present(m.Version), ""
		m.DbSize, m.DbSizeInUse, m.DbSizeQuota = 0, 0, 0
		m.RaftIndex, m.RaftTerm, m.RaftAppliedIndex = 0, 0, 0
		m.DowngradeInfo = nil
	case *pb.HashKVResponse:
		m.Hash = 0
	case *pb.HashResponse:
		m.Hash = 0
	}
	_ = req
}

func present(s string) string {
	if s == "" {
		return ""
	}
	return "present"
}

func presentAll(list []string) []string {
	for i := range list {
		list[i] = present(list[i])
	}
	return list
}
