package trace

import "slices"

// Entries, what is durable of them, and commitment: sections 5.3 and 5.4.

// source gives the log of the leader of the term, which has entries up to an
// index.
func (c *check) source(last uint64, rule string) (*log, error) {
	if err := c.ledBy(c.r.Peer); err != nil {
		return nil, err
	}
	l := c.leaders[c.r.Term]
	if err := c.cause(l != nil && l.log.last >= last, rule, "the leader of term %d has entry %d", c.r.Term, last); err != nil {
		return nil, err
	}
	if l == nil || l.log.last < last {
		return nil, nil
	}
	return l.log, nil
}

// continues checks that the entry before those of a message is in the log.
func (c *check) continues() error {
	if c.node.known && !c.node.log.holds(c.r.ID) {
		return fault("RP-03", "entry %v is not in the log, which ends in %v", c.r.ID, c.node.log.lastID())
	}
	return nil
}

func (c *check) appended() error {
	n, r := c.node, c.r
	from, err := c.source(r.Index, "RP-01")
	if err != nil {
		return err
	}
	if err := c.continues(); err != nil {
		return err
	}
	switch {
	case r.Index <= r.ID.Index:
		return fault("RP-02", "appends up to %d after %v", r.Index, r.ID)
	case !n.known:
		n.known, n.log = true, &log{base: r.Index, last: r.Index}
		if from != nil {
			n.log = from.upTo(r.Index)
		}
	case r.Index <= n.log.last:
		return fault("RP-04", "appends up to %d to a log that ends in %v", r.Index, n.log.lastID())
	case from == nil:
		n.log = &log{base: r.Index, last: r.Index}
	case !from.holds(r.ID):
		return fault("RP-02", "the leader of term %d has %v before what it sends", r.Term, idAt(from, r.ID.Index))
	case common(n.log, from) < n.log.last:
		return fault("RP-04", "appends behind entries that conflict with the leader's from %d on", common(n.log, from)+1)
	default:
		n.log = from.upTo(r.Index)
	}
	if n.config.Index > n.log.last {
		return fault("MB-01", "configuration %v is in force and not in the log", n.config)
	}
	n.changed()
	return nil
}

func (c *check) heard() error {
	if _, err := c.source(c.r.ID.Index, "RP-02"); err != nil {
		return err
	}
	return c.continues()
}

func (c *check) appendRefused() error {
	n, r := c.node, c.r
	if r.Reason == "older term" {
		led := false
		for term, l := range c.leaders {
			led = led || term < r.Term && l.node == r.Peer
		}
		return c.cause(led, "EL-03", "node %d led a term before %d", r.Peer, r.Term)
	}
	if err := c.ledBy(r.Peer); err != nil {
		return err
	}
	if !n.known {
		return nil
	}
	switch r.Reason {
	case "previous entry is missing":
		if r.ID.Index <= n.log.last {
			return fault("RP-03", "entry %d is not missing in a log that ends in %v", r.ID.Index, n.log.lastID())
		}
	case "previous entry has another term":
		if term, ok := n.log.term(r.ID.Index); ok && term == r.ID.Term {
			return fault("RP-03", "entry %v is in the log", r.ID)
		}
		if r.ID.Index <= n.commit {
			return fault("RP-05", "refuses %v below what is committed", r.ID)
		}
	}
	return nil
}

func (c *check) truncated() error {
	n, r := c.node, c.r
	if r.Index <= n.commit {
		return fault("RP-05", "truncates from %d with %d committed", r.Index, n.commit)
	}
	l := c.leaders[r.Term]
	if err := c.cause(l != nil && l.log.last >= r.Index, "RP-04", "the leader of term %d has entry %d", r.Term, r.Index); err != nil {
		return err
	}
	if !n.known {
		return nil
	}
	if r.Index > n.log.last {
		return fault("RP-04", "truncates from %d a log that ends in %v", r.Index, n.log.lastID())
	}
	if term, ok := n.log.term(r.Index); ok && l != nil {
		if leaders, ok := l.log.term(r.Index); ok && term == leaders {
			return fault("RP-04", "truncates entry %d, which is the leader's", r.Index)
		}
	}
	n.log.cut(r.Index - 1)
	n.changed()
	return nil
}

func (c *check) configurationChanged() error {
	n, r := c.node, c.r
	if len(r.Voters) == 0 {
		return fault("MB-10", "a configuration without voters")
	}
	if err := c.configured(r, r.ID); err != nil {
		return err
	}
	l := c.leaders[r.Term]
	inLog := !n.known || n.log.holds(r.ID)
	fromLeader := l != nil && l.log.holds(r.ID)
	if !inLog && !fromLeader {
		return c.cause(false, "MB-01", "configuration entry %v is in the log, or comes from the leader", r.ID)
	}
	if inLog && n.known && n.log.base == 0 && c.newest(n.log).Index > r.ID.Index {
		return fault("MB-01", "configuration %v is in force, the newest in the log is %v", r.ID, c.newest(n.log))
	}
	n.setVoters(r, r.ID)
	return nil
}

func (c *check) entriesProposed() error {
	n, r := c.node, c.r
	if err := c.endsIn(r.ID); err != nil {
		return err
	}
	if r.Index <= r.ID.Index {
		return fault("RP-01", "appends up to %d after %v", r.Index, r.ID)
	}
	if !n.known {
		n.known, n.log = true, &log{base: r.ID.Index, baseTerm: r.ID.Term, last: r.ID.Index}
		n.onDisk = []*log{n.log.copied()}
	}
	n.log.extend(r.Index, r.Term)
	n.changed()
	l := c.leaders[r.Term]
	if l == nil { // its election is not in the trace
		l = &leadership{node: n.id, boot: n.boot, log: n.log.copied()}
		c.leaders[r.Term] = l
	}
	l.log.extend(r.Index, r.Term)
	return nil
}

func (c *check) hardStateDurable() error {
	n, r := c.node, c.r
	hard := hardState{r.Index, r.Peer}
	switch at := slices.Index(n.hard, hard); {
	case r.Index > r.Term:
		return fault("PS-01", "term %d is durable in term %d", r.Index, r.Term)
	case at == 0:
		return fault("PS-01", "term and vote are durable already")
	case at > 0:
		n.hard = slices.Delete(n.hard, 0, at)
	case n.joined == 0:
		return fault("EL-06", "term %d and the vote for node %d are durable, written were %v", r.Index, r.Peer, n.hard)
	default: // written before the trace begins
		n.hard = append([]hardState{hard}, n.hard[1:]...)
		if r.Index == n.term {
			n.vote, n.voteKnown = r.Peer, true
		}
	}
	if r.Peer != 0 {
		c.durable[standing{n.id, r.Index}] = r.Peer
	}
	return nil
}

func (c *check) logDurable() error {
	n, r := c.node, c.r
	if !n.known {
		n.guaranteed = r.Index
		return nil
	}
	switch {
	case r.Index > n.log.last:
		return fault("B-12", "%d is durable of a log that ends in %v", r.Index, n.log.lastID())
	case r.Index <= n.guaranteed:
		return fault("B-12", "%d is durable after %d was", r.Index, n.guaranteed)
	}
	n.guaranteed = r.Index
	// Writes become durable in order: what was to be on disk before the first that
	// reached so far is not there any more.
	for i, l := range n.onDisk {
		if l.last >= r.Index && common(l, n.log) >= r.Index {
			n.onDisk = slices.Delete(n.onDisk, 0, i)
			break
		}
	}
	return nil
}

func (c *check) peerMatched() error {
	n, r := c.node, c.r
	if n.matched == nil {
		n.matched = map[uint64]uint64{}
	}
	switch p := c.nodes[r.Peer]; {
	case r.Peer == n.id || r.Peer == 0:
		return fault("RP-06", "node %d acknowledges to itself", r.Peer)
	case n.known && r.Index > n.log.last:
		return fault("RP-06", "node %d has %d of a log that ends in %v", r.Peer, r.Index, n.log.lastID())
	case r.Index <= n.matched[r.Peer]:
		return fault("RP-09", "node %d has %d after it had %d", r.Peer, r.Index, n.matched[r.Peer])
	default:
		there := p != nil && p.ackable[r.Term] >= r.Index
		if err := c.cause(there, "PS-02", "entries up to %d of the leader's log are durable at node %d in term %d", r.Index, r.Peer, r.Term); err != nil {
			return err
		}
	}
	n.matched[r.Peer] = r.Index
	return nil
}

func (c *check) committedTo() error {
	n, r := c.node, c.r
	if r.Index <= n.commit {
		return fault("CM-05", "%d is committed after %d was", r.Index, n.commit)
	}
	if n.known && r.Index > n.log.last {
		return fault("B-12", "%d is committed of a log that ends in %v", r.Index, n.log.lastID())
	}
	if n.state != leader {
		if r.Reason != "the leader committed it" {
			return fault("CM-01", "a %s commits because %q", n.state, r.Reason)
		}
		if err := c.cause(r.Index <= c.committed.last, "RP-07", "a leader committed %d", r.Index); err != nil {
			return err
		}
		if n.known && r.Index <= c.committed.last && common(n.log, &c.committed) < r.Index {
			return fault("B-8", "commits %v, committed was %v", idAt(n.log, r.Index), idAt(&c.committed, r.Index))
		}
		n.commit = r.Index
		return nil
	}
	if n.known {
		if term, ok := n.log.term(r.Index); ok && term != r.Term {
			return fault("CM-01", "the leader of term %d commits %v", r.Term, idAt(n.log, r.Index))
		}
		enough := n.quorum(func(id uint64) bool {
			if id == n.id {
				return n.guaranteed >= r.Index
			}
			return n.matched[id] >= r.Index
		})
		if n.joined != n.term && len(n.voters) > 0 && !enough {
			return fault("CM-01", "commits %d without a majority: durable up to %d here, others %v, voters %v %v", r.Index, n.guaranteed, n.matched, n.voters, n.outs)
		}
		if err := c.commitTo(n.log, r.Index, r.Term); err != nil {
			return err
		}
	} else if r.Index > c.committed.last {
		c.committed = log{base: r.Index, baseTerm: r.Term, last: r.Index}
	}
	n.commit = r.Index
	return nil
}

func (c *check) entriesApplied() error {
	n, r := c.node, c.r
	if n.known && r.Index > n.commit && n.commit > 0 {
		return fault("CM-06", "applies %d with %d committed", r.Index, n.commit)
	}
	if r.Index <= n.applied {
		return fault("CM-06", "applies %d after %d", r.Index, n.applied)
	}
	n.applied = r.Index
	return nil
}
