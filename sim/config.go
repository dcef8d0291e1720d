package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/raft"
)

// Config says what to simulate. With a Seed alone everything else is drawn from
// it.
type Config struct {
	// Seed decides everything: two runs of one Seed and equal other fields are
	// equal event by event.
	Seed uint64
	// Voters is the number of nodes; zero draws 1, 3 or 5. Groups is how many
	// groups each hosts; zero draws 1 to 3.
	Voters, Groups int
	// Clients is how many there are; zero draws 3 to 8, or of heavy runs 8 to 16.
	Clients int
	// Heavy: five voters, and at least 2,000 operations and 20 faults.
	Heavy bool
	// Operations is how many client operations are at least begun, Faults how
	// many faults injected. Zero means 500 and 10.
	// A Script has its own faults.
	Operations, Faults int
	// Quiet injects no fault at all.
	Quiet bool
	// Script, if not nil, says which faults there are, instead of the seed. Whoever
	// sets it sets Seed, Heavy, Voters, Groups and Clients from it, too: see
	// Script.Run.
	Script *Script
	// ClientsOnly judges what clients see and nothing else: whether it is
	// linearizable, and whether a cluster without faults answers. What is broken
	// inside is for them a process that crashes.
	ClientsOnly bool

	// Subject, if not nil, is the state machine under test, in place of built-in
	// registers.
	Subject *Subject

	// Service, if not nil, makes a whole server of one group, and its clients, in
	// place of a Subject. A run has its own.
	Service func() Service

	// Events, if not nil, is told every event of every replica, with the number
	// of its node's start.
	Events func(at time.Duration, node raft.NodeID, boot int, group raft.GroupID, e *raft.Event)

	// Trace, if not nil, is told what happens and why, a line per event.
	Trace io.Writer

	// noSearch leaves histories to the order of the log.
	noSearch bool
	// plant is a bug of the simulated nodes, for tests of the judges.
	plant plant
}

// Result is what became of a run.
type Result struct {
	Seed uint64
	// Err is the first broken property, or why the run could not go on; nil if
	// all is well.
	Err error
	// Hash is that of all events: equal for equal runs.
	Hash uint64
	// Events counts them; Virtual is how long the run took on its own clock.
	Events  int
	Virtual time.Duration
	// Voters and Groups as drawn. Operations counts what clients began, Faults
	// what was injected.
	Voters, Groups, Operations, Faults int
	// Coverage counts faults and interesting states by name.
	Coverage Coverage
	// Script tells the faults of the run, one by one.
	Script *Script
	// LeaderAfter and CommitAfter are the longest times that a quorum which was
	// healed took to have a leader in each group and to commit in each, in longest
	// election timeouts.
	LeaderAfter, CommitAfter float64
}

// Replay is the command that runs the same seed again, telling what happens.
func (r *Result) Replay() string {
	if !r.Script.Heavy {
		return fmt.Sprintf("quorate sim --seed %d --trace", r.Seed)
	}
	return fmt.Sprintf("quorate sim replay %d --trace", r.Seed)
}

// profile is what a seed draws: the sizes of the cluster, the manner of its
// network and disks, and which faults befall it (each seed another subset, so
// that rare combinations occur).
type profile struct {
	voters, groups int
	clients        int
	operations     int
	faults         int

	election, heartbeat time.Duration
	think               time.Duration // of a client between operations
	patience            time.Duration // of a client for an operation
	attachmentMax       int
	readShare           float64
	skew                float64 // how much more the first group is used
	hot                 bool    // half of what is asked concerns two registers

	// The runtime's bounds.
	segmentBytes               int64
	maxBatchBytes, cacheBytes  int
	maxUnapplied               int
	snapshotBytes, tailBytes   int64
	snapshotFactor             int
	maxUncommitted             int
	maxInFlight, inFlightBytes int
	chunkBytes                 int
	wake                       time.Duration // from work to a worker that looks at it

	// The network, when nothing ails it.
	latency, jitter time.Duration
	ordered         bool

	// The disk.
	syncTime, readTime, applyTime time.Duration

	mean    time.Duration // between faults
	weight  [faultKinds]float64
	aimed   float64 // the share of faults that wait for a moment, of those that can
	staged  float64 // the share of faults that are scenarios
	damages int     // of how many nodes the disk may be damaged
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

func drawProfile(cfg *Config, r *rand.Rand) profile {
	p := profile{
		voters:         pick(r, 1, 3, 3, 3, 5, 5),
		groups:         pick(r, 1, 1, 2, 3),
		clients:        3 + r.IntN(6),
		operations:     500,
		faults:         10,
		election:       between(r, 80*time.Millisecond, 200*time.Millisecond),
		attachmentMax:  pick(r, 16, 64, 256, 1024),
		readShare:      pick(r, 0.1, 0.3, 0.6),
		skew:           pick(r, 1.0, 1.0, 20.0),
		segmentBytes:   pick[int64](r, 16<<10, 32<<10, 64<<10),
		maxBatchBytes:  pick(r, 512, 2<<10, 64<<10),
		cacheBytes:     pick(r, 0, 1<<10, 8<<10, 64<<10),
		snapshotBytes:  pick[int64](r, 2<<10, 8<<10, 32<<10),
		snapshotFactor: pick(r, 1, 2, 4),
		maxUncommitted: pick(r, 4<<10, 64<<20, 64<<20),
		maxInFlight:    pick(r, 2, 16, 256),
		inFlightBytes:  pick(r, 2<<10, 16<<20),
		chunkBytes:     pick(r, 128, 512, 4096),
		wake:           between(r, 0, 50*time.Microsecond),
		latency:        between(r, 50*time.Microsecond, 4*time.Millisecond),
		ordered:        r.IntN(2) == 0,
		syncTime:       between(r, 20*time.Microsecond, 3*time.Millisecond),
		readTime:       between(r, 5*time.Microsecond, 2*time.Millisecond),
		applyTime:      between(r, time.Microsecond, time.Millisecond),
	}
	p.jitter = time.Duration(float64(p.latency) * pick(r, 0.1, 1, 3))
	if cfg.Heavy {
		p.voters, p.groups = 5, pick(r, 1, 1, 1, 2)
		p.clients = 8 + r.IntN(9)
		p.operations, p.faults = 2000, 20
	}
	p.heartbeat = p.election / time.Duration(3+r.IntN(6))
	p.tailBytes = pick(r, 0, p.snapshotBytes/4, p.snapshotBytes)
	p.maxUnapplied = pick(r, p.maxBatchBytes, 4*p.maxBatchBytes)
	p.think = p.election / time.Duration(1+r.IntN(8))
	p.patience = p.election * time.Duration(2+r.IntN(8))
	p.mean = p.election * time.Duration(1+r.IntN(4))
	if cfg.Heavy {
		p.think /= 6
		p.mean /= 2
	}
	for k := range SlowLinks { // drawAims draws the rest, from a stream of its own
		if r.IntN(3) > 0 {
			p.weight[k] = 0.1 + r.Float64()
		}
	}
	p.weight[MinutesLate] /= 4
	for _, k := range [...]FaultKind{RotLog, RotSnapshot, MisdirectWrite, StaleWrite, WipeDisk} {
		p.weight[k] /= 2 // a node whose disk was hurt shows little afterwards
	}
	p.damages = pick(r, 0, 1, 1, 2)
	p.weight[pick(r, PowerLoss, Kill, CutOneWay, Partition)] = 1
	if cfg.Voters > 0 {
		p.voters = cfg.Voters
	}
	if cfg.Groups > 0 {
		p.groups = cfg.Groups
	}
	if cfg.Service != nil {
		p.groups = 1
	}
	if cfg.Clients > 0 {
		p.clients = cfg.Clients
	}
	if cfg.Operations > 0 {
		p.operations = cfg.Operations
	}
	if cfg.Faults > 0 {
		p.faults = cfg.Faults
	}
	return p
}
