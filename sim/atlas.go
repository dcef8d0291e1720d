package sim

// The atlas keeps the mix of faults recoverable, so that any unavailability is a
// bug: of each group, more than half of the replicas stay whole, whatever else
// befalls them. What may be hurt is damage to what was durable (rot, a write in
// the wrong place or never made, an empty disk), of as many nodes as a minority
// has. On one disk it is one place: two could hide each other, as when the batch
// that was acknowledged last and its identity, which stands apart from it, are
// both gone, and no log could tell that from a batch that was never written.
//
// Until a log is repaired from its peers, the right answer to damage is to name
// it and to stay away with the replica that it concerns. So a node whose disk was
// hurt owes nothing any more but safety: it may serve, abstain or stop, and no
// demand of progress counts on it.

// mayHurt reports whether a node's disk may be damaged.
func (w *world) mayHurt(n *node) bool {
	hurt := 0
	for _, other := range w.nodes {
		if other.sick {
			hurt++
		}
	}
	// Groups are created by all their members, so that nobody may be lost before.
	return w.exist() && !n.sick && hurt < min(w.p.damages, (len(w.nodes)-1)/2)
}

// sicken notes that a node's disk was damaged.
func (n *node) sicken() {
	n.sick, n.hurt = true, true
	for _, g := range n.w.judges {
		g.Excuse(n.id)
	}
}
