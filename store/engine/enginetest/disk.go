package enginetest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorate/quorate/vfs"
)

// Disk shows a vfs.Mem to Pebble: a disk that loses power, tears, fails and fills up
// as the log's does in its tests.
func Disk(disk *vfs.Mem) pebblevfs.FS { return diskFS{disk} }

type diskFS struct{ disk *vfs.Mem }

var errUnused = errors.New("not used by the engine")

func abs(name string) string { return path.Clean("/" + name)[1:] }

func (f diskFS) open(file vfs.File, err error, name string) (pebblevfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{File: file, name: name}, nil
}

func (f diskFS) Create(name string, _ pebblevfs.DiskWriteCategory) (pebblevfs.File, error) {
	name = abs(name)
	file, err := f.disk.Create(name)
	if errors.Is(err, fs.ErrExist) { // Pebble's Create replaces
		if err = f.disk.Remove(name); err == nil {
			file, err = f.disk.Create(name)
		}
	}
	return f.open(file, err, name)
}

func (f diskFS) Link(string, string) error { return errUnused }

func (f diskFS) Open(name string, opts ...pebblevfs.OpenOption) (pebblevfs.File, error) {
	name = abs(name)
	file, err := f.disk.OpenRead(name)
	if _, dir := f.list(name); err != nil && dir {
		return &diskDir{fs: f, name: name}, nil
	}
	return f.open(file, err, name)
}

func (f diskFS) list(name string) ([]string, bool) {
	names, err := f.disk.List(name)
	return names, err == nil
}

func (f diskFS) OpenReadWrite(name string, _ pebblevfs.DiskWriteCategory, _ ...pebblevfs.OpenOption) (pebblevfs.File, error) {
	name = abs(name)
	file, err := f.disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = f.disk.Create(name)
	}
	return f.open(file, err, name)
}

func (f diskFS) OpenDir(name string) (pebblevfs.File, error) {
	return &diskDir{fs: f, name: abs(name)}, nil
}

func (f diskFS) Remove(name string) error    { return f.disk.Remove(abs(name)) }
func (f diskFS) RemoveAll(string) error      { return errUnused }
func (f diskFS) Rename(a, b string) error    { return f.disk.Rename(abs(a), abs(b)) }
func (f diskFS) PathBase(p string) string    { return path.Base(p) }
func (f diskFS) PathJoin(e ...string) string { return path.Join(e...) }
func (f diskFS) PathDir(p string) string     { return path.Dir(p) }
func (f diskFS) Unwrap() pebblevfs.FS        { return nil }

func (f diskFS) ReuseForWrite(a, b string, c pebblevfs.DiskWriteCategory) (pebblevfs.File, error) {
	if err := f.Rename(a, b); err != nil {
		return nil, err
	}
	return f.OpenReadWrite(b, c)
}

func (f diskFS) MkdirAll(dir string, _ os.FileMode) error { return f.disk.MkdirAll(abs(dir)) }

func (f diskFS) Lock(name string) (io.Closer, error) {
	l, err := f.disk.Lock(abs(name))
	if err != nil {
		return nil, err
	}
	return lockCloser{l}, nil
}

type lockCloser struct{ vfs.Unlocker }

func (l lockCloser) Close() error { return l.Unlock() }

func (f diskFS) List(dir string) ([]string, error) { return f.disk.List(abs(dir)) }

func (f diskFS) Stat(name string) (pebblevfs.FileInfo, error) {
	name = abs(name)
	if _, dir := f.list(name); dir {
		return diskInfo{name: path.Base(name), dir: true}, nil
	}
	file, err := f.disk.OpenRead(name)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	return diskInfo{name: path.Base(name), size: size}, errors.Join(err, file.Close())
}

func (f diskFS) GetDiskUsage(dir string) (pebblevfs.DiskUsage, error) {
	free, err := f.disk.FreeBytes(abs(dir))
	return pebblevfs.DiskUsage{AvailBytes: free, TotalBytes: free}, err
}

// A diskFile is a file with a place at which reads and writes go on.
type diskFile struct {
	vfs.File
	name        string
	read, write int64
}

func (f *diskFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.read)
	if f.read += int64(n); n > 0 {
		err = nil
	}
	return n, err
}

func (f *diskFile) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.write)
	f.write += int64(n)
	return n, err
}

func (f *diskFile) Preallocate(int64, int64) error { return nil } // none: sizes are what was written

func (f *diskFile) Stat() (pebblevfs.FileInfo, error) {
	size, err := f.Size()
	return diskInfo{name: path.Base(f.name), size: size}, err
}

func (f *diskFile) SyncTo(int64) (bool, error)  { return true, f.SyncData() }
func (f *diskFile) Prefetch(int64, int64) error { return nil }
func (f *diskFile) Fd() uintptr                 { return pebblevfs.InvalidFd }

// A diskDir is a directory, opened to be synced.
type diskDir struct {
	fs   diskFS
	name string
}

func (d *diskDir) Close() error                       { return nil }
func (d *diskDir) Read([]byte) (int, error)           { return 0, errUnused }
func (d *diskDir) ReadAt([]byte, int64) (int, error)  { return 0, errUnused }
func (d *diskDir) Write([]byte) (int, error)          { return 0, errUnused }
func (d *diskDir) WriteAt([]byte, int64) (int, error) { return 0, errUnused }
func (d *diskDir) Preallocate(int64, int64) error     { return nil }
func (d *diskDir) Sync() error                        { return d.fs.disk.SyncDir(d.name) }
func (d *diskDir) SyncData() error                    { return d.Sync() }
func (d *diskDir) SyncTo(int64) (bool, error)         { return true, d.Sync() }
func (d *diskDir) Prefetch(int64, int64) error        { return nil }
func (d *diskDir) Fd() uintptr                        { return pebblevfs.InvalidFd }

func (d *diskDir) Stat() (pebblevfs.FileInfo, error) {
	return diskInfo{name: path.Base(d.name), dir: true}, nil
}

type diskInfo struct {
	name string
	size int64
	dir  bool
}

func (i diskInfo) Name() string       { return i.name }
func (i diskInfo) Size() int64        { return i.size }
func (i diskInfo) Mode() fs.FileMode  { return 0o600 }
func (i diskInfo) ModTime() time.Time { return time.Time{} }
func (i diskInfo) IsDir() bool        { return i.dir }
func (i diskInfo) Sys() any           { return nil }

func (i diskInfo) DeviceID() pebblevfs.DeviceID { return pebblevfs.DeviceID{} }
