package replica

import (
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// RD-05: any replica reads linearizably; RD-03: not before it has applied.
func TestReadAtAFollowerWaitsForApply(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.node(3).stall = true
	l.node(1).propose("a")
	q := l.node(3).read()
	if q.outcome != 0 {
		t.Fatalf("a follower that has applied nothing let a read go: %d", q.outcome)
	}
	l.node(3).stall = false
	l.settle()
	if q.outcome != Applied {
		t.Fatalf("the read was not let go: %d", q.outcome)
	}
}

// RD-02: a read at a leader that is cut off waits; it is asked again and answered
// when there is a leader.
func TestReadIsRetriedUntilThereIsALeader(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.cut[1] = true
	q := l.node(1).read()
	l.elect(2)
	for range 3 {
		l.fireAt(l.node(1), ReadRetryTimer)
	}
	if q.outcome != 0 {
		t.Fatalf("an isolated leader let a read go: %d", q.outcome)
	}
	l.cut[1] = false
	l.fireAt(l.node(2), raft.HeartbeatTimer)
	l.fireAt(l.node(1), ReadRetryTimer)
	if q.outcome != Applied {
		t.Fatalf("the read was not answered by the new leader: %d", q.outcome)
	}
}

// A read that no leader answered is asked again as soon as there is one, and not
// when its timer fires.
func TestReadIsAskedOfTheNextLeaderAtOnce(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.cut[1] = true
	q := l.node(3).read()
	if q.outcome != 0 {
		t.Fatalf("outcome %d from a leader that is cut off", q.outcome)
	}
	l.elect(2)
	l.node(2).propose("a")
	if q.outcome != Applied {
		t.Fatalf("outcome %d, though there is a leader", q.outcome)
	}
}

// RD-04: reads that arrive while others are asked for share the next question,
// which is put after all of them arrived.
func TestReadsThatArriveMeanwhileAreAskedForTogether(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.node(1).propose("a")
	n := l.node(3)
	asked := func() (requests int) {
		for _, e := range n.out.Send {
			if _, ok := e.Message.Body.(*raft.ReadIndexRequest); ok {
				requests++
			}
		}
		return requests
	}
	var all []*question
	for range 10 {
		q := &question{}
		all = append(all, q)
		n.replica.Read([]Reader{q}, &n.out)
	}
	if got := asked(); got != maxAsked {
		t.Fatalf("%d questions are under way, want %d", got, maxAsked)
	}
	before := n.replica.reads.next
	l.settle()
	for i, q := range all {
		if q.outcome != Applied {
			t.Fatalf("read %d: outcome %d", i, q.outcome)
		}
	}
	if more := n.replica.reads.next - before; more != 1 {
		t.Fatalf("8 reads that had to wait took %d questions, want 1", more)
	}
	for range 3 {
		n.replica.Read([]Reader{&question{}}, &n.out)
	}
	late := &question{}
	n.replica.Read([]Reader{late}, &n.out)
	n.replica.Stop()
	if late.outcome != Stopped {
		t.Fatalf("a read that was not asked for yet: outcome %d", late.outcome)
	}
}

// RD-05: an answer that takes longer than the timer for asking again is an answer.
// RD-04: it lets nobody go who was not asked for with it.
func TestAnswerSlowerThanTheTimer(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	l.node(1).propose("a")
	n := l.node(3)
	ask := func() *question {
		q := &question{}
		n.replica.Read([]Reader{q}, &n.out)
		return q
	}
	// again lets the timer fire; nothing that is asked then arrives.
	again := func() {
		timer := n.timers[ReadRetryTimer]
		n.replica.TimerFired(ReadRetryTimer, timer.Generation, &n.out)
		n.out.Send = nil
		n.carryOut()
	}
	first := ask()
	n.carryOut() // is on its way to the leader
	again()
	second, third, gone := ask(), ask(), &question{left: true}
	n.replica.Read([]Reader{gone}, &n.out)
	n.out.Send = nil // lost
	n.carryOut()
	again()
	if gone.outcome != Unknown {
		t.Errorf("who waits no more was told %d", gone.outcome)
	}
	l.settle()
	if first.outcome != Applied {
		t.Fatalf("outcome %d, though the leader has answered", first.outcome)
	}
	if second.outcome != 0 {
		t.Fatalf("outcome %d of a read that nobody has heard of", second.outcome)
	}
	l.fireAt(n, ReadRetryTimer)
	if second.outcome != Applied || third.outcome != Applied {
		t.Fatalf("outcomes %d and %d, asked for again", second.outcome, third.outcome)
	}
}

// RD-05: an answer to a read that a replica asked for before it restarted says
// nothing about a read that it asks for afterwards.
func TestAnswerFromBeforeARestartIsIgnored(t *testing.T) {
	l := newLab(t, 3)
	l.start()
	l.elect(1)
	n := l.node(3)
	before := n.replica.reads.next
	first := n.read()
	n.read()
	if first.outcome != Applied {
		t.Fatalf("outcome %d", first.outcome)
	}
	n.config.FirstRead = 1 << 40 // another draw
	restarted, err := New(n.config, Restored{})
	if err != nil {
		t.Fatal(err)
	}
	if restarted.reads.next == before || restarted.reads.next != 1<<40 {
		t.Fatalf("reads are named from %d again", restarted.reads.next)
	}
	q := &question{}
	n.replica.reads.asked = append(n.replica.reads.asked, readBatch{id: 1 << 40, readers: []Reader{q}})
	late := raft.Message{From: 1, To: 3, Body: &raft.ReadIndexResponse{Term: n.replica.core.CurrentTerm(), Read: before, Index: 1}}
	if err := n.replica.Receive(transport.Envelope{Group: 7, Message: late}, &n.out); err != nil {
		t.Fatal(err)
	}
	if q.outcome != 0 {
		t.Fatal("a late answer let another read go")
	}
}
