package quorum_test

import (
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/raft/quorum"
)

// random gives voters of up to eleven ids, joint half of the time, and a value or
// vote for every id.
func random(r *rand.Rand) (quorum.Voters[uint64], map[uint64]uint64) {
	pick := func() (ids []uint64) {
		for id := uint64(1); id <= 11; id++ {
			if r.IntN(2) == 0 {
				ids = append(ids, id)
			}
		}
		return ids
	}
	v := quorum.Voters[uint64]{Incoming: pick()}
	if r.IntN(2) == 0 {
		v.Outgoing = pick()
	}
	values := map[uint64]uint64{}
	for id := uint64(1); id <= 11; id++ {
		values[id] = r.Uint64N(6)
	}
	return v, values
}

// supported tells by brute force whether those for which yes holds decide: more
// than half of each half that has members, and there is an incoming half.
func supported(v quorum.Voters[uint64], yes func(uint64) bool) bool {
	enough := func(ids []uint64) bool {
		n := 0
		for _, id := range ids {
			if yes(id) {
				n++
			}
		}
		return 2*n > len(ids)
	}
	return len(v.Incoming) > 0 && enough(v.Incoming) && (len(v.Outgoing) == 0 || enough(v.Outgoing))
}

// TestAgreedTwin compares with trying every value (CM-12).
func TestAgreedTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		v, values := random(r)
		want := uint64(0)
		for candidate := range uint64(7) {
			if supported(v, func(id uint64) bool { return values[id] >= candidate }) {
				want = candidate
			}
		}
		if got := v.Agreed(func(id uint64) uint64 { return values[id] }); got != want {
			t.Fatalf("%+v with %v: agreed %d, want %d", v, values, got, want)
		}
	}
}

// TestDecideTwin compares with the definitions: Won if those who granted decide,
// Lost if they would not even with all who are still pending (EL-08).
func TestDecideTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	seen := map[quorum.Result]int{}
	for range 20000 {
		v, values := random(r)
		vote := func(id uint64) quorum.Vote { return quorum.Vote(values[id] % 3) }
		want := quorum.Undecided
		switch {
		case supported(v, func(id uint64) bool { return vote(id) == quorum.Granted }):
			want = quorum.Won
		case len(v.Incoming) > 0 && !supported(v, func(id uint64) bool { return vote(id) != quorum.Refused }):
			want = quorum.Lost
		}
		got := v.Decide(vote)
		if got != want {
			t.Fatalf("%+v with %v: %v, want %v", v, values, got, want)
		}
		seen[got]++
	}
	if len(seen) != 3 {
		t.Errorf("results seen: %v, want all three", seen)
	}
}

// TestQuorumsIntersect: two sets that both decide share a voter, also while joint
// with either side (MB-07). All subsets of five ids are tried.
func TestQuorumsIntersect(t *testing.T) {
	old, next := []uint64{1, 2, 3}, []uint64{3, 4, 5}
	for _, pair := range [][2]quorum.Voters[uint64]{
		{{Incoming: old}, {Incoming: next, Outgoing: old}},
		{{Incoming: next, Outgoing: old}, {Incoming: next, Outgoing: old}},
		{{Incoming: next, Outgoing: old}, {Incoming: next}},
	} {
		for a := range 1 << 5 {
			for b := range 1 << 5 {
				in := func(set int) func(uint64) bool {
					return func(id uint64) bool { return set>>(id-1)&1 == 1 }
				}
				if a&b == 0 && supported(pair[0], in(a)) && supported(pair[1], in(b)) {
					t.Fatalf("disjoint quorums %05b of %+v and %05b of %+v", a, pair[0], b, pair[1])
				}
			}
		}
	}
}

// TestMembership: who is a voter, and who is one alone.
func TestMembership(t *testing.T) {
	one := quorum.Voters[uint64]{Incoming: []uint64{1}}
	leaving := quorum.Voters[uint64]{Incoming: []uint64{1}, Outgoing: []uint64{1, 2}}
	alone := quorum.Voters[uint64]{Incoming: []uint64{1}, Outgoing: []uint64{1}}
	for _, c := range []struct {
		voters         quorum.Voters[uint64]
		id             uint64
		contains, sole bool
	}{
		{quorum.Voters[uint64]{}, 1, false, false},
		{one, 1, true, true},
		{one, 2, false, false},
		{leaving, 1, true, false},
		{leaving, 2, true, false},
		{alone, 1, true, true},
	} {
		if got := c.voters.Contains(c.id); got != c.contains {
			t.Errorf("%+v contains %d: %v, want %v", c.voters, c.id, got, c.contains)
		}
		if got := c.voters.Sole(c.id); got != c.sole {
			t.Errorf("%+v is %d alone: %v, want %v", c.voters, c.id, got, c.sole)
		}
	}
	for result, name := range map[quorum.Result]string{
		quorum.Undecided: "undecided", quorum.Won: "won", quorum.Lost: "lost", 9: "unknown result",
	} {
		if got := result.String(); got != name {
			t.Errorf("result %d is called %q, want %q", result, got, name)
		}
	}
}

// TestNoAllocation: the usual sizes cost no allocation.
func TestNoAllocation(t *testing.T) {
	v := quorum.Voters[uint64]{Incoming: []uint64{1, 2, 3, 4, 5, 6, 7}, Outgoing: []uint64{1, 2, 3}}
	value := func(id uint64) uint64 { return id }
	vote := func(uint64) quorum.Vote { return quorum.Granted }
	if n := testing.AllocsPerRun(100, func() {
		v.Agreed(value)
		v.Decide(vote)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkAgreed(b *testing.B) {
	v := quorum.Voters[uint64]{Incoming: []uint64{1, 2, 3, 4, 5}}
	value := func(id uint64) uint64 { return id * 7 % 5 }
	b.ReportAllocs()
	for b.Loop() {
		v.Agreed(value)
	}
}
