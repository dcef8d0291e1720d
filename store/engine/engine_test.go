package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/quorate/quorate/store/engine"
	"github.com/quorate/quorate/store/engine/enginetest"
)

func TestMemory(t *testing.T) {
	enginetest.Test(t, enginetest.Harness{
		Open: func(testing.TB) engine.Engine { return engine.NewMemory(enginetest.Split) },
		Crash: func(_ testing.TB, e engine.Engine, rng *rand.Rand) engine.Engine {
			m := e.(*engine.Memory)
			return m.Crash(rng.IntN(m.Unflushed() + 1))
		},
	})
}

// small has everything happen often.
func small(t testing.TB, fs vfs.FS) *engine.Pebble {
	e, err := engine.OpenPebble("db", engine.PebbleOptions{
		Split: enginetest.Split, FS: fs, MemTableBytes: 16 << 10, MemTables: 8, CacheBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestPebble(t *testing.T) {
	disks := map[engine.Engine]*vfs.MemFS{}
	open := func(t testing.TB, fs *vfs.MemFS) engine.Engine {
		e := small(t, fs)
		disks[e] = fs
		return e
	}
	enginetest.Test(t, enginetest.Harness{
		Open: func(t testing.TB) engine.Engine { return open(t, vfs.NewCrashableMem()) },
		Crash: func(t testing.TB, e engine.Engine, rng *rand.Rand) engine.Engine {
			after := disks[e].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 20, 50, 100}[rng.IntN(4)], RNG: rng})
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			return open(t, after)
		},
	})
}

// TestPebbleTakesItsFirstTables: Pebble's first tables in memory are small, and none
// is written out before half a whole one is there. Commits must not wait for that:
// nothing but they brings it about.
func TestPebbleTakesItsFirstTables(t *testing.T) {
	e, err := engine.OpenPebble("db", engine.PebbleOptions{Split: enginetest.Split, FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		b := e.NewBatch()
		defer b.Close()
		value := make([]byte, 128<<10)
		for i := range 800 { // 100 MiB, more than the first whole table
			b.Set(fmt.Appendf(nil, "key %d", i), value)
			if err := b.Commit(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Error("commits wait for nothing")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestPebbleCheckpoint: a copy has all that was committed, memory included, and
// is an engine of its own.
func TestPebbleCheckpoint(t *testing.T) {
	fs := vfs.NewMem()
	e := small(t, fs)
	b := e.NewBatch()
	for i := range 100 {
		b.Set(fmt.Appendf(nil, "%03d", i), []byte("v"))
	}
	err := b.Commit()
	b.Close()
	if err := errors.Join(err, e.Checkpoint("copy"), e.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := engine.OpenPebble("copy", engine.PebbleOptions{Split: enginetest.Split, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, ok, err := again.Get(nil, fmt.Appendf(nil, "%03d", i)); !ok || err != nil {
			t.Fatalf("record %d: %v, %v", i, ok, err)
		}
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestPebbleOtherOrder: a directory is not opened in another order.
func TestPebbleOtherOrder(t *testing.T) {
	fs := vfs.NewMem()
	db, err := pebble.Open("db", &pebble.Options{FS: fs, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err := engine.OpenPebble("db", engine.PebbleOptions{Split: enginetest.Split, FS: fs}); err == nil {
		t.Errorf("it opened; close: %v", e.Close())
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

// TestPebbleFailure: what Pebble would end the process for ends the engine.
func TestPebbleFailure(t *testing.T) {
	var broken bool
	boom := errors.New("the disk is gone")
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken && bytes.Contains([]byte(op.Path), []byte("MANIFEST")) &&
			(op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSyncData) {
			return boom
		}
		return nil
	}))
	e := small(t, fs)
	b := e.NewBatch()
	b.Set([]byte("a"), []byte("1"))
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	broken = true
	if err := e.Sync(); err == nil {
		t.Error("Sync succeeded without a disk")
	}
	if err := e.Err(); err == nil {
		t.Error("the engine has not failed")
	}
	b.Set([]byte("b"), []byte("2"))
	if err := b.Commit(); err == nil {
		t.Error("a commit succeeded after the failure")
	}
	if _, _, err := e.Get(nil, []byte("a")); err == nil {
		t.Error("a read succeeded after the failure")
	}
	b.Close()
	_ = e.Close() // whatever it says, it returns
}
