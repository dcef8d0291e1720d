package raft

import "github.com/quorate/quorate/internal/invariant"

// handleAppendEntries is Figure 2, AppendEntries RPC, receiver implementation:
//
//  1. refuse a leader of an older term;
//  2. refuse unless the log holds the entry before those carried;
//  3. delete an entry that conflicts with one carried, and all that follow it;
//  4. append those that are not in the log;
//  5. advance commitIndex to what the leader committed of what is now known to
//     be equal.
//
// A success promises that the log is durable up to Match. What is in memory only
// is promised for after the write; the contact itself is answered at once, so that
// a slow disk delays no round.
func (r *Raft) handleAppendEntries(from NodeID, m *AppendEntries) {
	if m.Term < r.currentTerm {
		// The sender of an older term learns of the newer one, also when nobody
		// else would tell it (EL-17).
		r.event(Event{Kind: AppendRefused, Reason: OlderTerm, Peer: from, ID: m.Prev})
		r.reply(from, &AppendEntriesResponse{Term: r.currentTerm, Prev: m.Prev.Index}, true)
		return
	}
	r.followLeader(from)

	if missing := r.checkPrevious(m.Prev); missing != noReason {
		hint := r.hint(m.Prev)
		r.event(Event{Kind: AppendRefused, Reason: missing, Peer: from, ID: m.Prev, Own: hint})
		r.reply(from, &AppendEntriesResponse{
			Term: r.currentTerm, Round: m.Round, Prev: m.Prev.Index, Hint: hint,
		}, true)
		return
	}

	if first := r.log.firstDifference(m.Prev.Index, m.Last, m.Runs); first <= m.Last {
		r.appendFrom(from, m, first)
	} else {
		r.event(Event{Kind: Heard, Reason: PreviousMatches, Peer: from, ID: m.Prev})
	}
	// Never beyond what this message showed to be equal (RP-07).
	r.commit(min(m.Commit, m.Last), LeaderCommitted)
	r.acknowledge(from, m)
}

// followLeader recognises the sender as the leader of the current term (EL-10).
func (r *Raft) followLeader(from NodeID) {
	if r.state == Leader || r.leader != None && r.leader != from {
		invariant.Failf("replica %d: %d leads term %d, and so does %d (EL-24)", r.id, r.leader, r.currentTerm, from)
	}
	if r.state != Follower {
		r.becomeFollower(r.currentTerm, from, LeaderOfTerm, from)
	}
	r.heardLeader(from)
}

// checkPrevious is the consistency check (§5.3): it gives no reason if the log
// holds prev. What is committed matches any leader's log, so what is compacted
// does too (RP-03).
func (r *Raft) checkPrevious(prev EntryID) Reason {
	if prev.Index > r.log.last {
		return PreviousMissing
	}
	term, known := r.log.term(prev.Index)
	if known && term == prev.Term || !known {
		return noReason
	}
	if prev.Index <= r.commitIndex {
		invariant.Failf("replica %d: committed entry %d has term %d, in the log of the leader of term %d it has %d (RP-05)",
			r.id, prev.Index, term, r.currentTerm, prev.Term)
	}
	return PreviousConflicts
}

// hint tells the leader where to look next: the last entry that may be equal to
// its own, and at least all that is committed here (RP-08).
func (r *Raft) hint(prev EntryID) EntryID {
	hint := r.log.lastAtMost(prev.Term, prev.Index)
	if hint.Index < r.commitIndex {
		hint = r.log.id(r.commitIndex)
	}
	return hint
}

// appendFrom appends the entries of m from first on. The log ends before first,
// or has another entry there: it and all after it go in the same write (RP-04,
// PS-06). A shorter message truncates nothing.
func (r *Raft) appendFrom(from NodeID, m *AppendEntries, first Index) {
	if first <= r.commitIndex {
		invariant.Failf("replica %d: entries of %d conflict at %d with commitIndex %d (RP-05)",
			r.id, from, first, r.commitIndex)
	}
	configurations := len(r.log.configurations)
	if first <= r.log.last {
		r.event(Event{Kind: Truncated, Reason: EntriesConflict, Index: first})
		r.log.truncateSuffix(first)
		if len(r.log.configurations) < configurations {
			r.adoptConfiguration()
			r.event(Event{Kind: ConfigurationChanged, Reason: EntriesConflict, ID: r.log.configuration().ID, Voters: r.votersNow()})
		}
	}
	r.appendToLog(first, m.Last, m.Runs, FromMessage)
	for i := range m.Configurations {
		if m.Configurations[i].ID.Index >= first {
			r.log.configurations = append(r.log.configurations, m.Configurations[i])
			r.adoptConfiguration()
			r.event(Event{Kind: ConfigurationChanged, ID: m.Configurations[i].ID, Voters: r.votersNow()})
		}
	}
	r.event(Event{Kind: Appended, Reason: PreviousMatches, Peer: from, ID: m.Prev, Index: m.Last})
}

// appendToLog appends [first, last] here and in this step's write.
func (r *Raft) appendToLog(first, last Index, runs []TermRun, source Source) {
	p := r.persist()
	r.log.append(first, last, runs, p.Seq)
	p.First, p.Last, p.Source = first, last, source
	r.runs = r.log.appendRuns(r.runs, first, last)
	p.Runs = r.runs
}

// acknowledge answers a successful AppendEntries: Match never exceeds what the
// message covered (RP-06) nor what is durable when the answer leaves (PS-02).
func (r *Raft) acknowledge(from NodeID, m *AppendEntries) {
	now := min(m.Last, r.log.durable)
	if m.Last == m.Prev.Index || now == m.Last {
		r.reply(from, &AppendEntriesResponse{
			Term: r.currentTerm, Success: true, Match: now, Round: m.Round, Prev: m.Prev.Index,
		}, true)
	}
	if now == m.Last || m.Last <= r.promised && m.Last == m.Prev.Index {
		return
	}
	r.promised = max(r.promised, m.Last)
	r.reply(from, &AppendEntriesResponse{
		Term: r.currentTerm, Success: true, Match: m.Last, Round: m.Round, Prev: m.Prev.Index,
	}, false)
}
