package countfs

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/quorate/quorate/vfs"
)

func TestCallsAreCountedAndMade(t *testing.T) {
	under := vfs.NewMem()
	f := &FS{FS: under}
	must(t, f.MkdirAll("d"))
	file, err := f.Create("d/x")
	must(t, err)
	before := f.Counts()
	_, err = file.WriteAt([]byte("12345"), 0)
	must(t, err)
	must(t, file.SyncData())
	must(t, file.SyncData())
	must(t, file.Sync())
	must(t, f.SyncDir("d"))
	must(t, file.Close())
	if got, want := f.Counts().Sub(before), (Counts{DataSyncs: 2, FullSyncs: 1, DirSyncs: 1, Writes: 1, Bytes: 5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := f.Counts().Sub(before).Syncs(); got != 4 {
		t.Errorf("%d syncs in all, want 4", got)
	}
	file, err = f.Open("d/x")
	must(t, err)
	if size, err := file.Size(); err != nil || size != 5 {
		t.Errorf("size %d, %v", size, err)
	}
	if _, err := f.Open("d/y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening what is not there: %v", err)
	}
}

// What NoSync leaves out is lost with the power.
func TestNoSyncDoesNotSync(t *testing.T) {
	under := vfs.NewMem()
	f := &FS{FS: under, NoSync: true}
	must(t, f.MkdirAll("d"))
	file, err := f.Create("d/x")
	must(t, err)
	must(t, file.Sync())
	must(t, file.SyncData())
	must(t, f.SyncDir("d"))
	if got := f.Counts().Syncs(); got != 3 {
		t.Errorf("%d syncs counted, want 3", got)
	}
	if _, err := under.Crash(vfs.CrashOptions{}).OpenRead("d/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file survived: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
