package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// crashEverywhere runs work, which must not fail by itself, with the power lost
// before each of its changes to the disk and within each of its writes, in every
// keep mode and several draws, and has judge look at what is left. prepare makes
// the disk before; work is given the store opened on it.
func crashEverywhere(t *testing.T, prepare func(t *testing.T, mem *vfs.Mem), work func(*Store) error, judge func(t *testing.T, mem *vfs.Mem, finished bool)) {
	t.Helper()
	fresh := func() (*vfs.Mem, *Store) {
		mem := vfs.NewMem()
		prepare(t, mem)
		mem = mem.Crash(vfs.CrashOptions{}) // what is prepared is durable
		return mem, open(t, mem, "d")
	}
	mem, s := fresh()
	before := mem.Changes()
	check(t, work(s))
	changes := mem.Changes() - before
	if changes < 3 {
		t.Fatalf("only %d changes to crash at", changes)
	}
	runs := 0
	look := func(name string, mem *vfs.Mem, finished bool) {
		for _, data := range vfs.Keeps() {
			for _, entries := range vfs.Keeps() {
				rng := rand.New(rand.NewPCG(uint64(runs), 1))
				runs++
				left := mem.CrashClone(vfs.CrashOptions{Data: data, Entries: entries, Rand: rng})
				judge(t, left, finished)
				if t.Failed() {
					t.Fatalf("%s, keep data %v, entries %v", name, data, entries)
				}
			}
		}
	}
	for n := before + 1; n <= before+changes+1; n++ {
		mem, s := fresh()
		mem.StopAt(n)
		err := work(s)
		if finished := n > before+changes; finished != (err == nil) || err != nil && !errors.Is(err, vfs.ErrCrashed) {
			t.Fatalf("stopped at change %d of %d: error %v", n-before, changes, err)
		}
		look(fmt.Sprintf("stopped at change %d of %d", n-before, changes), mem, err == nil)
	}
	for n := before + 1; n <= before+changes; n++ { // a torn write: some of its bytes, then no power
		mem, s := fresh()
		torn := false
		mem.SetHook(func(op vfs.Op) (f vfs.Fault) {
			if op.N == n && op.Kind == vfs.OpWrite {
				torn = true
				f = vfs.Fault{Err: vfs.ErrCrashed, Partial: op.Len / 2}
			}
			return f
		})
		mem.StopAt(n + 1)
		err := work(s)
		if err == nil {
			continue
		}
		if torn {
			look(fmt.Sprintf("write %d of %d torn", n-before, changes), mem, false)
		}
	}
	t.Logf("%d crashes at %d changes", runs, changes)
}

func prepareOld(t *testing.T, mem *vfs.Mem) {
	mustTake(t, open(t, mem, "d"), 10, 1, state(700))
}

// judgeOldOrNew wants, after recovery, the newest listed snapshot to be the old or
// the new one, whole; the new one if the work was finished; and nothing else in
// the directory but what a transfer left.
func judgeOldOrNew(oldState, newState []byte) func(t *testing.T, mem *vfs.Mem, finished bool) {
	return func(t *testing.T, mem *vfs.Mem, finished bool) {
		t.Helper()
		s := open(t, mem, "d")
		if d := s.Damaged(group); len(d) > 0 {
			t.Errorf("damaged: %v", d)
		}
		newest, ok := s.Newest(group)
		if !ok {
			t.Error("no snapshot at all")
			return
		}
		want := oldState
		if newest.Meta.ID.Index == 20 {
			want = newState
		} else if finished {
			t.Errorf("newest is %v, but the new one was committed", newest.Meta.ID)
		}
		for _, info := range s.List(group) {
			got, err := read(s, info)
			if err != nil || info.Meta.ID == newest.Meta.ID && !bytes.Equal(got, want) {
				t.Errorf("snapshot %v: %d bytes, error %v", info.Meta.ID, len(got), err)
			}
		}
		// Recovery is done: a crash right after it changes nothing.
		again := open(t, mem.CrashClone(vfs.CrashOptions{}), "d")
		if n, _ := again.Newest(group); n.ID != newest.ID {
			t.Errorf("after a second crash the newest is %v, was %v", n.Meta.ID, newest.Meta.ID)
		}
		// Nothing half written is left, and it does not come back either.
		for _, mem := range []*vfs.Mem{mem, mem.CrashClone(vfs.CrashOptions{})} {
			names, err := mem.List("d")
			check(t, err)
			for _, base := range names {
				if strings.HasSuffix(base, writingSuffix) || len(names) > 4 {
					t.Errorf("files %q", names)
				}
			}
		}
	}
}

// SN-03, PS-04, B-25: a new snapshot taken and the old one removed.
func TestCrashWhileTaking(t *testing.T) {
	crashEverywhere(t, prepareOld, func(s *Store) error {
		info, err := take(s, meta(20), 2, state(500))
		if err != nil {
			return err
		}
		return s.RemoveOlder(group, info.Meta.ID)
	}, judgeOldOrNew(state(700), state(500)))
}

// The same for one that comes from another node.
func TestCrashWhileReceiving(t *testing.T) {
	info, file := sender(t, 20, 2, 500)
	crashEverywhere(t, prepareOld, func(s *Store) error {
		r, err := s.Receive(info.Group, info.Meta, info.ID, info.Size)
		if err != nil {
			return err
		}
		if _, err := r.Write(file); err != nil {
			return err
		}
		if _, err := r.Commit(); err != nil {
			return err
		}
		return s.RemoveOlder(group, info.Meta.ID)
	}, judgeOldOrNew(state(700), state(500)))
}

// A reader that is open while its snapshot is replaced changes nothing of that.
func TestCrashWhileRemovingPinned(t *testing.T) {
	crashEverywhere(t, prepareOld, func(s *Store) error {
		old, _ := s.Newest(group)
		r, err := s.Open(old)
		if err != nil {
			return err
		}
		info, err := take(s, meta(20), 2, state(100))
		if err != nil {
			return errors.Join(err, r.Close())
		}
		return errors.Join(s.RemoveOlder(group, info.Meta.ID), r.Close())
	}, judgeOldOrNew(state(700), state(100)))
}

// The first snapshot ever: it is there or not, and whole if it is.
func TestCrashWhileTakingTheFirst(t *testing.T) {
	crashEverywhere(t, func(*testing.T, *vfs.Mem) {}, func(s *Store) error {
		_, err := take(s, meta(20), 2, state(300))
		return err
	}, func(t *testing.T, mem *vfs.Mem, finished bool) {
		t.Helper()
		s := open(t, mem, "d")
		list := s.List(group)
		if finished && len(list) != 1 || len(list) > 1 || len(s.Damaged(group)) > 0 {
			t.Errorf("finished: %v, List %v, Damaged %v", finished, list, s.Damaged(group))
		}
		for _, info := range list {
			wantState(t, s, info, state(300))
		}
	})
}

// A directory being made: the next Open makes it whole, under any crash.
func TestCrashWhileOpening(t *testing.T) {
	for n := uint64(1); ; n++ {
		mem := vfs.NewMem()
		mem.StopAt(n)
		_, err := Open(Options{FS: mem, Dir: "d", Identity: self})
		for i, keep := range vfs.Keeps() {
			left := mem.CrashClone(vfs.CrashOptions{Data: keep, Entries: keep, Rand: rand.New(rand.NewPCG(uint64(i), n))})
			info := mustTake(t, open(t, left, "d"), 10, 1, state(10))
			wantState(t, open(t, left.Crash(vfs.CrashOptions{}), "d"), info, state(10))
		}
		if err == nil {
			return
		}
		wantError(t, "Open", err, vfs.ErrCrashed)
	}
}

// A whole life on a disk that crashes at random: of what was committed the newest
// is never lost, and what is listed is always whole.
func TestCrashAtRandom(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 2))
		mem := vfs.NewMem()
		committed, index := raft.Index(0), raft.Index(0)
		for range 12 {
			s := open(t, mem, "d")
			newest, _ := s.Newest(group)
			if newest.Meta.ID.Index < committed || len(s.Damaged(group)) > 0 {
				t.Fatalf("seed %d: newest is %v, committed was %d; damaged %v", seed, newest.Meta.ID, committed, s.Damaged(group))
			}
			for _, info := range s.List(group) {
				wantState(t, s, info, state(int(info.Meta.ID.Index)*40))
			}
			index = max(index, newest.Meta.ID.Index)
			mem.StopAt(mem.Changes() + 1 + rng.Uint64N(40))
			for err := error(nil); err == nil; {
				index++
				n := int(index) * 40
				var info Info
				if rng.IntN(2) == 0 {
					info, err = take(s, meta(index), rng.Uint64(), state(n))
				} else {
					offer, file := sender(t, index, rng.Uint64(), n)
					var r *Receiver
					if r, err = s.Receive(group, offer.Meta, offer.ID, offer.Size); err == nil {
						_, err = r.Write(file)
					}
					if err == nil {
						info, err = r.Commit()
					}
				}
				if err == nil {
					committed = index
					err = s.RemoveOlder(group, info.Meta.ID)
				}
			}
			mem = mem.Crash(vfs.CrashOptions{Data: vfs.KeepMixed, Entries: vfs.KeepMixed, Rand: rng})
		}
	}
}
