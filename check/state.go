package check

import "github.com/quorate/quorate/raft"

// Bounds are what a run is to keep within.
type Bounds struct {
	// InFlightMessages and InFlightBytes bound what a leader has under way to one
	// follower (B-29); zero is no bound.
	InFlightMessages, InFlightBytes int
	// Votes has every election counted: a leader has the votes of a majority of
	// the group's first members, each given to it alone (B-18: then nobody else can
	// win the term, and only its leader's entries bear it).
	Votes bool
	// Transitions has the states of each step judged (B-31): for a run of which
	// every step is observed.
	Transitions bool
}

// Bound sets what is to be kept within.
func (g *Group) Bound(b Bounds) { g.bounds = b }

// checkVotes is B-18, at the moment from which on entries of the term may exist.
func (g *Group) checkVotes(r *replicaHistory, term raft.Term) {
	if !g.bounds.Votes {
		return
	}
	votes := 0
	for _, n := range g.nodes {
		if candidate, ok := n.grants[term]; ok && candidate == r.id {
			votes++
		}
	}
	if votes <= len(g.nodes)/2 {
		g.Fail(r.id, CandidateTerm, "becomes leader of term %d with %d votes of %d", term, votes, len(g.nodes))
	}
}

// checkTransition is B-31: the states that may follow each other in one step.
func (g *Group) checkTransition(r *replicaHistory, s *raft.Status) {
	if !g.bounds.Transitions {
		return
	}
	from, to := r.status.State, s.State
	allowed := from == to || to == raft.Follower
	switch from {
	case raft.Follower:
		allowed = allowed || to != raft.Leader || len(g.nodes) == 1
	case raft.PreCandidate:
		allowed = allowed || to == raft.Candidate || len(g.nodes) == 1
	case raft.Candidate:
		allowed = true
	case raft.Leader:
		if to == raft.Leader && s.HardState.CurrentTerm != r.status.HardState.CurrentTerm {
			allowed = false
		}
	}
	if !allowed {
		g.Fail(r.id, StateTransitions, "%v of term %d becomes %v of term %d in one step", from, r.status.HardState.CurrentTerm, to, s.HardState.CurrentTerm)
	}
}

// checkConfiguration is B-15: the configuration in force is the newest in the log,
// or in what precedes it.
func (g *Group) checkConfiguration(r *replicaHistory, s *raft.Status) {
	last := r.live.last()
	if last == nil || s.Configuration.ID.Index == 0 {
		return
	}
	if want := last.configuration; want != nil && want.ID != s.Configuration.ID {
		g.Fail(r.id, ConfigurationInUse, "configuration %v is in force, the log's newest is %v", s.Configuration.ID, want.id())
	}
}
