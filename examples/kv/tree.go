package main

import "hash/maphash"

// A tree is a map from keys to items, ordered by key. It is persistent: set and
// without return a new tree that shares nearly all of its nodes with the old one,
// which stays as it was. So whoever holds a tree holds a consistent picture for
// ever: a reader needs no lock, and a snapshot costs one pointer (SN-10).
//
// It is a treap: a search tree by key and a heap by priority, which keeps it as
// flat as if the keys had come in random order.
type tree struct {
	root *treeNode
	size int
}

// item is what the map holds under a key.
type item struct {
	value []byte
	// version is the index of the log entry that wrote the value.
	version uint64
}

type treeNode struct {
	key         string
	item        item
	priority    uint64
	left, right *treeNode
}

// seed differs from process to process, so that no choice of keys makes the tree
// deep. Replicas therefore differ in the shape of their trees; the shape shows
// nowhere, neither in an answer nor in a snapshot.
var seed = maphash.MakeSeed()

func (t tree) get(key string) (item, bool) {
	for n := t.root; n != nil; {
		switch {
		case key < n.key:
			n = n.left
		case key > n.key:
			n = n.right
		default:
			return n.item, true
		}
	}
	return item{}, false
}

func (t tree) set(key string, it item) tree {
	if _, ok := t.get(key); !ok {
		t.size++
	}
	t.root = t.root.set(key, it)
	return t
}

func (t tree) without(key string) tree {
	if _, ok := t.get(key); !ok {
		return t
	}
	t.size--
	t.root = t.root.without(key)
	return t
}

// from calls visit for the keys from first on, in order, until it returns false.
func (t tree) from(first string, visit func(key string, it item) bool) {
	t.root.from(first, visit)
}

func (n *treeNode) set(key string, it item) *treeNode {
	if n == nil {
		return &treeNode{key: key, item: it, priority: maphash.String(seed, key)}
	}
	c := *n
	switch {
	case key < n.key:
		c.left = n.left.set(key, it)
		if c.left.priority > c.priority {
			return c.rotateRight()
		}
	case key > n.key:
		c.right = n.right.set(key, it)
		if c.right.priority > c.priority {
			return c.rotateLeft()
		}
	default:
		c.item = it
	}
	return &c
}

// rotateRight and rotateLeft are called on a node that was just made, as was the
// child that takes its place.
func (n *treeNode) rotateRight() *treeNode {
	top := n.left
	n.left, top.right = top.right, n
	return top
}

func (n *treeNode) rotateLeft() *treeNode {
	top := n.right
	n.right, top.left = top.left, n
	return top
}

func (n *treeNode) without(key string) *treeNode {
	if n.key == key {
		return merge(n.left, n.right)
	}
	c := *n
	if key < n.key {
		c.left = n.left.without(key)
	} else {
		c.right = n.right.without(key)
	}
	return &c
}

// merge joins two trees; every key of a is less than every key of b.
func merge(a, b *treeNode) *treeNode {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		c := *a
		c.right = merge(a.right, b)
		return &c
	default:
		c := *b
		c.left = merge(a, b.left)
		return &c
	}
}

func (n *treeNode) from(first string, visit func(string, item) bool) bool {
	switch {
	case n == nil:
		return true
	case n.key < first:
		return n.right.from(first, visit)
	}
	return n.left.from(first, visit) && visit(n.key, n.item) && n.right.from(first, visit)
}
