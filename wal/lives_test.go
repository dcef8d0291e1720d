package wal

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quorate/quorate/vfs"
)

var (
	lifeSeeds = flag.Uint64("life-seeds", 150, "directories that live and die many times")
	lifeFrom  = flag.Uint64("life-from", 0, "first seed of these")
)

// livesThatFoundBugs are seeds at which this test failed, and what was wrong then.
var livesThatFoundBugs = []uint64{
	26,   // a seal was discarded while what it cut was still there
	561,  // a seal's name went before the names of what it cut
	1177, // a segment was given up in the sync that first made it durable
}

// errDoubt: a sector torn within was taken for damage at the log's tail, which is
// right, and ends the story of that directory.
var errDoubt = errors.New("in doubt")

// One directory through many lives, each ended by a power loss at any call or a
// kill, often before it has done much, with batches above a segment's size and
// one group that lags: what one recovery leaves behind (seals, remains of what it
// cut, names that were not synced) is what the next ones are built on (PS-02,
// PS-04, PS-05, PS-06, PS-11, MG-01).
func TestManyLives(t *testing.T) {
	const lives = 40
	ended, seals, doubts := 0, 0, 0
	seeds := slices.Clone(livesThatFoundBugs)
	for k := range *lifeSeeds {
		seeds = append(seeds, *lifeFrom+k)
	}
	for _, seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 11))
		r := newRun(seed, vfs.NewMem())
		for life := range lives {
			r.s.payloadMax = []int{60, 300, 300, 3000}[rng.IntN(4)]
			r.disk.StopAt(r.disk.Changes() + 1 + rng.Uint64N([]uint64{12, 60, 200}[rng.IntN(3)]))
			w, err := r.resume()
			if err == nil {
				for _, seg := range w.segments[:len(w.segments)-1] {
					if seg.header.FirstBatch != 0 {
						seals++
					}
				}
				err = r.live(w, rng.IntN(30))
			}
			if errors.Is(err, errDoubt) {
				doubts++
				break
			}
			if err != nil && !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			ended++
			if err == nil && rng.IntN(2) == 0 {
				_ = w.Close() // killed: the system's cache stays
				continue
			}
			o := crashOptions(vfs.Keeps()[rng.IntN(len(vfs.Keeps()))], seed*lives+uint64(life))
			o.Entries = vfs.Keeps()[rng.IntN(len(vfs.Keeps()))]
			r.disk = r.disk.Crash(o)
		}
	}
	t.Logf("%d lives, %d seals within the log, %d directories in doubt", ended, seals, doubts)
	if seals == 0 {
		t.Error("no log ever went on behind a seal")
	}
}

// resume opens the directory and finds which of the states that may be there it
// is.
func (r *run) resume() (*WAL, error) {
	w, err := Open(testOptions(r.disk))
	if err != nil {
		return nil, err
	}
	for _, g := range w.Groups() {
		for _, f := range g.Faults {
			if !f.Tail {
				return nil, fmt.Errorf("not a tail: %v", f)
			}
		}
		if len(g.Faults) > 0 {
			return nil, errDoubt
		}
	}
	states := append([]models{r.acked}, r.later...)
	diff := ""
	for i := len(states) - 1; i >= 0; i-- {
		if diff = states[i].diff(w); diff == "" {
			r.acked, r.later = states[i].clone(), nil
			return w, nil
		}
	}
	return nil, fmt.Errorf("none of the %d states that may be there; against what was acknowledged: %.300s", len(states), diff)
}

// live writes for some steps. What is written last is not synced.
func (r *run) live(w *WAL, steps int) error {
	ms := r.acked.clone()
	for range steps {
		for range 1 + r.s.rng.IntN(3) {
			updates := r.s.batch(ms)
			r.later = append(r.later, ms.clone())
			if err := w.Write(updates); err != nil {
				return err
			}
			if r.s.rng.IntN(2) == 0 {
				if _, err := w.Maintain(1500); err != nil {
					return err
				}
			}
		}
		switch r.s.rng.IntN(8) {
		case 0:
			if err := w.Prepare(); err != nil {
				return err
			}
		case 1, 2, 3:
			continue // more before the sync
		}
		if err := w.Sync(); err != nil {
			return err
		}
		r.acked, r.later = ms.clone(), nil
	}
	return nil
}
