package sim

import (
	"fmt"
	"io"
	"slices"
)

// Coverage counts what occurred, by name. The names are those of Covered, in its
// order.
type Coverage [counters]int

type counter int

// What is counted: first the faults, in the order of faultKind.
const (
	countLost counter = counter(faultKinds) + iota
	countDuplicated
	countLate
	countCutOff
	countOverdueElection
	countMidOperation
	countRestart
	countRestartFromSnapshot
	countTailLost
	countBootstrapInterrupted
	countIdentityRedrawn
	countElection
	countLeaderChange
	countTruncated
	countCompacted
	countSnapshotTaken
	countSnapshotFailed
	countSnapshotSent
	countSnapshotBroken
	countSnapshotResumed
	countSnapshotInstalled
	countSuffixKept
	countSuffixDiscarded
	countRestored
	countLogRead
	countApplyRead
	countLogReadFailed
	countCopiedForward
	countRecycled
	countGroupStopped
	countNodeFailed
	countRestartOnCache
	countReadRetried
	countReadForwarded
	countVoteWithheld
	countSteppedDown
	countOverloaded
	countNotLeader
	countUnknown
	countUnknownCommitted
	countUnknownNever
	countProgress
	countQuorumProgress
	countMinutesLate
	countSlept
	countCorruptDropped
	countRefused
	countRotten
	countWriteLost
	countNodeAway
	countReplicaAway
	countDamageSurvived
	countReplayedAtOnce
	countRottenChunk
	countUndecided
	countMoment // the first of the moments

	countScenario = countMoment + counter(moments) // the first of the scenarios
	counters      = int(countScenario) + scenarios
)

var counterNames = [counters]string{
	countLost: "message lost", countDuplicated: "message duplicated", countLate: "message much delayed",
	countCutOff: "message into a cut", countOverdueElection: "election timer overdue after a pause",
	countMidOperation: "power lost between two disk calls", countRestart: "restart",
	countRestartFromSnapshot: "restart from a snapshot", countTailLost: "unsynced write lost whole",
	countBootstrapInterrupted: "bootstrap interrupted", countIdentityRedrawn: "identity lost before it was durable",
	countElection: "leader elected", countLeaderChange: "leader changed", countTruncated: "log truncated",
	countCompacted: "log compacted", countSnapshotTaken: "snapshot taken", countSnapshotFailed: "snapshot failed",
	countSnapshotSent: "snapshot sent", countSnapshotBroken: "snapshot transfer broke off",
	countSnapshotResumed: "snapshot transfer resumed", countSnapshotInstalled: "snapshot installed",
	countSuffixKept: "suffix kept behind a snapshot", countSuffixDiscarded: "log discarded for a snapshot",
	countRestored: "state restored from a snapshot", countLogRead: "old entries read for a follower",
	countApplyRead: "old entries read to apply", countLogReadFailed: "log read failed",
	countCopiedForward: "entries copied forward", countRecycled: "segment recycled",
	countGroupStopped: "group stopped by its disk", countNodeFailed: "log failed", countRestartOnCache: "process restarted after its log failed", countReadRetried: "read asked again",
	countReadForwarded: "read at a follower", countVoteWithheld: "vote withheld", countSteppedDown: "leader stepped down without quorum",
	countOverloaded: "proposal refused: overloaded", countNotLeader: "proposal refused: not leader",
	countUnknown: "outcome unknown", countUnknownCommitted: "unknown, and committed", countUnknownNever: "unknown, and never committed",
	countProgress: "progress checked", countQuorumProgress: "progress of a quorum alone",
	countMinutesLate: "message minutes old", countSlept: "all asleep for minutes", countCorruptDropped: "corrupt frame noticed",
	countRefused: "packet of another incarnation refused", countRotten: "sector rotten", countWriteLost: "write lost or misdirected",
	countNodeAway: "node stays away: damaged", countReplicaAway: "replica stays away: damaged",
	countDamageSurvived: "started in spite of damage", countReplayedAtOnce: "message replayed at once", countRottenChunk: "rotten chunk of a snapshot refused", countUndecided: "history left to the log's order",
}

// Covered gives the names of what Coverage counts.
func Covered() []string {
	names := slices.Clone(counterNames[:])
	for k := range faultKinds {
		names[k] = "fault: " + k.String()
	}
	for m := range moments {
		names[countMoment+counter(m)] = "fault upon: " + Moment(m+1).String()
	}
	for s := range scenarios {
		names[countScenario+counter(s)] = "scenario: " + scenarioNames[s]
	}
	return names
}

// Missed gives the names of what did not occur. What depends on the clock of the
// machine that runs it is not demanded, nor what takes some ten thousand seeds.
func (c *Coverage) Missed() (names []string) {
	for i, name := range Covered() {
		if c[i] == 0 && counter(i) != countUndecided && counter(i) != countRottenChunk {
			names = append(names, name)
		}
	}
	return names
}

// Add adds another run's counts.
func (c *Coverage) Add(o *Coverage) {
	for i := range c {
		c[i] += o[i]
	}
}

// WriteTable writes the counts in two columns.
func (c *Coverage) WriteTable(w io.Writer) error {
	names := Covered()
	half := (len(names) + 1) / 2
	for i := range half {
		line := fmt.Sprintf("%12d  %-38s", c[i], names[i])
		if j := i + half; j < len(names) {
			line += fmt.Sprintf("%12d  %s", c[j], names[j])
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
