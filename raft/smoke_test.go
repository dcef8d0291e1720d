package raft

import "testing"

func TestThreeElectAndCommit(t *testing.T) {
	checkEverything = true
	members := []Member{{ID: 1, Role: Voter}, {ID: 2, Role: Voter}, {ID: 3, Role: Voter}}
	nodes := map[NodeID]*Raft{}
	var queue []Message
	var carry func(id NodeID, e *Effects)
	carry = func(id NodeID, e *Effects) {
		sends := append(append([]Message(nil), e.Send...), e.AfterSync...)
		seq := e.Persist.Seq
		for _, ev := range e.Trace {
			t.Log(id, ev)
		}
		if seq != 0 {
			carry(id, nodes[id].Step(&Persisted{Seq: seq}))
		}
		for _, m := range sends {
			queue = append(queue, m)
			if ae, ok := m.Body.(*AppendEntries); ok && ae.Last > ae.Prev.Index {
				carry(id, nodes[id].Step(&Sent{Peer: m.To, Last: ae.Last, Bytes: 1}))
			}
		}
	}
	for id := NodeID(1); id <= 3; id++ {
		r, err := New(Config{ID: id}, Restored{
			HardState: HardState{CurrentTerm: 1}, First: 1, Last: 1, Runs: []TermRun{{1, 1}},
			Configurations: []ConfigurationEntry{{EntryID{1, 1}, Configuration{Members: members}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		nodes[id] = r
		carry(id, r.Start())
	}
	run := func() {
		for len(queue) > 0 {
			m := queue[0]
			queue = queue[1:]
			carry(m.To, nodes[m.To].Step(&Receive{Message: m}))
		}
	}
	carry(1, nodes[1].Step(&Campaign{}))
	run()
	carry(1, nodes[1].Step(&Propose{Count: 3, Bytes: 30}))
	run()
	carry(1, nodes[1].Step(&ReadIndex{Read: 7}))
	run()
	for id, r := range nodes {
		if r.CommitIndex() != 5 {
			t.Errorf("replica %d: commitIndex %d, want 5", id, r.CommitIndex())
		}
	}
}
