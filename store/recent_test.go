package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/store/engine"
)

// TestRecentKeepsNothingUnasked: while the cache knows every key that is written,
// nobody looks a key up. Then too the iterator, which keeps the engine's tables
// from being deleted, is given up, and durable keys are forgotten.
func TestRecentKeepsNothingUnasked(t *testing.T) {
	e := engine.NewMemory(Split)
	s := openOn(t, e)
	r := &s.applier.recent
	r.maxKeys, r.maxCommits = 50, 64
	for i := range 100 {
		do(t, s, put(fmt.Sprintf("key %d", i), ""))
	}
	if r.it == nil {
		t.Fatal("new keys were looked up without an iterator")
	}
	for i := range 10 * r.maxCommits {
		if i%10 == 0 {
			check(t, e.Sync())
		}
		do(t, s, put(fmt.Sprintf("key %d", i%100), ""))
		if r.it != nil && r.commits >= r.maxCommits {
			t.Fatalf("after %d commits the iterator is still there", r.commits)
		}
		if most := r.maxKeys + 10 + r.maxCommits/16; i > r.maxCommits && r.written.used > most {
			t.Fatalf("%d keys are kept, all but 10 of them are durable", r.written.used)
		}
	}
}

// TestIndexTable holds the table against a map, hashes that share a slot included.
func TestIndexTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table, truth := newIndexTable(0), map[uint64]uint64{}
	for index := uint64(1); index < 20_000; index++ {
		h := rng.Uint64N(300) << rng.UintN(60)
		table.put(h, index)
		truth[h] = index
		if rng.IntN(1000) == 0 {
			upTo := index - rng.Uint64N(min(index, 500))
			table.forget(upTo)
			for h, i := range truth {
				if i <= upTo {
					delete(truth, h)
				}
			}
		}
		if h := rng.Uint64N(300) << rng.UintN(60); table.has(h) != (truth[h] != 0) {
			t.Fatalf("has %x is %v", h, table.has(h))
		}
		if table.used != len(truth) {
			t.Fatalf("%d hashes, should be %d", table.used, len(truth))
		}
	}
}
