// Package countfs counts what goes to a disk: the calls that make something
// durable, and the bytes that are written.
package countfs

import (
	"sync/atomic"

	"github.com/quorate/quorate/vfs"
)

// Counts are the calls since the FS was made.
type Counts struct {
	// DataSyncs, FullSyncs and DirSyncs are the calls of SyncData, Sync and
	// SyncDir. Each costs at least one flush of the device.
	DataSyncs, FullSyncs, DirSyncs uint64
	// Writes are the calls of WriteAt, Bytes what they wrote. What Preallocate
	// writes is not in them.
	Writes, Bytes uint64
}

// Sub gives what came after before.
func (c Counts) Sub(before Counts) Counts {
	return Counts{
		c.DataSyncs - before.DataSyncs, c.FullSyncs - before.FullSyncs, c.DirSyncs - before.DirSyncs,
		c.Writes - before.Writes, c.Bytes - before.Bytes,
	}
}

// Syncs are all calls that flush the device.
func (c Counts) Syncs() uint64 { return c.DataSyncs + c.FullSyncs + c.DirSyncs }

// FS is a vfs.FS that counts. Safe for concurrent use if the one under it is.
type FS struct {
	vfs.FS
	// NoSync makes every sync do nothing, but still counts it. Nothing is then
	// durable: it is for finding out what the syncs cost. Set before use.
	NoSync bool

	dataSyncs, fullSyncs, dirSyncs, writes, bytes atomic.Uint64
}

// Counts gives the counts so far.
func (f *FS) Counts() Counts {
	return Counts{f.dataSyncs.Load(), f.fullSyncs.Load(), f.dirSyncs.Load(), f.writes.Load(), f.bytes.Load()}
}

// Create makes a file.
func (f *FS) Create(name string) (vfs.File, error) { return f.wrap(f.FS.Create(name)) }

// Open opens a file for reading and writing.
func (f *FS) Open(name string) (vfs.File, error) { return f.wrap(f.FS.Open(name)) }

func (f *FS) wrap(under vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &file{under, f}, nil
}

// SyncDir makes the entries of a directory durable.
func (f *FS) SyncDir(dir string) error {
	f.dirSyncs.Add(1)
	if f.NoSync {
		return nil
	}
	return f.FS.SyncDir(dir)
}

type file struct {
	vfs.File
	fs *FS
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	f.fs.writes.Add(1)
	f.fs.bytes.Add(uint64(n))
	return n, err
}

func (f *file) SyncData() error {
	f.fs.dataSyncs.Add(1)
	if f.fs.NoSync {
		return nil
	}
	return f.File.SyncData()
}

func (f *file) Sync() error {
	f.fs.fullSyncs.Add(1)
	if f.fs.NoSync {
		return nil
	}
	return f.File.Sync()
}
