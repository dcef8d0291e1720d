package explore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/quorate/quorate/raft"
)

// Unlimited, as a bound of a Scope: as often as one likes.
const Unlimited = -1

// maxReplicas bounds the size of a group.
const maxReplicas = 6

// A Scope is a group and what may happen to it. Explore visits every state that
// can be reached within the bounds, by every order of events. Whatever no field
// bounds is not bounded: messages are delivered in any order, late, again or
// never; a write becomes durable at any later moment, alone or with those before
// it; a crash loses any of what was not durable; timers fire whenever they run.
type Scope struct {
	Name string
	// About says in a line what the scope is for.
	About string

	// Voters and Learners are how many members there are: ids from 1 on, voters
	// first. Outgoing, if not empty, makes the configuration joint.
	Voters, Learners int
	Outgoing         []raft.NodeID

	// What of the protocol is in use beside what nothing can turn off.
	PreVote, CheckQuorum, Stickiness bool

	// Terms is the last term that an election begins.
	Terms raft.Term
	// How often each may happen in all, Unlimited or up to 15. Elections are
	// election timeouts, Contacts quorum contact timeouts, Disconnects lost
	// connections that are reported. Proposals are of one entry each.
	Elections, Heartbeats, Contacts, Proposals, Reads, Snapshots, Crashes, Disconnects int

	// InFlight is how many messages that will still be delivered are under way
	// at once, each delivered once and then again up to Duplicates times in all.
	// Zero is no bound: every message ever sent may be delivered at any moment,
	// any number of times.
	InFlight, Duplicates int

	// SyncWrites: a write is durable before anything else happens.
	SyncWrites bool
	// OneEntryPerMessage: an AppendEntries carries one entry, so that a follower
	// may receive any part of what it is sent.
	OneEntryPerMessage bool

	// Quick scopes are explored with every change.
	Quick bool
}

// Validate reports everything wrong with s.
func (s *Scope) Validate() error {
	var errs []error
	if n := s.Voters + s.Learners; s.Voters < 1 || s.Learners < 0 || n > maxReplicas {
		errs = append(errs, fmt.Errorf("%d voters and %d learners: at least one voter, at most %d members", s.Voters, s.Learners, maxReplicas))
	}
	for _, id := range s.Outgoing {
		if id < 1 || int(id) > s.Voters+s.Learners {
			errs = append(errs, fmt.Errorf("outgoing voter %d is no member", id))
		}
	}
	if s.Terms < 1 || s.Terms > maxTerms-1 {
		errs = append(errs, fmt.Errorf("the bound on terms (%d) must be within [1, %d]", s.Terms, maxTerms-1))
	}
	for kind, limit := range s.limits() {
		if limit < Unlimited || limit > maxUses {
			errs = append(errs, fmt.Errorf("bound on %v (%d) must be Unlimited or within [0, %d]", budget(kind), limit, maxUses))
		}
	}
	for _, must := range []struct {
		limit int
		name  string
	}{{s.Proposals, "Proposals"}, {s.Reads, "Reads"}} {
		if must.limit == Unlimited {
			errs = append(errs, fmt.Errorf("%s must be bounded, or there is no end of states", must.name))
		}
	}
	if s.InFlight < 0 {
		errs = append(errs, errors.New("InFlight must not be negative"))
	}
	if entries := int(s.Terms) + s.Proposals; entries > maxIndex {
		errs = append(errs, fmt.Errorf("%d terms and %d proposals are more than %d entries", s.Terms, s.Proposals, maxIndex))
	}
	return errors.Join(errs...)
}

// A budget is a kind of event that a scope bounds.
type budget uint8

const (
	elections budget = iota
	heartbeats
	contacts
	proposals
	reads
	snapshots
	crashes
	disconnects
	duplicates
	budgets

	unbounded // no budget of a scope
)

// maxUses is what a count of four bits bounds.
const maxUses = 15

// String gives the plural of what is bounded.
func (b budget) String() string {
	return [budgets + 2]string{
		"election timeouts", "heartbeats", "contact timeouts", "proposals", "reads", "snapshots", "crashes",
		"lost connections", "repeated deliveries", "", "",
	}[b]
}

func (s *Scope) limits() [budgets]int {
	limits := [budgets]int{
		s.Elections, s.Heartbeats, s.Contacts, s.Proposals, s.Reads, s.Snapshots, s.Crashes, s.Disconnects, s.Duplicates,
	}
	if s.InFlight == 0 {
		limits[duplicates] = Unlimited
	}
	return limits
}

// boundless is s without bounds: what can happen is what does.
func (s Scope) boundless() *Scope {
	s.Terms, s.InFlight = maxTerms-1, 0
	for _, limit := range [...]*int{
		&s.Elections, &s.Heartbeats, &s.Contacts, &s.Proposals, &s.Reads, &s.Snapshots, &s.Crashes, &s.Disconnects, &s.Duplicates,
	} {
		*limit = maxUses
	}
	return &s
}

// Bound says what is bounded, in a line.
func (s *Scope) Bound() string {
	parts := []string{counted(s.Voters, "voters")}
	if s.Learners > 0 {
		parts = append(parts, counted(s.Learners, "learners"))
	}
	if len(s.Outgoing) > 0 {
		parts = append(parts, fmt.Sprintf("joint with %v", s.Outgoing))
	}
	parts = append(parts, counted(int(s.Terms), "terms"))
	for kind, limit := range s.limits() {
		switch {
		case limit == Unlimited && budget(kind) != duplicates:
			parts = append(parts, fmt.Sprintf("any %v", budget(kind)))
		case limit > 0:
			parts = append(parts, counted(limit, budget(kind).String()))
		}
	}
	if s.InFlight == 0 {
		parts = append(parts, "any messages, any number of times")
	} else {
		parts = append(parts, counted(s.InFlight, "messages")+" in flight")
	}
	if s.SyncWrites {
		parts = append(parts, "writes durable at once")
	}
	if s.OneEntryPerMessage {
		parts = append(parts, "one entry a message")
	}
	for _, option := range []struct {
		on   bool
		name string
	}{{s.PreVote, "PreVote"}, {s.CheckQuorum, "CheckQuorum"}, {s.Stickiness, "stickiness"}} {
		if option.on {
			parts = append(parts, option.name)
		}
	}
	return strings.Join(parts, ", ")
}

// counted writes a number and a noun, of which it is given the plural.
func counted(n int, plural string) string {
	if n != 1 {
		return fmt.Sprintf("%d %s", n, plural)
	}
	for _, ending := range [...]struct{ plural, singular string }{{"ies", "y"}, {"shes", "sh"}, {"s", ""}} {
		if stem, ok := strings.CutSuffix(plural, ending.plural); ok {
			return "1 " + stem + ending.singular
		}
	}
	return "1 " + plural
}

// members are the ids of the group.
func (s *Scope) members() int { return s.Voters + s.Learners }

// configuration is that of the group.
func (s *Scope) configuration() raft.Configuration {
	c := raft.Configuration{Outgoing: s.Outgoing}
	for i := range s.members() {
		m := raft.Member{ID: raft.NodeID(i + 1), Role: raft.Voter}
		if i >= s.Voters {
			m.Role = raft.Learner
		}
		c.Members = append(c.Members, m)
	}
	return c
}

// config is how a replica of the group behaves.
func (s *Scope) config(id raft.NodeID) raft.Config {
	return raft.Config{
		ID: id, DisablePreVote: !s.PreVote, DisableCheckQuorum: !s.CheckQuorum, DisableStickiness: !s.Stickiness,
	}
}
