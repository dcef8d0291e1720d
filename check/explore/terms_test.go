package explore

import (
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/raft"
)

// TestTerms compares the packed log with a slice, and Log Matching with its
// definition (B-3).
func TestTerms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	log := func() (terms, []raft.Term) {
		var packed terms
		var list []raft.Term
		for index := range random.IntN(maxIndex + 1) {
			term := raft.Term(1 + random.IntN(4))
			list = append(list, term)
			packed = packed.with(raft.Index(index+1), term)
		}
		return packed, list
	}
	for range 20000 {
		a, list := log()
		b, other := log()
		if keep := random.IntN(maxIndex + 1); keep < len(list) && keep < len(other) {
			copy(other[:keep], list)
			b = b&^b.prefix(raft.Index(keep)) | a.prefix(raft.Index(keep))
		}
		if got := a.last(); got != raft.Index(len(list)) {
			t.Fatalf("%v: last is %d, want %d", a, got, len(list))
		}
		for i, term := range list {
			if got := a.at(raft.Index(i + 1)); got != term {
				t.Fatalf("%v: entry %d has term %d, want %d", a, i+1, got, term)
			}
		}
		matches, holds := true, len(other) <= len(list)
		for i := range min(len(list), len(other)) {
			if list[i] != other[i] {
				holds = false
				continue
			}
			for j := range i {
				matches = matches && list[j] == other[j]
			}
		}
		if got := a.matches(b); got != matches {
			t.Fatalf("%v and %v: match %v, want %v", a, b, got, matches)
		}
		if got := a.holds(b); got != holds {
			t.Fatalf("%v holds %v: %v, want %v", a, b, got, holds)
		}
	}
}
