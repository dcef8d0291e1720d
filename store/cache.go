package store

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// A cache remembers of recently written or asked-for keys what their newest
// version is, value aside: a put needs to know it, and to find it in the engine
// costs more than everything else that a put does. It holds what is committed or
// pending, absent keys included, and is right or silent.
//
// It is two generations. When the young one is full it becomes the old one, and
// what the old one had is forgotten unless it was asked for meanwhile.
type cache struct {
	young, old *generation
	// limit bounds the bytes of one generation.
	limit int
	seed  maphash.Seed
}

// A known is a version without its value. If deleted, the key is absent.
type known struct {
	main    int64
	create  int64
	version int64
	lease   int64
	deleted bool
}

const (
	// cacheBytes bounds what both generations take together. A key takes some 55
	// bytes beside its own: 1.7 million keys of 20 bytes fit.
	cacheBytes = 128 << 20
	// cacheKeyMax is the length of the longest key that is remembered.
	cacheKeyMax = 4 << 10
)

func newCache(limit int) cache {
	return cache{young: newGeneration(nil), limit: limit / 2, seed: maphash.MakeSeed()}
}

func (c *cache) hash(key []byte) uint32 { return uint32(maphash.Bytes(c.seed, key)) }

func (c *cache) get(key []byte) (known, bool) {
	h := c.hash(key)
	if k, ok := c.young.get(h, key); ok || c.old == nil {
		return k, ok
	}
	k, ok := c.old.get(h, key)
	if ok {
		c.add(h, key, k)
	}
	return k, ok
}

// put remembers a key, of which it makes a copy.
func (c *cache) put(key []byte, k known) {
	if len(key) <= cacheKeyMax {
		c.add(c.hash(key), key, k)
	}
}

func (c *cache) add(h uint32, key []byte, k known) {
	if c.young.bytes() > c.limit {
		c.old, c.young = c.young, newGeneration(c.young)
	}
	c.young.put(h, key, k)
}

// A generation is a hash table with open addressing. Its records lie one behind
// the other, and there are no pointers in them or in the table, so however many
// keys there are, the garbage collector has nothing to look at.
//
//	+------+--------+---------+-------+----------------------+-----+
//	| main | create | version | lease | length << 1 | deleted | key |
//	| u64  |  u64   |   u64   |  u64  |          u32         |     |
//	+------+--------+---------+-------+----------------------+-----+
type generation struct {
	slots   []slot // a power of two
	used    int
	records []byte
}

// A slot says where a record is, counted from 1; 0 is a free slot. hash spares a
// look at most of the records of other keys.
type slot struct{ hash, at uint32 }

const (
	slotBytes   = 8
	slotsMin    = 1 << 6
	knownHeader = 36
)

// newGeneration makes one that has room at once for as much as the last.
func newGeneration(last *generation) *generation {
	if last == nil {
		return &generation{slots: make([]slot, slotsMin)}
	}
	return &generation{slots: make([]slot, len(last.slots)), records: make([]byte, 0, len(last.records))}
}

func (g *generation) bytes() int { return len(g.records) + len(g.slots)*slotBytes }

// find gives the slot of a key, or the free one where it belongs.
func (g *generation) find(h uint32, key []byte) *slot {
	mask := uint32(len(g.slots) - 1)
	for i := h; ; i++ {
		s := &g.slots[i&mask]
		if s.at == 0 || s.hash == h && bytes.Equal(g.record(s).key(), key) {
			return s
		}
	}
}

// A knownRecord begins with a record; others follow.
type knownRecord []byte

func (g *generation) record(s *slot) knownRecord { return g.records[s.at-1:] }

func (r knownRecord) key() []byte {
	n := binary.LittleEndian.Uint32(r[32:]) >> 1
	return r[knownHeader : knownHeader+n]
}

func (r knownRecord) known() known {
	return known{
		main:    int64(binary.LittleEndian.Uint64(r)),
		create:  int64(binary.LittleEndian.Uint64(r[8:])),
		version: int64(binary.LittleEndian.Uint64(r[16:])),
		lease:   int64(binary.LittleEndian.Uint64(r[24:])),
		deleted: r[32]&1 != 0,
	}
}

func (r knownRecord) set(k known, keyLen int) {
	binary.LittleEndian.PutUint64(r, uint64(k.main))
	binary.LittleEndian.PutUint64(r[8:], uint64(k.create))
	binary.LittleEndian.PutUint64(r[16:], uint64(k.version))
	binary.LittleEndian.PutUint64(r[24:], uint64(k.lease))
	binary.LittleEndian.PutUint32(r[32:], uint32(keyLen)<<1|uint32(bit(k.deleted, 1)))
}

func (g *generation) get(h uint32, key []byte) (known, bool) {
	s := g.find(h, key)
	if s.at == 0 {
		return known{}, false
	}
	return g.record(s).known(), true
}

func (g *generation) put(h uint32, key []byte, k known) {
	s := g.find(h, key)
	if s.at == 0 {
		if g.used >= len(g.slots)*3/4 {
			g.grow()
			s = g.find(h, key)
		}
		g.used++
		*s = slot{h, uint32(len(g.records)) + 1}
		g.records = append(g.records, make([]byte, knownHeader)...)
		g.records = append(g.records, key...)
	}
	g.record(s).set(k, len(key))
}

func (g *generation) grow() {
	old := g.slots
	g.slots = make([]slot, 2*len(old))
	mask := uint32(len(g.slots) - 1)
	for _, s := range old {
		if s.at == 0 {
			continue
		}
		i := s.hash
		for g.slots[i&mask].at != 0 {
			i++
		}
		g.slots[i&mask] = s
	}
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
	a.cache.put(key, k)
	return k, ok, nil
}

func (v *version) known() known {
	return known{main: v.main, create: v.create, version: v.version, lease: v.lease, deleted: v.deleted}
}
