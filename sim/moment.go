package sim

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/raft"
)

// A Moment is something that a replica does and a fault may wait for: what was
// promised a moment ago is what a crash must not forget.
type Moment int

// The moments. What each is stands in momentTable.
const (
	VoteRequested Moment = 1 + iota
	VoteGranted
	Elected
	EntriesSent
	EntriesAcknowledged
	SnapshotStored
	SnapshotInstalled
	SnapshotAcknowledged
	LogCompacted
	LogTruncated

	moments = iota
)

// momentTable says by what name a script calls a moment.
var momentTable = [moments + 1]string{
	VoteRequested:        "vote-requested",
	VoteGranted:          "vote-granted",
	Elected:              "elected",
	EntriesSent:          "entries-sent",
	EntriesAcknowledged:  "entries-acknowledged",
	SnapshotStored:       "snapshot-stored",
	SnapshotInstalled:    "snapshot-installed",
	SnapshotAcknowledged: "snapshot-acknowledged",
	LogCompacted:         "log-compacted",
	LogTruncated:         "log-truncated",
}

// String gives the moment's name in scripts.
func (m Moment) String() string {
	if m >= 0 && int(m) < len(momentTable) {
		return momentTable[m]
	}
	return fmt.Sprintf("moment(%d)", int(m))
}

func parseMoment(to *Moment, text string) error {
	i := slices.Index(momentTable[1:], text)
	if i < 0 {
		return fmt.Errorf("nothing that a fault waits for is called %q", text)
	}
	*to = Moment(1 + i)
	return nil
}

// momentOf gives the moment that the sending of a message is, or zero.
func momentOf(m *raft.Message) Moment {
	switch body := m.Body.(type) {
	case *raft.RequestVote:
		return VoteRequested
	case *raft.RequestVoteResponse:
		if body.Granted {
			return VoteGranted
		}
	case *raft.AppendEntries:
		if body.Last > body.Prev.Index {
			return EntriesSent
		}
	case *raft.AppendEntriesResponse:
		if body.Success && body.Match > body.Prev {
			return EntriesAcknowledged
		}
	case *raft.InstallSnapshotResponse:
		if body.Match != 0 {
			return SnapshotAcknowledged
		}
	}
	return 0
}

// momentOfEvent gives the moment that an event of the protocol is, or zero.
func momentOfEvent(e *raft.Event) Moment {
	switch e.Kind {
	case raft.BecameLeader:
		return Elected
	case raft.SnapshotInstalled:
		return SnapshotInstalled
	case raft.LogCompacted:
		return LogCompacted
	case raft.Truncated:
		return LogTruncated
	}
	return 0
}

// arm lets a fault wait for its moment.
func (w *world) arm(f *Fault) { w.armed = append(w.armed, *f) }

// arrived strikes with what waited for this moment of this node: when what the
// node sends now is on its way.
func (w *world) arrived(n *node, m Moment) {
	for i := 0; m != 0 && i < len(w.armed); i++ {
		f := w.armed[i]
		if f.On != m || f.Node != raft.None && f.Node != n.id {
			continue
		}
		w.armed = slices.Delete(w.armed, i, i+1)
		i--
		f.Node = n.id
		healed := w.healed
		w.at(f.After, faultEvent, func() {
			if w.calm || w.healed != healed {
				return
			}
			w.count(countMoment + counter(m) - 1)
			w.tracef("node %d: %v, which %v waited for", n.id, m, f.Kind)
			w.struck(&f)
		})
	}
}
