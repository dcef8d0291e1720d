package diff

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Kind is what an operation does.
type Kind string

// The operations.
const (
	Range           Kind = "Range"
	RangeStream     Kind = "RangeStream"
	Put             Kind = "Put"
	DeleteRange     Kind = "DeleteRange"
	Txn             Kind = "Txn"
	Compact         Kind = "Compact"
	LeaseGrant      Kind = "LeaseGrant"
	LeaseRevoke     Kind = "LeaseRevoke"
	LeaseKeepAlive  Kind = "LeaseKeepAlive"
	LeaseTimeToLive Kind = "LeaseTimeToLive"
	LeaseLeases     Kind = "LeaseLeases"
	WatchCreate     Kind = "WatchCreate"
	WatchCancel     Kind = "WatchCancel"
	WatchProgress   Kind = "WatchProgress"
	WatchClose      Kind = "WatchClose" // the stream ends
	Settle          Kind = "Settle"     // all events that are due arrive and are compared
	Alarm           Kind = "Alarm"
	MemberList      Kind = "MemberList"
	Status          Kind = "Status"
	HashKV          Kind = "HashKV"
	Hash            Kind = "Hash"
	Defragment      Kind = "Defragment"
)

// Kinds are all operations.
var Kinds = []Kind{
	Range, RangeStream, Put, DeleteRange, Txn, Compact,
	LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases,
	WatchCreate, WatchCancel, WatchProgress, WatchClose, Settle,
	Alarm, MemberList, Status, HashKV, Hash, Defragment,
}

// Op is one operation. Msg is the request; revisions in it may be relative.
type Op struct {
	Kind   Kind
	Msg    proto.Message
	Stream int // of the watches
}

// Relative revisions. An operation says "three before the present one", so that
// it keeps its sense when a shrinking drops operations before it.
const (
	relativeSpan = 1 << 20
	fromCurrent  = int64(1) << 40 // the present revision
	fromCompact  = int64(1) << 41 // the last compaction's
)

func current(delta int64) int64   { return fromCurrent + delta }
func compacted(delta int64) int64 { return fromCompact + delta }

// selfMember stands for the id of the member that is asked.
const selfMember = uint64(1) << 50

type bases struct {
	current, compacted int64
	self               uint64
}

func (b bases) revision(v int64) int64 {
	switch {
	case v > fromCurrent-relativeSpan && v < fromCurrent+relativeSpan:
		return max(1, b.current+v-fromCurrent)
	case v > fromCompact-relativeSpan && v < fromCompact+relativeSpan:
		return max(1, b.compacted+v-fromCompact)
	}
	return v
}

// resolve returns msg with its relative revisions made absolute.
func resolve(msg proto.Message, b bases) proto.Message {
	msg = proto.Clone(msg)
	resolveIn(msg.ProtoReflect(), b)
	return msg
}

func resolveIn(m protoreflect.Message, b bases) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Kind() == protoreflect.Int64Kind && !fd.IsList():
			m.Set(fd, protoreflect.ValueOfInt64(b.revision(v.Int())))
		case fd.Kind() == protoreflect.Uint64Kind && !fd.IsList():
			if v.Uint() == selfMember {
				m.Set(fd, protoreflect.ValueOfUint64(b.self))
			}
		case fd.Kind() != protoreflect.MessageKind:
		case fd.IsList():
			for i := range v.List().Len() {
				resolveIn(v.List().Get(i).Message(), b)
			}
		default:
			resolveIn(v.Message(), b)
		}
		return true
	})
}

// watchRequest wraps what a watch operation sends.
func watchRequest(msg proto.Message) *pb.WatchRequest {
	switch m := msg.(type) {
	case *pb.WatchCreateRequest:
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: m}}
	case *pb.WatchCancelRequest:
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: m}}
	case *pb.WatchProgressRequest:
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: m}}
	}
	return &pb.WatchRequest{}
}
