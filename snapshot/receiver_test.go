package snapshot

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// sender makes a snapshot on another node of the cluster and gives its file.
func sender(t testing.TB, index raft.Index, id uint64, n int) (Info, []byte) {
	t.Helper()
	s, err := Open(Options{
		FS: vfs.NewMem(), Dir: "sender", ChunkBytes: 100,
		Identity: Identity{Cluster: self.Cluster, Node: 1, Incarnation: 11},
	})
	check(t, err)
	info := mustTake(t, s, index, id, state(n))
	return info, raw(t, s, info)
}

func receive(t testing.TB, s *Store, info Info) *Receiver {
	t.Helper()
	r, err := s.Receive(info.Group, info.Meta, info.ID, info.Size)
	check(t, err)
	return r
}

func wantOffset(t testing.TB, r *Receiver, want uint64) {
	t.Helper()
	if got := r.Offset(); got != want {
		t.Fatalf("Offset: %d, want %d", got, want)
	}
}

// The received file keeps the sender's bytes, whatever pieces they came in.
func TestReceive(t *testing.T) {
	info, file := sender(t, 10, 1, 1000)
	for _, piece := range []int{1, 7, 99, 112, 113, 500, len(file)} {
		mem := vfs.NewMem()
		s := open(t, mem, "d")
		r := receive(t, s, info)
		wantOffset(t, r, 0)
		for off := 0; off < len(file); off += piece {
			_, err := r.Commit()
			wantError(t, "Commit before the end", err, ErrTruncated)
			_, err = r.Write(file[off:min(len(file), off+piece)])
			check(t, err)
			wantOffset(t, r, uint64(min(len(file), off+piece)))
		}
		got, err := r.Commit()
		check(t, err)
		if !reflect.DeepEqual(got, info) {
			t.Errorf("committed %+v, want %+v", got, info)
		}
		_, err = r.Commit()
		wantError(t, "Commit after Commit", err, ErrEnded)
		check(t, r.Abort())
		check(t, r.Discard())
		s = open(t, mem.Crash(vfs.CrashOptions{}), "d")
		wantState(t, s, info, state(1000))
		if string(raw(t, s, info)) != string(file) {
			t.Error("the file differs from the sender's")
		}
		// Offered again (its final answer was lost): nothing is to be sent.
		r = receive(t, s, info)
		wantOffset(t, r, info.Size)
		if stored, err := r.WriteChunk(0, file[:50]); stored != info.Size || err != nil {
			t.Errorf("a late duplicate: %d, %v", stored, err)
		}
		if got, err := r.Commit(); err != nil || got.ID != info.ID {
			t.Errorf("Commit of what is here: %v, %v", got, err)
		}
	}
}

// SN-06: duplicates are ignored and a gap is answered with what is stored, so a
// sender that follows the answers ends with the whole, over any network.
func TestReceiveChunksInAnyOrder(t *testing.T) {
	info, file := sender(t, 10, 1, 3000)
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 6))
		s := open(t, vfs.NewMem(), "d")
		r := receive(t, s, info)
		for stored := uint64(0); stored < info.Size; {
			off := rng.Uint64N(info.Size)
			if rng.IntN(3) == 0 {
				off = stored
			}
			end := min(info.Size, off+1+rng.Uint64N(700))
			after, err := r.WriteChunk(off, file[off:end])
			check(t, err)
			want := stored
			if off <= stored && end > stored {
				want = end
			}
			if after != want {
				t.Fatalf("seed %d: stored %d, then [%d, %d): stored %d, want %d", seed, stored, off, end, after, want)
			}
			stored = after
		}
		_, err := r.Commit()
		check(t, err)
		wantState(t, s, info, state(3000))
	}
}

// A cut transfer goes on where it stopped, by Abort and by a crash of the receiver
// in every way, and never ends with other bytes than the sender's.
func TestReceiveResumes(t *testing.T) {
	info, file := sender(t, 10, 1, 2000)
	for _, keep := range vfs.Keeps() {
		for seed := range uint64(60) {
			rng := rand.New(rand.NewPCG(seed, uint64(keep)))
			mem := vfs.NewMem()
			s := open(t, mem, "d")
			for crashes := 0; ; {
				r := receive(t, s, info)
				off := r.Offset()
				end := min(info.Size, off+1+rng.Uint64N(900))
				_, err := r.Write(file[off:end])
				check(t, err)
				if end == info.Size && rng.IntN(2) == 0 {
					_, err := r.Commit()
					check(t, err)
					break
				}
				if rng.IntN(2) == 0 || crashes > 20 {
					check(t, r.Abort())
					resumed := receive(t, s, info)
					if got := resumed.Offset(); got > end || got+112+300 < end {
						t.Fatalf("%v, seed %d: aborted at %d, resumed at %d", keep, seed, end, got)
					}
					continue
				}
				crashes++
				mem = mem.Crash(vfs.CrashOptions{Data: keep, Entries: keep, Rand: rng})
				s = open(t, mem, "d")
			}
			wantState(t, s, info, state(2000))
			wantFiles(t, mem, "d", identityFile, info.name().String())
		}
	}
}

// A bad byte anywhere is refused at the latest when its part is whole, and the
// transfer goes on from the last good part with the right bytes.
func TestReceiveRefusesEachFlippedByte(t *testing.T) {
	info, file := sender(t, 10, 1, 250)
	for at := range file {
		bad := append([]byte(nil), file...)
		bad[at] ^= 1 << (at % 8)
		s := open(t, vfs.NewMem(), "d")
		r := receive(t, s, info)
		_, err := r.Write(bad[:at/2])
		for p := bad[at/2:]; err == nil && len(p) > 0; {
			n := min(len(p), 1+at%150)
			_, err = r.Write(p[:n])
			p = p[n:]
		}
		if err == nil {
			_, err = r.Commit() // a length that became longer waits for more
		}
		var damage *Error
		switch {
		case errors.As(err, &damage):
			if damage.Group != group || damage.ID != info.Meta.ID || damage.Offset > int64(at) || damage.File == "" {
				t.Errorf("byte %d: %v names the wrong place", at, damage)
			}
		case !errors.Is(err, ErrTruncated):
			t.Fatalf("byte %d flipped: error %v", at, err)
		}
		if r.Offset() > uint64(at) && damage != nil {
			t.Fatalf("byte %d flipped: %d bytes taken as good", at, r.Offset())
		}
		if damage == nil {
			check(t, r.Abort())
			r = receive(t, s, info)
		}
		_, err = r.Write(file[r.Offset():])
		check(t, err)
		_, err = r.Commit()
		check(t, err)
		wantState(t, s, info, state(250))
	}
}

// SN-06: another snapshot of the group, or the same one offered anew, ends the
// transfer that is running; of another snapshot nothing is kept.
func TestReceiveSupersedes(t *testing.T) {
	first, firstFile := sender(t, 10, 1, 1000)
	second, secondFile := sender(t, 10, 2, 1000)
	mem := vfs.NewMem()
	s := open(t, mem, "d")
	r1 := receive(t, s, first)
	_, err := r1.Write(firstFile[:700])
	check(t, err)

	again := receive(t, s, first)
	_, err = r1.Write(firstFile[700:])
	wantError(t, "Write to the old receiver", err, ErrSuperseded)
	if _, err := r1.WriteChunk(700, firstFile[700:]); !errors.Is(err, ErrSuperseded) {
		t.Errorf("WriteChunk to the old receiver: %v", err)
	}
	_, err = r1.Commit()
	wantError(t, "Commit of the old receiver", err, ErrSuperseded)
	check(t, r1.Abort())
	check(t, r1.Discard())
	if again.Offset() == 0 {
		t.Error("the same snapshot began anew, want it resumed")
	}

	r2 := receive(t, s, second)
	wantOffset(t, r2, 0)
	_, err = again.Write(firstFile[again.Offset():])
	wantError(t, "Write to the superseded receiver", err, ErrSuperseded)
	_, err = r2.Write(secondFile)
	check(t, err)
	_, err = r2.Commit()
	check(t, err)
	wantFiles(t, mem, "d", identityFile, second.name().String())

	r1 = receive(t, s, first)
	wantOffset(t, r1, 0)
	check(t, s.RemoveGroup(group))
	_, err = r1.Write(firstFile)
	wantError(t, "Write after RemoveGroup", err, ErrSuperseded)
	wantFiles(t, mem, "d", identityFile)
}

func TestReceiveDiscard(t *testing.T) {
	info, file := sender(t, 10, 1, 1000)
	mem := vfs.NewMem()
	s := open(t, mem, "d")
	r := receive(t, s, info)
	_, err := r.Write(file[:500])
	check(t, err)
	check(t, r.Discard())
	wantFiles(t, mem, "d", identityFile)
	wantOffset(t, receive(t, s, info), 0)
}

// What was left by a transfer goes with the snapshots of its age.
func TestRemoveOlderRemovesPartials(t *testing.T) {
	info, file := sender(t, 10, 1, 1000)
	mem := vfs.NewMem()
	s := open(t, mem, "d")
	r := receive(t, s, info)
	_, err := r.Write(file[:500])
	check(t, err)
	check(t, r.Abort())
	s = open(t, mem, "d")
	newer := mustTake(t, s, 20, 2, state(5))
	check(t, s.RemoveOlder(group, newer.Meta.ID))
	wantFiles(t, mem, "d", identityFile, newer.name().String())
}

// What is announced must be what comes.
func TestReceiveRefusesMismatch(t *testing.T) {
	info, file := sender(t, 10, 1, 1000)
	other := meta(10)
	other.Configuration.Configuration.Members = other.Configuration.Configuration.Members[:1]
	later, chained := meta(10), meta(10)
	later.MaxTimestamp++
	chained.Checksum++
	foreign, err := appendHeader(nil, &header{Identity: Identity{Cluster: [16]byte{9}}, group: group, id: 1, meta: info.Meta})
	check(t, err)
	for name, c := range map[string]struct {
		group    raft.GroupID
		meta     raft.SnapshotMeta
		id, size uint64
		file     []byte
		want     error
	}{
		"another group":         {group + 1, info.Meta, 1, info.Size, file, ErrMismatch},
		"another entry":         {group, meta(11), 1, info.Size, file, ErrMismatch},
		"another id":            {group, info.Meta, 2, info.Size, file, ErrMismatch},
		"another configuration": {group, other, 1, info.Size, file, ErrMismatch},
		"another timestamp":     {group, later, 1, info.Size, file, ErrMismatch},
		"another checksum":      {group, chained, 1, info.Size, file, ErrMismatch},
		"another cluster":       {group, info.Meta, 1, info.Size, foreign, ErrForeign},
		"more bytes":            {group, info.Meta, 1, info.Size, append(file[:len(file):len(file)], 0), ErrTrailing},
		"fewer announced":       {group, info.Meta, 1, info.Size - 1, file, ErrTrailing},
	} {
		s := open(t, vfs.NewMem(), "d")
		r, err := s.Receive(c.group, c.meta, c.id, c.size)
		check(t, err)
		_, err = r.Write(c.file)
		wantError(t, name, err, c.want)
		if r.Offset() != 0 {
			t.Errorf("%s: %d bytes stored", name, r.Offset())
		}
	}
	s := open(t, vfs.NewMem(), "d")
	r, err := s.Receive(group, info.Meta, 1, info.Size+1)
	check(t, err)
	_, err = r.Write(file)
	check(t, err)
	_, err = r.Write([]byte{0})
	wantError(t, "bytes after the footer", err, ErrTrailing)
	_, err = r.Commit()
	wantError(t, "a shorter file than announced", err, ErrMismatch)

	// A header that claims to be long is refused before it is waited for.
	r, err = s.Receive(group, info.Meta, 3, 1<<30)
	check(t, err)
	lie := append([]byte(nil), file[:headerPrefix]...)
	lie[10] = 0x7f
	_, err = r.Write(lie)
	wantError(t, "a header that claims 8 MiB", err, ErrMismatch)

	for _, size := range []uint64{0, 100, 1 << 63} {
		_, err := s.Receive(group, info.Meta, 1, size)
		wantError(t, "an impossible size", err, ErrMismatch)
	}
	mem := vfs.NewMem()
	s = open(t, mem, "d")
	mem.SetCapacity(mem.Used() + int64(info.Size) - 1)
	_, err = s.Receive(group, info.Meta, 1, info.Size)
	wantError(t, "a full disk", err, vfs.ErrNoSpace)
}

// A damaged snapshot is fetched again, in place (SF-07).
func TestReceiveRepairs(t *testing.T) {
	info, file := sender(t, 10, 1, 1000)
	mem := vfs.NewMem()
	s := open(t, mem, "d")
	r := receive(t, s, info)
	_, err := r.Write(file)
	check(t, err)
	_, err = r.Commit()
	check(t, err)
	check(t, mem.Corrupt("d/"+info.name().String(), 600, 4))
	wantError(t, "Verify", s.Verify(info), ErrChunkChecksum)
	if _, ok := s.Newest(group); ok || len(s.Damaged(group)) != 1 {
		t.Error("a snapshot found damaged is still listed")
	}
	_, err = s.Open(info)
	wantError(t, "Open", err, ErrChunkChecksum)
	wantError(t, "RemoveOlder, B-25", s.RemoveOlder(group, info.Meta.ID), ErrNoNewer)
	r = receive(t, s, info)
	wantOffset(t, r, 0)
	_, err = r.Write(file)
	check(t, err)
	_, err = r.Commit()
	check(t, err)
	if len(s.Damaged(group)) != 0 {
		t.Errorf("Damaged after the repair: %v", s.Damaged(group))
	}
	wantState(t, s, info, state(1000))
}

// A reader of a file that was removed and received again does not take the new
// one with it.
func TestReceiveWhileOldIsPinned(t *testing.T) {
	info, file := sender(t, 10, 1, 1000)
	s := open(t, vfs.NewMem(), "d")
	r := receive(t, s, info)
	_, err := r.Write(file)
	check(t, err)
	_, err = r.Commit()
	check(t, err)
	reader, err := s.Open(info)
	check(t, err)
	check(t, s.RemoveGroup(group))
	r = receive(t, s, info)
	wantOffset(t, r, 0)
	_, err = r.Write(file)
	check(t, err)
	_, err = r.Commit()
	check(t, err)
	check(t, reader.Close())
	wantState(t, s, info, state(1000))
}

func TestReceiverDiskFails(t *testing.T) {
	info, file := sender(t, 10, 1, 1000)
	broken := errors.New("input/output error")
	for kind, name := range map[vfs.OpKind]string{vfs.OpWrite: "write", vfs.OpSync: "sync", vfs.OpRename: "rename", vfs.OpSyncDir: "sync directory"} {
		mem := vfs.NewMem()
		s := open(t, mem, "d")
		r := receive(t, s, info)
		mem.SetHook(func(op vfs.Op) (f vfs.Fault) {
			if op.Kind == kind {
				f.Err = broken
			}
			return f
		})
		_, err := r.Write(file)
		if err == nil {
			_, err = r.Commit()
		}
		wantError(t, name, err, broken)
		mem.SetHook(nil)
		check(t, r.Abort())
		if _, ok := s.Newest(group); ok {
			t.Errorf("failed %s: a snapshot is listed", name)
		}
		r = receive(t, s, info)
		_, err = r.Write(file[r.Offset():])
		check(t, err)
		_, err = r.Commit()
		check(t, err)
		wantState(t, s, info, state(1000))
	}
}
