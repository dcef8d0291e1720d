package raft

// Effects is what one Step asks of the runtime. Order is in the fields: Send may
// leave at once; AfterSync only when every Persist issued so far is durable.
// An Effects and its slices are valid until the next Step.
type Effects struct {
	// Persist is a durable write to queue, if Persist.Seq is not zero. Writes
	// of a group become durable in the order of their numbers.
	Persist Persist
	// Send may leave at once, also before Persist is durable.
	Send []Message
	// AfterSync leaves once Persisted(AfterSyncSeq) holds. AfterSyncSeq is the
	// newest Persist issued up to and including this step, even if this step's
	// own is empty.
	AfterSync    []Message
	AfterSyncSeq Seq
	// Snapshots are transfers to begin; each is answered by SnapshotSent.
	Snapshots []SendSnapshot
	// Timers are to be armed or stopped, in order.
	Timers []Timer
	// Committed: entries up to this index may be applied. It never falls.
	Committed Index
	// Proposed answers a Propose input.
	Proposed Proposed
	// Reads may be answered once their index is applied.
	Reads []ReadState
	// Install, if its ID is not zero: the state machine is to be restored from
	// this snapshot once this step's Persist is durable, and what is committed
	// behind it applied after that. Applied reports the end of the restoration.
	Install SnapshotMeta
	// Trace tells what happened and why, in order.
	Trace []Event
}

// Persist is one durable write: hard state and log changes together. The runtime
// performs its parts in the order of the fields.
type Persist struct {
	Seq Seq
	// HardState is the hard state after this write. HardStateChanged is false
	// if it equals that of the write before.
	HardState        HardState
	HardStateChanged bool
	// Reset, if ResetLog: the log is replaced by the snapshot Reset. With
	// KeepSuffix the entries after it stay (they matched), else none (SN-07); what
	// is before it goes in either case.
	ResetLog   bool
	KeepSuffix bool
	Reset      SnapshotMeta
	// Compact, if not zero: entries before this index may be forgotten, and Reset
	// names the own snapshot that the log rests on from now on (SN-03: it is
	// durable already).
	Compact Index
	// First and Last, if First is not zero: entries [First, Last] are appended.
	// What the log held at First and after is truncated by the same write
	// (PS-06). Source says where their bytes come from.
	First, Last Index
	Runs        []TermRun
	Source      Source
}

// Source says where the bytes of appended entries are.
type Source uint8

// The sources.
const (
	// FromMessage: attached to the AppendEntries that was just received.
	FromMessage Source = 1 + iota
	// FromProposal: the commands that were just proposed.
	FromProposal
	// NoOp: one entry without content, which begins a leader's term (EL-13).
	NoOp
)

// SendSnapshot asks the runtime to send its newest snapshot to Peer. Term, Round
// go into each InstallSnapshot chunk.
type SendSnapshot struct {
	Peer  NodeID
	Term  Term
	Round uint64
}

// Timer arms or stops a timer. Arming one that runs replaces it. It comes back
// as TimerFired with the same generation.
type Timer struct {
	Kind       TimerKind
	Generation uint64
	Stop       bool
}

// Proposed is the outcome of a Propose.
type Proposed struct {
	// First and Last are where the entries stand in the log; zero if refused.
	First, Last Index
	Term        Term
	// Refused says why nothing was appended; the empty reason is acceptance.
	Refused Reason
}

// ReadState answers a ReadIndex.
type ReadState struct {
	Read ReadID
	// Index must be applied before the read is answered.
	Index Index
	// Refused, if not empty, says why there is no index: ask again elsewhere or
	// later.
	Refused Reason
}

// State is the role a server plays (§5.1).
type State uint8

// The states. A pre-candidate asks whether it could win before it disturbs
// anyone (§9.6).
const (
	Follower State = iota
	PreCandidate
	Candidate
	Leader
)

// String gives the state's name.
func (s State) String() string {
	switch s {
	case Follower:
		return "follower"
	case PreCandidate:
		return "pre-candidate"
	case Candidate:
		return "candidate"
	case Leader:
		return "leader"
	}
	return "unknown state"
}

// Status is a view of a replica for people, tests and checkers.
type Status struct {
	ID            NodeID
	State         State
	HardState     HardState
	Leader        NodeID
	FirstIndex    Index
	LastLog       EntryID
	DurableIndex  Index
	CommitIndex   Index
	AppliedIndex  Index
	Snapshot      EntryID
	Configuration ConfigurationEntry
	// Peers is filled at a leader, ordered by id.
	Peers []PeerStatus
}

// PeerStatus is what a leader knows of a follower.
type PeerStatus struct {
	ID         NodeID
	MatchIndex Index
	NextIndex  Index
	// Replication is "probe", "replicate" or "snapshot".
	Replication string
	// InFlightBytes and InFlightMessages are sent and not yet answered.
	InFlightBytes    int
	InFlightMessages int
	// Active: the peer has answered since the last quorum contact check.
	Active bool
}
