package raft

// Input is one thing that happens to a replica. Step takes one at a time.
type Input interface{ isInput() }

// Receive delivers a message of another replica.
type Receive struct{ Message Message }

// TimerFired reports that a timer which an effect armed has run out. A timer
// that was armed again or stopped since has another generation and is ignored.
type TimerFired struct {
	Kind       TimerKind
	Generation uint64
}

// Persisted reports that the Persist effect with this number, and so every one
// before it, is durable. Numbers arrive in order, each once.
type Persisted struct{ Seq Seq }

// Propose asks the leader to append Count entries. The core answers with
// Effects.Proposed; the runtime then encodes the entries under the term and
// indexes it finds there. Count is at least 1.
type Propose struct {
	Count int
	// Bytes is the encoded size of all the entries.
	Bytes int
}

// ReadIndex asks for an index that makes a read linearizable (§6.4). The answer
// comes in Effects.Reads, of this step or a later one, possibly as a refusal;
// if a forwarded request or its answer is lost none comes, and the runtime asks
// again under the same or another ReadID.
type ReadIndex struct{ Read ReadID }

// Sent reports what became of an AppendEntries effect that carried entries: the
// runtime sent those up to Last (a prefix is allowed), Bytes of them. Last equal
// to the effect's Prev.Index says that nothing could be sent for now.
type Sent struct {
	Peer  NodeID
	Last  Index
	Bytes int
}

// Compacted reports that the entries which an AppendEntries effect named are no
// longer in the log, so that the peer needs a snapshot.
type Compacted struct{ Peer NodeID }

// Unreadable reports that the entry at Index cannot be read from this replica's
// own log. The replica stops leading: it cannot serve its followers.
type Unreadable struct{ Index Index }

// SnapshotSent ends the transfer that a SendSnapshot effect began. OK says that
// the peer holds the snapshot whole; otherwise the core tries again after a
// heartbeat's pause.
type SnapshotSent struct {
	Peer NodeID
	OK   bool
}

// SnapshotTaken reports a durable snapshot of this replica's own state machine
// (SN-01, SN-03), and that the log before First may be forgotten. First is at
// most Snapshot.ID.Index+1; a smaller First keeps a tail for slow followers.
type SnapshotTaken struct {
	Snapshot SnapshotMeta
	First    Index
}

// Applied reports that the state machine has applied every entry up to Index.
type Applied struct{ Index Index }

// PeerUnreachable reports that the transport lost contact with Peer, so that
// what is in flight to it is probably lost (FC-01).
type PeerUnreachable struct{ Peer NodeID }

// Campaign makes a follower start an election at once, without waiting for its
// timer; for tests and for bootstrap.
type Campaign struct{}

func (*Receive) isInput()         {}
func (*TimerFired) isInput()      {}
func (*Persisted) isInput()       {}
func (*Propose) isInput()         {}
func (*ReadIndex) isInput()       {}
func (*Sent) isInput()            {}
func (*Compacted) isInput()       {}
func (*Unreadable) isInput()      {}
func (*SnapshotSent) isInput()    {}
func (*SnapshotTaken) isInput()   {}
func (*Applied) isInput()         {}
func (*PeerUnreachable) isInput() {}
func (*Campaign) isInput()        {}

// TimerKind names a timer. How long each runs is the runtime's configuration.
type TimerKind uint8

// The timers.
const (
	// ElectionTimer: no sign of a leader; start a (pre-)election. The runtime
	// draws its length anew each time, from ElectionTimeout to no more than twice
	// that (EL-05, EL-11).
	ElectionTimer TimerKind = iota
	// StickinessTimer runs for the minimum ElectionTimeout after each sign of
	// life from a leader; until it fires, votes are withheld (EL-14).
	StickinessTimer
	// QuorumContactTimer runs for ElectionTimeout at a leader, which steps down
	// if no majority answered meanwhile (EL-18).
	QuorumContactTimer
	// HeartbeatTimer runs for HeartbeatInterval at a leader.
	HeartbeatTimer
	// TransferTimer bounds a leadership transfer (LT-02).
	TransferTimer

	timerKinds = iota
)

// String gives the timer's name.
func (k TimerKind) String() string {
	switch k {
	case ElectionTimer:
		return "election"
	case StickinessTimer:
		return "stickiness"
	case QuorumContactTimer:
		return "quorum contact"
	case HeartbeatTimer:
		return "heartbeat"
	case TransferTimer:
		return "transfer"
	}
	return "unknown timer"
}
