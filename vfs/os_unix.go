//go:build linux || darwin

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func rename(oldName, newName string) error { return os.Rename(oldName, newName) }

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// lock uses flock, which belongs to the open file: a second open of the same
// name, in whatever process, has to wait for the first.
func lock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	conn, err := f.SyscallConn()
	if err == nil {
		var lockErr error
		err = conn.Control(func(fd uintptr) {
			lockErr = retryInterrupted(func() error { return syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) })
		})
		err = errors.Join(err, lockErr)
	}
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, errors.Join(&fs.PathError{Op: "lock", Path: name, Err: err}, f.Close())
}

func freeBytes(dir string) (uint64, error) {
	var stat syscall.Statfs_t
	err := retryInterrupted(func() error { return syscall.Statfs(dir, &stat) })
	if err != nil {
		return 0, err
	}
	// Bavail is what is left for a process without privileges.
	return stat.Bavail * uint64(stat.Bsize), nil
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func retryInterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
