package server

import (
	"runtime/debug"

	"github.com/quorate/quorate/server/etcd"
)

// EtcdVersion is the version of etcd that clients are told.
const EtcdVersion = etcd.Version

// Version is this program's, as the Go toolchain recorded it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
