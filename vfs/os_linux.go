package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// dataSync makes fdatasync available for a file without racing its Close.
type dataSync struct{ conn syscall.RawConn }

func (d *dataSync) init(f *os.File) (err error) {
	d.conn, err = f.SyscallConn()
	return err
}

func (d *dataSync) syncData(*os.File) error {
	return d.control(func(fd int) error { return syscall.Fdatasync(fd) })
}

// reserve has the file system allocate the extents at once, so that they are
// few, and that a full disk shows before anything is written.
func (d *dataSync) reserve(size int64) error {
	err := d.control(func(fd int) error { return syscall.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return nil // the zeros that are written next reserve the space too
	}
	return err
}

func (d *dataSync) control(call func(fd int) error) error {
	var callErr error
	err := d.conn.Control(func(fd uintptr) {
		callErr = retryInterrupted(func() error { return call(int(fd)) })
	})
	if err != nil {
		return fs.ErrClosed // the only reason for which it does not make the call
	}
	return callErr
}
