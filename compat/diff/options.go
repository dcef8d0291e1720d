package diff

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Refusals are etcd's errors that a lone healthy server can give to what this
// package sends. The others speak of leaders and members, of authentication, of
// overload, or of requests that are not built.
var Refusals = []error{
	rpctypes.ErrGRPCEmptyKey, rpctypes.ErrGRPCKeyNotFound, rpctypes.ErrGRPCValueProvided, rpctypes.ErrGRPCLeaseProvided,
	rpctypes.ErrGRPCTooManyOps, rpctypes.ErrGRPCDuplicateKey, rpctypes.ErrGRPCInvalidSortOption,
	rpctypes.ErrGRPCCompacted, rpctypes.ErrGRPCFutureRev, rpctypes.ErrGRPCNoSpace, rpctypes.ErrGRPCCorrupt,
	rpctypes.ErrGRPCLeaseNotFound, rpctypes.ErrGRPCLeaseExist, rpctypes.ErrGRPCLeaseTTLTooLarge,
	rpctypes.ErrGRPCRequestTooLarge,
}

// Options are the fields of the requests that sequences send, with those of the
// messages in them, as "RangeRequest.limit".
func Options() []string {
	var all []string
	seen := make(map[protoreflect.FullName]bool)
	var walk func(d protoreflect.MessageDescriptor)
	walk = func(d protoreflect.MessageDescriptor) {
		if seen[d.FullName()] {
			return
		}
		seen[d.FullName()] = true
		for i := range d.Fields().Len() {
			fd := d.Fields().Get(i)
			all = append(all, string(d.Name())+"."+string(fd.Name()))
			if fd.Kind() == protoreflect.MessageKind {
				walk(fd.Message())
			}
		}
	}
	for _, m := range []proto.Message{
		&pb.RangeRequest{}, &pb.PutRequest{}, &pb.DeleteRangeRequest{}, &pb.TxnRequest{}, &pb.CompactionRequest{},
		&pb.LeaseGrantRequest{}, &pb.LeaseRevokeRequest{}, &pb.LeaseKeepAliveRequest{}, &pb.LeaseTimeToLiveRequest{},
		&pb.LeaseLeasesRequest{}, &pb.WatchCreateRequest{}, &pb.AlarmRequest{}, &pb.MemberListRequest{},
		&pb.StatusRequest{}, &pb.HashKVRequest{}, &pb.HashRequest{}, &pb.DefragmentRequest{},
	} {
		walk(m.ProtoReflect().Descriptor())
	}
	return all
}
