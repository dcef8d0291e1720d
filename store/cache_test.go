package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestCacheIsRightOrSilent holds the cache against a map: through growing tables,
// records that are changed in place, generations that end, and keys with equal
// hashes, what it says is what was put last.
func TestCacheIsRightOrSilent(t *testing.T) {
	for _, limit := range []int{1, 1 << 12, 1 << 16, cacheBytes} {
		t.Run(fmt.Sprintf("limit=%d", limit), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(limit)))
			c := newCache(limit)
			truth := map[string]known{}
			hits := 0
			for range 50_000 {
				key := fmt.Appendf(nil, "%x", rng.IntN(5000))
				if rng.IntN(4) == 0 {
					key = append(key, bytes.Repeat([]byte{0}, rng.IntN(100))...)
				}
				if rng.IntN(2) == 0 {
					k := known{main: rng.Int64(), create: rng.Int64(), version: rng.Int64(), lease: -rng.Int64(), deleted: rng.IntN(3) == 0}
					c.put(key, k)
					truth[string(key)] = k
					continue
				}
				got, ok := c.get(key)
				if want, there := truth[string(key)]; ok && (!there || got != want) {
					t.Fatalf("%q is %+v, put was %+v, %v", key, got, want, there)
				}
				if ok {
					hits++
				}
				if n := len(c.young.records); n > limit/2+knownHeader+len("1387")+100 {
					t.Fatalf("a generation of %d bytes, limit %d", n, limit)
				}
			}
			if limit == cacheBytes && c.old != nil {
				t.Fatal("a generation ended that was not full")
			}
			if hits == 0 {
				t.Fatal("nothing was remembered")
			}
		})
	}
}

// TestCacheForgetsAndKeeps: what was asked for in a generation's time outlives it,
// the rest does not, and a long key is not remembered.
func TestCacheForgetsAndKeeps(t *testing.T) {
	c := newCache(8 << 10)
	c.put([]byte("asked"), known{version: 1})
	c.put([]byte("not asked"), known{version: 2})
	for i := range 1000 {
		c.put(fmt.Appendf(nil, "filler %d", i), known{version: 3})
		if _, ok := c.get([]byte("asked")); !ok {
			t.Fatalf("a key that is asked for again and again was forgotten after %d others", i)
		}
	}
	if _, ok := c.get([]byte("not asked")); ok {
		t.Fatal("a key of a generation long gone is remembered")
	}
	long := []byte(strings.Repeat("k", cacheKeyMax+1))
	c.put(long, known{version: 4})
	if _, ok := c.get(long); ok {
		t.Fatal("a long key is remembered")
	}
}

// TestGenerationWithEqualHashes: keys are told apart by their bytes.
func TestGenerationWithEqualHashes(t *testing.T) {
	g := newGeneration(nil)
	for i := range 500 {
		g.put(7, fmt.Appendf(nil, "key %d", i), known{version: int64(i)})
	}
	for i := range 500 {
		if k, ok := g.get(7, fmt.Appendf(nil, "key %d", i)); !ok || k.version != int64(i) {
			t.Fatalf("key %d: %+v, %v", i, k, ok)
		}
	}
	if _, ok := g.get(7, []byte("key 500")); ok {
		t.Fatal("a key that was never put was found")
	}
}
