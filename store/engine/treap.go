package engine

import "bytes"

// A node is the root of a persistent treap: no node changes once it is made, so
// a root is a picture of all below it for as long as somebody holds it. Its
// shape depends on the keys alone: the priority of a node is a hash of its key.
type node struct {
	key, value  []byte
	priority    uint64
	size        uint64
	left, right *node
}

// priorityOf is FNV-1a, with its bits mixed so that neighbouring keys get
// unrelated priorities.
func priorityOf(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}

func (n *node) bytes() uint64 {
	if n == nil {
		return 0
	}
	return n.size
}

func (n *node) with(left, right *node) *node {
	return &node{
		key: n.key, value: n.value, priority: n.priority, left: left, right: right,
		size: left.bytes() + right.bytes() + uint64(len(n.key)+len(n.value)),
	}
}

// cut gives what is less than key and what is not.
func (n *node) cut(key []byte) (less, rest *node) {
	switch {
	case n == nil:
		return nil, nil
	case bytes.Compare(n.key, key) < 0:
		less, rest = n.right.cut(key)
		return n.with(n.left, less), rest
	default:
		less, rest = n.left.cut(key)
		return less, n.with(rest, n.right)
	}
}

// join puts together trees of which all in a are less than all in b.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		return a.with(a.left, join(a.right, b))
	default:
		return b.with(join(a, b.left), b.right)
	}
}

func (n *node) set(key, value []byte) *node {
	less, rest := n.cut(key)
	_, more := rest.cut(append(bytes.Clone(key), 0))
	one := (&node{key: key, value: value, priority: priorityOf(key)}).with(nil, nil)
	return join(join(less, one), more)
}

func (n *node) deleteRange(from, to []byte) *node {
	less, rest := n.cut(from)
	_, more := rest.cut(to)
	return join(less, more)
}

// ceiling gives the first that is key or greater, or greater only.
func (n *node) ceiling(key []byte, greater bool) *node {
	var best *node
	for n != nil {
		if c := bytes.Compare(n.key, key); c > 0 || c == 0 && !greater {
			best, n = n, n.left
		} else {
			n = n.right
		}
	}
	return best
}

// below gives the last that is less than key.
func (n *node) below(key []byte) *node {
	var best *node
	for n != nil {
		if bytes.Compare(n.key, key) < 0 {
			best, n = n, n.right
		} else {
			n = n.left
		}
	}
	return best
}

func (n *node) last() *node {
	for n != nil && n.right != nil {
		n = n.right
	}
	return n
}
