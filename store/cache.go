package store

import (
	"bytes"

	"github.com/quorate/quorate/store/engine"
)

// A cache remembers of recently written or asked-for keys what their newest
// version is, value aside: a put needs to know it, and to find it in the engine
// costs more than everything else that a put does. It holds what is committed or
// pending, absent keys included, and is right or silent.
//
// It is two maps. When the young one is full it becomes the old one, and what the
// old one had is forgotten unless it was asked for meanwhile.
type cache struct {
	young, old map[string]known
	limit      int // of each
}

// A known is a version without its value. If deleted, the key is absent.
type known struct {
	create  int64
	version int64
	lease   int64
	deleted bool
}

// cacheKeys is how many keys each map takes; with keys of 40 bytes both are some
// 40 MiB.
const cacheKeys = 1 << 17

func newCache(limit int) cache { return cache{young: map[string]known{}, limit: limit} }

func (c *cache) get(key []byte) (known, bool) {
	k, ok := c.young[string(key)]
	if !ok {
		if k, ok = c.old[string(key)]; ok {
			c.put(string(key), k)
		}
	}
	return k, ok
}

func (c *cache) put(key string, k known) {
	if len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[string]known, c.limit)
	}
	c.young[key] = k
}

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

// latest gives the newest version of a key but for its value, or reports that the
// key is absent.
func (a *applier) latest(key []byte) (known, bool, error) {
	if versions := a.pending[string(key)]; len(versions) > 0 {
		k := versions[len(versions)-1].known()
		return k, !k.deleted, nil
	}
	if k, ok := a.cache.get(key); ok {
		return k, !k.deleted, nil
	}
	v, ok, err := a.lookUp(key)
	if err != nil {
		return known{}, false, err
	}
	k := v.known()
	k.deleted = !ok
	a.cache.put(string(key), k)
	return k, ok, nil
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

func (v *version) known() known {
	return known{create: v.create, version: v.version, lease: v.lease, deleted: v.deleted}
}
