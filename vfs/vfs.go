// Package vfs is the disk as the rest of Quorate sees it. OS is the operating
// system's; Mem is one in memory that keeps only what was synced when it is told
// to crash, and that fails, delays or stalls any call on request.
//
// It decides how a write becomes durable on each platform and nothing about what
// is written.
package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// FS is a directory tree. Names are slash-separated paths. Implementations are
// safe for concurrent use. Errors wrap those of io/fs (fs.ErrNotExist, ...).
type FS interface {
	// Create makes a new file for reading and writing; it is an error if name
	// exists. The entry is durable after SyncDir of its directory.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading.
	OpenRead(name string) (File, error)
	// Rename replaces newName by oldName atomically; durable after SyncDir. Both
	// are in one directory, so that one SyncDir suffices; anything else is
	// fs.ErrInvalid.
	Rename(oldName, newName string) error
	// Remove removes a file or an empty directory; durable after SyncDir. A
	// file that is open is removed on some platforms and refused on others.
	Remove(name string) error
	// MkdirAll makes a directory and its missing parents, and syncs each parent
	// in which it made an entry.
	MkdirAll(name string) error
	// List gives the names of the entries of a directory, sorted.
	List(dir string) ([]string, error)
	// SyncDir makes the entries of a directory durable.
	SyncDir(dir string) error
	// Lock takes an exclusive advisory lock on a file that it creates if need
	// be, and holds it until the Unlocker is called or the process ends. It is
	// ErrLocked if another process, or another caller in this one, holds it.
	// The file stays when the lock is released.
	Lock(name string) (Unlocker, error)
	// FreeBytes gives the space that is left for the directory.
	FreeBytes(dir string) (uint64, error)
}

// File is an open file. Reads and writes at offsets may be concurrent. After
// Close every method fails with an error that wraps fs.ErrClosed.
type File interface {
	// ReadAt is io.ReaderAt's: fewer than len(p) bytes come with an error,
	// io.EOF at the end of the file.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes all of p or returns an error; after an error any part of p
	// may have been written.
	WriteAt(p []byte, off int64) (int, error)
	// Preallocate makes a file that is shorter size bytes long, with space
	// reserved for them and zeros written after its old end, so that later
	// writes within it change no metadata and SyncData costs one device flush.
	// What the file holds stays, and a file that is long enough keeps its
	// length. It does not sync.
	Preallocate(size int64) error
	// Truncate sets the size; what it adds reads as zeros.
	Truncate(size int64) error
	// Size gives the current size.
	Size() (int64, error)
	// SyncData makes the contents durable, and of the metadata what is needed to
	// read them back (fdatasync). An error is final: pages may have been dropped,
	// and a later success proves nothing (PS-07).
	SyncData() error
	// Sync makes contents and metadata durable (fsync; F_FULLFSYNC on darwin).
	Sync() error
	Close() error
}

// Unlocker releases a lock.
type Unlocker interface{ Unlock() error }

// ErrLocked: somebody else holds the lock.
var ErrLocked = errors.New("vfs: locked by another process")

// ErrNoSpace is wrapped by errors of a full disk on every platform.
var ErrNoSpace = errors.New("vfs: no space left")

// sameDir checks a Rename's names and gives their directory.
func sameDir(oldName, newName string) (string, error) {
	dir := path.Dir(oldName)
	if dir != path.Dir(newName) {
		return "", &fs.PathError{Op: "rename", Path: oldName, Err: fmt.Errorf("%w: %s is in another directory", fs.ErrInvalid, newName)}
	}
	return dir, nil
}
