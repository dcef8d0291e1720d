package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quorate/quorate/vfs"
)

const sectorBytes = 512

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, f vfs.File, off int64, text string) {
	t.Helper()
	if _, err := f.WriteAt([]byte(text), off); err != nil {
		t.Fatal(err)
	}
}

// contents gives a file's bytes, and whether there is such a file.
func contents(t *testing.T, m *vfs.Mem, name string) (string, bool) {
	t.Helper()
	f, err := m.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	check(t, err)
	p := make([]byte, must[int64](t)(f.Size()))
	if _, err := f.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	check(t, f.Close())
	return string(p), true
}

func wantContents(t *testing.T, m *vfs.Mem, name, want string) {
	t.Helper()
	got, ok := contents(t, m, name)
	if !ok || got != want {
		t.Errorf("%s: got %.40q (there: %v), want %.40q", name, got, ok, want)
	}
}

func wantAbsent(t *testing.T, m *vfs.Mem, name string) {
	t.Helper()
	if got, ok := contents(t, m, name); ok {
		t.Errorf("%s: is there with %.40q, want no file", name, got)
	}
}

// history is a file written at random beside what a crash may leave of it: the
// dumb twin of Mem, which keeps whole copies.
type history struct {
	f      vfs.File
	synced []byte   // contents at the last sync
	states [][]byte // contents after each call since
}

func (h *history) now() []byte {
	if len(h.states) > 0 {
		return h.states[len(h.states)-1]
	}
	return h.synced
}

// step does one call of any kind.
func (h *history) step(t *testing.T, rng *rand.Rand) {
	t.Helper()
	now := slices.Clone(h.now())
	switch rng.IntN(10) {
	case 0:
		check(t, h.f.SyncData())
		h.synced, h.states = now, nil
		return
	case 1:
		size := rng.IntN(6 * sectorBytes)
		check(t, h.f.Truncate(int64(size)))
		now = append(now, make([]byte, max(0, size-len(now)))...)[:size]
	case 2:
		size := rng.IntN(6 * sectorBytes)
		check(t, h.f.Preallocate(int64(size)))
		now = append(now, make([]byte, max(0, size-len(now)))...)
	default:
		off := rng.IntN(5 * sectorBytes)
		p := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, 1+rng.IntN(3*sectorBytes))
		if rng.IntN(2) == 0 { // whole sectors
			off -= off % sectorBytes
			p = p[:max(sectorBytes, len(p)-len(p)%sectorBytes)%(len(p)+1)]
		}
		if len(p) == 0 {
			return
		}
		write(t, h.f, int64(off), string(p))
		now = append(now, make([]byte, max(0, off+len(p)-len(now)))...)
		copy(now[off:], p)
	}
	h.states = append(h.states, now)
}

// sector gives a sector of a state, zeros where it has none.
func sectorOf(state []byte, i int) (s [sectorBytes]byte) {
	if i*sectorBytes < len(state) {
		copy(s[:], state[i*sectorBytes:])
	}
	return s
}

func (h *history) all() [][]byte { return append([][]byte{h.synced}, h.states...) }

// judge says what is wrong with what a crash left.
func (h *history) judge(keep vfs.Keep, got []byte) error {
	equals := func(state []byte) bool { return bytes.Equal(got, state) }
	switch keep {
	case vfs.KeepNone:
		if !equals(h.synced) {
			return errors.New("not what was synced")
		}
	case vfs.KeepAll:
		if !equals(h.now()) {
			return errors.New("not all that was written")
		}
	case vfs.KeepPrefix, vfs.KeepFilePrefix:
		// A moment, or between two: up to some sector as after, from it on as before.
		all := h.all()
		for i, before := range all {
			after := all[min(i+1, len(all)-1)]
			for cut := 0; cut <= len(got)+sectorBytes; cut += sectorBytes {
				mix := slices.Clone(before)
				mix = append(mix, make([]byte, max(0, min(cut, len(after))-len(mix)))...)
				copy(mix[:min(cut, len(mix))], after)
				if equals(before) || equals(after) || equals(mix) {
					return nil
				}
			}
		}
		return errors.New("no moment at which the file was like this")
	case vfs.KeepSectors:
		return h.eachSector(got, func(i int, s [sectorBytes]byte) bool {
			return slices.ContainsFunc(h.all(), func(state []byte) bool { return partEqual(s, sectorOf(state, i), len(got), i) }) ||
				partEqual(s, sectorOf(nil, i), len(got), i) || h.mixedWrites(s, i)
		})
	case vfs.KeepTorn:
		return h.eachSector(got, func(i int, s [sectorBytes]byte) bool { return h.eachByte(s, i) })
	default: // any of the others
		for i := range (len(got) + sectorBytes - 1) / sectorBytes {
			if !h.eachByte(sectorOf(got, i), i) {
				return fmt.Errorf("sector %d holds what was never written there", i)
			}
		}
	}
	return nil
}

// eachByte says whether every byte of a sector is zero or of some state.
func (h *history) eachByte(s [sectorBytes]byte, i int) bool {
	for at := range sectorBytes {
		if s[at] != 0 && !slices.ContainsFunc(h.all(), func(state []byte) bool { return sectorOf(state, i)[at] == s[at] }) {
			return false
		}
	}
	return true
}

// mixedWrites accepts a sector that holds later writes but not an earlier
// truncation, or the other way round: every byte is of some state.
func (h *history) mixedWrites(s [sectorBytes]byte, i int) bool {
	truncated := false
	for n, state := range h.all()[1:] {
		truncated = truncated || len(state) < len(h.all()[n])
	}
	return truncated && h.eachByte(s, i)
}

func partEqual(a, b [sectorBytes]byte, size, i int) bool {
	n := max(0, min(sectorBytes, size-i*sectorBytes))
	return bytes.Equal(a[:n], b[:n])
}

func (h *history) eachSector(got []byte, ok func(i int, s [sectorBytes]byte) bool) error {
	if !slices.ContainsFunc(h.all(), func(state []byte) bool { return len(state) == len(got) }) {
		return fmt.Errorf("size %d is none that the file had", len(got))
	}
	for i := range (len(got) + sectorBytes - 1) / sectorBytes {
		if !ok(i, sectorOf(got, i)) {
			return fmt.Errorf("sector %d holds what was never written there", i)
		}
	}
	return nil
}

// Reads, and what each kind of crash leaves, against a twin that copies the whole
// file at every call. PS-02 rests on it: nothing survives by accident.
func TestMemAgainstTwin(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := vfs.NewMem()
		h := &history{f: must[vfs.File](t)(m.Create("f"))}
		check(t, m.SyncDir("/"))
		for range 1 + rng.IntN(40) {
			h.step(t, rng)
			if got, _ := contents(t, m, "f"); got != string(h.now()) {
				t.Fatalf("seed %d: reads differ from what was written", seed)
			}
		}
		for _, keep := range vfs.Keeps() {
			after := m.CrashClone(vfs.CrashOptions{Data: keep, Rand: rng})
			got, ok := contents(t, after, "f")
			if !ok {
				t.Fatalf("seed %d, keep %v: the file is gone", seed, keep)
			}
			if err := h.judge(keep, []byte(got)); err != nil {
				t.Fatalf("seed %d, keep %v: %v", seed, keep, err)
			}
			// What is beyond the end is zeros, once the file reaches there.
			f := must[vfs.File](t)(after.CrashClone(vfs.CrashOptions{}).Open("f"))
			beyond := make([]byte, 8*sectorBytes)
			check(t, f.Truncate(int64(len(got)+len(beyond))))
			if _, err := f.ReadAt(beyond, int64(len(got))); err != nil || len(bytes.Trim(beyond, "\x00")) > 0 {
				t.Fatalf("seed %d, keep %v: old bytes show when the file grows (%v)", seed, keep, err)
			}
			again := after.CrashClone(vfs.CrashOptions{})
			if twice, _ := contents(t, again, "f"); twice != got {
				t.Fatalf("seed %d, keep %v: what a crash left was not durable", seed, keep)
			}
		}
		if got, _ := contents(t, m, "f"); got != string(h.now()) {
			t.Fatalf("seed %d: CrashClone changed the disk it was taken of", seed)
		}
	}
}

// Every mode must be able to lose something and to keep something, and the modes
// that tear must tear: a judge that sees only whole states would prove nothing.
func TestCrashReachesEachOutcome(t *testing.T) {
	before, after := string(bytes.Repeat([]byte("o"), 2*sectorBytes)), string(bytes.Repeat([]byte("n"), 2*sectorBytes))
	outcome := func(m *vfs.Mem, keep vfs.Keep, rng *rand.Rand) string {
		got, _ := contents(t, m.CrashClone(vfs.CrashOptions{Data: keep, Rand: rng}), "f")
		whole := got[:sectorBytes] == before[:sectorBytes] || got[:sectorBytes] == after[:sectorBytes]
		switch {
		case got == before:
			return "old"
		case got == after:
			return "new"
		case !whole:
			return "torn sector"
		case got[0] == 'n' && got[sectorBytes] == 'o':
			return "first sector"
		case got[0] == 'o' && got[sectorBytes] == 'n':
			return "second sector"
		}
		return "other"
	}
	for keep, want := range map[vfs.Keep][]string{
		vfs.KeepNone:       {"old"},
		vfs.KeepAll:        {"new"},
		vfs.KeepPrefix:     {"first sector", "new", "old"},
		vfs.KeepFilePrefix: {"first sector", "new", "old"},
		vfs.KeepSectors:    {"first sector", "new", "old", "second sector"},
		vfs.KeepMixed:      {"first sector", "new", "old", "other", "second sector", "torn sector"},
		vfs.KeepTorn:       {"first sector", "new", "old", "other", "second sector", "torn sector"},
	} {
		m := vfs.NewMem()
		f := must[vfs.File](t)(m.Create("f"))
		write(t, f, 0, before)
		check(t, f.Sync())
		check(t, m.SyncDir("/"))
		write(t, f, 0, after)
		rng := rand.New(rand.NewPCG(7, uint64(keep)))
		got := map[string]bool{}
		for range 500 {
			got[outcome(m, keep, rng)] = true
		}
		for _, o := range want {
			if !got[o] {
				t.Errorf("keep %v: never %q", keep, o)
			}
			delete(got, o)
		}
		for o := range got {
			t.Errorf("keep %v: %q", keep, o)
		}
	}
}

// PS-04: a name is durable by SyncDir and not by syncing the file.
func TestCrashEntries(t *testing.T) {
	setUp := func() *vfs.Mem {
		m := vfs.NewMem()
		check(t, m.MkdirAll("d"))
		for _, name := range []string{"d/kept", "d/removed", "d/target"} {
			f := must[vfs.File](t)(m.Create(name))
			write(t, f, 0, name)
			check(t, f.Sync())
		}
		check(t, m.SyncDir("d"))
		f := must[vfs.File](t)(m.Create("d/new"))
		write(t, f, 0, "d/new")
		check(t, f.Sync())
		check(t, m.Rename("d/new", "d/target"))
		check(t, m.Remove("d/removed"))
		return m
	}
	t.Run("none", func(t *testing.T) {
		m := setUp().Crash(vfs.CrashOptions{Data: vfs.KeepAll})
		wantContents(t, m, "d/kept", "d/kept")
		wantContents(t, m, "d/removed", "d/removed")
		wantContents(t, m, "d/target", "d/target")
		wantAbsent(t, m, "d/new")
	})
	synced := func(t *testing.T, m *vfs.Mem) {
		wantContents(t, m, "d/kept", "d/kept")
		wantContents(t, m, "d/target", "d/new")
		wantAbsent(t, m, "d/removed")
		wantAbsent(t, m, "d/new")
	}
	t.Run("all", func(t *testing.T) {
		synced(t, setUp().Crash(vfs.CrashOptions{Entries: vfs.KeepAll}))
	})
	t.Run("synced", func(t *testing.T) {
		m := setUp()
		check(t, m.SyncDir("d"))
		synced(t, m.Crash(vfs.CrashOptions{}))
	})
	for _, keep := range []vfs.Keep{vfs.KeepPrefix, vfs.KeepFilePrefix, vfs.KeepSectors} {
		t.Run(keep.String(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			seen := map[string]bool{}
			for range 300 {
				m := setUp().Crash(vfs.CrashOptions{Entries: keep, Rand: rng})
				wantContents(t, m, "d/kept", "d/kept")
				names := must[[]string](t)(m.List("d"))
				target, ok := contents(t, m, "d/target")
				if !ok || target != "d/target" && target != "d/new" {
					t.Fatalf("target holds %q: a rename is atomic", target)
				}
				if fresh, ok := contents(t, m, "d/new"); ok && (fresh != "d/new" || target == "d/new") {
					t.Fatalf("new holds %q while target holds %q: a file has one name", fresh, target)
				}
				seen[fmt.Sprint(names, target)] = true
			}
			// Prefixes of create, rename, remove are 4; subsets are 6 (the create
			// shows only without the rename).
			if want := map[vfs.Keep]int{vfs.KeepSectors: 6}[keep]; len(seen) != max(want, 4) {
				t.Errorf("%d outcomes, want %d: %v", len(seen), max(want, 4), seen)
			}
		})
	}
}

// A file has one name, whichever of its renames are kept.
func TestCrashRenameTwice(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	seen := map[string]bool{}
	for range 200 {
		m := vfs.NewMem()
		must[vfs.File](t)(m.Create("a"))
		check(t, m.SyncDir("/"))
		check(t, m.Rename("a", "b"))
		check(t, m.Rename("b", "c"))
		names := must[[]string](t)(m.Crash(vfs.CrashOptions{Entries: vfs.KeepSectors, Rand: rng}).List("/"))
		if len(names) != 1 {
			t.Fatalf("names %q, want one", names)
		}
		seen[names[0]] = true
	}
	if len(seen) != 3 {
		t.Errorf("names seen: %v, want a, b and c", seen)
	}
}

// What is written after a truncation goes to other places on disk: if the
// truncation is lost the old bytes are all there, if not none of them is.
func TestCrashTruncateThenWrite(t *testing.T) {
	m := vfs.NewMem()
	f := must[vfs.File](t)(m.Create("f"))
	write(t, f, 0, string(bytes.Repeat([]byte("o"), 3*sectorBytes)))
	check(t, f.Sync())
	check(t, m.SyncDir("/"))
	check(t, f.Truncate(0))
	write(t, f, 100, "n")
	write(t, f, sectorBytes+100, "n")
	for _, keep := range vfs.Keeps() {
		rng := rand.New(rand.NewPCG(6, uint64(keep)))
		for range 300 {
			got, _ := contents(t, m.CrashClone(vfs.CrashOptions{Data: keep, Rand: rng}), "f")
			old := bytes.Count([]byte(got), []byte("o"))
			if old != 0 && (old != 3*sectorBytes || len(got) != old) {
				t.Fatalf("keep %v: %d old bytes of %d", keep, old, len(got))
			}
		}
	}
}

// The clone and the disk it was taken of share nothing.
func TestCrashCloneIsApart(t *testing.T) {
	m := vfs.NewMem()
	f := must[vfs.File](t)(m.Create("f"))
	before, after := string(bytes.Repeat([]byte("o"), sectorBytes)), string(bytes.Repeat([]byte("n"), sectorBytes))
	write(t, f, 0, before)
	check(t, f.Sync())
	check(t, m.SyncDir("/"))
	write(t, f, 0, after)
	for _, keep := range vfs.Keeps()[:2] {
		clone := m.CrashClone(vfs.CrashOptions{Data: keep})
		check(t, clone.Corrupt("f", 0, 0xff))
		g := must[vfs.File](t)(clone.Open("f"))
		write(t, g, 1, "zz")
		check(t, g.Sync())
	}
	wantContents(t, m, "f", after)
	wantContents(t, m.Crash(vfs.CrashOptions{}), "f", before)
}

// A file whose name is durable and whose contents are not is empty (KeepNone):
// rename before sync loses, as on a real disk.
func TestCrashRenameBeforeSync(t *testing.T) {
	m := vfs.NewMem()
	f := must[vfs.File](t)(m.Create("tmp"))
	write(t, f, 0, "text")
	check(t, m.Rename("tmp", "final"))
	check(t, m.SyncDir("/"))
	wantContents(t, m.Crash(vfs.CrashOptions{}), "final", "")
}

// One moment for the whole disk: what was written later is never there without
// what was written before, in whatever files.
func TestCrashPrefixIsOneMoment(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	m := vfs.NewMem()
	var files []vfs.File
	for i := range 5 {
		f := must[vfs.File](t)(m.Create(fmt.Sprint("f", i)))
		check(t, f.Truncate(100))
		check(t, f.Sync())
		files = append(files, f)
	}
	check(t, m.SyncDir("/"))
	for i := range 100 {
		write(t, files[i%5], int64(i), "x")
	}
	counts := map[int]bool{}
	for range 1000 {
		after := m.CrashClone(vfs.CrashOptions{Data: vfs.KeepPrefix, Rand: rng})
		n := 0
		for i := range 100 {
			text, _ := contents(t, after, fmt.Sprint("f", i%5))
			switch {
			case text[i] == 'x' && n == i:
				n++
			case text[i] == 'x':
				t.Fatalf("write %d is there and write %d is not", i, n)
			}
		}
		counts[n] = true
	}
	if !counts[0] || !counts[100] || len(counts) < 90 {
		t.Errorf("of 101 moments %d were seen (first: %v, last: %v)", len(counts), counts[0], counts[100])
	}
}

func TestCrashPerFile(t *testing.T) {
	m := vfs.NewMem()
	for _, name := range []string{"a", "b"} {
		write(t, must[vfs.File](t)(m.Create(name)), 0, name)
	}
	check(t, m.SyncDir("/"))
	m = m.Crash(vfs.CrashOptions{PerFile: func(name string) vfs.Keep {
		if name == "a" {
			return vfs.KeepAll
		}
		return vfs.KeepNone
	}})
	wantContents(t, m, "a", "a")
	wantContents(t, m, "b", "")
}

// The same calls and draws leave the same disk.
func TestCrashIsDeterministic(t *testing.T) {
	run := func() string {
		rng := rand.New(rand.NewPCG(11, 11))
		m := vfs.NewMem()
		var files []vfs.File
		for i := range 6 {
			files = append(files, must[vfs.File](t)(m.Create(fmt.Sprint("f", i))))
		}
		check(t, m.SyncDir("/"))
		for range 200 {
			write(t, files[rng.IntN(6)], rng.Int64N(3000), string(bytes.Repeat([]byte{byte(rng.Uint32())}, 700)))
		}
		m = m.Crash(vfs.CrashOptions{Data: vfs.KeepMixed, Entries: vfs.KeepMixed, Rand: rng})
		var all string
		for _, name := range must[[]string](t)(m.List("/")) {
			text, _ := contents(t, m, name)
			all += name + text
		}
		return all
	}
	first := run()
	for range 20 {
		if run() != first {
			t.Fatal("two runs differ")
		}
	}
}

func TestCrashKillsHandlesAndLocks(t *testing.T) {
	m := vfs.NewMem()
	f := must[vfs.File](t)(m.Create("f"))
	check(t, m.SyncDir("/"))
	l := must[vfs.Unlocker](t)(m.Lock("LOCK"))
	next := m.Crash(vfs.CrashOptions{})
	_, err := f.WriteAt([]byte("x"), 0)
	for what, err := range map[string]error{
		"WriteAt": err, "SyncData": f.SyncData(), "Truncate": f.Truncate(1), "Rename": m.Rename("f", "g"), "MkdirAll": m.MkdirAll("d"),
	} {
		if !errors.Is(err, vfs.ErrCrashed) {
			t.Errorf("%s after the crash: %v, want ErrCrashed", what, err)
		}
	}
	check(t, f.Close())
	check(t, l.Unlock())
	must[vfs.Unlocker](t)(next.Lock("LOCK"))
	wantContents(t, next, "f", "")
}
