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
	it  engine.Iterator
	cur cursor
	// sets are of the commits up to an index each, the newest last.
	sets []recentSet
	// commits counts those since it was made.
	commits int
	// setKeys and maxCommits are the constants below, but in tests.
	setKeys, maxCommits int
}

type recentSet struct {
	upTo uint64
	keys map[uint64]struct{}
}

const (
	// recentSetKeys is how many keys a set takes.
	recentSetKeys = 1 << 15
	// recentCommits is how many commits an iterator lives, which keeps tables from
	// being deleted.
	recentCommits = 1 << 12
)

func hashKey(key []byte) uint64 { return hashBytes(0, key) }

// add tells of keys that a commit wrote.
func (c *recent) add(upTo uint64, keys []string) {
	n := len(c.sets)
	if n == 0 || len(c.sets[n-1].keys) >= c.setKeys {
		c.sets = append(c.sets, recentSet{keys: map[uint64]struct{}{}})
		n++
	}
	set := &c.sets[n-1]
	set.upTo = upTo
	for _, key := range keys {
		set.keys[hashKey([]byte(key))] = struct{}{}
	}
	c.commits++
}

func (c *recent) has(key []byte) bool {
	h := hashKey(key)
	for i := range c.sets {
		if _, ok := c.sets[i].keys[h]; ok {
			return true
		}
	}
	return false
}

// open has an iterator at hand, a new one if the old one has been there for long,
// and forgets the keys that it sees.
func (c *recent) open(e engine.Engine) error {
	if c.it != nil && c.commits < c.maxCommits && len(c.sets) < 3 {
		return nil
	}
	if c.it != nil && c.commits < c.maxCommits/16 {
		return nil // nothing more may be durable than a moment ago
	}
	if err := c.release(); err != nil {
		return err
	}
	it, err := e.NewDurableIterator(nil, nil)
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
	for len(c.sets) > 0 && c.sets[0].upTo <= durable {
		c.sets = c.sets[1:]
	}
	return nil
}

func (c *recent) release() error {
	if c.it == nil {
		return nil
	}
	err := c.it.Close()
	c.it, c.cur.it = nil, nil
	return err
}

func (a *applier) lookUp(key []byte) (version, bool, error) {
	if err := a.recent.open(a.s.engine); err != nil {
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
