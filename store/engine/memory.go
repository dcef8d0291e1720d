package engine

import (
	"bytes"
	"sync"
)

// Memory is an engine that forgets. Its records are a persistent tree: each
// commit makes a new root and leaves the old one to whoever reads it. It does
// the same things for the same calls.
type Memory struct {
	split SplitFunc
	gate  *gate

	mu   sync.Mutex
	root *node
	// durable is what a crash cannot take; unflushed are the roots of the commits
	// after it, the newest last.
	durable   *node
	unflushed []*node
	sizes     []int
	commits   uint64
	metrics   Metrics
	err       error
}

// NewMemory gives an empty engine.
func NewMemory(split SplitFunc) *Memory {
	return &Memory{split: split, gate: newGate()}
}

// Crash gives the engine as it is found after a crash: with what was durable and
// the keep oldest commits after it, all if keep is larger. The receiver is shut
// to new readers and commits, without waiting for those that it has.
func (m *Memory) Crash(keep int) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMemory(m.split)
	after.root = m.durable
	if keep = min(keep, len(m.unflushed)); keep > 0 {
		after.root = m.unflushed[keep-1]
	}
	after.durable = after.root
	m.err = ErrClosed
	return after
}

// Unflushed is how many commits a crash could take.
func (m *Memory) Unflushed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.unflushed)
}

// Commits counts the commits so far.
func (m *Memory) Commits() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

// FlushTo makes the first so many commits durable: a flush that was begun when
// there were no more, and ends now.
func (m *Memory) FlushTo(commits uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.unflushed) - int(m.commits-min(commits, m.commits))
	if m.err == nil && n > 0 {
		m.durable = m.unflushed[n-1]
		m.unflushed, m.sizes = m.unflushed[n:], m.sizes[n:]
		m.metrics.Flushes++
	}
	return m.err
}

// Fail makes the engine fail for good.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
}

// Err says why the engine failed.
func (m *Memory) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *Memory) load() (*node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root, m.err
}

// Get appends the value of key.
func (m *Memory) Get(dst, key []byte) ([]byte, bool, error) {
	root, err := m.load()
	if err != nil {
		return dst, false, err
	}
	return getFrom(root, dst, key)
}

// GetDurable reads what a crash cannot take.
func (m *Memory) GetDurable(dst, key []byte) ([]byte, bool, error) {
	m.mu.Lock()
	root, err := m.durable, m.err
	m.mu.Unlock()
	if err != nil {
		return dst, false, err
	}
	return getFrom(root, dst, key)
}

func getFrom(root *node, dst, key []byte) ([]byte, bool, error) {
	n := root.ceiling(key, false)
	if n == nil || !bytes.Equal(n.key, key) {
		return dst, false, nil
	}
	return append(dst, n.value...), true, nil
}

// NewIterator walks over the records as they are now.
func (m *Memory) NewIterator(lower, upper []byte) (Iterator, error) {
	if err := m.gate.enter(); err != nil {
		return nil, err
	}
	root, err := m.load()
	if err != nil {
		m.gate.leave()
		return nil, err
	}
	return m.iterate(root, lower, upper), nil
}

// NewDurableIterator walks over what a crash cannot take.
func (m *Memory) NewDurableIterator(lower, upper []byte) (Iterator, error) {
	if err := m.gate.enter(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	root, err := m.durable, m.err
	m.mu.Unlock()
	if err != nil {
		m.gate.leave()
		return nil, err
	}
	return m.iterate(root, lower, upper), nil
}

func (m *Memory) iterate(root *node, lower, upper []byte) *memoryIterator {
	return &memoryIterator{m: m, root: root, lower: bytes.Clone(lower), upper: bytes.Clone(upper)}
}

// NewSnapshot keeps the records as they are now.
func (m *Memory) NewSnapshot() (Snapshot, error) {
	if err := m.gate.enter(); err != nil {
		return nil, err
	}
	root, err := m.load()
	if err != nil {
		m.gate.leave()
		return nil, err
	}
	return &memorySnapshot{m: m, root: root}, nil
}

// Flush makes everything durable.
func (m *Memory) Flush() error { return m.Sync() }

// Sync makes everything durable.
func (m *Memory) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.flush()
	}
	return m.err
}

func (m *Memory) flush() {
	m.durable, m.unflushed, m.sizes = m.root, nil, nil
	m.metrics.Flushes++
}

// Metrics counts commits that are not durable as memory.
func (m *Memory) Metrics() Metrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	metrics := m.metrics
	for _, n := range m.sizes {
		metrics.MemoryBytes += uint64(n)
	}
	metrics.DiskBytes = m.durable.bytes()
	return metrics
}

// Close waits for iterators and snapshots.
func (m *Memory) Close() error {
	m.gate.close()
	m.Fail(ErrClosed)
	return nil
}

type memorySnapshot struct {
	m    *Memory
	root *node
}

func (s *memorySnapshot) Get(dst, key []byte) ([]byte, bool, error) {
	if err := s.m.Err(); err != nil {
		return dst, false, err
	}
	return getFrom(s.root, dst, key)
}

func (s *memorySnapshot) NewIterator(lower, upper []byte) (Iterator, error) {
	if err := s.m.gate.enter(); err != nil {
		return nil, err
	}
	return s.m.iterate(s.root, lower, upper), nil
}

func (s *memorySnapshot) Close() error {
	s.m.gate.leave()
	return nil
}

// NewBatch collects changes.
func (m *Memory) NewBatch() Batch { return &memoryBatch{m: m} }

type memoryBatch struct {
	m    *Memory
	ops  []memoryOp
	size int
}

type memoryOp struct {
	kind       uint8 // 's'et, 'd'elete, 'r'ange
	key, value []byte
}

func (b *memoryBatch) add(kind uint8, key, value []byte) {
	b.ops = append(b.ops, memoryOp{kind, bytes.Clone(key), bytes.Clone(value)})
	b.size += len(key) + len(value)
}

func (b *memoryBatch) Set(key, value []byte)       { b.add('s', key, value) }
func (b *memoryBatch) Delete(key []byte)           { b.add('d', key, nil) }
func (b *memoryBatch) DeleteRange(from, to []byte) { b.add('r', from, to) }
func (b *memoryBatch) Size() int                   { return b.size }
func (b *memoryBatch) Close()                      {}

func (b *memoryBatch) Commit() error {
	m := b.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	for _, op := range b.ops {
		switch op.kind {
		case 's':
			m.root = m.root.set(op.key, op.value)
		case 'd':
			m.root = m.root.deleteRange(op.key, append(bytes.Clone(op.key), 0))
		case 'r':
			if bytes.Compare(op.key, op.value) < 0 {
				m.root = m.root.deleteRange(op.key, op.value)
			}
		}
	}
	m.unflushed = append(m.unflushed, m.root)
	m.sizes = append(m.sizes, b.size)
	m.commits++
	b.ops, b.size = b.ops[:0], 0
	return nil
}

type memoryIterator struct {
	m            *Memory
	root         *node
	lower, upper []byte
	at           *node
	prefix       []byte // not nil after SeekPrefixGE
}

func (i *memoryIterator) land(n *node) bool {
	i.at = n
	if n != nil && (i.lower != nil && bytes.Compare(n.key, i.lower) < 0 ||
		i.upper != nil && bytes.Compare(n.key, i.upper) >= 0 ||
		i.prefix != nil && !bytes.Equal(n.key[:i.m.split(n.key)], i.prefix)) {
		i.at = nil
	}
	return i.at != nil
}

func (i *memoryIterator) First() bool {
	i.prefix = nil
	return i.land(i.root.ceiling(i.lower, false))
}

func (i *memoryIterator) Last() bool {
	i.prefix = nil
	if i.upper == nil {
		return i.land(i.root.last())
	}
	return i.land(i.root.below(i.upper))
}

func (i *memoryIterator) SeekGE(key []byte) bool {
	i.prefix = nil
	if bytes.Compare(key, i.lower) < 0 {
		key = i.lower
	}
	return i.land(i.root.ceiling(key, false))
}

func (i *memoryIterator) SeekLT(key []byte) bool {
	i.prefix = nil
	if i.upper != nil && bytes.Compare(key, i.upper) > 0 {
		key = i.upper
	}
	return i.land(i.root.below(key))
}

func (i *memoryIterator) SeekPrefixGE(key []byte) bool {
	i.prefix = append([]byte{}, key[:i.m.split(key)]...)
	return i.land(i.root.ceiling(key, false))
}

func (i *memoryIterator) Next() bool {
	if i.at == nil {
		return false
	}
	return i.land(i.root.ceiling(i.at.key, true))
}

func (i *memoryIterator) Prev() bool {
	if i.at == nil {
		return false
	}
	return i.land(i.root.below(i.at.key))
}

func (i *memoryIterator) NextPrefix() bool {
	if i.at == nil {
		return false
	}
	prefix := i.at.key[:i.m.split(i.at.key)]
	for i.Next() {
		if !bytes.Equal(i.at.key[:i.m.split(i.at.key)], prefix) {
			return true
		}
	}
	return false
}

func (i *memoryIterator) Valid() bool   { return i.at != nil }
func (i *memoryIterator) Key() []byte   { return i.at.key }
func (i *memoryIterator) Value() []byte { return i.at.value }
func (i *memoryIterator) Error() error  { return nil }

func (i *memoryIterator) Close() error {
	i.m.gate.leave()
	return nil
}
