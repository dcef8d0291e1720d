//go:build !linux

package port

import (
	"net"
	"time"
)

// setUserTimeout does nothing: keep-alives find a peer that is gone.
func setUserTimeout(net.Conn, time.Duration) {}
