package raft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/internal/invariant"
)

// TestNewRefuses: what no Raft can have left behind is an error, never a panic.
func TestNewRefuses(t *testing.T) {
	three := voters(1, 2, 3)
	for _, c := range []struct {
		name     string
		restored Restored
		want     string // part of the error, nothing if it is fine
	}{
		{"an empty disk", Restored{}, ""},
		{"a log", disk(three, HardState{CurrentTerm: 2}, 1, 2), ""},
		{"a snapshot alone", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: metaOf(EntryID{3, 9}, three)}, ""},
		{"a snapshot and an empty log behind it", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: metaOf(EntryID{3, 9}, three), First: 10, Last: 9}, ""},
		{"a tail before the snapshot", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: metaOf(EntryID{3, 9}, three), First: 8, Last: 9, PrevTerm: 2, Runs: []TermRun{{8, 3}}}, ""},
		{"term behind the log", disk(three, HardState{CurrentTerm: 1}, 1, 2), "current term"},
		{"term behind the snapshot", Restored{HardState: HardState{CurrentTerm: 2}, Snapshot: metaOf(EntryID{3, 9}, three)}, "current term"},
		{"term out of range", Restored{HardState: HardState{CurrentTerm: maxTerm + 1}}, "out of range"},
		{"a gap behind the snapshot", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: metaOf(EntryID{3, 9}, three), First: 11, Last: 12, PrevTerm: 3, Runs: []TermRun{{11, 3}}}, "does not reach"},
		{"a log that ends before the snapshot", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: metaOf(EntryID{3, 9}, three), First: 2, Last: 8, PrevTerm: 1, Runs: []TermRun{{2, 3}}}, "does not reach"},
		{"an empty log elsewhere", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: metaOf(EntryID{3, 9}, three), First: 5, Last: 4}, "empty log begins"},
		{"an empty log with terms", Restored{Runs: []TermRun{{1, 1}}}, "empty log has"},
		{"snapshot of another log", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: metaOf(EntryID{3, 9}, three), First: 8, Last: 9, PrevTerm: 1, Runs: []TermRun{{8, 2}}}, "has term 2"},
		{"runs that begin elsewhere", Restored{HardState: HardState{CurrentTerm: 3}, First: 1, Last: 2, Runs: []TermRun{{2, 1}}}, "do not begin"},
		{"no runs", Restored{HardState: HardState{CurrentTerm: 3}, First: 1, Last: 2}, "do not begin"},
		{"term zero", Restored{HardState: HardState{CurrentTerm: 3}, First: 1, Last: 2, Runs: []TermRun{{1, 0}}}, "has term 0"},
		{"falling terms", Restored{HardState: HardState{CurrentTerm: 3}, First: 1, Last: 2, Runs: []TermRun{{1, 2}, {2, 1}}}, "does not follow"},
		{"runs beyond the end", Restored{HardState: HardState{CurrentTerm: 3}, First: 1, Last: 2, Runs: []TermRun{{1, 2}, {3, 3}}}, "outside"},
		{"a term before the first entry", Restored{HardState: HardState{CurrentTerm: 3}, First: 1, Last: 2, PrevTerm: 1, Runs: []TermRun{{1, 2}}}, "before the first"},
		{"configuration of no entry", Restored{HardState: HardState{CurrentTerm: 3}, First: 1, Last: 2, Runs: []TermRun{{1, 2}}, Configurations: []ConfigurationEntry{{EntryID{1, 2}, three}}}, "not of an entry"},
		{"configuration without voters", Restored{HardState: HardState{CurrentTerm: 3}, First: 1, Last: 2, Runs: []TermRun{{1, 2}}, Configurations: []ConfigurationEntry{{EntryID{2, 1}, Configuration{}}}}, "no voter"},
		{"configuration out of order", disk(voters(2, 1), HardState{}), "member 1 after 2"},
		{"unknown role", disk(Configuration{Members: []Member{{ID: 1, Role: 9}}}, HardState{}), "unknown role"},
		{"outgoing out of order", disk(Configuration{Members: three.Members, Outgoing: []NodeID{2, 2}}, HardState{}), "outgoing"},
		{"configuration newer than its snapshot", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: SnapshotMeta{ID: EntryID{3, 9}, Configuration: ConfigurationEntry{EntryID{3, 10}, three}}}, "newer than"},
		{"snapshot without voters", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: metaOf(EntryID{3, 9}, Configuration{})}, "no voter"},
		{"snapshot of nothing", Restored{HardState: HardState{CurrentTerm: 3}, Snapshot: SnapshotMeta{ID: EntryID{3, 0}}}, "covers nothing"},
		{"applied beyond the log", func() Restored { r := disk(three, HardState{CurrentTerm: 3}, 1); r.Applied = 2; return r }(), "applied"},
	} {
		r, err := New(Config{ID: 1}, c.restored)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "":
			r.Start()
		case !errors.Is(err, ErrRestored) || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	_, err := New(Config{MaxPendingReads: -1}, Restored{})
	if err == nil || !strings.Contains(err.Error(), "ID") || !strings.Contains(err.Error(), "MaxPendingReads") {
		t.Errorf("a configuration wrong in two ways: %v", err)
	}
}

// TestRestoredState: everything that was durable is there again, nothing else
// (CM-05).
func TestRestoredState(t *testing.T) {
	restored := Restored{
		HardState: HardState{CurrentTerm: 5, VotedFor: 3}, Snapshot: metaOf(EntryID{2, 4}, voters(1, 2, 3)),
		First: 3, Last: 8, PrevTerm: 1, Runs: []TermRun{{3, 2}, {6, 4}},
		Configurations: []ConfigurationEntry{{EntryID{2, 3}, voters(1, 2)}, {EntryID{4, 7}, voters(1, 2, 3, 4)}},
		Applied:        6,
	}
	g := newRig(t, Config{}, restored)
	s := g.Status()
	if s.State != Follower || s.HardState != restored.HardState || s.Leader != None || s.FirstIndex != 3 ||
		s.LastLog != (EntryID{4, 8}) || s.DurableIndex != 8 || s.CommitIndex != 6 || s.AppliedIndex != 6 ||
		s.Snapshot != (EntryID{2, 4}) || s.Configuration.ID != (EntryID{4, 7}) {
		t.Errorf("status %+v", s)
	}
	if got := g.ConfigurationAt(6).ID; got != (EntryID{1, 1}) {
		t.Errorf("configuration at 6 is %v, want the snapshot's", got)
	}
	if g.ID() != 1 || g.CurrentTerm() != 5 || g.Leader() != None || g.LastIndex() != 8 {
		t.Error("the accessors disagree with the status")
	}
}

// TestMalformed: what cannot come from a replica is dropped (RP-02).
func TestMalformed(t *testing.T) {
	for _, body := range []Body{
		nil,
		&AppendEntries{Term: maxTerm + 1},
		&AppendEntries{Term: 5, Prev: EntryID{1, 1}, Last: 0},
		&AppendEntries{Term: 5, Prev: EntryID{1, 1}, Last: 3},
		&AppendEntries{Term: 5, Prev: EntryID{6, 1}, Last: 1},
		&AppendEntries{Term: 5, Prev: EntryID{0, 1}, Last: 1},
		&AppendEntries{Term: 5, Prev: EntryID{1, 0}, Last: 0},
		&AppendEntries{Term: 5, Prev: EntryID{1, 1}, Last: maxIndex + 1, Runs: []TermRun{{2, 1}}},
		&AppendEntries{Term: 5, Prev: EntryID{1, 1}, Last: 1, Runs: []TermRun{{2, 1}}},
		&AppendEntries{Term: 5, Prev: EntryID{1, 1}, Last: 2, Runs: []TermRun{{3, 1}}},
		&AppendEntries{Term: 5, Prev: EntryID{2, 1}, Last: 2, Runs: []TermRun{{2, 1}}},
		&AppendEntries{Term: 5, Prev: EntryID{1, 1}, Last: 2, Runs: []TermRun{{2, 6}}},
		&AppendEntries{Term: 5, Prev: EntryID{1, 1}, Last: 2, Runs: []TermRun{{2, 1}}, Configurations: []ConfigurationEntry{{EntryID{1, 3}, voters(1)}}},
		&AppendEntries{Term: 5, Prev: EntryID{1, 1}, Last: 2, Runs: []TermRun{{2, 1}}, Configurations: []ConfigurationEntry{{EntryID{1, 2}, Configuration{}}}},
		&RequestVote{Term: 5, LastLog: EntryID{5, 1}},
		&PreVote{Term: 5, LastLog: EntryID{1, maxIndex + 1}},
		&InstallSnapshot{Term: 5, Snapshot: SnapshotMeta{ID: EntryID{6, 1}}},
		&InstallSnapshot{Term: 5, Snapshot: SnapshotMeta{ID: EntryID{5, 0}}},
		&AppendEntriesResponse{Term: 5, Match: maxIndex + 1},
		&InstallSnapshotResponse{Term: 5, Match: maxIndex + 1},
		&ReadIndexResponse{Term: 5, Index: maxIndex + 1},
	} {
		g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 2}, 1))
		before := g.AppendState(nil)
		if g.receive(2, body); g.reason(MessageDropped) != Malformed || !slices.Equal(before, g.AppendState(nil)) {
			t.Errorf("%+v: %s", body, g.story())
		}
	}
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 2}, 1))
	for _, m := range []Message{{From: 1, To: 1}, {From: None, To: 1}, {From: 2, To: 3}} {
		m.Body = &RequestVote{Term: 9, LastLog: EntryID{8, 8}}
		if g.step(&Receive{Message: m}); g.reason(MessageDropped) != NotForUs || g.CurrentTerm() != 2 {
			t.Errorf("%+v: %s", m, g.story())
		}
	}
}

// TestAnyMessage feeds replicas in every state whatever fits into the fields: none
// panics, except to say that no Raft could have sent this (EL-24, RP-05).
func TestAnyMessage(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	small := func() uint64 {
		if random.IntN(30) == 0 {
			return random.Uint64()
		}
		return random.Uint64N(8)
	}
	id := func() EntryID { return EntryID{Term(small()), Index(small())} }
	meta := func() SnapshotMeta { return metaOf(id(), voters(1, 2, 3)) }
	fatal, handled := 0, 0
	for seed := range 4000 {
		g := newRig(t, Config{DisableStickiness: true}, disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1, 2, 2))
		if seed%2 == 0 {
			g.lead()
		}
		stopped := false
		for range 30 {
			term := Term(small())
			if random.IntN(2) == 0 {
				term = g.CurrentTerm() + Term(random.Uint64N(2))
			}
			var body Body
			switch random.IntN(11) {
			case 0:
				body = &PreVote{term, id()}
			case 1:
				body = &PreVoteResponse{term, random.IntN(2) == 0}
			case 2:
				body = &RequestVote{term, id(), random.IntN(2) == 0}
			case 3:
				body = &RequestVoteResponse{term, random.IntN(2) == 0, id()}
			case 4, 5:
				m := &AppendEntries{Term: term, Prev: id(), Commit: Index(small()), Round: small()}
				m.Last = m.Prev.Index + Index(random.Uint64N(4))
				for i := m.Prev.Index + 1; i <= m.Last && i > m.Prev.Index; i++ {
					m.Runs = append(m.Runs, TermRun{i, m.Prev.Term + Term(i-m.Prev.Index)})
				}
				body = m
			case 6:
				body = &AppendEntriesResponse{term, random.IntN(2) == 0, Index(small()), small(), Index(small()), id()}
			case 7:
				body = &InstallSnapshot{term, meta(), small(), random.IntN(2) == 0}
			case 8:
				body = &InstallSnapshotResponse{term, Index(small()), small()}
			case 9:
				body = &TimeoutNow{term}
			case 10:
				body = &ReadIndexRequest{term, ReadID(small())}
			}
			func() {
				defer func() {
					if p := recover(); p != nil {
						err, ok := p.(*invariant.Error)
						if !ok || !strings.Contains(err.Message, "EL-24") && !strings.Contains(err.Message, "RP-05") {
							t.Fatalf("seed %d: %T %+v: %v", seed, body, body, p)
						}
						stopped = true
						fatal++
					}
				}()
				g.receive(NodeID(2+random.Uint64N(3)), body)
				handled++
			}()
			if stopped {
				break
			}
			if random.IntN(3) == 0 && g.persistedSeq < g.seq {
				g.persist()
			}
		}
	}
	if fatal == 0 || handled < 10000 {
		t.Errorf("%d messages, %d fatal", handled, fatal)
	}
}

// TestClone: a copy shares nothing that moves, and equal states encode equally.
func TestClone(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	g.lead()
	g.matchAll(2, 3)
	g.step(&ReadIndex{Read: 1})
	g.step(&Propose{Count: 2, Bytes: 2})
	g.step(&Sent{Peer: 2, Last: 4, Bytes: 2})
	before := fmt.Sprintf("%+v", g.Status())
	bytes := g.AppendState(nil)
	c := g.Clone()
	if !slices.Equal(bytes, c.AppendState(nil)) {
		t.Error("a clone encodes differently")
	}
	c.Step(&ReadIndex{Read: 2})
	c.Step(&Propose{Count: 2, Bytes: 2})
	c.Step(&Sent{Peer: 3, Last: 4, Bytes: 2})
	c.Step(&Receive{Message: Message{From: 2, To: 1, Body: &AppendEntriesResponse{Term: 2, Success: true, Match: 4, Prev: 2, Round: 1}}})
	c.Step(&Persisted{Seq: c.seq})
	c.Step(&Receive{Message: Message{From: 3, To: 1, Body: &RequestVote{Term: 9, LastLog: EntryID{8, 8}}}})
	c.Step(&Receive{Message: Message{From: 3, To: 1, Body: &AppendEntries{Term: 9, Prev: EntryID{1, 1}, Last: 1}}})
	if after := fmt.Sprintf("%+v", g.Status()); after != before || !slices.Equal(bytes, g.AppendState(nil)) {
		t.Errorf("a clone's steps changed the original:\n%s\n%s", before, after)
	}
	if slices.Equal(bytes, c.AppendState(nil)) {
		t.Error("different states encode equally")
	}
}

// TestNames: every reason, kind and state has words.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for r := noReason + 1; r < reasons; r++ {
		text := r.String()
		if text == "" || seen[text] {
			t.Errorf("reason %d is called %q", r, text)
		}
		seen[text] = true
	}
	for k := Started; k <= MessageDropped; k++ {
		if (Event{Kind: k, Reason: LogBehind}).String() == "unknown event" {
			t.Errorf("kind %d has no words", k)
		}
	}
	for _, c := range []struct{ got, want string }{
		{Reason(255).String(), "unknown reason"},
		{Event{}.String(), "unknown event"},
		{Leader.String(), "leader"},
		{State(9).String(), "unknown state"},
		{TransferTimer.String(), "transfer"},
		{TimerKind(99).String(), "unknown timer"},
		{Learner.String(), "learner"},
		{Role(0).String(), "unknown role"},
		{installing.String(), "snapshot"},
		{replication(9).String(), "unknown mode"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
