package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
)

// A machine is a group's state machine and the tasks that wait for it. The tasks
// are done in order by one goroutine of the pool at a time.
type machine struct {
	group   *Group
	applier *replica.Applier

	// use is held for reading by reads, for writing while the state is replaced
	// or closed.
	use    sync.RWMutex
	sm     rsm.StateMachine
	closed bool

	// The pool's lock guards these.
	tasks     []machineTask
	scheduled bool
	idle      *sync.Cond // on the pool's lock: not scheduled
	abandoned bool

	batch  []machineTask // used by the goroutine that has the machine
	failed bool
}

// A machineTask is a task of the replica, or something else to do between two of
// them.
type machineTask struct {
	replica.Task
	do   func()
	drop func() // instead of do
}

func (t *machineTask) abandon() {
	t.Task.Abandon()
	if t.drop != nil {
		t.drop()
	}
}

// read answers a query.
func (m *machine) read(ctx context.Context, query any) (any, error) {
	m.use.RLock()
	defer m.use.RUnlock()
	if m.closed {
		return nil, fmt.Errorf("%w: group %d", ErrClosed, m.group.cfg.ID)
	}
	return m.sm.Read(ctx, query)
}

// applyPool is the goroutines that apply, for all groups.
type applyPool struct {
	node *Node

	mu      sync.Mutex
	ready   []*machine
	work    *sync.Cond
	closing bool
	done    sync.WaitGroup
}

func startApplyPool(n *Node, goroutines int) *applyPool {
	p := &applyPool{node: n}
	p.work = sync.NewCond(&p.mu)
	for range goroutines {
		p.done.Go(p.run)
	}
	return p
}

// add queues tasks. What a group may have queued is bounded by
// MaxUnappliedBytes.
func (p *applyPool) add(m *machine, tasks []replica.Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range tasks {
		p.put(m, machineTask{Task: tasks[i]})
	}
}

// addFunc queues something to do between two tasks of a machine; drop is called
// instead if the machine is closed first.
func (p *applyPool) addFunc(m *machine, do, drop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(m, machineTask{do: do, drop: drop})
}

func (p *applyPool) put(m *machine, task machineTask) {
	if m.abandoned {
		task.abandon()
		return
	}
	m.tasks = append(m.tasks, task)
	if !m.scheduled {
		m.scheduled = true
		p.ready = append(p.ready, m)
		p.work.Signal()
	}
}

func (p *applyPool) run() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.ready) == 0 {
			if p.closing {
				return
			}
			p.work.Wait()
		}
		m := p.ready[0]
		p.ready = append(p.ready[:0], p.ready[1:]...)
		m.batch, m.tasks = m.tasks, m.batch[:0]
		p.mu.Unlock()
		m.do()
		p.mu.Lock()
		if len(m.tasks) > 0 {
			p.ready = append(p.ready, m) // behind the others
		} else {
			m.scheduled = false
			m.idle.Broadcast()
		}
	}
}

// do does the machine's batch of tasks.
func (m *machine) do() {
	for i := range m.batch {
		task := &m.batch[i]
		if m.failed {
			task.abandon()
			continue
		}
		var err error
		switch {
		case task.do != nil:
			task.do()
			continue
		case task.Restore.ID.Index != 0:
			err = m.restore(task.Restore)
		case task.Snapshot:
			m.group.takeSnapshot()
			continue
		default:
			began := time.Now()
			err = m.applier.Apply(&task.Task)
			if o := m.group.node.cfg.Observer; o != nil {
				o.Applied(m.group.cfg.ID, int(task.Last-task.First)+1, time.Since(began))
			}
		}
		if err != nil {
			m.failed = true
			m.group.call(func() { m.group.stop(err) })
			continue
		}
		m.group.postApplied(task.Task)
	}
	clear(m.batch)
}

// restore replaces the state by a snapshot that was installed.
func (m *machine) restore(meta raft.SnapshotMeta) error {
	info, ok := m.group.findSnapshot(meta.ID)
	if !ok {
		return fmt.Errorf("snapshot %v is in force but its file is gone", meta.ID)
	}
	r, err := m.group.node.store.Open(info)
	if err != nil {
		return fmt.Errorf("open snapshot %v: %w", meta.ID, err)
	}
	defer r.Close()
	m.use.Lock()
	defer m.use.Unlock()
	if m.closed {
		return ErrClosed
	}
	if err := m.sm.Restore(r); err != nil {
		return fmt.Errorf("state machine: restore snapshot %v: %w", meta.ID, err)
	}
	m.applier.Restored(info.Meta)
	m.group.heard.Store(m.group.node.now())
	return nil
}

// close waits for the task that is under way, drops the others and closes the
// state machine.
func (m *machine) close() error {
	p := m.group.node.applies
	p.mu.Lock()
	m.abandoned = true
	for i := range m.tasks {
		m.tasks[i].abandon()
	}
	m.tasks = nil
	for m.scheduled {
		m.idle.Wait()
	}
	p.mu.Unlock()
	m.use.Lock()
	defer m.use.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	return m.sm.Close()
}

func (p *applyPool) close() {
	p.mu.Lock()
	p.closing = true
	p.work.Broadcast()
	p.mu.Unlock()
	p.done.Wait()
}

// logReaders are the goroutines that read old entries, so that neither a worker
// nor the log's writer waits for the disk to read.
type logReaders struct {
	node    *Node
	mu      sync.Mutex
	queue   []logRead
	work    *sync.Cond
	closing bool
	done    sync.WaitGroup
}

type logRead struct {
	group   *Group
	request replica.LogRead
}

func startLogReaders(n *Node, goroutines int) *logReaders {
	l := &logReaders{node: n}
	l.work = sync.NewCond(&l.mu)
	for range goroutines {
		l.done.Go(l.run)
	}
	return l
}

// add queues a read. A group has at most one for each peer and one to apply.
func (l *logReaders) add(read logRead) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, read)
	l.work.Signal()
}

func (l *logReaders) run() {
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.closing {
			l.work.Wait()
		}
		if l.closing {
			l.mu.Unlock()
			return
		}
		read := l.queue[0]
		l.queue = append(l.queue[:0], l.queue[1:]...)
		l.mu.Unlock()

		data, err := l.node.readLog(read.group.cfg.ID, read.request)
		g := read.group
		g.call(func() { g.replica.LogRead(read.request, data, err, &g.out) })
	}
}

func (l *logReaders) close() {
	l.mu.Lock()
	l.closing = true
	l.work.Broadcast()
	l.mu.Unlock()
	l.done.Wait()
}
