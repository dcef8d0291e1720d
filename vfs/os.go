package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// OS is the operating system's file system. What makes a write durable:
//
//	linux    SyncData: fdatasync   Sync, SyncDir: fsync
//	darwin   SyncData, Sync, SyncDir: fcntl F_FULLFSYNC, since fsync leaves the
//	         bytes in the drive's cache
//	windows  SyncData, Sync: FlushFileBuffers; SyncDir does nothing, since NTFS
//	         journals its metadata and Rename writes through
//
// Lock is flock on linux and darwin, and an open that shares with nobody on
// windows. It is meant for local disks: on NFS flock may not exclude a second
// caller in the same process.
func OS() FS { return osFS{} }

type osFS struct{}

// osFile adds this package's error texts and the platform's calls to os.File.
type osFile struct {
	*os.File
	sync dataSync
}

func (osFS) open(name string, flag int) (File, error) {
	f, err := os.OpenFile(filepath.FromSlash(name), flag, 0o640)
	if err != nil {
		return nil, mapError(err)
	}
	file := &osFile{File: f}
	if err := file.sync.init(f); err != nil {
		return nil, errors.Join(mapError(err), f.Close())
	}
	return file, nil
}

func (o osFS) Create(name string) (File, error) {
	return o.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (o osFS) Open(name string) (File, error)     { return o.open(name, os.O_RDWR) }
func (o osFS) OpenRead(name string) (File, error) { return o.open(name, os.O_RDONLY) }

func (osFS) Rename(oldName, newName string) error {
	if _, err := sameDir(oldName, newName); err != nil {
		return err
	}
	return mapError(rename(filepath.FromSlash(oldName), filepath.FromSlash(newName)))
}

func (osFS) Remove(name string) error { return mapError(os.Remove(filepath.FromSlash(name))) }

// MkdirAll makes parents first and syncs the entry of each before it goes below
// it, so a process that is killed on the way leaves at most the deepest directory
// that exists with an entry that is not synced: that one is synced here too.
func (o osFS) MkdirAll(name string) error {
	name = path.Clean(filepath.ToSlash(name))
	info, err := os.Stat(filepath.FromSlash(name))
	switch parent := path.Dir(name); {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	case err == nil:
		if err := o.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil // a parent that may not be read is not one that we made an entry in
	case !errors.Is(err, fs.ErrNotExist):
		return mapError(err)
	case parent == name:
		return mapError(err)
	default:
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.FromSlash(name), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return mapError(err)
		}
		return o.SyncDir(parent)
	}
}

func (osFS) List(dir string) ([]string, error) {
	f, err := os.Open(filepath.FromSlash(dir))
	if err != nil {
		return nil, mapError(err)
	}
	names, err := f.Readdirnames(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, mapError(err)
	}
	sortNames(names)
	return names, nil
}

func (osFS) SyncDir(dir string) error { return mapError(syncDir(filepath.FromSlash(dir))) }

func (osFS) Lock(name string) (Unlocker, error) {
	f, err := lock(filepath.FromSlash(name))
	if err != nil {
		return nil, mapError(err)
	}
	return &osLock{file: f}, nil
}

func (osFS) FreeBytes(dir string) (uint64, error) {
	free, err := freeBytes(filepath.FromSlash(dir))
	if err != nil {
		return 0, mapError(&fs.PathError{Op: "free bytes", Path: dir, Err: err})
	}
	return free, nil
}

// osLock is a locked file: closing it releases the lock.
type osLock struct {
	once sync.Once
	file *os.File
	err  error
}

func (l *osLock) Unlock() error {
	l.once.Do(func() { l.err = mapError(l.file.Close()) })
	return l.err
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, mapError(err)
}

func (f *osFile) Truncate(size int64) error { return mapError(f.File.Truncate(size)) }

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, mapError(err)
	}
	return info.Size(), nil
}

func (f *osFile) SyncData() error {
	if err := f.sync.syncData(f.File); err != nil {
		return mapError(&fs.PathError{Op: "sync data", Path: f.Name(), Err: err})
	}
	return nil
}

func (f *osFile) Sync() error { return mapError(f.File.Sync()) }

var zeros [256 << 10]byte

func (f *osFile) Preallocate(size int64) error {
	from, err := f.Size()
	if err != nil || from >= size {
		return err
	}
	if err := f.sync.reserve(size); err != nil {
		return mapError(&fs.PathError{Op: "preallocate", Path: f.Name(), Err: err})
	}
	// Reserved extents are marked unwritten, and the first write to one changes
	// metadata, which SyncData would have to wait for: hence real zeros.
	for from < size {
		n, err := f.File.WriteAt(zeros[:min(size-from, int64(len(zeros)))], from)
		if err != nil {
			return mapError(err)
		}
		from += int64(n)
	}
	return nil
}

// mapError gives a full disk one name on every platform.
func mapError(err error) error {
	if err != nil && isNoSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
