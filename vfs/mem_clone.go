package vfs

// clone copies everything, as two disks change apart from each other.
func (d *disk) clone() *disk {
	copies := map[*node]*node{}
	next := &disk{root: d.root.clone(copies), seq: d.seq, capacity: d.capacity, used: d.used}
	for _, n := range d.dirty {
		next.dirty = append(next.dirty, n.clone(copies))
	}
	for _, n := range d.dirtyDir {
		next.dirtyDir = append(next.dirtyDir, n.clone(copies))
	}
	return next
}

func (n *node) clone(copies map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if c := copies[n]; c != nil {
		return c
	}
	c := &node{unlinked: n.unlinked}
	copies[n] = c
	if n.dir == nil {
		c.file = n.file.clone()
		return c
	}
	c.dir = &directory{live: make(map[string]*node, len(n.dir.live)), durable: make(map[string]*node, len(n.dir.durable))}
	for name, child := range n.dir.live {
		c.dir.live[name] = child.clone(copies)
	}
	for name, child := range n.dir.durable {
		c.dir.durable[name] = child.clone(copies)
	}
	for _, ch := range n.dir.pending {
		ch.node = ch.node.clone(copies)
		c.dir.pending = append(c.dir.pending, ch)
	}
	return c
}

func (c *contents) clone() contents {
	next := *c
	next.dirty = append([]int64(nil), c.dirty...)
	next.dropped = append([]int64(nil), c.dropped...)
	next.pending = append([]dataChange(nil), c.pending...)
	next.redo = append([]byte(nil), c.redo...)
	next.chunks = make([]*chunk, len(c.chunks))
	for i, old := range c.chunks {
		if old == nil {
			continue
		}
		next.chunks[i] = new(chunk)
		for j, s := range old {
			to := &next.chunks[i][j]
			to.dirty = s.dirty
			if s.live != nil {
				sector := *s.live
				to.live = &sector
			}
			switch {
			case s.durable == s.live:
				to.durable = to.live
			case s.durable != nil:
				sector := *s.durable
				to.durable = &sector
			}
		}
	}
	return next
}
