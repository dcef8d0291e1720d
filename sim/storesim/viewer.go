package storesim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/twin"
	"github.com/quorate/quorate/store/watch"
)

// A viewer holds a few watchers in one stream, takes what they are told at its own
// pace, and goes on elsewhere from where it was when its node is gone.
type viewer struct {
	s     *Service
	id    int
	task  *task
	rouse func() // ends its rest
	pace  time.Duration
	views []*view
	// canceled are those of which it may still be said that they were created, or
	// had ended before.
	canceled map[int64]bool
	at       *process
	stream   *keyspace.Watches
}

// A view is what one watcher was told.
type view struct {
	watch.Watch
	live bool // it was created, and nothing ended it
	// next is the first revision of which it was not told; 0 until it is created
	// for the first time.
	next int64
}

func (s *Service) startViewer(id int) {
	v := &viewer{s: s, id: id}
	r := s.world.Rand()
	v.pace = time.Duration(1 + r.Int64N(int64(s.world.ElectionTimeout())))
	for range 1 + r.IntN(3) {
		x := &view{Watch: watch.Watch{Prev: r.IntN(2) == 0, NoPut: r.IntN(8) == 0, NoDelete: r.IntN(8) == 0}}
		x.Key = []byte(keys[r.IntN(len(keys))])
		switch r.IntN(3) {
		case 0:
			x.RangeEnd = []byte{0}
		case 1:
			x.RangeEnd = append([]byte(keys[r.IntN(len(keys))]), 'x')
		}
		v.views = append(v.views, x)
	}
	s.viewers = append(s.viewers, v)
	s.world.After(0, func() { v.task = s.start(v.run) })
}

func (v *viewer) rand() *rand.Rand { return v.s.world.Rand() }

func (v *viewer) run() {
	for {
		pace := v.pace
		if v.s.stopped {
			pace = min(pace, v.s.world.ElectionTimeout()/8)
		}
		v.rest(time.Duration(v.rand().ExpFloat64() * float64(pace)))
		if err := v.look(); err != nil {
			v.s.world.Seen(fmt.Errorf("viewer %d: %w", v.id, err))
			return
		}
	}
}

// rest waits for a while, at most until the service stops: a viewer that draws a long
// rest just before would be found asleep by who asks whether it was told of everything.
func (v *viewer) rest(d time.Duration) {
	over := false
	v.rouse = func() {
		if !over {
			over = true
			v.task.wake()
		}
	}
	v.s.world.After(d, v.rouse)
	for !over {
		v.s.park()
	}
}

// look takes some of what there is.
func (v *viewer) look() error {
	if v.stream == nil || v.at.ended || v.s.processOf(v.at.on) == nil || v.astray(v.at.on.Node()) {
		v.disconnect()
		return v.connect()
	}
	if _, paused := v.s.world.Paused(v.at.on.Node()); paused {
		return nil
	}
	r := v.rand()
	switch {
	case v.s.stopped:
	case r.IntN(60) == 0:
		v.disconnect()
		return nil
	case r.IntN(12) == 0:
		v.stream.RequestProgressAll()
	case r.IntN(20) == 0:
		if x := v.views[r.IntN(len(v.views))]; x.live {
			if v.stream.Cancel(x.ID) {
				v.s.count(countWatchCanceled)
				v.canceled[x.ID] = true
			}
			x.live = false // what was still to be said of it is dropped
		}
	}
	for range 1 + r.IntN(8) {
		resp, ok, err := v.stream.TryNext(context.Background())
		switch {
		case errors.Is(err, watch.ErrClosed) || err != nil && v.at.disk.Err() != nil:
			v.disconnect()
			return nil
		case err != nil:
			return err
		case !ok:
			return v.revive()
		}
		v.s.world.Note(uint64(v.id), uint64(resp.Kind), uint64(resp.ID), uint64(resp.Revision), uint64(len(resp.Events)))
		v.s.world.Tracef("viewer %d at node %d: kind %d id %d rev %d events %d", v.id, v.at.on.Node(), resp.Kind, resp.ID, resp.Revision, len(resp.Events))
		if err := v.told(&resp); err != nil {
			return fmt.Errorf("response %d of watcher %d at node %d: %w", resp.Kind, resp.ID, v.at.on.Node(), err)
		}
	}
	return nil
}

func (v *viewer) disconnect() {
	if v.stream != nil {
		v.stream.Close()
	}
	v.stream, v.at = nil, nil
	v.canceled = map[int64]bool{}
	for _, x := range v.views {
		x.live = false
	}
}

// astray reports whether a node may never hear of anything new, although the faults
// are over: its disk was damaged, and its peers may rightly refuse it.
func (v *viewer) astray(node raft.NodeID) bool { return v.s.stopped && v.s.world.Excused(node) }

// connect opens a stream at some node.
func (v *viewer) connect() error {
	node := raft.NodeID(1 + v.rand().IntN(v.s.world.Nodes()))
	p := v.s.processOf(v.s.world.Process(node))
	if p == nil || v.astray(node) {
		return nil
	}
	stream, err := p.keys.Watches()
	if err != nil {
		return err
	}
	v.at, v.stream = p, stream
	return v.revive()
}

// revive makes the watchers that are not there, from where each was.
func (v *viewer) revive() error {
	for i, x := range v.views {
		if x.live {
			continue
		}
		x.ID, x.Start = 0, x.next
		if x.next == 0 && v.rand().IntN(2) == 0 {
			x.Start = max(v.s.twin.Revision-v.rand().Int64N(50), 1)
		}
		if x.next > 0 {
			v.s.count(countWatchResumed)
		}
		if v.rand().IntN(3) == 0 {
			x.ID = int64(100 + i)
		}
		id, err := v.stream.Watch(context.Background(), x.Watch)
		switch {
		case errors.Is(err, watch.ErrEmptyRange), errors.Is(err, watch.ErrDuplicateID):
			continue // its response is counted
		case err != nil:
			v.disconnect()
			return nil
		}
		x.ID, x.live = id, true
		v.s.world.Tracef("viewer %d at node %d: watch %+v = %d", v.id, v.at.on.Node(), x.Watch, id)
	}
	return nil
}

// told judges a response.
func (v *viewer) told(resp *watch.Response) error {
	s := v.s
	var x *view
	for _, each := range v.views {
		if each.live && each.ID == resp.ID {
			x = each
		}
	}
	switch resp.Kind {
	case watch.Rejected:
		s.count(countWatchRejected)
		return nil
	case watch.Canceled:
		delete(v.canceled, resp.ID)
		return nil
	case watch.Progress:
		return v.progress(resp)
	}
	if x == nil || v.canceled[resp.ID] {
		if v.canceled[resp.ID] && (resp.Kind == watch.Created || resp.Kind == watch.Compacted) {
			return nil
		}
		return errors.New("nobody asked for it")
	}
	switch resp.Kind {
	case watch.Created:
		s.count(countWatchCreated)
		if resp.Revision > s.twin.Revision {
			return fmt.Errorf("created at revision %d, the newest is %d", resp.Revision, s.twin.Revision)
		}
		if x.next = x.Start; x.next == 0 {
			x.next = resp.Revision + 1
		} else if x.next <= resp.Revision {
			s.count(countWatchBehind)
		}
		return nil
	case watch.Compacted:
		s.count(countWatchCompacted)
		x.live = false
		if resp.CompactRevision > s.twin.Compacted || x.next >= resp.CompactRevision {
			return fmt.Errorf("ended for a compaction up to %d (it is %d) when revision %d was next", resp.CompactRevision, s.twin.Compacted, x.next)
		}
		x.next = resp.CompactRevision // as a client does
		return nil
	}
	return v.events(x, resp)
}

// wanted gives what a watcher has to be told of revisions.
func (v *viewer) wanted(x *view, from, to int64) []store.Commit {
	commits := v.s.twin.Events(from, to, func(key []byte) bool { return twin.InRange(string(key), x.Key, x.RangeEnd) })
	kept := commits[:0]
	for _, c := range commits {
		events := c.Events[:0]
		for _, e := range c.Events {
			if x.NoPut && e.Type == store.EventPut || x.NoDelete && e.Type == store.EventDelete {
				continue
			}
			if !x.Prev {
				e.Prev = nil
			}
			events = append(events, e)
		}
		if c.Events = events; len(events) > 0 {
			kept = append(kept, c)
		}
	}
	return kept
}

// events: everything since it was told last, once, in order, whole revisions.
func (v *viewer) events(x *view, resp *watch.Response) error {
	s := v.s
	s.count(countWatchEvents)
	if resp.Revision < x.next || resp.Revision > s.twin.Revision {
		return fmt.Errorf("told of revision %d when %d was next of %d", resp.Revision, x.next, s.twin.Revision)
	}
	var got []store.Commit
	for _, e := range resp.Events {
		if e.Prev != nil {
			s.count(countWatchPrev)
		}
		if n := len(got); n == 0 || got[n-1].Revision != e.KV.ModRevision {
			got = append(got, store.Commit{Revision: e.KV.ModRevision})
		}
		got[len(got)-1].Events = append(got[len(got)-1].Events, e)
	}
	if len(got) > 1 {
		s.count(countWatchManyRevisions)
	}
	if err := equalCommits(got, v.wanted(x, x.next, resp.Revision), s.twin.Compacted); err != nil {
		return fmt.Errorf("from revision %d to %d: %w", x.next, resp.Revision, err)
	}
	x.next = resp.Revision + 1
	return nil
}

// progress is never ahead of what was told.
func (v *viewer) progress(resp *watch.Response) error {
	v.s.count(countWatchProgress)
	if resp.Revision > v.s.twin.Revision {
		return fmt.Errorf("progress to revision %d, the newest is %d", resp.Revision, v.s.twin.Revision)
	}
	for _, x := range v.views {
		if !x.live || resp.ID != watch.NoID && resp.ID != x.ID {
			continue
		}
		if missing := v.wanted(x, x.next, resp.Revision); len(missing) > 0 {
			return fmt.Errorf("progress to revision %d, and watcher %d was not told of revision %d", resp.Revision, x.ID, missing[0].Revision)
		}
		x.next = max(x.next, resp.Revision+1)
	}
	return nil
}

// quiet says whether all were told of everything.
func (v *viewer) quiet() error {
	for _, x := range v.views {
		if len(x.RangeEnd) > 1 && string(x.Key) >= string(x.RangeEnd) {
			continue // an empty range, which is rejected
		}
		if !x.live || x.next == 0 {
			return fmt.Errorf("viewer %d: watcher %d is not there", v.id, x.ID)
		}
		if missing := v.wanted(x, x.next, v.s.twin.Revision); len(missing) > 0 {
			return fmt.Errorf("viewer %d: watcher %d was not told of revision %d", v.id, x.ID, missing[0].Revision)
		}
	}
	return nil
}
