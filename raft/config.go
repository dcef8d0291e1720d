package raft

// Config is how a replica behaves. Zero fields mean the documented default.
type Config struct {
	// ID is this replica. Required.
	ID NodeID
	// DisablePreVote turns off §9.6; DisableCheckQuorum the stepping down of a
	// leader without contact to a majority (§6.2); DisableStickiness vote
	// withholding (§4.2.3). All three are on by default, and PreVote and
	// CheckQuorum are needed together for liveness (EL-19): turn them off only
	// to study what happens.
	DisablePreVote     bool
	DisableCheckQuorum bool
	DisableStickiness  bool
	// MaxInFlightMessages and MaxInFlightBytes bound what is sent to a follower
	// and not yet answered (FC-02). Defaults 256 and 16 MiB.
	MaxInFlightMessages int
	MaxInFlightBytes    int
	// MaxUncommittedBytes bounds what the leader appends beyond its commitIndex
	// (FC-04). Default 64 MiB.
	MaxUncommittedBytes int
	// MaxPendingReads bounds reads that wait for a round. Default 65,536.
	MaxPendingReads int
}

// Restored is what a replica finds on its disk when it starts. The zero value is
// an empty disk: a replica without a configuration, which stays passive (EL-22).
type Restored struct {
	HardState HardState
	// Snapshot is what the log rests on; zero if it begins at index 1.
	Snapshot SnapshotMeta
	// First and Last bound the log on disk, Last < First if it is empty. First
	// is at most Snapshot.ID.Index+1 and the entry before First is known to be
	// PrevTerm's, so that the check at the boundary works (SN-04).
	First, Last Index
	PrevTerm    Term
	// Runs are the terms of [First, Last].
	Runs []TermRun
	// Configurations are the configuration entries in [First, Last], in order.
	Configurations []ConfigurationEntry
	// Applied, if it is beyond Snapshot, is what the state machine on disk
	// already holds: entries up to here are committed (CM-05, CM-07).
	Applied Index
}
