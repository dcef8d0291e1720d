package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store/engine"
)

const benchKeys = 200_000

func benchKey(dst []byte, n int) []byte {
	return fmt.Appendf(dst, "/registry/things/%08x", uint32(n)*2654435761)
}

func openPebbleBench(b *testing.B) *Store {
	b.Helper()
	e, err := engine.OpenPebble(b.TempDir(), engine.PebbleOptions{Split: Split})
	if err != nil {
		b.Fatal(err)
	}
	return openOn(b, e)
}

// A loader applies puts of random values.
type loader struct {
	b       testing.TB
	s       *Store
	rng     *rand.ChaCha8
	entries []rsm.Entry
	cmd     []byte
	value   []byte
	key     []byte
	index   raft.Index
}

func newLoader(b testing.TB, s *Store, batch, valueBytes int) *loader {
	return &loader{b: b, s: s, rng: rand.NewChaCha8([32]byte{}), entries: make([]rsm.Entry, batch), value: make([]byte, valueBytes)}
}

func (l *loader) apply(key func() int) {
	l.cmd = l.cmd[:0]
	for i := range l.entries {
		from := len(l.cmd)
		l.key = benchKey(l.key[:0], key())
		binary.LittleEndian.PutUint64(l.value, l.rng.Uint64())
		l.cmd = AppendCommand(l.cmd, &PutRequest{Key: l.key, Value: l.value})
		l.index++
		l.entries[i] = rsm.Entry{Index: l.index, Term: 1, Command: l.cmd[from:len(l.cmd):len(l.cmd)]}
	}
	if err := l.s.Apply(l.entries); err != nil {
		l.b.Fatal(err)
	}
}

func (l *loader) fill(n int) {
	next := 0
	for next < n {
		l.apply(func() int { next++; return (next - 1) % n })
	}
}

// BenchmarkPut applies puts of 256 B to random ones of 200,000 keys, which exist
// or do not; an operation is one put.
func BenchmarkPut(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		for _, fresh := range []bool{true, false} {
			b.Run(fmt.Sprintf("payload=256/batch=%d/fresh=%v", batch, fresh), func(b *testing.B) {
				s := openPebbleBench(b)
				l := newLoader(b, s, batch, 256)
				n := 0
				key := func() int { n++; return n + benchKeys }
				if !fresh {
					newLoader(b, s, 256, 256).fill(benchKeys)
					l.index = s.Status().Applied
					key = func() int { return int(l.rng.Uint64() % benchKeys) }
				}
				b.SetBytes(256)
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += batch {
					l.apply(key)
				}
			})
		}
	}
}

// BenchmarkGet reads random ones of 200,000 keys that have one version, or ten.
func BenchmarkGet(b *testing.B) {
	for _, versions := range []int{1, 10} {
		s := openPebbleBench(b)
		l := newLoader(b, s, 256, 256)
		for range versions {
			l.fill(benchKeys / versions)
		}
		check(b, s.engine.Sync())
		var key []byte
		for _, present := range []bool{true, false} {
			b.Run(fmt.Sprintf("versions=%d/present=%v", versions, present), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					n := int(l.rng.Uint64() % uint64(benchKeys/versions))
					if !present {
						n += benchKeys
					}
					key = benchKey(key[:0], n)
					resp, err := s.Range(b.Context(), &RangeRequest{Key: key})
					if err != nil || (len(resp.KVs) == 1) != present {
						b.Fatal(resp, err)
					}
				}
			})
		}
	}
}

// BenchmarkRange reads 100 keys from a random place on, of keys that have one
// version, or ten; with the count of the rest, or without.
func BenchmarkRange(b *testing.B) {
	for _, versions := range []int{1, 10, 100} {
		s := openPebbleBench(b)
		l := newLoader(b, s, 256, 256)
		for range versions {
			l.fill(benchKeys / versions)
		}
		check(b, s.engine.Sync())
		b.Run(fmt.Sprintf("keys=100/versions=%d", versions), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				key := fmt.Appendf(nil, "/registry/things/%08x", uint32(l.rng.Uint64()%0xf0000000))
				resp, err := s.RangePart(b.Context(), &RangeRequest{Key: key, RangeEnd: []byte{0}, Limit: 100})
				if err != nil || len(resp.KVs) != 100 {
					b.Fatal(len(resp.KVs), err)
				}
			}
		})
		if versions == 1 {
			b.Run(fmt.Sprintf("count=%d", benchKeys), func(b *testing.B) {
				for b.Loop() {
					resp, err := s.Range(b.Context(), &RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true})
					if err != nil || resp.Count != benchKeys {
						b.Fatal(resp, err)
					}
				}
			})
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
