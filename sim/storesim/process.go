package storesim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/sim"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
	"github.com/quorate/quorate/store/twin"
	"github.com/quorate/quorate/store/watch"
)

// A process is what a server has in memory on a node, beside its replica.
type process struct {
	s       *Service
	on      *sim.Process
	disk    *disk
	store   *store.Store
	hub     *watch.Hub
	keeper  *keyspace.Keeper
	keys    *keyspace.Keyspace
	group   *group
	tasks   []*task
	calls   []*call // that clients have here
	machine *machine
	ended   bool
}

// A disk is a node's engine in the hands of a process. What it is asked to flush
// becomes durable a while later.
type disk struct {
	*engine.Memory
	p *process
}

// Flush has all that is committed now become durable in a while.
func (d *disk) Flush() error {
	commits := d.Commits()
	d.p.on.After(time.Duration(d.p.on.Rand().Int64N(int64(d.p.s.flushTime))), func() {
		d.p.s.count(countFlushed)
		_ = d.FlushTo(commits) // it says no more than Err
	})
	return d.Err()
}

// GetDurable is the engine's.
func (d *disk) GetDurable(dst, key []byte) ([]byte, bool, error) {
	if d.p.s.plant == flushLies {
		return d.Get(dst, key)
	}
	return d.Memory.GetDurable(dst, key)
}

// Sync waits for no virtual time: the simulated nodes restore at one moment.
func (d *disk) Sync() error { return d.Memory.Sync() }

// crash leaves what is found after the process: all that was durable, and some of
// the newest commits.
func (d *disk) crash(r *rand.Rand) *engine.Memory {
	unflushed := d.Unflushed()
	keep := r.IntN(unflushed + 1)
	if unflushed > 0 && keep < unflushed {
		d.p.s.count(countCommitsLost)
	}
	return d.Crash(keep)
}

// errDisk is what an engine fails with.
var errDisk = errors.New("storesim: the engine's disk fails")

// observer hears for watchers and for leases, as the server's does.
type observer struct {
	*watch.Hub
	*keyspace.Keeper
}

// boot begins a process with what the node's engine holds.
func (s *Service) boot(on *sim.Process) (*process, error) {
	p := &process{s: s, on: on}
	r := on.Rand()
	p.disk = &disk{s.disks[on.Node()-1], p}
	p.keeper = keyspace.NewKeeper(virtual{p})
	p.hub = watch.NewHub(watch.Options{
		QueueBytes: 1 + r.IntN(8<<10), StreamBytes: 1 + r.IntN(4<<10), ResponseEvents: 1 + r.IntN(20), ResponseBytes: 1 + r.IntN(2<<10),
	})
	var err error
	if p.store, err = store.Open(p.disk, observer{p.hub, p.keeper}); err != nil {
		return nil, err
	}
	st := p.store.Status()
	p.hub.Attach(history{p}, st.Revision, st.Compacted)
	p.group = newGroup(p)
	p.keys = keyspace.New(keyspace.Config{
		Group: p.group, Store: p.store, Hub: p.hub, Keeper: p.keeper, Self: on.Node(), Authorizer: keyspace.AllowAll{},
		MaxRequestBytes: 1 << 20, ElectionTimeout: s.world.ElectionTimeout(), Logger: quiet,
	})
	p.soon(func() { p.run(func() { p.keys.KeepLeases(context.Background()) }) })
	p.soon(func() { p.run(p.publish) })
	p.reclaim()
	return p, nil
}

// history is what watchers that are behind read.
type history struct{ p *process }

// Events is the store's.
func (h history) Events(ctx context.Context, from int64, opt store.HistoryOptions) (store.History, error) {
	if h.p.s.plant == forgetHistory {
		from++
	}
	return h.p.store.Events(ctx, from, opt)
}

// publish tells the cluster of this member, as a server does before it is ready.
func (p *process) publish() {
	for {
		m := store.Member{ID: uint64(p.on.Node()), Name: fmt.Sprintf("node%d", p.on.Node()), ClientURLs: []string{"http://sim"}}
		if err := p.keys.Publish(context.Background(), m); err == nil {
			p.s.count(countPublished)
			return
		}
		p.s.sleepIn(p, p.s.world.ElectionTimeout())
	}
}

// sleepIn is sleep that ends with a process.
func (s *Service) sleepIn(p *process, d time.Duration) {
	t, over := s.current, false
	p.on.After(d, func() { over = true; t.wake() })
	for !over {
		s.park()
	}
}

// reclaim deletes what was compacted, and flushes, every now and then.
func (p *process) reclaim() {
	r := p.on.Rand()
	p.on.After(time.Duration(r.Int64N(int64(p.s.world.ElectionTimeout()))), func() {
		if p.ended {
			return
		}
		if r.IntN(2) == 0 {
			more, err := p.store.Reclaim(1 + r.IntN(40))
			if err != nil && p.disk.Err() == nil {
				p.s.world.Fail(fmt.Errorf("node %d: reclaim: %w", p.on.Node(), err))
				return
			}
			if more {
				p.s.count(countReclaimed)
			}
		}
		if r.IntN(16) == 0 {
			p.store.Flush()
		}
		p.reclaim()
	})
}

// end is what is left of a process that was killed: nothing.
func (p *process) end() {
	p.ended = true
	for _, t := range p.tasks {
		t.end()
	}
	for _, c := range p.calls {
		c.lost()
	}
	p.s.disks[p.on.Node()-1] = p.disk.crash(p.on.Rand())
}

// A machine is a process's state machine, compared with the twin after all that it
// does.
type machine struct {
	*store.Store
	p *process
}

var _ rsm.OnDisk = (*machine)(nil)

// Hash is of all that replicas have in common.
func (m *machine) Hash() uint64 {
	st := m.Status()
	return digest(st.Hash, st.Revision, st.Compacted, st.Keys)
}

func digest(hash uint64, words ...int64) uint64 {
	for _, w := range words {
		hash = (hash ^ uint64(w)) * 0x9e3779b97f4a7c15
		hash ^= hash >> 29
	}
	return hash
}

// Apply applies, and compares what was answered and what is stored.
func (m *machine) Apply(entries []rsm.Entry) error {
	s := m.p.s
	before := m.Status().Revision
	if err := m.Store.Apply(entries); err != nil {
		return err
	}
	if s.plant == wrongAnswer && m.p.on.Node() == 1 && m.p.on.Rand().IntN(200) == 0 {
		entries[0].Result.Value++
	}
	if err := m.compareApplied(entries, before); err != nil {
		return s.wrong(m.p, err)
	}
	m.p.soon(m.p.hub.Dispatch)
	return nil
}

// compareApplied compares what was answered, the keys that were changed, and now and
// then everything.
func (m *machine) compareApplied(entries []rsm.Entry, before int64) error {
	if m.p.s.clientsOnly {
		return nil
	}
	for i := range entries {
		if err := m.p.s.compareResult(&entries[i]); err != nil {
			return err
		}
	}
	if err := m.compareKeys(before); err != nil {
		return err
	}
	if m.p.on.Rand().IntN(64) == 0 {
		return m.compareAll()
	}
	return nil
}

// Restore restores, and compares what is there then.
func (m *machine) Restore(r io.Reader) error {
	if err := m.Store.Restore(r); err != nil {
		return err
	}
	m.p.s.count(countRestored)
	if err := m.compareAll(); err != nil {
		return m.p.s.wrong(m.p, err)
	}
	m.p.soon(m.p.hub.Dispatch)
	return nil
}

// wrong fails the run.
func (s *Service) wrong(p *process, err error) error {
	err = fmt.Errorf("node %d: the store is not as its twin: %w", p.on.Node(), err)
	s.world.Fail(err)
	return err
}

// compareKeys compares the keys that revisions after before changed.
func (m *machine) compareKeys(before int64) (err error) {
	now := m.Status().Revision
	m.p.s.twin.Changed(before, now, func(key []byte) {
		resp, e := m.Range(context.Background(), &store.RangeRequest{Key: key})
		if e != nil {
			err = errors.Join(err, e)
			return
		}
		kv, ok := m.p.s.twin.Get(key, now)
		if ok != (len(resp.KVs) == 1) || ok && !twin.EqualKV(&kv, &resp.KVs[0]) {
			err = errors.Join(err, fmt.Errorf("at revision %d key %q is %+v, want %v, %+v", now, key, resp.KVs, ok, kv))
		}
	})
	return err
}

// compareAll compares all that can be asked.
func (m *machine) compareAll() error {
	s, ctx := m.p.s, context.Background()
	if s.clientsOnly {
		return nil
	}
	st, r := m.Status(), m.p.on.Rand()
	s.count(countCompared)
	oldest := max(st.Compacted, 1)
	for _, revision := range []int64{st.Revision, oldest + r.Int64N(st.Revision-oldest+1)} {
		q := &store.RangeRequest{RangeEnd: []byte{0}, Revision: revision}
		got, err := m.Range(ctx, q)
		if err != nil {
			return fmt.Errorf("read all keys at revision %d: %w", revision, err)
		}
		if want := s.twin.Content(q, revision, st.Revision); !twin.EqualRange(got, want) {
			return fmt.Errorf("at revision %d all keys are %+v, want %+v", revision, got, want)
		}
	}
	if err := m.compareEvents(oldest + r.Int64N(st.Revision-oldest+1)); err != nil {
		return err
	}
	if uint64(st.Applied) != s.applied {
		return nil // the twin's leases and alarms are those of later
	}
	leases := m.Leases()
	for _, want := range s.twin.LeaseInfos() {
		got, ok := m.Lease(want.ID)
		keys, err := m.LeaseKeys(want.ID)
		if !ok || got != want || err != nil || !equalKeys(keys, s.twin.LeaseKeys(want.ID)) {
			return fmt.Errorf("lease is %+v with keys %q, %v, want %+v with %q", got, keys, err, want, s.twin.LeaseKeys(want.ID))
		}
	}
	if len(leases) != len(s.twin.Leases) || len(m.Alarms(store.AlarmNone)) != len(s.twin.Alarms(store.AlarmNone)) || len(m.Members()) != len(s.twin.Members()) {
		return fmt.Errorf("%d leases, %d alarms, %d members, want %d, %d, %d", len(leases), len(m.Alarms(store.AlarmNone)), len(m.Members()),
			len(s.twin.Leases), len(s.twin.Alarms(store.AlarmNone)), len(s.twin.Members()))
	}
	return nil
}

func equalKeys(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// compareEvents reads history from a revision on, a little at a time.
func (m *machine) compareEvents(from int64) error {
	revision := m.Revision()
	for next := from; next <= revision; {
		h, err := m.Events(context.Background(), next, store.HistoryOptions{Prev: func([]byte) bool { return true }, Revisions: 30})
		if err != nil {
			return fmt.Errorf("read history from revision %d: %w", next, err)
		}
		want := m.p.s.twin.Events(next, h.Next-1, nil)
		if err := equalCommits(h.Commits, want, h.Compacted); err != nil {
			return fmt.Errorf("history from revision %d: %w", next, err)
		}
		next = h.Next
	}
	return nil
}

// equalCommits compares events; a Prev that was compacted need not be there, and of
// the compacted revision itself only the last event of each key.
func equalCommits(got, want []store.Commit, compacted int64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d revisions, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Revision == compacted && w.Revision == compacted {
			g.Events, w.Events = twin.Newest(g.Events), twin.Newest(w.Events)
		}
		if g.Revision != w.Revision || len(g.Events) != len(w.Events) {
			return fmt.Errorf("revision %d with %d events, want %d with %d", g.Revision, len(g.Events), w.Revision, len(w.Events))
		}
		for j := range g.Events {
			g, w := g.Events[j], w.Events[j]
			if g.Prev == nil && w.Prev != nil && got[i].Revision-1 < compacted {
				w.Prev = nil
			}
			if !twin.EqualEvent(&g, &w) {
				return fmt.Errorf("revision %d has event %+v, want %+v", got[i].Revision, g, w)
			}
		}
	}
	return nil
}

// snapshot gives the store's snapshot.
func (m *machine) snapshot() ([]byte, error) {
	view, err := m.Snapshot()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = errors.Join(view.WriteSnapshot(context.Background(), &b), view.Close())
	return b.Bytes(), err
}
