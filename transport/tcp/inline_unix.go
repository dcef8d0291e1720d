//go:build unix

package tcp

import (
	"io"
	"syscall"
)

// enableInline prepares tryWrite, if the connection is a bare socket. The file
// descriptor is in non-blocking mode, as Go keeps every socket.
func (c *outgoing) enableInline() {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	c.attempt = func(fd uintptr) bool {
		c.wrote, c.wroteErr = writeNow(int(fd), c.rest)
		return true
	}
}

// writeNow writes what fits into the socket's buffer.
func writeNow(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, b)
		switch {
		case err == nil && n == 0 && len(b) > 0:
			return 0, io.ErrUnexpectedEOF
		case err == nil:
			return n, nil
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
}
