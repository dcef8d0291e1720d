package entry

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/quorate/quorate/raft"
)

func sampleMeta() raft.SnapshotMeta {
	return raft.SnapshotMeta{
		ID:           raft.EntryID{Index: 77, Term: 5},
		MaxTimestamp: -3,
		Checksum:     0xfeedbeef,
		Configuration: raft.ConfigurationEntry{
			ID: raft.EntryID{Index: 12, Term: 2},
			Configuration: raft.Configuration{Members: []raft.Member{
				{ID: 1, Incarnation: 9, Role: raft.Voter}, {ID: 4, Incarnation: 8, Role: raft.Learner, Addresses: []string{"a:1"}},
			}},
		},
	}
}

// SN-02, MB-20: a snapshot's description carries the configuration, and what the
// entry after it is chained to.
func TestSnapshotMetaRoundTrip(t *testing.T) {
	want := sampleMeta()
	b, err := AppendSnapshotMeta([]byte("before"), &want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeSnapshotMeta(b[len("before"):])
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestSnapshotMetaRefusesWhatItDoesNotKnow(t *testing.T) {
	m := sampleMeta()
	good, err := AppendSnapshotMeta(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"cut in the header":        {good[:snapshotHeader-1], ErrShort},
		"another version":          {change(0, 2), ErrUnknownVersion},
		"a reserved byte":          {change(2, 1), ErrCorrupt},
		"bytes after the end":      {append(bytes.Clone(good), 0), ErrCorrupt},
		"a role that has no name":  {change(snapshotHeader+8+16, 77), ErrCorrupt},
		"configuration of version": {change(snapshotHeader, 9), ErrUnknownVersion},
	} {
		if _, err := DecodeSnapshotMeta(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzDecodeSnapshotMeta(f *testing.F) {
	m := sampleMeta()
	good, err := AppendSnapshotMeta(nil, &m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeSnapshotMeta(b)
		if err != nil {
			return
		}
		if again, err := AppendSnapshotMeta(nil, &m); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes and encodes to %x, %v", b, again, err)
		}
	})
}
