package watch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/quorate/quorate/store"
)

// Kind is what a response says.
type Kind uint8

// The kinds.
const (
	// Created: the watcher with ID was made; its events follow.
	Created Kind = iota + 1
	// Rejected: no watcher was made, for Err; ID is NoID.
	Rejected
	// Canceled: the watcher with ID was canceled on request; nothing follows.
	Canceled
	// Compacted: the watcher with ID ended because what it had still to be told
	// was compacted, up to CompactRevision.
	Compacted
	// Events: the watcher with ID is told of Events.
	Events
	// Progress: the watcher with ID, or every one of the stream if it is NoID, was
	// told of everything up to Revision.
	Progress
)

// NoID is the id of no watcher. A Watch with ID AutoID is given one.
const (
	NoID   = -1
	AutoID = 0
)

// Response is what a stream has to say.
type Response struct {
	Kind Kind
	ID   int64
	// Revision is that of the store when a watcher was made or canceled, and the
	// newest that its Events tell of; 0 if Compacted, as in etcd.
	Revision        int64
	CompactRevision int64
	Events          []store.Event
	Err             error

	bytes   int
	watcher *watcher // whose Events these are
}

// Watch is what a watcher wants.
type Watch struct {
	// ID is the client's choice, or AutoID.
	ID int64
	// Key and RangeEnd are a range as in store.RangeRequest.
	Key      []byte
	RangeEnd []byte
	// Start is the first revision to tell of; 0 is the next.
	Start int64
	// Prev asks for the Prev of events. NoPut and NoDelete leave such events out.
	Prev     bool
	NoPut    bool
	NoDelete bool
}

// The refusals of Watch. Their texts are etcd's, for clients that read them.
var (
	ErrEmptyRange  = errors.New("mvcc: watcher range is empty")
	ErrDuplicateID = errors.New("mvcc: duplicate watch ID provided on the WatchStream")
)

// A watcher is synced, and then told by the hub of what is committed, or it is
// not, and then its stream reads history for it. The hub's lock guards it.
type watcher struct {
	stream   *Stream
	id       int64
	key, end []byte // an end of nil is none
	single   bool
	prev     bool
	noPut    bool
	noDelete bool
	start    int64
	// next is the first revision that it is to be told of, if it is not synced; if
	// it is, it was told up to the hub's dispatched, and next is a lower bound.
	next   int64
	synced bool
	place  int // in its group
	batch  []store.Event
}

func (w *watcher) drops(e *store.Event) bool {
	return w.noPut && e.Type == store.EventPut || w.noDelete && e.Type == store.EventDelete
}

func (w *watcher) shown(e *store.Event) store.Event {
	shown := *e
	if !w.prev {
		shown.Prev = nil
	}
	return shown
}

func (w *watcher) wants(key []byte) bool {
	if w.single {
		return bytes.Equal(key, w.key)
	}
	return bytes.Compare(key, w.key) >= 0 && (w.end == nil || bytes.Compare(key, w.end) < 0)
}

// desync has it read history from a revision on.
func (w *watcher) desync(from int64) {
	w.stream.hub.index.remove(w)
	w.synced, w.next = false, max(w.next, from)
	w.stream.behind = append(w.stream.behind, w)
	w.stream.wake()
}

// Stream is watchers whose responses come in one sequence.
type Stream struct {
	hub *Hub

	// Guarded by the hub's lock.
	watchers map[int64]*watcher
	// ended are the ids of watchers that a compaction ended: taken, as in etcd,
	// until the client cancels them too.
	ended  map[int64]struct{}
	nextID int64
	behind []*watcher // those that are not synced
	// progress says that a Progress is owed as soon as nobody is behind.
	progress bool

	mu     sync.Mutex
	ready  []*Response
	open   map[*watcher]*Response // responses in ready that may still grow
	bytes  int
	closed bool
	signal chan struct{}
}

// NewStream gives a stream without watchers. It must be closed.
func (h *Hub) NewStream() (*Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	s := &Stream{hub: h, watchers: map[int64]*watcher{}, ended: map[int64]struct{}{}, open: map[*watcher]*Response{}, signal: make(chan struct{}, 1)}
	h.streams[s] = struct{}{}
	return s, nil
}

// Watch makes a watcher. That it did, or why not, is a response too, before any
// other of that watcher.
func (s *Stream) Watch(req Watch) (id int64, err error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.isClosed() {
		return NoID, ErrClosed
	}
	w := &watcher{
		stream: s, id: req.ID, key: bytes.Clone(req.Key), single: len(req.RangeEnd) == 0,
		prev: req.Prev, noPut: req.NoPut, noDelete: req.NoDelete, start: req.Start, next: req.Start,
	}
	if !w.single && (len(req.RangeEnd) != 1 || req.RangeEnd[0] != 0) {
		w.end = bytes.Clone(req.RangeEnd)
	}
	h.queueMu.Lock()
	committed := h.committed
	h.queueMu.Unlock()
	switch {
	case w.end != nil && bytes.Compare(w.key, w.end) >= 0:
		err = ErrEmptyRange
	case req.ID == AutoID:
		for s.taken(s.nextID) {
			s.nextID++
		}
		w.id = s.nextID
		s.nextID++
	case s.taken(req.ID):
		err = ErrDuplicateID
	}
	if err != nil {
		s.push(&Response{Kind: Rejected, ID: NoID, Revision: committed, Err: err})
		return NoID, err
	}
	s.watchers[w.id] = w
	h.watchers.Add(1)
	if w.prev {
		h.prevs.Add(1)
	}
	s.push(&Response{Kind: Created, ID: w.id, Revision: committed})
	if w.next == 0 || w.next > committed {
		// What is committed and not yet dispatched is passed over by next.
		w.next = max(w.next, committed+1)
		w.synced = true
		h.index.add(w)
	} else {
		s.behind = append(s.behind, w)
		s.wake()
	}
	return w.id, nil
}

// Reject has the stream say that a watcher was not made.
func (s *Stream) Reject(err error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queueMu.Lock()
	committed := h.committed
	h.queueMu.Unlock()
	s.push(&Response{Kind: Rejected, ID: NoID, Revision: committed, Err: err})
}

func (s *Stream) taken(id int64) bool {
	_, ended := s.ended[id]
	return ended || s.watchers[id] != nil
}

// Cancel ends a watcher; what it was not told yet is dropped. It reports whether
// there was one, or one that a compaction had ended.
func (s *Stream) Cancel(id int64) bool {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.taken(id) {
		return false
	}
	if w := s.watchers[id]; w != nil {
		s.drop(w)
	}
	delete(s.ended, id)
	h.queueMu.Lock()
	committed := h.committed
	h.queueMu.Unlock()
	s.push(&Response{Kind: Canceled, ID: id, Revision: committed})
	return true
}

// forget takes a watcher out.
func (s *Stream) forget(w *watcher) {
	h := s.hub
	if w.synced {
		h.index.remove(w)
	} else if i := slices.Index(s.behind, w); i >= 0 {
		s.behind = slices.Delete(s.behind, i, i+1)
	}
	w.synced = false
	delete(s.watchers, w.id)
	h.watchers.Add(-1)
	if w.prev {
		h.prevs.Add(-1)
	}
}

// drop takes a watcher out, and what was still to be said of it.
func (s *Stream) drop(w *watcher) {
	s.forget(w)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, w)
	kept := s.ready[:0]
	for _, r := range s.ready {
		if r.ID == w.id && (r.Kind == Events || r.Kind == Progress) {
			s.bytes -= r.bytes
			continue
		}
		kept = append(kept, r)
	}
	clear(s.ready[len(kept):])
	s.ready = kept
}

// RequestProgress has the stream say up to which revision a watcher was told, if
// it is synced and the revision at which it starts has come; it reports whether
// that is so.
func (s *Stream) RequestProgress(id int64) bool {
	h := s.hub
	h.Dispatch()
	h.mu.Lock()
	defer h.mu.Unlock()
	w := s.watchers[id]
	if w == nil || !w.synced || w.start > h.dispatched || w.next > h.dispatched+1 {
		return false
	}
	s.push(&Response{Kind: Progress, ID: id, Revision: h.dispatched})
	return true
}

// RequestProgressAll has the stream say up to which revision all its watchers
// were told, as soon as none is behind. A stream without watchers says nothing.
func (s *Stream) RequestProgressAll() {
	h := s.hub
	h.Dispatch()
	h.mu.Lock()
	defer h.mu.Unlock()
	s.progress = true
	s.owedProgress()
}

// owedProgress pays a Progress for all if it is owed and nobody is behind.
func (s *Stream) owedProgress() {
	if !s.progress || len(s.behind) > 0 || len(s.watchers) == 0 {
		s.progress = s.progress && len(s.watchers) > 0
		return
	}
	s.progress = false
	for _, w := range s.watchers {
		if w.start > s.hub.dispatched {
			return
		}
	}
	s.push(&Response{Kind: Progress, ID: NoID, Revision: s.hub.dispatched})
}

// Close ends the stream: Next fails, and no watcher is left.
func (s *Stream) Close() {
	h := s.hub
	h.mu.Lock()
	for _, w := range s.watchers {
		if w.synced {
			h.index.remove(w)
		}
		w.synced = false
		h.watchers.Add(-1)
		if w.prev {
			h.prevs.Add(-1)
		}
	}
	clear(s.watchers)
	clear(s.ended)
	s.behind = nil
	delete(h.streams, s)
	h.mu.Unlock()

	s.mu.Lock()
	s.closed, s.ready, s.bytes = true, nil, 0
	clear(s.open)
	s.mu.Unlock()
	s.wake()
}

func (s *Stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Stream) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// push says something that does not grow. What is said of a watcher later comes
// after it.
func (s *Stream) push(r *Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	clear(s.open)
	s.ready = append(s.ready, r)
	s.wake()
}

// full reports whether so much waits to be taken that the stream is slow.
func (s *Stream) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes >= s.hub.opt.StreamBytes
}

// fallBehind has the synced watchers that were to be told of a revision in
// [from, to] read history.
func (s *Stream) fallBehind(from, to int64) {
	var late []*watcher
	for _, w := range s.watchers {
		if w.synced && w.next <= to {
			late = append(late, w)
		}
	}
	// In an order of their own, for who repeats a run.
	slices.SortFunc(late, func(a, b *watcher) int { return cmp.Compare(a.id, b.id) })
	for _, w := range late {
		w.desync(from)
	}
}

// deliver tells a watcher of a revision's events, which are copied.
func (s *Stream) deliver(w *watcher, revision int64, events []store.Event) {
	size := 0
	for i := range events {
		size += eventBytes(&events[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	r := s.open[w]
	if r == nil || len(r.Events) >= s.hub.opt.ResponseEvents || r.bytes >= s.hub.opt.ResponseBytes {
		r = &Response{Kind: Events, ID: w.id, watcher: w}
		s.open[w] = r
		s.ready = append(s.ready, r)
	}
	r.Events = append(r.Events, events...)
	r.Revision = revision
	r.bytes += size
	s.bytes += size
	s.wake()
}

// Next waits for the next response. One goroutine at a time may call it; reading
// history is done here.
func (s *Stream) Next(ctx context.Context) (Response, error) {
	for {
		if r, ok, err := s.take(); ok || err != nil {
			return r, err
		}
		if caught, err := s.catchUp(ctx); err != nil {
			return Response{}, err
		} else if caught {
			continue
		}
		select {
		case <-s.signal:
		case <-ctx.Done():
			return Response{}, ctx.Err()
		}
	}
}

// TryNext is Next that does not wait: it reports whether there was a response.
func (s *Stream) TryNext(ctx context.Context) (Response, bool, error) {
	for {
		if r, ok, err := s.take(); ok || err != nil {
			return r, ok, err
		}
		if caught, err := s.catchUp(ctx); err != nil || !caught {
			return Response{}, false, err
		}
	}
}

func (s *Stream) take() (Response, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Response{}, false, ErrClosed
	}
	if len(s.ready) == 0 {
		return Response{}, false, nil
	}
	r := s.ready[0]
	s.ready[0] = nil
	s.ready = s.ready[1:]
	s.bytes -= r.bytes
	if s.open[r.watcher] == r {
		delete(s.open, r.watcher)
	}
	return *r, true, nil
}

// catchUpWatchers is for how many watchers history is read at once.
const catchUpWatchers = 64

// catchUp reads some history for watchers that are behind and reports whether
// there were any.
func (s *Stream) catchUp(ctx context.Context) (bool, error) {
	h := s.hub
	h.mu.Lock()
	readers := slices.Clone(s.behind[:min(len(s.behind), catchUpWatchers)])
	from, prevs := int64(math.MaxInt64), false
	for _, w := range readers {
		from, prevs = min(from, w.next), prevs || w.prev
	}
	h.mu.Unlock()
	if len(readers) == 0 {
		return false, nil
	}
	// While they are behind they are in no other index.
	index := newIndex()
	for _, w := range readers {
		index.add(w)
	}
	opt := store.HistoryOptions{
		Revisions: h.opt.ResponseEvents, Bytes: h.opt.ResponseBytes,
		Wanted: func(key []byte) bool { return index.any(key, func(*watcher) bool { return true }) },
	}
	if prevs {
		opt.Prev = func(key []byte) bool { return index.any(key, func(w *watcher) bool { return w.prev }) }
	}
	history, err := h.source.Events(ctx, from, opt)
	switch {
	case errors.Is(err, store.ErrCompacted):
		s.compacted(history.Compacted)
		return true, nil
	case err != nil:
		return false, fmt.Errorf("watch: read history from revision %d: %w", from, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range history.Commits {
		s.replay(&history.Commits[i], &index)
	}
	for _, w := range readers {
		i := slices.Index(s.behind, w)
		if i < 0 {
			continue // canceled meanwhile
		}
		s.behind = slices.Delete(s.behind, i, i+1)
		w.next = max(w.next, history.Next)
		// Who has read all that was dispatched joins those that are told. What was
		// dispatched meanwhile has to be read first.
		if w.next > h.dispatched {
			w.synced = true
			h.index.add(w)
		} else {
			s.behind = append(s.behind, w)
		}
	}
	s.owedProgress()
	return true, nil
}

// replay tells the watchers of index of a commit of the past.
func (s *Stream) replay(c *store.Commit, index *index) {
	var touched []*watcher
	for i := range c.Events {
		e := &c.Events[i]
		index.visit(e.KV.Key, func(w *watcher) {
			if c.Revision < w.next || w.drops(e) || s.watchers[w.id] != w {
				return
			}
			if len(w.batch) == 0 {
				touched = append(touched, w)
			}
			w.batch = append(w.batch, w.shown(e))
		})
	}
	for _, w := range touched {
		s.deliver(w, c.Revision, w.batch)
		clear(w.batch)
		w.batch = w.batch[:0]
	}
}

// compacted ends the watchers that are behind what was compacted.
func (s *Stream) compacted(revision int64) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range slices.Clone(s.behind) {
		if w.next < revision {
			s.forget(w)
			s.ended[w.id] = struct{}{}
			s.push(&Response{Kind: Compacted, ID: w.id, CompactRevision: revision})
		}
	}
	s.owedProgress()
}
