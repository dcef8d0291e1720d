package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/quorate/quorate/vfs"
	"github.com/quorate/quorate/vfs/vfstest"
)

func TestContractOS(t *testing.T) {
	vfstest.TestFS(t, vfs.OS(), filepath.ToSlash(t.TempDir()))
}

func TestContractMem(t *testing.T) {
	vfstest.TestFS(t, vfs.NewMem(), "")
}
