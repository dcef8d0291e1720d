package store

// KeyValue is one version of a key.
type KeyValue struct {
	Key   []byte
	Value []byte
	// CreateRevision is the revision at which the key last came to be.
	CreateRevision int64
	// ModRevision is the revision that wrote this version.
	ModRevision int64
	// Version counts the writes since the key came to be, from 1.
	Version int64
	// Lease is the lease to which the key is attached; 0 is none.
	Lease int64
}

// A range of keys is given by Key and RangeEnd as in etcd: an empty RangeEnd is
// the single key, a RangeEnd of one zero byte is every key from Key on, and
// anything else is [Key, RangeEnd).

// SortOrder is the order of a range's answer. The numbers are etcd's.
type SortOrder int32

// The orders.
const (
	SortNone SortOrder = iota
	SortAscend
	SortDescend
)

// SortTarget is what a range's answer is sorted by. The numbers are etcd's.
type SortTarget int32

// The targets.
const (
	SortByKey SortTarget = iota
	SortByVersion
	SortByCreate
	SortByMod
	SortByValue
)

// RangeRequest asks for the keys of a range at a revision.
type RangeRequest struct {
	Key      []byte
	RangeEnd []byte
	// Limit bounds the keys of the answer; 0 or less does not.
	Limit int64
	// Revision is the point of history to read; 0 or less is the newest.
	Revision   int64
	SortOrder  SortOrder
	SortTarget SortTarget
	KeysOnly   bool
	CountOnly  bool
	// Bounds, inclusive, on the revisions of the keys in the answer; 0 is none.
	MinModRevision    int64
	MaxModRevision    int64
	MinCreateRevision int64
	MaxCreateRevision int64
}

// RangeResponse answers a RangeRequest.
type RangeResponse struct {
	// Revision is that of the store when it answered.
	Revision int64
	KVs      []KeyValue
	// More says that Limit cut the answer short.
	More bool
	// Count is the number of keys in the range, whatever Limit and the bounds on
	// revisions left out.
	Count int64
}

// PutRequest writes a key.
type PutRequest struct {
	Key   []byte
	Value []byte
	Lease int64
	// PrevKV asks for the version that the put replaces.
	PrevKV bool
	// IgnoreValue keeps the key's value, IgnoreLease its lease; either refuses
	// with CodeKeyNotFound if there is no such key.
	IgnoreValue bool
	IgnoreLease bool
}

// PutResponse answers a PutRequest.
type PutResponse struct {
	Revision int64
	// PrevKV is nil if it was not asked for or if there was none.
	PrevKV *KeyValue
}

// DeleteRangeRequest deletes the keys of a range.
type DeleteRangeRequest struct {
	Key      []byte
	RangeEnd []byte
	// PrevKV asks for the deleted versions.
	PrevKV bool
}

// DeleteRangeResponse answers a DeleteRangeRequest.
type DeleteRangeResponse struct {
	Revision int64
	Deleted  int64
	PrevKVs  []KeyValue
}

// CompareResult is the relation that a Compare demands. The numbers are etcd's;
// any other number is a relation that always holds, as in etcd.
type CompareResult int32

// The relations.
const (
	CompareEqual CompareResult = iota
	CompareGreater
	CompareLess
	CompareNotEqual
)

// CompareTarget is what a Compare looks at. The numbers are etcd's; any other
// number compares as equal, as in etcd.
type CompareTarget int32

// The targets.
const (
	CompareVersion CompareTarget = iota
	CompareCreate
	CompareMod
	CompareValue
	CompareLease
)

// Compare is a condition of a transaction. It holds if it does for every key of
// the range; a range without keys compares as one absent key, whose numbers are
// all 0 and whose value equals nothing.
type Compare struct {
	Result   CompareResult
	Target   CompareTarget
	Key      []byte
	RangeEnd []byte
	// Value is compared with if Target is CompareValue, Number otherwise.
	Value  []byte
	Number int64
}

// RequestOp is one operation of a transaction: exactly one field is set.
type RequestOp struct {
	Range       *RangeRequest
	Put         *PutRequest
	DeleteRange *DeleteRangeRequest
	Txn         *TxnRequest
}

// ResponseOp answers a RequestOp: the same field is set.
type ResponseOp struct {
	Range       *RangeResponse
	Put         *PutResponse
	DeleteRange *DeleteRangeResponse
	Txn         *TxnResponse
}

// TxnRequest does Success if every Compare holds and Failure if not, all at one
// revision. All conditions, nested ones too, are judged before the first
// operation.
type TxnRequest struct {
	Compare []Compare
	Success []RequestOp
	Failure []RequestOp
}

// TxnResponse answers a TxnRequest.
type TxnResponse struct {
	// Revision is 0 in a nested transaction's answer, as in etcd.
	Revision  int64
	Succeeded bool
	Responses []ResponseOp
}

// CompactRequest forgets what no read at Revision or later can see.
type CompactRequest struct {
	Revision int64
}

// CompactResponse answers a CompactRequest.
type CompactResponse struct {
	Revision int64
}

// LeaseGrantRequest makes a lease. TTL is in seconds; the server raises it to
// its shortest before it proposes.
type LeaseGrantRequest struct {
	// ID is the client's choice; 0 lets the store choose.
	ID  int64
	TTL int64
}

// LeaseGrantResponse answers a LeaseGrantRequest.
type LeaseGrantResponse struct {
	Revision int64
	ID       int64
	TTL      int64
}

// LeaseRevokeRequest ends a lease and deletes its keys, at one revision.
type LeaseRevokeRequest struct {
	ID int64
	// Term, if it is not 0, refuses with CodeInvalid in an entry of any other
	// term: a leader that saw the lease end decides about its own term alone, and
	// a later one may have promised its holder more time.
	Term uint64
}

// LeaseRevokeResponse answers a LeaseRevokeRequest.
type LeaseRevokeResponse struct {
	Revision int64
}

// LeaseCheckpointRequest records how long leases have left.
type LeaseCheckpointRequest struct {
	Checkpoints []LeaseCheckpoint
	// Term, if not 0, is the only one in which this is carried out, else refused with
	// ErrInvalid: a leader that was replaced knows of no renewal since.
	Term uint64
}

// LeaseCheckpoint is one lease's remaining time, in nanoseconds.
type LeaseCheckpoint struct {
	ID        int64
	Remaining int64
}

// LeaseRenewRequest records which leases were kept alive since the last one of
// its kind: each has its whole TTL again. With no IDs it records that time went
// by, which bounds what a new leader gives away (see [Store.Lease]).
type LeaseRenewRequest struct {
	IDs []int64
}

// LeaseRenewResponse answers LeaseCheckpointRequest and LeaseRenewRequest;
// unknown leases are passed over.
type LeaseRenewResponse struct {
	Revision int64
}

// AlarmType is a kind of alarm. The numbers are etcd's.
type AlarmType int32

// The alarms.
const (
	AlarmNone AlarmType = iota
	AlarmNoSpace
	AlarmCorrupt
)

// AlarmDivergent is not etcd's: the member's state is not that of a majority, and it
// is quarantined. The others go on, which after AlarmCorrupt nobody does. To clients
// of etcd it is CORRUPT too.
const AlarmDivergent AlarmType = 1000

// AlarmAction is what an AlarmRequest does. The numbers are etcd's.
type AlarmAction int32

// The actions.
const (
	AlarmGet AlarmAction = iota
	AlarmActivate
	AlarmDeactivate
)

// Alarm is a member's raised alarm.
type Alarm struct {
	Member uint64
	Type   AlarmType
}

// AlarmRequest raises or clears an alarm, or lists them.
type AlarmRequest struct {
	Action AlarmAction
	Member uint64
	Alarm  AlarmType
}

// AlarmResponse answers an AlarmRequest.
type AlarmResponse struct {
	Revision int64
	Alarms   []Alarm
}

// Member is what a member published of itself.
type Member struct {
	ID         uint64
	Name       string
	ClientURLs []string
}

// PublishRequest replaces a member's attributes.
type PublishRequest struct {
	Member Member
}

// PublishResponse answers a PublishRequest.
type PublishResponse struct {
	Revision int64
}

// CheckRequest has replicas compare their states. It changes nothing: an observer
// that is a CheckObserver hears of it. With a Sample of 0 each replica is to note
// what its state hashes to at this place of the log; else a member tells what it
// noted at that place.
type CheckRequest struct {
	Sample uint64
	Member uint64
	Hash   uint64
}

// CheckResponse answers a CheckRequest.
type CheckResponse struct {
	Revision int64
}

// LeaseInfo is a lease as the log knows it.
type LeaseInfo struct {
	ID int64
	// TTL is what was granted, in seconds.
	TTL int64
	// Remaining is what was left, in nanoseconds, at the timestamp of the last
	// applied entry; at most TTL, and 0 or less if it is over but not revoked.
	Remaining int64
}

// EventType says what an event did.
type EventType uint8

// The events. The numbers are etcd's.
const (
	EventPut EventType = iota
	EventDelete
)

// Event is one change of a key. A deletion's KV has only Key and ModRevision.
type Event struct {
	Type EventType
	KV   KeyValue
	// Prev is the version before the commit, for whoever asked for it: nil if
	// there was none or if it was compacted.
	Prev *KeyValue
}

// Commit is all that one revision changed, in order.
type Commit struct {
	Revision int64
	Events   []Event
	// Prevs says that the events have their Prev. Of what an Observer gets only.
	Prevs bool
}
