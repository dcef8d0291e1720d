package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/store/engine"
)

// History is what Events gives.
type History struct {
	// Commits are the revisions that changed a wanted key, with the wanted events
	// alone.
	Commits []Commit
	// Next is the revision to go on from: all before it are done with.
	Next int64
	// Revision is that of the store; there is no more yet once Next is greater.
	Revision int64
	// Compacted is the revision up to which history is gone.
	Compacted int64
}

// HistoryOptions bounds what Events gives at once.
type HistoryOptions struct {
	// Wanted says which keys' events are wanted.
	Wanted func(key []byte) bool
	// Prev says whether an event of a wanted key is to have its Prev; nil is no.
	Prev func(key []byte) bool
	// Revisions and Bytes bound the revisions that are looked at and the size of
	// their wanted events; the revision that reaches either is the last. 0 or less
	// is 1,000 revisions and 1 MiB.
	Revisions int
	Bytes     int
}

// Events reads history from a revision on, oldest first, all events of a revision
// together and in their order. It refuses with ErrCompacted, and a History that
// says how far, if from was compacted away: compacting up to a revision leaves
// that revision's own events.
func (s *Store) Events(ctx context.Context, from int64, opt HistoryOptions) (History, error) {
	if opt.Revisions <= 0 {
		opt.Revisions = 1000
	}
	if opt.Bytes <= 0 {
		opt.Bytes = 1 << 20
	}
	if err := s.enter(); err != nil {
		return History{}, err
	}
	defer s.exit()
	h := History{Next: max(from, 1), Revision: s.published.Load().revision}
	index, err := s.engine.NewIterator(spaceBounds(spaceRevision))
	if err != nil {
		return h, err
	}
	lower, upper := everything.bounds()
	versions, err := s.engine.NewIterator(lower, upper)
	if err != nil {
		return h, errors.Join(err, index.Close())
	}
	// After the pictures: as in viewed.
	h.Compacted = s.published.Load().compacted
	if h.Next < h.Compacted {
		err = ErrCompacted
	} else {
		err = readHistory(ctx, &h, opt, index, &cursor{it: versions})
	}
	return h, errors.Join(err, index.Close(), versions.Close())
}

func readHistory(ctx context.Context, h *History, opt HistoryOptions, index engine.Iterator, versions *cursor) error {
	ok := h.Next <= h.Revision && index.SeekGE(appendRevisionKey(nil, h.Next))
	size, revisions := 0, 0
	for ; ok; ok = index.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, err := newIndexReader(index.Value())
		if err != nil {
			return err
		}
		for x.next() {
			if x.revision > h.Revision {
				return nil
			}
			if x.revision < h.Next {
				for more := true; more; _, more = x.change() {
				}
				continue
			}
			commit, n, err := readCommit(&x, h.Compacted, opt, versions)
			if err != nil {
				return err
			}
			if len(commit.Events) > 0 {
				h.Commits = append(h.Commits, commit)
			}
			h.Next = x.revision + 1
			size += n
			if revisions++; size >= opt.Bytes || revisions >= opt.Revisions {
				return nil
			}
		}
		if err := x.err(); err != nil {
			return err
		}
	}
	if err := index.Error(); err != nil {
		return err
	}
	h.Next = max(h.Next, h.Revision+1)
	return nil
}

// readCommit gives the wanted events of the revision at which x stands, and
// their size.
func readCommit(x *indexReader, compacted int64, opt HistoryOptions, versions *cursor) (Commit, int, error) {
	commit := Commit{Revision: x.revision}
	var copies arena
	size := 0
	for {
		c, ok := x.change()
		if !ok {
			return commit, size, x.err()
		}
		if opt.Wanted != nil && !opt.Wanted(c.key) {
			continue
		}
		if x.revision == compacted {
			// A version that its own revision replaced went with the compaction.
			last, _, err := versions.get(c.key, x.revision)
			if err != nil {
				return commit, 0, err
			}
			if last.main != x.revision || last.sub != c.sub {
				continue
			}
		}
		e := Event{Type: EventDelete, KV: KeyValue{Key: copies.copy(c.key), ModRevision: x.revision}}
		if !c.deleted {
			v, found, err := versions.at(c.key, x.revision, c.sub)
			if err != nil {
				return commit, 0, err
			}
			if !found {
				return commit, 0, fmt.Errorf("%w: no version %d.%d of key %q", errDamaged, x.revision, c.sub, c.key)
			}
			kv := v.keyValue(e.KV.Key)
			kv.Value = copies.copy(v.value)
			e = Event{KV: kv}
		}
		size += e.KV.size()
		created := !c.deleted && e.KV.CreateRevision == e.KV.ModRevision
		if opt.Prev != nil && opt.Prev(c.key) && !created && x.revision-1 >= compacted {
			v, found, err := versions.get(c.key, x.revision-1)
			if err != nil {
				return commit, 0, err
			}
			if found {
				kv := v.keyValue(e.KV.Key)
				kv.Value = copies.copy(v.value)
				e.Prev = &kv
				size += kv.size()
			}
		}
		commit.Events = append(commit.Events, e)
	}
}

// at gives exactly the version that a change wrote.
func (c *cursor) at(key []byte, main int64, sub uint32) (version, bool, error) {
	c.seek = appendVersionKey(c.seek[:0], key, main, sub)
	if !c.it.SeekPrefixGE(c.seek) {
		return version{}, false, c.it.Error()
	}
	_, m, s, err := splitVersionKey(c.it.Key())
	if err != nil || m != main || s != sub {
		return version{}, false, err
	}
	v, err := decodeVersion(m, s, c.it.Value())
	return v, err == nil, err
}

// PrevOf gives the version of a key before a revision, as an event's Prev: nil if
// there was none or if it was compacted.
func (s *Store) PrevOf(ctx context.Context, key []byte, revision int64) (*KeyValue, error) {
	resp, err := s.Range(ctx, &RangeRequest{Key: key, Revision: revision - 1})
	switch {
	case errors.Is(err, ErrCompacted), revision <= 1:
		return nil, nil
	case err != nil:
		return nil, err
	case len(resp.KVs) == 0:
		return nil, nil
	}
	return &resp.KVs[0], nil
}
