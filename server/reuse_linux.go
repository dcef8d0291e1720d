package server

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// reusePort lets several processes listen on one address.
func reusePort(_, _ string, conn syscall.RawConn) error {
	var set error
	err := conn.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(err, set)
}
