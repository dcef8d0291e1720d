package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
	"github.com/quorate/quorate/store/engine/enginetest"
	"github.com/quorate/quorate/store/twin"
	"github.com/quorate/quorate/vfs"
)

// A crashing is a store on Pebble on a disk that loses power, beside its twin.
type crashing struct {
	t    *testing.T
	rng  *rand.Rand
	disk *vfs.Mem
	s    *store.Store
	twin *twin.Twin
	// commands are all that were given to the twin, at index 1 and on; marks are what
	// the twin was after each.
	commands [][]byte
	marks    []mark
	durable  raft.Index
}

type mark struct {
	hash                uint64
	revision, compacted int64
}

func openCrashing(disk *vfs.Mem) (*store.Store, error) {
	e, err := engine.OpenPebble("store", engine.PebbleOptions{
		Split: store.Split, FS: enginetest.Disk(disk), MemTableBytes: 16 << 10, MemTables: 8, CacheBytes: 1 << 20,
	})
	if err != nil {
		return nil, err
	}
	return store.Open(e, nil)
}

func (x *crashing) key() []byte { return fmt.Appendf(nil, "k%02d", x.rng.IntN(60)) }

// command draws one, and the twin does it.
func (x *crashing) command() {
	var cmd store.Command
	put := func() *store.PutRequest {
		return &store.PutRequest{Key: x.key(), Value: []byte(strings.Repeat("v", x.rng.IntN(700))), PrevKV: x.rng.IntN(4) == 0}
	}
	index := uint64(len(x.commands) + 1)
	switch n := x.rng.IntN(100); {
	case n < 60:
		p := put()
		if x.rng.IntN(4) == 0 {
			p.Lease = 1 + x.rng.Int64N(4)
		}
		cmd = p
	case n < 70:
		cmd = &store.DeleteRangeRequest{Key: x.key(), RangeEnd: x.key()}
	case n < 84:
		cmd = &store.TxnRequest{
			Compare: []store.Compare{{Target: store.CompareVersion, Key: x.key(), Number: x.rng.Int64N(3)}},
			Success: []store.RequestOp{{Put: put()}, {DeleteRange: &store.DeleteRangeRequest{Key: x.key()}}},
			Failure: []store.RequestOp{{Put: put()}},
		}
	case n < 88:
		cmd = &store.CompactRequest{Revision: x.twin.Revision - x.rng.Int64N(30)}
	case n < 94:
		cmd = &store.LeaseGrantRequest{ID: 1 + x.rng.Int64N(4), TTL: 5}
	case n < 97:
		cmd = &store.LeaseRevokeRequest{ID: 1 + x.rng.Int64N(4)}
	default:
		cmd = &store.LeaseRenewRequest{IDs: []int64{1, 2}}
	}
	_, _ = x.twin.Apply(index, 1, int64(index)*1e6, cmd)
	x.commands = append(x.commands, store.AppendCommand(nil, cmd))
	x.marks = append(x.marks, mark{x.twin.Hash, x.twin.Revision, x.twin.Compacted})
}

// apply has the store apply what it has not yet, until it fails.
func (x *crashing) apply() {
	for x.s.Status().Applied < raft.Index(len(x.commands)) {
		from := int(x.s.Status().Applied)
		to := min(len(x.commands), from+1+x.rng.IntN(10))
		entries := make([]rsm.Entry, to-from)
		for i := range entries {
			index := raft.Index(from + i + 1)
			entries[i] = rsm.Entry{Index: index, Term: 1, Timestamp: int64(index) * 1e6, Command: x.commands[index-1]}
		}
		if x.s.Apply(entries) != nil {
			return
		}
		switch x.rng.IntN(20) {
		case 0:
			x.s.Flush()
		case 1:
			if _, err := x.s.Reclaim(1 + x.rng.IntN(100)); err != nil {
				return
			}
		}
		if d := x.s.DurableIndex(); d > x.durable {
			x.durable = d
		}
	}
}

// crash takes the power away and finds what the twin was after exactly so many
// commands, no fewer than were told as durable.
func (x *crashing) crash(keep vfs.CrashOptions) {
	x.t.Helper()
	for again := 0; ; again++ {
		keep.Rand = x.rng
		disk := x.disk.Crash(keep)
		if x.s != nil {
			_ = x.s.Close() // of a disk that is no more
		}
		x.disk, x.s = disk, nil
		if again < 3 && x.rng.IntN(2) == 0 {
			disk.StopAt(disk.Changes() + 1 + x.rng.Uint64N(12))
		}
		s, err := openCrashing(disk)
		if err != nil {
			if !strings.Contains(err.Error(), vfs.ErrCrashed.Error()) {
				x.t.Fatalf("open after a power loss that keeps data %v, entries %v: %v", keep.Data, keep.Entries, err)
			}
			continue
		}
		x.s = s
		if disk.StopAt(0); s.Engine().Err() == nil {
			break
		}
	}
	st := x.s.Status()
	if st.Applied < x.durable || int(st.Applied) > len(x.commands) || x.s.DurableIndex() != st.Applied {
		x.t.Fatalf("found %d, durable %d; %d was durable of %d", st.Applied, x.s.DurableIndex(), x.durable, len(x.commands))
	}
	want := mark{revision: 1, compacted: -1}
	if st.Applied > 0 {
		want = x.marks[st.Applied-1]
	}
	if got := (mark{st.Hash, st.Revision, st.Compacted}); got != want {
		x.t.Fatalf("after %d commands the store is %+v, the twin was %+v", st.Applied, got, want)
	}
	all := &store.RangeRequest{RangeEnd: []byte{0}}
	got, err := x.s.Range(context.Background(), all)
	if err != nil || !twin.EqualRange(got, x.twin.Content(all, st.Revision, st.Revision)) {
		x.t.Fatalf("after %d commands the keys are not those of the twin: %v", st.Applied, err)
	}
	x.durable = st.Applied
}

// TestPowerLoss: power is lost before any call that changes the disk, in recovery
// too, whatever of the unsynced is kept: the store is its twin after the first so
// many commands.
func TestPowerLoss(t *testing.T) {
	losses := 30
	if testing.Short() {
		losses = 6
	}
	for _, data := range vfs.Keeps() {
		t.Run(data.String(), func(t *testing.T) {
			x := &crashing{t: t, rng: rand.New(rand.NewPCG(uint64(data), 21)), disk: vfs.NewMem(), twin: twin.New()}
			var err error
			if x.s, err = openCrashing(x.disk); err != nil {
				t.Fatal(err)
			}
			for range losses {
				for range 20 + x.rng.IntN(60) {
					x.command()
				}
				x.disk.StopAt(x.disk.Changes() + 1 + x.rng.Uint64N([]uint64{3, 20, 100}[x.rng.IntN(3)]))
				x.apply()
				x.crash(vfs.CrashOptions{Data: data, Entries: vfs.Keeps()[x.rng.IntN(len(vfs.Keeps()))]})
			}
			x.apply()
			if err := x.s.Engine().Sync(); err != nil {
				t.Fatal(err)
			}
			x.durable = x.s.DurableIndex()
			x.crash(vfs.CrashOptions{})
			if n := x.s.Status().Applied; int(n) != len(x.commands) {
				t.Errorf("%d commands after a sync, want %d", n, len(x.commands))
			}
			if err := x.s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
