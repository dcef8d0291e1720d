package node

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/vfs"
	"github.com/quorate/quorate/wal"
)

// maintainBytes bounds the copying forward between two batches.
const maintainBytes = 256 << 10

// The syncer is the goroutine that owns the write-ahead log: it takes everything
// that was queued while the last sync ran, for all groups, as one batch.
type syncer struct {
	node *Node

	mu       sync.Mutex
	queue    []queuedUpdate
	calls    []func()
	sleeping bool
	closing  bool
	wake     chan struct{} // capacity 1
	ended    chan struct{} // nothing is written any more
	done     chan struct{}

	// preparing has at most one goroutine, which clears busy as it ends.
	preparing sync.WaitGroup
	busy      atomic.Bool
}

// queuedUpdate is a group's durable write on its way.
type queuedUpdate struct {
	group  *Group
	update replica.Update
}

func startSyncer(n *Node) *syncer {
	s := &syncer{node: n, wake: make(chan struct{}, 1), ended: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

// add queues updates, in order. It does not wait: what a group may have queued
// is bounded by its in-flight and pending bytes.
func (s *syncer) add(updates []queuedUpdate) {
	s.mu.Lock()
	s.queue = append(s.queue, updates...)
	s.signal()
	s.mu.Unlock()
}

// call runs f on the goroutine that owns the log, between two batches, and waits
// for it. It reports false if the log has failed or is closed.
func (s *syncer) call(f func()) bool {
	done := make(chan struct{})
	s.mu.Lock()
	s.calls = append(s.calls, func() { f(); close(done) })
	s.signal()
	s.mu.Unlock()
	select {
	case <-done:
		return true
	case <-s.ended:
		return false
	}
}

func (s *syncer) signal() {
	if s.sleeping {
		s.sleeping = false
		s.wake <- struct{}{}
	}
}

func (s *syncer) run() {
	defer close(s.done)
	defer s.preparing.Wait()
	var batch []queuedUpdate
	var updates []wal.Update
	more := true // the log may have to be maintained after it was opened
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && len(s.calls) == 0 && !more {
			if s.closing {
				s.mu.Unlock()
				close(s.ended)
				return
			}
			s.sleeping = true
			s.mu.Unlock()
			<-s.wake
			s.mu.Lock()
		}
		batch, s.queue = s.queue, batch[:0]
		calls := s.calls
		s.calls = nil
		s.mu.Unlock()
		for _, f := range calls {
			f()
		}

		if len(batch) > 0 {
			updates = updates[:0]
			for i := range batch {
				updates = append(updates, batch[i].update.Update)
			}
			if err := s.write(updates); err != nil {
				s.node.fail(fmt.Errorf("write-ahead log: %w", err))
				s.drain()
				return
			}
			acknowledge(batch)
			clear(updates)
			clear(batch)
		}
		var err error
		if more, err = s.node.log.Maintain(maintainBytes); err != nil {
			s.node.fail(fmt.Errorf("write-ahead log: %w", err))
			s.drain()
			return
		}
		s.prepare()
	}
}

func (s *syncer) write(updates []wal.Update) error {
	began := time.Now()
	if err := s.node.log.Write(updates); err != nil {
		return err
	}
	if err := s.node.log.Sync(); err != nil {
		return err
	}
	if o := s.node.cfg.Observer; o != nil {
		bytes := 0
		for i := range updates {
			for _, e := range updates[i].Entries {
				bytes += len(e)
			}
		}
		o.WALSync(len(updates), bytes, time.Since(began))
	}
	return nil
}

// acknowledge tells each group the newest of its writes that is durable now.
func acknowledge(batch []queuedUpdate) {
	for i := range batch {
		if i+1 < len(batch) && batch[i+1].group == batch[i].group {
			continue // the next one says more
		}
		batch[i].group.postPersisted(batch[i].update.Seq)
	}
}

// prepare makes the next segment ready beside the writing, which goes on in the
// segment in use meanwhile.
func (s *syncer) prepare() {
	if !s.node.log.NeedsPrepare() || !s.busy.CompareAndSwap(false, true) {
		return
	}
	s.preparing.Go(func() {
		defer s.busy.Store(false)
		err := s.node.log.Prepare()
		if errors.Is(err, vfs.ErrNoSpace) {
			s.node.cfg.Logger.Warn("cannot prepare the next log segment; it will be tried again when it is needed", "error", err)
		} else if err != nil {
			s.call(func() {}) // the log has failed, and the next look at it says so
		}
	})
}

// drain waits for close after a failure. What is queued is never acknowledged.
func (s *syncer) drain() {
	close(s.ended)
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closing {
		s.queue = nil
		s.sleeping = true
		s.mu.Unlock()
		<-s.wake
		s.mu.Lock()
	}
}

// close ends the goroutine once the queue is empty.
func (s *syncer) close() {
	s.mu.Lock()
	s.closing = true
	s.signal()
	s.mu.Unlock()
	<-s.done
}
