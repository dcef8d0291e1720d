package trace

import (
	"fmt"
	"slices"
)

// group is what the validator knows of a group.
type group struct {
	id       uint64
	complete bool // every cause is in the trace
	nodes    map[uint64]*node
	order    []*node
	// terms are those that somebody has entered.
	terms map[uint64]bool
	// refused are who was told no: by whom in which term, 0 for a pre-vote.
	refused map[standing][]uint64
	// stood are the last entries with which nodes stood for election in a term.
	stood map[standing][]ID
	// granted are the votes that were given: to whom, and to what last entry;
	// durable those of them that are on disk.
	granted map[standing][]grant
	durable map[standing]uint64
	leaders map[uint64]*leadership
	// committed is what is committed; commits says by which terms.
	committed log
	commits   []commit
	// configurations are the voters of configuration entries.
	configurations map[ID]string
	// unjudged counts the events whose causes are missing.
	unjudged int
}

// standing is a node in a term.
type standing struct{ node, term uint64 }

type grant struct {
	to   uint64
	last ID
}

// leadership is a leader's log, which only grows while it leads.
type leadership struct {
	node uint64
	boot uint64
	noop uint64
	won  *log // as it was when it won
	log  *log
}

// commit: entries up to last were committed first by the leader of a term.
type commit struct{ last, term uint64 }

// node is what the validator knows of a replica.
type node struct {
	id      uint64
	records []*Record
	next    int

	begun bool // Started was seen
	known bool // log is
	boot  uint64
	state string
	term  uint64
	vote  uint64
	// leader of term, once it was heard.
	leader uint64
	log    *log
	commit uint64
	// applied is zero after a start until it is told.
	applied uint64
	config  ID
	voters  []uint64
	outs    []uint64

	// guaranteed: the log as it is now is on disk up to here.
	guaranteed uint64
	// onDisk are the logs that a crash may leave: the last that was durable whole,
	// and all since. hard are the terms and votes likewise.
	onDisk []*log
	hard   []hardState
	// had is up to where the log equalled that of a term's leader while the node
	// was in that term, ackable what of it was on disk; open are the terms in which
	// the one is less than the other.
	had, ackable map[uint64]uint64
	open         map[uint64]bool

	// Of a candidate and a leader.
	votes   map[uint64]bool
	matched map[uint64]uint64
	round   uint64
	// confirming: the round is under way, for reads at readIndex.
	confirming bool
	readIndex  uint64
	// deposed: it led, and is told next that it follows; unsure: it may have led.
	deposed, unsure bool
	// voteKnown: vote is. joined is the term in which the records of it begin, if
	// not with a start: of that term's votes and answers some are missing.
	voteKnown bool
	joined    uint64
	// snapshot is the newest that the log rests on, as far as this start tells.
	snapshot uint64
	// newest is the newest term that it has been in.
	newest uint64
}

type hardState struct{ term, vote uint64 }

func newGroup(id uint64, complete bool) *group {
	return &group{
		id: id, complete: complete, nodes: map[uint64]*node{}, terms: map[uint64]bool{}, refused: map[standing][]uint64{},
		stood: map[standing][]ID{}, granted: map[standing][]grant{}, durable: map[standing]uint64{},
		leaders: map[uint64]*leadership{}, configurations: map[ID]string{},
	}
}

func (g *group) node(id uint64) *node {
	n := g.nodes[id]
	if n == nil {
		n = &node{id: id, had: map[uint64]uint64{}, ackable: map[uint64]uint64{}, open: map[uint64]bool{}}
		g.nodes[id] = n
		g.order = append(g.order, n)
	}
	return n
}

// setHard changes term and vote; it is on disk when a later event says so.
func (g *group) setHard(n *node, term, vote uint64) {
	if term != n.term {
		n.leader = 0
	}
	n.term, n.vote, n.voteKnown = term, vote, true
	n.hard = append(n.hard, hardState{term, vote})
	n.newest = max(n.newest, term)
	g.terms[term] = true
}

// changed notes a log that a write in the queue will leave on disk.
func (n *node) changed() {
	n.onDisk = append(n.onDisk, n.log.copied())
	n.guaranteed = min(n.guaranteed, n.log.last)
}

// acknowledge notes how far the node may say that its durable log is a leader's:
// what it had of that log while it was in the leader's term, once that is on disk. It
// may have gone on to a newer term by then, and once that is on disk what it had may
// even have been replaced: whoever was elected since had it, or it was not committed.
func (g *group) acknowledge(n *node) {
	if !n.known {
		return
	}
	if l := g.leaders[n.term]; l != nil && l.node != n.id {
		if had := common(n.log, l.log); had > n.had[n.term] {
			n.had[n.term] = had
			n.open[n.term] = true
		}
	}
	for term := range n.open {
		if n.diskTerm() < term {
			continue
		}
		durable := n.had[term]
		if n.diskTerm() == term {
			durable = min(durable, n.guaranteed, common(n.log, g.leaders[term].log))
		}
		n.ackable[term] = max(n.ackable[term], durable)
		if n.ackable[term] == n.had[term] {
			delete(n.open, term)
		}
	}
}

// diskTerm is the term that is on disk at least.
func (n *node) diskTerm() uint64 {
	if len(n.hard) == 0 {
		return 0
	}
	return n.hard[0].term
}

// quorum reports whether those of whom has holds are a majority of the voters, and
// of the outgoing ones if there are any.
func (n *node) quorum(has func(uint64) bool) bool {
	majority := func(ids []uint64) bool {
		count := 0
		for _, id := range ids {
			if has(id) {
				count++
			}
		}
		return 2*count > len(ids)
	}
	return majority(n.voters) && (len(n.outs) == 0 || majority(n.outs))
}

// commitTo commits entries of a log for the group, and judges them against what
// was committed and who has led.
func (g *group) commitTo(l *log, last, term uint64) error {
	if same := common(l, &g.committed); same < min(last, g.committed.last) {
		return fault("B-8", "commits %v where another entry %d was committed", idAt(l, same+1), same+1)
	}
	if last <= g.committed.last {
		return nil
	}
	if last <= l.base {
		g.committed = log{base: last, last: last}
	}
	for i := g.committed.last + 1; i <= last; {
		if i <= l.base {
			// Unknown entries before what is known were committed, too.
			g.committed = log{base: l.base, baseTerm: l.baseTerm, last: l.base}
			i = l.base + 1
			continue
		}
		t, _ := l.term(i)
		end := last
		if k := l.runAt(i); k+1 < len(l.runs) {
			end = min(end, l.runs[k+1].first-1)
		}
		g.committed.extend(end, t)
		i = end + 1
	}
	g.commits = append(g.commits, commit{last, term})
	for t, leader := range g.leaders {
		if t > term && leader.won != nil {
			if err := g.complete1(t, leader, last); err != nil {
				return err
			}
		}
	}
	return nil
}

// complete1 is Leader Completeness of one leader for what was committed up to last.
func (g *group) complete1(term uint64, leader *leadership, last uint64) error {
	if same := common(leader.won, &g.committed); same < last {
		return fault("B-6", "node %d became leader of term %d without the committed entry %v", leader.node, term, idAt(&g.committed, same+1))
	}
	return nil
}

// committedBefore gives the last index that was committed by leaders of terms
// before one.
func (g *group) committedBefore(term uint64) uint64 {
	last := uint64(0)
	for _, c := range g.commits {
		if c.term < term {
			last = max(last, c.last)
		}
	}
	return last
}

func idAt(l *log, index uint64) ID {
	term, _ := l.term(index)
	return ID{term, index}
}

// configured notes the voters of a configuration entry, which are the same
// wherever it is.
func (g *group) configured(r *Record, id ID) error {
	voters := fmt.Sprint(r.Voters, r.Outgoing)
	if id == (ID{}) {
		return nil
	}
	if before, ok := g.configurations[id]; ok && before != voters {
		return fault("B-15", "the voters of configuration %v are %s, and elsewhere %s", id, voters, before)
	}
	g.configurations[id] = voters
	return nil
}

// newest gives the newest configuration entry known that a log holds.
func (g *group) newest(l *log) ID {
	var newest ID
	for id := range g.configurations {
		if id.Index > newest.Index && id.Index >= l.base && l.holds(id) {
			newest = id
		}
	}
	return newest
}

func (n *node) setVoters(r *Record, id ID) {
	n.config, n.voters, n.outs = id, slices.Clone(r.Voters), slices.Clone(r.Outgoing)
}
