package vfs_test

import (
	"testing"

	"github.com/quorate/quorate/vfs"
)

func TestOSNoSpace(t *testing.T) {
	f := must[vfs.File](t)(vfs.OS().Open("/dev/full"))
	_, err := f.WriteAt([]byte("x"), 0)
	wantError(t, "a write to a full device", err, vfs.ErrNoSpace)
	check(t, f.Close())
}
