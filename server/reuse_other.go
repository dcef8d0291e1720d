//go:build !linux

package server

import (
	"errors"
	"syscall"
)

func reusePort(string, string, syscall.RawConn) error {
	return errors.New("--socket-reuse-port is for Linux")
}
