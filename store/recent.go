package store

import (
	"bytes"

	"github.com/quorate/quorate/store/engine"
)

// recent knows, by their hashes, the keys that were written after what a durable
// iterator sees. A key that it does not know is found, or not, by that iterator,
// which passes by everything in memory: looking into memory that has no filter is
// what costs most for a key that is not there.
type recent struct {
	engine engine.Engine
	// it is nil, or the iterator; commits counts those since it was made.
	it      engine.Iterator
	cur     cursor
	commits int
	// written has the index at which each key was written last.
	written indexTable
	// maxKeys and maxCommits are the constants below, but in tests.
	maxKeys, maxCommits int
}

const (
	// recentKeys is how many keys there may be before it is asked which of them are
	// durable meanwhile.
	recentKeys = 100_000
	// recentCommits is how many commits an iterator lives, which keeps tables from
	// being deleted.
	recentCommits = 1 << 12
)

func newRecent(e engine.Engine) recent {
	return recent{engine: e, written: newIndexTable(0), maxKeys: recentKeys, maxCommits: recentCommits}
}

func hashKey(key []byte) uint64 { return hashBytes(0, key) }

// add tells of a key that a commit wrote, whose last command has an index.
func (c *recent) add(key []byte, index uint64) { c.written.put(hashKey(key), index) }

func (c *recent) has(key []byte) bool { return c.written.has(hashKey(key)) }

// committed is called after each commit, for nothing may be kept that nobody asks
// for: neither the iterator nor keys that are durable.
func (c *recent) committed() error {
	c.commits++
	if c.written.used >= c.maxKeys && !c.fresh() {
		return c.renew()
	}
	if c.commits >= c.maxCommits {
		return c.release()
	}
	return nil
}

// fresh reports that nothing more may be durable than what the iterator sees.
func (c *recent) fresh() bool { return c.it != nil && c.commits < c.maxCommits/16 }

// open has an iterator at hand.
func (c *recent) open() error {
	if c.it != nil {
		return nil
	}
	return c.renew()
}

// renew takes a new iterator and forgets the keys that it sees.
func (c *recent) renew() error {
	if err := c.release(); err != nil {
		return err
	}
	it, err := c.engine.NewDurableIterator(nil, nil)
	if err != nil {
		return err
	}
	c.it, c.cur.it, c.commits = it, it, 0
	durable := uint64(0)
	if it.SeekGE(stateKey) && bytes.Equal(it.Key(), stateKey) {
		st, err := decodeState(it.Value())
		if err != nil {
			return err
		}
		durable = st.applied
	} else if err := it.Error(); err != nil {
		return err
	}
	c.written.forget(durable)
	return nil
}

// forget drops all that is known, and the iterator.
func (c *recent) forget() error {
	c.written = newIndexTable(0)
	return c.release()
}

func (c *recent) release() error {
	if c.it == nil {
		return nil
	}
	err := c.it.Close()
	c.it, c.cur.it = nil, nil
	return err
}

// An indexTable maps hashes to indexes, with open addressing.
type indexTable struct {
	slots []indexSlot // a power of two, at most three quarters used
	used  int
}

type indexSlot struct{ hash, index uint64 } // index 0 is a free slot

func newIndexTable(room int) indexTable {
	n := slotsMin
	for n*3/4 <= room {
		n *= 2
	}
	return indexTable{slots: make([]indexSlot, n)}
}

func (t *indexTable) find(hash uint64) *indexSlot {
	mask := uint64(len(t.slots) - 1)
	for i := hash; ; i++ {
		if s := &t.slots[i&mask]; s.index == 0 || s.hash == hash {
			return s
		}
	}
}

func (t *indexTable) has(hash uint64) bool { return t.find(hash).index != 0 }

// put keeps an index, which is not 0.
func (t *indexTable) put(hash, index uint64) {
	s := t.find(hash)
	if s.index == 0 {
		if t.used >= len(t.slots)*3/4 {
			t.keep(2*t.used, 0)
			s = t.find(hash)
		}
		t.used++
	}
	*s = indexSlot{hash, index}
}

// forget drops what has an index up to one.
func (t *indexTable) forget(upTo uint64) { t.keep(t.used, upTo) }

// keep makes a table that has room, of the slots after an index.
func (t *indexTable) keep(room int, after uint64) {
	kept := newIndexTable(room)
	for _, s := range t.slots {
		if s.index > after {
			*kept.find(s.hash) = s
			kept.used++
		}
	}
	*t = kept
}

func (a *applier) lookUp(key []byte) (version, bool, error) {
	if err := a.recent.open(); err != nil {
		return version{}, false, err
	}
	if !a.recent.has(key) {
		return a.recent.cur.get(key, maxRevision)
	}
	if err := a.open(); err != nil {
		return version{}, false, err
	}
	return a.cur.get(key, maxRevision)
}
