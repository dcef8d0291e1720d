package raft

import "slices"

// raftLog is the shape of the log: which term wrote which range of indexes, where
// it begins and ends, how much of it is durable, and the configurations in it. It
// holds no entry, so no operation costs work per entry.
type raftLog struct {
	// snapshot is what the log rests on: first-1 <= snapshot.ID.Index <= last.
	snapshot SnapshotMeta
	// The entries are [first, last]; last is first-1 if there is none.
	first, last Index
	// prevTerm is the term of the entry at first-1, so that the consistency
	// check works at the boundary (SN-04).
	prevTerm Term
	// runs are ordered by First and by Term, each Term once. runs[0].First is
	// first unless the log is empty.
	runs []TermRun
	// configurations are those of the entries in (snapshot.ID.Index, last].
	configurations []ConfigurationEntry
	// durable: the entries up to here are on disk as the log has them now. It
	// falls when they are truncated. It may be below first-1 while a reset or
	// an entry that was committed by others is on its way to the disk.
	durable Index
	// pending are the writes that were issued and are not yet durable, in order.
	pending []pendingWrite
}

// pendingWrite says what becomes durable with a write: everything up to last, as
// the log has it now. A truncation lowers it, so that the completion of a write
// whose entries were replaced does not vouch for the replacement (PS-08).
type pendingWrite struct {
	seq  Seq
	last Index
}

// runAt gives the position in runs of the run that index belongs to. The index is
// in [first, last].
func (l *raftLog) runAt(index Index) int {
	low, high := 0, len(l.runs)-1
	if l.runs[high].First <= index {
		return high
	}
	// runs[low].First <= index < runs[high].First
	for high-low > 1 {
		middle := int(uint(low+high) >> 1)
		if l.runs[middle].First <= index {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// runEnd gives the last index of runs[i].
func (l *raftLog) runEnd(i int) Index {
	if i+1 < len(l.runs) {
		return l.runs[i+1].First - 1
	}
	return l.last
}

// term gives the term of the entry at index, if the log still knows it (SN-13).
func (l *raftLog) term(index Index) (Term, bool) {
	switch {
	case index >= l.first && index <= l.last:
		return l.runs[l.runAt(index)].Term, true
	case index+1 == l.first:
		return l.prevTerm, true
	}
	return 0, false
}

// id gives the entry at index, which must be in [first-1, last].
func (l *raftLog) id(index Index) EntryID {
	term, _ := l.term(index)
	return EntryID{Term: term, Index: index}
}

// lastID gives the last entry, or the one before the log if it is empty.
func (l *raftLog) lastID() EntryID {
	if len(l.runs) == 0 {
		return EntryID{Term: l.prevTerm, Index: l.last}
	}
	return EntryID{Term: l.runs[len(l.runs)-1].Term, Index: l.last}
}

// appendRuns appends to dst the runs of [first, last], which must lie in the log.
func (l *raftLog) appendRuns(dst []TermRun, first, last Index) []TermRun {
	if first > last {
		return dst
	}
	i := l.runAt(first)
	dst = append(dst, TermRun{First: first, Term: l.runs[i].Term})
	for i++; i < len(l.runs) && l.runs[i].First <= last; i++ {
		dst = append(dst, l.runs[i])
	}
	return dst
}

// firstDifference gives the first index in (prev, last] where the log ends or has
// another term than runs say, or last+1 if it holds them all. Of what is below
// first only the last entry is known; it is behind a snapshot, so committed and
// equal.
func (l *raftLog) firstDifference(prev, last Index, runs []TermRun) Index {
	index := max(prev+1, l.first-1)
	for i, run := range runs {
		end := last
		if i+1 < len(runs) {
			end = runs[i+1].First - 1
		}
		for index <= end {
			if index+1 == l.first {
				if l.prevTerm != run.Term {
					return index
				}
				index++
				continue
			}
			if index > l.last {
				return index
			}
			own := l.runAt(index)
			if l.runs[own].Term != run.Term {
				return index
			}
			index = min(end, l.runEnd(own)) + 1
		}
	}
	return last + 1
}

// lastAtMost gives the last entry at or below index whose term is not newer than
// term, or the entry before the log if there is none (RP-08).
func (l *raftLog) lastAtMost(term Term, index Index) EntryID {
	index = min(index, l.last)
	if index < l.first {
		return EntryID{Term: l.prevTerm, Index: l.first - 1}
	}
	for i := l.runAt(index); i >= 0; i-- {
		if l.runs[i].Term <= term {
			return EntryID{Term: l.runs[i].Term, Index: min(index, l.runEnd(i))}
		}
	}
	return EntryID{Term: l.prevTerm, Index: l.first - 1}
}

// append replaces what the log holds at first and after by [first, last], as the
// write seq does on disk.
func (l *raftLog) append(first, last Index, runs []TermRun, seq Seq) {
	l.truncateSuffix(first)
	for i, run := range runs {
		end := last
		if i+1 < len(runs) {
			end = runs[i+1].First - 1
		}
		if end < first {
			continue
		}
		if n := len(l.runs); n == 0 || l.runs[n-1].Term != run.Term {
			l.runs = append(l.runs, TermRun{First: max(run.First, first), Term: run.Term})
		}
	}
	l.last = last
	l.pending = append(l.pending, pendingWrite{seq: seq, last: last})
}

// truncateSuffix removes the entries from first on. What was promised durable of
// them no longer is.
func (l *raftLog) truncateSuffix(first Index) {
	if first > l.last {
		return
	}
	for len(l.runs) > 0 && l.runs[len(l.runs)-1].First >= first {
		l.runs = l.runs[:len(l.runs)-1]
	}
	for n := len(l.configurations); n > 0 && l.configurations[n-1].ID.Index >= first; n-- {
		l.configurations = l.configurations[:n-1]
	}
	l.last = first - 1
	l.forgetDurable(first - 1)
}

// forgetDurable: of what is or will become durable, only that up to last still is
// what the log says.
func (l *raftLog) forgetDurable(last Index) {
	l.durable = min(l.durable, last)
	for i := range l.pending {
		l.pending[i].last = min(l.pending[i].last, last)
	}
}

// truncatePrefix makes the log rest on snapshot and begin at first, which is in
// (l.first-1, snapshot.ID.Index+1].
func (l *raftLog) truncatePrefix(snapshot SnapshotMeta, first Index) {
	if first > l.first {
		l.prevTerm = l.id(first - 1).Term
		drop := 0
		for drop < len(l.runs) && l.runEnd(drop) < first {
			drop++
		}
		l.runs = slices.Delete(l.runs, 0, drop)
		if len(l.runs) > 0 {
			l.runs[0].First = first
		}
		l.first = first
	}
	l.rest(snapshot)
}

// rest makes snapshot what the log rests on.
func (l *raftLog) rest(snapshot SnapshotMeta) {
	l.snapshot = snapshot
	drop := 0
	for drop < len(l.configurations) && l.configurations[drop].ID.Index <= snapshot.ID.Index {
		drop++
	}
	l.configurations = slices.Delete(l.configurations, 0, drop)
}

// reset replaces the whole log by snapshot, as the write seq does on disk. What
// is durable of the old log counts only up to commitIndex: that much the
// snapshot's log has too.
func (l *raftLog) reset(snapshot SnapshotMeta, commitIndex Index, seq Seq) {
	l.forgetDurable(commitIndex)
	l.runs = l.runs[:0]
	l.configurations = l.configurations[:0]
	l.first, l.last = snapshot.ID.Index+1, snapshot.ID.Index
	l.prevTerm = snapshot.ID.Term
	l.snapshot = snapshot
	l.pending = append(l.pending, pendingWrite{seq: seq, last: snapshot.ID.Index})
}

// persisted: the writes up to seq are durable. It reports whether entries were
// among them.
func (l *raftLog) persisted(seq Seq) bool {
	done := 0
	for done < len(l.pending) && l.pending[done].seq <= seq {
		l.durable = max(l.durable, l.pending[done].last)
		done++
	}
	l.pending = slices.Delete(l.pending, 0, done)
	return done > 0
}

// configuration gives the latest configuration in the log, committed or not, else
// the snapshot's (MB-01, MB-02).
func (l *raftLog) configuration() *ConfigurationEntry {
	if n := len(l.configurations); n > 0 {
		return &l.configurations[n-1]
	}
	return &l.snapshot.Configuration
}

// configurationAt gives the configuration in force at index, which is not below
// the snapshot.
func (l *raftLog) configurationAt(index Index) *ConfigurationEntry {
	for i := len(l.configurations) - 1; i >= 0; i-- {
		if l.configurations[i].ID.Index <= index {
			return &l.configurations[i]
		}
	}
	return &l.snapshot.Configuration
}

// clone is a deep copy.
func (l *raftLog) clone() raftLog {
	c := *l
	c.runs = slices.Clone(l.runs)
	c.configurations = slices.Clone(l.configurations)
	c.pending = slices.Clone(l.pending)
	return c
}
