package trace

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A Violation is an event that is not Raft's.
type Violation struct {
	// Rule is the row of the rule or property that it breaks.
	Rule    string `json:"rule"`
	Message string `json:"message"`
	Record  Record `json:"record"`
}

// Error tells what is broken, and by which event.
func (v *Violation) Error() string {
	r := &v.Record
	return fmt.Sprintf("%s: node %d (start %d), group %d, record %d, %s in term %d: %s", v.Rule, r.Node, r.Boot, r.Group, r.Seq, r.Kind, r.Term, v.Message)
}

// Verdict is what became of a validation.
type Verdict struct {
	// Records, Nodes and Groups count what was read.
	Records int `json:"records"`
	Nodes   int `json:"nodes"`
	Groups  int `json:"groups"`
	// Complete: nothing is missing, so that every event had to have its cause.
	Complete bool `json:"complete"`
	// Unjudged counts the events that rest on what no record tells, in traces
	// that are not complete.
	Unjudged int `json:"unjudged"`
	// Violation is the first that was found, nil if all is well.
	Violation *Violation `json:"violation"`
}

// brokenRule is an event that breaks a rule.
type brokenRule struct{ rule, message string }

func (f *brokenRule) Error() string { return f.rule + ": " + f.message }

func fault(rule, format string, args ...any) error {
	return &brokenRule{rule, fmt.Sprintf(format, args...)}
}

// missingCause is an event whose cause has not been seen yet.
type missingCause struct{ rule, message string }

func (c *missingCause) Error() string { return c.rule + ": " + c.message }

// Verify judges records of any number of nodes and groups: those of one node in
// the order of its starts and of their Seq, those of different nodes in any.
// Complete says that nothing is missing; otherwise an event whose cause is
// nowhere is passed over and counted.
func Verify(records []Record, complete bool) Verdict {
	v := Verdict{Records: len(records), Complete: complete}
	sorted := make([]*Record, len(records))
	for i := range records {
		sorted[i] = &records[i]
	}
	// The order of files does not count, that of one node's records does.
	slices.SortStableFunc(sorted, func(a, b *Record) int {
		if c := compare(a.Node, b.Node); c != 0 {
			return c
		}
		return compare(a.Boot, b.Boot)
	})
	groups := map[uint64]*group{}
	var order []*group
	var before *Record
	for _, r := range sorted {
		if before == nil || before.Node != r.Node {
			v.Nodes++
		}
		if err := follows(before, r, complete); err != nil {
			v.Violation = violation(err, r)
			return v
		}
		before = r
		g := groups[r.Group]
		if g == nil {
			g = newGroup(r.Group, complete)
			groups[r.Group] = g
			order = append(order, g)
		}
		n := g.node(r.Node)
		n.records = append(n.records, r)
	}
	v.Groups = len(order)
	for _, g := range order {
		r, err := g.run()
		v.Unjudged += g.unjudged
		if err != nil {
			v.Violation = violation(err, r)
			return v
		}
	}
	return v
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// follows checks the numbers of a node's records: none is missing in between.
func follows(before, r *Record, complete bool) error {
	switch {
	case r.Seq == 0:
		return fault("trace", "a record without a number")
	case before != nil && before.Node == r.Node && before.Boot == r.Boot:
		if r.Seq != before.Seq+1 {
			return fault("trace", "record %d follows record %d", r.Seq, before.Seq)
		}
	case complete && r.Seq != 1:
		return fault("trace", "a complete trace begins with record %d of a start", r.Seq)
	}
	return nil
}

func violation(err error, r *Record) *Violation {
	var broken *brokenRule
	if errors.As(err, &broken) {
		return &Violation{Rule: broken.rule, Message: broken.message, Record: *r}
	}
	var missing *missingCause
	if errors.As(err, &missing) {
		return &Violation{Rule: missing.rule, Message: missing.message + ", and nothing in the trace tells of it", Record: *r}
	}
	return &Violation{Rule: "trace", Message: err.Error(), Record: *r}
}

// run lets events happen, each once its causes have.
func (g *group) run() (*Record, error) {
	slices.SortFunc(g.order, func(a, b *node) int { return compare(a.id, b.id) })
	force := false
	for {
		progress, left := false, (*node)(nil)
		for _, n := range g.order {
			for n.next < len(n.records) {
				r := n.records[n.next]
				err := g.happen(n, r, force)
				var missing *missingCause
				if errors.As(err, &missing) {
					left = n
					break
				}
				if err != nil {
					return r, err
				}
				n.next++
				progress, force = true, false
			}
		}
		switch {
		case left == nil:
			return nil, nil
		case progress:
		case g.complete:
			return g.stuck()
		default:
			// Its cause is not in the trace: go on without it.
			force = true
			g.unjudged++
		}
	}
}

// stuck names the event that lacks its cause, of the node that is stuck most
// simply: the one that waits for something of a node that has nothing left.
func (g *group) stuck() (*Record, error) {
	var err error
	var at *Record
	for _, n := range g.order {
		if n.next == len(n.records) {
			continue
		}
		r := n.records[n.next]
		e := g.happen(n, r, false)
		if at == nil || r.Term < at.Term {
			err, at = e, r
		}
	}
	return at, err
}

// happen lets an event happen: it is judged, and then what it says holds. With
// force a missing cause is no obstacle.
func (g *group) happen(n *node, r *Record, force bool) error {
	rule := rules[r.Kind]
	if r.Kind != "started" {
		if !n.begun || n.boot != r.Boot {
			if g.complete {
				return fault("trace", "an event of a replica that has not started")
			}
			n.join(r)
		}
		if err := g.stands(n, r, rule); err != nil {
			return err
		}
	}
	if n.deposed && r.Kind != "became-follower" && r.Kind != "started" {
		return fault("EL-01", "a leader that adopted a newer term does not say that it follows")
	}
	if r.Peer != 0 && r.Kind != "started" && g.complete && g.nodes[r.Peer] == nil && !slices.Contains(n.voters, r.Peer) && !slices.Contains(n.outs, r.Peer) {
		return fault("trace", "node %d is nobody", r.Peer)
	}
	c := &check{group: g, node: n, r: r, force: force}
	if err := rule.check(c); err != nil {
		return err
	}
	g.acknowledge(n)
	return nil
}

// join begins with a node in the middle, of whom all before is unknown.
func (n *node) join(r *Record) {
	*n = node{
		id: n.id, records: n.records, next: n.next, had: maps.Clone(n.ackable), ackable: n.ackable, open: map[uint64]bool{},
		begun: true, boot: r.Boot, state: r.State, term: r.Term, log: &log{},
		hard: []hardState{{}}, // what is on disk is not known
	}
	switch r.Kind {
	case "term-adopted", "election-started":
		n.term-- // is to rise
	}
	n.joined = n.term
	if next := rules[r.Kind].becomes; next != "" {
		n.state = "" // any
	}
}

// stands checks term and state, which an event tells as they are after it.
func (g *group) stands(n *node, r *Record, rule rule) error {
	term := n.term
	switch {
	case rule.raises && r.Term <= n.term:
		return fault("EL-02", "the term goes from %d to %d", n.term, r.Term)
	case rule.raises:
		term = r.Term
	}
	if r.Term != term {
		return fault("EL-02", "is of term %d, the replica is in term %d", r.Term, term)
	}
	state := n.state
	if rule.becomes != "" {
		state = rule.becomes
	}
	if n.state != "" && r.State != state || rule.becomes != "" && r.State != rule.becomes {
		return fault("EL-01", "the replica is a %s, the event says %s", state, r.State)
	}
	if len(rule.of) > 0 && n.state != "" && !slices.Contains(rule.of, n.state) {
		return fault("EL-01", "happens to a %s", n.state)
	}
	return nil
}
