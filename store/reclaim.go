package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/quorate/quorate/store/engine"
)

// A reclaimer deletes from the engine what a compaction made superfluous, a few
// records at a time, while everything else goes on. Nobody sees what it does:
// reads before the compacted revision are refused as soon as the compaction is
// published, and what a read at it or later can see is never deleted. So replicas
// may be at different places.
//
// It walks through the revisions in order, up to the compacted one. A put
// supersedes the version before it; so does a deletion, which goes itself unless
// it is of the compacted revision, whose events can still be asked for. Each
// version is thus deleted by the one that comes after it, and nothing is looked
// for among what was deleted.
type reclaimer struct {
	// at is the revision to look at next, and change how many of its changes were
	// looked at.
	at     int64
	change int
	// through is the compaction that was carried through. It is not kept: after a
	// start the compacted revision is looked at once more.
	through int64
}

func (c *reclaimer) load(r engine.Reader) error {
	*c = reclaimer{at: 1}
	b, ok, err := r.Get(nil, reclaimedKey)
	if err != nil || !ok {
		return err
	}
	d := reader{b: b}
	if v := d.byte(); v != recordVersion {
		return fmt.Errorf("%w: reclaimed of version %d", ErrUnknownVersion, v)
	}
	c.at, c.change = d.int(), int(d.uint())
	if !d.done() {
		return fmt.Errorf("%w: reclaimed", errDamaged)
	}
	return nil
}

func (c *reclaimer) record() []byte {
	return appendUint(appendInt([]byte{recordVersion}, c.at), uint64(c.change))
}

// pending reports whether there is anything to do up to the compacted revision.
// That revision's own deletions stay, so it is looked at again by the next
// compaction.
func (c *reclaimer) pending(compacted int64) bool { return c.through < compacted }

// finish notes that all up to the compacted revision was looked at.
func (c *reclaimer) finish(compacted int64) {
	c.at, c.change, c.through = max(c.at, compacted), 0, compacted
}

// step looks at no more than about most changes and puts deletions into batch. It
// takes their size off total.
func (c *reclaimer) step(s *Store, batch engine.Batch, most int, total *int64) error {
	compacted := s.published.Load().compacted
	if most <= 0 || !c.pending(compacted) {
		return nil
	}
	index, err := s.engine.NewIterator(spaceBounds(spaceRevision))
	if err != nil {
		return err
	}
	lower, upper := everything.bounds()
	versions, err := s.engine.NewIterator(lower, upper)
	if err != nil {
		return errors.Join(err, index.Close())
	}
	w := reclaimWalk{c: c, batch: batch, compacted: compacted, left: most, cur: cursor{it: versions}}
	err = w.run(index)
	*total -= w.freed
	batch.Set(reclaimedKey, c.record())
	return errors.Join(err, index.Close(), versions.Close())
}

type reclaimWalk struct {
	c         *reclaimer
	batch     engine.Batch
	compacted int64
	left      int
	cur       cursor
	freed     int64
}

func (w *reclaimWalk) run(index engine.Iterator) error {
	c := w.c
	for ok := index.SeekGE(appendRevisionKey(nil, c.at)); ok; ok = index.Next() {
		x, err := newIndexReader(index.Value())
		if err != nil {
			return err
		}
		for x.next() {
			if x.revision > w.compacted {
				c.finish(w.compacted)
				return nil
			}
			if more, err := w.revision(&x); err != nil || !more {
				return err
			}
		}
		if err := x.err(); err != nil {
			return err
		}
		if x.revision < w.compacted {
			w.batch.Delete(index.Key())
		}
	}
	if err := index.Error(); err != nil {
		return err
	}
	c.finish(w.compacted)
	return nil
}

// revision looks at the changes of one revision, and reports whether it got
// through.
func (w *reclaimWalk) revision(x *indexReader) (bool, error) {
	c := w.c
	for {
		change, ok := x.change()
		if !ok {
			break
		}
		if x.revision < c.at || x.revision == c.at && int(change.sub) < c.change {
			continue
		}
		if w.left <= 0 {
			c.at, c.change = x.revision, int(change.sub)
			return false, nil
		}
		w.left--
		if err := w.supersede(x.revision, change); err != nil {
			return false, err
		}
	}
	if err := x.err(); err != nil {
		return false, err
	}
	if x.revision < w.compacted && x.revision >= c.at {
		c.at, c.change = x.revision+1, 0
	}
	return true, nil
}

// supersede deletes what a change made superfluous.
func (w *reclaimWalk) supersede(main int64, c indexChange) error {
	w.cur.seek = appendVersionKey(w.cur.seek[:0], c.key, main, c.sub)
	if !w.cur.it.SeekPrefixGE(w.cur.seek) {
		return w.cur.it.Error()
	}
	if bytes.Equal(w.cur.it.Key(), w.cur.seek) {
		v, err := decodeVersion(main, c.sub, w.cur.it.Value())
		if err != nil {
			return err
		}
		switch {
		case v.deleted && main < w.compacted:
			w.delete(c.key)
		case !v.deleted && v.create == main && v.version == 1:
			// It came after a deletion, or after nothing.
			return nil
		}
		if !w.cur.it.Next() {
			return w.cur.it.Error()
		}
	}
	w.delete(c.key)
	return nil
}

// delete deletes the version at which the cursor is.
func (w *reclaimWalk) delete(key []byte) {
	k := w.cur.it.Key()
	w.batch.Delete(k)
	w.freed += int64(len(key) + suffixLen)
	if value := w.cur.it.Value(); len(value) > 0 {
		if v, err := decodeVersion(0, 0, value); err == nil {
			w.freed += int64(len(v.value))
		}
	}
}

// Reclaim deletes some of what compactions made superfluous, looking at no more
// than about most changes, and reports whether there is more to do. Apply does as
// much by itself as it adds; this is for a store that is idle. It may be called
// beside Apply and holds it up for as long as it takes.
func (s *Store) Reclaim(most int) (more bool, err error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.exit()
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.failed != nil {
		return false, s.failed
	}
	st := *s.published.Load()
	if !s.reclaimer.pending(st.compacted) {
		return false, nil
	}
	batch := s.engine.NewBatch()
	defer batch.Close()
	if err := s.reclaimer.step(s, batch, most, &st.bytes); err != nil {
		return false, s.fail(err)
	}
	batch.Set(stateKey, st.appendTo(nil))
	if err := batch.Commit(); err != nil {
		return false, s.fail(fmt.Errorf("store: reclaim: %w", err))
	}
	s.published.Store(&st)
	return s.reclaimer.pending(st.compacted), nil
}
