package raft

// Reason says why a replica did what it did. Zero is no reason.
type Reason uint8

// The reasons.
const (
	noReason Reason = iota

	// Why an election, or none.
	ElectionTimeout
	CampaignAsked
	TransferAsked
	NotVoter
	SnapshotNotInstalled
	TermsExhausted

	// Why a vote is given, refused or not counted.
	LogUpToDate
	OlderTerm
	AlreadyVoted
	LogBehind
	LeaderAlive
	GrantForAnotherLog
	NotCampaigning

	// Why a state ends or begins.
	NewerTerm
	LeaderOfTerm
	MajorityGranted
	NoQuorumContact
	LogUnreadable
	RemovedFromConfiguration

	// What became of AppendEntries and snapshots.
	PreviousMatches
	PreviousMissing
	PreviousConflicts
	EntriesConflict
	AlreadyCommitted
	SuffixMatches
	SuffixDiscarded
	MajorityHasIt
	LeaderCommitted

	// Why a peer is sent to in another way.
	MatchFound
	PeerRefused
	PeerLost
	EntriesCompacted
	TransferDone
	TransferFailed
	StaleAnswer

	// Why a proposal or a read is refused, and a message dropped.
	NotLeader
	NoLeader
	LeadershipLost
	TooManyUncommitted
	TooManyReads
	NothingProposed
	Malformed
	NotForUs
	UnknownPeer

	reasons = iota
)

// reasonTexts are the reasons as people read them.
var reasonTexts = [reasons]string{
	ElectionTimeout:          "timeout",
	CampaignAsked:            "asked to campaign",
	TransferAsked:            "the leader hands over",
	NotVoter:                 "no voter",
	SnapshotNotInstalled:     "a snapshot is not installed yet",
	TermsExhausted:           "no term is left",
	LogUpToDate:              "its log is up-to-date",
	OlderTerm:                "older term",
	AlreadyVoted:             "the vote of this term is another's",
	LogBehind:                "its log is behind",
	LeaderAlive:              "a leader is alive",
	GrantForAnotherLog:       "granted to another log than ours",
	NotCampaigning:           "not campaigning",
	NewerTerm:                "newer term",
	LeaderOfTerm:             "heard the leader of this term",
	MajorityGranted:          "a majority granted its vote",
	NoQuorumContact:          "no contact to a majority",
	LogUnreadable:            "own log is unreadable",
	RemovedFromConfiguration: "not a voter of the committed configuration",
	PreviousMatches:          "previous entry matches",
	PreviousMissing:          "previous entry is missing",
	PreviousConflicts:        "previous entry has another term",
	EntriesConflict:          "conflict with the leader's entries",
	AlreadyCommitted:         "not newer than what is committed",
	SuffixMatches:            "entries after it are kept",
	SuffixDiscarded:          "the log is discarded",
	MajorityHasIt:            "a majority has it",
	LeaderCommitted:          "the leader committed it",
	MatchFound:               "the logs match",
	PeerRefused:              "it refused",
	PeerLost:                 "contact lost",
	EntriesCompacted:         "entries it needs are compacted",
	TransferDone:             "transfer done",
	TransferFailed:           "transfer failed",
	StaleAnswer:              "stale answer",
	NotLeader:                "not the leader",
	NoLeader:                 "no leader is known",
	LeadershipLost:           "leadership was lost",
	TooManyUncommitted:       "too many bytes are not committed yet",
	TooManyReads:             "too many reads wait",
	NothingProposed:          "nothing was proposed",
	Malformed:                "malformed",
	NotForUs:                 "not for this replica",
	UnknownPeer:              "not a member",
}

// String gives the reason in words; nothing for no reason.
func (r Reason) String() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r]
	}
	return "unknown reason"
}
