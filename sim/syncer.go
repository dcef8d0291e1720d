package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/vfs"
	"github.com/quorate/quorate/wal"
)

// syncer writes what all groups of a node ask for: everything that was queued
// while the last sync ran, as one batch.
type syncer struct {
	node      *node
	queue     []queuedUpdate
	writing   []queuedUpdate
	busy      bool
	more      bool // the log wants to be maintained
	preparing bool
	stalled   instant // until when the disk lets the sync under way wait
	copied    uint64
}

type queuedUpdate struct {
	group  *group
	update replica.Update
}

func (s *syncer) add(g *group, updates []replica.Update) {
	for i := range updates {
		s.queue = append(s.queue, queuedUpdate{g, updates[i]})
	}
}

// next begins with the next batch, or with maintenance, if nothing is under way.
func (s *syncer) next() {
	n := s.node
	if s.busy || n.failed || !n.up || n.log == nil || len(s.queue) == 0 && !s.more {
		return
	}
	s.busy = true
	if len(s.queue) == 0 {
		n.after(n.spread(n.w.p.syncTime/8+1), syncEvent, func() {
			s.maintain()
			s.busy = false
			s.next()
		})
		return
	}
	s.writing, s.queue = s.queue, s.writing[:0]
	updates := make([]wal.Update, len(s.writing))
	for i := range s.writing {
		updates[i] = s.writing[i].update.Update
		s.writing[i].group.judge.Written(n.id, 1)
	}
	if err := n.log.Write(updates); err != nil {
		n.fail(fmt.Errorf("write: %w", err))
		return
	}
	n.w.note(uint64(n.id), uint64(len(s.writing)))
	if n.w.cfg.plant == acknowledgeEarly {
		s.acknowledge()
	}
	delay := n.spread(n.w.p.syncTime) + n.fault.syncDelay(n)
	s.stalled = n.w.now.after(delay)
	n.after(delay, syncEvent, s.sync)
}

func (s *syncer) sync() {
	n := s.node
	if n.w.cfg.plant == skipSync {
		// A disk that lies.
	} else if err := n.log.Sync(); err != nil {
		n.fail(fmt.Errorf("sync: %w", err))
		return
	}
	n.synced()
	for i := range s.writing {
		if i == 0 || s.writing[i].group != s.writing[i-1].group {
			s.writing[i].group.judge.Synced(n.id)
		}
	}
	if n.w.cfg.plant != acknowledgeEarly {
		s.acknowledge()
	}
	clear(s.writing)
	s.maintain()
	s.busy = false
	s.next()
}

// acknowledge tells each group the newest of its writes that is durable now.
func (s *syncer) acknowledge() {
	for i := range s.writing {
		if i+1 < len(s.writing) && s.writing[i+1].group == s.writing[i].group {
			continue // the next one says more
		}
		g := s.writing[i].group
		if !g.gone {
			g.inbox.persisted, g.inbox.synced = s.writing[i].update.Seq, true
			s.node.wake()
		}
	}
}

func (s *syncer) maintain() {
	n := s.node
	if n.failed {
		return
	}
	more, err := n.log.Maintain(int(n.w.p.segmentBytes / 4))
	if err != nil {
		n.fail(fmt.Errorf("maintain: %w", err))
		return
	}
	s.more = more
	stats := n.log.Stats()
	if stats.CopiedBytes > s.copied {
		s.copied = stats.CopiedBytes
		n.w.count(countCopiedForward)
	}
	if n.log.NeedsPrepare() && !s.preparing {
		s.preparing = true
		n.after(n.spread(n.w.p.syncTime), syncEvent, func() {
			s.preparing = false
			if n.failed {
				return
			}
			s.countRecycling()
			err := n.log.Prepare()
			if errors.Is(err, vfs.ErrNoSpace) {
				n.w.tracef("node %d: cannot prepare a segment: %v", n.id, err)
			} else if err != nil {
				n.fail(fmt.Errorf("prepare: %w", err))
			}
		})
	}
}

// countRecycling looks whether the next segment is made of an old one.
func (s *syncer) countRecycling() {
	names, err := s.node.disk.List("wal")
	if err == nil && slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".free") }) {
		s.node.w.count(countRecycled)
	}
}
