package explore

import (
	"sync"
	"sync/atomic"
)

// list is a list that grows while others read it: what is at an index that they
// were given never moves.
type list[T any] struct {
	blocks [1 << 14]atomic.Pointer[[listBlock]T]
	n      int // under the owner's lock
}

const listBlock = 1 << 12

// add appends v. The caller holds the owner's lock.
func (l *list[T]) add(v T) uint32 {
	i := l.n
	block := l.blocks[i/listBlock].Load()
	if block == nil {
		block = new([listBlock]T)
		l.blocks[i/listBlock].Store(block)
	}
	block[i%listBlock] = v
	l.n++
	return uint32(i)
}

func (l *list[T]) at(i uint32) *T { return &l.blocks[i/listBlock].Load()[i%listBlock] }

// memory remembers a number for each key that is not zero. Reading takes no lock.
type memory struct {
	mu    sync.Mutex
	table atomic.Pointer[memoryTable]
	used  int
}

type memoryTable struct {
	mask   uint64
	keys   []atomic.Uint64
	values []uint32
}

func newMemory() *memory {
	m := &memory{}
	m.table.Store(newMemoryTable(1 << 12))
	return m
}

func newMemoryTable(size int) *memoryTable {
	return &memoryTable{mask: uint64(size - 1), keys: make([]atomic.Uint64, size), values: make([]uint32, size)}
}

func (m *memory) get(key uint64) (uint32, bool) {
	t := m.table.Load()
	for i := scramble(key) & t.mask; ; i = (i + 1) & t.mask {
		switch t.keys[i].Load() {
		case key:
			return t.values[i], true
		case 0:
			return 0, false
		}
	}
}

// put remembers value, or gives the one that is there already.
func (m *memory) put(key uint64, value uint32) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.get(key); ok {
		return old
	}
	t := m.table.Load()
	if m.used*2 >= len(t.keys) {
		t = t.grown()
		m.table.Store(t)
	}
	t.put(key, value)
	m.used++
	return value
}

func (t *memoryTable) put(key uint64, value uint32) {
	i := scramble(key) & t.mask
	for t.keys[i].Load() != 0 {
		i = (i + 1) & t.mask
	}
	t.values[i] = value
	t.keys[i].Store(key) // whoever sees the key sees the value
}

func (t *memoryTable) grown() *memoryTable {
	larger := newMemoryTable(2 * len(t.keys))
	for i := range t.keys {
		if key := t.keys[i].Load(); key != 0 {
			larger.put(key, t.values[i])
		}
	}
	return larger
}

// scramble spreads the bits of x: a bijection in which each bit of the result
// depends on all of x (the finalizer of MurmurHash3).
func scramble(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// visited is a set of fingerprints that several goroutines add to. It grows when
// nobody does.
type visited struct {
	mask uint64
	keys []atomic.Uint64
}

func newVisited(size int) *visited {
	return &visited{mask: uint64(size - 1), keys: make([]atomic.Uint64, size)}
}

// add reports whether fingerprint was not in the set.
func (v *visited) add(fingerprint uint64) bool {
	if fingerprint == 0 {
		fingerprint = 1
	}
	for i := fingerprint & v.mask; ; {
		switch v.keys[i].Load() {
		case fingerprint:
			return false
		case 0:
			if v.keys[i].CompareAndSwap(0, fingerprint) {
				return true
			}
			continue // somebody was here first: look at what it was
		}
		i = (i + 1) & v.mask
	}
}

// grow doubles the set.
func (v *visited) grow() {
	old := v.keys
	*v = *newVisited(2 * len(old))
	for i := range old {
		if f := old[i].Load(); f != 0 {
			v.add(f)
		}
	}
}
