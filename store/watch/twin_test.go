package watch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
)

// A twin is a hub with watchers that are taken from now fast, now slowly, and the
// list of all that ever changed, from which is clear what each has to see.
type twin struct {
	t       *testing.T
	rng     *rand.Rand
	s       *store.Store
	hub     *Hub
	history []store.Commit
	index   raft.Index
	streams []*testStream
	seen    map[Kind]int
}

type testStream struct {
	s        *Stream
	watchers map[int64]*testWatcher
	// ended were canceled after a compaction had ended them: that is still to be
	// answered.
	ended map[int64]bool
}

type testWatcher struct {
	req     Watch
	created bool
	// canceled: the cancelation was asked for and not taken yet.
	canceled bool
	next     int64 // the revision from which on it has seen nothing
}

func newTwin(t *testing.T, seed uint64, opt Options) *twin {
	x := &twin{t: t, rng: rand.New(rand.NewPCG(seed, 1)), hub: NewHub(opt), seen: map[Kind]int{}}
	s, err := store.Open(engine.NewMemory(store.Split), x.hub)
	if err != nil {
		t.Fatal(err)
	}
	x.s = s
	x.hub.Attach(s, s.Revision(), s.Status().Compacted)
	t.Cleanup(func() {
		x.hub.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func (x *twin) key() []byte { return []byte{byte('a' + x.rng.IntN(6))} }

func (x *twin) command() store.Command {
	op := func(key []byte) store.RequestOp {
		if x.rng.IntN(3) == 0 {
			return store.RequestOp{DeleteRange: &store.DeleteRangeRequest{Key: key}}
		}
		return store.RequestOp{Put: &store.PutRequest{Key: key, Value: fmt.Append(nil, x.index)}}
	}
	switch x.rng.IntN(8) {
	case 0:
		return &store.DeleteRangeRequest{Key: x.key(), RangeEnd: []byte{0}}
	case 1, 2, 3:
		return &store.PutRequest{Key: x.key(), Value: fmt.Append(nil, x.index)}
	}
	txn := &store.TxnRequest{}
	keys := x.rng.Perm(6)
	for i := range x.rng.IntN(4) {
		txn.Success = append(txn.Success, op([]byte{byte('a' + keys[i])}))
	}
	return txn
}

func (x *twin) apply(cmds ...store.Command) {
	before := x.s.Revision()
	entries := make([]rsm.Entry, len(cmds))
	for i, cmd := range cmds {
		x.index++
		entries[i] = rsm.Entry{Index: x.index, Term: 1, Command: store.AppendCommand(nil, cmd)}
	}
	if err := x.s.Apply(entries); err != nil {
		x.t.Fatal(err)
	}
	// The store's history is held against its own model elsewhere.
	h, err := x.s.Events(x.t.Context(), before+1, store.HistoryOptions{Prev: func([]byte) bool { return true }})
	if err != nil {
		x.t.Fatal(err)
	}
	x.history = append(x.history, h.Commits...)
}

func (x *twin) watch() {
	var s *testStream
	if len(x.streams) == 0 || x.rng.IntN(4) == 0 {
		stream, err := x.hub.NewStream()
		if err != nil {
			x.t.Fatal(err)
		}
		s = &testStream{stream, map[int64]*testWatcher{}, map[int64]bool{}}
		x.streams = append(x.streams, s)
	} else {
		s = x.streams[x.rng.IntN(len(x.streams))]
	}
	req := Watch{Key: x.key(), Prev: x.rng.IntN(2) == 0, NoPut: x.rng.IntN(6) == 0, NoDelete: x.rng.IntN(6) == 0}
	switch x.rng.IntN(3) {
	case 0:
		req.RangeEnd = []byte{0}
	case 1:
		req.RangeEnd = x.key()
	}
	current := x.s.Revision()
	switch x.rng.IntN(4) {
	case 0:
		req.Start = max(1, current-x.rng.Int64N(30))
	case 1:
		req.Start = current + x.rng.Int64N(5)
	}
	id, err := s.s.Watch(req)
	if len(req.RangeEnd) == 1 && req.RangeEnd[0] != 0 && string(req.Key) >= string(req.RangeEnd) {
		if !errors.Is(err, ErrEmptyRange) {
			x.t.Fatalf("got %v for %q to %q, want ErrEmptyRange", err, req.Key, req.RangeEnd)
		}
		return
	}
	if err != nil {
		x.t.Fatal(err)
	}
	w := &testWatcher{req: req, next: req.Start}
	if w.next == 0 {
		w.next = current + 1
	}
	s.watchers[id] = w
}

func (w *testWatcher) sees(e *store.Event) bool {
	key := string(e.KV.Key)
	switch {
	case w.req.NoPut && e.Type == store.EventPut, w.req.NoDelete && e.Type == store.EventDelete:
		return false
	case len(w.req.RangeEnd) == 0:
		return key == string(w.req.Key)
	}
	return key >= string(w.req.Key) && (w.req.RangeEnd[0] == 0 || key < string(w.req.RangeEnd))
}

// due gives what a watcher has to see of the revisions from next to last.
func (x *twin) due(w *testWatcher, last int64) []store.Event {
	var events []store.Event
	for _, c := range x.history {
		if c.Revision < w.next || c.Revision > last {
			continue
		}
		for _, e := range c.Events {
			if !w.sees(&e) {
				continue
			}
			if !w.req.Prev {
				e.Prev = nil
			}
			events = append(events, e)
		}
	}
	return events
}

// take takes a response of a stream, if there is one, and judges it.
func (x *twin) take(s *testStream) bool {
	r, ok, err := s.s.TryNext(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	if !ok {
		return false
	}
	x.seen[r.Kind]++
	w := s.watchers[r.ID]
	switch r.Kind {
	case Created:
		if w.created {
			x.t.Fatalf("watcher %d was created twice", r.ID)
		}
		w.created = true
	case Rejected:
	case Canceled:
		if s.ended[r.ID] {
			delete(s.ended, r.ID)
			break
		}
		if w == nil || !w.canceled {
			x.t.Fatalf("watcher %d was canceled by nobody", r.ID)
		}
		delete(s.watchers, r.ID)
	case Compacted:
		if w.next >= r.CompactRevision {
			x.t.Fatalf("watcher %d ended by a compaction to %d, but had only to see from %d on", r.ID, r.CompactRevision, w.next)
		}
		delete(s.watchers, r.ID)
		// Canceled before it was heard of: the answer to that is still to come.
		if w.canceled {
			s.ended[r.ID] = true
		}
	case Events:
		x.judge(r, w)
	case Progress:
		for id, w := range s.watchers {
			if r.ID != NoID && id != r.ID || w.canceled || !w.created {
				continue
			}
			if missing := x.due(w, r.Revision); len(missing) > 0 {
				x.t.Fatalf("told of progress to %d, but watcher %d has not seen %+v", r.Revision, id, missing)
			}
		}
	}
	return true
}

func (x *twin) judge(r Response, w *testWatcher) {
	if w == nil || w.canceled || !w.created || len(r.Events) == 0 {
		x.t.Fatalf("events %+v of watcher %d, which was not created", r.Events, r.ID)
	}
	last := r.Events[len(r.Events)-1].KV.ModRevision
	want := x.due(w, last)
	if len(want) != len(r.Events) || r.Revision != last {
		x.t.Fatalf("watcher %d, %+v, from %d, told up to %d:\n got %+v\nwant %+v", r.ID, w.req, w.next, r.Revision, r.Events, want)
	}
	for i, e := range r.Events {
		// What was before may have been compacted before it was read.
		compacted := x.s.Status().Compacted
		if e.Prev == nil && want[i].Prev != nil && e.KV.ModRevision <= compacted {
			e.Prev = want[i].Prev
		}
		if !reflect.DeepEqual(e, want[i]) {
			x.t.Fatalf("watcher %d, event %d:\n got %+v, before %+v\nwant %+v, before %+v", r.ID, i, e, e.Prev, want[i], want[i].Prev)
		}
	}
	w.next = last + 1
}

func (x *twin) run(steps int) {
	for range steps {
		switch n := x.rng.IntN(20); {
		case n < 8:
			var cmds []store.Command
			for range 1 + x.rng.IntN(6) {
				cmds = append(cmds, x.command())
			}
			x.apply(cmds...)
		case n < 10:
			x.hub.Dispatch()
		case n < 12:
			x.watch()
		case n < 13 && len(x.streams) > 0:
			s := x.streams[x.rng.IntN(len(x.streams))]
			for id, w := range s.watchers {
				if done := s.s.Cancel(id); done == w.canceled {
					x.t.Fatalf("watcher %d: canceling it gives %v, canceled before: %v", id, done, w.canceled)
				}
				w.canceled = true
				break
			}
		case n < 14 && len(x.streams) > 0:
			s := x.streams[x.rng.IntN(len(x.streams))]
			if x.rng.IntN(2) == 0 {
				s.s.RequestProgressAll()
			} else {
				for id := range s.watchers {
					s.s.RequestProgress(id)
				}
			}
		case n < 15 && x.rng.IntN(4) == 0:
			x.apply(&store.CompactRequest{Revision: x.s.Revision() - x.rng.Int64N(20)})
		case n < 16 && len(x.streams) > 4:
			x.streams[0].s.Close()
			if _, _, err := x.streams[0].s.TryNext(x.t.Context()); !errors.Is(err, ErrClosed) {
				x.t.Fatalf("got %v of a closed stream, want ErrClosed", err)
			}
			x.streams = x.streams[1:]
		case len(x.streams) > 0:
			s := x.streams[x.rng.IntN(len(x.streams))]
			for range x.rng.IntN(10) {
				if !x.take(s) {
					break
				}
			}
		}
	}
	// In the end everybody has seen everything.
	x.hub.Dispatch()
	for _, s := range x.streams {
		for x.take(s) {
		}
		for id, w := range s.watchers {
			if missing := x.due(w, x.s.Revision()); w.canceled || len(missing) > 0 {
				x.t.Fatalf("watcher %d, %+v, never saw %+v", id, w.req, missing)
			}
		}
	}
}

// TestTwin: each watcher sees each revision once, in order, all of it together
// and with the right previous values, however slowly it is taken from.
func TestTwin(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 40
	}
	for _, opt := range []Options{{}, {QueueBytes: 600, StreamBytes: 900, ResponseEvents: 3, ResponseBytes: 700}} {
		seen := map[Kind]int{}
		for seed := range seeds {
			t.Run(fmt.Sprintf("queue=%d/seed=%d", opt.QueueBytes, seed), func(t *testing.T) {
				x := newTwin(t, seed, opt)
				x.run(400)
				for k, n := range x.seen {
					seen[k] += n
				}
			})
		}
		for _, k := range []Kind{Created, Rejected, Canceled, Compacted, Events, Progress} {
			if seen[k] == 0 {
				t.Errorf("no response of kind %d in any run", k)
			}
		}
	}
}
