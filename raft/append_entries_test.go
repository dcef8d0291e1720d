package raft

import (
	"slices"
	"testing"
)

// TestAppendEntries has one row per reason to answer so (RP-02 to RP-08, CM-05,
// PS-02, PS-06). The receiver's log is 1.1 1.2 2.3 2.4, all durable, its
// commitIndex 2, its term 3.
func TestAppendEntries(t *testing.T) {
	for _, c := range []struct {
		name    string
		m       AppendEntries
		success bool
		match   Index
		hint    EntryID
		log     []TermRun // after
		last    Index
		commit  Index
		writes  Index // first index written, zero if none
	}{
		{"heartbeat at the end", AppendEntries{Prev: EntryID{2, 4}, Last: 4}, true, 4, EntryID{}, terms(1, 1, 2, 2), 4, 2, 0},
		{"heartbeat before a longer tail claims no more than it checked", AppendEntries{Prev: EntryID{1, 2}, Last: 2, Commit: 9}, true, 2, EntryID{}, terms(1, 1, 2, 2), 4, 2, 0},
		{"commit up to the end of the message", AppendEntries{Prev: EntryID{2, 3}, Last: 3, Commit: 9}, true, 3, EntryID{}, terms(1, 1, 2, 2), 4, 3, 0},
		{"commit as the leader says", AppendEntries{Prev: EntryID{2, 4}, Last: 4, Commit: 3}, true, 4, EntryID{}, terms(1, 1, 2, 2), 4, 3, 0},
		{"commit never falls", AppendEntries{Prev: EntryID{2, 4}, Last: 4, Commit: 1}, true, 4, EntryID{}, terms(1, 1, 2, 2), 4, 2, 0},
		{"entries are appended", AppendEntries{Prev: EntryID{2, 4}, Last: 6, Runs: []TermRun{{5, 3}}}, true, 6, EntryID{}, terms(1, 1, 2, 2, 3, 3), 6, 2, 5},
		{"entries that are there are not written again", AppendEntries{Prev: EntryID{1, 2}, Last: 4, Runs: []TermRun{{3, 2}}}, true, 4, EntryID{}, terms(1, 1, 2, 2), 4, 2, 0},
		{"a shorter message truncates nothing", AppendEntries{Prev: EntryID{1, 2}, Last: 3, Runs: []TermRun{{3, 2}}}, true, 3, EntryID{}, terms(1, 1, 2, 2), 4, 2, 0},
		{"overlap, then new entries", AppendEntries{Prev: EntryID{1, 2}, Last: 5, Runs: []TermRun{{3, 2}, {5, 3}}}, true, 5, EntryID{}, terms(1, 1, 2, 2, 3), 5, 2, 5},
		{"conflict replaces the tail", AppendEntries{Prev: EntryID{1, 2}, Last: 3, Runs: []TermRun{{3, 3}}}, true, 3, EntryID{}, terms(1, 1, 3), 3, 2, 3},
		{"conflict in the middle of a run", AppendEntries{Prev: EntryID{1, 2}, Last: 4, Runs: []TermRun{{3, 2}, {4, 3}}}, true, 4, EntryID{}, terms(1, 1, 2, 3), 4, 2, 4},
		{"previous entry below what is committed", AppendEntries{Prev: EntryID{1, 1}, Last: 1}, true, 1, EntryID{}, terms(1, 1, 2, 2), 4, 2, 0},
		{"previous entry is the beginning of time", AppendEntries{Last: 2, Runs: []TermRun{{1, 1}}}, true, 2, EntryID{}, terms(1, 1, 2, 2), 4, 2, 0},
		{"previous entry is missing", AppendEntries{Prev: EntryID{3, 9}, Last: 9}, false, 0, EntryID{2, 4}, terms(1, 1, 2, 2), 4, 2, 0},
		{"previous entry is missing and older than the tail", AppendEntries{Prev: EntryID{1, 9}, Last: 9}, false, 0, EntryID{1, 2}, terms(1, 1, 2, 2), 4, 2, 0},
		{"previous entry conflicts", AppendEntries{Prev: EntryID{3, 4}, Last: 4}, false, 0, EntryID{2, 4}, terms(1, 1, 2, 2), 4, 2, 0},
		{"previous entry conflicts and is older", AppendEntries{Prev: EntryID{1, 4}, Last: 5, Runs: []TermRun{{5, 3}}}, false, 0, EntryID{1, 2}, terms(1, 1, 2, 2), 4, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			restored := disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1, 1, 2, 2)
			restored.Applied = 2
			g := newRig(t, Config{}, restored)
			c.m.Term, c.m.Round = 3, 7
			e := g.receive(2, &c.m)
			// Entries are acknowledged after the write, all else at once.
			answers := e.Send
			if c.writes != 0 {
				answers = e.AfterSync
			}
			want := AppendEntriesResponse{
				Term: 3, Success: c.success, Match: c.match, Round: 7, Prev: c.m.Prev.Index, Hint: c.hint,
			}
			if answer := only[*AppendEntriesResponse](t, answers); *answer != want {
				t.Errorf("answer %+v, want %+v", *answer, want)
			}
			if len(e.Send)+len(e.AfterSync) != 1 || e.AfterSyncSeq != e.Persist.Seq {
				t.Errorf("answers %+v and after write %d %+v", e.Send, e.AfterSyncSeq, e.AfterSync)
			}
			if g.LastIndex() != c.last || !slices.Equal(g.log.runs, c.log) {
				t.Errorf("log %v up to %d, want %v up to %d", g.log.runs, g.LastIndex(), c.log, c.last)
			}
			if e.Committed != c.commit {
				t.Errorf("commitIndex %d, want %d", e.Committed, c.commit)
			}
			if e.Persist.First != c.writes || c.writes != 0 && (e.Persist.Last != c.m.Last || e.Persist.Source != FromMessage) {
				t.Errorf("writes %+v, want from %d", e.Persist, c.writes)
			}
			if g.Leader() != 2 || !g.armed(ElectionTimer) || !g.armed(StickinessTimer) {
				t.Errorf("no sign of life noted: leader %d, timers %+v", g.Leader(), e.Timers)
			}
		})
	}
}

// TestHintIsCommitted: a leader need not look behind what is committed here (RP-08).
func TestHintIsCommitted(t *testing.T) {
	restored := disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1, 2, 2, 2)
	restored.Applied = 3
	g := newRig(t, Config{}, restored)
	e := g.receive(2, &AppendEntries{Term: 3, Prev: EntryID{1, 4}, Last: 4})
	if m := only[*AppendEntriesResponse](t, e.Send); m.Success || m.Hint != (EntryID{2, 3}) {
		t.Errorf("answers %+v, want a hint at 2.3", m)
	}
}

// TestAppendEntriesStates: a candidate gives way to the leader of its term, and
// not to one of an older (EL-10).
func TestAppendEntriesStates(t *testing.T) {
	for _, c := range []struct {
		term  Term
		state State
	}{{5, Candidate}, {6, Follower}, {7, Follower}} {
		g := newRig(t, Config{DisablePreVote: true}, disk(voters(1, 2, 3), HardState{CurrentTerm: 5}, 1))
		g.fire(ElectionTimer)
		g.receive(2, &AppendEntries{Term: c.term, Prev: EntryID{1, 1}, Last: 1})
		if g.State() != c.state {
			t.Errorf("a candidate of term 6 that hears a leader of term %d is %v, want %v", c.term, g.State(), c.state)
		}
	}
}

// TestHeartbeatOnSlowDisk: contact is answered at once with what is durable, the
// rest is promised once for when it is (PS-02, PS-08).
func TestHeartbeatOnSlowDisk(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1))
	e := g.receive(2, &AppendEntries{Term: 3, Prev: EntryID{1, 1}, Last: 4, Runs: []TermRun{{2, 3}}})
	if answer := only[*AppendEntriesResponse](t, e.AfterSync); answer.Match != 4 || len(e.Send) > 0 {
		t.Errorf("entries answered by %+v after write %d and %+v", answer, e.AfterSyncSeq, e.Send)
	}
	e = g.receive(2, &AppendEntries{Term: 3, Prev: EntryID{3, 4}, Last: 4, Round: 2})
	if answer := only[*AppendEntriesResponse](t, e.Send); !answer.Success || answer.Match != 1 || answer.Round != 2 {
		t.Errorf("heartbeat answered by %+v", answer)
	}
	if len(e.AfterSync) > 0 {
		t.Errorf("promised twice: %+v", e.AfterSync)
	}
	// A duplicate of the entries waits for the write that is in the queue.
	e = g.receive(2, &AppendEntries{Term: 3, Prev: EntryID{1, 1}, Last: 4, Runs: []TermRun{{2, 3}}})
	if e.Persist.Seq != 0 || e.AfterSyncSeq != 1 || len(e.Send) > 0 || only[*AppendEntriesResponse](t, e.AfterSync).Match != 4 {
		t.Errorf("duplicate answered by %+v after write %d: %+v", e.Send, e.AfterSyncSeq, e.AfterSync)
	}
	// The end of the write is no reason for the timer to have run on (RP-19).
	if g.persist(); !g.armed(ElectionTimer) {
		t.Error("the election timer goes on after a long write")
	}
	e = g.receive(2, &AppendEntries{Term: 3, Prev: EntryID{3, 4}, Last: 4, Round: 3})
	if answer := only[*AppendEntriesResponse](t, e.Send); answer.Match != 4 || len(e.AfterSync) > 0 {
		t.Errorf("heartbeat answered by %+v", answer)
	}
}

// TestOverwrittenWrite is the A-B-A of asynchronous writes (PS-08): the entries
// 1.2 1.3 are written, overwritten by 2.2, and written again by a leader that has
// them. The completion of the first write says nothing about the third.
func TestOverwrittenWrite(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3, 4, 5, 6, 7), HardState{CurrentTerm: 1}, 1))
	g.receive(2, &AppendEntries{Term: 1, Prev: EntryID{1, 1}, Last: 3, Runs: []TermRun{{2, 1}}})
	g.receive(3, &AppendEntries{Term: 2, Prev: EntryID{1, 1}, Last: 2, Runs: []TermRun{{2, 2}}})
	e := g.receive(4, &AppendEntries{Term: 3, Prev: EntryID{1, 1}, Last: 3, Runs: []TermRun{{2, 1}}})
	if e.AfterSyncSeq != 3 || len(e.Send) > 0 || only[*AppendEntriesResponse](t, e.AfterSync).Match != 3 {
		t.Fatalf("the third write is acknowledged by %+v, after write %d by %+v", e.Send, e.AfterSyncSeq, e.AfterSync)
	}
	for _, c := range []struct {
		seq     Seq
		durable Index
	}{{1, 1}, {2, 1}, {3, 3}} {
		g.step(&Persisted{Seq: c.seq})
		if g.DurableIndex() != c.durable {
			t.Errorf("after write %d durable up to %d, want %d", c.seq, g.DurableIndex(), c.durable)
		}
		e = g.receive(4, &AppendEntries{Term: 3, Prev: EntryID{1, 3}, Last: 3})
		for _, answer := range to[*AppendEntriesResponse](e.Send, 4) {
			if answer.Match > c.durable {
				t.Errorf("after write %d acknowledges %d", c.seq, answer.Match)
			}
		}
	}
}

// TestFatal: what no Raft can do stops the group (EL-24, RP-05).
func TestFatal(t *testing.T) {
	follower := func() *rig {
		restored := disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1, 1, 2)
		restored.Applied = 2
		g := newRig(t, Config{}, restored)
		g.receive(2, &AppendEntries{Term: 3, Prev: EntryID{2, 3}, Last: 3})
		return g
	}
	broken(t, "EL-24", func() {
		follower().receive(3, &AppendEntries{Term: 3, Prev: EntryID{2, 3}, Last: 3})
	})
	broken(t, "EL-24", func() {
		g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1))
		g.lead()
		g.receive(3, &AppendEntries{Term: 4, Prev: EntryID{1, 1}, Last: 1})
	})
	broken(t, "RP-05", func() {
		follower().receive(2, &AppendEntries{Term: 3, Prev: EntryID{1, 1}, Last: 2, Runs: []TermRun{{2, 3}}})
	})
	broken(t, "RP-05", func() {
		follower().receive(2, &AppendEntries{Term: 3, Prev: EntryID{2, 2}, Last: 2})
	})
	broken(t, "SN-01", func() {
		follower().step(&SnapshotTaken{Snapshot: SnapshotMeta{ID: EntryID{2, 3}}, First: 4})
	})
	broken(t, "applied", func() { follower().step(&Applied{Index: 3}) })
	broken(t, "durable", func() { follower().step(&Persisted{Seq: 9}) })
}

// TestConfigurationInLog: a configuration is in force from the moment it is in the
// log, and the one before it once it is truncated, the snapshot's at last (MB-01,
// MB-02, MB-20).
func TestConfigurationInLog(t *testing.T) {
	base := ConfigurationEntry{ID: EntryID{1, 1}, Configuration: voters(1, 2, 3)}
	joint := Configuration{
		Members:  []Member{{ID: 2, Role: Voter}, {ID: 3, Role: Voter}, {ID: 4, Role: Voter}},
		Outgoing: []NodeID{1, 2, 3},
	}
	restored := Restored{
		HardState: HardState{CurrentTerm: 2},
		Snapshot:  SnapshotMeta{ID: EntryID{1, 5}, Configuration: base},
	}
	g := newRig(t, Config{}, restored)
	g.receive(2, &AppendEntries{
		Term: 2, Prev: EntryID{1, 5}, Last: 8, Runs: []TermRun{{6, 2}},
		Configurations: []ConfigurationEntry{{EntryID{2, 6}, joint}, {EntryID{2, 8}, voters(2, 3, 4)}},
	})
	want := func(id EntryID, incoming, outgoing []NodeID) {
		t.Helper()
		if got := g.Configuration().ID; got != id {
			t.Errorf("configuration of %v in force, want %v", got, id)
		}
		if !slices.Equal(g.voters.Incoming, incoming) || !slices.Equal(g.voters.Outgoing, outgoing) {
			t.Errorf("voters %+v, want %v and %v", g.voters, incoming, outgoing)
		}
	}
	want(EntryID{2, 8}, []NodeID{2, 3, 4}, nil)
	if got := g.ConfigurationAt(7).ID; got != (EntryID{2, 6}) {
		t.Errorf("configuration at 7 is %v", got)
	}
	g.receive(3, &AppendEntries{Term: 3, Prev: EntryID{2, 6}, Last: 7, Runs: []TermRun{{7, 3}}})
	want(EntryID{2, 6}, []NodeID{2, 3, 4}, []NodeID{1, 2, 3})
	g.receive(4, &AppendEntries{Term: 4, Prev: EntryID{1, 5}, Last: 6, Runs: []TermRun{{6, 4}}})
	want(EntryID{1, 1}, []NodeID{1, 2, 3}, nil)
}
