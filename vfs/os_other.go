//go:build darwin || windows

package vfs

import "os"

// dataSync: os.File.Sync is F_FULLFSYNC on darwin and FlushFileBuffers on
// windows, and neither has a cheaper call that syncs contents alone.
type dataSync struct{}

func (dataSync) init(*os.File) error           { return nil }
func (dataSync) syncData(f *os.File) error     { return f.Sync() }
func (dataSync) reserve(sizeBytes int64) error { return nil }
