package keyspace

import (
	"slices"
	"testing"

	"github.com/quorate/quorate/raft"
)

// TestBallot: who is divergent, and that a majority never is.
func TestBallot(t *testing.T) {
	voters := func(ids ...raft.NodeID) raft.Configuration {
		var c raft.Configuration
		for _, id := range ids {
			c.Members = append(c.Members, raft.Member{ID: id, Role: raft.Voter})
		}
		return c
	}
	withLearner := voters(1, 2, 3)
	withLearner.Members = append(withLearner.Members, raft.Member{ID: 9, Role: raft.Learner})
	joint := voters(1, 2, 3)
	joint.Outgoing = []raft.NodeID{3, 4, 5}
	for _, c := range []struct {
		name   string
		config raft.Configuration
		ballot ballot
		want   []uint64
		agreed uint64
	}{
		{"all equal", voters(1, 2, 3), ballot{1: 7, 2: 7, 3: 7}, nil, 7},
		{"one differs", voters(1, 2, 3), ballot{1: 7, 2: 8, 3: 7}, []uint64{2}, 7},
		{"one differs before the last is heard of", voters(1, 2, 3, 4, 5), ballot{1: 7, 2: 8, 3: 7, 4: 7}, []uint64{2}, 7},
		{"a minority of two", voters(1, 2, 3, 4, 5), ballot{1: 7, 2: 8, 3: 7, 4: 7, 5: 9}, []uint64{2, 5}, 7},
		{"no two agree", voters(1, 2, 3), ballot{1: 7, 2: 8, 3: 9}, nil, 0},
		{"one against one", voters(1, 2, 3), ballot{1: 7, 2: 8}, nil, 0},
		{"half against half", voters(1, 2, 3, 4), ballot{1: 7, 2: 7, 3: 8, 4: 8}, nil, 0},
		{"a majority of those heard, not of all", voters(1, 2, 3, 4, 5), ballot{1: 7, 2: 7, 3: 8}, nil, 0},
		{"a learner differs", withLearner, ballot{1: 7, 2: 7, 9: 8}, []uint64{9}, 7},
		{"learners do not decide", withLearner, ballot{1: 7, 9: 7, 2: 8}, nil, 0},
		{"joint, both halves agree", joint, ballot{1: 7, 2: 7, 3: 8, 4: 7, 5: 7}, []uint64{3}, 7},
		{"joint, the halves disagree", joint, ballot{1: 7, 2: 7, 4: 8, 5: 8}, nil, 0},
		{"joint, one half is not heard", joint, ballot{1: 7, 2: 7, 3: 8}, nil, 0},
		{"one member alone", voters(1), ballot{1: 7}, nil, 7},
	} {
		got, agreed := c.ballot.divergent(&c.config)
		if !slices.Equal(got, c.want) || agreed != c.agreed {
			t.Errorf("%s: got %v, %d, want %v, %d", c.name, got, agreed, c.want, c.agreed)
		}
	}
}

// TestAuditorIsBounded: what is heard is kept within bounds, the newest sample only.
func TestAuditorIsBounded(t *testing.T) {
	a := NewAuditor(Process{})
	for i := range uint64(10000) {
		a.Sampled(i, i)
		a.Reported(i, 1, i)
	}
	sampled, heard := a.take()
	if len(sampled) != 1 || sampled[0].sample != 9999 || len(heard) != heardMax {
		t.Errorf("%v sampled, %d heard", sampled, len(heard))
	}
	x := &audit{ballots: map[uint64]ballot{}}
	for _, r := range heard {
		x.put(r)
	}
	if len(x.ballots) != ballotsMax || len(x.samples) != ballotsMax {
		t.Errorf("%d ballots", len(x.ballots))
	}
}
