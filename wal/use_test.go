package wal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the fixtures in testdata")

// PS-07: an error of a write or a sync is final. Nothing is tried again, though a
// second sync might succeed.
func TestErrorIsFinal(t *testing.T) {
	broken := errors.New("broken")
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSyncData} {
		for nth := range 2 {
			disk := vfs.NewMem()
			w := mustOpen(t, testOptions(disk))
			ms := models{}
			c := chain{group: 1}
			write(t, w, ms, c.next(2, 100))
			calls, seen := 0, 0
			disk.SetHook(func(op vfs.Op) vfs.Fault {
				calls++
				if op.Kind == kind {
					if seen++; seen == nth+1 || kind == vfs.OpSyncData && nth > 0 {
						return vfs.Fault{Err: broken}
					}
				}
				return vfs.Fault{}
			})
			err := w.Write([]Update{c.next(1, 100)})
			if err == nil {
				err = w.Sync()
			}
			if !errors.Is(err, broken) {
				t.Fatalf("%v: %v", kind, err)
			}
			calls = 0
			_, maintain := w.Maintain(1 << 20)
			_, _, read := w.Read(1, 1, 1, 1, nil)
			for _, err := range []error{w.Write([]Update{c.next(1, 1)}), w.Sync(), w.Prepare(), maintain, read, w.CutTail(1)} {
				if !errors.Is(err, broken) {
					t.Fatalf("%v: later: %v", kind, err)
				}
			}
			if calls != 0 {
				t.Fatalf("%v: %d calls after the failure", kind, calls)
			}
			// The disk is asked again by the next incarnation only.
			disk.SetHook(nil)
			disk = disk.Crash(vfs.CrashOptions{})
			if d := ms.diff(mustOpen(t, testOptions(disk))); d != "" {
				t.Fatal(d)
			}
		}
	}
}

// A full disk while a segment is made is no failure of the log.
func TestNoSpaceIsNotFinal(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	ms := models{}
	c := chain{group: 1}
	disk.SetCapacity(disk.Used())
	for {
		before := c
		u := c.next(3, 500)
		err := w.Write([]Update{u})
		if err == nil {
			ms.apply(&u)
			if err := w.Sync(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !errors.Is(err, vfs.ErrNoSpace) {
			t.Fatal(err)
		}
		if err := w.Prepare(); !errors.Is(err, vfs.ErrNoSpace) {
			t.Fatal(err)
		}
		disk.SetCapacity(0)
		c = before
		break
	}
	for range 30 {
		write(t, w, ms, c.next(3, 500))
	}
	if d := ms.diff(w); d != "" {
		t.Fatal(d)
	}
	disk = disk.Crash(vfs.CrashOptions{})
	if d := ms.diff(mustOpen(t, testOptions(disk))); d != "" {
		t.Fatal(d)
	}
}

// PS-10: another cluster's, node's or incarnation's directory is refused.
func TestIdentity(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	if _, err := Open(testOptions(disk)); !errors.Is(err, vfs.ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(id *Identity){
		"cluster":     func(id *Identity) { id.Cluster[15]++ },
		"node":        func(id *Identity) { id.Node++ },
		"incarnation": func(id *Identity) { id.Incarnation++ },
	} {
		o := testOptions(disk)
		change(&o.Identity)
		if _, err := Open(o); !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), testIdentity.String()) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if err := mustOpen(t, testOptions(disk)).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, size := range []int64{-1, 512, 4097, segmentSizeMax + sectorSize} {
		o := testOptions(vfs.NewMem())
		o.SegmentSizeBytes = size
		if _, err := Open(o); err == nil {
			t.Errorf("SegmentSizeBytes %d was accepted", size)
		}
	}
}

// An update that contradicts the log is refused and changes nothing.
func TestInvalidUpdates(t *testing.T) {
	w := mustOpen(t, testOptions(vfs.NewMem()))
	ms := models{}
	c := chain{group: 1}
	write(t, w, ms, c.next(5, 10))
	good := c
	next := good.next(1, 10)
	b := next.Entries[0]
	old, _ := (&entry.Entry{Term: 2, Index: 6, Kind: entry.Command}).AppendTo(nil)
	falling, _ := (&entry.Entry{Term: 1, Index: 7, Kind: entry.Command}).AppendTo(bytes.Clone(old))
	snapshot := raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: 3}}
	for name, u := range map[string]Update{
		"gap":                     {Group: 1, First: 7, Last: 7, Entries: [][]byte{b}},
		"other index":             {Group: 1, First: 5, Last: 5, Entries: [][]byte{b}},
		"entries missing":         {Group: 1, First: 6, Last: 7, Entries: [][]byte{b}},
		"entries without a place": {Group: 1, Entries: [][]byte{b}},
		"half an entry":           {Group: 1, First: 6, Last: 6, Entries: [][]byte{b[:len(b)-1]}},
		"term falls":              {Group: 1, First: 6, Last: 7, Entries: [][]byte{falling}},
		"compacted too far":       {Group: 1, Compact: 7, Reset: raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: 6}}},
		"snapshot does not reach": {Group: 1, Compact: 5, Reset: snapshot},
		"reset to nothing":        {Group: 1, ResetLog: true},
		"configuration": {Group: 1, ResetLog: true, Reset: raft.SnapshotMeta{
			ID:            raft.EntryID{Term: 1, Index: 3},
			Configuration: raft.ConfigurationEntry{Configuration: raft.Configuration{Members: []raft.Member{{}}}},
		}},
	} {
		// The first update of the batch is good: neither of the two takes effect.
		if err := w.Write([]Update{{Group: 2, HardStateChanged: true}, u}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if d := ms.diff(w); d != "" {
			t.Fatalf("%s: %s", name, d)
		}
	}
	write(t, w, ms, next)
	if d := ms.diff(w); d != "" {
		t.Fatal(d)
	}
}

// SN-13: reads cope with what is below the first index and behind the last.
func TestRead(t *testing.T) {
	w := mustOpen(t, testOptions(vfs.NewMem()))
	ms := models{}
	c := chain{group: 1}
	for range 5 {
		write(t, w, ms, c.next(4, 100))
	}
	write(t, w, ms, Update{Group: 1, Compact: 6, Reset: raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: 7}}})
	one := entry.Size(100)
	for _, tt := range []struct {
		first, last raft.Index
		maxBytes    int
		end         raft.Index
		err         error
	}{
		{6, 20, 1 << 20, 20, nil},
		{6, 20, 0, 6, nil},
		{7, 20, one, 7, nil},
		{7, 20, 2*one - 1, 7, nil},
		{7, 20, 3 * one, 9, nil},
		{8, 8, 1 << 20, 8, nil},
		{20, 99, 1 << 20, 20, nil},
		{5, 20, 1 << 20, 0, ErrCompacted},
		{0, 20, 1 << 20, 0, ErrCompacted},
		{21, 25, 1 << 20, 0, ErrRange},
		{9, 8, 1 << 20, 0, ErrRange},
	} {
		got, end, err := w.Read(1, tt.first, tt.last, tt.maxBytes, []byte("before"))
		if !errors.Is(err, tt.err) || end != tt.end {
			t.Errorf("[%d, %d] in %d bytes: to %d, %v; want %d, %v", tt.first, tt.last, tt.maxBytes, end, err, tt.end, tt.err)
			continue
		}
		want := []byte("before")
		for i := tt.first; err == nil && i <= end; i++ {
			want = append(want, ms[1].entries[i-6]...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("[%d, %d]: got other bytes than were written", tt.first, tt.last)
		}
	}
	if _, _, err := w.Read(9, 1, 1, 1, nil); !errors.Is(err, ErrRange) {
		t.Errorf("unknown group: %v", err)
	}
}

// Readers and Prepare run beside the owner; under the race detector this shows
// that they may. A reader never gets an entry that was truncated before.
func TestConcurrentReaders(t *testing.T) {
	w := mustOpen(t, testOptions(vfs.NewMem()))
	write(t, w, nil, (&chain{group: 1}).next(50, 100))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			var buf []byte
			for {
				select {
				case <-done:
					return
				default:
				}
				s, _ := w.Group(1)
				b, last, err := w.Read(1, s.First, s.Last, 4000, buf[:0])
				switch {
				case errors.Is(err, ErrCompacted) || errors.Is(err, ErrRange):
				case err != nil:
					t.Errorf("read from %d: %v", s.First, err)
					return
				case last < s.First || len(b) == 0:
					t.Errorf("read from %d to %d", s.First, last)
					return
				}
				buf = b
				w.Stats()
			}
		})
	}
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if w.NeedsPrepare() {
				if err := w.Prepare(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	s, _ := w.Group(1)
	c := chain{group: 1, last: s.Last, sum: s.LastChecksum}
	for i := range 150 {
		write(t, w, nil, c.next(5, 150))
		if i%3 == 0 {
			s, _ := w.Group(1)
			at := s.Last - 20
			write(t, w, nil, Update{Group: 1, Compact: at + 1, Reset: raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: at}}})
		}
		if _, err := w.Maintain(4000); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
}

// One fdatasync per batch, two only where a batch crosses into a new segment
// (PS-11).
func TestSyncsPerBatch(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	syncs := 0
	disk.SetHook(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpSyncData {
			syncs++
		}
		return vfs.Fault{}
	})
	c := chain{group: 1}
	const batches = 100
	for range batches {
		write(t, w, nil, c.next(3, 200))
	}
	if s := w.Stats(); syncs != batches || s.Syncs != batches || s.Batches != batches || s.Segments < 5 {
		t.Fatalf("%d syncs, %+v", syncs, s)
	}
	// Several writes before one sync, over a segment's end; the first round only
	// ends where a segment begins.
	for range 2 {
		syncs = 0
		crossed := len(w.segments)
		for len(w.segments) == crossed {
			if err := w.Write([]Update{c.next(1, 500)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if syncs != 2 {
		t.Fatalf("%d syncs for two segments", syncs)
	}
}

// One hot group and 999 cold ones: the disk is bounded, and the cold groups'
// entries and states survive being carried along.
func TestDiskIsBounded(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(disk)
	o.SegmentSizeBytes = 256 << 10
	w := mustOpen(t, o)
	ms := models{}
	const cold = 999
	for id := raft.GroupID(2); id < 2+cold; id++ {
		u := (&chain{group: id}).next(2, 100)
		u.HardState, u.HardStateChanged = raft.HardState{CurrentTerm: 1, VotedFor: 1}, true
		write(t, w, ms, u)
	}
	hot := chain{group: 1}
	highest := Stats{}
	const rounds = 8000
	for i := range rounds {
		write(t, w, ms, hot.next(20, 128))
		if i%50 == 49 {
			at := hot.last - 100
			write(t, w, ms, Update{Group: 1, Compact: at + 1, Reset: raft.SnapshotMeta{ID: raft.EntryID{Term: 1, Index: at}}})
		}
		for n := 0; ; n++ {
			more, err := w.Maintain(64 << 10)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Sync(); err != nil {
				t.Fatal(err)
			}
			if !more || n > 100 {
				break
			}
		}
		if s := w.Stats(); s.Bytes > highest.Bytes {
			highest = s
		}
	}
	s := w.Stats()
	t.Logf("%d cold groups; wrote %.1f MiB, of it copied forward %.1f MiB of entries", cold, mib(s.BytesWritten), mib(s.CopiedBytes))
	t.Logf("live %.2f MiB; most on disk %.2f MiB in %d segments", mib(uint64(s.LiveBytes)), mib(uint64(highest.Bytes)), highest.Segments)
	live := s.LiveBytes + stateBytes*(cold+1)
	limit := max(segmentsKept*o.SegmentSizeBytes, liveFactor*live) + (freeMax+3)*o.SegmentSizeBytes
	if highest.Bytes > limit {
		t.Errorf("%d bytes on disk, want at most %d", highest.Bytes, limit)
	}
	if s.CopiedBytes == 0 || s.BytesWritten < 8*uint64(limit) {
		t.Errorf("the test does not show anything: %+v, limit %d", s, limit)
	}
	disk = disk.Crash(vfs.CrashOptions{})
	o.FS = disk
	w = mustOpen(t, o)
	if d := ms.diff(w); d != "" {
		t.Fatal(d)
	}
}

func mib(n uint64) float64 { return float64(n) / (1 << 20) }

// The directory of the first release. It must open for ever.
func TestFixture(t *testing.T) {
	const dir = "testdata/wal-v1"
	disk := vfs.NewMem()
	o := testOptions(disk)
	o.SegmentSizeBytes = 8 << 10
	w := mustOpen(t, o)
	ms := models{}
	s := newScript(42)
	s.payloadMax = 100
	for range 40 {
		if err := w.Write(s.batch(ms)); err != nil {
			t.Fatal(err)
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Maintain(1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := disk.List("wal")
	if err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		rewriteFixture(t, disk, names, dir)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	old := vfs.NewMem()
	if err := old.MkdirAll("wal"); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(path.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, readFile(t, disk, path.Join("wal", file.Name()))) {
			t.Errorf("%s is written differently now", file.Name())
		}
		f, err := old.Create(path.Join("wal", file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	report, err := Verify(old, "wal")
	if err != nil || len(report.Damages) > 0 || report.Cut != 0 || len(report.Groups) != len(ms) {
		t.Fatalf("Verify: %+v, %v", report, err)
	}
	o.FS = old
	w = mustOpen(t, o)
	if d := ms.diff(w); d != "" {
		t.Fatal(d)
	}
	recycled := false
	for _, seg := range w.segments {
		recycled = recycled || !seg.header.Fresh
	}
	if !recycled || len(w.segments) < 2 {
		t.Error("the fixture has no recycled segment, or only one")
	}
}

func rewriteFixture(t *testing.T, disk *vfs.Mem, names []string, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffixSegment) {
			continue
		}
		if err := os.WriteFile(path.Join(dir, name), readFile(t, disk, path.Join("wal", name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t *testing.T, disk *vfs.Mem, name string) []byte {
	t.Helper()
	f, err := disk.OpenRead(name)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size(t, disk, name))
	if err := errors.Join(readFull(f, b, 0), f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// Verify and Dump change nothing and see what Open sees.
func TestVerifyAndDump(t *testing.T) {
	disk := vfs.NewMem()
	w := mustOpen(t, testOptions(disk))
	c := chain{group: 5}
	file, dataAt, _, _, _ := place(w, func() { write(t, w, nil, c.next(3, 100)) })
	write(t, w, nil, c.next(1, 100))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	calls := disk.Changes()
	if r, err := Verify(disk, "wal"); err != nil || len(r.Groups) != 1 || len(r.Groups[0].Faults) > 0 || r.Identity != testIdentity || r.Last != 2 || r.Cut != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := disk.Corrupt(file, dataAt+300, 1); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(disk, "wal"); err != nil || len(r.Groups[0].Faults) != 1 || len(r.Damages) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	var out strings.Builder
	if err := Dump(disk, "wal", &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{testIdentity.String(), "batch 1", "batch 2", "data ok false", "group 5 update", "fault: " + path.Base(file)} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if disk.Changes() != calls {
		t.Errorf("%d calls changed the disk", disk.Changes()-calls)
	}
}

func BenchmarkWriteSync(b *testing.B) {
	for _, entries := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("payload=128/batch=%d", entries), func(b *testing.B) {
			w, err := Open(Options{FS: vfs.OS(), Dir: b.TempDir(), Identity: testIdentity})
			if err != nil {
				b.Fatal(err)
			}
			c := chain{group: 1}
			b.SetBytes(int64(entries * entry.Size(128)))
			b.ReportAllocs()
			for b.Loop() {
				u := c.next(entries, 128)
				if err := w.Write([]Update{u}); err != nil {
					b.Fatal(err)
				}
				if err := w.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			s := w.Stats()
			b.ReportMetric(float64(s.BytesWritten)/float64(s.Batches), "disk-B/op")
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
