package raft

import (
	"slices"
	"testing"
)

// TestCommit is Figure 8 of the paper, 3.7 of the dissertation: an entry of an
// older term on a majority is not committed by counting (CM-01); an entry of the
// own term commits it too (CM-02).
func TestCommit(t *testing.T) {
	// (c) S1 leads term 4; S1, S2, S3 hold 2.2.
	g := newRig(t, Config{}, disk(voters(1, 2, 3, 4, 5), HardState{CurrentTerm: 3}, 1, 2))
	g.lead()
	for _, id := range []NodeID{2, 3} {
		g.receive(id, &AppendEntriesResponse{Term: 4, Success: true, Match: 2, Prev: 2})
	}
	if g.CommitIndex() != 0 {
		t.Fatalf("commitIndex %d by counting an entry of term 2 in term 4", g.CommitIndex())
	}
	// (d2) its own entry 4.3 reaches the majority.
	g.matchAll(2)
	if g.CommitIndex() != 0 {
		t.Fatalf("commitIndex %d with two of five", g.CommitIndex())
	}
	g.matchAll(3)
	if g.CommitIndex() != 3 {
		t.Errorf("commitIndex %d, want 3", g.CommitIndex())
	}
}

// TestFigure8 begins before (c) and plays (c) and (d) on five replicas: S1 brings
// its entry of term 2 to a majority, S5 overwrites it, and nobody had committed it;
// the judge watches (CM-01).
func TestFigure8(t *testing.T) {
	c := newCluster(t, Config{DisablePreVote: true, DisableStickiness: true}, voters(1, 2, 3, 4, 5))
	for id, entry := range map[NodeID]Term{1: 2, 2: 2, 5: 3} {
		r := c.get(id)
		hash, _ := r.disk.hashAt(1)
		r.disk.entries = append(r.disk.entries, payload{term: entry, value: 9, hash: chain(hash, entry, 9)})
	}
	for _, r := range c.replicas {
		r.disk.hardState.CurrentTerm = 3
	}
	c.start()
	one, three, five := c.get(1), c.get(3), c.get(5)
	c.electBy(one, 2, 3, 4)
	// (c) 3 receives 2.2, and no more.
	for three.log.last() < 2 {
		c.exchange(one, three, 1)
	}
	if got := three.log.at(2).term; got != 2 {
		t.Fatalf("3 holds an entry of term %d at 2, want 2", got)
	}
	for one.raft.peer(2).matchIndex < 2 {
		c.exchange(one, c.get(2), 0)
	}
	if three := one.raft.peer(3).matchIndex; three != 2 {
		t.Fatalf("3 acknowledged %d, want 2", three)
	}
	if one.raft.CommitIndex() != 0 {
		t.Fatalf("commitIndex %d, with term 2 on a majority", one.raft.CommitIndex())
	}
	// (d) 1 crashes, 5 wins and overwrites.
	c.crash(one, 9)
	c.electBy(five, 2, 3, 4)
	for range 8 {
		for _, id := range []NodeID{2, 3, 4} {
			c.exchange(five, c.get(id), 9)
		}
	}
	if got := three.log.at(2).term; got != 3 {
		t.Errorf("3 holds an entry of term %d at 2, want 3", got)
	}
	if c.committedMax < 3 {
		t.Errorf("committed up to %d, want the leader's no-op", c.committedMax)
	}
}

// TestLeaderCountsItselfDurable: the own disk counts like any other, no sooner
// (CM-03), and is not needed if others suffice (CM-04).
func TestLeaderCountsItselfDurable(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	g.lead()
	ack := func(id NodeID) {
		g.receive(id, &AppendEntriesResponse{Term: 2, Success: true, Match: 2, Prev: 1})
	}
	ack(2)
	if g.CommitIndex() != 0 {
		t.Fatalf("commitIndex %d with one durable copy", g.CommitIndex())
	}
	ack(3)
	if g.CommitIndex() != 2 || g.DurableIndex() != 1 {
		t.Errorf("commitIndex %d, durable %d, want 2 and 1", g.CommitIndex(), g.DurableIndex())
	}
	h := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	h.lead()
	h.receive(2, &AppendEntriesResponse{Term: 2, Success: true, Match: 2, Prev: 1})
	if h.persist(); h.CommitIndex() != 2 {
		t.Errorf("commitIndex %d with the own disk and one other", h.CommitIndex())
	}
}

// TestJointCommit: each half must have it (CM-12).
func TestJointCommit(t *testing.T) {
	joint := Configuration{
		Members:  []Member{{ID: 1, Role: Voter}, {ID: 4, Role: Voter}, {ID: 5, Role: Voter}},
		Outgoing: []NodeID{1, 2, 3},
	}
	for _, c := range []struct {
		acks []NodeID
		want Index
	}{
		{[]NodeID{4, 5}, 0},
		{[]NodeID{2, 3}, 0},
		{[]NodeID{2, 4}, 2},
	} {
		g := newRig(t, Config{}, disk(joint, HardState{CurrentTerm: 1}, 1))
		g.lead()
		g.matchAll(c.acks...)
		if g.CommitIndex() != c.want {
			t.Errorf("acknowledged by 1 and %v: commitIndex %d, want %d", c.acks, g.CommitIndex(), c.want)
		}
	}
}

// TestPropose: refusals name their reason; the no-op is never refused (FC-04).
func TestPropose(t *testing.T) {
	g := newRig(t, Config{MaxUncommittedBytes: 100}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	propose := func(count, bytes int) Reason {
		return g.step(&Propose{Count: count, Bytes: bytes}).Proposed.Refused
	}
	if got := propose(1, 1); got != NotLeader {
		t.Errorf("at a follower: %v", got)
	}
	g.lead()
	for _, c := range []struct {
		count, bytes int
		want         Reason
	}{
		{0, 1, NothingProposed}, {1, 500, noReason}, {1, 1, TooManyUncommitted},
	} {
		if got := propose(c.count, c.bytes); got != c.want {
			t.Errorf("%d entries of %d bytes: %v, want %v", c.count, c.bytes, got, c.want)
		}
	}
	g.matchAll(2)
	for _, c := range []struct {
		bytes int
		want  Reason
	}{{60, noReason}, {40, noReason}, {1, TooManyUncommitted}} {
		if got := propose(1, c.bytes); got != c.want {
			t.Errorf("%d bytes after a commit: %v, want %v", c.bytes, got, c.want)
		}
	}
}

// TestDivergentTail: a tail of 100,000 entries over three terms is found in at most
// four probes, none of which carries entries (RP-08, RP-10).
func TestDivergentTail(t *testing.T) {
	configuration := voters(1, 2)
	base := SnapshotMeta{Configuration: ConfigurationEntry{Configuration: configuration}}
	leader := newRig(t, Config{}, Restored{
		HardState: HardState{CurrentTerm: 8}, Snapshot: base, First: 1, Last: 100_000,
		Runs: []TermRun{{1, 1}, {10, 4}, {50_000, 6}, {80_000, 8}},
	})
	follower := newRig(t, Config{ID: 2}, Restored{
		HardState: HardState{CurrentTerm: 7}, Snapshot: base, First: 1, Last: 100_000,
		Runs: []TermRun{{1, 1}, {10, 2}, {30_000, 3}, {60_000, 5}, {90_000, 7}},
	})
	leader.lead()
	probes := 0
	m := to[*AppendEntries](leader.e.Send, 2)[0]
	for {
		probes++
		if m.Last > m.Prev.Index && m.Prev.Index+1 != leader.noop {
			t.Fatalf("probe %d carries (%d, %d]", probes, m.Prev.Index, m.Last)
		}
		if m.Last > m.Prev.Index {
			leader.step(&Sent{Peer: 2, Last: m.Last, Bytes: 1})
		}
		e := follower.receive(1, m)
		answers := to[*AppendEntriesResponse](append(e.Send, e.AfterSync...), 1)
		if follower.persistedSeq != follower.seq {
			follower.persist()
		}
		e = leader.receive(2, answers[0])
		if answers[0].Success {
			break
		}
		m = to[*AppendEntries](e.Send, 2)[0]
	}
	if probes > 4 {
		t.Errorf("%d probes, want at most 4", probes)
	}
	if p := leader.Status().Peers[0]; p.Replication != "replicate" || p.NextIndex != 10 {
		t.Errorf("progress %+v, want replicate from 10", p)
	}
}

// TestRefusals: a refusal moves no match (RP-09, RP-18), a stale one nothing at
// all, a senseless hint never below matchIndex+1.
func TestRefusals(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 3}, 1, 1, 2, 2, 3))
	g.lead()
	g.receive(2, &AppendEntriesResponse{Term: 4, Success: true, Match: 3, Prev: 5})
	peer := func() PeerStatus { return g.Status().Peers[0] }
	if p := peer(); p.MatchIndex != 3 || p.NextIndex != 6 || p.Replication != "replicate" {
		t.Fatalf("progress %+v", p)
	}
	for _, c := range []struct {
		name string
		m    AppendEntriesResponse
		next Index
	}{
		{"below matchIndex", AppendEntriesResponse{Prev: 2, Hint: EntryID{1, 1}}, 6},
		{"never asked", AppendEntriesResponse{Prev: 6, Hint: EntryID{1, 1}}, 6},
		{"beyond the log", AppendEntriesResponse{Prev: 99, Hint: EntryID{1, 1}}, 6},
		{"hint at the beginning of time", AppendEntriesResponse{Prev: 5, Hint: EntryID{}}, 4},
		{"again", AppendEntriesResponse{Prev: 5, Hint: EntryID{}}, 4},
	} {
		c.m.Term = 4
		g.receive(2, &c.m)
		if p := peer(); p.MatchIndex != 3 || p.NextIndex != c.next {
			t.Errorf("%s: progress %+v, want match 3, next %d", c.name, p, c.next)
		}
		if g.CommitIndex() != 0 {
			t.Errorf("%s: commitIndex %d", c.name, g.CommitIndex())
		}
	}
	g.receive(2, &AppendEntriesResponse{Term: 4, Success: true, Match: 99, Prev: 3})
	if g.reason(AnswerIgnored) != Malformed || peer().MatchIndex != 3 {
		t.Errorf("a match beyond the log: %+v", peer())
	}
}

// TestWindow: entries are sent ahead of the answers up to the window (FC-01,
// FC-02), one handing over at a time, the rest as the runtime says what it sent.
func TestWindow(t *testing.T) {
	g := newRig(t, Config{MaxInFlightMessages: 2, MaxInFlightBytes: 100}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	g.lead()
	g.matchAll(2, 3)
	peer := func() PeerStatus { return g.Status().Peers[0] }
	entries := func(e *Effects) []*AppendEntries {
		return slices.DeleteFunc(to[*AppendEntries](e.Send, 2), func(m *AppendEntries) bool { return m.Last == m.Prev.Index })
	}
	if m := entries(g.step(&Propose{Count: 2, Bytes: 2})); len(m) != 1 || m[0].Prev.Index != 2 || m[0].Last != 4 {
		t.Fatalf("sends %+v", m)
	}
	if m := entries(g.step(&Propose{Count: 3, Bytes: 3})); len(m) > 0 {
		t.Fatalf("hands over %+v before the first was sent", m)
	}
	// A prefix was sent; the rest follows at once.
	if m := entries(g.step(&Sent{Peer: 2, Last: 3, Bytes: 10})); len(m) != 1 || m[0].Prev.Index != 3 || m[0].Last != 7 {
		t.Fatalf("sends %+v", m)
	}
	if m := entries(g.step(&Sent{Peer: 2, Last: 6, Bytes: 10})); len(m) > 0 {
		t.Fatalf("sends %+v with a full window", m)
	}
	if p := peer(); p.InFlightMessages != 2 || p.InFlightBytes != 20 || p.NextIndex != 7 {
		t.Fatalf("progress %+v", p)
	}
	// Heartbeats go out all the same, checking the end of what was sent.
	if m := to[*AppendEntries](g.fire(HeartbeatTimer).Send, 2); len(m) != 1 || m[0].Prev.Index != 6 || m[0].Last != 6 {
		t.Fatalf("heartbeat %+v", m)
	}
	// All of the window was lost: the heartbeat is refused, and it begins again.
	g.receive(2, &AppendEntriesResponse{Term: 2, Prev: 6, Hint: EntryID{2, 2}})
	if p := peer(); p.Replication != "probe" || p.NextIndex != 3 || p.InFlightMessages != 0 {
		t.Fatalf("progress %+v", p)
	}
	e := g.receive(2, &AppendEntriesResponse{Term: 2, Success: true, Match: 2, Prev: 2})
	if m := entries(e); len(m) != 1 || m[0].Prev.Index != 2 || m[0].Last != 7 {
		t.Fatalf("sends %+v", m)
	}
	// What the runtime cannot send now waits for a heartbeat or an answer.
	if m := entries(g.step(&Sent{Peer: 2, Last: 2})); len(m) > 0 {
		t.Fatalf("sends %+v to a peer that takes nothing", m)
	}
	if m := entries(g.fire(HeartbeatTimer)); len(m) != 1 {
		t.Fatalf("sends %+v after the heartbeat", m)
	}
	g.step(&Sent{Peer: 2, Last: 7, Bytes: 200})
	if m := entries(g.step(&Propose{Count: 1, Bytes: 1})); len(m) > 0 {
		t.Errorf("sends %+v with 200 of 100 bytes in flight", m)
	}
	if m := entries(g.receive(2, &AppendEntriesResponse{Term: 2, Success: true, Match: 7, Prev: 2})); len(m) != 1 {
		t.Errorf("sends %+v after the answer", m)
	}
	g.step(&Sent{Peer: 2, Last: 8, Bytes: 1})
	g.step(&PeerUnreachable{Peer: 2})
	if p := peer(); p.Replication != "probe" || p.NextIndex != 8 || p.InFlightMessages != 0 {
		t.Errorf("progress %+v after the peer was lost (FC-01)", p)
	}
}

// TestSilentPeer gets only heartbeats until it answers (FC-07).
func TestSilentPeer(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	g.lead()
	g.matchAll(2, 3)
	g.fire(QuorumContactTimer)
	g.receive(2, &AppendEntriesResponse{Term: 2, Success: true, Match: 2, Prev: 2})
	g.fire(QuorumContactTimer)
	e := g.step(&Propose{Count: 1, Bytes: 1})
	if len(to[*AppendEntries](e.Send, 2)) != 1 || len(to[*AppendEntries](e.Send, 3)) != 0 {
		t.Errorf("sends %+v", e.Send)
	}
	e = g.fire(HeartbeatTimer)
	if m := to[*AppendEntries](e.Send, 3); len(m) != 1 || m[0].Last != m[0].Prev.Index {
		t.Errorf("heartbeats %+v", e.Send)
	}
	e = g.receive(3, &AppendEntriesResponse{Term: 2, Success: true, Match: 2, Prev: 2})
	if m := to[*AppendEntries](e.Send, 3); len(m) != 1 || m[0].Last != 3 {
		t.Errorf("sends %+v to a peer that is back", e.Send)
	}
}

// TestEagerCommit: who has everything hears of a commit at once (CM-09), who is
// being sent entries hears it with them.
func TestEagerCommit(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	g.lead()
	g.matchAll(2, 3)
	g.step(&Propose{Count: 1, Bytes: 1})
	g.persist()
	g.step(&Sent{Peer: 2, Last: 3, Bytes: 1})
	e := g.receive(2, &AppendEntriesResponse{Term: 2, Success: true, Match: 3, Prev: 2})
	if m := to[*AppendEntries](e.Send, 2); len(m) != 1 || m[0].Commit != 3 || m[0].Last != 3 || m[0].Prev.Index != 3 {
		t.Errorf("tells 2 %+v", m)
	}
	if m := to[*AppendEntries](e.Send, 3); len(m) != 0 {
		t.Errorf("tells 3 %+v while its entries are handed over", m)
	}
	e = g.step(&Sent{Peer: 3, Last: 3, Bytes: 1})
	if m := to[*AppendEntries](e.Send, 3); len(m) != 1 || m[0].Commit != 3 || m[0].Prev.Index != 3 {
		t.Errorf("tells 3 %+v", m)
	}
	if e = g.receive(3, &AppendEntriesResponse{Term: 2, Success: true, Match: 3, Prev: 2}); len(e.Send) > 0 {
		t.Errorf("tells it twice: %+v", e.Send)
	}
}

// TestUnreadable: a leader that cannot read its log leads no longer.
func TestUnreadable(t *testing.T) {
	g := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	if g.step(&Unreadable{Index: 1}); len(g.e.Trace) > 0 {
		t.Errorf("a follower: %s", g.story())
	}
	g.lead()
	if g.step(&Unreadable{Index: 1}); g.State() != Follower || g.reason(BecameFollower) != LogUnreadable {
		t.Errorf("%v: %s", g.State(), g.story())
	}
}

// TestReads: RD-01 to RD-05 and RD-07, one by one.
func TestReads(t *testing.T) {
	echo := func(g *rig, id NodeID, round uint64) *Effects {
		return g.receive(id, &AppendEntriesResponse{
			Term: g.CurrentTerm(), Success: true, Match: g.peer(id).matchIndex, Prev: g.peer(id).matchIndex, Round: round,
		})
	}
	g := newRig(t, Config{MaxPendingReads: 3}, disk(voters(1, 2, 3), HardState{CurrentTerm: 1}, 1))
	if e := g.step(&ReadIndex{Read: 1}); len(e.Reads) != 1 || e.Reads[0].Refused != NoLeader {
		t.Errorf("without a leader: %+v", e.Reads)
	}
	g.lead()
	// RD-01: no round before an entry of the own term is committed.
	if e := g.step(&ReadIndex{Read: 2}); len(e.Send)+len(e.Reads) > 0 || g.round != 0 {
		t.Fatalf("a new leader: %+v", e)
	}
	g.matchAll(2)
	if g.round != 1 || len(g.e.Reads) > 0 {
		t.Fatalf("round %d, reads %+v", g.round, g.e.Reads)
	}
	// RD-02: answers to what was sent before do not count, whatever they say.
	if e := echo(g, 3, 0); len(e.Reads) > 0 {
		t.Fatalf("confirmed by an older round: %+v", e.Reads)
	}
	// RD-04: a read that comes while the round runs waits for the next.
	if e := g.step(&ReadIndex{Read: 3}); len(e.Send) > 0 {
		t.Fatalf("a second round begins: %+v", e.Send)
	}
	// A lost round is recovered by the heartbeat, which carries it.
	if m := to[*AppendEntries](g.fire(HeartbeatTimer).Send, 3); len(m) != 1 || m[0].Round != 1 {
		t.Fatalf("heartbeat %+v", m)
	}
	e := echo(g, 3, 1)
	if len(e.Reads) != 1 || e.Reads[0] != (ReadState{Read: 2, Index: 2}) || g.round != 2 {
		t.Fatalf("reads %+v, round %d", e.Reads, g.round)
	}
	// One round serves all; too many are refused.
	g.step(&ReadIndex{Read: 4})
	g.step(&ReadIndex{Read: 5})
	if e = g.step(&ReadIndex{Read: 6}); len(e.Reads) != 1 || e.Reads[0].Refused != TooManyReads {
		t.Errorf("one too many: %+v", e.Reads)
	}
	if e = echo(g, 2, 2); len(e.Reads) != 1 || e.Reads[0].Read != 3 {
		t.Fatalf("reads %+v", e.Reads)
	}
	if e = echo(g, 2, 3); len(e.Reads) != 2 {
		t.Fatalf("reads %+v", e.Reads)
	}
	if echo(g, 2, 99); g.reason(AnswerIgnored) != Malformed {
		t.Errorf("a round that never began: %s", g.story())
	}
	// RD-05: a follower's read is answered by message, also when leadership ends.
	if e = g.receive(3, &ReadIndexRequest{Term: 2, Read: 77}); len(e.Reads) > 0 {
		t.Fatalf("%+v", e.Reads)
	}
	e = echo(g, 2, g.round)
	if m := only[*ReadIndexResponse](t, e.Send); *m != (ReadIndexResponse{Term: 2, Read: 77, Index: 2}) {
		t.Errorf("answers %+v", m)
	}
	g.receive(3, &ReadIndexRequest{Term: 2, Read: 78})
	g.step(&ReadIndex{Read: 7})
	e = g.receive(2, &AppendEntriesResponse{Term: 5})
	if m := only[*ReadIndexResponse](t, e.AfterSync); m.Read != 78 || m.Index != 0 {
		t.Errorf("answers %+v", m)
	}
	if len(e.Reads) != 1 || e.Reads[0] != (ReadState{Read: 7, Refused: LeadershipLost}) {
		t.Errorf("reads %+v", e.Reads)
	}

	// The follower's side.
	f := newRig(t, Config{}, disk(voters(1, 2, 3), HardState{CurrentTerm: 2}, 1))
	f.receive(2, &AppendEntries{Term: 2, Prev: EntryID{1, 1}, Last: 1})
	if m := only[*ReadIndexRequest](t, f.step(&ReadIndex{Read: 9}).Send); m.Read != 9 || f.e.Send[0].To != 2 {
		t.Errorf("forwards %+v", f.e.Send)
	}
	if e = f.receive(2, &ReadIndexResponse{Term: 2, Read: 9, Index: 4}); len(e.Reads) != 1 || e.Reads[0] != (ReadState{Read: 9, Index: 4}) {
		t.Errorf("reads %+v", e.Reads)
	}
	if e = f.receive(2, &ReadIndexResponse{Term: 2, Read: 9}); len(e.Reads) != 1 || e.Reads[0].Refused != NotLeader {
		t.Errorf("reads %+v", e.Reads)
	}
	if m := only[*ReadIndexResponse](t, f.receive(3, &ReadIndexRequest{Term: 2, Read: 1}).Send); m.Index != 0 {
		t.Errorf("a follower answers %+v", m)
	}

	// RD-07: both halves confirm, and a leader outside does not count itself.
	joint := Configuration{
		Members:  []Member{{ID: 1, Role: Voter}, {ID: 4, Role: Voter}, {ID: 5, Role: Voter}},
		Outgoing: []NodeID{1, 2, 3},
	}
	j := newRig(t, Config{}, disk(joint, HardState{CurrentTerm: 1}, 1))
	j.lead()
	j.matchAll(2, 4)
	j.step(&ReadIndex{Read: 1})
	if e = echo(j, 4, 1); len(e.Reads) > 0 {
		t.Errorf("confirmed by one half: %+v", e.Reads)
	}
	if e = echo(j, 3, 1); len(e.Reads) != 1 {
		t.Errorf("not confirmed by both halves: %+v", e.Reads)
	}
}
