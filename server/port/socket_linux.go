package port

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout has the system close a connection whose peer acknowledges
// nothing. grpc-go does so itself only for a bare TCP connection, and silently
// not for any other.
func setUserTimeout(conn net.Conn, timeout time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
	})
}
