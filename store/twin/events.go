package twin

import (
	"bytes"
	"slices"

	"github.com/quorate/quorate/store"
)

// Events gives what the revisions [from, to] changed of the keys that are wanted,
// all of a revision together, with what each change replaced. What compaction took
// is there still.
func (m *Twin) Events(from, to int64, wanted func(key []byte) bool) []store.Commit {
	from, to = max(from, 2), min(to, m.Revision)
	if from > to {
		return nil
	}
	var commits []store.Commit
	for i := m.ends[from-1]; i < m.ends[to]; i++ {
		c := &m.changes[i]
		if wanted != nil && !wanted(c.kv.Key) {
			continue
		}
		e := store.Event{KV: c.kv}
		if c.deleted {
			e = store.Event{Type: store.EventDelete, KV: store.KeyValue{Key: c.kv.Key, ModRevision: c.revision}}
		}
		if prev, ok := m.at(c.key, c.revision-1); ok && (c.deleted || c.kv.CreateRevision != c.revision) {
			e.Prev = &prev
		}
		if n := len(commits); n == 0 || commits[n-1].Revision != c.revision {
			commits = append(commits, store.Commit{Revision: c.revision})
		}
		last := &commits[len(commits)-1]
		last.Events = append(last.Events, e)
	}
	return commits
}

// History is Events as a store gives them, from a revision on, or false if some of
// it may have been compacted.
func (m *Twin) History(from int64, prevs bool) ([]store.Commit, bool) {
	if from < m.Compacted {
		return nil, false
	}
	commits := m.Events(from, m.Revision, nil)
	for i := range commits {
		c := &commits[i]
		if c.Revision == m.Compacted {
			c.Events = Newest(c.Events)
		}
		for j := range c.Events {
			if !prevs || c.Revision-1 < m.Compacted {
				c.Events[j].Prev = nil
			}
		}
	}
	return commits, true
}

// Newest gives the last event of each key, in order: what is left of a revision when it
// is compacted. A version that its own revision replaced goes with the compaction.
func Newest(events []store.Event) []store.Event {
	var kept []store.Event
	for i, e := range events {
		if !slices.ContainsFunc(events[i+1:], func(later store.Event) bool { return bytes.Equal(e.KV.Key, later.KV.Key) }) {
			kept = append(kept, e)
		}
	}
	return kept
}
