package trace

import (
	"maps"
	"slices"
)

// Starts, terms, votes and leadership: section 5.2 of the paper, and PreVote.

// started: what is found on the disk is what was durable, or that and more of what
// was on its way.
func (c *check) started() error {
	n, r := c.node, c.r
	again := n.begun && n.boot < r.Boot
	switch {
	case n.begun && !again:
		return fault("EL-01", "starts twice")
	case r.State != follower:
		return fault("EL-01", "starts as a %s", r.State)
	case r.ID.Term > r.Term:
		return fault("B-9", "the log ends in %v in term %d", r.ID, r.Term)
	case r.Index > r.ID.Index:
		return fault("B-12", "%d is committed of a log that ends in %v", r.Index, r.ID)
	}
	hard := hardState{r.Term, r.Peer}
	var found *log
	switch {
	case again && c.complete:
		if !slices.Contains(n.hard, hard) {
			return fault("EL-06", "term %d and vote %d are not what was written: %v", hard.term, hard.vote, n.hard)
		}
		if r.ID.Index < n.guaranteed {
			return fault("PS-02", "the log ends in %v, entries up to %d were durable", r.ID, n.guaranteed)
		}
		for _, l := range n.onDisk {
			if l.lastID() == r.ID {
				found = l.copied()
			}
		}
		if found == nil {
			return fault("PS-02", "the log ends in %v, which no write left behind", r.ID)
		}
	case c.complete && r.ID.Index == 0:
		found = &log{}
	case c.complete && r.ID == ID{1, 1}:
		found = &log{} // entry 1 is made before anybody starts
		found.extend(1, 1)
		c.committed.extend(1, 1)
	case c.complete:
		return fault("PS-09", "starts for the first time with a log that ends in %v", r.ID)
	default:
		found = &log{base: r.ID.Index, baseTerm: r.ID.Term, last: r.ID.Index}
	}
	if c.complete && !again && r.Peer != 0 {
		return fault("PS-09", "starts for the first time with a vote")
	}
	if err := c.cause(r.Index <= c.committed.last, "CM-05", "%d is committed", r.Index); err != nil {
		return err
	}
	if c.complete && common(found, &c.committed) < r.Index {
		return fault("B-8", "entries up to %d are not those that were committed", r.Index)
	}
	if err := c.configured(r, r.Own); err != nil {
		return err
	}
	if r.Own.Index > 0 && !found.holds(r.Own) || c.complete && c.newest(found) != r.Own {
		return fault("MB-01", "starts with configuration %v, the newest in its log is %v", r.Own, c.newest(found))
	}
	*n = node{
		id: n.id, records: n.records, next: n.next, had: maps.Clone(n.ackable), ackable: n.ackable, open: map[uint64]bool{},
		begun: true, known: true, voteKnown: true, boot: r.Boot, state: follower, term: r.Term, vote: r.Peer, log: found, newest: max(n.newest, r.Term),
		commit: r.Index, applied: r.Index, guaranteed: found.last,
	}
	n.onDisk, n.hard = []*log{found.copied()}, []hardState{hard}
	n.setVoters(r, r.Own)
	c.terms[r.Term] = true
	if r.Peer != 0 {
		c.durable[standing{n.id, r.Term}] = r.Peer
	}
	return nil
}

func (c *check) preElectionStarted() error {
	if c.r.Index != c.r.Term+1 {
		return fault("EL-15", "asks about term %d in term %d", c.r.Index, c.r.Term)
	}
	if err := c.endsIn(c.r.ID); err != nil {
		return err
	}
	c.node.state, c.node.leader = preCandidate, 0
	c.node.votes = map[uint64]bool{c.node.id: true}
	return nil
}

func (c *check) electionStarted() error {
	n, r := c.node, c.r
	if r.Term != n.term+1 {
		return fault("EL-05", "stands in term %d after term %d", r.Term, n.term)
	}
	if err := c.endsIn(r.ID); err != nil {
		return err
	}
	c.setHard(n, r.Term, n.id)
	n.state = candidate
	n.votes = map[uint64]bool{}
	at := standing{n.id, r.Term}
	c.stood[at] = append(c.stood[at], r.ID)
	return nil
}

func (c *check) termAdopted() error {
	p := c.nodes[c.r.Peer]
	if err := c.cause(p != nil && p.newest >= c.r.Term && c.terms[c.r.Term], "EL-02", "node %d entered term %d", c.r.Peer, c.r.Term); err != nil {
		return err
	}
	c.node.deposed, c.node.unsure = c.node.state == leader, c.node.state == ""
	c.node.state = follower
	c.setHard(c.node, c.r.Term, 0)
	return nil
}

// comparedWith checks the logs that a vote compares.
func (c *check) comparedWith() error {
	if c.r.ID.before(c.r.Own) {
		return fault("EL-07", "for a log that ends in %v, which is behind %v", c.r.ID, c.r.Own)
	}
	return c.endsIn(c.r.Own)
}

func (c *check) voteGranted() error {
	n, r := c.node, c.r
	if r.Peer == 0 || r.Peer == n.id || n.vote != 0 && n.vote != r.Peer {
		return fault("EL-06", "votes for node %d in term %d, and did for node %d", r.Peer, r.Term, n.vote)
	}
	if err := c.comparedWith(); err != nil {
		return err
	}
	at := standing{r.Peer, r.Term}
	if err := c.cause(slices.Contains(c.stood[at], r.ID), "EL-06", "node %d stood in term %d with a log that ended in %v", r.Peer, r.Term, r.ID); err != nil {
		return err
	}
	if n.vote == 0 {
		c.setHard(n, r.Term, r.Peer)
	}
	own := standing{n.id, r.Term}
	c.granted[own] = append(c.granted[own], grant{to: r.Peer, last: r.ID})
	return nil
}

func (c *check) preVoteGranted() error {
	n, r := c.node, c.r
	if r.Peer == 0 || r.Peer == n.id {
		return fault("EL-15", "a pre-vote for node %d", r.Peer)
	}
	if err := c.comparedWith(); err != nil {
		return err
	}
	own := standing{n.id, 0}
	c.granted[own] = append(c.granted[own], grant{to: r.Peer, last: r.ID})
	return nil
}

// voteRefused checks the reasons that can be checked.
func (c *check) voteRefused() error {
	n, r := c.node, c.r
	at := standing{n.id, r.Term}
	if r.Kind == "pre-vote-refused" {
		at.term = 0
	}
	c.refused[at] = append(c.refused[at], r.Peer)
	switch r.Reason {
	case "the vote of this term is another's":
		if n.voteKnown && (n.vote == 0 || n.vote == r.Peer) {
			return fault("EL-06", "refuses for the vote of node %d, which is free or its own", r.Peer)
		}
	case "its log is behind":
		if !r.ID.before(r.Own) {
			return fault("EL-07", "refuses a log that ends in %v, which is as up-to-date as %v", r.ID, r.Own)
		}
	}
	return c.endsIn(r.Own)
}

func (c *check) voteLost() error {
	at := standing{c.r.Peer, c.r.Term}
	if c.node.state == preCandidate {
		at.term = 0
	}
	return c.cause(slices.Contains(c.refused[at], c.node.id), "EL-08", "node %d refused node %d", c.r.Peer, c.node.id)
}

func (c *check) voteWithheld() error {
	p := c.nodes[c.r.Peer]
	return c.cause(p != nil && p.newest > c.r.Term, "EL-14", "node %d stood in a term after %d", c.r.Peer, c.r.Term)
}

func (c *check) voteCounted() error {
	n, r := c.node, c.r
	own := ID{}
	if n.known {
		own = n.log.lastID()
	}
	if n.state == preCandidate {
		// Perhaps with a log that was shorter then: a pre-vote binds nobody.
		there := slices.ContainsFunc(c.granted[standing{r.Peer, 0}], func(g grant) bool { return g.to == n.id })
		if err := c.cause(there, "EL-15", "node %d would vote for node %d", r.Peer, n.id); err != nil {
			return err
		}
	} else {
		at := standing{r.Peer, r.Term}
		there := slices.ContainsFunc(c.granted[at], func(g grant) bool { return g.to == n.id && (!n.known || g.last == own) })
		if err := c.cause(there, "EL-08", "node %d voted for node %d in term %d with a log that ends in %v", r.Peer, n.id, r.Term, own); err != nil {
			return err
		}
		if err := c.cause(c.durable[at] == n.id, "EL-06", "the vote of node %d in term %d was durable", r.Peer, r.Term); err != nil {
			return err
		}
	}
	if n.votes == nil {
		n.votes = map[uint64]bool{}
	}
	n.votes[r.Peer] = true
	return nil
}

func (c *check) ownVoteCounted() error {
	n := c.node
	if n.joined != n.term && c.durable[standing{n.id, n.term}] != n.id {
		return fault("EL-09", "counts its own vote before it is durable")
	}
	if n.votes[n.id] {
		return fault("EL-08", "counts its own vote twice")
	}
	if n.votes == nil {
		n.votes = map[uint64]bool{}
	}
	n.votes[n.id] = true
	return nil
}

func (c *check) becameLeader() error {
	n, r := c.node, c.r
	if l := c.leaders[r.Term]; l != nil {
		return fault("B-1", "node %d leads term %d already", l.node, r.Term)
	}
	if n.joined != n.term && len(n.voters) > 0 && !n.quorum(func(id uint64) bool { return n.votes[id] }) {
		return fault("EL-08", "leads without a majority: votes of %v, voters %v %v", keys(n.votes), n.voters, n.outs)
	}
	if !n.known {
		n.known, n.log = true, &log{base: r.Index - 1, last: r.Index - 1}
		n.onDisk = []*log{n.log.copied()}
	}
	if r.Index != n.log.last+1 {
		return fault("EL-13", "the no-op is at %d, behind a log that ends in %v", r.Index, n.log.lastID())
	}
	l := &leadership{node: n.id, boot: n.boot, noop: r.Index, won: n.log.copied()}
	if err := c.complete1(r.Term, l, c.committedBefore(r.Term)); err != nil {
		return err
	}
	n.log.extend(r.Index, r.Term)
	n.changed()
	l.log = n.log.copied()
	c.leaders[r.Term] = l
	n.state, n.leader = leader, n.id
	n.matched, n.round, n.confirming = map[uint64]uint64{}, 0, false
	return nil
}

func keys(m map[uint64]bool) []uint64 {
	var ids []uint64
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (c *check) becameFollower() error {
	if c.node.state == follower && !c.node.deposed && !c.node.unsure {
		return fault("EL-01", "becomes what it is")
	}
	if c.r.Peer != 0 {
		if err := c.ledBy(c.r.Peer); err != nil {
			return err
		}
	}
	if c.node.state == leader && c.r.Peer != 0 && c.node.leader == c.node.id {
		return fault("EL-24", "follows another in the term that it leads")
	}
	c.node.state, c.node.leader = follower, c.r.Peer
	c.node.deposed, c.node.unsure, c.node.confirming = false, false, false
	return nil
}
