// Package enginetest is the contract of an engine, to be run by whoever makes
// one. It decides what the store may rely on, and nothing about speed.
package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/quorate/quorate/store/engine"
)

// Split is the SplitFunc that the engines under test are to be made with: the
// prefix of a key ends with its first '/', if it has one.
func Split(key []byte) int {
	if i := bytes.IndexByte(key, '/'); i >= 0 {
		return i + 1
	}
	return len(key)
}

// Harness makes engines.
type Harness struct {
	// Open gives an empty engine.
	Open func(t testing.TB) engine.Engine
	// Crash gives the engine that is found after a crash of e at this moment, with
	// as much of what was not durable as rng decides. It may close e, or leave it.
	Crash func(t testing.TB, e engine.Engine, rng *rand.Rand) engine.Engine
}

// Test runs the contract.
func Test(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"BatchIsInOrder", batchIsInOrder},
		{"BatchIsReused", batchIsReused},
		{"LargeBatch", largeBatch},
		{"AgainstAMap", againstAMap},
		{"ReadersKeepTheirState", readersKeepTheirState},
		{"CrashLeavesAPrefix", crashLeavesAPrefix},
		{"SyncIsDurable", syncIsDurable},
		{"CloseWaitsForReaders", closeWaitsForReaders},
		{"ClosedRefuses", closedRefuses},
		{"ReadsBesideCommits", readsBesideCommits},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, h) })
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, e engine.Engine, fill func(engine.Batch)) {
	t.Helper()
	b := e.NewBatch()
	defer b.Close()
	fill(b)
	check(t, b.Commit())
}

func want(t testing.TB, r engine.Reader, key, value string, found bool) {
	t.Helper()
	got, ok, err := r.Get([]byte("+"), []byte(key))
	if err != nil || ok != found || string(got) != "+"+value {
		t.Fatalf("%q is %q, %v, %v, want +%s, %v", key, got, ok, err, value, found)
	}
}

// contents reads all records forwards.
func contents(t testing.TB, r engine.Reader) map[string]string {
	t.Helper()
	it, err := r.NewIterator(nil, nil)
	check(t, err)
	return walkAll(t, it)
}

func walkAll(t testing.TB, it engine.Iterator) map[string]string {
	t.Helper()
	all := map[string]string{}
	for ok := it.First(); ok; ok = it.Next() {
		all[string(it.Key())] = string(it.Value())
	}
	check(t, errors.Join(it.Error(), it.Close()))
	return all
}

func batchIsInOrder(t *testing.T, h Harness) {
	e := h.Open(t)
	commit(t, e, func(b engine.Batch) {
		b.Set([]byte("a"), []byte("1"))
		b.Set([]byte("b"), []byte("1"))
		b.Set([]byte("a"), []byte("2"))
		b.DeleteRange([]byte("b"), []byte("c"))
		b.Set([]byte("bb"), []byte("3"))
		b.Set([]byte("d"), nil)
		b.Delete([]byte("d"))
		b.Set([]byte("e"), nil)
		b.DeleteRange([]byte("z"), []byte("a")) // nothing
	})
	want(t, e, "a", "2", true)
	want(t, e, "b", "", false)
	want(t, e, "bb", "3", true)
	want(t, e, "d", "", false)
	want(t, e, "e", "", true)
	check(t, e.Close())
}

func batchIsReused(t *testing.T, h Harness) {
	e := h.Open(t)
	b := e.NewBatch()
	key := []byte("a")
	for i := range 3 {
		if b.Size() > 16 {
			t.Errorf("an empty batch has %d bytes", b.Size())
		}
		key[0] = byte('a' + i)
		b.Set(key, []byte("v"))
		key[0] = 'x' // what it was given is copied
		if b.Size() == 0 {
			t.Error("a batch with a record has no bytes")
		}
		check(t, b.Commit())
	}
	check(t, b.Commit())
	b.Close()
	if got := contents(t, e); !maps.Equal(got, map[string]string{"a": "v", "b": "v", "c": "v"}) {
		t.Errorf("got %v", got)
	}
	check(t, e.Close())
}

// largeBatch: a batch that is larger than what is collected in memory, and what
// the batch is used for afterwards, do not mix.
func largeBatch(t *testing.T, h Harness) {
	e := h.Open(t)
	b := e.NewBatch()
	for round := range 3 {
		for i := range 3000 {
			b.Set(fmt.Appendf(nil, "%d/%04d", round, i), bytes.Repeat([]byte{byte(round)}, 100))
		}
		check(t, b.Commit())
	}
	b.Close()
	n := 0
	for key, value := range contents(t, e) {
		if n++; value[0] != key[0]-'0' {
			t.Fatalf("%s has the value of round %d", key, value[0])
		}
	}
	if n != 9000 {
		t.Errorf("got %d records, want 9000", n)
	}
	check(t, e.Close())
}

// A twin is an engine's records in a map.
type twin struct {
	t   testing.TB
	rng *rand.Rand
	m   map[string]string
}

func (x *twin) key() string {
	k := make([]byte, 1+x.rng.IntN(5))
	for i := range k {
		k[i] = "ab/\x00\xff"[x.rng.IntN(5)]
	}
	return string(k)
}

func (x *twin) change(b engine.Batch) {
	for range 1 + x.rng.IntN(8) {
		switch k := x.key(); x.rng.IntN(8) {
		case 0:
			b.Delete([]byte(k))
			delete(x.m, k)
		case 1:
			to := x.key()
			b.DeleteRange([]byte(k), []byte(to))
			maps.DeleteFunc(x.m, func(key, _ string) bool { return k <= key && key < to })
		default:
			v := fmt.Sprint(x.rng.IntN(1000))
			b.Set([]byte(k), []byte(v))
			x.m[k] = v
		}
	}
}

// allPrefix gives a bound, or none.
func (x *twin) allPrefix() []byte {
	if x.rng.IntN(3) == 0 {
		return nil
	}
	k := []byte(x.key())
	return k[:Split(k)]
}

// walk moves an iterator at random and compares every place.
func (x *twin) walk(r engine.Reader) {
	x.t.Helper()
	lower, upper := x.allPrefix(), x.allPrefix()
	if lower != nil && upper != nil && bytes.Compare(lower, upper) > 0 {
		lower, upper = upper, lower
	}
	it, err := r.NewIterator(lower, upper)
	check(x.t, err)
	keys := slices.Sorted(maps.Keys(x.m))
	keys = slices.DeleteFunc(keys, func(k string) bool {
		return lower != nil && k < string(lower) || upper != nil && k >= string(upper)
	})
	at, prefix, log := -1, "", ""
	move := func(name string, ok bool, to int) {
		x.t.Helper()
		if at = to; at < 0 || at >= len(keys) || prefix != "" && keys[at][:Split([]byte(keys[at]))] != prefix {
			at = -1
		}
		log += " " + name
		if ok != (at >= 0) || it.Valid() != ok {
			x.t.Fatalf("in [%q, %q) of %q:%s: got %v, want %v", lower, upper, keys, log, ok, at >= 0)
		}
		if ok && (string(it.Key()) != keys[at] || string(it.Value()) != x.m[keys[at]]) {
			x.t.Fatalf("in [%q, %q) of %q:%s: at %q, want %q", lower, upper, keys, log, it.Key(), keys[at])
		}
	}
	seek := func(k string) int { i, _ := slices.BinarySearch(keys, k); return i }
	for range 12 {
		k := x.key()
		switch n := x.rng.IntN(9); {
		case n == 0:
			prefix = ""
			move("First", it.First(), 0)
		case n == 1:
			prefix = ""
			move("Last", it.Last(), len(keys)-1)
		case n == 2:
			prefix = ""
			move(fmt.Sprintf("SeekGE(%q)", k), it.SeekGE([]byte(k)), seek(k))
		case n == 3:
			prefix = ""
			move(fmt.Sprintf("SeekLT(%q)", k), it.SeekLT([]byte(k)), seek(k)-1)
		case n == 4:
			if lower != nil && k < string(lower) || upper != nil && k >= string(upper) {
				continue
			}
			prefix = k[:Split([]byte(k))]
			move(fmt.Sprintf("SeekPrefixGE(%q)", k), it.SeekPrefixGE([]byte(k)), seek(k))
		case at < 0:
		case n == 5 || prefix != "":
			move("Next", it.Next(), at+1)
		case n == 6:
			move("Prev", it.Prev(), at-1)
		default:
			to := at
			for p := keys[at][:Split([]byte(keys[at]))]; to < len(keys) && keys[to][:Split([]byte(keys[to]))] == p; {
				to++
			}
			move("NextPrefix", it.NextPrefix(), to)
		}
	}
	check(x.t, errors.Join(it.Error(), it.Close()))
}

func againstAMap(t *testing.T, h Harness) {
	for seed := range uint64(4) {
		x := &twin{t, rand.New(rand.NewPCG(seed, 5)), map[string]string{}}
		e := h.Open(t)
		for range 150 {
			commit(t, e, x.change)
			if x.rng.IntN(20) == 0 {
				check(t, e.Sync())
			}
			for range 3 {
				x.walk(e)
			}
			k := x.key()
			v, ok := x.m[k]
			want(t, e, k, v, ok)
		}
		if got := contents(t, e); !maps.Equal(got, x.m) {
			t.Fatalf("seed %d: got %q, want %q", seed, got, x.m)
		}
		check(t, e.Close())
	}
}

func readersKeepTheirState(t *testing.T, h Harness) {
	e := h.Open(t)
	x := &twin{t, rand.New(rand.NewPCG(1, 6)), map[string]string{}}
	for range 20 {
		commit(t, e, x.change)
	}
	before := maps.Clone(x.m)
	s, err := e.NewSnapshot()
	check(t, err)
	it, err := e.NewIterator(nil, nil)
	check(t, err)
	for range 20 {
		commit(t, e, x.change)
	}
	check(t, e.Sync())
	if got := contents(t, s); !maps.Equal(got, before) {
		t.Errorf("the snapshot has %q, want %q", got, before)
	}
	for k, v := range before {
		want(t, s, k, v, true)
	}
	seen := map[string]string{}
	for ok := it.First(); ok; ok = it.Next() {
		seen[string(it.Key())] = string(it.Value())
	}
	if !maps.Equal(seen, before) {
		t.Errorf("the iterator has %q, want %q", seen, before)
	}
	check(t, errors.Join(it.Close(), s.Close(), e.Close()))
}

// crashLeavesAPrefix: after any crash the records are those of the first so many
// batches, at least of those that were durable, crash after crash.
func crashLeavesAPrefix(t *testing.T, h Harness) {
	number := []byte("number")
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 7))
		x := &twin{t, rng, map[string]string{}}
		e := h.Open(t)
		states := []map[string]string{{}}
		read := func(get func(dst, key []byte) ([]byte, bool, error)) int {
			b, ok, err := get(nil, number)
			check(t, err)
			n := 0
			if ok {
				_, err = fmt.Sscan(string(b), &n)
				check(t, err)
			}
			return n
		}
		for range 8 {
			for range rng.IntN(60) {
				commit(t, e, func(b engine.Batch) {
					x.change(b)
					if rng.IntN(10) == 0 {
						b.Set([]byte("zz/large"), make([]byte, rng.IntN(80<<10)))
						b.Delete([]byte("zz/large"))
					}
					b.Set(number, fmt.Append(nil, len(states)))
					x.m[string(number)] = fmt.Sprint(len(states))
				})
				states = append(states, maps.Clone(x.m))
				if rng.IntN(15) == 0 {
					check(t, e.Flush())
				}
			}
			durable := read(e.GetDurable)
			it, err := e.NewDurableIterator(nil, nil)
			check(t, err)
			kept := walkAll(t, it)
			if n := 0; len(kept) > 0 {
				_, err := fmt.Sscan(kept[string(number)], &n)
				check(t, err)
				if n < durable || !maps.Equal(kept, states[n]) {
					t.Fatalf("seed %d: durable are %q, want those of %d batches, %q", seed, kept, n, states[n])
				}
			}
			old := e
			e = h.Crash(t, old, rng)
			n := read(e.Get)
			if n < durable || n >= len(states) {
				t.Fatalf("seed %d: %d batches after a crash, %d were durable of %d", seed, n, durable, len(states)-1)
			}
			if got := contents(t, e); !maps.Equal(got, states[n]) {
				t.Fatalf("seed %d: after a crash got %q, want those of %d batches, %q", seed, got, n, states[n])
			}
			if d := read(e.GetDurable); d != n {
				t.Fatalf("seed %d: %d batches found after a crash, but %d durable", seed, n, d)
			}
			states = states[:n+1]
			x.m = maps.Clone(states[n])
		}
		check(t, e.Close())
	}
}

func syncIsDurable(t *testing.T, h Harness) {
	e := h.Open(t)
	commit(t, e, func(b engine.Batch) { b.Set([]byte("a"), []byte("1")) })
	if _, ok, err := e.GetDurable(nil, []byte("a")); ok || err != nil {
		t.Errorf("durable before a flush: %v, %v", ok, err)
	}
	check(t, e.Sync())
	if v, ok, err := e.GetDurable([]byte("+"), []byte("a")); !ok || err != nil || string(v) != "+1" {
		t.Errorf("durable after Sync: %q, %v, %v", v, ok, err)
	}
	e = h.Crash(t, e, rand.New(rand.NewPCG(1, 8)))
	want(t, e, "a", "1", true)
	if m := e.Metrics(); m.DiskBytes == 0 {
		t.Errorf("metrics: %+v", m)
	}
	check(t, e.Close())
}

func closeWaitsForReaders(t *testing.T, h Harness) {
	e := h.Open(t)
	commit(t, e, func(b engine.Batch) { b.Set([]byte("a"), []byte("1")) })
	it, err := e.NewIterator(nil, nil)
	check(t, err)
	s, err := e.NewSnapshot()
	check(t, err)
	closed := make(chan error)
	go func() { closed <- e.Close() }()
	// Whether Close is there already or not, these may be used.
	if !it.First() || string(it.Value()) != "1" {
		t.Error("the iterator ended with the engine")
	}
	check(t, it.Close())
	check(t, s.Close())
	check(t, <-closed)
}

func closedRefuses(t *testing.T, h Harness) {
	e := h.Open(t)
	b := e.NewBatch()
	b.Set([]byte("a"), nil)
	b.Close()
	check(t, e.Close())
	check(t, e.Close())
	_, _, get := e.Get(nil, []byte("a"))
	_, _, durable := e.GetDurable(nil, []byte("a"))
	_, iterator := e.NewIterator(nil, nil)
	_, durableIterator := e.NewDurableIterator(nil, nil)
	_, snapshot := e.NewSnapshot()
	for name, err := range map[string]error{
		"Get": get, "GetDurable": durable, "NewIterator": iterator, "NewDurableIterator": durableIterator, "NewSnapshot": snapshot,
		"Flush": e.Flush(), "Sync": e.Sync(), "Commit": e.NewBatch().Commit(),
	} {
		if !errors.Is(err, engine.ErrClosed) {
			t.Errorf("%s: got %v, want ErrClosed", name, err)
		}
	}
	_ = e.Metrics() // does not panic
}

// readsBesideCommits: readers see whole batches.
func readsBesideCommits(t *testing.T, h Harness) {
	e := h.Open(t)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				it, err := e.NewIterator(nil, nil)
				if err != nil {
					t.Error(err)
					return
				}
				first, n := "", 0
				for ok := it.First(); ok; ok = it.Next() {
					if n++; n == 1 {
						first = string(it.Value())
					}
					if string(it.Value()) != first {
						t.Errorf("a reader sees parts of batches %s and %s", first, it.Value())
					}
				}
				if err := errors.Join(it.Error(), it.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 300 {
		commit(t, e, func(b engine.Batch) {
			for k := range 10 {
				b.Set([]byte{byte('a' + k)}, fmt.Append(nil, i))
			}
		})
		if i%50 == 0 {
			check(t, e.Flush())
		}
	}
	close(stop)
	readers.Wait()
	check(t, e.Close())
}
