//go:build !linux

package tcp

import (
	"net"
	"time"
)

// tuneSocket does nothing here: write deadlines and keep-alive close a connection
// whose peer is gone.
func tuneSocket(net.Conn, time.Duration) {}

// roundTrip is not known here.
func roundTrip(net.Conn) time.Duration { return 0 }
