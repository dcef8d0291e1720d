package raft

import (
	"slices"
	"testing"
)

// metaOf is a snapshot up to id under a configuration.
func metaOf(id EntryID, configuration Configuration) SnapshotMeta {
	return SnapshotMeta{ID: id, Configuration: ConfigurationEntry{ID: EntryID{1, 1}, Configuration: configuration}}
}

// TestInstallSnapshot has one row per reason to answer so (SN-06 to SN-08, MB-20).
// The receiver's log is 1.1 1.2 2.3 2.4 2.5, all durable, its commitIndex 2.
func TestInstallSnapshot(t *testing.T) {
	other := voters(1, 2, 3, 4, 5)
	for _, c := range []struct {
		name        string
		id          EntryID
		done        bool
		answers     bool
		match       Index
		last        Index
		keep, reset bool
	}{
		{"a chunk is a sign of life", EntryID{3, 9}, false, false, 0, 5, false, false},
		{"beyond the log", EntryID{3, 9}, true, true, 9, 9, false, true},
		{"its last entry is here: what follows stays", EntryID{2, 4}, true, true, 4, 5, true, true},
		{"its last entry is the last here", EntryID{2, 5}, true, true, 5, 5, true, true},
		{"its last entry has another term: all goes", EntryID{3, 4}, true, true, 4, 4, false, true},
		{"not newer than what is committed", EntryID{1, 2}, true, true, 2, 5, false, false},
		{"a chunk of what is committed", EntryID{1, 1}, false, true, 2, 5, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			restored := disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1, 1, 2, 2, 2)
			restored.Applied = 2
			g := newRig(t, Config{}, restored)
			meta := metaOf(c.id, other)
			e := g.receive(2, &InstallSnapshot{Term: 3, Snapshot: meta, Round: 4, Done: c.done})
			if !g.armed(StickinessTimer) || g.Leader() != 2 {
				t.Error("no sign of life")
			}
			if g.LastIndex() != c.last {
				t.Errorf("log ends at %d, want %d", g.LastIndex(), c.last)
			}
			if e.Persist.ResetLog != c.reset || e.Persist.KeepSuffix != c.keep {
				t.Errorf("persists %+v", e.Persist)
			}
			if c.reset {
				if e.Install.ID != c.id || e.Persist.Reset.ID != c.id || g.CommitIndex() != c.id.Index || g.FirstIndex() != c.id.Index+1 {
					t.Errorf("installs %v, resets to %v, commitIndex %d, first %d", e.Install.ID, e.Persist.Reset.ID, g.CommitIndex(), g.FirstIndex())
				}
				if len(g.Configuration().Configuration.Members) != 5 || len(g.voters.Incoming) != 5 {
					t.Errorf("configuration %+v", g.Configuration())
				}
				if term, ok := g.Term(c.id.Index); !ok || term != c.id.Term {
					t.Errorf("term of the boundary %d %v (SN-04)", term, ok)
				}
			}
			if !c.answers {
				if len(e.Send)+len(e.AfterSync) > 0 {
					t.Errorf("answers %+v %+v", e.Send, e.AfterSync)
				}
				return
			}
			// What was durable before is acknowledged at once.
			answers := e.AfterSync
			if !c.reset || c.keep {
				answers = e.Send
			}
			if m := only[*InstallSnapshotResponse](t, answers); *m != (InstallSnapshotResponse{3, c.match, 4}) {
				t.Errorf("answers %+v", m)
			}
		})
	}
}

// TestSnapshotKeepsAcknowledgedSuffix: a late snapshot covers a prefix of what was
// acknowledged since; the rest stays, on disk too (SN-07).
func TestSnapshotKeepsAcknowledgedSuffix(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 2}, 1))
	g.receive(2, &AppendEntries{Term: 2, Prev: EntryID{1, 1}, Last: 6, Runs: []TermRun{{2, 1}, {4, 2}}})
	g.persist()
	e := g.receive(2, &InstallSnapshot{Term: 2, Snapshot: metaOf(EntryID{1, 3}, voters(1, 2, 3)), Done: true})
	if !e.Persist.KeepSuffix || g.FirstIndex() != 4 || g.LastIndex() != 6 || g.DurableIndex() != 6 {
		t.Errorf("log [%d, %d] durable to %d, persists %+v", g.FirstIndex(), g.LastIndex(), g.DurableIndex(), e.Persist)
	}
	if !slices.Equal(g.log.runs, []TermRun{{4, 2}}) {
		t.Errorf("terms %v", g.log.runs)
	}
}

// TestSnapshotOnItsWay: with the reset in memory only nothing of it is
// acknowledged, and an older write's end vouches for nothing behind it (PS-08).
func TestSnapshotOnItsWay(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 2}, 1))
	g.receive(2, &AppendEntries{Term: 2, Prev: EntryID{1, 1}, Last: 9, Runs: []TermRun{{2, 1}}})
	e := g.receive(3, &InstallSnapshot{Term: 3, Snapshot: metaOf(EntryID{2, 5}, voters(1, 2, 3)), Done: true})
	if e.Persist.KeepSuffix || g.LastIndex() != 5 {
		t.Fatalf("log ends at %d, persists %+v", g.LastIndex(), e.Persist)
	}
	g.step(&Persisted{Seq: 1})
	if g.DurableIndex() >= 5 {
		t.Errorf("durable to %d before the snapshot's write", g.DurableIndex())
	}
	e = g.receive(3, &AppendEntries{Term: 3, Prev: EntryID{2, 5}, Last: 5})
	if m := to[*AppendEntriesResponse](e.AfterSync, 3); len(e.Send) > 0 || len(m) != 2 || m[0].Match >= 5 || m[1].Match != 5 {
		t.Errorf("answers %+v and later %+v", e.Send, m)
	}
	g.step(&Persisted{Seq: 2})
	if g.DurableIndex() != 5 {
		t.Errorf("durable to %d", g.DurableIndex())
	}
}

// TestOwnSnapshot compacts the shape, keeps a tail, and never goes back (SN-01,
// SN-04).
func TestOwnSnapshot(t *testing.T) {
	restored := disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1, 1, 2, 2, 3)
	restored.Configurations = []ConfigurationEntry{{EntryID{1, 2}, voters(1, 2)}}
	restored.Applied = 4
	g := newRig(t, Config{}, restored)
	taken := SnapshotMeta{ID: EntryID{2, 4}, Configuration: g.ConfigurationAt(4)}
	e := g.step(&SnapshotTaken{Snapshot: taken, First: 3})
	if e.Persist.Compact != 3 || e.Persist.Reset.ID != taken.ID || e.Persist.ResetLog {
		t.Errorf("persists %+v", e.Persist)
	}
	if g.FirstIndex() != 3 || !slices.Equal(g.log.runs, []TermRun{{3, 2}, {5, 3}}) || g.log.prevTerm != 1 {
		t.Errorf("log from %d: %v after term %d", g.FirstIndex(), g.log.runs, g.log.prevTerm)
	}
	if got := g.Configuration().ID; got != (EntryID{1, 2}) {
		t.Errorf("configuration %v", got)
	}
	if _, known := g.Term(1); known {
		t.Error("the term of a compacted entry is known (SN-13)")
	}
	if e = g.step(&SnapshotTaken{Snapshot: taken, First: 5}); e.Persist.Seq != 0 {
		t.Errorf("the same snapshot again persists %+v", e.Persist)
	}
	broken(t, "not of this log", func() {
		h := newRig(t, Config{}, restored)
		h.step(&SnapshotTaken{Snapshot: SnapshotMeta{ID: EntryID{1, 4}}, First: 5})
	})
}

// TestSendSnapshot: only to whom needs it, one at a time, with a pause after a
// failure, and on with replication however the peer came by it (SN-05, SN-09,
// FC-06).
func TestSendSnapshot(t *testing.T) {
	lead := func() *rig {
		restored := disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1, 1, 2, 2, 3)
		restored.Snapshot = metaOf(EntryID{2, 4}, voters(1, 2, 3))
		restored.First, restored.PrevTerm, restored.Runs = 4, 2, []TermRun{{4, 2}, {5, 3}}
		g := newRig(t, Config{}, restored)
		g.lead()
		for _, id := range []NodeID{2, 3} {
			g.step(&Sent{Peer: id, Last: 6, Bytes: 1})
		}
		return g
	}
	peer := func(g *rig) PeerStatus { return g.Status().Peers[0] }
	refusal := &AppendEntriesResponse{Term: 4, Prev: 5, Hint: EntryID{1, 2}}

	g := lead()
	e := g.receive(2, &AppendEntriesResponse{Term: 4, Prev: 5, Hint: EntryID{2, 4}})
	if len(e.Snapshots) > 0 || peer(g).NextIndex != 5 {
		t.Fatalf("snapshots %+v to a peer at %d, whose entries are here", e.Snapshots, peer(g).NextIndex)
	}
	g = lead()
	if e = g.receive(2, refusal); len(e.Snapshots) != 1 || e.Snapshots[0] != (SendSnapshot{Peer: 2, Term: 4}) {
		t.Fatalf("snapshots %+v", e.Snapshots)
	}
	// Pause meanwhile, but for heartbeats, which may be refused.
	if e = g.step(&Propose{Count: 1, Bytes: 1}); len(to[*AppendEntries](e.Send, 2)) > 0 {
		t.Errorf("sends %+v during the transfer", e.Send)
	}
	if m := to[*AppendEntries](g.fire(HeartbeatTimer).Send, 2); len(m) != 1 || m[0].Last != m[0].Prev.Index {
		t.Errorf("heartbeat %+v", m)
	}
	if g.receive(2, &AppendEntriesResponse{Term: 4, Prev: 3, Hint: EntryID{1, 2}}); peer(g).Replication != "snapshot" || len(g.e.Snapshots) > 0 {
		t.Errorf("progress %+v", peer(g))
	}
	// Failure: nothing until the next heartbeat.
	if e = g.step(&SnapshotSent{Peer: 2}); len(e.Snapshots) > 0 {
		t.Errorf("tries again at once: %+v", e.Snapshots)
	}
	if e = g.step(&Propose{Count: 1, Bytes: 1}); len(e.Snapshots) > 0 {
		t.Errorf("tries again at a proposal: %+v", e.Snapshots)
	}
	if e = g.fire(HeartbeatTimer); len(e.Snapshots) != 1 {
		t.Errorf("does not try again at the heartbeat: %+v", e.Snapshots)
	}
	// Success whose answer is lost: probe behind the snapshot.
	if e = g.step(&SnapshotSent{Peer: 2, OK: true}); len(to[*AppendEntries](e.Send, 2)) != 1 || to[*AppendEntries](e.Send, 2)[0].Prev != (EntryID{2, 4}) {
		t.Errorf("sends %+v", e.Send)
	}
	e = g.receive(2, &AppendEntriesResponse{Term: 4, Success: true, Match: 4, Prev: 4})
	if p := peer(g); p.Replication != "replicate" || p.MatchIndex != 4 || len(to[*AppendEntries](e.Send, 2)) != 1 {
		t.Errorf("progress %+v, sends %+v", p, e.Send)
	}
	// The answer itself.
	g = lead()
	g.receive(2, refusal)
	g.receive(2, &InstallSnapshotResponse{Term: 4, Match: 4})
	if p := peer(g); p.Replication != "replicate" || p.MatchIndex != 4 || p.NextIndex != 5 {
		t.Errorf("progress %+v", p)
	}
	if g.receive(2, &InstallSnapshotResponse{Term: 4, Match: 4}); g.reason(AnswerIgnored) != StaleAnswer {
		t.Errorf("the answer again: %s", g.story())
	}
	// The transfer has not ended: a second one waits for it.
	g.step(&Compacted{Peer: 2})
	if len(g.e.Snapshots) > 0 || peer(g).Replication != "snapshot" {
		t.Errorf("a second transfer beside the first: %+v", g.e.Snapshots)
	}
	// By other means.
	g = lead()
	g.receive(2, refusal)
	g.receive(2, &AppendEntriesResponse{Term: 4, Success: true, Match: 5, Prev: 5})
	if p := peer(g); p.Replication != "replicate" || p.MatchIndex != 5 {
		t.Errorf("progress %+v", p)
	}
	// The runtime finds the entries gone that the core believed there.
	g = lead()
	e = g.receive(2, &AppendEntriesResponse{Term: 4, Success: true, Match: 4, Prev: 5})
	if m := to[*AppendEntries](e.Send, 2); len(m) != 1 || m[0].Last != 6 {
		t.Fatalf("sends %+v", e.Send)
	}
	if e = g.step(&Compacted{Peer: 2}); len(e.Snapshots) != 1 || peer(g).Replication != "snapshot" {
		t.Errorf("snapshots %+v, progress %+v", e.Snapshots, peer(g))
	}
}
