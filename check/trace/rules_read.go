package trace

// Linearizable reads: section 8.

func (c *check) readRoundStarted() error {
	n, r := c.node, c.r
	if l := c.leaders[r.Term]; l != nil && l.noop != 0 && n.commit < l.noop && (c.complete || n.commit > 0) {
		return fault("RD-01", "a round for reads before an entry of term %d is committed", r.Term)
	}
	if r.Index <= n.round {
		return fault("RD-02", "round %d after round %d", r.Index, n.round)
	}
	if n.confirming {
		return fault("RD-04", "round %d begins while round %d is under way", r.Index, n.round)
	}
	n.round, n.confirming, n.readIndex = r.Index, true, n.commit
	return nil
}

func (c *check) readsConfirmed() error {
	n, r := c.node, c.r
	switch {
	case n.round == 0 && !c.complete:
	case !n.confirming:
		return fault("RD-02", "reads are confirmed without a round")
	case n.readIndex > 0 && r.Index != n.readIndex:
		return fault("RD-02", "reads are confirmed at %d, their round began with %d committed", r.Index, n.readIndex)
	}
	n.confirming = false
	return nil
}
