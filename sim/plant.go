package sim

// plant is a bug of the simulated nodes' shell: what a wrong runtime would do.
// The judges must find each.
type plant int

const (
	// acknowledgeEarly releases what waits for a sync before the sync. Zero is no
	// bug: the nodes are as good as we know how.
	acknowledgeEarly plant = 1 + iota
	// skipSync acknowledges after a sync that never took place.
	skipSync
	// forgetVote starts without the vote that was given.
	forgetVote
	// applyUncommitted now and then applies an entry that is not committed.
	applyUncommitted
	// unconfirmedRead serves a linearizable read without asking the leader.
	unconfirmedRead
)
