package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/quorate/quorate/vfs"
)

// whole encodes a file of the given chunks.
func whole(t testing.TB, h *header, chunks ...[]byte) []byte {
	t.Helper()
	b, err := appendHeader(nil, h)
	check(t, err)
	crc := crcOf(0, b[:len(b)-checksumBytes])
	var sum totals
	for _, c := range chunks {
		b, crc = appendChunk(b, crc, sum.chunks, c)
		sum.chunks++
		sum.stateBytes += uint64(len(c))
		sum.stateCRC = crcOf(sum.stateCRC, c)
	}
	return appendFooter(b, crc, sum, uint64(len(b))+footerBytes)
}

// decode verifies a whole file in memory.
func decode(b []byte) (h *header, state []byte, err error) {
	var d decoder
	for {
		rest := b[d.off:]
		if d.done && len(rest) == 0 {
			return d.head, state, nil
		}
		n, part, err := d.next(rest)
		if err != nil {
			return nil, nil, err
		}
		if n > len(rest) {
			return nil, nil, ErrTruncated
		}
		state = append(state, part...)
	}
}

func sample() *header { return &header{Identity: self, group: group, id: 0xabcdef, meta: meta(10)} }

func TestDecode(t *testing.T) {
	b := whole(t, sample(), []byte("first"), []byte("second"))
	h, state, err := decode(b)
	check(t, err)
	if !reflect.DeepEqual(h, sample()) || string(state) != "firstsecond" {
		t.Errorf("decoded %+v and %q", h, state)
	}
}

// One row for each thing that is checked, by name.
func TestDecodeRefuses(t *testing.T) {
	good := whole(t, sample(), []byte("first"), []byte("second"))
	head, err := appendHeader(nil, sample())
	check(t, err)
	firstEnd := len(head) + chunkPrefix + 5 + checksumBytes
	footer := len(good) - footerBytes
	other := sample()
	other.id++
	otherFile := whole(t, other, []byte("first"), []byte("second"))

	// edit changes bytes; seal makes the checksum of the part from..to right
	// again, so that only what it hides is wrong.
	edit := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	reseal := func(b []byte, from, to int) []byte {
		before := uint32(0)
		if from > 0 {
			before = binary.LittleEndian.Uint32(b[from-checksumBytes:])
		}
		binary.LittleEndian.PutUint32(b[to-checksumBytes:], crcOf(before, b[from:to-checksumBytes]))
		return b
	}
	le32 := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"no bytes", nil, ErrTruncated},
		{"magic", edit(0, 'X'), ErrMagic},
		{"version", edit(4, 2), ErrUnknownVersion},
		{"kind", edit(6, 2), ErrUnknownVersion},
		{"header length too small", edit(8, le32(headerFixed)...), ErrHeaderLength},
		{"header length too large", edit(8, le32(headerMax+1)...), ErrHeaderLength},
		{"header length beyond the file", edit(8, le32(headerMax)...), ErrTruncated},
		{"header checksum", edit(30, 0xff), ErrHeaderChecksum},
		{"description length", reseal(edit(headerFixed-4, le32(1)...), 0, len(head)), ErrHeaderContents},
		{"description", reseal(edit(headerFixed, 99), 0, len(head)), ErrHeaderContents},
		{"header cut", good[:len(head)-1], ErrTruncated},
		{"no chunks", good[:len(head)], ErrTruncated},
		{"chunk length", edit(len(head), le32(ChunkMax+1)...), ErrChunkLength},
		{"chunk length beyond the file", edit(len(head), le32(ChunkMax)...), ErrTruncated},
		{"chunk sequence", reseal(edit(len(head)+4, 1), len(head), firstEnd), ErrChunkSequence},
		{"chunk checksum", edit(len(head)+chunkPrefix, 'F'), ErrChunkChecksum},
		{"chunk of another snapshot", append(bytes.Clone(good[:len(head)]), otherFile[len(head):]...), ErrChunkChecksum},
		{"chunk missing", append(bytes.Clone(good[:len(head)]), good[firstEnd:]...), ErrChunkSequence},
		{"chunk repeated", append(bytes.Clone(good[:firstEnd]), good[len(head):]...), ErrChunkSequence},
		{"chunk cut", good[:firstEnd-1], ErrTruncated},
		{"footer magic", edit(footer+4, 'X'), ErrFooterMagic},
		{"zeros after a chunk", append(bytes.Clone(good[:firstEnd]), make([]byte, 100)...), ErrFooterMagic},
		{"footer checksum", edit(footer+8, 0xff), ErrFooterChecksum},
		{"state bytes", reseal(edit(footer+8, 12), footer, len(good)), ErrFooterTotals},
		{"chunks", reseal(edit(footer+16, 3), footer, len(good)), ErrFooterTotals},
		{"state checksum", reseal(edit(footer+20, good[footer+20]^1), footer, len(good)), ErrFooterTotals},
		{"file length", reseal(edit(footer+24, good[footer+24]^1), footer, len(good)), ErrFooterTotals},
		{"footer too early", append(bytes.Clone(good[:firstEnd]), good[footer:]...), ErrFooterChecksum},
		{"footer cut", good[:len(good)-1], ErrTruncated},
		{"a byte more", append(bytes.Clone(good), 0), ErrTrailing},
	} {
		_, _, err := decode(c.b)
		wantError(t, c.name, err, c.want)
		if c.want != ErrUnknownVersion {
			wantError(t, c.name, err, ErrCorrupt)
		}
	}
}

// Every byte flipped and every length cut is found by Open and the reader, names
// the place, and is never read as a good state.
func TestEachFlippedByteIsFound(t *testing.T) {
	info, file := sender(t, 10, 1, 250)
	try := func(what string, at int, b []byte) {
		mem := vfs.NewMem()
		open(t, mem, "d")
		f, err := mem.Create("d/" + info.name().String())
		check(t, err)
		_, err = f.WriteAt(b, 0)
		check(t, err)
		s, err := Open(Options{FS: mem, Dir: "d", Identity: self})
		check(t, err)
		for _, here := range s.List(group) { // damage that only reading the state shows
			if got, err := read(s, here); err == nil {
				t.Fatalf("%s %d: read as a good state of %d bytes", what, at, len(got))
			}
		}
		damage := s.Damaged(group)
		if len(damage) != 1 || len(s.List(group)) != 0 {
			t.Fatalf("%s %d: Damaged %v, List %v", what, at, damage, s.List(group))
		}
		if d := damage[0]; d.Group != group || d.ID != info.Meta.ID || d.File != "d/"+info.name().String() {
			t.Errorf("%s %d: %v", what, at, d)
		}
		wantFiles(t, mem, "d", identityFile, info.name().String()) // reported, never removed
	}
	for at := range file {
		b := bytes.Clone(file)
		b[at] ^= 1 << (at % 8)
		try("flipped byte", at, b)
		try("cut to", at, file[:at])
	}
	try("longer by a byte", len(file), append(bytes.Clone(file), 0))
}

// Bits that rot, and a file that shrinks, while it is open.
func TestReaderFindsDamageUnderItself(t *testing.T) {
	for name, damage := range map[string]func(mem *vfs.Mem, file string) error{
		"flip": func(mem *vfs.Mem, file string) error { return mem.Corrupt(file, 900, 1) },
		"cut": func(mem *vfs.Mem, file string) error {
			f, err := mem.Open(file)
			return errors.Join(err, f.Truncate(900), f.Close())
		},
	} {
		mem := vfs.NewMem()
		s := open(t, mem, "d")
		info := mustTake(t, s, 10, 1, state(1000))
		r, err := s.Open(info)
		check(t, err)
		check(t, damage(mem, "d/"+info.name().String()))
		_, err = r.WriteTo(io.Discard)
		wantError(t, name, err, ErrCorrupt)
		_, err = r.Read(make([]byte, 1))
		wantError(t, name+", again", err, ErrCorrupt)
		check(t, r.Close())
		if len(s.Damaged(group)) != 1 {
			t.Errorf("%s: not listed as damaged", name)
		}
	}
}

func TestNames(t *testing.T) {
	name := Info{Group: 1 << 63, Meta: meta(255), ID: 3}.name()
	const want = "8000000000000000-00000000000000ff-0000000000000003-0000000000000003.snapshot"
	if name.String() != want {
		t.Errorf("name %q, want %q", name, want)
	}
	if got, ok := parseName(want); !ok || got != name {
		t.Errorf("parsed %+v, %v", got, ok)
	}
	for _, bad := range []string{
		"", ".", "IDENTITY", want + "x", want[1:], "+" + want[1:], want[:67] + ".tmp", want[:67],
		"8000000000000000-00000000000000FF-0000000000000003-0000000000000003.snapshot",
		"8000000000000000 00000000000000ff-0000000000000003-0000000000000003.snapshot",
	} {
		if got, ok := parseName(bad); ok {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}

var rewrite = flag.Bool("rewrite", false, "write the fixtures of formats that have none yet")

// The file of format version 1 that must open for ever.
func TestFixture(t *testing.T) {
	dir := filepath.Join("testdata", "v1")
	info := Info{Group: group, Meta: meta(10), ID: 0xabcdef}
	if _, err := os.Stat(dir); *rewrite && os.IsNotExist(err) {
		s := open(t, vfs.OS(), filepath.ToSlash(dir))
		mustTake(t, s, 10, info.ID, state(250))
	}
	mem := vfs.NewMem()
	check(t, mem.MkdirAll("d"))
	for _, name := range []string{identityFile, info.name().String()} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		check(t, err)
		f, err := mem.Create("d/" + name)
		check(t, err)
		_, err = f.WriteAt(b, 0)
		check(t, err)
	}
	s := open(t, mem, "d")
	got, ok := s.Newest(group)
	info.Size = got.Size
	if !ok || !reflect.DeepEqual(got, info) {
		t.Errorf("opened %+v, want %+v", got, info)
	}
	wantState(t, s, got, state(250))
}

// Any bytes are a snapshot that encodes back to the same bytes, or one of our
// errors.
func FuzzDecode(f *testing.F) {
	f.Add(whole(f, sample(), []byte("first"), []byte("second")))
	f.Add(whole(f, &header{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, state, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownVersion) {
				t.Fatalf("error %v is none of ours", err)
			}
			return
		}
		// The state does not say how it was cut; read that from the bytes.
		var chunks [][]byte
		head, err := appendHeader(nil, h)
		check(t, err)
		for at := len(head); len(state) > 0; {
			n := int(binary.LittleEndian.Uint32(b[at:]))
			chunks = append(chunks, state[:n])
			state = state[n:]
			at += chunkPrefix + n + checksumBytes
		}
		if again := whole(t, h, chunks...); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes back to %x", b, again)
		}
	})
}

// A transfer of bytes that were changed anywhere, in pieces of any size, is refused;
// one of the right bytes is taken.
func FuzzReceive(f *testing.F) {
	info, file := sender(f, 10, 1, 250)
	f.Add(uint16(0), []byte{}, uint8(10))
	f.Add(uint16(200), []byte("abc"), uint8(200))
	f.Fuzz(func(t *testing.T, at uint16, with []byte, piece uint8) {
		b := bytes.Clone(file)
		n := copy(b[min(int(at), len(b)):], with)
		changed := !bytes.Equal(b, file)
		s := open(t, vfs.NewMem(), "d")
		r := receive(t, s, info)
		var err error
		for p := b; err == nil && len(p) > 0; {
			n := min(len(p), int(piece)+1)
			_, err = r.Write(p[:n])
			p = p[n:]
		}
		if err == nil {
			_, err = r.Commit()
		}
		if changed != (err != nil) {
			t.Fatalf("%d bytes changed at %d: %v, error %v", n, at, changed, err)
		}
	})
}

func FuzzDecodeIdentity(f *testing.F) {
	f.Add(appendIdentity(nil, self))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodeIdentity(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownVersion) {
				t.Fatalf("error %v is none of ours", err)
			}
			return
		}
		if again := appendIdentity(nil, id); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes back to %x", b, again)
		}
	})
}
