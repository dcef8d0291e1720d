package sim

import (
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
)

// A Service is a server that is built on one replicated group, simulated whole:
// what its processes hold beside the replica, and the clients that talk to them.
// It takes the place of the registers and their clients, and judges what its own
// clients see. Like all that is simulated it starts no goroutine that runs by
// itself, reads no clock, and draws from the streams that it is given.
type Service interface {
	// Begin is called once, before the first event.
	Begin(w *World)
	// Reference makes the state machine that every committed entry is applied to
	// first; those of the processes must agree with it.
	Reference() check.Hasher
	// Boot begins a process and gives its state machine, as the node's disk has it
	// if it is an rsm.OnDisk.
	Boot(p *Process) (check.Hasher, error)
	// LeaderChanged says that the process knows another leader, or another term of
	// it.
	LeaderChanged(p *Process)
	// Ended says that a process is no more; its state machine is not closed.
	Ended(p *Process)
	// Probe draws a command that asks a cluster without faults for progress.
	Probe(r *rand.Rand) []byte
	// Stop has the clients begin nothing new. Quiet then says what is still under
	// way, and whether all that is to come true after faults has.
	Stop()
	Quiet() error
	// Finish judges what clients saw, at the end of a run in which nothing failed.
	Finish() error
	// Close is called at the end of every run.
	Close()
}

// World is what a Service sees of the run.
type World struct{ w *world }

// Now is the virtual time since the beginning.
func (s *World) Now() time.Duration { return time.Duration(s.w.now) }

// After has f happen in a while, to nobody in particular.
func (s *World) After(d time.Duration, f func()) { s.w.at(d, clientEvent, f) }

// Rand is the stream of the clients.
func (s *World) Rand() *rand.Rand { return s.w.clientRand }

// Nodes is how many there are; their ids count from 1.
func (s *World) Nodes() int { return len(s.w.nodes) }

// Process gives the one that runs on a node, or nil.
func (s *World) Process(id raft.NodeID) *Process {
	n := s.w.nodes[id-1]
	if !n.up || len(n.groups) == 0 || n.groups[0].gone {
		return nil
	}
	return n.groups[0].hosted
}

// Excused reports whether a node's disk was damaged, so that its replica may stay
// away, or behind.
func (s *World) Excused(id raft.NodeID) bool {
	n := s.w.nodes[id-1]
	return n.sick || n.away
}

// Paused reports whether the process on a node is stopped, and for how long.
func (s *World) Paused(id raft.NodeID) (time.Duration, bool) {
	n := s.w.nodes[id-1]
	return time.Duration(n.paused - s.w.now), n.up && n.paused > s.w.now
}

// Calm reports whether faults have ceased, for now or for ever.
func (s *World) Calm() bool { return s.w.calm }

// ElectionTimeout, Think, Patience and Latency are those of the run: the time of
// a client between two operations, how long it waits for one, and how long a
// packet takes.
func (s *World) ElectionTimeout() time.Duration { return s.w.p.election }

// Think is a client's time between two operations.
func (s *World) Think() time.Duration { return s.w.p.think }

// Patience is how long a client waits for an operation.
func (s *World) Patience() time.Duration { return s.w.p.patience }

// Latency is how long a packet takes when nothing ails the network.
func (s *World) Latency() time.Duration { return s.w.p.latency }

// Clients is how many clients there are to be.
func (s *World) Clients() int { return s.w.p.clients }

// Began counts an operation of a client, of which a run has so many at least.
func (s *World) Began() { s.w.operations++ }

// Note makes numbers part of the run's hash.
func (s *World) Note(values ...uint64) { s.w.note(values...) }

// Fail ends the run: something is not as it must be. Where clients alone judge, it
// does not count.
func (s *World) Fail(err error) { s.w.fail(err) }

// Seen ends the run: a client was told what is wrong.
func (s *World) Seen(err error) { s.w.end(err) }

// Failed reports whether the run has failed.
func (s *World) Failed() bool { return s.w.err != nil }

// Tracef tells what happens, if anybody listens.
func (s *World) Tracef(format string, args ...any) { s.w.tracef(format, args...) }

// Process is one run of a server process on a node, from its start until it is
// killed.
type Process struct {
	g    *group
	boot int
	led  leadership
	born raft.Term
}

// leadership is what a Service was last told.
type leadership struct {
	leader raft.NodeID
	term   raft.Term
}

// Node is the id of the node that it runs on.
func (p *Process) Node() raft.NodeID { return p.g.n.id }

// Running reports whether it still does, with its replica.
func (p *Process) Running() bool { return p.g.n.up && p.g.n.boot == p.boot && !p.g.gone }

// After has f happen in a while, unless the process has ended by then; later if it
// is paused.
func (p *Process) After(d time.Duration, f func()) { p.g.n.after(d, workerEvent, f) }

// Rand is the stream of the nodes.
func (p *Process) Rand() *rand.Rand { return p.g.w.nodeRand }

// Leader gives who leads in which term, as far as the process knows.
func (p *Process) Leader() (raft.NodeID, raft.Term) { return p.g.leader, p.g.term }

// Born is the term at which the process began.
func (p *Process) Born() raft.Term { return p.born }

// Exists reports whether its group has been created, as far as it knows.
func (p *Process) Exists() bool { return p.g.replica.Exists() }

// Status is its replica's.
func (p *Process) Status() raft.Status { return p.g.replica.Status() }

// Applied is the last entry that its state machine holds.
func (p *Process) Applied() raft.Index { return p.g.applier.At().ID.Index }

// Propose hands a command to its replica. Done is called once, unless the process
// ends first.
func (p *Process) Propose(command []byte, done func(replica.Outcome, rsm.Result)) {
	if !p.Running() {
		return
	}
	p.g.inbox.proposals = append(p.g.inbox.proposals, &serviceProposal{command, done})
	p.g.n.wake()
}

type serviceProposal struct {
	command []byte
	done    func(replica.Outcome, rsm.Result)
}

func (s *serviceProposal) Command() []byte { return s.command }

func (s *serviceProposal) Done(outcome replica.Outcome, result rsm.Result) { s.done(outcome, result) }

// Read calls ready once, unless the process ends first, when a linearizable read
// may look at the state machine, or must not. Whoever waits says with abandoned
// that he does not any more.
func (p *Process) Read(ready func(replica.Outcome), abandoned func() bool) {
	if !p.Running() {
		return
	}
	r := &serviceRead{p: p, floor: p.g.judge.ReadBegun(), ready: ready, abandoned: abandoned}
	p.g.inbox.reads = append(p.g.inbox.reads, r)
	p.g.n.wake()
}

type serviceRead struct {
	p         *Process
	floor     raft.Index
	ready     func(replica.Outcome)
	abandoned func() bool
}

func (r *serviceRead) Abandoned() bool { return r.abandoned() }

func (r *serviceRead) Ready(outcome replica.Outcome) {
	g := r.p.g
	if outcome != replica.Applied {
		r.ready(outcome)
		return
	}
	// Whoever reads does so a little later, beside the applying.
	g.n.after(g.w.p.wake, readEvent, func() {
		if g.gone {
			return
		}
		g.judge.ReadDone(g.n.id, r.floor, g.applier.At().ID.Index)
		r.ready(outcome)
	})
}

// Carry has f happen at another process when a packet arrives there, if it does.
func (p *Process) Carry(to raft.NodeID, f func(*Process)) {
	p.g.w.net.carry(p.g.n, to, func(n *node) {
		if len(n.groups) > 0 && !n.groups[0].gone {
			f(n.groups[0].hosted)
		}
	})
}

// Hurt says that the process's disk fails it, so that giving up is right.
func (p *Process) Hurt() { p.g.n.hurt = true }

// tellLeader tells the service of another leader.
func (g *group) tellLeader() {
	if now := (leadership{g.leader, g.term}); g.hosted != nil && g.hosted.led != now {
		g.hosted.led = now
		g.w.service.LeaderChanged(g.hosted)
	}
}
