package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
)

// TestIndex holds the index against asking every watcher.
func TestIndex(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	key := func() []byte {
		k := make([]byte, 1+rng.IntN(3))
		for i := range k {
			k[i] = byte('a' + rng.IntN(4))
		}
		return k
	}
	x := newIndex()
	var all []*watcher
	for range 20000 {
		if n := len(all); n > 0 && rng.IntN(100) < 45 {
			i := rng.IntN(n)
			x.remove(all[i])
			all[i] = all[n-1]
			all = all[:n-1]
		} else {
			w := &watcher{key: key()}
			switch rng.IntN(3) {
			case 0:
				w.single = true
			case 1:
				if w.end = key(); bytes.Compare(w.key, w.end) >= 0 {
					w.key, w.end = w.end, append(w.key, 0)
				}
			}
			all = append(all, w)
			x.add(w)
		}
		k := key()
		var got []*watcher
		x.visit(k, func(w *watcher) { got = append(got, w) })
		n := 0
		for _, w := range all {
			if w.wants(k) {
				n++
			}
		}
		if n != len(got) || slices.ContainsFunc(got, func(w *watcher) bool { return !w.wants(k) }) {
			t.Fatalf("%d watchers of %q, want %d of %d", len(got), k, n, len(all))
		}
	}
}

type rig struct {
	t     testing.TB
	s     *store.Store
	hub   *Hub
	index raft.Index
}

func newRig(t testing.TB, opt Options) *rig {
	r := &rig{t: t, hub: NewHub(opt)}
	s, err := store.Open(engine.NewMemory(store.Split), r.hub)
	if err != nil {
		t.Fatal(err)
	}
	r.s = s
	return r
}

func (r *rig) close() {
	r.hub.Close()
	if err := r.s.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) put(key, value string) {
	r.index++
	e := rsm.Entry{Index: r.index, Term: 1, Command: store.AppendCommand(nil, &store.PutRequest{Key: []byte(key), Value: []byte(value)})}
	if err := r.s.Apply([]rsm.Entry{e}); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) stream() *Stream {
	s, err := r.hub.NewStream()
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// TestConcurrently: watchers taken from on their own goroutines, beside one that
// applies, each see every revision once.
func TestConcurrently(t *testing.T) {
	const puts, streams = 2000, 8
	r := newRig(t, Options{QueueBytes: 4 << 10, StreamBytes: 2 << 10, ResponseEvents: 20})
	r.hub.Start(r.s)
	var done sync.WaitGroup
	for i := range streams {
		s := r.stream()
		id, err := s.Watch(Watch{Key: []byte("k"), RangeEnd: []byte{0}, Prev: i%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		done.Go(func() {
			next := int64(2)
			for next < puts+2 {
				resp, err := s.Next(t.Context())
				if err != nil {
					t.Errorf("stream %d: %v", i, err)
					return
				}
				for _, e := range resp.Events {
					if resp.ID != id || e.KV.ModRevision != next || (e.Prev != nil) != (i%2 == 0 && next > 2) {
						t.Errorf("stream %d: got %+v at %d", i, e, next)
						return
					}
					next++
				}
			}
			s.RequestProgressAll()
			if resp, err := s.Next(t.Context()); err != nil || resp.Kind != Progress || resp.Revision != puts+1 {
				t.Errorf("stream %d: got %+v, %v, want progress", i, resp, err)
			}
		})
	}
	for i := range puts {
		r.put("k", fmt.Sprint(i))
	}
	done.Wait()
	r.close()
}

// TestFullWithinACommit: a stream that a commit fills with what it tells one watcher
// falls behind with the next one, and the first is not told twice.
func TestFullWithinACommit(t *testing.T) {
	r := newRig(t, Options{StreamBytes: 1})
	r.hub.Attach(r.s, 1, -1)
	s := r.stream()
	for range 3 {
		if _, err := s.Watch(Watch{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
	}
	next := map[int64]int64{}
	for i := range 5 {
		r.put("k", fmt.Sprint(i))
		r.hub.Dispatch()
	}
	for {
		resp, ok, err := s.TryNext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if resp.Kind == Created {
			next[resp.ID] = 2
		}
		for _, e := range resp.Events {
			if e.KV.ModRevision != next[resp.ID] {
				t.Fatalf("watcher %d is told of revision %d, want %d", resp.ID, e.KV.ModRevision, next[resp.ID])
			}
			next[resp.ID]++
		}
	}
	for id, n := range next {
		if n != 7 {
			t.Errorf("watcher %d was told up to revision %d, want 6", id, n-1)
		}
	}
	r.close()
}

// TestTenThousandWatchers: each is told of each revision of its key once, and those
// of a stream that nobody takes from hold up neither what is applied nor the others,
// and lose nothing.
func TestTenThousandWatchers(t *testing.T) {
	const watchers, perStream, keys, puts = 10_000, 100, 50, 200
	r := newRig(t, Options{StreamBytes: 16 << 10})
	r.hub.Attach(r.s, 1, -1)
	key := func(i int) string { return fmt.Sprintf("k%02d", i%keys) }
	var streams []*Stream
	var told [][]int64 // by stream, by watcher: the last revision
	for i := range watchers {
		if i%perStream == 0 {
			streams, told = append(streams, r.stream()), append(told, make([]int64, perStream))
		}
		if _, err := streams[i/perStream].Watch(Watch{Key: []byte(key(i))}); err != nil {
			t.Fatal(err)
		}
	}
	events := 0
	drain := func(n int) {
		for {
			resp, ok, err := streams[n].TryNext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return
			}
			for _, e := range resp.Events {
				last := &told[n][resp.ID]
				if string(e.KV.Key) != key(n*perStream+int(resp.ID)) || *last != 0 && e.KV.ModRevision != *last+keys {
					t.Fatalf("watcher %d of stream %d is told of revision %d of %s after %d", resp.ID, n, e.KV.ModRevision, e.KV.Key, *last)
				}
				*last = e.KV.ModRevision
				events++
			}
		}
	}
	for i := range puts {
		r.put(key(i), fmt.Sprintf("%0100d", i))
		r.hub.Dispatch()
		for n := range streams[1:] { // nobody takes from the last one
			drain(n)
		}
	}
	if want := (watchers - perStream) * puts / keys; events != want {
		t.Errorf("%d events were told, want %d", events, want)
	}
	drain(len(streams) - 1)
	if want := watchers * puts / keys; events != want {
		t.Errorf("%d events were told with those of the slow stream, want %d", events, want)
	}
	r.close()
}

// TestCloseEndsNext: whoever waits is told.
func TestCloseEndsNext(t *testing.T) {
	r := newRig(t, Options{})
	r.hub.Start(r.s)
	s, ended := r.stream(), make(chan error)
	go func() {
		_, err := s.Next(context.Background())
		ended <- err
	}()
	r.close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if _, err := s.Watch(Watch{Key: []byte("k")}); !errors.Is(err, ErrClosed) {
		t.Errorf("Watch on a closed stream: got %v, want ErrClosed", err)
	}
	if _, err := r.hub.NewStream(); !errors.Is(err, ErrClosed) {
		t.Errorf("NewStream of a closed hub: got %v, want ErrClosed", err)
	}
}

// TestIDs: a client's own ids, and those that it leaves to us, never meet.
func TestIDs(t *testing.T) {
	r := newRig(t, Options{})
	r.hub.Attach(r.s, 1, -1)
	defer r.close()
	s := r.stream()
	for i, want := range []struct {
		ask, id int64
		err     error
	}{{0, 0, nil}, {1, 1, nil}, {0, 2, nil}, {1, NoID, ErrDuplicateID}, {-7, -7, nil}, {0, 3, nil}} {
		id, err := s.Watch(Watch{ID: want.ask, Key: []byte("k")})
		if id != want.id || !errors.Is(err, want.err) {
			t.Errorf("%d: got %d, %v, want %d, %v", i, id, err, want.id, want.err)
		}
		resp, ok, err := s.TryNext(t.Context())
		if !ok || err != nil || resp.ID != want.id || (resp.Kind == Rejected) != (want.err != nil) || !errors.Is(resp.Err, want.err) {
			t.Errorf("%d: got %+v, %v, %v", i, resp, ok, err)
		}
	}
}

// TestIDsOfCompacted: the id of a watcher that a compaction ended stays taken
// until it is canceled, which is answered as any cancelation.
func TestIDsOfCompacted(t *testing.T) {
	r := newRig(t, Options{})
	r.hub.Attach(r.s, 1, -1)
	defer r.close()
	r.put("k", "1")
	r.put("k", "2")
	r.index++
	e := rsm.Entry{Index: r.index, Term: 1, Command: store.AppendCommand(nil, &store.CompactRequest{Revision: 3})}
	if err := r.s.Apply([]rsm.Entry{e}); err != nil {
		t.Fatal(err)
	}
	s := r.stream()
	next := func(want Kind) {
		t.Helper()
		if resp, ok, err := s.TryNext(t.Context()); !ok || err != nil || resp.Kind != want {
			t.Fatalf("got %+v, %v, %v, want kind %v", resp, ok, err, want)
		}
	}
	if _, err := s.Watch(Watch{ID: 5, Key: []byte("k"), Start: 2}); err != nil {
		t.Fatal(err)
	}
	next(Created)
	next(Compacted)
	if _, err := s.Watch(Watch{ID: 5, Key: []byte("k")}); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("got %v for its id, want ErrDuplicateID", err)
	}
	next(Rejected)
	if !s.Cancel(5) {
		t.Error("canceling it does nothing")
	}
	next(Canceled)
	if s.Cancel(5) {
		t.Error("it is canceled twice")
	}
	if _, err := s.Watch(Watch{ID: 5, Key: []byte("k")}); err != nil {
		t.Errorf("got %v for its id when it was canceled", err)
	}
	next(Created)
}

// TestRestored: a snapshot that takes the state ahead costs no watcher an event
// that is still there.
func TestRestored(t *testing.T) {
	ahead := newRig(t, Options{})
	ahead.hub.Attach(ahead.s, 1, -1)
	defer ahead.close()
	r := newRig(t, Options{})
	r.hub.Attach(r.s, 1, -1)
	defer r.close()
	s := r.stream()
	if _, err := s.Watch(Watch{Key: []byte("a"), RangeEnd: []byte{0}}); err != nil {
		t.Fatal(err)
	}
	future, err := s.Watch(Watch{Key: []byte("a"), RangeEnd: []byte{0}, Start: 5})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		ahead.put("a", fmt.Sprint(i))
		if i < 2 {
			r.put("a", fmt.Sprint(i))
		}
	}
	view, err := ahead.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var snapshot bytes.Buffer
	if err := errors.Join(view.WriteSnapshot(t.Context(), &snapshot), view.Close(), r.s.Restore(&snapshot)); err != nil {
		t.Fatal(err)
	}
	r.hub.Dispatch()
	r.index = ahead.index
	r.put("a", "last")
	r.hub.Dispatch()
	seen := map[int64][]int64{}
	for {
		resp, ok, err := s.TryNext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		for _, e := range resp.Events {
			seen[resp.ID] = append(seen[resp.ID], e.KV.ModRevision)
		}
	}
	if want := []int64{2, 3, 4, 5, 6, 7}; !slices.Equal(seen[0], want) {
		t.Errorf("got revisions %v, want %v", seen[0], want)
	}
	if want := []int64{5, 6, 7}; !slices.Equal(seen[future], want) {
		t.Errorf("the one from 5 on got revisions %v, want %v", seen[future], want)
	}
}

// BenchmarkFanOut: one put, told to that many watchers, of which each has its own
// stream.
func BenchmarkFanOut(b *testing.B) {
	for _, watchers := range []int{1, 100, 10_000} {
		for _, all := range []bool{true, false} {
			if !all && watchers == 1 {
				continue
			}
			b.Run(fmt.Sprintf("watchers=%d/matching=%v", watchers, all), func(b *testing.B) {
				r := newRig(b, Options{})
				r.hub.Attach(r.s, 1, -1)
				defer r.close()
				streams := make([]*Stream, watchers)
				for i := range streams {
					streams[i] = r.stream()
					w := Watch{Key: []byte("k"), RangeEnd: []byte("l")}
					if !all {
						w.Key, w.RangeEnd = fmt.Appendf(nil, "m%05d", i), fmt.Appendf(nil, "m%05d\xff", i)
					}
					if _, err := streams[i].Watch(w); err != nil {
						b.Fatal(err)
					}
					if _, _, err := streams[i].TryNext(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				commit := store.Commit{Events: []store.Event{{KV: store.KeyValue{Key: []byte("k1"), Value: make([]byte, 256)}}}}
				told := streams
				if !all {
					commit.Events[0].KV.Key = []byte("m00050/k")
					told = streams[50:51]
				}
				b.ReportAllocs()
				revision := int64(1)
				for b.Loop() {
					revision++
					commit.Revision, commit.Events[0].KV.ModRevision = revision, revision
					r.hub.Committed(revision, -1, []store.Commit{commit})
					r.hub.Dispatch()
					for _, s := range told {
						if resp, ok, err := s.TryNext(b.Context()); !ok || err != nil || len(resp.Events) != 1 {
							b.Fatal(resp, ok, err)
						}
					}
				}
			})
		}
	}
}
