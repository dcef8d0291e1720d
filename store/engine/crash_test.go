package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/quorate/quorate/store/engine"
	"github.com/quorate/quorate/store/engine/enginetest"
	"github.com/quorate/quorate/vfs"
)

// A script is batches, each with its number, and the records after each.
type script struct {
	t      *testing.T
	rng    *rand.Rand
	states []map[string]string // after so many batches
	disk   *vfs.Mem
	e      *engine.Pebble
	// durable is the last number that was told as durable.
	durable int
}

var number = []byte("number")

func openCrashing(disk *vfs.Mem, logger *slog.Logger) (*engine.Pebble, error) {
	return engine.OpenPebble("db", engine.PebbleOptions{
		Split: enginetest.Split, FS: enginetest.Disk(disk), MemTableBytes: 16 << 10, MemTables: 8, CacheBytes: 1 << 20,
		Logger: logger,
	})
}

func newScript(t *testing.T, seed uint64) *script {
	x := &script{t: t, rng: rand.New(rand.NewPCG(seed, 11)), states: []map[string]string{{}}, disk: vfs.NewMem()}
	var err error
	if x.e, err = openCrashing(x.disk, nil); err != nil {
		t.Fatal(err)
	}
	return x
}

// batch commits the next batch, and reports whether that was done.
func (x *script) batch() error {
	n := len(x.states)
	m := maps.Clone(x.states[n-1])
	b := x.e.NewBatch()
	defer b.Close()
	key := func() string { return fmt.Sprintf("k%02d/%d", x.rng.IntN(40), x.rng.IntN(3)) }
	for range 1 + x.rng.IntN(6) {
		switch k := key(); x.rng.IntN(8) {
		case 0:
			b.Delete([]byte(k))
			delete(m, k)
		case 1:
			to := key()
			b.DeleteRange([]byte(k), []byte(to))
			maps.DeleteFunc(m, func(key, _ string) bool { return k <= key && key < to })
		default:
			v := fmt.Sprintf("%d %0*d", n, 1+x.rng.IntN(900), 0)
			b.Set([]byte(k), []byte(v))
			m[k] = v
		}
	}
	b.Set(number, fmt.Append(nil, n))
	m[string(number)] = fmt.Sprint(n)
	if err := b.Commit(); err != nil {
		return err
	}
	x.states = append(x.states, m)
	return nil
}

func (x *script) observe() {
	if n, err := numberOf(x.e.GetDurable); err == nil {
		if n < x.durable {
			x.t.Fatalf("durable fell from %d to %d", x.durable, n)
		}
		x.durable = n
	}
}

func numberOf(get func(dst, key []byte) ([]byte, bool, error)) (n int, err error) {
	b, ok, err := get(nil, number)
	if err == nil && ok {
		_, err = fmt.Sscan(string(b), &n)
	}
	return n, err
}

// run commits batches until one fails, or most are done.
func (x *script) run(most int) {
	for range most {
		if x.batch() != nil {
			return
		}
		switch x.rng.IntN(24) {
		case 0:
			_ = x.e.Flush() // that it fails shows in what follows
		case 1:
			_ = x.e.Sync()
		}
		x.observe()
	}
}

// crash takes the power away and finds an exact prefix of the batches, with at
// least all that was told as durable; with the power failing in recovery, too.
func (x *script) crash(keep vfs.CrashOptions) {
	x.t.Helper()
	x.observe()
	for again := 0; ; again++ {
		keep.Rand = x.rng
		disk := x.disk.Crash(keep)
		disk.SetHook(nil)
		disk.SetCapacity(0)
		if x.e != nil {
			_ = x.e.Close() // of a disk that is no more; it has to return
		}
		x.disk, x.e = disk, nil
		if again < 3 && x.rng.IntN(2) == 0 {
			disk.StopAt(disk.Changes() + 1 + x.rng.Uint64N(12))
		}
		e, err := openCrashing(disk, nil)
		if err != nil {
			if !strings.Contains(err.Error(), vfs.ErrCrashed.Error()) { // Fatalf is told a text
				x.t.Fatalf("open after a power loss that keeps data %v, entries %v: %v", keep.Data, keep.Entries, err)
			}
			continue
		}
		x.e = e
		if disk.StopAt(0); e.Err() == nil {
			break
		}
	}
	n, err := numberOf(x.e.Get)
	if err != nil || n < x.durable || n >= len(x.states) {
		x.t.Fatalf("%d batches after a power loss, %v; %d were durable of %d", n, err, x.durable, len(x.states)-1)
	}
	it, err := x.e.NewIterator(nil, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	got := map[string]string{}
	for ok := it.First(); ok; ok = it.Next() {
		got[string(it.Key())] = string(it.Value())
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil || !maps.Equal(got, x.states[n]) {
		x.t.Fatalf("after a power loss that keeps data %v, entries %v, the records are not those of %d batches: %v", keep.Data, keep.Entries, n, err)
	}
	if d, err := numberOf(x.e.GetDurable); err != nil || d != n {
		x.t.Fatalf("%d batches are found after a power loss, but %d durable, %v", n, d, err)
	}
	x.states = x.states[:n+1]
	x.durable = n
}

// TestPebblePowerLoss: power is lost before any call that changes the disk, again
// and again, also in recovery, whatever of the unsynced is kept.
func TestPebblePowerLoss(t *testing.T) {
	losses := 40
	if testing.Short() {
		losses = 8
	}
	found := 0
	for _, data := range vfs.Keeps() {
		t.Run(data.String(), func(t *testing.T) {
			x := newScript(t, uint64(data))
			for range losses {
				calls := []uint64{3, 20, 150}[x.rng.IntN(3)]
				x.disk.StopAt(x.disk.Changes() + 1 + x.rng.Uint64N(calls))
				before := len(x.states)
				x.run(40 + x.rng.IntN(120))
				x.crash(vfs.CrashOptions{Data: data, Entries: vfs.Keeps()[x.rng.IntN(len(vfs.Keeps()))]})
				found += len(x.states) - before
			}
			m := x.e.Metrics()
			t.Logf("%d batches, %d tables, %d bytes", len(x.states)-1, m.Files, m.DiskBytes)
			if err := x.e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if found < losses {
		t.Errorf("all losses together left %d batches: nothing becomes durable", found)
	}
}

// TestPebbleFailingDisk: writes, syncs, reads and changes of names fail now and
// then. The engine goes on or says that it has failed; it never ends the process,
// and after a power loss it is a prefix.
func TestPebbleFailingDisk(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 12
	}
	failed, lived := 0, 0
	for seed := range seeds {
		x := newScript(t, 1000+seed)
		x.run(30)
		boom := errors.New("input/output error")
		kinds := [][]vfs.OpKind{
			{vfs.OpSync, vfs.OpSyncData},
			{vfs.OpSyncDir},
			{vfs.OpWrite},
			{vfs.OpCreate, vfs.OpRename},
			{vfs.OpRemove},
			{vfs.OpSync, vfs.OpSyncData, vfs.OpSyncDir, vfs.OpWrite, vfs.OpCreate, vfs.OpRename, vfs.OpRemove},
		}[seed%6]
		oneOf, left := 1+x.rng.IntN(6), 1+x.rng.IntN(3)
		rng := rand.New(rand.NewPCG(seed, 12)) // asked with Pebble's own goroutines
		faults := make(chan struct{}, 1)
		x.disk.SetHook(func(op vfs.Op) vfs.Fault {
			faults <- struct{}{}
			defer func() { <-faults }()
			for _, k := range kinds {
				if op.Kind == k && left > 0 && rng.IntN(oneOf) == 0 {
					left--
					return vfs.Fault{Err: boom, Partial: rng.IntN(op.Len + 1)}
				}
			}
			return vfs.Fault{}
		})
		x.run(200)
		if x.e.Err() != nil {
			failed++
			if _, _, err := x.e.Get(nil, number); err == nil {
				t.Errorf("seed %d: a read is answered by an engine that has failed", seed)
			}
		} else {
			lived++
		}
		x.crash(vfs.CrashOptions{Data: vfs.Keeps()[x.rng.IntN(len(vfs.Keeps()))]})
		x.run(50)
		x.crash(vfs.CrashOptions{})
		if err := x.e.Close(); err != nil {
			t.Error(err)
		}
	}
	if failed == 0 || lived == 0 {
		t.Errorf("%d engines failed and %d went on; want some of each", failed, lived)
	}
}

// TestPebbleManifestFails: Pebble's lock for manifests is never given back when one could
// not be written. Nobody waits for it: who had begun to is told that the engine failed.
func TestPebbleManifestFails(t *testing.T) {
	x := newScript(t, 5)
	x.run(30)
	snapshot, err := x.e.NewSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	writing, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	x.disk.SetHook(func(op vfs.Op) vfs.Fault {
		if !strings.Contains(op.Name, "MANIFEST") || op.Kind != vfs.OpSync && op.Kind != vfs.OpSyncData {
			return vfs.Fault{}
		}
		once.Do(func() { close(writing) })
		<-release
		return vfs.Fault{Err: errors.New("input/output error")}
	})
	if err := errors.Join(x.batch(), x.e.Flush()); err != nil {
		t.Fatal(err)
	}
	<-writing
	calls := map[string]func() error{
		"Sync":                x.e.Sync,
		"Checkpoint":          func() error { return x.e.Checkpoint("copy") },
		"Close of a snapshot": snapshot.Close,
		"Metrics": func() error {
			x.e.Metrics()
			return x.e.Err()
		},
	}
	var begun, done sync.WaitGroup
	for name, call := range calls {
		begun.Add(1)
		done.Go(func() {
			begun.Done()
			if err := call(); err == nil {
				t.Errorf("%s: no error of an engine that has failed", name)
			}
		})
	}
	begun.Wait()
	close(release)
	done.Wait()
	if err := x.e.Close(); err == nil {
		t.Error("Close: no error of an engine that has failed")
	}
}

// TestPebbleFullDisk: without space nothing becomes durable, and commits wait or
// fail; with space again all goes on as if nothing had been.
func TestPebbleFullDisk(t *testing.T) {
	noticed := make(told, 1)
	x := newScript(t, 77)
	if err := x.e.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if x.e, err = openCrashing(x.disk, slog.New(noticed)); err != nil {
		t.Fatal(err)
	}
	x.run(100)
	if err := x.e.Sync(); err != nil {
		t.Fatal(err)
	}
	x.observe()
	x.disk.SetCapacity(x.disk.Used() + 4<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3000 {
			if x.batch() != nil {
				return
			}
		}
	}()
	select {
	case <-noticed:
	case <-t.Context().Done():
		t.Fatal("the disk is full, and the engine has not noticed")
	}
	x.disk.SetCapacity(0)
	<-done
	if x.e.Err() == nil {
		if err := x.e.Sync(); err != nil {
			t.Fatal(err)
		}
		x.observe()
		if x.durable != len(x.states)-1 {
			t.Errorf("%d batches are durable of %d, with space again", x.durable, len(x.states)-1)
		}
	}
	x.crash(vfs.CrashOptions{})
	if err := x.e.Close(); err != nil {
		t.Error(err)
	}
}

// told hears of errors that are logged.
type told chan struct{}

func (told) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

func (c told) Handle(context.Context, slog.Record) error {
	select {
	case c <- struct{}{}:
	default:
	}
	return nil
}

func (c told) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c told) WithGroup(string) slog.Handler      { return c }
