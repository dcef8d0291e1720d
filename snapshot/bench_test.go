package snapshot

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/quorate/quorate/vfs"
)

// A snapshot of 64 MiB on this machine's disk: synced, read back, renamed.
func BenchmarkTake(b *testing.B) {
	const size = 64 << 20
	p := state(1 << 20)
	for _, chunk := range []int{32 << 10, DefaultChunkBytes, ChunkMax} {
		b.Run(fmt.Sprint("chunk=", chunk), func(b *testing.B) {
			s, err := Open(Options{FS: vfs.OS(), Dir: filepath.ToSlash(b.TempDir()), Identity: self, ChunkBytes: chunk})
			check(b, err)
			b.SetBytes(size)
			b.ReportAllocs()
			for id := uint64(1); b.Loop(); id++ {
				w, err := s.Create(group, meta(10), id)
				check(b, err)
				for range size / len(p) {
					_, err := w.Write(p)
					check(b, err)
				}
				_, err = w.Commit()
				check(b, err)
				b.StopTimer()
				check(b, s.RemoveGroup(group))
				b.StartTimer()
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	s, err := Open(Options{FS: vfs.OS(), Dir: filepath.ToSlash(b.TempDir()), Identity: self})
	check(b, err)
	info := mustTake(b, s, 10, 1, state(64<<20))
	b.SetBytes(int64(info.Size))
	b.ReportAllocs()
	for b.Loop() {
		check(b, s.Verify(info))
	}
}

// What a simulator does: small snapshots on a disk in memory.
func BenchmarkTakeSmallInMemory(b *testing.B) {
	s, err := Open(Options{FS: vfs.NewMem(), Dir: "d", Identity: self})
	check(b, err)
	p := state(2000)
	b.ReportAllocs()
	for id := uint64(1); b.Loop(); id++ {
		w, err := s.Create(group, meta(10), id)
		check(b, err)
		_, err = w.Write(p)
		check(b, err)
		_, err = w.Commit()
		check(b, err)
		check(b, s.RemoveGroup(group))
	}
}
