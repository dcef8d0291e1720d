package trace

import (
	"maps"
	"slices"
)

// rule is what has to hold of an event of one kind, and what it changes.
type rule struct {
	// check judges the event and lets it happen.
	check func(*check) error
	// raises: it enters a newer term.
	raises bool
	// becomes is the state that the replica is in from then on; "" if it stays.
	becomes string
	// of are the states that it can happen in; none if in all.
	of []string
}

const (
	follower     = "follower"
	preCandidate = "pre-candidate"
	candidate    = "candidate"
	leader       = "leader"
)

// rules are those of all kinds of events.
var rules map[string]rule

func init() {
	campaigning := []string{preCandidate, candidate}
	leads := []string{leader}
	notLeading := []string{follower, preCandidate, candidate}
	nothing := func(*check) error { return nil }
	rules = map[string]rule{
		"started": {check: (*check).started},

		"not-electable":        {check: nothing, of: notLeading},
		"pre-election-started": {check: (*check).preElectionStarted, becomes: preCandidate, of: notLeading},
		"election-started":     {check: (*check).electionStarted, raises: true, becomes: candidate, of: notLeading},
		"term-adopted":         {check: (*check).termAdopted, raises: true, becomes: follower},
		"vote-granted":         {check: (*check).voteGranted, of: []string{follower, preCandidate}},
		"vote-refused":         {check: (*check).voteRefused},
		"vote-withheld":        {check: (*check).voteWithheld, of: []string{follower, leader}},
		"pre-vote-granted":     {check: (*check).preVoteGranted, of: notLeading},
		"pre-vote-refused":     {check: (*check).voteRefused},
		"vote-counted":         {check: (*check).voteCounted, of: campaigning},
		"vote-lost":            {check: (*check).voteLost, of: campaigning},
		"vote-ignored":         {check: nothing},
		"own-vote-counted":     {check: (*check).ownVoteCounted, of: []string{candidate}},
		"became-leader":        {check: (*check).becameLeader, becomes: leader, of: []string{candidate}},
		"became-follower":      {check: (*check).becameFollower, becomes: follower},

		"appended":              {check: (*check).appended, of: []string{follower}},
		"heard":                 {check: (*check).heard, of: []string{follower}},
		"append-refused":        {check: (*check).appendRefused},
		"truncated":             {check: (*check).truncated, of: []string{follower}},
		"configuration-changed": {check: (*check).configurationChanged, of: []string{follower, leader}},
		"entries-proposed":      {check: (*check).entriesProposed, of: leads},

		"hard-state-durable": {check: (*check).hardStateDurable},
		"log-durable":        {check: (*check).logDurable},
		"peer-matched":       {check: (*check).peerMatched, of: leads},
		"committed":          {check: (*check).committedTo, of: []string{follower, leader}},
		"entries-applied":    {check: (*check).entriesApplied},

		"snapshot-ignored":   {check: (*check).snapshotIgnored},
		"snapshot-installed": {check: (*check).snapshotInstalled, of: []string{follower}},
		"log-compacted":      {check: (*check).logCompacted},

		"peer-probed":        {check: nothing, of: leads},
		"peer-replicated":    {check: nothing, of: leads},
		"peer-sent-snapshot": {check: nothing, of: leads},
		"answer-ignored":     {check: nothing},
		"proposal-refused":   {check: nothing},
		"read-round-started": {check: (*check).readRoundStarted, of: leads},
		"reads-confirmed":    {check: (*check).readsConfirmed, of: leads},
		"read-refused":       {check: nothing},
		"entry-unreadable":   {check: nothing, of: leads},
		"message-dropped":    {check: nothing},
	}
}

// check is one event that is judged.
type check struct {
	*group
	node  *node
	r     *Record
	force bool
}

// cause is what an event waits for: nil if it is there.
func (c *check) cause(there bool, rule, format string, args ...any) error {
	if there || c.force {
		return nil
	}
	f := fault(rule, format, args...).(*brokenRule)
	return &missingCause{f.rule, f.message}
}

// endsIn checks what an event says of the end of the log.
func (c *check) endsIn(id ID) error {
	if c.node.known && !c.node.log.endsIn(id) {
		return fault("RP-01", "the log ends in %v, the event says %v", c.node.log.lastID(), id)
	}
	return nil
}

// ledBy checks that a node leads the term.
func (c *check) ledBy(id uint64) error {
	n := c.node
	if n.leader != 0 && n.leader != id {
		return fault("EL-24", "node %d leads term %d, and so does node %d", n.leader, c.r.Term, id)
	}
	l := c.leaders[c.r.Term]
	switch {
	case id == 0:
		return fault("EL-24", "nobody is named as the leader")
	case l != nil && l.node != id:
		return fault("EL-24", "node %d leads term %d, not node %d", l.node, c.r.Term, id)
	case l == nil:
		if err := c.cause(false, "EL-24", "node %d leads term %d", id, c.r.Term); err != nil {
			return err
		}
	}
	n.leader = id
	return nil
}

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
