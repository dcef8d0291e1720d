package replica

import (
	"strings"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/snapshot"
	"github.com/quorate/quorate/wal"
)

// SN-03, SN-07: an installed snapshot takes effect when the log that rests on it is
// durable: before, the state is the old one and older snapshots stay.
func TestInstallTakesEffectWithItsWrite(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	n := l.node(3)
	meta := n.applier.At()
	meta.ID = raft.EntryID{Term: l.node(1).replica.Core().CurrentTerm(), Index: 50}
	n.stored[meta.ID] = storedSnapshot{meta, "received"}
	n.hold = true
	n.replica.SnapshotReceived(1, meta.ID.Term, 0, meta, 8, &n.out)
	l.settle()
	if got := strings.Join(n.machine.commands, " "); got != "" || n.obsolete.Index != 0 {
		t.Fatalf("state %q, snapshots before %v are removed, while the log does not rest on the new one", got, n.obsolete)
	}
	n.hold = false
	l.settle()
	if got := strings.Join(n.machine.commands, " "); got != "received" || n.obsolete != meta.ID {
		t.Fatalf("state %q, snapshots before %v are removed", got, n.obsolete)
	}
}

// B-25: a second snapshot comes into force while the state machine has still to be
// restored from the first, which stays until it has been.
func TestSnapshotStaysUntilTheStateIsRestored(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	n := l.node(3)
	n.stall = true
	receive := func(index raft.Index, state string) raft.EntryID {
		meta := n.applier.At()
		meta.ID = raft.EntryID{Term: l.node(1).replica.Core().CurrentTerm(), Index: index}
		n.stored[meta.ID] = storedSnapshot{meta, state}
		n.replica.SnapshotReceived(1, meta.ID.Term, 0, meta, 8, &n.out)
		l.settle()
		return meta.ID
	}
	receive(50, "first")
	last := receive(60, "second")
	if n.obsolete.Index != 0 {
		t.Fatalf("snapshots before %v are removed, and nothing is restored", n.obsolete)
	}
	n.stall = false
	l.settle()
	if got := strings.Join(n.machine.commands, " "); got != "second" || n.obsolete != last {
		t.Fatalf("state %q, snapshots before %v are removed", got, n.obsolete)
	}
}

// SN-03, B-25: a snapshot of its own too makes older ones obsolete only when the
// log rests on it on the disk.
func TestOlderSnapshotsStayUntilTheLogRestsOnTheNewer(t *testing.T) {
	l := newLab(t, 1)
	l.start()
	l.elect(1)
	n := l.node(1)
	n.propose("a", "b", "c")
	n.hold = true
	n.snapshot()
	l.settle()
	if n.obsolete.Index != 0 {
		t.Fatalf("snapshots before %v are removed before the write", n.obsolete)
	}
	n.hold = false
	l.settle()
	if n.obsolete != n.applier.At().ID {
		t.Fatalf("snapshots before %v are removed, want before %v", n.obsolete, n.applier.At().ID)
	}
}

// SN-07: what a restart begins with is a snapshot that the log goes on from: the
// one that it rests on, or of an entry in it. One beyond the log was received and
// never put in force, and one of another term's entry is another log's.
func TestNewestUsable(t *testing.T) {
	info := func(term raft.Term, index raft.Index) snapshot.Info {
		return snapshot.Info{Meta: raft.SnapshotMeta{ID: raft.EntryID{Term: term, Index: index}}}
	}
	log := wal.GroupState{First: 11, Last: 20, PrevTerm: 2, Runs: []raft.TermRun{{First: 11, Term: 2}, {First: 16, Term: 3}}}
	log.Snapshot.ID = raft.EntryID{Term: 2, Index: 10}
	for _, test := range []struct {
		name   string
		stored []snapshot.Info
		want   raft.Index // zero: none
	}{
		{"what it rests on", []snapshot.Info{info(2, 10)}, 10},
		{"a later one of an entry in it", []snapshot.Info{info(2, 10), info(3, 18)}, 18},
		{"the last entry", []snapshot.Info{info(2, 10), info(3, 20)}, 20},
		{"one beyond it", []snapshot.Info{info(2, 10), info(3, 21)}, 10},
		{"one beyond it alone", []snapshot.Info{info(3, 21)}, 0},
		{"one of another term's entry", []snapshot.Info{info(2, 10), info(2, 18)}, 10},
		{"an older one", []snapshot.Info{info(1, 5)}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := NewestUsable(&log, test.stored)
			if ok != (test.want != 0) || got.Meta.ID.Index != test.want {
				t.Errorf("got %v, %v, want %d", got.Meta.ID, ok, test.want)
			}
		})
	}
}
