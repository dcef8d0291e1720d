package storesim

// plant is a bug of a server, for tests of the judges.
type plant int

const (
	// fastClock has the clocks of processes run faster than time.
	fastClock plant = 1 + iota
	// flushLies says that commits are durable which are not.
	flushLies
	// wrongAnswer answers now and then what the store did not.
	wrongAnswer
	// takeTwice takes a forwarded command as often as it arrives.
	takeTwice
	// takeLate takes one that was meant for an earlier process, too.
	takeLate
	// staleRead reads without asking the leader.
	staleRead
	// unknownIsRefused takes a command whose outcome is unknown for one that was
	// certainly not done.
	unknownIsRefused
	// forgetHistory reads the history of watchers from one revision too late.
	forgetHistory
)
