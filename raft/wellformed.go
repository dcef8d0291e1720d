package raft

import (
	"errors"
	"fmt"
)

// Terms and indexes from outside stay below these, so that sums do not overflow.
const (
	maxTerm  Term  = 1 << 62
	maxIndex Index = 1 << 62
)

// validateRuns checks that runs are the terms of [first, last], none older than
// prevTerm.
func validateRuns(prevTerm Term, first, last Index, runs []TermRun) error {
	if len(runs) == 0 || runs[0].First != first {
		return fmt.Errorf("terms of [%d, %d] do not begin there", first, last)
	}
	if runs[0].Term < max(prevTerm, 1) {
		return fmt.Errorf("entry %d has term %d after term %d", first, runs[0].Term, prevTerm)
	}
	for i := 1; i < len(runs); i++ {
		if runs[i].First <= runs[i-1].First || runs[i].Term <= runs[i-1].Term {
			return fmt.Errorf("term %d from %d does not follow term %d from %d",
				runs[i].Term, runs[i].First, runs[i-1].Term, runs[i-1].First)
		}
	}
	if end := runs[len(runs)-1]; end.First > last || end.Term > maxTerm {
		return fmt.Errorf("term %d from %d is outside [%d, %d]", end.Term, end.First, first, last)
	}
	return nil
}

// validateConfigurations checks that configurations are of entries of l, in order.
func validateConfigurations(l *raftLog, configurations []ConfigurationEntry) error {
	var before Index
	for i := range configurations {
		id := configurations[i].ID
		if id.Index < l.first || id.Index > l.last || id.Index <= before || l.id(id.Index) != id {
			return fmt.Errorf("configuration %v is not of an entry, or out of order", id)
		}
		if err := configurations[i].Configuration.Validate(); err != nil {
			return fmt.Errorf("configuration %v: %w", id, err)
		}
		before = id.Index
	}
	return nil
}

// Validate reports what makes c no configuration: members out of order or
// nameless, unknown roles, nobody who could vote.
func (c *Configuration) Validate() error {
	var before NodeID
	voters := 0
	for i := range c.Members {
		m := &c.Members[i]
		if m.ID <= before {
			return fmt.Errorf("member %d after %d", m.ID, before)
		}
		before = m.ID
		switch m.Role {
		case Voter:
			voters++
		case Learner:
		default:
			return fmt.Errorf("member %d is an %v", m.ID, m.Role)
		}
	}
	if voters == 0 {
		return errors.New("no voter")
	}
	before = None
	for _, id := range c.Outgoing {
		if id <= before {
			return fmt.Errorf("outgoing voter %d after %d", id, before)
		}
		before = id
	}
	return nil
}

// validate reports what makes s no snapshot.
func (s *SnapshotMeta) validate() error {
	if s.ID.Index == 0 || s.ID.Index > maxIndex || s.ID.Term == 0 || s.ID.Term > maxTerm {
		return fmt.Errorf("covers nothing or too much: %v", s.ID)
	}
	configuration := &s.Configuration
	if configuration.ID.Index > s.ID.Index || configuration.ID.Term > s.ID.Term {
		return fmt.Errorf("configuration %v is newer than %v", configuration.ID, s.ID)
	}
	// A group whose first entries are no configuration is passive but legal.
	if configuration.ID != (EntryID{}) || len(configuration.Configuration.Members) > 0 {
		if err := configuration.Configuration.Validate(); err != nil {
			return fmt.Errorf("configuration %v: %w", configuration.ID, err)
		}
	}
	return nil
}

// wellFormed reports whether a body can have come from a replica at all. It says
// nothing about truth: it keeps arithmetic in range and ranges in order.
func wellFormed(body Body) bool {
	if body == nil || body.MessageTerm() > maxTerm {
		return false
	}
	switch m := body.(type) {
	case *PreVote:
		return m.LastLog.Term < m.Term && m.LastLog.Index <= maxIndex
	case *RequestVote:
		return m.LastLog.Term < m.Term && m.LastLog.Index <= maxIndex
	case *AppendEntries:
		return m.wellFormed()
	case *AppendEntriesResponse:
		return m.Match <= maxIndex && m.Prev <= maxIndex && m.Hint.Index <= maxIndex
	case *InstallSnapshot:
		return m.Snapshot.ID.Term <= m.Term && m.Snapshot.validate() == nil
	case *InstallSnapshotResponse:
		return m.Match <= maxIndex
	case *ReadIndexResponse:
		return m.Index <= maxIndex
	case *PreVoteResponse, *RequestVoteResponse, *TimeoutNow, *ReadIndexRequest:
		return true
	}
	return false
}

// wellFormed checks the ranges of m against each other (RP-02).
func (m *AppendEntries) wellFormed() bool {
	if m.Term == 0 || m.Prev.Index > maxIndex || m.Last > maxIndex || m.Last < m.Prev.Index ||
		m.Prev.Term > m.Term || (m.Prev.Index == 0) != (m.Prev.Term == 0) {
		return false
	}
	if m.Last == m.Prev.Index {
		return len(m.Runs) == 0 && len(m.Configurations) == 0
	}
	if validateRuns(m.Prev.Term, m.Prev.Index+1, m.Last, m.Runs) != nil ||
		m.Runs[len(m.Runs)-1].Term > m.Term {
		return false
	}
	if len(m.Configurations) == 0 {
		return true
	}
	carried := raftLog{first: m.Prev.Index + 1, last: m.Last, prevTerm: m.Prev.Term, runs: m.Runs}
	return validateConfigurations(&carried, m.Configurations) == nil
}
