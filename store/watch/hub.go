// Package watch delivers a store's events to watchers: every revision that
// changed a watched key once, in order, all of its events together.
//
// It decides who is told what and when, and what becomes of a watcher that is
// slower than the store: it loses its place among those that are told at once,
// and reads what it missed from the store's history, on the goroutine that asks
// for it and no faster than it is taken. So nobody waits for a slow watcher, and
// it loses nothing but, at last, what was compacted away. It refuses to know
// requests, connections and permissions.
//
// A [Hub] is the store's observer. A [Stream] is any number of watchers whose
// responses come in one sequence, as one connection wants them.
package watch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/store"
)

// Source is the history that watchers fall back to: a *store.Store.
type Source interface {
	Events(ctx context.Context, from int64, opt store.HistoryOptions) (store.History, error)
}

// Options bounds what is kept in memory. Zero fields mean the default.
type Options struct {
	// QueueBytes is how much may wait to be dispatched, 16 MiB by default; what is
	// more is read from history.
	QueueBytes int
	// StreamBytes is how much may wait in a stream before its watchers count as
	// slow, 512 KiB by default. Events are shared between streams.
	StreamBytes int
	// ResponseEvents and ResponseBytes bound what is put together into one
	// response, 1,000 and 1 MiB by default; a revision is never divided.
	ResponseEvents int
	ResponseBytes  int
}

// WithDefaults fills in the defaults.
func (o Options) WithDefaults() Options {
	fill := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	fill(&o.QueueBytes, 16<<20)
	fill(&o.StreamBytes, 512<<10)
	fill(&o.ResponseEvents, 1000)
	fill(&o.ResponseBytes, 1<<20)
	return o
}

// ErrClosed: the hub or the stream was closed.
var ErrClosed = errors.New("watch: closed")

// dispatchCommits is how many commits are dispatched before others may have the
// hub.
const dispatchCommits = 128

// Hub tells watchers of commits. All methods may be called from any goroutine.
type Hub struct {
	opt    Options
	source Source

	// watchers and prevs count the watchers, and those that want Prev.
	watchers atomic.Int64
	prevs    atomic.Int64

	// queue is locked last.
	queueMu   sync.Mutex
	queue     []store.Commit
	queued    int // bytes
	committed int64
	compacted int64
	// gap says that commits up to it are missing before those in queue.
	gap    int64
	signal chan struct{}

	// mu guards all watchers and the places they have. It is locked before queueMu
	// and any stream's.
	mu sync.Mutex
	// dispatched is the revision up to which synced watchers were told.
	dispatched int64
	index      index
	streams    map[*Stream]struct{}
	touched    []*watcher
	closed     bool

	stop    context.CancelFunc
	stopped chan struct{}
}

var _ store.Observer = (*Hub)(nil)

// NewHub gives a hub, to be given to store.Open and then Started or Attached.
func NewHub(opt Options) *Hub {
	return &Hub{
		opt: opt.WithDefaults(), signal: make(chan struct{}, 1), streams: map[*Stream]struct{}{}, index: newIndex(),
	}
}

// Attach gives the hub its store, at the revision that it is at. Whoever attaches
// calls Dispatch after each Apply.
func (h *Hub) Attach(source Source, revision, compacted int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.source, h.dispatched = source, revision
	h.queueMu.Lock()
	defer h.queueMu.Unlock()
	h.committed, h.compacted = revision, compacted
}

// Start attaches a store and dispatches, on a goroutine of its own until Close.
func (h *Hub) Start(s *store.Store) {
	st := s.Status()
	h.Attach(s, st.Revision, st.Compacted)
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.stopped = cancel, make(chan struct{})
	go func() {
		defer close(h.stopped)
		for {
			select {
			case <-h.signal:
				h.Dispatch()
			case <-ctx.Done():
				return
			}
		}
	}()
}

// Close ends all streams and, after Start, waits for the goroutine. To be called
// before the store is closed.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	streams := make([]*Stream, 0, len(h.streams))
	for s := range h.streams {
		streams = append(streams, s)
	}
	h.mu.Unlock()
	for _, s := range streams {
		s.Close()
	}
	if h.stop != nil {
		h.stop()
		<-h.stopped
	}
}

// Count gives how many streams there are, and how many watchers on them.
func (h *Hub) Count() (streams, watchers int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams), int(h.watchers.Load())
}

// Wants says what the watchers want.
func (h *Hub) Wants() (events, prevs bool) {
	return h.watchers.Load() > 0, h.prevs.Load() > 0
}

func eventBytes(e *store.Event) int {
	n := 128 + len(e.KV.Key) + len(e.KV.Value)
	if e.Prev != nil {
		n += 96 + len(e.Prev.Key) + len(e.Prev.Value)
	}
	return n
}

// Committed queues commits.
func (h *Hub) Committed(revision, compacted int64, commits []store.Commit) {
	h.queueMu.Lock()
	defer h.queueMu.Unlock()
	h.compacted = compacted
	if revision == h.committed {
		return
	}
	// Every revision has a commit, so it is seen whether any is missing.
	complete := int64(len(commits)) == revision-h.committed && commits[0].Revision == h.committed+1
	h.committed = revision
	if complete {
		for i := range commits {
			for j := range commits[i].Events {
				h.queued += eventBytes(&commits[i].Events[j])
			}
		}
		h.queue = append(h.queue, commits...)
	}
	if !complete || h.queued > h.opt.QueueBytes {
		h.queue, h.queued, h.gap = nil, 0, revision
	}
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

// Restored sends all watchers to read history.
func (h *Hub) Restored(revision, compacted int64) {
	h.queueMu.Lock()
	defer h.queueMu.Unlock()
	h.committed, h.compacted = revision, compacted
	h.queue, h.queued, h.gap = nil, 0, revision
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

// Dispatch tells watchers of all commits so far.
func (h *Hub) Dispatch() {
	for h.dispatchSome() {
	}
}

func (h *Hub) dispatchSome() (more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queueMu.Lock()
	gap := h.gap
	h.gap = 0
	n := min(len(h.queue), dispatchCommits)
	commits := h.queue[:n:n]
	h.queue = h.queue[n:]
	if more = len(h.queue) > 0; !more {
		h.queue, h.queued = nil, 0
	} else {
		for i := range commits {
			for j := range commits[i].Events {
				h.queued -= eventBytes(&commits[i].Events[j])
			}
		}
	}
	h.queueMu.Unlock()
	if gap > 0 {
		for s := range h.streams {
			s.fallBehind(h.dispatched+1, gap)
		}
		h.dispatched = max(h.dispatched, gap)
	}
	for i := range commits {
		h.dispatch(&commits[i])
	}
	return more
}

// dispatch tells the synced watchers of one commit.
func (h *Hub) dispatch(c *store.Commit) {
	if c.Revision <= h.dispatched {
		return
	}
	for i := range c.Events {
		e := &c.Events[i]
		h.index.visit(e.KV.Key, func(w *watcher) {
			if c.Revision < w.next || w.drops(e) {
				return
			}
			if len(w.batch) == 0 {
				h.touched = append(h.touched, w)
			}
			w.batch = append(w.batch, w.shown(e))
		})
	}
	for _, w := range h.touched {
		switch {
		case !w.synced:
			// Its stream fell behind with another watcher of this commit.
		case w.stream.full():
			w.stream.fallBehind(c.Revision, c.Revision)
		case w.prev && !c.Prevs:
			w.desync(c.Revision)
		default:
			w.stream.deliver(w, c.Revision, w.batch)
			// The next one of this commit may find the stream full and have it fall
			// behind: not with what this one was just told.
			w.next = c.Revision + 1
		}
		clear(w.batch)
		w.batch = w.batch[:0]
	}
	clear(h.touched)
	h.touched = h.touched[:0]
	h.dispatched = c.Revision
}
