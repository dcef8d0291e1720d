package raft

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// groups are the configurations that the random schedules run under.
var groups = []struct {
	name          string
	configuration Configuration
}{
	{"three", voters(1, 2, 3)},
	{"five", voters(1, 2, 3, 4, 5)},
	{"three and a learner", Configuration{Members: []Member{
		{ID: 1, Role: Voter}, {ID: 2, Role: Voter}, {ID: 3, Role: Voter}, {ID: 4, Role: Learner},
	}}},
	{"joint", Configuration{
		Members: []Member{
			{ID: 1, Role: Learner}, {ID: 2, Role: Voter}, {ID: 3, Role: Voter}, {ID: 4, Role: Voter},
		},
		Outgoing: []NodeID{1, 2, 3},
	}},
	{"one", voters(1)},
}

// TestRandomSchedules runs whole groups under loss, duplication, reordering, long
// delay, slow disks, crashes that keep any prefix of the writes, timers at any
// moment, compaction and transfers, and asks the judge after every step: Election
// Safety, Leader Append-Only, Log Matching, Leader Completeness, State Machine
// Safety, durability of votes and acknowledgements, freshness of reads
// (EL-02, EL-06, EL-08, RP-01, RP-04, RP-06, RP-09, RP-12, RP-13, CM-01, CM-06,
// PS-01, PS-02, SN-07, SN-08, RD-02). At the end everything heals, and all must
// agree on everything (RP-11, B-28).
func TestRandomSchedules(t *testing.T) {
	seeds := 700
	if testing.Short() {
		seeds = 60
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			var total struct{ commits, elections, installs, reads, truncations int }
			for seed := range seeds {
				c := randomSchedule(t, uint64(seed), group.configuration, 1200)
				total.commits += c.done.commits
				total.elections += c.done.elections
				total.installs += c.done.installs
				total.reads += c.done.reads
				total.truncations += c.done.truncations
			}
			t.Logf("%+v", total)
			if total.commits == 0 || total.elections == 0 || total.reads == 0 {
				t.Errorf("nothing was tested: %+v", total)
			}
			if len(group.configuration.Members) > 1 && (total.installs == 0 || total.truncations == 0) {
				t.Errorf("schedules without installs or truncations: %+v", total)
			}
		})
	}
}

// schedule makes the failures of one seed readable: it names the seed.
type schedule struct {
	testing.TB
	seed uint64
	c    *cluster
}

func (s *schedule) Fatalf(format string, args ...any) {
	s.TB.Helper()
	s.TB.Fatalf("seed %d: %s\n%v", s.seed, fmt.Sprintf(format, args...), s.c)
}

func randomSchedule(t testing.TB, seed uint64, configuration Configuration, steps int) *cluster {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	s := &schedule{TB: t, seed: seed}
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("seed %d: %v\n%v", seed, p, s.c)
		}
	}()
	c := newCluster(s, Config{
		DisablePreVote:      seed%5 == 1,
		DisableStickiness:   seed%7 == 2,
		DisableCheckQuorum:  seed%11 == 3,
		MaxInFlightMessages: 1 + int(seed%4),
		MaxUncommittedBytes: 200 + int(seed%3)*1000,
		MaxPendingReads:     4,
	}, configuration)
	s.c = c
	c.start()
	for _, r := range c.replicas {
		r.disk.hardState.CurrentTerm = 1
	}
	// Each seed has a mood: how lossy, how slow its disks, how impatient.
	loss, elections, crashes := random.IntN(20), 1+random.IntN(8), random.IntN(6)
	any := func() *replica { return c.replicas[random.IntN(len(c.replicas))] }
	for range steps {
		switch n := random.IntN(200); {
		case n < 90 && len(c.network) > 0:
			i := 0
			if random.IntN(3) == 0 {
				i = random.IntN(len(c.network))
			}
			p := c.network[i]
			if random.IntN(10) != 0 { // else it stays, and comes again
				c.network = append(c.network[:i], c.network[i+1:]...)
			}
			if random.IntN(100) >= loss {
				if random.IntN(50) == 0 {
					m := p.Message
					c.sameInputSameEffects(c.get(p.To), &Receive{Message: m})
				}
				c.deliver(p)
			}
		case n < 115:
			c.flush(any())
		case n < 135:
			c.transmit(any(), 1+random.IntN(4))
		case n < 145:
			if l := c.leader(); l != nil {
				c.propose(l, 1+random.IntN(3))
			} else {
				c.propose(any(), 1)
			}
		case n < 150:
			c.apply(any())
		case n < 150+elections:
			c.fire(any(), ElectionTimer)
		case n < 164:
			c.fire(any(), StickinessTimer)
		case n < 172:
			c.fire(any(), HeartbeatTimer)
		case n < 174:
			c.fire(any(), QuorumContactTimer)
		case n < 174+crashes:
			if r := any(); r.raft != nil {
				c.crash(r, random.IntN(len(r.queue)+1))
			}
		case n < 188:
			if r := any(); r.raft == nil {
				c.restart(r)
			}
		case n < 192:
			c.read(any())
		case n < 195:
			c.takeSnapshot(any(), Index(random.IntN(4)))
		case n < 197:
			c.transfer(any(), random.IntN(3) != 0)
		case n < 198:
			r, other := any(), any()
			c.step(r, &PeerUnreachable{Peer: other.id}, nil)
		case n < 199 && random.IntN(10) == 0:
			c.step(any(), &Unreadable{Index: 1}, nil)
		}
		if len(c.network) > 200 {
			c.network = c.network[100:]
		}
	}
	heal(s, random)
	return c
}

// heal brings everybody back and expects progress: a leader, a commit, and equal
// logs within a bounded number of timeouts.
func heal(s *schedule, random *rand.Rand) {
	s.Helper()
	c := s.c
	for _, r := range c.replicas {
		if r.raft == nil {
			c.restart(r)
		}
	}
	c.settle()
	proposed := false
	for round := range 60 {
		for _, r := range c.replicas {
			c.fire(r, HeartbeatTimer)
		}
		c.settle()
		leader := c.leader()
		if leader == nil || round%10 == 9 {
			// Nobody leads as far as we see: let time pass for all, then one
			// of them loses its patience first.
			for _, r := range c.replicas {
				c.fire(r, QuorumContactTimer)
				c.fire(r, StickinessTimer)
			}
			c.fire(c.replicas[random.IntN(len(c.replicas))], ElectionTimer)
			c.settle()
			continue
		}
		if !proposed {
			proposed = c.propose(leader, 2)
			c.settle()
			continue
		}
		if equal(c, leader) {
			return
		}
	}
	s.Fatalf("no agreement after everything healed")
}

// equal reports whether all have applied all of the leader's log.
func equal(c *cluster, leader *replica) bool {
	for _, r := range c.replicas {
		if r.log.last() != leader.log.last() || r.applied != leader.log.last() || r.state != leader.state {
			return false
		}
	}
	return true
}
