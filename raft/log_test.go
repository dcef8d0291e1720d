package raft

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLogTwin compares the shape with a log that keeps a term per entry, over
// random operations (RP-04, PS-06, PS-08, SN-04).
func TestLogTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		var l raftLog
		l.first = 1
		twin := []Term{0}   // twin[i] is the term of entry i
		durable := []int{0} // durable[i] is the write that put entry i there
		seq, persisted := Seq(0), Seq(0)
		commit := Index(0)
		for range 60 {
			switch random.IntN(6) {
			case 0, 1, 2: // append, often over the tail
				from := commit + 1 + Index(random.Uint64N(uint64(l.last-commit)+1))
				term := max(twin[from-1], 1) + Term(random.Uint64N(2))
				seq++
				var runs []TermRun
				first := from
				twin, durable = twin[:from], durable[:from]
				for range 1 + random.IntN(5) {
					if random.IntN(4) == 0 {
						term += Term(random.Uint64N(3))
					}
					if n := len(runs); n == 0 || runs[n-1].Term != term {
						runs = append(runs, TermRun{First: from, Term: term})
					}
					twin, durable = append(twin, term), append(durable, int(seq))
					from++
				}
				l.append(first, from-1, runs, seq)
			case 3: // a write ends
				if persisted < seq {
					persisted += 1 + Seq(random.Uint64N(uint64(seq-persisted)))
					l.persisted(persisted)
				}
			case 4: // commit and compact
				commit += Index(random.Uint64N(uint64(l.last-commit) + 1))
				if commit > l.snapshot.ID.Index {
					id := l.id(commit)
					l.truncatePrefix(SnapshotMeta{ID: id}, l.first+Index(random.Uint64N(uint64(commit+2-l.first))))
				}
			case 5: // a snapshot in place of it all
				if random.IntN(5) != 0 {
					continue
				}
				id := EntryID{Term: l.lastID().Term + 1, Index: commit + 1 + Index(random.Uint64N(8))}
				seq++
				l.reset(SnapshotMeta{ID: id}, commit, seq)
				twin = append(slices.Clone(twin[:commit+1]), make([]Term, id.Index-commit)...)
				durable = durable[:commit+1]
				for range id.Index - commit {
					durable = append(durable, int(seq))
				}
				twin[id.Index] = id.Term
				commit = id.Index
			}
			checkTwin(t, &l, twin, durable, persisted, random)
		}
	}
}

func checkTwin(t *testing.T, l *raftLog, twin []Term, durable []int, persisted Seq, random *rand.Rand) {
	t.Helper()
	if int(l.last) != len(twin)-1 {
		t.Fatalf("last %d, want %d", l.last, len(twin)-1)
	}
	for i := range Index(len(twin)) + 2 {
		term, known := l.term(i)
		if want := i+1 >= l.first && i <= l.last; known != want {
			t.Fatalf("entry %d known: %v, want %v in [%d, %d]", i, known, want, l.first, l.last)
		}
		if known && term != twin[i] {
			t.Fatalf("entry %d has term %d, want %d", i, term, twin[i])
		}
	}
	if l.lastID() != l.id(l.last) {
		t.Fatalf("last entry %v, want %v", l.lastID(), l.id(l.last))
	}
	// durable never claims an entry whose write has not ended.
	for i := Index(1); i <= l.durable; i++ {
		if Seq(durable[i]) > persisted {
			t.Fatalf("durable to %d, but entry %d is of write %d and %d ended", l.durable, i, durable[i], persisted)
		}
	}
	all := true
	for i := 1; i < len(durable); i++ {
		all = all && Seq(durable[i]) <= persisted
	}
	if all && l.durable != l.last {
		t.Fatalf("durable to %d of %d although every write ended", l.durable, l.last)
	}
	// The searches, against walking.
	term, at := Term(random.Uint64N(uint64(twin[len(twin)-1])+2)), Index(random.Uint64N(uint64(l.last)+3))
	want := EntryID{Term: l.prevTerm, Index: l.first - 1}
	for i := l.first; i <= min(at, l.last); i++ {
		if twin[i] <= term {
			want = EntryID{Term: twin[i], Index: i}
		}
	}
	if got := l.lastAtMost(term, at); got != want {
		t.Fatalf("last at most term %d at %d: %v, want %v", term, at, got, want)
	}
	prev := l.first - 1 + Index(random.Uint64N(uint64(l.last+2-l.first)))
	last := prev + 1 + Index(random.Uint64N(4))
	var runs []TermRun
	difference := last + 1
	for i, other := prev+1, max(twin[prev], 1); i <= last; i++ {
		if i <= l.last && random.IntN(5) != 0 {
			other = max(other, twin[i])
		} else if random.IntN(2) == 0 {
			other++
		}
		if n := len(runs); n == 0 || runs[n-1].Term != other {
			runs = append(runs, TermRun{First: i, Term: other})
		}
		if difference > last && (i > l.last || twin[i] != other) {
			difference = i
		}
	}
	if got := l.firstDifference(prev, last, runs); got != difference {
		t.Fatalf("(%d, %d] with %v differs first at %d, want %d: %v", prev, last, runs, got, difference, twin)
	}
	var every []TermRun
	for i := prev + 1; i <= l.last; i++ {
		if n := len(every); n == 0 || every[n-1].Term != twin[i] {
			every = append(every, TermRun{First: i, Term: twin[i]})
		}
	}
	if got := l.appendRuns(nil, prev+1, l.last); !slices.Equal(got, every) {
		t.Fatalf("terms of [%d, %d]: %v, want %v", prev+1, l.last, got, every)
	}
}
