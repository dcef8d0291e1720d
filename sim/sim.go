package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/internal/invariant"
	"github.com/quorate/quorate/raft"
)

// world is one run.
type world struct {
	cfg  Config
	p    profile
	now  instant
	q    queue
	hash uint64
	// events counts, and is the number of the one that happens now.
	events int

	// Streams apart from each other, so that to draw more from one changes
	// nothing in the others.
	netRand, diskRand, faultRand, clientRand, nodeRand *rand.Rand
	operatorRand, judgeRand, aimRand                   *rand.Rand

	nodes  []*node
	net    network
	judges []*check.Group // by group, the first is group 1
	// references are the judges' own state machines.
	references []*machine
	clients    []*client
	service    Service // in place of clients, or nil
	calm       bool    // faults are over, for now or for ever
	faults     int
	script     Script       // what befell
	asleep     instant      // until when all stand still
	steady     []raft.Term  // by group, while nothing may disturb its leader
	armed      []Fault      // wait for a moment
	struck     func(*Fault) // strike, for whom it calls in the end
	staged     instant      // until when a scenario goes on
	healed     int          // how many times faults have ended
	slowest    struct{ leader, commit float64 }

	operations  int
	subject     *Subject
	history     [][]check.Witnessed // by group, for linearizability
	outstanding map[uint64]*operation
	commits     map[uint64]commit // by operation
	refused     map[uint64]bool
	nextOp      uint64

	coverage Coverage
	err      error
	done     bool
}

// commit is when and where an operation was committed.
type commit struct {
	at    instant
	index raft.Index
}

// The streams' names; they are part of what a seed means.
const (
	profileStream = 0x70726f66 + iota
	networkStream
	diskStream
	faultStream
	clientStream
	nodeStream
	operatorStream
	judgeStream
	aimStream
)

func stream(seed, name uint64) *rand.Rand {
	return rand.New(rand.NewPCG(mix(seed+0x9e3779b97f4a7c15), mix(name^seed<<1)))
}

// Limits of a run that goes on for ever, which is an error.
const (
	eventsMax  = 4_000_000
	virtualMax = 20 * time.Minute
)

// entryBytesMax is more than any one entry of a run: a message has at least one,
// whatever the bounds.
const entryBytesMax = 64 << 10

// Run simulates one seed to its end, or to the first broken property.
func Run(cfg Config) (result Result) {
	w := &world{
		cfg:          cfg,
		netRand:      stream(cfg.Seed, networkStream),
		diskRand:     stream(cfg.Seed, diskStream),
		faultRand:    stream(cfg.Seed, faultStream),
		clientRand:   stream(cfg.Seed, clientStream),
		nodeRand:     stream(cfg.Seed, nodeStream),
		operatorRand: stream(cfg.Seed, operatorStream),
		judgeRand:    stream(cfg.Seed, judgeStream),
		aimRand:      stream(cfg.Seed, aimStream),
		outstanding:  map[uint64]*operation{},
		commits:      map[uint64]commit{},
		refused:      map[uint64]bool{},
		hash:         14695981039346656037,
	}
	w.struck = w.strike
	w.p = drawProfile(&cfg, stream(cfg.Seed, profileStream))
	w.drawAims()
	if cfg.Service != nil {
		w.service = cfg.Service()
		defer w.service.Close()
	}
	w.build()
	w.run()
	if w.err == nil && w.service != nil {
		if err := w.service.Finish(); err != nil {
			w.fail(err)
		}
	}
	if w.err == nil || w.cfg.ClientsOnly {
		w.judgeHistory()
	}
	w.script.Seed, w.script.Heavy = cfg.Seed, cfg.Heavy
	w.script.Nodes, w.script.Groups, w.script.Clients = cfg.Voters, cfg.Groups, cfg.Clients
	return Result{
		Script: &w.script, LeaderAfter: w.slowest.leader, CommitAfter: w.slowest.commit,
		Seed: cfg.Seed, Err: w.err, Hash: w.hash, Events: w.events, Virtual: time.Duration(w.now),
		Voters: w.p.voters, Groups: w.p.groups, Operations: w.operations, Faults: w.faults, Coverage: w.coverage,
	}
}

func (w *world) build() {
	var ids []raft.NodeID
	for i := range w.p.voters {
		ids = append(ids, raft.NodeID(i+1))
	}
	w.history = make([][]check.Witnessed, w.p.groups)
	switch w.subject = w.cfg.Subject; {
	case w.service != nil:
		w.subject = probes(w.service)
	case w.subject == nil:
		w.subject = registerSubject(&w.p)
	}
	for i := range w.p.groups {
		reference, err := w.newMachine(Place{Group: raft.GroupID(i + 1)})
		if err != nil {
			w.fail(err)
			return
		}
		g := check.NewGroup(raft.GroupID(i+1), ids, reference)
		g.Bound(check.Bounds{
			InFlightMessages: w.p.maxInFlight, InFlightBytes: w.p.inFlightBytes + w.p.maxBatchBytes + entryBytesMax,
			Votes: true, Transitions: true,
		})
		g.OnCommit(func(e *entry.Entry) { w.committed(i, e) })
		w.references = append(w.references, reference)
		w.judges = append(w.judges, g)
	}
	w.steady = make([]raft.Term, w.p.groups)
	w.net.init(w)
	for _, id := range ids {
		w.nodes = append(w.nodes, newNode(w, id, ids))
	}
	w.tracef("seed %d: %d voters, %d groups, election timeout %v, heartbeat %v, latency %v", w.cfg.Seed, w.p.voters, w.p.groups, w.p.election, w.p.heartbeat, w.p.latency)
	for _, n := range w.nodes {
		w.at(between(w.nodeRand, 0, w.p.election), faultEvent, func() { n.start() })
	}
	if w.service != nil {
		w.service.Begin(&World{w})
	} else {
		w.startClients()
	}
	w.startSchedule()
}

// at schedules something that is nobody's in particular.
func (w *world) at(in time.Duration, kind eventKind, do func()) {
	w.q.push(event{at: w.now.after(in), kind: kind, do: do})
}

func (w *world) run() {
	for !w.done && w.err == nil {
		e, ok := w.q.pop()
		if !ok {
			w.end(errors.New("sim: nothing is left to happen"))
			return
		}
		if e.node != nil {
			if !e.node.up || e.node.boot != e.boot {
				continue
			}
			if e.node.paused > e.at {
				e.at = e.node.paused
				w.q.push(e)
				continue
			}
		}
		w.now = e.at
		w.events++
		if w.events > eventsMax || time.Duration(w.now) > virtualMax {
			w.end(fmt.Errorf("sim: not done after %d events and %v", w.events, time.Duration(w.now)))
			return
		}
		w.note(uint64(e.at), uint64(e.kind))
		w.step(&e)
		for _, g := range w.judges {
			if v := g.Err(); v != nil && !w.cfg.ClientsOnly {
				w.fail(v)
			}
		}
	}
}

// step lets an event happen. A broken invariant of the replicas is a violation
// like any other.
func (w *world) step(e *event) {
	defer func() {
		switch broken := recover().(type) {
		case nil:
		case *invariant.Error:
			w.fail(broken)
			if w.cfg.ClientsOnly {
				w.crash(e.node)
			}
		case powerLost:
			broken.node.lose(nil)
		default:
			panic(broken)
		}
	}()
	e.do()
}

// fail ends the run: something is broken inside.
func (w *world) fail(err error) {
	if w.cfg.ClientsOnly {
		w.tracef("clients do not see: %v", err)
		return
	}
	w.end(err)
}

// crash ends a process that found itself broken.
func (w *world) crash(n *node) {
	if n != nil && n.up {
		n.kill(between(w.operatorRand, 0, 4*w.p.election))
	}
}

// end ends the run: something is broken, and clients can see it.
func (w *world) end(err error) {
	if w.err != nil {
		return
	}
	w.err = fmt.Errorf("at %v, event %d: %w", time.Duration(w.now), w.events, err)
	w.tracef("FAILED: %v", err)
}

// note makes numbers part of the run's hash (FNV-1a over words).
func (w *world) note(values ...uint64) {
	for _, v := range values {
		w.hash = (w.hash ^ v) * 1099511628211
		w.hash ^= w.hash >> 32
	}
}

func (w *world) count(c counter) { w.coverage[c]++ }

// tracef tells what happens.
func (w *world) tracef(format string, args ...any) {
	if w.cfg.Trace == nil {
		return
	}
	fmt.Fprintf(w.cfg.Trace, "%12.6f  ", float64(w.now)/1e6)
	fmt.Fprintf(w.cfg.Trace, format, args...)
	fmt.Fprintln(w.cfg.Trace)
}
