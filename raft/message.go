package raft

// Body is the content of a message: one struct per RPC of the paper and per
// answer. A body is immutable once it is sent.
type Body interface {
	// MessageTerm is the sender's term, by which the receiver orders the
	// message before it looks at anything else (EL-02, EL-03).
	MessageTerm() Term
}

// Message is a body on its way between two replicas of one group.
type Message struct {
	From, To NodeID
	Body     Body
}

// PreVote asks whether the receiver would vote for the sender in Term, which
// the sender has not entered (§9.6, EL-15).
type PreVote struct {
	// Term is the term that an election would have: the sender's plus one.
	Term    Term
	LastLog EntryID
}

// PreVoteResponse answers PreVote. A grant carries the term that was asked
// for, a refusal the voter's own term (EL-16).
type PreVoteResponse struct {
	Term    Term
	Granted bool
}

// RequestVote is Figure 2's RPC of that name.
type RequestVote struct {
	Term    Term
	LastLog EntryID
	// Transfer lifts vote stickiness: the leader of the term before this one
	// asked for this election (§4.2.3, EL-14, LT-07).
	Transfer bool
}

// RequestVoteResponse answers RequestVote.
type RequestVoteResponse struct {
	Term    Term
	Granted bool
	// LastLog echoes the request. A request may leave before the candidate's
	// own vote is durable (EL-09), so a candidate that crashed may ask again in
	// the same term with a shorter log; a grant given to the longer one must
	// not count for it.
	LastLog EntryID
}

// AppendEntries is Figure 2's RPC of that name. It names the entries that it
// carries, (Prev.Index, Last]; their bytes are attached by the runtime
// and never enter the core. Without entries it is a heartbeat.
type AppendEntries struct {
	Term Term
	// Prev is the entry that precedes those carried.
	Prev EntryID
	// Last is the index of the last entry carried, or Prev.Index.
	Last Index
	// Runs are the terms of the entries carried, from Prev.Index+1 on.
	Runs []TermRun
	// Commit is the leader's commitIndex.
	Commit Index
	// Round counts the leader's rounds of contact in this term. A follower
	// echoes it, and a read waits for the echo of a round that began after it
	// (RD-02).
	Round uint64
	// Configurations are the configuration entries among those carried, in
	// order. Decoded by the runtime of the receiver from the entries' bytes.
	Configurations []ConfigurationEntry
}

// AppendEntriesResponse answers AppendEntries.
type AppendEntriesResponse struct {
	Term    Term
	Success bool
	// Match, on success: the receiver's log is durable and equal to the
	// sender's up to here (RP-06: Prev.Index plus the entries carried, never
	// the receiver's own last index).
	Match Index
	// Round echoes the request.
	Round uint64

	// Prev echoes the request's Prev.Index. On success the receiver's log, durable
	// or not, holds the leader's entry there.
	Prev Index
	// Hint, on refusal, is the receiver's last entry whose term is not newer than
	// the request's Prev.Term, at or below Prev, so that both sides jump at least
	// a term per round trip (RP-08).
	Hint EntryID
}

// InstallSnapshot is Figure 2 of the extended paper (Figure 13): one chunk of
// the leader's snapshot. The chunk's bytes are the runtime's; the core sees
// each chunk as a sign of life from the leader, and Done when the runtime holds
// the whole snapshot, verified and durable.
type InstallSnapshot struct {
	Term     Term
	Snapshot SnapshotMeta
	// Round as in AppendEntries.
	Round uint64
	// Done: the snapshot is complete and durable at the receiver. Set by the
	// receiver's runtime, never by a sender.
	Done bool
}

// InstallSnapshotResponse tells the leader that its snapshot is in force.
type InstallSnapshotResponse struct {
	Term Term
	// Match is the index up to which the receiver's log equals the leader's:
	// the snapshot's, or the receiver's commitIndex if that is newer (SN-08).
	Match Index
	Round uint64
}

// TimeoutNow asks the receiver to start an election at once (§3.10).
type TimeoutNow struct{ Term Term }

// ReadIndexRequest asks the leader, on behalf of a follower's read, for an
// index that a linearizable read must have applied (§6.4, RD-05).
type ReadIndexRequest struct {
	Term Term
	// Read is the follower's name for the read.
	Read ReadID
}

// ReadIndexResponse answers ReadIndexRequest.
type ReadIndexResponse struct {
	Term Term
	Read ReadID
	// Index is what must be applied before the read is answered; zero if the
	// receiver does not lead.
	Index Index
}

// SnapshotMeta is what a snapshot replaces: the log up to ID, and the
// configuration in force there (SN-02, MB-20).
type SnapshotMeta struct {
	ID            EntryID
	Configuration ConfigurationEntry
	// MaxTimestamp is the newest entry timestamp covered, in nanoseconds since
	// the Unix epoch (lease reads need it after compaction).
	MaxTimestamp int64
	// Checksum is that of the entry ID, with which the next entry is chained;
	// zero if it is not known. The core only carries it.
	Checksum uint32
}

// ReadID names a read between the core and its runtime. A replica never gives one to
// another read, also not after a restart: a late answer to the first would pass for
// one to the second. The same read may be asked for again under its own.
type ReadID uint64

// The terms by which messages are ordered.
func (m *PreVote) MessageTerm() Term                 { return m.Term }
func (m *PreVoteResponse) MessageTerm() Term         { return m.Term }
func (m *RequestVote) MessageTerm() Term             { return m.Term }
func (m *RequestVoteResponse) MessageTerm() Term     { return m.Term }
func (m *AppendEntries) MessageTerm() Term           { return m.Term }
func (m *AppendEntriesResponse) MessageTerm() Term   { return m.Term }
func (m *InstallSnapshot) MessageTerm() Term         { return m.Term }
func (m *InstallSnapshotResponse) MessageTerm() Term { return m.Term }
func (m *TimeoutNow) MessageTerm() Term              { return m.Term }
func (m *ReadIndexRequest) MessageTerm() Term        { return m.Term }
func (m *ReadIndexResponse) MessageTerm() Term       { return m.Term }
