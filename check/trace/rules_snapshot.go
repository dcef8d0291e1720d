package trace

// Snapshots and compaction: section 7.

func (c *check) snapshotIgnored() error {
	n, r := c.node, c.r
	if r.Reason == "not newer than what is committed" && n.known && r.ID.Index > n.commit && n.commit > 0 {
		return fault("SN-08", "ignores %v with %d committed", r.ID, n.commit)
	}
	return nil
}

func (c *check) snapshotInstalled() error {
	n, r := c.node, c.r
	if err := c.ledBy(r.Peer); err != nil {
		return err
	}
	if err := c.cause(r.ID.Index <= c.committed.last, "SN-01", "entry %v of the snapshot is committed", r.ID); err != nil {
		return err
	}
	if !c.committed.holds(r.ID) && r.ID.Index <= c.committed.last {
		return fault("B-14", "the snapshot ends in %v, committed was %v", r.ID, idAt(&c.committed, r.ID.Index))
	}
	if n.known && r.ID.Index <= n.commit {
		return fault("SN-08", "installs %v with %d committed", r.ID, n.commit)
	}
	switch matches := n.known && n.log.holds(r.ID) && r.ID.Index <= n.log.last; {
	case r.Reason == "entries after it are kept":
		if n.known && !matches {
			return fault("SN-07", "keeps what follows %v, which is not in the log", r.ID)
		}
	case n.known && matches && n.log.base == 0:
		return fault("SN-07", "discards what follows %v, which is in the log", r.ID)
	default:
		n.guaranteed = min(n.guaranteed, n.commit)
		n.known, n.log = true, &log{base: r.ID.Index, baseTerm: r.ID.Term, last: r.ID.Index}
		if r.ID.Index <= c.committed.last {
			n.log = c.committed.upTo(r.ID.Index)
		}
		n.changed()
	}
	n.snapshot = r.ID.Index
	return nil
}

func (c *check) logCompacted() error {
	n, r := c.node, c.r
	switch {
	case n.known && r.ID.Index > n.applied && n.applied > 0:
		return fault("SN-01", "a snapshot up to %v with %d applied", r.ID, n.applied)
	case n.known && !n.log.holds(r.ID):
		return fault("B-14", "a snapshot up to %v, which is not in the log", r.ID)
	case r.Index > r.ID.Index+1:
		return fault("SN-03", "the log begins at %d behind the snapshot %v", r.Index, r.ID)
	case r.ID.Index <= n.snapshot:
		return fault("SN-08", "a snapshot up to %v after one up to %d", r.ID, n.snapshot)
	}
	n.snapshot = r.ID.Index
	return nil
}
