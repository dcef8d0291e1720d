package trace

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
