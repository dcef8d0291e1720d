package store

import (
	"fmt"
	"testing"

	"github.com/quorate/quorate/store/engine"
)

// counted is an engine that counts how often its iterators are moved.
type counted struct {
	*engine.Memory
	moves int
}

func (c *counted) NewIterator(lower, upper []byte) (engine.Iterator, error) {
	it, err := c.Memory.NewIterator(lower, upper)
	return &countedIterator{it, c}, err
}

type countedIterator struct {
	engine.Iterator
	c *counted
}

func (i *countedIterator) First() bool            { i.c.moves++; return i.Iterator.First() }
func (i *countedIterator) SeekGE(key []byte) bool { i.c.moves++; return i.Iterator.SeekGE(key) }
func (i *countedIterator) Next() bool             { i.c.moves++; return i.Iterator.Next() }
func (i *countedIterator) NextPrefix() bool       { i.c.moves++; return i.Iterator.NextPrefix() }

func (i *countedIterator) SeekPrefixGE(key []byte) bool {
	i.c.moves++
	return i.Iterator.SeekPrefixGE(key)
}

// TestCostOfReads: a point read does not scan, a range costs what it returns, and
// history costs nothing to current reads, nor newer versions much to old ones.
func TestCostOfReads(t *testing.T) {
	c := &counted{Memory: engine.NewMemory(Split)}
	s := openOn(t, c)
	const keys, versions = 1000, 20
	key := func(i int) []byte { return fmt.Appendf(nil, "k%05d", i) }
	for range versions {
		var cmds []Command
		for i := range keys {
			cmds = append(cmds, &PutRequest{Key: key(i), Value: []byte("v")})
		}
		do(t, s, cmds...)
	}
	old := int64(1 + keys*versions/2)
	for _, test := range []struct {
		name  string
		q     RangeRequest
		found int
		moves int
	}{
		{"a key", RangeRequest{Key: key(500)}, 1, 1},
		{"no key", RangeRequest{Key: []byte("k00500x")}, 0, 1},
		{"a key at an old revision", RangeRequest{Key: key(500), Revision: old}, 1, 1},
		{"ten keys of a thousand", RangeRequest{Key: key(500), RangeEnd: []byte{0}, Limit: 10}, 10, 12},
		{"a range of ten keys", RangeRequest{Key: key(500), RangeEnd: key(510)}, 10, 11},
		{"ten keys at an old revision", RangeRequest{Key: key(500), RangeEnd: []byte{0}, Limit: 10, Revision: old}, 10, 3 * 12},
		{"nothing", RangeRequest{Key: []byte("l"), RangeEnd: []byte("m")}, 0, 1},
	} {
		c.moves = 0
		resp, err := s.RangePart(t.Context(), &test.q)
		if err != nil || len(resp.KVs) != test.found {
			t.Fatalf("%s: got %d keys, %v, want %d", test.name, len(resp.KVs), err, test.found)
		}
		if c.moves > test.moves {
			t.Errorf("%s: %d moves, want %d at most", test.name, c.moves, test.moves)
		}
	}
}

// TestCompactionGivesSpaceBack: while everything goes on, what a compaction
// superseded leaves the engine, and reads of what is there cost and give the same.
func TestCompactionGivesSpaceBack(t *testing.T) {
	e := engine.NewMemory(Split)
	s := openOn(t, e)
	round := func(n int) {
		var cmds []Command
		for i := range 200 {
			cmds = append(cmds, &PutRequest{Key: fmt.Appendf(nil, "k%03d", i), Value: fmt.Appendf(nil, "%0100d", n)})
		}
		do(t, s, cmds...)
	}
	size := func() uint64 {
		check(t, e.Sync())
		return e.Metrics().DiskBytes
	}
	round(0)
	one, bytes := size(), s.Status().Bytes
	for n := range 50 {
		round(n + 1)
	}
	if size() < 40*one {
		t.Fatalf("%d bytes with 51 versions, %d with one: there is nothing to give back", size(), one)
	}
	do(t, s, &CompactRequest{Revision: s.Revision()})
	for more := true; more; {
		var err error
		if more, err = s.Reclaim(100); err != nil {
			t.Fatal(err)
		}
	}
	if now := size(); now > 2*one {
		t.Errorf("%d bytes after a compaction, %d with one version", now, one)
	}
	if now := s.Status().Bytes; now != bytes {
		t.Errorf("%d bytes are counted, %d with one version", now, bytes)
	}
	resp, err := s.Range(t.Context(), &RangeRequest{RangeEnd: []byte{0}})
	if err != nil || resp.Count != 200 || string(resp.KVs[7].Value) != fmt.Sprintf("%0100d", 50) {
		t.Errorf("got %d keys, %v", resp.Count, err)
	}
}
