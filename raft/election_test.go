package raft

import (
	"testing"
)

// TestOwnVote: grants of others, even of a majority, make no leader before the own
// vote is durable (EL-05, EL-09).
func TestOwnVote(t *testing.T) {
	g := newRig(t, Config{DisablePreVote: true}, disk(voters(1, 2, 3, 4, 5), HardState{CurrentTerm: 1}, 1))
	e := g.fire(ElectionTimer)
	if len(e.Send) != 4 || e.Persist.HardState != (HardState{2, 1}) || !g.armed(ElectionTimer) {
		t.Fatalf("an election sends %+v, persists %+v, arms %+v", e.Send, e.Persist, e.Timers)
	}
	for _, id := range []NodeID{2, 3, 4} {
		g.receive(id, &RequestVoteResponse{Term: 2, Granted: true, LastLog: EntryID{1, 1}})
		if g.State() != Candidate {
			t.Fatalf("%v with its own vote in memory only", g.State())
		}
	}
	e = g.persist()
	if g.State() != Leader || e.Persist.Source != NoOp || e.Persist.First != 2 {
		t.Errorf("%v, persists %+v", g.State(), e.Persist)
	}
}

// TestGrantForAnotherLog: a candidate that crashed before its entries and its vote
// were durable stands again in the same term with a shorter log. A grant that the
// longer one won must not count, and the voter that gave it compares again (EL-09).
func TestGrantForAnotherLog(t *testing.T) {
	configuration := voters(1, 2, 3)
	// Replica 1 held 1.1 1.2, the second not durable, and asked for votes.
	before := newRig(t, Config{DisablePreVote: true}, disk(configuration, HardState{CurrentTerm: 1}, 1))
	before.receive(3, &AppendEntries{Term: 1, Prev: EntryID{1, 1}, Last: 2, Runs: []TermRun{{2, 1}}})
	e := before.step(&Campaign{})
	asked := to[*RequestVote](e.Send, 2)[0]
	if asked.LastLog != (EntryID{1, 2}) || asked.Term != 2 {
		t.Fatalf("asked %+v", asked)
	}
	// Replica 2 has 1.1 1.2 too and grants.
	voter := newRig(t, Config{ID: 2}, disk(configuration, HardState{CurrentTerm: 1}, 1, 1))
	voter.receive(1, asked)
	voter.persist()
	granted := &RequestVoteResponse{Term: 2, Granted: true, LastLog: asked.LastLog}

	// Replica 1 lost all of it, and asks again.
	after := newRig(t, Config{DisablePreVote: true}, disk(configuration, HardState{CurrentTerm: 1}, 1))
	again := to[*RequestVote](after.step(&Campaign{}).Send, 2)[0]
	after.persist()
	after.receive(2, granted)
	if after.State() != Candidate || after.reason(VoteIgnored) != GrantForAnotherLog {
		t.Errorf("%v by a grant for the log that it lost", after.State())
	}
	answer := only[*RequestVoteResponse](t, voter.receive(1, again).Send)
	if answer.Granted || voter.reason(VoteRefused) != LogBehind {
		t.Errorf("the voter answers the shorter log %+v", answer)
	}
}

// TestTally: votes count once, of voters, of this term, in both halves (EL-03, EL-08).
func TestTally(t *testing.T) {
	last := EntryID{1, 1}
	grant := &RequestVoteResponse{Term: 2, Granted: true, LastLog: last}
	joint := Configuration{
		Members: []Member{
			{ID: 1, Role: Voter},
			{ID: 2, Role: Voter},
			{ID: 3, Role: Voter},
			{ID: 4, Role: Voter},
			{ID: 5, Role: Voter},
			{ID: 6, Role: Learner},
			{ID: 7, Role: Learner},
			{ID: 8, Role: Learner},
		},
		Outgoing: []NodeID{1, 6, 7},
	}
	for _, c := range []struct {
		name          string
		configuration Configuration
		from          []NodeID
		want          State
	}{
		{"one of five, three times", voters(1, 2, 3, 4, 5), []NodeID{2, 2, 2}, Candidate},
		{"two of five", voters(1, 2, 3, 4, 5), []NodeID{2, 3}, Leader},
		{"strangers", voters(1, 2, 3), []NodeID{7, 8, 9}, Candidate},
		{"learners", Configuration{Members: []Member{
			{ID: 1, Role: Voter}, {ID: 2, Role: Voter}, {ID: 3, Role: Voter}, {ID: 4, Role: Learner}, {ID: 5, Role: Learner},
		}}, []NodeID{4, 5}, Candidate},
		{"joint: only the new half", joint, []NodeID{2, 3, 4, 5}, Candidate},
		{"joint: only the old half", joint, []NodeID{6, 7}, Candidate},
		{"joint: both halves", joint, []NodeID{2, 3, 6}, Leader},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, Config{DisablePreVote: true}, disk(c.configuration, HardState{CurrentTerm: 1}, 1))
			e := g.fire(ElectionTimer)
			asked := map[NodeID]int{}
			for _, m := range e.Send {
				asked[m.To]++
			}
			for id, n := range asked {
				if n != 1 || !g.voters.Contains(id) {
					t.Errorf("asked %d %d times", id, n)
				}
			}
			g.persist()
			for _, id := range c.from {
				g.receive(id, grant)
			}
			if g.State() != c.want {
				t.Errorf("%v, want %v", g.State(), c.want)
			}
		})
	}
}

// TestBecomeLeader: progress first, then a no-op that is sent to everybody at once
// (EL-13), in the first probe.
func TestBecomeLeader(t *testing.T) {
	configuration := voters(1, 2, 3)
	configuration.Members = append(configuration.Members, Member{ID: 4, Role: Learner})
	g := newRig(t, Config{DisablePreVote: true}, disk(configuration, HardState{CurrentTerm: 1}, 1, 1))
	g.fire(ElectionTimer)
	g.persist()
	e := g.receive(2, &RequestVoteResponse{Term: 2, Granted: true, LastLog: EntryID{1, 2}})
	if e.Persist.First != 3 || e.Persist.Last != 3 || e.Persist.Source != NoOp {
		t.Errorf("persists %+v", e.Persist)
	}
	for _, id := range []NodeID{2, 3, 4} {
		m := to[*AppendEntries](e.Send, id)
		if len(m) != 1 || m[0].Prev != (EntryID{1, 2}) || m[0].Last != 3 || m[0].Term != 2 {
			t.Errorf("sends %d %+v", id, m)
		}
	}
	if !g.armed(HeartbeatTimer) || !g.armed(QuorumContactTimer) || g.timers[ElectionTimer].armed {
		t.Errorf("timers %+v", e.Timers)
	}
	for _, p := range g.Status().Peers {
		if p.MatchIndex != 0 || p.NextIndex != 3 {
			t.Errorf("progress %+v", p)
		}
	}
}

// TestElectable: who may stand, and who only answers (EL-20 to EL-23).
func TestElectable(t *testing.T) {
	learner := Configuration{Members: []Member{{ID: 1, Role: Learner}, {ID: 2, Role: Voter}}}
	for _, c := range []struct {
		name     string
		restored Restored
		armed    bool
	}{
		{"a voter", disk(voters(1, 2, 3), HardState{}), true},
		{"an empty disk", Restored{}, false},
		{"a log without configuration", disk(Configuration{}, HardState{CurrentTerm: 1}, 1), false},
		{"a learner", disk(learner, HardState{}), false},
		{"a stranger", disk(voters(2, 3), HardState{}), false},
		{"a voter of the outgoing half", disk(Configuration{
			Members: []Member{{ID: 2, Role: Voter}}, Outgoing: []NodeID{1, 2},
		}, HardState{}), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, Config{}, c.restored)
			if g.armed(ElectionTimer) != c.armed {
				t.Errorf("election timer at boot: %v, want %v", g.armed(ElectionTimer), c.armed)
			}
			if g.State() != Follower {
				t.Errorf("boots as %v (EL-01)", g.State())
			}
			e := g.step(&Campaign{})
			if sends := len(e.Send) > 0; sends != c.armed {
				t.Errorf("campaigns: %v, want %v", sends, c.armed)
			}
			if !c.armed && g.reason(NotElectable) != NotVoter {
				t.Errorf("does not campaign: %v", g.reason(NotElectable))
			}
		})
	}
}

// TestRemovedButUncommitted: a server that its latest configuration leaves out
// still stands, without a vote of its own, until that is committed (EL-21, MB-14),
// and as a leader steps down when it commits it.
func TestRemovedButUncommitted(t *testing.T) {
	restored := disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1, 1)
	restored.Configurations = []ConfigurationEntry{{EntryID{1, 2}, voters(2, 3)}}
	g := newRig(t, Config{DisablePreVote: true}, restored)
	if g.fire(ElectionTimer); g.State() != Candidate {
		t.Fatalf("%v, want candidate", g.State())
	}
	g.persist()
	grant := &RequestVoteResponse{Term: 2, Granted: true, LastLog: EntryID{1, 2}}
	if g.receive(2, grant); g.State() != Candidate {
		t.Fatalf("%v with one of the two votes that count", g.State())
	}
	if g.receive(3, grant); g.State() != Leader {
		t.Fatalf("%v with both votes", g.State())
	}
	g.matchAll(2)
	if g.CommitIndex() != 0 {
		t.Fatalf("commitIndex %d: it counted itself", g.CommitIndex())
	}
	g.matchAll(3)
	if g.CommitIndex() != 3 || g.State() != Follower || g.reason(BecameFollower) != RemovedFromConfiguration {
		t.Errorf("commitIndex %d as %v: %s", g.CommitIndex(), g.State(), g.story())
	}
	if g.timers[ElectionTimer].armed {
		t.Error("its election timer runs after its removal was committed")
	}
}

// TestSnapshotNotInstalled: no election while a snapshot is on its way to the
// disk (EL-23).
func TestSnapshotNotInstalled(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	meta := SnapshotMeta{ID: EntryID{1, 5}, Configuration: ConfigurationEntry{Configuration: voters(1, 2, 3)}}
	g.receive(2, &InstallSnapshot{Term: 1, Snapshot: meta, Done: true})
	if g.timers[ElectionTimer].armed {
		t.Error("the election timer runs")
	}
	if e := g.step(&Campaign{}); len(e.Send) > 0 || g.reason(NotElectable) != SnapshotNotInstalled {
		t.Errorf("campaigns: %s", g.story())
	}
	if g.persist(); !g.timers[ElectionTimer].armed {
		t.Error("the election timer does not run again")
	}
}

// TestElectionTimerRestarts: only what shows a leader, or makes one, restarts the
// wait (EL-04).
func TestElectionTimerRestarts(t *testing.T) {
	last := EntryID{3, 3}
	for _, c := range []struct {
		name string
		body Body
		want bool
	}{
		{"heartbeat", &AppendEntries{Term: 5, Prev: last, Last: 3}, true},
		{"refused AppendEntries of the leader", &AppendEntries{Term: 5, Prev: EntryID{5, 9}, Last: 9}, true},
		{"chunk of a snapshot", &InstallSnapshot{Term: 5, Snapshot: SnapshotMeta{ID: EntryID{3, 9}}}, true},
		{"AppendEntries of an old leader", &AppendEntries{Term: 4, Prev: last, Last: 3}, false},
		{"chunk of an old leader", &InstallSnapshot{Term: 4, Snapshot: SnapshotMeta{ID: EntryID{3, 9}}}, false},
		{"vote given", &RequestVote{Term: 5, LastLog: last}, true},
		{"vote refused", &RequestVote{Term: 5, LastLog: EntryID{2, 3}}, false},
		{"vote refused in a newer term", &RequestVote{Term: 6, LastLog: EntryID{2, 3}}, false},
		{"pre-vote", &PreVote{Term: 6, LastLog: last}, false},
	} {
		g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 5}, 1, 2, 3))
		if g.receive(2, c.body); g.armed(ElectionTimer) != c.want {
			t.Errorf("%s: restarted %v, want %v", c.name, g.armed(ElectionTimer), c.want)
		}
		if !g.timers[ElectionTimer].armed {
			t.Errorf("%s: the timer does not run", c.name)
		}
	}
}

// TestTimerGenerations: a timer that was armed again or stopped since is not the
// one that fires.
func TestTimerGenerations(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	old := g.timers[ElectionTimer].generation
	g.receive(2, &AppendEntries{Term: 1, Prev: EntryID{1, 1}, Last: 1})
	if g.step(&TimerFired{Kind: ElectionTimer, Generation: old}); g.State() != Follower {
		t.Errorf("an old timer made it %v", g.State())
	}
	g.step(&TimerFired{Kind: 99, Generation: 1})
	g.lead()
	if g.step(&TimerFired{Kind: ElectionTimer, Generation: g.timers[ElectionTimer].generation}); g.State() != Leader {
		t.Errorf("a stopped timer made it %v", g.State())
	}
}

// TestStickiness: votes are withheld for the least election timeout after a sign
// of the leader, by a leader as long as it has contact (EL-14), and not at all if
// that is turned off.
func TestStickiness(t *testing.T) {
	ask := &RequestVote{Term: 9, LastLog: EntryID{9 - 1, 9}}
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	g.receive(2, &AppendEntries{Term: 1, Prev: EntryID{1, 1}, Last: 1})
	if g.receive(3, ask); g.CurrentTerm() != 1 {
		t.Error("a follower deserts a leader that is alive")
	}
	if g.fire(StickinessTimer); g.CurrentTerm() != 1 {
		t.Error("the timer alone changes the term")
	}
	if g.receive(3, ask); g.CurrentTerm() != 9 || g.votedFor != 3 {
		t.Error("a vote is withheld although no leader is alive")
	}
	for _, off := range []bool{false, true} {
		g = newRig(t, Config{DisableStickiness: off}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
		g.lead()
		if g.receive(3, ask); (g.State() == Leader) == off {
			t.Errorf("DisableStickiness %v: a leader asked for its vote is %v", off, g.State())
		}
	}
}

// TestQuorumContact: a leader that no majority answers steps down in its term, and
// tells who waits (EL-18, CS-03).
func TestQuorumContact(t *testing.T) {
	for _, off := range []bool{false, true} {
		g := newRig(t, Config{DisableCheckQuorum: off}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
		g.lead()
		g.matchAll(2)
		g.fire(QuorumContactTimer)
		if g.State() != Leader || !g.armed(QuorumContactTimer) {
			t.Fatalf("%v in contact with one of two", g.State())
		}
		g.step(&ReadIndex{Read: 4})
		term := g.CurrentTerm()
		e := g.fire(QuorumContactTimer)
		if off {
			if g.State() != Leader {
				t.Errorf("%v although the check is off", g.State())
			}
			continue
		}
		if g.State() != Follower || g.CurrentTerm() != term || g.Leader() != None || g.votedFor != 1 {
			t.Errorf("%v at term %d, want follower at %d", g.State(), g.CurrentTerm(), term)
		}
		if len(e.Reads) != 1 || e.Reads[0].Refused != LeadershipLost || !g.timers[ElectionTimer].armed {
			t.Errorf("reads %+v, timers %+v", e.Reads, e.Timers)
		}
	}
}

// TestPreElection: a pre-candidate keeps its term, counts only grants for the term
// that it asked for, and learns from refusals (EL-15, EL-16).
func TestPreElection(t *testing.T) {
	start := func() *rig {
		g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 4}, 1))
		e := g.fire(ElectionTimer)
		if g.State() != PreCandidate || g.CurrentTerm() != 4 || e.Persist.Seq != 0 || len(to[*PreVote](e.Send, 2)) != 1 {
			t.Fatalf("%v at term %d with %+v", g.State(), g.CurrentTerm(), e)
		}
		return g
	}
	g := start()
	if g.receive(2, &PreVoteResponse{Term: 7, Granted: true}); g.State() != PreCandidate {
		t.Errorf("a grant for another term made it %v", g.State())
	}
	if g.receive(2, &PreVoteResponse{Term: 4}); g.State() != PreCandidate {
		t.Errorf("a refusal made it %v", g.State())
	}
	if g.receive(2, &PreVoteResponse{Term: 5, Granted: true}); g.State() != Candidate || g.CurrentTerm() != 5 {
		t.Errorf("a majority made it %v at term %d", g.State(), g.CurrentTerm())
	}
	g = start()
	if g.receive(2, &PreVoteResponse{Term: 9}); g.State() != Follower || g.CurrentTerm() != 9 {
		t.Errorf("a refusal of term 9 made it %v at term %d", g.State(), g.CurrentTerm())
	}
	if g.fire(ElectionTimer); to[*PreVote](g.e.Send, 3)[0].Term != 10 {
		t.Errorf("asks for term %d next", to[*PreVote](g.e.Send, 3)[0].Term)
	}
}

// TestSingleVoter: it elects itself and commits, each time after its disk (CM-11,
// EL-09).
func TestSingleVoter(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1), HardState{CurrentTerm: 1}, 1))
	if g.fire(ElectionTimer); g.State() != Candidate {
		t.Fatalf("%v before its vote is durable", g.State())
	}
	if g.persist(); g.State() != Leader || g.CommitIndex() != 0 {
		t.Fatalf("%v, commitIndex %d", g.State(), g.CommitIndex())
	}
	g.step(&ReadIndex{Read: 1})
	if len(g.e.Reads) > 0 {
		t.Error("a read before the no-op is committed (RD-01)")
	}
	if e := g.persist(); e.Committed != 2 || len(e.Reads) != 1 || e.Reads[0].Index != 2 {
		t.Errorf("commitIndex %d, reads %+v", e.Committed, e.Reads)
	}
	if e := g.step(&ReadIndex{Read: 2}); len(e.Reads) != 1 || len(e.Send) > 0 {
		t.Errorf("reads %+v, sends %+v", e.Reads, e.Send)
	}
	if e := g.step(&Propose{Count: 3, Bytes: 3}); e.Committed != 2 || e.Proposed.First != 3 || e.Proposed.Last != 5 {
		t.Errorf("commitIndex %d, proposed %+v", e.Committed, e.Proposed)
	}
	if e := g.persist(); e.Committed != 5 {
		t.Errorf("commitIndex %d", e.Committed)
	}
}

// TestTimeoutNow: only the leader of this term hands over (LT-05); the election
// begins without a poll and lifts stickiness (LT-01).
func TestTimeoutNow(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 4}, 1))
	g.receive(2, &AppendEntries{Term: 4, Prev: EntryID{1, 1}, Last: 1})
	if g.receive(3, &TimeoutNow{Term: 4}); g.State() != Follower {
		t.Errorf("a stranger's word made it %v", g.State())
	}
	e := g.receive(2, &TimeoutNow{Term: 4})
	if g.State() != Candidate || !to[*RequestVote](e.Send, 3)[0].Transfer {
		t.Errorf("%v, sends %+v", g.State(), e.Send)
	}
	learner := newRig(t, Config{}, disk(Configuration{Members: []Member{{ID: 1, Role: Learner}, {ID: 2, Role: Voter}}}, HardState{CurrentTerm: 4}, 1))
	learner.receive(2, &AppendEntries{Term: 4, Prev: EntryID{1, 1}, Last: 1})
	if learner.receive(2, &TimeoutNow{Term: 4}); learner.State() != Follower {
		t.Errorf("a learner is %v", learner.State())
	}
}

// TestSplitTopology is the example of EL-19: five replicas, 1 2 3 a mesh, 4 only
// reaches 2, 5 only reaches 3, and 3 leads. With PreVote and CheckQuorum nobody
// disturbs the leader; without PreVote its term does not last.
func TestSplitTopology(t *testing.T) {
	for _, off := range []bool{false, true} {
		c := newCluster(t, Config{DisablePreVote: off, DisableStickiness: off}, voters(1, 2, 3, 4, 5))
		c.start()
		leader := c.elect(3)
		term := leader.raft.CurrentTerm()
		reaches := func(a, b NodeID) bool {
			if a > b {
				a, b = b, a
			}
			return b <= 3 || a == 2 && b == 4 || a == 3 && b == 5
		}
		for range 20 {
			for _, kind := range []TimerKind{HeartbeatTimer, QuorumContactTimer, ElectionTimer} {
				for _, r := range c.replicas {
					if kind != ElectionTimer || r.id == 4 {
						c.fire(r, kind)
					}
				}
				for busy := true; busy; {
					kept := c.network[:0]
					for _, p := range c.network {
						if reaches(p.From, p.To) {
							kept = append(kept, p)
						}
					}
					c.network = kept
					busy = len(kept) > 0
					c.settleOnce()
				}
			}
		}
		if stable := c.leaders[term] == 3 && leader.raft.State() == Leader && leader.raft.CurrentTerm() == term; stable == off {
			t.Errorf("without PreVote %v: leader 3 of term %d is %v of term %d", off, term, leader.raft.State(), leader.raft.CurrentTerm())
		}
	}
}

// TestStranded: a replica at a newer term that can win nothing rejoins (EL-17).
func TestStranded(t *testing.T) {
	c := newCluster(t, Config{DisablePreVote: true}, voters(1, 2, 3))
	c.start()
	c.elect(1)
	stranded := c.get(3)
	for range 5 {
		c.fire(stranded, ElectionTimer)
		c.network = nil
		c.settle()
		c.network = nil
	}
	c.propose(c.get(1), 1)
	c.settle()
	for range 4 {
		for _, r := range c.replicas {
			c.fire(r, HeartbeatTimer)
		}
		c.settle()
		if c.leader() == nil || c.leader().id == 1 && c.get(1).raft.State() != Leader {
			c.fire(c.get(2), StickinessTimer)
			c.fire(c.get(1), ElectionTimer)
			c.settle()
		}
	}
	leader := c.leader()
	if leader == nil || leader.raft.CurrentTerm() != stranded.raft.CurrentTerm() || stranded.log.last() != leader.log.last() {
		t.Errorf("the stranded replica did not rejoin:\n%v", c)
	}
}
