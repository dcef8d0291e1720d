package replica

import (
	"fmt"

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

// GoOn says whether a state machine that is durable up to an index by itself can
// go on from there with the entries of the log, and gives what it then holds; if
// not it has to be restored from a snapshot first. The error is that the log, or
// what it was, is lost.
func GoOn(log *wal.GroupState, durable raft.Index) (raft.SnapshotMeta, bool, error) {
	if durable > log.Last && durable > log.Snapshot.ID.Index {
		return raft.SnapshotMeta{}, false, fmt.Errorf("the state machine is durable up to index %d but the log ends at %d: the log or an old copy of it was lost; this replica must join anew under a new node id", durable, log.Last)
	}
	if durable+1 < log.First {
		return raft.SnapshotMeta{}, false, nil
	}
	return MetaAt(log, durable), true, nil
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
