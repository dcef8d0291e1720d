package replica

import (
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/snapshot"
	"github.com/quorate/quorate/wal"
)

// NewestUsable gives the newest of a group's stored snapshots that the log goes
// on from: the one it rests on, or a later one of what it holds. One that lies
// beyond the log was received and never put in force, or taken of entries that
// were not durable here.
func NewestUsable(log *wal.GroupState, stored []snapshot.Info) (best snapshot.Info, ok bool) {
	for _, info := range stored {
		id := info.Meta.ID
		inLog := id.Index >= log.First && id.Index <= log.Last && TermAt(log, id.Index) == id.Term
		if (id == log.Snapshot.ID || inLog) && (!ok || id.Index > best.Meta.ID.Index) {
			best, ok = info, true
		}
	}
	return best, ok
}

// TermAt gives the term of an entry of the log, of the one before it, or of the
// snapshot that it rests on.
func TermAt(log *wal.GroupState, index raft.Index) raft.Term {
	switch {
	case index == log.Snapshot.ID.Index:
		return log.Snapshot.ID.Term
	case index+1 == log.First:
		return log.PrevTerm
	}
	term := raft.Term(0)
	for _, run := range log.Runs {
		if run.First > index {
			break
		}
		term = run.Term
	}
	return term
}

// MetaAt describes the state up to an index of the log, for a state machine that
// is durable so far by itself.
func MetaAt(log *wal.GroupState, index raft.Index) raft.SnapshotMeta {
	if index == 0 {
		return raft.SnapshotMeta{}
	}
	meta := raft.SnapshotMeta{
		ID:            raft.EntryID{Term: TermAt(log, index), Index: index},
		Configuration: log.Snapshot.Configuration,
		MaxTimestamp:  log.Snapshot.MaxTimestamp,
	}
	for _, c := range log.Configurations {
		if c.ID.Index <= index {
			meta.Configuration = c
		}
	}
	if index == log.Last {
		meta.Checksum = log.LastChecksum
	}
	return meta
}
