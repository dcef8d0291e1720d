package wal

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

var crashSeeds = flag.Uint64("crash-seeds", 1, "scripts to run in the crash tests")

// run is a scripted life of a WAL on a disk that may stop at any call. It keeps
// what must survive (everything synced) and what may (every state between that
// and the last write that was begun, in order).
type run struct {
	s     *script
	disk  *vfs.Mem
	acked models   // state at the last Sync that returned
	later []models // states after each Write since
}

func newRun(seed uint64, disk *vfs.Mem) *run {
	s := newScript(seed)
	s.groups, s.payloadMax = 3, 300
	return &run{s: s, disk: disk, acked: models{}}
}

// play goes on until the disk stops or the steps are done. It reports an error
// that is not the disk's.
func (r *run) play(steps int) error {
	ms := r.acked.clone()
	var w *WAL
	open := func() (err error) {
		w, err = Open(testOptions(r.disk))
		return err
	}
	if err := open(); err != nil {
		return err
	}
	for step := range steps {
		for range 1 + r.s.rng.IntN(3) {
			updates := r.s.batch(ms)
			r.later = append(r.later, ms.clone())
			if err := w.Write(updates); err != nil {
				return err
			}
			if r.s.rng.IntN(3) == 0 {
				if _, err := w.Maintain(1500); err != nil {
					return err
				}
			}
		}
		if step%5 == 4 {
			if err := w.Prepare(); err != nil {
				return err
			}
		}
		if err := w.Sync(); err != nil {
			return err
		}
		r.acked, r.later = ms.clone(), nil
		if step%7 == 6 {
			if err := w.Close(); err != nil {
				return err
			}
			if err := open(); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

// check opens what a crash left and says what is wrong with it.
func (r *run) check(disk *vfs.Mem) (undecided int, err error) {
	w, err := Open(testOptions(disk))
	if err != nil {
		return 0, err
	}
	for _, g := range w.Groups() {
		for _, f := range g.Faults {
			if undecided = 1; !f.Tail {
				return 0, fmt.Errorf("not a tail: %v", f)
			}
		}
	}
	if undecided > 0 {
		return undecided, w.Close()
	}
	states := append([]models{r.acked}, r.later...)
	var diffs []string
	for i := len(states) - 1; i >= 0; i-- {
		d := states[i].diff(w)
		if d == "" {
			return 0, r.goOn(w, disk, states[i])
		}
		diffs = append(diffs, d)
	}
	for i, d := range diffs {
		diffs[i] = d[:min(len(d), 300)]
	}
	return 0, fmt.Errorf("none of the %d states that may be there: %q", len(states), diffs)
}

// goOn shows that the log is writable again and that nothing that was cut comes
// back.
func (r *run) goOn(w *WAL, disk *vfs.Mem, ms models) error {
	ms = ms.clone()
	s := newScript(uint64(len(r.later)) + disk.Changes())
	s.groups, s.payloadMax = 3, 300
	for range 3 {
		if err := w.Write(s.batch(ms)); err != nil {
			return fmt.Errorf("write after recovery: %w", err)
		}
		if err := w.Sync(); err != nil {
			return err
		}
	}
	if _, err := w.Maintain(1500); err != nil {
		return err
	}
	disk = disk.Crash(vfs.CrashOptions{})
	w, err := Open(testOptions(disk))
	if err != nil {
		return fmt.Errorf("second recovery: %w", err)
	}
	if d := ms.diff(w); d != "" {
		return fmt.Errorf("second recovery: %s", d)
	}
	return w.Close()
}

func crashOptions(keep vfs.Keep, seed uint64) vfs.CrashOptions {
	return vfs.CrashOptions{Data: keep, Entries: keep, Rand: rand.New(rand.NewPCG(seed, uint64(keep)))}
}

// Power is lost before every call that changes the disk. Whatever it keeps of
// what was not synced, all that was acknowledged is there, nothing half, and the
// log is writable (PS-02, PS-04, PS-05, PS-06, PS-11, MG-01).
func TestCrashAtEveryCall(t *testing.T) {
	const steps = 30
	doubts, torn := 0, 0
	for seed := range *crashSeeds {
		whole := newRun(seed, vfs.NewMem())
		if err := whole.play(steps); err != nil {
			t.Fatal(err)
		}
		calls := whole.disk.Changes()
		for stop := uint64(1); stop <= calls; stop++ {
			r := newRun(seed, vfs.NewMem())
			r.disk.StopAt(stop)
			if err := r.play(steps); err != nil && !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("seed %d, stop at %d: %v", seed, stop, err)
			}
			for _, keep := range vfs.Keeps() {
				for draw := range uint64(2) {
					clone := func() *vfs.Mem { return r.disk.CrashClone(crashOptions(keep, stop*10+draw)) }
					undecided, err := r.check(clone())
					if err == nil && stop%11 == seed%11 && draw == 0 {
						err = r.crashRecovery(clone, keep)
					}
					if err != nil {
						t.Fatalf("seed %d, stop at %d, kept %v (draw %d): %v", seed, stop, keep, draw, err)
					}
					if keep == vfs.KeepNone || keep == vfs.KeepAll {
						break
					}
					if keep == vfs.KeepTorn || keep == vfs.KeepMixed {
						torn++
						doubts += undecided
					} else if undecided > 0 {
						t.Fatalf("seed %d, stop at %d, kept %v (draw %d): whole sectors left a fault", seed, stop, keep, draw)
					}
				}
			}
		}
		t.Logf("seed %d: %d calls", seed, calls)
	}
	// A sector torn within is seen for what it is but for rare coincidences.
	t.Logf("%d crashes with torn sectors, %d taken for damage", torn, doubts)
	if doubts*100 > torn {
		t.Errorf("%d of %d crashes with torn sectors were taken for damage", doubts, torn)
	}
}

// crashRecovery loses power again at every call of the recovery, twice.
func (r *run) crashRecovery(clone func() *vfs.Mem, keep vfs.Keep) error {
	for stop := uint64(1); ; stop++ {
		disk := clone()
		disk.StopAt(stop)
		w, err := Open(testOptions(disk))
		if err == nil {
			return w.Close()
		}
		if !errors.Is(err, vfs.ErrCrashed) {
			return fmt.Errorf("recovery stopped at %d: %w", stop, err)
		}
		disk = disk.Crash(crashOptions(keep, stop))
		if _, err := r.check(disk); err != nil {
			return fmt.Errorf("recovery stopped at %d: %w", stop, err)
		}
	}
}

// What Open tells is durable, also what a process that was killed had only in the
// system's cache.
func TestOpenSyncsWhatItFound(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	ms := models{}
	c := chain{group: 1}
	write(t, w, ms, c.next(2, 100))
	u := c.next(3, 100)
	ms.apply(&u)
	if err := w.Write([]Update{u}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if d := ms.diff(mustOpen(t, testOptions(disk))); d != "" {
		t.Fatal(d)
	}
	disk = disk.Crash(vfs.CrashOptions{})
	if d := ms.diff(mustOpen(t, testOptions(disk))); d != "" {
		t.Fatal(d)
	}
}

// PS-07: a sync that failed leaves bytes in the system's cache that it takes for
// written: they are read back, later syncs succeed and write nothing, and a power
// loss takes them. What Open tells is durable all the same, also if the sync that
// failed was that of an earlier recovery.
func TestOpenWritesAgainWhatAFailedSyncLeft(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	ms := models{}
	c := chain{group: 1}
	write(t, w, ms, c.next(2, 100))
	fail := func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpSyncData {
			return vfs.Fault{Err: errors.New("input/output error")}
		}
		return vfs.Fault{}
	}
	u := c.next(3, 700)
	ms.apply(&u)
	if err := w.Write([]Update{u}); err != nil {
		t.Fatal(err)
	}
	disk.SetHook(fail)
	if err := w.Sync(); err == nil {
		t.Fatal("the sync did not fail")
	}
	_ = w.Close() // tells the same error
	if _, err := Open(testOptions(disk)); err == nil {
		t.Fatal("opened though what it found could not be synced")
	}
	disk.SetHook(nil)
	w = mustOpen(t, testOptions(disk))
	if d := ms.diff(w); d != "" {
		t.Fatal(d)
	}
	disk = disk.Crash(vfs.CrashOptions{})
	if d := ms.diff(mustOpen(t, testOptions(disk))); d != "" {
		t.Fatalf("what Open told is gone after a power loss: %.200s", d)
	}
}

// A segment goes only when a durable batch says that it may: else its absence
// could not be told from loss.
func TestSegmentGoesAfterItIsGivenUp(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	c := chain{group: 1}
	for len(w.segments) < 3 {
		write(t, w, nil, c.next(3, 500))
	}
	write(t, w, nil, Update{Group: 1, Compact: c.last + 1, Reset: raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: c.last}}})
	maintain := func(want int) {
		t.Helper()
		for range 3 {
			if _, err := w.Maintain(1 << 20); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.segments); n != want {
			t.Fatalf("%d segments, want %d", n, want)
		}
	}
	maintain(3)
	if err := w.Write([]Update{c.next(1, 10)}); err != nil {
		t.Fatal(err)
	}
	maintain(3)
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	maintain(1)
	if s := w.Stats(); s.Segments != 3 {
		t.Fatalf("no file is kept to be recycled: %+v", s)
	}
}

// Where a lost batch left a single sector behind, nothing is written any more:
// that sector would no longer show a later torn batch for what it is.
func TestRemainsEndASegment(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	ms := models{}
	c := chain{group: 1}
	write(t, w, ms, c.next(2, 100))
	front := w.segments[0].front
	name := w.segments[0].name
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := disk.Open("wal/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("a sector of something"), int64(front+3)*sectorSize); err != nil {
		t.Fatal(err)
	}
	w = mustOpen(t, testOptions(disk))
	if d := ms.diff(w); d != "" {
		t.Fatal(d)
	}
	if n := len(w.segments); n != 2 || w.segments[1].header.FirstBatch != 2 {
		t.Fatalf("%d segments, the last %+v", n, w.segments[n-1].header)
	}
}

// A seal with no batch behind it stays while what it cut is still there, and what
// it cut stays cut (found by simulation, seed 407050).
func TestSealOutlivesWhatItCut(t *testing.T) {
	disk := vfs.NewMem()
	ms := models{}
	c := chain{group: 1}
	w := mustOpen(t, testOptions(disk))
	write(t, w, ms, c.next(2, 100))
	// tear writes two batches that are never synced and loses the first sector of
	// the one before: the other stays, whole, behind it.
	tear := func() {
		t.Helper()
		lost := c
		u := lost.next(1, 100)
		var name string
		var at int64
		name, at, _, _, _ = place(w, func() {
			if err := w.Write([]Update{u}); err != nil {
				t.Fatal(err)
			}
		})
		if err := w.Write([]Update{lost.next(1, 100)}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := disk.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, sectorSize), at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		w = mustOpen(t, testOptions(disk))
		if d := ms.diff(w); d != "" {
			t.Fatal(d)
		}
	}
	tear()
	write(t, w, ms, c.next(1, testSegment))
	if n := len(w.segments); n != 4 || w.segments[1].header.FirstBatch != 2 || w.segments[1].held {
		t.Fatalf("%d segments, the second %+v: want an empty seal among four", n, w.segments[1].header)
	}
	tear()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = mustOpen(t, testOptions(disk))
	if d := ms.diff(w); d != "" {
		t.Fatal(d)
	}
}
