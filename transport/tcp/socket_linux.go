package tcp

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	tcpUserTimeout  = 0x12
	tcpNotSentLowat = 0x19
	// notSentMax bounds what the kernel holds of a connection that it has not
	// sent yet, in bytes, so that on a slow link a heartbeat waits behind our
	// queue's order and not behind megabytes in the socket.
	notSentMax = 512 << 10
)

// tuneSocket makes the kernel close a connection whose data is not acknowledged in
// time. Where it fails, write deadlines and keep-alive do the same later.
func tuneSocket(conn net.Conn, timeout time.Duration) {
	s, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(timeout.Milliseconds()))
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, notSentMax)
	})
}

// roundTrip is what the kernel measured on a connection, smoothed over its last
// packets; 0 if it has not.
func roundTrip(conn net.Conn) time.Duration {
	s, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0
	}
	var info *unix.TCPInfo
	if err := raw.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); err != nil || info == nil {
		return 0
	}
	return time.Duration(info.Rtt) * time.Microsecond
}
