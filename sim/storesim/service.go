package storesim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/sim"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
	"github.com/quorate/quorate/store/twin"
)

// Service is servers and their clients in one simulated run.
type Service struct {
	world *sim.World
	twin  *twin.Twin
	// applied is the last entry that the twin has, wanted what it answered to each.
	applied uint64
	wanted  map[raft.Index]*outcome

	disks     []*engine.Memory
	flushTime time.Duration // that a flush takes at most
	processes []*process    // by node, of the last start
	current   *task

	clients []*client
	viewers []*viewer
	stopped bool
	calm    time.Duration // since when there are no faults; negative: there are

	// values are what puts wrote, by the value, each of another put.
	values map[string]*written
	leases leaseJudge

	coverage *Coverage
	plant    plant
	// clientsOnly: stores are not looked into.
	clientsOnly bool
}

var quiet = slog.New(slog.DiscardHandler)

// Config is that of a run of one seed. What it brings about is added to coverage,
// which may be nil.
func Config(seed uint64, coverage *Coverage) sim.Config { return config(seed, coverage, 0, false) }

// ClientsOnly is a run that is judged by what clients and watchers are told and by
// nothing else: no store is compared with its twin.
func ClientsOnly(seed uint64) sim.Config { return config(seed, nil, 0, true) }

func config(seed uint64, coverage *Coverage, plant plant, clientsOnly bool) sim.Config {
	if coverage == nil {
		coverage = new(Coverage)
	}
	service := func() sim.Service {
		return &Service{
			twin: twin.New(), wanted: map[raft.Index]*outcome{}, values: map[string]*written{},
			leases: leaseJudge{known: map[int64]*leaseState{}}, coverage: coverage, calm: -1, plant: plant, clientsOnly: clientsOnly,
		}
	}
	return sim.Config{Seed: seed, Operations: 1000, Faults: 20, Service: service, ClientsOnly: clientsOnly}
}

// Begin makes the disks and the clients.
func (s *Service) Begin(w *sim.World) {
	s.world = w
	s.disks = make([]*engine.Memory, w.Nodes())
	s.processes = make([]*process, w.Nodes())
	s.flushTime = []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second}[w.Rand().IntN(3)]
	for i := range s.disks {
		s.disks[i] = engine.NewMemory(store.Split)
	}
	for i := range w.Clients() {
		s.startClient(i)
	}
	for i := range 1 + w.Rand().IntN(3) {
		s.startViewer(i)
	}
	s.lookAround()
}

// lookAround notices when faults cease, and has engines fail.
func (s *Service) lookAround() {
	r := s.world.Rand()
	s.world.After(time.Duration(r.Int64N(int64(s.world.ElectionTimeout()))), func() {
		switch {
		case !s.world.Calm():
			s.calm = -1
			if r.IntN(40) == 0 {
				s.failEngine(raft.NodeID(1 + r.IntN(s.world.Nodes())))
			}
		case s.calm < 0:
			s.calm = s.world.Now()
		}
		s.lookAround()
	})
}

// failEngine has a node's engine fail for good: its replica has to stop, and to
// say so.
func (s *Service) failEngine(id raft.NodeID) {
	p := s.processOf(s.world.Process(id))
	if p == nil {
		return
	}
	s.count(countEngineFailed)
	s.world.Tracef("fault: node %d: the store's engine fails", id)
	p.on.Hurt()
	p.disk.Fail(errDisk)
}

// processOf gives what belongs to a process, if it runs.
func (s *Service) processOf(on *sim.Process) *process {
	if !alive(on) {
		return nil
	}
	if p := s.processes[on.Node()-1]; p != nil && p.on == on && !p.ended {
		return p
	}
	return nil
}

// Reference is the twin, as a state machine.
func (s *Service) Reference() check.Hasher { return &reference{s} }

// Boot begins a process.
func (s *Service) Boot(on *sim.Process) (check.Hasher, error) {
	p, err := s.boot(on)
	if err != nil {
		return nil, err
	}
	s.processes[on.Node()-1] = p
	m := &machine{p.store, p}
	p.machine = m
	if p.store.Status().Applied > 0 {
		s.count(countRecovered)
	}
	if err := m.compareAll(); err != nil {
		return nil, fmt.Errorf("after a restart: %w", err)
	}
	return m, nil
}

// LeaderChanged tells the process.
func (s *Service) LeaderChanged(on *sim.Process) {
	if p := s.processOf(on); p != nil {
		p.group.leaderChanged()
		leader, _ := on.Leader()
		p.keeper.LeaderChanged(leader == on.Node())
	}
}

// Ended ends the process.
func (s *Service) Ended(on *sim.Process) {
	if p := s.processes[on.Node()-1]; p != nil && p.on == on {
		p.end()
	}
}

// Probe is a put.
func (s *Service) Probe(r *rand.Rand) []byte {
	return store.AppendCommand(nil, &store.PutRequest{Key: []byte("probe"), Value: fmt.Appendf(nil, "probe %d", r.Uint64())})
}

// Stop has the clients begin nothing new.
func (s *Service) Stop() {
	s.stopped = true
	for _, v := range s.viewers {
		v.rouse()
	}
}

// Quiet says what is still under way.
func (s *Service) Quiet() error {
	for _, c := range s.clients {
		if !c.idle {
			return fmt.Errorf("client %d waits", c.id)
		}
	}
	for _, v := range s.viewers {
		if err := v.quiet(); err != nil {
			return err
		}
	}
	return s.leases.overdue(s)
}

// Finish compares all stores at the end, and looks for what was acknowledged and lost.
func (s *Service) Finish() error {
	if !s.clientsOnly {
		if err := s.compareStores(); err != nil {
			return err
		}
	}
	for _, value := range slices.Sorted(maps.Keys(s.values)) { // so that the same seed tells the same
		if w := s.values[value]; w.acknowledged && w.revisions == 0 {
			s.world.Seen(fmt.Errorf("a put of %q was acknowledged and never committed", value))
		}
	}
	return nil
}

// compareStores compares them with the twin, and with each other to the last byte.
func (s *Service) compareStores() error {
	var first []byte
	for i, p := range s.processes {
		excused := s.world.Excused(raft.NodeID(i + 1))
		if excused && (p == nil || p.ended || uint64(p.store.Status().Applied) < s.applied) {
			continue
		}
		if p == nil || p.ended {
			return fmt.Errorf("node %d does not run at the end", i+1)
		}
		if err := p.machine.compareAll(); err != nil {
			return s.wrong(p, err)
		}
		b, err := p.machine.snapshot()
		if err != nil {
			return s.wrong(p, err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			return s.wrong(p, errors.New("its snapshot differs from that of the first node"))
		}
	}
	return nil
}

// Close ends all tasks.
func (s *Service) Close() {
	for _, p := range s.processes {
		if p != nil {
			for _, t := range p.tasks {
				t.end()
			}
		}
	}
	for _, c := range s.clients {
		c.task.end()
	}
	for _, v := range s.viewers {
		v.task.end()
	}
}

// An outcome is what the twin answered to a command, and what the first replica
// did.
type outcome struct {
	cmd  store.Command
	resp store.Response
	err  error

	known bool
	first rsm.Result
}

// compareResult compares what a replica answered.
func (s *Service) compareResult(e *rsm.Entry) error {
	want := s.wanted[e.Index]
	if want == nil {
		return fmt.Errorf("entry %d was applied and is not committed", e.Index)
	}
	if want.known {
		if e.Result.Value != want.first.Value || !bytes.Equal(e.Result.Data, want.first.Data) {
			return fmt.Errorf("entry %d, %T, was answered %d, %x here, and elsewhere %d, %x", e.Index, want.cmd, e.Result.Value, e.Result.Data, want.first.Value, want.first.Data)
		}
		return nil
	}
	resp, err := store.DecodeResult(want.cmd, e.Result)
	if !errors.Is(err, want.err) || want.err == nil && (err != nil || !twin.Equal(resp, want.resp)) {
		return fmt.Errorf("entry %d, %T %+v, was answered %+v, %v, want %+v, %v", e.Index, want.cmd, want.cmd, resp, err, want.resp, want.err)
	}
	want.known, want.first = true, rsm.Result{Value: e.Result.Value, Data: bytes.Clone(e.Result.Data)}
	return nil
}

// A reference applies every command to the twin when it is committed first.
type reference struct{ s *Service }

func (r *reference) Apply(entries []rsm.Entry) error {
	s := r.s
	for i := range entries {
		e := &entries[i]
		cmd, err := store.DecodeCommand(e.Command)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		before := s.twin.Revision
		resp, err := s.twin.Apply(uint64(e.Index), uint64(e.Term), e.Timestamp, cmd)
		s.applied = uint64(e.Index)
		s.wanted[e.Index] = &outcome{cmd: cmd, resp: resp, err: err}
		s.count(commandCounter(cmd, err))
		s.world.Tracef("entry %d is committed: %T, revision %d, %v", e.Index, cmd, s.twin.Revision, err)
		if s.twin.Revision > before {
			s.committed(cmd)
		}
		s.leases.committed(s, cmd, resp, err)
	}
	return nil
}

func (r *reference) Hash() uint64 {
	t := r.s.twin
	return digest(t.Hash, t.Revision, t.Compacted, t.Keys)
}

var errReference = errors.New("storesim: the reference is not asked")

func (r *reference) Read(context.Context, any) (any, error) { return nil, errReference }
func (r *reference) Snapshot() (rsm.View, error)            { return nil, errReference }
func (r *reference) Restore(io.Reader) error                { return errReference }
func (r *reference) Close() error                           { return nil }

// written is what became of a put's value, of which there is no other.
type written struct {
	revisions    int
	refused      bool
	acknowledged bool
}

// committed looks at what a command wrote.
func (s *Service) committed(cmd store.Command) {
	for _, value := range putValues(nil, cmd) {
		w := s.values[value]
		if w == nil {
			continue // of a probe
		}
		s.twin.Written(s.twin.Revision, func(kv *store.KeyValue) {
			if string(kv.Value) != value {
				return
			}
			w.revisions++
			switch {
			case w.revisions > 1:
				s.world.Seen(fmt.Errorf("a put of %q was done %d times, last at revision %d", value, w.revisions, kv.ModRevision))
			case w.refused:
				s.world.Seen(fmt.Errorf("a put of %q was refused as certainly not done, and is committed at revision %d", value, kv.ModRevision))
			}
		})
	}
}
