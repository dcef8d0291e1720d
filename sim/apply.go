package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/wal"
)

// work does the next task of the state machine, which takes a while.
func (g *group) work() {
	if g.working || g.gone || len(g.tasks) == 0 {
		return
	}
	g.working = true
	g.n.after(g.n.spread(g.w.p.applyTime), applyEvent, func() {
		g.working = false
		if g.gone || len(g.tasks) == 0 {
			return
		}
		task := g.tasks[0]
		g.tasks = g.tasks[1:]
		g.do(&task)
		g.work()
	})
}

func (g *group) do(task *replica.Task) {
	var err error
	switch {
	case task.Restore.ID.Index != 0:
		err = g.restoreInstalled(task)
	case task.Snapshot:
		g.takeSnapshot()
		return
	default:
		err = g.applier.Apply(task)
	}
	if err != nil {
		g.n.checkPower(err)
		task.Abandon()
		if !g.n.hurt {
			g.w.fail(fmt.Errorf("node %d: %w", g.n.id, err))
		}
		g.stop(err)
		return
	}
	g.judge.Applied(g.n.id, g.applier.At(), g.machine.Hash())
	g.inbox.applied = append(g.inbox.applied, task)
	g.n.wake()
}

// restoreInstalled replaces the state by a snapshot that was installed.
func (g *group) restoreInstalled(task *replica.Task) error {
	for _, info := range g.n.store.List(g.id) {
		if info.Meta.ID != task.Restore.ID {
			continue
		}
		r, err := g.n.store.Open(info)
		if err != nil {
			return err
		}
		if err := errors.Join(g.machine.Restore(r), r.Close()); err != nil {
			return fmt.Errorf("restore snapshot %v: %w", info.Meta.ID, err)
		}
		g.applier.Restored(info.Meta)
		g.w.count(countRestored)
		return nil
	}
	return fmt.Errorf("snapshot %v is in force but its file is gone (B-25)", task.Restore.ID)
}

// readLog reads old entries.
func (g *group) readLog(request replica.LogRead) {
	g.n.after(g.n.spread(g.w.p.readTime), readEvent, func() {
		data, _, err := g.n.log.Read(g.id, request.First, request.Last, request.MaxBytes, nil)
		switch {
		case errors.Is(err, wal.ErrCompacted):
			err = replica.ErrCompacted
		case err != nil:
			g.n.checkPower(err)
			g.w.count(countLogReadFailed)
			if !g.n.hurt && !errors.Is(err, wal.ErrRange) {
				g.w.fail(fmt.Errorf("node %d: read the log: %w", g.n.id, err))
			}
		case request.Peer == 0:
			g.w.count(countApplyRead)
		default:
			g.w.count(countLogRead)
		}
		g.call(func() { g.replica.LogRead(request, data, err, &g.out) })
	})
}

// query answers a read from the state as it is.
func (g *group) query(q any) (any, error) { return g.machine.Read(context.Background(), q) }

// applyEarly is a planted bug: it applies what is not committed.
func (g *group) applyEarly(u *replica.Update) {
	if len(u.Entries) == 0 {
		return
	}
	e, _, err := entry.Decode(u.Entries[0])
	if err == nil && e.Kind == entry.Command {
		err = g.machine.Apply([]rsm.Entry{{Index: e.Index, Term: e.Term, Command: e.Payload}})
	}
	if err != nil {
		g.w.fail(err)
	}
}
