package trace

// log is which terms wrote which entries. Entries up to base are not known, but
// for the term of base itself; a log with base 0 is known whole.
type log struct {
	base     uint64
	baseTerm uint64
	last     uint64
	runs     []run // ordered; the first begins at base+1
}

// run: entries from first on, up to the next run, are of term.
type run struct{ first, term uint64 }

// term gives the term of an entry; not if it is behind the log or unknown.
func (l *log) term(index uint64) (uint64, bool) {
	switch {
	case index == l.base:
		return l.baseTerm, l.base == 0 || l.baseTerm != 0
	case index < l.base || index > l.last:
		return 0, false
	}
	return l.runs[l.runAt(index)].term, true
}

func (l *log) runAt(index uint64) int {
	i := len(l.runs) - 1
	for l.runs[i].first > index {
		i--
	}
	return i
}

func (l *log) lastID() ID {
	term, _ := l.term(l.last)
	return ID{term, l.last}
}

// endsIn reports whether id is the last entry; a term that is not known is learnt.
func (l *log) endsIn(id ID) bool {
	if l.last == id.Index && l.last == l.base && l.base > 0 && l.baseTerm == 0 {
		l.baseTerm = id.Term
	}
	return l.lastID() == id
}

// holds reports whether the log has the entry, or cannot tell.
func (l *log) holds(id ID) bool {
	if id.Index < l.base || id.Index == l.base && l.base > 0 && l.baseTerm == 0 {
		return true
	}
	term, ok := l.term(id.Index)
	return ok && term == id.Term
}

// extend appends entries of a term up to last.
func (l *log) extend(last, term uint64) {
	if last <= l.last {
		return
	}
	if n := len(l.runs); n == 0 || l.runs[n-1].term != term {
		l.runs = append(l.runs, run{l.last + 1, term})
	}
	l.last = last
}

// cut removes the entries after last.
func (l *log) cut(last uint64) {
	if last >= l.last {
		return
	}
	if last < l.base {
		// What is before is not known any more than it was.
		l.base, l.baseTerm = last, 0
	}
	n := len(l.runs)
	for n > 0 && l.runs[n-1].first > last {
		n--
	}
	// The memory of the rest may be another log's.
	l.runs, l.last = l.runs[:n:n], max(last, l.base)
}

// copied shares nothing with l that extend or cut would change.
func (l *log) copied() *log {
	c := *l
	c.runs = append([]run(nil), l.runs...)
	return &c
}

// upTo gives the log without what is after last.
func (l *log) upTo(last uint64) *log {
	c := l.copied()
	c.cut(last)
	return c
}

// common gives the last index up to which two logs are equal: by Log Matching,
// the last that both hold with the same term. What one of them does not know is
// taken to be equal.
func common(a, b *log) uint64 {
	i := min(a.last, b.last)
	for i > max(a.base, b.base) {
		ra, rb := a.runs[a.runAt(i)], b.runs[b.runAt(i)]
		switch {
		case ra.term == rb.term:
			return i
		case ra.term > rb.term:
			i = ra.first - 1
		default:
			i = rb.first - 1
		}
	}
	return i
}
