package raft

import (
	"fmt"

	"github.com/quorate/quorate/raft/quorum"
)

// Event is one thing that happened in a step, with its reason: what a log line
// says, a test prints and a checker replays. Fields that a kind does not use are
// zero.
type Event struct {
	Kind   EventKind
	Reason Reason
	// Term and State are those of the replica when the event happened.
	Term  Term
	State State
	// Peer is the other replica, if there is one.
	Peer NodeID
	// ID, Own and Index mean what the kind says.
	ID    EntryID
	Own   EntryID
	Index Index
	// Voters are those in force from this event on, if it is one that changes
	// them. Immutable.
	Voters *quorum.Voters[NodeID]
}

// EventKind says what happened.
type EventKind uint8

// The kinds.
const (
	// Started: the replica begins with last entry ID, commitIndex Index, the vote
	// of its term given to Peer, and the configuration of entry Own.
	Started EventKind = 1 + iota
	// NotElectable: an election is due and does not take place.
	NotElectable
	// PreElectionStarted and ElectionStarted: the replica stands, its last entry
	// being ID. In a pre-election Index is the term that it asks for.
	PreElectionStarted
	ElectionStarted
	// TermAdopted: a message of Peer carries the newer term, which is Term now.
	TermAdopted
	// VoteGranted, VoteRefused, VoteWithheld: how RequestVote of Peer, whose
	// last entry is ID, is answered by a log that ends in Own. A withheld vote
	// is no answer at all (EL-14).
	VoteGranted
	VoteRefused
	VoteWithheld
	// PreVoteGranted and PreVoteRefused: the same of PreVote.
	PreVoteGranted
	PreVoteRefused
	// VoteCounted: Peer granted; VoteLost: Peer refused; VoteIgnored: Peer's
	// answer does not count. OwnVoteCounted: the own vote is durable (EL-09).
	VoteCounted
	VoteLost
	VoteIgnored
	OwnVoteCounted
	// BecameLeader: its no-op is at Index.
	BecameLeader
	// BecameFollower: of Peer, if a leader is known.
	BecameFollower
	// Appended: entries after ID up to Index entered the log of a follower.
	Appended
	// Heard: an AppendEntries after ID brought nothing new.
	Heard
	// AppendRefused: the entry ID before those of Peer is not in the log; the
	// answer hints at Own.
	AppendRefused
	// Truncated: entries from Index on are replaced.
	Truncated
	// ConfigurationChanged: the configuration of entry ID is in force, because
	// it was appended, or (Reason EntriesConflict) because a later one went.
	ConfigurationChanged
	// Committed: commitIndex rose to Index.
	Committed
	// SnapshotIgnored, SnapshotInstalled: a snapshot up to ID was received.
	SnapshotIgnored
	SnapshotInstalled
	// LogCompacted: the log rests on an own snapshot up to ID and begins at
	// Index.
	LogCompacted
	// PeerProbed, PeerReplicated, PeerSentSnapshot: how Peer is sent to from now
	// on, beginning at Index.
	PeerProbed
	PeerReplicated
	PeerSentSnapshot
	// AnswerIgnored: an answer of Peer changed nothing.
	AnswerIgnored
	// ProposalRefused: see Reason.
	ProposalRefused
	// ReadRoundStarted: round Index confirms all reads that wait.
	ReadRoundStarted
	// ReadsConfirmed: they may read at Index.
	ReadsConfirmed
	// ReadRefused: see Reason.
	ReadRefused
	// EntryUnreadable: the entry at Index cannot be read from the own log.
	EntryUnreadable
	// MessageDropped: a message of Peer was not processed.
	MessageDropped
	// EntriesProposed: entries after ID up to Index entered the log of a leader.
	EntriesProposed
	// HardStateDurable: term Index, and that its vote is Peer's, are on disk. It may
	// be an older term than that of the event.
	HardStateDurable
	// LogDurable: the log as it is now is on disk up to Index.
	LogDurable
	// PeerMatched: Peer has said that its log is durable and equal up to Index.
	PeerMatched
	// EntriesApplied: the state machine holds the entries up to Index.
	EntriesApplied

	eventKinds = iota
)

// eventNames are the kinds as records of a trace name them.
var eventNames = [eventKinds + 1]string{
	Started: "started", NotElectable: "not-electable",
	PreElectionStarted: "pre-election-started", ElectionStarted: "election-started", TermAdopted: "term-adopted",
	VoteGranted: "vote-granted", VoteRefused: "vote-refused", VoteWithheld: "vote-withheld",
	PreVoteGranted: "pre-vote-granted", PreVoteRefused: "pre-vote-refused",
	VoteCounted: "vote-counted", VoteLost: "vote-lost", VoteIgnored: "vote-ignored", OwnVoteCounted: "own-vote-counted",
	BecameLeader: "became-leader", BecameFollower: "became-follower",
	Appended: "appended", Heard: "heard", AppendRefused: "append-refused", Truncated: "truncated",
	ConfigurationChanged: "configuration-changed", Committed: "committed",
	SnapshotIgnored: "snapshot-ignored", SnapshotInstalled: "snapshot-installed", LogCompacted: "log-compacted",
	PeerProbed: "peer-probed", PeerReplicated: "peer-replicated", PeerSentSnapshot: "peer-sent-snapshot",
	AnswerIgnored: "answer-ignored", ProposalRefused: "proposal-refused",
	ReadRoundStarted: "read-round-started", ReadsConfirmed: "reads-confirmed", ReadRefused: "read-refused",
	EntryUnreadable: "entry-unreadable", MessageDropped: "message-dropped",
	EntriesProposed: "entries-proposed", HardStateDurable: "hard-state-durable", LogDurable: "log-durable",
	PeerMatched: "peer-matched", EntriesApplied: "entries-applied",
}

// String gives the kind's name.
func (k EventKind) String() string {
	if k > 0 && int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "unknown"
}

// event notes what happened.
func (r *Raft) event(e Event) {
	e.Term, e.State = r.currentTerm, r.state
	r.effects.Trace = append(r.effects.Trace, e)
}

// String tells the event as a story line, without the replica that it happened to.
func (e Event) String() string {
	switch e.Kind {
	case Started:
		return fmt.Sprintf("starts at term %d, last entry %v, committed %d", e.Term, e.ID, e.Index)
	case NotElectable:
		return fmt.Sprintf("%v: no election, %v", ElectionTimeout, e.Reason)
	case PreElectionStarted:
		return fmt.Sprintf("%v: pre-candidate, would they vote for it at term %d?", e.Reason, e.Index)
	case ElectionStarted:
		return fmt.Sprintf("%v: candidate at term %d, votes for itself", e.Reason, e.Term)
	case TermAdopted:
		return fmt.Sprintf("%v %d from %d", NewerTerm, e.Term, e.Peer)
	case VoteGranted:
		return fmt.Sprintf("RequestVote from %d: %s, grant", e.Peer, e.voteReason())
	case VoteRefused:
		return fmt.Sprintf("RequestVote from %d: %s, refuse", e.Peer, e.voteReason())
	case VoteWithheld:
		return fmt.Sprintf("RequestVote from %d: %v, ignore", e.Peer, e.Reason)
	case PreVoteGranted:
		return fmt.Sprintf("PreVote from %d: %s, would grant", e.Peer, e.voteReason())
	case PreVoteRefused:
		return fmt.Sprintf("PreVote from %d: %s, would refuse", e.Peer, e.voteReason())
	case VoteCounted:
		return fmt.Sprintf("vote of %d counts", e.Peer)
	case VoteLost:
		return fmt.Sprintf("vote of %d refused", e.Peer)
	case VoteIgnored:
		return fmt.Sprintf("vote of %d does not count: %v", e.Peer, e.Reason)
	case OwnVoteCounted:
		return "own vote is durable and counts"
	case BecameLeader:
		return fmt.Sprintf("%v: leader of term %d, no-op at %d", e.Reason, e.Term, e.Index)
	case BecameFollower:
		if e.Peer == None {
			return fmt.Sprintf("%v: follower at term %d", e.Reason, e.Term)
		}
		return fmt.Sprintf("%v: follower of %d at term %d", e.Reason, e.Peer, e.Term)
	case Appended:
		return fmt.Sprintf("AppendEntries from %d: %v %v, append up to %d", e.Peer, PreviousMatches, e.ID, e.Index)
	case Heard:
		return fmt.Sprintf("AppendEntries from %d: %v %v, nothing new", e.Peer, PreviousMatches, e.ID)
	case AppendRefused:
		if e.Reason == OlderTerm {
			return fmt.Sprintf("AppendEntries from %d: %v, refuse", e.Peer, e.Reason)
		}
		return fmt.Sprintf("AppendEntries from %d: %v %v, refuse, hint %v", e.Peer, e.Reason, e.ID, e.Own)
	case Truncated:
		return fmt.Sprintf("%v: truncate from %d", e.Reason, e.Index)
	case ConfigurationChanged:
		if e.Reason == EntriesConflict {
			return fmt.Sprintf("falls back to the configuration of %v", e.ID)
		}
		return fmt.Sprintf("configuration of %v in force", e.ID)
	case Committed:
		return fmt.Sprintf("commitIndex %d: %v", e.Index, e.Reason)
	case SnapshotIgnored:
		return fmt.Sprintf("snapshot %v from %d: %v, ignore", e.ID, e.Peer, e.Reason)
	case SnapshotInstalled:
		return fmt.Sprintf("snapshot %v from %d: install, %v", e.ID, e.Peer, e.Reason)
	case LogCompacted:
		return fmt.Sprintf("own snapshot %v: the log begins at %d", e.ID, e.Index)
	case PeerProbed:
		return fmt.Sprintf("%d: %v, probe at %d", e.Peer, e.Reason, e.Index)
	case PeerReplicated:
		return fmt.Sprintf("%d: %v, replicate from %d", e.Peer, e.Reason, e.Index)
	case PeerSentSnapshot:
		return fmt.Sprintf("%d: %v, send a snapshot", e.Peer, e.Reason)
	case AnswerIgnored:
		return fmt.Sprintf("answer of %d ignored: %v", e.Peer, e.Reason)
	case ProposalRefused:
		return fmt.Sprintf("proposal refused: %v", e.Reason)
	case ReadRoundStarted:
		return fmt.Sprintf("read round %d begins", e.Index)
	case ReadsConfirmed:
		return fmt.Sprintf("reads confirmed at %d", e.Index)
	case ReadRefused:
		return fmt.Sprintf("read refused: %v", e.Reason)
	case EntryUnreadable:
		return fmt.Sprintf("entry %d of the own log is unreadable", e.Index)
	case MessageDropped:
		return fmt.Sprintf("message of %d dropped: %v", e.Peer, e.Reason)
	case EntriesProposed:
		return fmt.Sprintf("proposed: append up to %d after %v", e.Index, e.ID)
	case HardStateDurable:
		if e.Peer == None {
			return fmt.Sprintf("term %d is durable", e.Index)
		}
		return fmt.Sprintf("term %d and its vote for %d are durable", e.Index, e.Peer)
	case LogDurable:
		return fmt.Sprintf("log is durable up to %d", e.Index)
	case PeerMatched:
		return fmt.Sprintf("%d: log is durable and equal up to %d", e.Peer, e.Index)
	case EntriesApplied:
		return fmt.Sprintf("applied up to %d", e.Index)
	}
	return "unknown event"
}

// voteReason tells why a vote was given or refused, with the logs compared.
func (e Event) voteReason() string {
	switch e.Reason {
	case LogBehind:
		return fmt.Sprintf("its last entry %v is behind %v", e.ID, e.Own)
	case LogUpToDate:
		return fmt.Sprintf("its last entry %v is as up-to-date as %v", e.ID, e.Own)
	}
	return e.Reason.String()
}
