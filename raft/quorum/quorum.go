// Package quorum decides what a majority agreed on, or both majorities of a joint
// configuration (§4.3). It knows voters and their answers and nothing else: who
// is a voter, and what an answer means, is the caller's business.
package quorum

import "cmp"

// Voters are those whose majority decides. While Outgoing is not empty a decision
// needs a majority of Incoming and, separately, one of Outgoing. Nobody decides
// anything for a Voters without Incoming.
type Voters[ID cmp.Ordered] struct {
	Incoming, Outgoing []ID
}

// Vote is one voter's answer.
type Vote uint8

// The answers.
const (
	Pending Vote = iota
	Granted
	Refused
)

// Result is what the votes amount to.
type Result uint8

// The results. Lost means that no further answer can still make it Won.
const (
	Undecided Result = iota
	Won
	Lost
)

// String gives the result's name.
func (r Result) String() string {
	switch r {
	case Undecided:
		return "undecided"
	case Won:
		return "won"
	case Lost:
		return "lost"
	}
	return "unknown result"
}

// Contains reports whether id is a voter of either half.
func (v Voters[ID]) Contains(id ID) bool {
	for _, voter := range v.Incoming {
		if voter == id {
			return true
		}
	}
	for _, voter := range v.Outgoing {
		if voter == id {
			return true
		}
	}
	return false
}

// Sole reports whether id alone is the quorum.
func (v Voters[ID]) Sole(id ID) bool {
	return len(v.Incoming) == 1 && v.Incoming[0] == id &&
		(len(v.Outgoing) == 0 || len(v.Outgoing) == 1 && v.Outgoing[0] == id)
}

// Agreed gives the greatest value that every needed majority has reached, where
// value tells how far one voter is. It is zero if there are no voters.
func (v Voters[ID]) Agreed(value func(ID) uint64) uint64 {
	if len(v.Incoming) == 0 {
		return 0
	}
	agreed := majority(v.Incoming, value)
	if len(v.Outgoing) > 0 {
		agreed = min(agreed, majority(v.Outgoing, value))
	}
	return agreed
}

// majority gives the greatest value that a majority of voters has reached.
func majority[ID cmp.Ordered](voters []ID, value func(ID) uint64) uint64 {
	// The usual group fits on the stack; only a larger one allocates.
	var few [9]uint64
	values := few[:0]
	for _, id := range voters {
		values = append(values, value(id))
		for i := len(values) - 1; i > 0 && values[i] > values[i-1]; i-- {
			values[i], values[i-1] = values[i-1], values[i]
		}
	}
	// Descending: the element in the middle has a majority at or above it.
	return values[len(values)/2]
}

// Decide counts votes: Won needs a majority in each half, Lost is certain as soon
// as one half cannot reach its majority. It is Undecided without voters.
func (v Voters[ID]) Decide(vote func(ID) Vote) Result {
	if len(v.Incoming) == 0 {
		return Undecided
	}
	result := decide(v.Incoming, vote)
	if len(v.Outgoing) == 0 || result == Lost {
		return result
	}
	switch decide(v.Outgoing, vote) {
	case Won:
		return result
	case Lost:
		return Lost
	default:
		return Undecided
	}
}

// decide counts the votes of one half.
func decide[ID cmp.Ordered](voters []ID, vote func(ID) Vote) Result {
	granted, refused := 0, 0
	for _, id := range voters {
		switch vote(id) {
		case Granted:
			granted++
		case Refused:
			refused++
		}
	}
	needed := len(voters)/2 + 1
	switch {
	case granted >= needed:
		return Won
	case len(voters)-refused < needed:
		return Lost
	}
	return Undecided
}
