package entry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"reflect"
	"testing"

	"github.com/quorate/quorate/raft"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the fixtures in testdata")

func sample() []Entry {
	c, err := AppendConfiguration(nil, sampleConfiguration())
	if err != nil {
		panic(err)
	}
	return []Entry{
		{Term: 1, Index: 1, Kind: Configuration, Timestamp: 1_700_000_000_000_000_000, Uncertainty: 250, Payload: c},
		{Term: 2, Index: 2, Kind: NoOp, Timestamp: -5, Uncertainty: 1<<32 - 1, Payload: []byte{}},
		{Term: 2, Index: 3, Kind: Command, Timestamp: 1_700_000_000_000_001_000, Payload: []byte("put x 1")},
		{Term: 1 << 60, Index: 4, Kind: Command, Payload: bytes.Repeat([]byte{0, 0xff}, 300)},
	}
}

func sampleConfiguration() *raft.Configuration {
	return &raft.Configuration{
		Members: []raft.Member{
			{ID: 1, Incarnation: 0x1111, Role: raft.Voter, Addresses: []string{"10.0.0.1:7000", "[::1]:7000"}},
			{ID: 2, Incarnation: 0x2222, Role: raft.Learner},
			{ID: 1 << 40, Incarnation: 1<<64 - 1, Role: raft.Witness, Addresses: []string{"w"}},
		},
		Outgoing:  []raft.NodeID{1, 7},
		AutoLeave: true,
	}
}

// encode chains the entries and encodes them back to back.
func encode(entries []Entry) []byte {
	var b []byte
	var prev uint32
	for i := range entries {
		entries[i].Prev = prev
		b, prev = entries[i].AppendTo(b)
		entries[i].Checksum = prev
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	b := encode(want)
	var got []Entry
	for e, err := range All(b) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
	h, err := Peek(b)
	if err != nil || h.ID != want[0].ID() || h.Kind != Configuration || h.Checksum != want[0].Checksum || h.Size != Size(len(want[0].Payload)) {
		t.Fatalf("Peek: %+v, %v", h, err)
	}
	link, err := VerifyChain(Link{}, b)
	if err != nil || link != (Link{want[3].ID(), want[3].Checksum}) {
		t.Fatalf("VerifyChain: %+v, %v", link, err)
	}
}

// The bytes of the first release. They must decode for ever.
func TestFixture(t *testing.T) {
	const file = "testdata/entries-v1.bin"
	want := sample()
	b := encode(want)
	if *rewrite {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(old, b) {
		t.Fatalf("entries now encode to other bytes than %s", file)
	}
	for e, err := range All(old) {
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(e, want[e.Index-1]) {
			t.Fatalf("entry %d: got %+v, want %+v", e.Index, e, want[e.Index-1])
		}
	}
}

// resum makes the checksum of a changed entry right again.
func resum(b []byte) []byte {
	sum := crc32.Update(crc32.Checksum(b[:checksumAt], castagnoli), castagnoli, b[HeaderSize:])
	binary.LittleEndian.PutUint32(b[checksumAt:], sum)
	return b
}

func TestDecodeRefuses(t *testing.T) {
	good, _ := (&Entry{Term: 3, Index: 9, Kind: Command, Payload: []byte("payload")}).AppendTo(nil)
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"part of a header", good[:HeaderSize-1], ErrShort},
		{"part of a payload", good[:len(good)-1], ErrShort},
		{"length above the bound", change(func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b, MaxPayload+1)
			return b
		}), ErrCorrupt},
		{"changed payload", change(func(b []byte) []byte { b[len(b)-1]++; return b }), ErrCorrupt},
		{"changed checksum", change(func(b []byte) []byte { b[checksumAt]++; return b }), ErrCorrupt},
		{"changed version", change(func(b []byte) []byte { b[4]++; return b }), ErrCorrupt},
		{"newer version", change(func(b []byte) []byte { b[4]++; return resum(b) }), ErrUnknownVersion},
		{"flags", change(func(b []byte) []byte { b[6] = 1; return resum(b) }), ErrUnknownVersion},
		// RP-16
		{"newer kind", change(func(b []byte) []byte { b[5] = 4; return resum(b) }), ErrUnknownKind},
		{"kind zero", change(func(b []byte) []byte { b[5] = 0; return resum(b) }), ErrUnknownKind},
	} {
		if _, _, err := Decode(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// SF-01: any changed byte of an entry is found.
func TestDecodeFindsEveryFlippedBit(t *testing.T) {
	good, _ := (&Entry{Term: 3, Index: 9, Kind: Command, Timestamp: 77, Uncertainty: 5, Prev: 8, Payload: []byte("some payload")}).AppendTo(nil)
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if e, _, err := Decode(b); err == nil {
				t.Fatalf("bit %d of byte %d flipped: decoded %+v", bit, i, e)
			}
		}
	}
}

// SF-01: intact entries in the wrong place are found by the chain.
func TestVerifyChainRefuses(t *testing.T) {
	one := Entry{Term: 1, Index: 1, Kind: NoOp}
	b1, sum1 := one.AppendTo(nil)
	next := func(e Entry) []byte {
		b, _ := e.AppendTo(bytes.Clone(b1))
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"follows", next(Entry{Term: 1, Index: 2, Kind: NoOp, Prev: sum1}), true},
		{"gap", next(Entry{Term: 1, Index: 3, Kind: NoOp, Prev: sum1}), false},
		{"same index again", next(Entry{Term: 1, Index: 1, Kind: NoOp, Prev: sum1}), false},
		{"older term", next(Entry{Term: 0, Index: 2, Kind: NoOp, Prev: sum1}), false},
		{"other predecessor", next(Entry{Term: 1, Index: 2, Kind: NoOp, Prev: sum1 + 1}), false},
		{"damaged", append(bytes.Clone(b1), 1, 2, 3), false},
	} {
		if _, err := VerifyChain(Link{}, tt.b); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		} else if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrShort) {
			t.Errorf("%s: %v is not one of our errors", tt.name, err)
		}
	}
}

func TestConfigurationRoundTrip(t *testing.T) {
	for _, c := range []*raft.Configuration{{}, sampleConfiguration(), {Members: []raft.Member{{ID: 5, Role: raft.Voter}}}} {
		b, err := AppendConfiguration(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeConfiguration(b)
		if err != nil || !reflect.DeepEqual(&got, c) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, c)
		}
	}
}

func TestAppendConfigurationRefuses(t *testing.T) {
	member := func(m raft.Member) *raft.Configuration { return &raft.Configuration{Members: []raft.Member{m}} }
	for name, c := range map[string]*raft.Configuration{
		"no id":             member(raft.Member{Role: raft.Voter}),
		"no role":           member(raft.Member{ID: 1}),
		"unknown role":      member(raft.Member{ID: 1, Role: 9}),
		"empty address":     member(raft.Member{ID: 1, Role: raft.Voter, Addresses: []string{""}}),
		"long address":      member(raft.Member{ID: 1, Role: raft.Voter, Addresses: []string{string(make([]byte, MaxAddress+1))}}),
		"many addresses":    member(raft.Member{ID: 1, Role: raft.Voter, Addresses: make([]string, MaxAddresses+1)}),
		"members disorder":  {Members: []raft.Member{{ID: 2, Role: raft.Voter}, {ID: 1, Role: raft.Voter}}},
		"member twice":      {Members: []raft.Member{{ID: 2, Role: raft.Voter}, {ID: 2, Role: raft.Voter}}},
		"outgoing disorder": {Outgoing: []raft.NodeID{2, 1}},
		"outgoing zero":     {Outgoing: []raft.NodeID{0}},
		"many members":      {Members: make([]raft.Member, MaxMembers+1)},
		"many outgoing":     {Outgoing: make([]raft.NodeID, MaxMembers+1)},
	} {
		if b, err := AppendConfiguration([]byte("x"), c); err == nil || string(b) != "x" {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
	}
}

func TestDecodeConfigurationRefuses(t *testing.T) {
	good, err := AppendConfiguration(nil, sampleConfiguration())
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"version", change(0, 2), ErrUnknownVersion},
		{"flags", change(1, 2), ErrUnknownVersion},
		{"reserved", change(6, 1), ErrUnknownVersion},
		{"more members than bytes", change(2, 200), ErrShort},
		{"too many members", change(3, 255), ErrCorrupt},
		{"too many outgoing", change(5, 255), ErrCorrupt},
		{"role", change(configurationHeader+16, 77), ErrCorrupt},
		{"too many addresses", change(configurationHeader+17, 255), ErrCorrupt},
		{"bytes after the end", append(bytes.Clone(good), 0), ErrCorrupt},
	} {
		if _, err := DecodeConfiguration(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	for n := range good {
		if _, err := DecodeConfiguration(good[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(good))
		}
	}
}

func ours(err error) bool {
	return errors.Is(err, ErrShort) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnknownVersion) || errors.Is(err, ErrUnknownKind)
}

func FuzzDecode(f *testing.F) {
	entries := sample()
	f.Add(encode(entries))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			e, n, err := Decode(b)
			if err != nil {
				if !ours(err) {
					t.Fatalf("not one of our errors: %v", err)
				}
				return
			}
			back, sum := e.AppendTo(nil)
			if !bytes.Equal(back, b[:n]) || sum != e.Checksum {
				t.Fatalf("%x decodes to %+v, which encodes to %x", b[:n], e, back)
			}
			b = b[n:]
		}
	})
}

func FuzzDecodeConfiguration(f *testing.F) {
	b, err := AppendConfiguration(nil, sampleConfiguration())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeConfiguration(b)
		if err != nil {
			if !ours(err) {
				t.Fatalf("not one of our errors: %v", err)
			}
			return
		}
		back, err := AppendConfiguration(nil, &c)
		if err != nil || !bytes.Equal(back, b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x, %v", b, c, back, err)
		}
	})
}

func BenchmarkAppendTo(b *testing.B) {
	e := Entry{Term: 3, Index: 9, Kind: Command, Timestamp: 77, Payload: make([]byte, 128)}
	buf := make([]byte, 0, Size(128))
	b.SetBytes(int64(Size(128)))
	b.ReportAllocs()
	for b.Loop() {
		buf, e.Prev = e.AppendTo(buf[:0])
	}
}

func BenchmarkDecode(b *testing.B) {
	buf, _ := (&Entry{Term: 3, Index: 9, Kind: Command, Timestamp: 77, Payload: make([]byte, 128)}).AppendTo(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}
