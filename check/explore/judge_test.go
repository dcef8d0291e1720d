package explore

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
)

// tampering breaks something in what a replica does, as a bug in it would.
type tampering func(in input, m *message, r *replica, e *effect)

// answering changes every answer of type T that leaves.
func answering[T raft.Body](change func(r *replica, body T) T) tampering {
	return func(_ input, _ *message, r *replica, e *effect) {
		for i := range e.messages {
			if b, ok := e.messages[i].body.(T); ok {
				e.messages[i].body = change(r, b)
			}
		}
	}
}

// TestJudges breaks properties, each in a way that a bug could, and expects that
// the explorer says which, tells a shortest way, and that the way replays to the
// same (B-1, B-6, B-7, B-10, B-11, B-22, PS-01, PS-02, EL-06, RP-06, RD-02, SN-07).
func TestJudges(t *testing.T) {
	leading := Scope{Name: "leading", Voters: 3, Terms: 2, Elections: 2, Proposals: 1, InFlight: 1, SyncWrites: true}
	slow := Scope{Name: "slow", Voters: 3, Terms: 1, Elections: 2, Crashes: 1, InFlight: 2}
	reading := Scope{Name: "reading", Voters: 3, Terms: 1, Elections: 1, Proposals: 1, Reads: 1, InFlight: 1, SyncWrites: true}
	for _, test := range []struct {
		name   string
		scope  Scope
		tamper tampering
		want   []string
	}{
		{"answers leave before the write", slow, func(_ input, _ *message, r *replica, e *effect) {
			for _, h := range r.held {
				e.messages = append(e.messages, h.message)
			}
			r.held = nil
		}, []string{check.VoteDurability, check.AckDurability}},
		{"a vote is forgotten in a crash", slow, func(in input, _ *message, r *replica, _ *effect) {
			if in < firstMessage && in.kind() == opCrash {
				r.disk.hard.VotedFor = raft.None
				again, err := newReplica(r.scope, r.id, r.disk, &effect{})
				if err != nil {
					panic(err)
				}
				*r = *again
			}
		}, []string{check.VoteDurability}},
		{"every vote is granted", leading, answering(func(_ *replica, b *raft.RequestVoteResponse) *raft.RequestVoteResponse {
			granted := *b
			granted.Granted = true
			return &granted
		}), []string{check.VoteDurability}},
		{"the whole log is acknowledged", leading, answering(func(r *replica, b *raft.AppendEntriesResponse) *raft.AppendEntriesResponse {
			more := *b
			more.Success, more.Match = true, r.live().log.last()+1
			return &more
		}), []string{check.AckDurability}},
		{"another log is sent than one has", leading, answering(func(r *replica, b *raft.AppendEntries) *raft.AppendEntries {
			other := *b
			other.Prev = raft.EntryID{Term: 1, Index: r.live().log.last() + 1}
			other.Last, other.Runs = other.Prev.Index, nil
			return &other
		}), []string{check.LogMatching, OwnInvariants}},
		{"the term of an answer is not the own", leading, answering(func(_ *replica, b *raft.RequestVoteResponse) *raft.RequestVoteResponse {
			later := *b
			later.Granted, later.Term = false, b.Term+1
			return &later
		}), []string{check.Monotonic}},
		{"a write is lost without a crash", leading, func(_ input, _ *message, r *replica, _ *effect) {
			r.disk.log = r.disk.log.prefix(1)
		}, []string{check.LogMatching}},
		{"a committed entry leaves two disks", leading, func(_ input, _ *message, r *replica, _ *effect) {
			if r.core.State() != raft.Leader && r.core.CommitIndex() > 0 {
				r.disk.log = 0
			}
		}, []string{check.LogMatching, QuorumLog, check.AckDurability}},
		{"a follower answers reads by what it knows", reading, func(in input, _ *message, r *replica, e *effect) {
			if commit := r.core.CommitIndex(); in < firstMessage && in.kind() == opRead && r.core.State() == raft.Follower {
				r.waiting = 0
				e.reads = []raft.ReadState{{Read: raft.ReadID(in.argument()), Index: commit}}
			}
		}, []string{check.ReadFreshness}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(&test.scope, true)
			w.tamper = test.tamper
			found, err := w.explore(context.Background(), Options{Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			if found.Violation == nil || !slices.Contains(test.want, found.Violation.Property) {
				t.Fatalf("%v, want one of %v", found.Violation, test.want)
			}
			if found.Trace.Steps != found.Depth || !strings.Contains(strings.Join(found.Trace.Story, "\n"), "BROKEN") {
				t.Errorf("story of %d steps at depth %d: %v", found.Trace.Steps, found.Depth, found.Trace.Story)
			}
			again := newWorld(test.scope.boundless(), false)
			again.tamper = test.tamper
			replay, err := again.replay(found.Trace.Schedule)
			if err != nil {
				t.Fatalf("%s: %v", found.Trace.Schedule, err)
			}
			if replay.Violation == nil || replay.Violation.Property != found.Violation.Property {
				t.Errorf("%s: replay finds %v, want %v", found.Trace.Schedule, replay.Violation, found.Violation)
			}
		})
	}
}

// TestReplayRefuses expects an error for schedules that cannot happen.
func TestReplayRefuses(t *testing.T) {
	scope := small[1]
	for _, schedule := range []string{"9E", "E", "1S1", "1E 2:00000000", "1"} {
		if _, err := Replay(scope, schedule, Options{}); err == nil {
			t.Errorf("%q replays", schedule)
		}
	}
	r, err := Replay(scope, "1E 1H 2E", Options{})
	if err == nil {
		t.Errorf("a follower's heartbeat replays: %v", r.Trace.Story)
	}
	if r, err = Replay(scope, "1E 2E", Options{}); err != nil || r.Violation != nil || r.Trace.Steps != 2 {
		t.Errorf("two elections: %v, %+v", err, r)
	}
}

// TestScopeValidate expects that what makes no sense is named.
func TestScopeValidate(t *testing.T) {
	for name, scope := range map[string]Scope{
		"voters":    {Terms: 1},
		"terms":     {Voters: 3, Terms: 15},
		"outgoing":  {Voters: 3, Terms: 1, Outgoing: []raft.NodeID{4}},
		"entries":   {Voters: 3, Terms: 10, Proposals: 10},
		"Reads":     {Voters: 3, Terms: 1, Reads: Unlimited},
		"heartbeat": {Voters: 3, Terms: 1, Heartbeats: 16},
		"InFlight":  {Voters: 3, Terms: 1, InFlight: -1},
	} {
		if err := scope.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, scope := range Scopes(false) {
		if err := scope.Validate(); err != nil {
			t.Errorf("%s: %v", scope.Name, err)
		}
		if named, err := Named(scope.Name); err != nil || named.Bound() != scope.Bound() {
			t.Errorf("%s: %v, %v", scope.Name, named, err)
		}
	}
}

// TestClients breaks rules so that clients are answered wrongly, and expects that the
// search comes to that (B-20), that the way is short and replays to the same, and that
// what is told of it is nothing but answers.
func TestClients(t *testing.T) {
	// Where the walks begin: what the scopes lack comes to pass in these.
	crashing := Scope{Name: "crashing", Voters: 3, Terms: 2, Elections: 2, Proposals: 1, Crashes: 1, InFlight: 1}
	reading := Scope{Name: "reading", Voters: 3, Terms: 1, Elections: 1, Proposals: 1, Reads: 1, InFlight: 1, SyncWrites: true}
	for _, test := range []struct {
		name   string
		scope  Scope
		tamper tampering
	}{
		{"answers leave before the write", crashing, func(_ input, _ *message, r *replica, e *effect) {
			for _, h := range r.held {
				e.messages = append(e.messages, h.message)
			}
			r.held = nil
		}},
		{"a follower reads what it knows", reading, func(in input, _ *message, r *replica, e *effect) {
			if commit := r.core.CommitIndex(); in < firstMessage && in.kind() == opRead && r.core.State() == raft.Follower {
				r.waiting = 0
				e.reads = []raft.ReadState{{Read: raft.ReadID(in.argument()), Index: commit}}
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(&test.scope, true)
			w.tamper = test.tamper
			found, err := w.exploreClients(context.Background(), Options{Clients: true})
			if err != nil {
				t.Fatal(err)
			}
			if found.Violation == nil || found.Violation.Property != check.Linearizability {
				t.Fatalf("clients see %v", found.Violation)
			}
			if !strings.Contains(found.Violation.Message, "a client is answered with") {
				t.Errorf("told: %s", found.Violation.Message)
			}
			if found.Trace.Steps > 40 {
				t.Errorf("it takes %d events:\n%s", found.Trace.Steps, strings.Join(found.Trace.Story, "\n"))
			}
			again := newWorld(test.scope.boundless(), false)
			again.tamper = test.tamper
			again.judgedBy(Options{Clients: true})
			again.only = rungs[len(rungs)-1]
			replay, err := again.replay(found.Trace.Schedule)
			if err != nil || replay.Violation == nil || replay.Violation.Property != check.Linearizability {
				t.Errorf("%s: replay finds %v, %v", found.Trace.Schedule, replay.Violation, err)
			}
			t.Logf("%d states, %d events: %v", found.States, found.Trace.Steps, found.Violation)
		})
	}
	t.Run("nothing is broken", func(t *testing.T) {
		t.Parallel()
		for _, scope := range []Scope{crashing, reading} {
			r := explored(t, scope, Options{Clients: true})
			t.Logf("%s: %d states", scope.Name, r.States)
		}
	})
}

// TestClientJudge holds answers against each other, right and wrong ones (B-20).
func TestClientJudge(t *testing.T) {
	for _, test := range []struct {
		name                  string
		longest, answer       terms
		floor                 raft.Index
		want                  string
		answerHas, longestHas int
	}{
		{"first answer", 0, 0x11, 0, "", 1, 1},
		{"a longer one", 0x11, 0x111, 2, "", 2, 2},
		{"a shorter one, to who asked before", 0x111, 0x11, 0, "", 1, 2},
		{"a shorter one, to who asked since", 0x111, 0x11, 3, "asked when another had been answered", 1, 2},
		{"more that is no command", 0x11, 0x3211, 2, "", 1, 1},
		{"another command", 0x11, 0x22, 0, "another was with", 1, 1},
		{"nothing", 0x11, 0, 2, "asked when another had been answered", 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(&small[0], false)
			w.judgedBy(Options{Clients: true})
			j := clientJudge{w: w, s: &state{committed: test.longest}}
			j.answered(test.answer, test.floor)
			switch {
			case test.want == "" && j.err != nil:
				t.Errorf("called wrong: %v", j.err)
			case test.want != "" && (j.err == nil || !strings.Contains(j.err.Message, test.want)):
				t.Errorf("%v, want %q", j.err, test.want)
			}
			if n := len(test.answer.commands()); n != test.answerHas {
				t.Errorf("%v has %d commands, want %d", test.answer, n, test.answerHas)
			}
			if n := len(j.s.committed.commands()); n != test.longestHas {
				t.Errorf("the longest answer has %d commands, want %d", n, test.longestHas)
			}
		})
	}
}
