package server

import (
	"log/slog"
	"net"
	"os"
)

// tellManager tells systemd, if it started this process as a unit of type notify,
// how far it is.
func tellManager(logger *slog.Logger, state string) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		conn.Close()
	}
	if err != nil {
		logger.Warn("systemd could not be told", slog.String("state", state), slog.Any("error", err))
	}
}
