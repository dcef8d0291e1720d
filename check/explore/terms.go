package explore

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/quorate/quorate/raft"
)

// terms is a log by the terms of its entries, from index 1 on, four bits each;
// what a snapshot covers stays in it. That is all there is to know of a log here:
// a term has one leader, which never overwrites its own entries (both are
// checked), so term and index name an entry, whatever it carries.
type terms uint64

// What four bits and sixteen places bound.
const (
	termBits = 4
	maxTerms = 1<<termBits - 1
	maxIndex = 64 / termBits
	lowBits  = 0x1111_1111_1111_1111
)

// at gives the term of the entry at index, zero if there is none.
func (t terms) at(index raft.Index) raft.Term {
	if index == 0 || index > maxIndex {
		return 0
	}
	return raft.Term(t >> (termBits * (index - 1)) & maxTerms)
}

// last gives the index of the last entry.
func (t terms) last() raft.Index {
	return raft.Index(bits.Len64(uint64(t))+termBits-1) / termBits
}

// lastID names the last entry.
func (t terms) lastID() raft.EntryID {
	last := t.last()
	return raft.EntryID{Term: t.at(last), Index: last}
}

// prefix gives the entries up to index.
func (t terms) prefix(index raft.Index) terms {
	if index >= maxIndex {
		return t
	}
	return t & (1<<(termBits*index) - 1)
}

// with gives t with an entry of term at index, which follows its end.
func (t terms) with(index raft.Index, term raft.Term) terms {
	return t | terms(term)<<(termBits*(index-1))
}

// holds reports whether t begins with all of other.
func (t terms) holds(other terms) bool { return t.prefix(other.last()) == other }

// matches is Log Matching: if t and other hold the same entry, they hold the same
// entries before it.
func (t terms) matches(other terms) bool {
	x := uint64(t ^ other)
	if x == 0 {
		return true
	}
	// Behind the first difference no two entries are equal.
	behind := ^uint64(0) << (bits.TrailingZeros64(x) / termBits * termBits)
	differ := (x | x>>1 | x>>2 | x>>3) & lowBits
	u := uint64(t)
	filled := (u | u>>1 | u>>2 | u>>3) & lowBits
	return ^differ&filled&behind == 0
}

// runs gives the terms of [first, last] as raft.Restored has them.
func (t terms) runs(first, last raft.Index) []raft.TermRun {
	var runs []raft.TermRun
	for index := first; index <= last; index++ {
		if n := len(runs); n == 0 || runs[n-1].Term != t.at(index) {
			runs = append(runs, raft.TermRun{First: index, Term: t.at(index)})
		}
	}
	return runs
}

// String gives the terms in order, as "1 1 2".
func (t terms) String() string {
	var out []string
	for index := raft.Index(1); index <= t.last(); index++ {
		out = append(out, fmt.Sprint(t.at(index)))
	}
	return "[" + strings.Join(out, " ") + "]"
}
