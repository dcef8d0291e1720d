// Package vfstest is the contract of vfs.FS as tests. Whoever implements a file
// system for Quorate runs TestFS on it. It decides nothing that the comments of
// vfs.FS and vfs.File do not say, and cannot cut the power: what survives that is
// tested where the disk is simulated.
package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"testing"

	"github.com/quorate/quorate/vfs"
)

// TestFS checks a file system below dir, an existing empty directory.
func TestFS(t *testing.T, fsys vfs.FS, dir string) {
	c := contract{fsys: fsys, dir: dir}
	t.Run("create and open", c.createAndOpen)
	t.Run("read and write", c.readAndWrite)
	t.Run("concurrent writes", c.concurrentWrites)
	t.Run("preallocate and truncate", c.preallocateAndTruncate)
	t.Run("rename", c.rename)
	t.Run("remove and list", c.removeAndList)
	t.Run("directories", c.directories)
	t.Run("closed", c.closed)
	t.Run("lock", c.lock)
	t.Run("free bytes", c.freeBytes)
}

type contract struct {
	fsys vfs.FS
	dir  string
}

// in makes a directory for one test and gives a namer for files in it.
func (c contract) in(t *testing.T, name string) func(elem string) string {
	t.Helper()
	dir := path.Join(c.dir, name)
	noError(t, c.fsys.MkdirAll(dir))
	return func(elem string) string { return path.Join(dir, elem) }
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func (c contract) write(t *testing.T, name, text string) {
	t.Helper()
	f, err := c.fsys.Create(name)
	noError(t, err)
	_, err = f.WriteAt([]byte(text), 0)
	noError(t, err)
	noError(t, f.Sync())
	noError(t, f.Close())
}

func (c contract) wantContents(t *testing.T, name, want string) {
	t.Helper()
	f, err := c.fsys.OpenRead(name)
	noError(t, err)
	size, err := f.Size()
	noError(t, err)
	got := make([]byte, size)
	_, err = f.ReadAt(got, 0)
	noError(t, err)
	noError(t, f.Close())
	if string(got) != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func (c contract) createAndOpen(t *testing.T) {
	in := c.in(t, "create")
	_, err := c.fsys.Open(in("a"))
	wantError(t, "Open of no file", err, fs.ErrNotExist)
	_, err = c.fsys.OpenRead(in("a"))
	wantError(t, "OpenRead of no file", err, fs.ErrNotExist)
	c.write(t, in("a"), "first")
	_, err = c.fsys.Create(in("a"))
	wantError(t, "Create of an existing file", err, fs.ErrExist)
	_, err = c.fsys.Create(in("nowhere/a"))
	wantError(t, "Create in no directory", err, fs.ErrNotExist)

	f, err := c.fsys.Open(in("a"))
	noError(t, err)
	_, err = f.WriteAt([]byte("F"), 0)
	noError(t, err)
	noError(t, f.SyncData())
	noError(t, f.Close())
	c.wantContents(t, in("a"), "First")

	r, err := c.fsys.OpenRead(in("a"))
	noError(t, err)
	if _, err := r.WriteAt([]byte("x"), 0); err == nil {
		t.Error("WriteAt on a file open for reading: no error")
	}
	noError(t, r.Close())
	c.wantContents(t, in("a"), "First")
	noError(t, c.fsys.SyncDir(in("")))
}

func (c contract) readAndWrite(t *testing.T) {
	in := c.in(t, "write")
	f, err := c.fsys.Create(in("a"))
	noError(t, err)
	defer func() { noError(t, f.Close()) }()
	want := make([]byte, 3000)
	for i, w := range []struct{ off, n int }{{0, 10}, {5, 1000}, {500, 24}, {511, 2}, {2000, 1000}, {1024, 512}, {0, 3000}, {7, 1}} {
		p := bytes.Repeat([]byte{byte('a' + i)}, w.n)
		copy(want[w.off:], p)
		n, err := f.WriteAt(p, int64(w.off))
		noError(t, err)
		if n != w.n {
			t.Errorf("WriteAt of %d bytes wrote %d", w.n, n)
		}
		size, err := f.Size()
		noError(t, err)
		got := make([]byte, size)
		_, err = f.ReadAt(got, 0)
		noError(t, err)
		if !bytes.Equal(got, want[:size]) {
			t.Fatalf("after write %d of [%d, %d): contents differ from what was written", i, w.off, w.off+w.n)
		}
	}
	p := make([]byte, 10)
	if n, err := f.ReadAt(p, 2995); n != 5 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt over the end: %d, %v; want 5, EOF", n, err)
	}
	if n, err := f.ReadAt(p, 5000); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt beyond the end: %d, %v; want 0, EOF", n, err)
	}
	if _, err := f.ReadAt(p, -1); err == nil {
		t.Error("ReadAt at -1: no error")
	}
	if _, err := f.WriteAt(p, -1); err == nil {
		t.Error("WriteAt at -1: no error")
	}
}

func (c contract) concurrentWrites(t *testing.T) {
	in := c.in(t, "concurrent")
	f, err := c.fsys.Create(in("a"))
	noError(t, err)
	const writers, bytesEach = 8, 777
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			p := bytes.Repeat([]byte{byte('0' + w)}, bytesEach)
			_, err := f.WriteAt(p, int64(w*bytesEach))
			errs[w] = errors.Join(err, f.SyncData())
			_, err = f.ReadAt(p, int64(w*bytesEach))
			errs[w] = errors.Join(errs[w], err)
			if len(bytes.Trim(p, string(byte('0'+w)))) > 0 {
				errs[w] = errors.Join(errs[w], errors.New("read back other bytes than were written"))
			}
		})
	}
	wg.Wait()
	noError(t, errors.Join(errs...))
	noError(t, f.Close())
}

func (c contract) preallocateAndTruncate(t *testing.T) {
	in := c.in(t, "preallocate")
	f, err := c.fsys.Create(in("a"))
	noError(t, err)
	defer func() { noError(t, f.Close()) }()
	wantSize := func(what string, want int64) {
		t.Helper()
		size, err := f.Size()
		noError(t, err)
		if size != want {
			t.Fatalf("%s: size %d, want %d", what, size, want)
		}
	}
	wantBytes := func(what string, off int64, want []byte) {
		t.Helper()
		got := make([]byte, len(want))
		_, err := f.ReadAt(got, off)
		noError(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: bytes at %d differ", what, off)
		}
	}
	_, err = f.WriteAt([]byte("head"), 0)
	noError(t, err)
	const size = 300<<10 + 7
	noError(t, f.Preallocate(size))
	wantSize("Preallocate", size)
	wantBytes("Preallocate keeps contents", 0, []byte("head"))
	wantBytes("Preallocate writes zeros", 4, make([]byte, size-4))
	noError(t, f.Preallocate(100))
	wantSize("Preallocate of less", size)
	noError(t, f.SyncData())

	_, err = f.WriteAt(bytes.Repeat([]byte("x"), 2000), 0)
	noError(t, err)
	noError(t, f.Truncate(700))
	wantSize("Truncate", 700)
	noError(t, f.Truncate(2000))
	wantSize("Truncate to more", 2000)
	wantBytes("Truncate keeps what is before", 0, bytes.Repeat([]byte("x"), 700))
	wantBytes("Truncate adds zeros", 700, make([]byte, 1300))
	if err := f.Truncate(-1); err == nil {
		t.Error("Truncate to -1: no error")
	}
}

func (c contract) rename(t *testing.T) {
	in := c.in(t, "rename")
	c.write(t, in("a"), "alpha")
	c.write(t, in("b"), "beta")
	noError(t, c.fsys.Rename(in("a"), in("b")))
	c.wantContents(t, in("b"), "alpha")
	_, err := c.fsys.OpenRead(in("a"))
	wantError(t, "OpenRead of the old name", err, fs.ErrNotExist)
	wantError(t, "Rename of no file", c.fsys.Rename(in("a"), in("c")), fs.ErrNotExist)
	noError(t, c.fsys.Rename(in("b"), in("b")))
	c.wantContents(t, in("b"), "alpha")
	noError(t, c.fsys.MkdirAll(in("sub")))
	wantError(t, "Rename to another directory", c.fsys.Rename(in("b"), in("sub/b")), fs.ErrInvalid)
	noError(t, c.fsys.SyncDir(in("")))
}

func (c contract) removeAndList(t *testing.T) {
	in := c.in(t, "remove")
	wantNames := func(want ...string) {
		t.Helper()
		got, err := c.fsys.List(in(""))
		noError(t, err)
		if !slices.Equal(got, want) {
			t.Errorf("List: got %q, want %q", got, want)
		}
	}
	wantNames()
	c.write(t, in("b"), "")
	c.write(t, in("a"), "")
	c.write(t, in("C"), "")
	wantNames("C", "a", "b")
	noError(t, c.fsys.Remove(in("a")))
	wantNames("C", "b")
	wantError(t, "Remove of no file", c.fsys.Remove(in("a")), fs.ErrNotExist)
	noError(t, c.fsys.MkdirAll(in("d")))
	c.write(t, in("d/x"), "")
	wantNames("C", "b", "d")
	if err := c.fsys.Remove(in("d")); err == nil {
		t.Error("Remove of a directory that is not empty: no error")
	}
	noError(t, c.fsys.Remove(in("d/x")))
	noError(t, c.fsys.Remove(in("d")))
	wantNames("C", "b")
	_, err := c.fsys.List(in("d"))
	wantError(t, "List of no directory", err, fs.ErrNotExist)
}

func (c contract) directories(t *testing.T) {
	in := c.in(t, "directories")
	noError(t, c.fsys.MkdirAll(in("x/y/z")))
	noError(t, c.fsys.MkdirAll(in("x/y/z")))
	c.write(t, in("x/y/z/f"), "deep")
	c.wantContents(t, in("x/y/z/f"), "deep")
	noError(t, c.fsys.SyncDir(in("x/y/z")))
	if err := c.fsys.MkdirAll(in("x/y/z/f/g")); err == nil {
		t.Error("MkdirAll below a file: no error")
	}
	if err := c.fsys.MkdirAll(in("x/y/z/f")); err == nil {
		t.Error("MkdirAll of a file: no error")
	}
	wantError(t, "SyncDir of no directory", c.fsys.SyncDir(in("nowhere")), fs.ErrNotExist)
}

func (c contract) closed(t *testing.T) {
	in := c.in(t, "closed")
	f, err := c.fsys.Create(in("a"))
	noError(t, err)
	noError(t, f.Close())
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantError(t, "ReadAt", err, fs.ErrClosed)
	_, err = f.WriteAt(make([]byte, 1), 0)
	wantError(t, "WriteAt", err, fs.ErrClosed)
	wantError(t, "SyncData", f.SyncData(), fs.ErrClosed)
	wantError(t, "Sync", f.Sync(), fs.ErrClosed)
	wantError(t, "Truncate", f.Truncate(0), fs.ErrClosed)
	wantError(t, "Preallocate", f.Preallocate(1), fs.ErrClosed)
	_, err = f.Size()
	wantError(t, "Size", err, fs.ErrClosed)
	wantError(t, "Close", f.Close(), fs.ErrClosed)
}

func (c contract) lock(t *testing.T) {
	in := c.in(t, "lock")
	l, err := c.fsys.Lock(in("LOCK"))
	noError(t, err)
	_, err = c.fsys.Lock(in("LOCK"))
	wantError(t, "Lock of what is locked", err, vfs.ErrLocked)
	other, err := c.fsys.Lock(in("OTHER"))
	noError(t, err)
	noError(t, other.Unlock())
	noError(t, l.Unlock())
	noError(t, l.Unlock())
	l, err = c.fsys.Lock(in("LOCK"))
	noError(t, err)
	noError(t, l.Unlock())
	names, err := c.fsys.List(in(""))
	noError(t, err)
	if !slices.Equal(names, []string{"LOCK", "OTHER"}) {
		t.Errorf("after Unlock: files %q, want LOCK and OTHER", names)
	}
	_, err = c.fsys.Lock(in("nowhere/LOCK"))
	wantError(t, "Lock in no directory", err, fs.ErrNotExist)
}

func (c contract) freeBytes(t *testing.T) {
	in := c.in(t, "free")
	free, err := c.fsys.FreeBytes(in(""))
	noError(t, err)
	if free == 0 {
		t.Error("FreeBytes: 0")
	}
	_, err = c.fsys.FreeBytes(in("nowhere"))
	wantError(t, "FreeBytes of no directory", err, fs.ErrNotExist)
}
