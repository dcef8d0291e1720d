package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/vfs"
)

var errIO = errors.New("input/output error")

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// on makes a hook that has one fault for calls of one kind.
func on(kind vfs.OpKind, f vfs.Fault) vfs.Hook {
	return func(op vfs.Op) vfs.Fault {
		if op.Kind == kind {
			return f
		}
		return vfs.Fault{}
	}
}

// PS-07: after a failed sync the next one succeeds and proves nothing.
func TestFailedSyncDrops(t *testing.T) {
	m := vfs.NewMem()
	f := must[vfs.File](t)(m.Create("f"))
	write(t, f, 0, "old")
	check(t, f.Sync())
	check(t, m.SyncDir("/"))
	write(t, f, 0, "new")
	write(t, f, 600, "far")
	m.SetHook(on(vfs.OpSyncData, vfs.Fault{Err: errIO}))
	wantError(t, "SyncData", f.SyncData(), errIO)
	m.SetHook(nil)
	if got, _ := contents(t, m, "f"); got[:3] != "new" || got[600:] != "far" {
		t.Errorf("after the failed sync: reads give %.3q, want the dropped bytes", got)
	}
	wantContents(t, m.CrashClone(vfs.CrashOptions{Data: vfs.KeepAll}), "f", "old")
	check(t, f.SyncData())
	lost := m.CrashClone(vfs.CrashOptions{Data: vfs.KeepAll})
	if got, _ := contents(t, lost, "f"); got[:3] != "old" {
		t.Errorf("after the crash: %.3q, want %q", got, "old")
	}
	check(t, m.EvictCache("f"))
	if got, _ := contents(t, m, "f"); got[:3] != "old" {
		t.Errorf("after EvictCache: %.3q, want %q", got, "old")
	}
	write(t, f, 0, "xyz")
	check(t, f.SyncData())
	if got, _ := contents(t, m.Crash(vfs.CrashOptions{}), "f"); got[:3] != "xyz" {
		t.Errorf("written again and synced: %.3q, want %q", got, "xyz")
	}
}

// What a dropped truncation cut does not come back when the file grows again.
func TestFailedSyncDropsTruncation(t *testing.T) {
	m := vfs.NewMem()
	f := must[vfs.File](t)(m.Create("f"))
	write(t, f, 0, string(bytes.Repeat([]byte("o"), 1024)))
	check(t, f.Sync())
	check(t, m.SyncDir("/"))
	check(t, f.Truncate(0))
	m.SetHook(on(vfs.OpSync, vfs.Fault{Err: errIO}))
	wantError(t, "Sync", f.Sync(), errIO)
	m.SetHook(nil)
	check(t, f.Sync())
	check(t, f.Truncate(1024))
	check(t, f.Sync())
	wantContents(t, m.Crash(vfs.CrashOptions{}), "f", string(make([]byte, 1024)))
}

func TestFailedSyncStayDirty(t *testing.T) {
	m := vfs.NewMem()
	f := must[vfs.File](t)(m.Create("f"))
	check(t, m.SyncDir("/"))
	write(t, f, 0, "new")
	m.SetHook(on(vfs.OpSync, vfs.Fault{Err: errIO, StayDirty: true}))
	wantError(t, "Sync", f.Sync(), errIO)
	m.SetHook(nil)
	check(t, f.SyncData())
	wantContents(t, m.Crash(vfs.CrashOptions{}), "f", "new")
}

func TestFaults(t *testing.T) {
	big := string(bytes.Repeat([]byte("b"), 1000))
	setUp := func() (*vfs.Mem, vfs.File) {
		m := vfs.NewMem()
		f := must[vfs.File](t)(m.Create("f"))
		write(t, f, 0, big)
		check(t, f.Sync())
		check(t, m.SyncDir("/"))
		return m, f
	}
	t.Run("partial write", func(t *testing.T) {
		m, f := setUp()
		m.SetHook(on(vfs.OpWrite, vfs.Fault{Err: vfs.ErrNoSpace, Partial: 2}))
		n, err := f.WriteAt([]byte("XYZ"), 10)
		if n != 2 {
			t.Errorf("wrote %d, want 2", n)
		}
		wantError(t, "WriteAt", err, vfs.ErrNoSpace)
		m.SetHook(nil)
		wantContents(t, m, "f", big[:10]+"XY"+big[12:])
	})
	t.Run("lost write", func(t *testing.T) {
		m, f := setUp()
		m.SetHook(on(vfs.OpWrite, vfs.Fault{Lost: true}))
		write(t, f, 0, "X")
		wantContents(t, m, "f", big)
	})
	t.Run("misdirected write", func(t *testing.T) {
		m, f := setUp()
		m.SetHook(on(vfs.OpWrite, vfs.Fault{Misdirect: true, Offset: 512}))
		write(t, f, 0, "X")
		wantContents(t, m, "f", big[:512]+"X"+big[513:])
	})
	t.Run("lost sync", func(t *testing.T) {
		m, f := setUp()
		m.SetHook(on(vfs.OpSyncData, vfs.Fault{Lost: true}))
		write(t, f, 0, "X")
		check(t, f.SyncData())
		wantContents(t, m.Crash(vfs.CrashOptions{}), "f", big)
	})
	t.Run("lost directory sync", func(t *testing.T) {
		m, _ := setUp()
		m.SetHook(on(vfs.OpSyncDir, vfs.Fault{Lost: true}))
		check(t, m.Remove("f"))
		check(t, m.SyncDir("/"))
		wantContents(t, m.Crash(vfs.CrashOptions{}), "f", big)
	})
	t.Run("any call", func(t *testing.T) {
		m, f := setUp()
		m.SetHook(func(vfs.Op) vfs.Fault { return vfs.Fault{Err: errIO} })
		_, create := m.Create("g")
		_, open := m.Open("f")
		_, openRead := m.OpenRead("f")
		_, list := m.List("/")
		_, lock := m.Lock("LOCK")
		_, free := m.FreeBytes("/")
		_, size := f.Size()
		_, read := f.ReadAt(make([]byte, 1), 0)
		for what, err := range map[string]error{
			"Create": create, "Open": open, "OpenRead": openRead, "List": list, "Lock": lock, "FreeBytes": free, "Size": size, "ReadAt": read,
			"Rename": m.Rename("f", "g"), "Remove": m.Remove("f"), "MkdirAll": m.MkdirAll("d"), "SyncDir": m.SyncDir("/"),
			"Preallocate": f.Preallocate(5000), "Truncate": f.Truncate(0),
		} {
			wantError(t, what, err, errIO)
		}
		m.SetHook(nil)
		wantContents(t, m, "f", big)
		wantAbsent(t, m, "g")
	})
	t.Run("bit rot", func(t *testing.T) {
		m, f := setUp()
		check(t, m.Corrupt("f", 700, 0x01))
		wantContents(t, m, "f", big[:700]+"c"+big[701:])
		write(t, f, 0, "X")
		wantContents(t, m.Crash(vfs.CrashOptions{}), "f", big[:700]+"c"+big[701:])
	})
	t.Run("bit rot below an unsynced write", func(t *testing.T) {
		m, f := setUp()
		write(t, f, 0, "X")
		check(t, m.Corrupt("f", 1, 0x01))
		wantContents(t, m, "f", "Xc"+big[2:])
		wantContents(t, m.Crash(vfs.CrashOptions{}), "f", "bc"+big[2:])
	})
	t.Run("delay", func(t *testing.T) {
		m, f := setUp()
		var waited time.Duration
		m.SetWaiter(func(d time.Duration) { waited += d })
		m.SetHook(on(vfs.OpSyncData, vfs.Fault{Delay: time.Hour}))
		check(t, f.SyncData())
		if waited != time.Hour {
			t.Errorf("waited %v, want an hour", waited)
		}
	})
	t.Run("power lost while a call stalls", func(t *testing.T) {
		m, f := setUp()
		next := m
		m.SetHook(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpWrite {
				next = m.Crash(vfs.CrashOptions{})
			}
			return vfs.Fault{}
		})
		_, err := f.WriteAt([]byte("X"), 0)
		wantError(t, "WriteAt", err, vfs.ErrCrashed)
		wantContents(t, next, "f", big)
	})
}

func TestStopAt(t *testing.T) {
	run := func(m *vfs.Mem) error {
		f, err := m.Create("f")
		if err != nil {
			return err
		}
		if _, err := f.WriteAt([]byte("text"), 0); err != nil {
			return err
		}
		if _, err := f.Size(); err != nil {
			return err
		}
		return errors.Join(f.SyncData(), m.SyncDir("/"))
	}
	m := vfs.NewMem()
	check(t, run(m))
	if got := m.Changes(); got != 4 {
		t.Fatalf("Changes: %d, want 4 (create, write, sync, sync of the directory)", got)
	}
	for n := uint64(1); n <= 4; n++ {
		m := vfs.NewMem()
		m.StopAt(n)
		wantError(t, fmt.Sprint("stopped at ", n), run(m), vfs.ErrCrashed)
		_, err := m.List("/")
		wantError(t, "List", err, vfs.ErrCrashed)
		if got := uint64(len(m.Log())); got < n-1 || got > n {
			t.Errorf("stopped at %d: %d calls logged, those before it and a read at most", n, got)
		}
		after := m.CrashClone(vfs.CrashOptions{Data: vfs.KeepAll, Entries: vfs.KeepAll})
		got, ok := contents(t, after, "f")
		if ok != (n > 1) || n > 2 && got != "text" || n <= 2 && got != "" {
			t.Errorf("stopped at %d: file %q, there: %v", n, got, ok)
		}
	}
}

func TestCapacity(t *testing.T) {
	m := vfs.NewMem()
	m.SetCapacity(1000)
	a, b := must[vfs.File](t)(m.Create("a")), must[vfs.File](t)(m.Create("b"))
	check(t, a.Preallocate(600))
	wantError(t, "Preallocate", b.Preallocate(401), vfs.ErrNoSpace)
	n, err := b.WriteAt(make([]byte, 500), 0)
	wantError(t, "WriteAt", err, vfs.ErrNoSpace)
	if n != 400 {
		t.Errorf("wrote %d, want the 400 that fit", n)
	}
	write(t, a, 0, "within")
	if free := must[uint64](t)(m.FreeBytes("/")); free != 0 {
		t.Errorf("FreeBytes: %d, want 0", free)
	}
	check(t, m.Remove("b"))
	check(t, a.Truncate(100))
	if m.Used() != 100 {
		t.Errorf("Used: %d, want 100", m.Used())
	}
	check(t, a.Preallocate(1000))
	check(t, b.Truncate(5000)) // without a name it takes no space that is counted
	if m.Used() != 1000 {
		t.Errorf("Used: %d, want 1000", m.Used())
	}
	write(t, must[vfs.File](t)(m.Create("c")), 0, "")
	check(t, m.SyncDir("/"))
	check(t, a.Truncate(900))
	write(t, must[vfs.File](t)(m.Open("c")), 0, "replaced")
	if m.Used() != 908 {
		t.Errorf("Used: %d, want 908", m.Used())
	}
	check(t, m.Rename("a", "c"))
	if m.Used() != 900 {
		t.Errorf("Used after a rename over another: %d, want 900", m.Used())
	}
	check(t, a.Truncate(1000))
	check(t, a.Sync())
	back := m.CrashClone(vfs.CrashOptions{Data: vfs.KeepAll}) // with a, and c as it was
	if back.Used() != 1008 {
		t.Errorf("Used after a crash that lost the rename: %d, want 1008", back.Used())
	}
	back.SetCapacity(0)
	write(t, must[vfs.File](t)(back.Open("c")), 8, "more")
	if back.Used() != 1012 {
		t.Errorf("Used of a file that came back and grew: %d, want 1012", back.Used())
	}
	if m = m.Crash(vfs.CrashOptions{Entries: vfs.KeepAll, Data: vfs.KeepAll}); m.Used() != 1000 {
		t.Errorf("Used after a crash: %d, want 1000", m.Used())
	}
}

func TestRefuseRemoveOpen(t *testing.T) {
	m := vfs.NewMem()
	m.RefuseRemoveOpen(true)
	f := must[vfs.File](t)(m.Create("f"))
	if m.Remove("f") == nil || m.Rename("f", "g") == nil {
		t.Error("an open file was removed or renamed")
	}
	check(t, f.Close())
	check(t, m.Rename("f", "g"))
	check(t, m.Remove("g"))
}

// What a simulator does most: small appends to a preallocated log, each synced.
func BenchmarkMemAppend(b *testing.B) {
	for _, size := range []int{128, 4096} {
		b.Run(fmt.Sprint("bytes=", size), func(b *testing.B) {
			m := vfs.NewMem()
			f, err := m.Create("f")
			if err != nil {
				b.Fatal(err)
			}
			const segment = 4 << 20
			if err := f.Preallocate(segment); err != nil {
				b.Fatal(err)
			}
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if _, err := f.WriteAt(p, off); err != nil {
					b.Fatal(err)
				}
				if err := f.SyncData(); err != nil {
					b.Fatal(err)
				}
				off = (off + int64(size)) % (segment - 4096)
			}
		})
	}
}

func BenchmarkMemCrash(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		m := vfs.NewMem()
		f, _ := m.Create("f")
		_ = f.Preallocate(64 << 20)
		for i := range 50 {
			_, _ = f.WriteAt(make([]byte, 200), int64(i)*200)
			_ = f.SyncData()
		}
		_ = m.SyncDir("/")
		_, _ = f.WriteAt(make([]byte, 200), 0)
		m.Crash(vfs.CrashOptions{})
	}
}
