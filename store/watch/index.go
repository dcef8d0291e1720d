package watch

import "bytes"

// An index finds the synced watchers of a key: those of the key alone in a map,
// those of ranges in a treap by the range's start in which every node knows how
// far the ranges below it reach. Watchers of the same range share a node.
type index struct {
	keys  map[string]*group
	root  *rangeNode
	coins uint64
}

func newIndex() index { return index{keys: map[string]*group{}, coins: 0x9e3779b97f4a7c15} }

// A group is watchers of the same keys.
type group struct{ members []*watcher }

func (g *group) add(w *watcher) {
	w.place = len(g.members)
	g.members = append(g.members, w)
}

func (g *group) remove(w *watcher) {
	last := len(g.members) - 1
	g.members[w.place] = g.members[last]
	g.members[w.place].place = w.place
	g.members[last] = nil
	g.members = g.members[:last]
}

type rangeNode struct {
	group
	start, end  []byte // an end of nil is none
	reach       []byte // the greatest end below here; nil is none
	priority    uint64
	left, right *rangeNode
}

// before compares ends, of which nil is the greatest.
func endsBefore(a, b []byte) bool {
	return a != nil && (b == nil || bytes.Compare(a, b) < 0)
}

func compareRanges(start, end, start2, end2 []byte) int {
	switch c := bytes.Compare(start, start2); {
	case c != 0:
		return c
	case endsBefore(end, end2):
		return -1
	case endsBefore(end2, end):
		return 1
	}
	return 0
}

func (n *rangeNode) update() *rangeNode {
	n.reach = n.end
	for _, child := range []*rangeNode{n.left, n.right} {
		if child != nil && endsBefore(n.reach, child.reach) {
			n.reach = child.reach
		}
	}
	return n
}

func (x *index) add(w *watcher) {
	if w.single {
		g := x.keys[string(w.key)]
		if g == nil {
			g = &group{}
			x.keys[string(w.key)] = g
		}
		g.add(w)
		return
	}
	x.coins ^= x.coins << 13
	x.coins ^= x.coins >> 7
	x.coins ^= x.coins << 17
	x.root = x.root.insert(w, x.coins)
}

func (n *rangeNode) insert(w *watcher, priority uint64) *rangeNode {
	if n == nil {
		n = &rangeNode{start: w.key, end: w.end, priority: priority}
		n.group.add(w)
		return n.update()
	}
	switch c := compareRanges(w.key, w.end, n.start, n.end); {
	case c == 0:
		n.group.add(w)
		return n
	case c < 0:
		n.left = n.left.insert(w, priority)
		if n.left.priority > n.priority {
			l := n.left
			n.left, l.right = l.right, n
			n.update()
			return l.update()
		}
	default:
		n.right = n.right.insert(w, priority)
		if n.right.priority > n.priority {
			r := n.right
			n.right, r.left = r.left, n
			n.update()
			return r.update()
		}
	}
	return n.update()
}

func (x *index) remove(w *watcher) {
	if w.single {
		g := x.keys[string(w.key)]
		if g.remove(w); len(g.members) == 0 {
			delete(x.keys, string(w.key))
		}
		return
	}
	x.root = x.root.remove(w)
}

func (n *rangeNode) remove(w *watcher) *rangeNode {
	switch c := compareRanges(w.key, w.end, n.start, n.end); {
	case c < 0:
		n.left = n.left.remove(w)
	case c > 0:
		n.right = n.right.remove(w)
	default:
		if n.group.remove(w); len(n.members) == 0 {
			return joinRanges(n.left, n.right)
		}
	}
	return n.update()
}

func joinRanges(a, b *rangeNode) *rangeNode {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		a.right = joinRanges(a.right, b)
		return a.update()
	default:
		b.left = joinRanges(a, b.left)
		return b.update()
	}
}

// visit calls f for each watcher of key.
func (x *index) visit(key []byte, f func(*watcher)) {
	if g := x.keys[string(key)]; g != nil {
		for _, w := range g.members {
			f(w)
		}
	}
	x.root.visit(key, f)
}

func (n *rangeNode) visit(key []byte, f func(*watcher)) {
	for n != nil && (n.reach == nil || bytes.Compare(key, n.reach) < 0) {
		n.left.visit(key, f)
		if bytes.Compare(n.start, key) > 0 {
			return
		}
		if n.end == nil || bytes.Compare(key, n.end) < 0 {
			for _, w := range n.members {
				f(w)
			}
		}
		n = n.right
	}
}

// any reports whether holds holds for a watcher of key.
func (x *index) any(key []byte, holds func(*watcher) bool) bool {
	found := false
	x.visit(key, func(w *watcher) { found = found || holds(w) })
	return found
}
