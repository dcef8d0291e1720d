package store

// A cache remembers of recently written or asked-for keys what their newest
// version is, value aside: a put needs to know it, and to find it in the engine
// costs more than everything else that a put does. It holds what is committed or
// pending, absent keys included, and is right or silent.
//
// It is two maps. When the young one is full it becomes the old one, and what the
// old one had is forgotten unless it was asked for meanwhile.
type cache struct {
	young, old map[string]known
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

func newCache() cache { return cache{young: map[string]known{}} }

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
	if len(c.young) >= cacheKeys {
		c.old, c.young = c.young, make(map[string]known, cacheKeys)
	}
	c.young[key] = k
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
	if err := a.open(); err != nil {
		return known{}, false, err
	}
	v, ok, err := a.cur.get(key, maxRevision)
	if err != nil {
		return known{}, false, err
	}
	k := v.known()
	k.deleted = !ok
	a.cache.put(string(key), k)
	return k, ok, nil
}

func (v *version) known() known {
	return known{create: v.create, version: v.version, lease: v.lease, deleted: v.deleted}
}
