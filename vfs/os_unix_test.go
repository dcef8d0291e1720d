//go:build linux || darwin

package vfs_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/quorate/quorate/vfs"
)

// lockEnv names a file that a child process is to lock and hold until its input
// ends.
const lockEnv = "QUORATE_TEST_LOCK"

func TestMain(m *testing.M) {
	name := os.Getenv(lockEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	_, err := vfs.OS().Lock(name)
	fmt.Println(errors.Is(err, vfs.ErrLocked), err == nil)
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// A lock is held against other processes, and ends with the process that holds it,
// however that ends.
func TestLockBetweenProcesses(t *testing.T) {
	name := filepath.ToSlash(filepath.Join(t.TempDir(), "LOCK"))
	child := func() (cmd *exec.Cmd, refused, held bool) {
		cmd = exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), lockEnv+"="+name)
		out := must[interface{ Read([]byte) (int, error) }](t)(cmd.StdoutPipe())
		must[interface{ Close() error }](t)(cmd.StdinPipe())
		check(t, cmd.Start())
		if _, err := fmt.Fscan(out, &refused, &held); err != nil {
			t.Fatal(err)
		}
		return cmd, refused, held
	}
	ours := must[vfs.Unlocker](t)(vfs.OS().Lock(name))
	cmd, refused, held := child()
	if !refused || held {
		t.Errorf("a second process: refused %v, held %v", refused, held)
	}
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	check(t, ours.Unlock())

	cmd, _, held = child()
	if !held {
		t.Error("after Unlock: a second process does not get the lock")
	}
	_, err := vfs.OS().Lock(name)
	wantError(t, "held by a second process", err, vfs.ErrLocked)
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	check(t, must[vfs.Unlocker](t)(vfs.OS().Lock(name)).Unlock())
}

// MkdirAll of a relative name, of a root, and of what is there.
func TestOSMkdirAll(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	check(t, vfs.OS().MkdirAll("a/b/../c"))
	if info, err := os.Stat(filepath.Join(dir, "a", "c")); err != nil || !info.IsDir() {
		t.Errorf("a/c: %v, %v", info, err)
	}
	check(t, vfs.OS().MkdirAll("."))
	check(t, vfs.OS().MkdirAll("/"))
}
