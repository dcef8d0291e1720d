package raft

import (
	"fmt"
	"testing"
)

// TestRequestVote has one row per reason to answer so (EL-02, EL-03, EL-06,
// EL-07, EL-14, EL-20, LT-07, RP-14).
func TestRequestVote(t *testing.T) {
	three := voters(1, 2, 3)
	own := EntryID{Term: 3, Index: 3}
	for _, c := range []struct {
		name          string
		configuration Configuration
		vote          NodeID
		heard         bool // from the leader of the current term, 5
		from          NodeID
		request       RequestVote
		granted       bool
		term          Term
		reason        Reason
		kind          EventKind
	}{
		{"equal log", three, None, false, 2, RequestVote{Term: 5, LastLog: own}, true, 5, LogUpToDate, VoteGranted},
		{"longer log", three, None, false, 2, RequestVote{Term: 5, LastLog: EntryID{3, 9}}, true, 5, LogUpToDate, VoteGranted},
		{"newer last term, shorter log", three, None, false, 2, RequestVote{Term: 5, LastLog: EntryID{4, 1}}, true, 5, LogUpToDate, VoteGranted},
		{"same last term, shorter log", three, None, false, 2, RequestVote{Term: 5, LastLog: EntryID{3, 2}}, false, 5, LogBehind, VoteRefused},
		{"older last term, longer log", three, None, false, 2, RequestVote{Term: 5, LastLog: EntryID{2, 9}}, false, 5, LogBehind, VoteRefused},
		{"older term", three, None, false, 2, RequestVote{Term: 4, LastLog: own}, false, 5, OlderTerm, VoteRefused},
		{"vote is another's", three, 3, false, 2, RequestVote{Term: 5, LastLog: own}, false, 5, AlreadyVoted, VoteRefused},
		{"vote is this candidate's already", three, 2, false, 2, RequestVote{Term: 5, LastLog: own}, true, 5, LogUpToDate, VoteGranted},
		{"vote is this candidate's, whose log is shorter now", three, 2, false, 2, RequestVote{Term: 5, LastLog: EntryID{3, 2}}, false, 5, LogBehind, VoteRefused},
		{"newer term frees the vote", three, 3, false, 2, RequestVote{Term: 6, LastLog: own}, true, 6, LogUpToDate, VoteGranted},
		{"newer term counts even if the log is behind", three, None, false, 2, RequestVote{Term: 6, LastLog: EntryID{1, 1}}, false, 6, LogBehind, VoteRefused},
		{"a leader is alive", three, None, true, 2, RequestVote{Term: 6, LastLog: own}, false, 5, LeaderAlive, VoteWithheld},
		{"a leader is alive and hands over", three, None, true, 2, RequestVote{Term: 6, LastLog: own, Transfer: true}, true, 6, LogUpToDate, VoteGranted},
		{"an old hand-over lifts nothing", three, None, true, 2, RequestVote{Term: 8, LastLog: own, Transfer: true}, false, 5, LeaderAlive, VoteWithheld},
		{"a stranger is answered by the same rules", three, None, false, 9, RequestVote{Term: 5, LastLog: own}, true, 5, LogUpToDate, VoteGranted},
		{"a learner answers", Configuration{Members: []Member{{ID: 1, Role: Learner}, {ID: 2, Role: Voter}}}, None, false, 2, RequestVote{Term: 5, LastLog: own}, true, 5, LogUpToDate, VoteGranted},
		{"whoever knows no configuration answers", Configuration{}, None, false, 2, RequestVote{Term: 5, LastLog: own}, true, 5, LogUpToDate, VoteGranted},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, Config{}, disk(c.configuration, HardState{CurrentTerm: 5, VotedFor: c.vote}, 1, 2, 3))
			if c.heard {
				g.receive(3, &AppendEntries{Term: 5, Prev: own, Last: 3})
			}
			e := g.receive(c.from, &c.request)
			if got := g.reason(c.kind); got != c.reason {
				t.Errorf("reason %v, want %v", got, c.reason)
			}
			if g.CurrentTerm() != c.term {
				t.Errorf("term %d, want %d", g.CurrentTerm(), c.term)
			}
			if c.kind == VoteWithheld {
				if len(e.Send)+len(e.AfterSync) > 0 || e.Persist.Seq != 0 {
					t.Errorf("withheld, but %+v", e)
				}
				return
			}
			// What the disk does not know yet is promised only after it does.
			later := c.term != 5 || c.granted && c.vote == None
			answers := e.Send
			if later {
				answers = e.AfterSync
			}
			answer := only[*RequestVoteResponse](t, answers)
			if want := (RequestVoteResponse{Term: c.term, Granted: c.granted, LastLog: c.request.LastLog}); *answer != want {
				t.Errorf("answer %+v, want %+v", *answer, want)
			}
			if later != e.Persist.HardStateChanged {
				t.Errorf("hard state changed: %v, want %v", e.Persist.HardStateChanged, later)
			}
			if c.granted && e.Persist.HardStateChanged && e.Persist.HardState != (HardState{c.term, c.from}) {
				t.Errorf("persists %+v", e.Persist.HardState)
			}
			// Only a vote given restarts the wait (EL-04).
			if c.configuration.Joint() || len(c.configuration.Members) == 3 {
				if g.armed(ElectionTimer) != c.granted {
					t.Errorf("election timer restarted: %v, want %v", g.armed(ElectionTimer), c.granted)
				}
			}
		})
	}
}

// logsUpTo gives every log of at most three entries and three terms.
func logsUpTo() (logs [][]Term) {
	logs = append(logs, nil)
	for a := Term(1); a <= 3; a++ {
		logs = append(logs, []Term{a})
		for b := a; b <= 3; b++ {
			logs = append(logs, []Term{a, b})
			for c := b; c <= 3; c++ {
				logs = append(logs, []Term{a, b, c})
			}
		}
	}
	return logs
}

// TestRequestVoteAllLogs compares every pair of logs with §5.4.1 (EL-07).
func TestRequestVoteAllLogs(t *testing.T) {
	last := func(log []Term) (id EntryID) {
		if n := len(log); n > 0 {
			id = EntryID{Term: log[n-1], Index: Index(n)}
		}
		return id
	}
	pairs := 0
	for _, own := range logsUpTo() {
		for _, theirs := range logsUpTo() {
			g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, own...))
			g.receive(2, &RequestVote{Term: 4, LastLog: last(theirs)})
			a, b := last(theirs), last(own)
			want := a.Term > b.Term || a.Term == b.Term && a.Index >= b.Index
			if got := g.votedFor == 2; got != want {
				t.Errorf("own log %v, candidate's %v: vote %v, want %v", own, theirs, got, want)
			}
			pairs++
		}
	}
	if pairs != 20*20 {
		t.Errorf("%d pairs, want 400", pairs)
	}
}

// TestPreVote: the answer is what RequestVote would get, and nothing changes
// (EL-15, EL-16, EL-17).
func TestPreVote(t *testing.T) {
	own := EntryID{Term: 3, Index: 3}
	for _, c := range []struct {
		name    string
		vote    NodeID
		heard   bool
		request PreVote
		want    PreVoteResponse
		reason  Reason
	}{
		{"good log", None, false, PreVote{Term: 6, LastLog: own}, PreVoteResponse{6, true}, LogUpToDate},
		{"the vote of the present term does not bind the next", 3, false, PreVote{Term: 6, LastLog: own}, PreVoteResponse{6, true}, LogUpToDate},
		{"far newer term", None, false, PreVote{Term: 60, LastLog: own}, PreVoteResponse{60, true}, LogUpToDate},
		{"log behind", None, false, PreVote{Term: 6, LastLog: EntryID{3, 2}}, PreVoteResponse{5, false}, LogBehind},
		{"a leader is alive", None, true, PreVote{Term: 6, LastLog: own}, PreVoteResponse{5, false}, LeaderAlive},
		{"older term", None, false, PreVote{Term: 4, LastLog: own}, PreVoteResponse{5, false}, OlderTerm},
		{"present term, vote is another's", 3, false, PreVote{Term: 5, LastLog: own}, PreVoteResponse{5, false}, AlreadyVoted},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 5, VotedFor: c.vote}, 1, 2, 3))
			kind := PreVoteRefused
			if c.want.Granted {
				kind = PreVoteGranted
			}
			if c.heard {
				g.receive(3, &AppendEntries{Term: 5, Prev: own, Last: 3})
			}
			before := g.AppendState(nil)
			e := g.receive(2, &c.request)
			if answer := only[*PreVoteResponse](t, e.Send); *answer != c.want {
				t.Errorf("answer %+v, want %+v", *answer, c.want)
			}
			if got := g.reason(kind); got != c.reason {
				t.Errorf("reason %v, want %v", got, c.reason)
			}
			if string(before) != string(g.AppendState(nil)) || e.Persist.Seq != 0 || len(e.Timers) > 0 {
				t.Errorf("a PreVote changed something: %+v", e)
			}
		})
	}
}

// TestTermRule delivers every message with a newer term to every state (EL-02).
func TestTermRule(t *testing.T) {
	for _, state := range []State{Follower, PreCandidate, Candidate, Leader} {
		for _, body := range []Body{
			&RequestVote{Term: 9, LastLog: EntryID{3, 3}, Transfer: false},
			&RequestVoteResponse{Term: 9}, &PreVoteResponse{Term: 9},
			&AppendEntries{Term: 9, Prev: EntryID{3, 3}, Last: 3},
			&AppendEntriesResponse{Term: 9}, &InstallSnapshotResponse{Term: 9},
			&InstallSnapshot{Term: 9, Snapshot: SnapshotMeta{ID: EntryID{3, 3}}},
			&TimeoutNow{Term: 9}, &ReadIndexRequest{Term: 9}, &ReadIndexResponse{Term: 9},
		} {
			t.Run(fmt.Sprintf("%v/%T", state, body), func(t *testing.T) {
				g := newRig(t, Config{DisableStickiness: true}, disk(voters(1, 2, 3), HardState{CurrentTerm: 5}, 1, 2, 3))
				switch state {
				case PreCandidate:
					g.fire(ElectionTimer)
				case Candidate:
					g.cfg.DisablePreVote = true
					g.fire(ElectionTimer)
				case Leader:
					g.lead()
				}
				if g.State() != state {
					t.Fatalf("state %v, want %v", g.State(), state)
				}
				e := g.receive(2, body)
				if g.CurrentTerm() != 9 || g.State() != Follower {
					t.Errorf("term %d as %v, want 9 as follower", g.CurrentTerm(), g.State())
				}
				if !e.Persist.HardStateChanged || e.Persist.HardState.CurrentTerm != 9 {
					t.Errorf("persists %+v", e.Persist)
				}
				for _, m := range e.Send {
					if m.Body.MessageTerm() == 9 {
						t.Errorf("%T names term 9 before it is durable (PS-01)", m.Body)
					}
				}
				if leader := g.Leader(); leader != None && leader != 2 {
					t.Errorf("leader %d", leader)
				}
			})
		}
	}
}

// TestOlderTerm: requests are refused with the own term, answers are dropped
// (EL-03, EL-17).
func TestOlderTerm(t *testing.T) {
	for _, body := range []Body{
		&RequestVote{Term: 4, LastLog: EntryID{3, 3}}, &PreVote{Term: 4, LastLog: EntryID{3, 3}},
		&AppendEntries{Term: 4, Prev: EntryID{3, 3}, Last: 3},
		&InstallSnapshot{Term: 4, Snapshot: SnapshotMeta{ID: EntryID{3, 9}}, Done: true}, &ReadIndexRequest{Term: 4},
		&RequestVoteResponse{Term: 4, Granted: true}, &PreVoteResponse{Term: 4, Granted: true},
		&AppendEntriesResponse{Term: 4, Success: true, Match: 4}, &InstallSnapshotResponse{Term: 4, Match: 4},
		&TimeoutNow{Term: 4}, &ReadIndexResponse{Term: 4, Index: 3},
	} {
		t.Run(fmt.Sprintf("%T", body), func(t *testing.T) {
			g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 5}, 1, 2, 3))
			g.lead()
			g.persist()
			before := g.AppendState(nil)
			e := g.receive(2, body)
			if string(before) != string(g.AppendState(nil)) {
				t.Errorf("the state changed")
			}
			switch body.(type) {
			case *RequestVote, *PreVote, *AppendEntries, *InstallSnapshot, *ReadIndexRequest:
				if len(e.Send) != 1 || e.Send[0].Body.MessageTerm() != g.CurrentTerm() {
					t.Errorf("answers %+v, want one of term %d", e.Send, g.CurrentTerm())
				}
			default:
				if len(e.Send)+len(e.AfterSync)+len(e.Reads) > 0 {
					t.Errorf("answers %+v %+v", e.Send, e.Reads)
				}
			}
		})
	}
}
