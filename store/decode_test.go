package store

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/quorate/quorate/store/engine"
)

// TestKeyOrder: the order of version records is that of keys, and a prefix ends
// where the key does, whatever bytes are in it.
func TestKeyOrder(t *testing.T) {
	keys := []string{"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", "a", "a\x00", "a\x00\x01", "a\x00\x01b", "a\x00\xff", "a\x01", "aa", "b", "\xff", "\xff\xff"}
	for i, key := range keys {
		first, last := appendVersionKey(nil, []byte(key), 1<<62, 1<<32-1), appendVersionKey(nil, []byte(key), 0, 0)
		if bytes.Compare(first, last) >= 0 {
			t.Errorf("%q: newer versions do not come first", key)
		}
		if bound := appendVersionBound(nil, []byte(key)); bytes.Compare(bound, first) > 0 {
			t.Errorf("%q: its bound comes after it", key)
		}
		if i > 0 {
			before := appendVersionKey(nil, []byte(keys[i-1]), 0, 0)
			if bytes.Compare(before, first) >= 0 || bytes.Compare(before, appendVersionBound(nil, []byte(key))) >= 0 {
				t.Errorf("%q does not come after %q", key, keys[i-1])
			}
		}
		escaped, main, sub, err := splitVersionKey(first)
		if err != nil || main != 1<<62 || sub != 1<<32-1 || string(appendUnescaped(nil, escaped)) != key {
			t.Errorf("%q: got %q, %d, %d, %v", key, appendUnescaped(nil, escaped), main, sub, err)
		}
	}
}

// FuzzRecords: no record makes a decoder panic, and what decodes encodes back.
func FuzzRecords(f *testing.F) {
	st := state{applied: 9, revision: 4, compacted: 2, keys: 1, bytes: 77, hash: 1 << 60, clock: 5, term: 3, timestamp: -1}
	f.Add(st.appendTo(nil))
	f.Add((&lease{ttl: 60, deadline: 1 << 40}).appendTo(nil))
	f.Add((&Member{ID: 1, Name: "n", ClientURLs: []string{"u"}}).appendTo([]byte{recordVersion}))
	f.Add(appendVersion(nil, &version{main: 9, create: 3, version: 2, lease: 7, value: []byte("v")}))
	var w indexWriter
	w.revision(2, 1, []change{{key: []byte("k")}, {key: []byte("l"), version: version{deleted: true}}})
	w.revision(3, 2, []change{{key: nil}})
	f.Add(w.buf)
	f.Fuzz(func(t *testing.T, b []byte) {
		if st, err := decodeState(b); err == nil && !bytes.Equal(st.appendTo(nil), b) {
			t.Errorf("state %x encodes to %x", b, st.appendTo(nil))
		}
		if l, err := decodeLease(1, b); err == nil && !bytes.Equal(l.appendTo(nil), b) {
			t.Errorf("lease %x encodes to %x", b, l.appendTo(nil))
		}
		if m, err := decodeMember(b); err == nil && !bytes.Equal(m.appendTo([]byte{recordVersion}), b) {
			t.Errorf("member %x encodes to %x", b, m.appendTo([]byte{recordVersion}))
		}
		if v, err := decodeVersion(1<<40, 0, b); err == nil && !bytes.Equal(appendVersion(nil, &v), b) {
			t.Errorf("version %x encodes to %x", b, appendVersion(nil, &v))
		}
		if x, err := newIndexReader(b); err == nil {
			for x.next() {
				for ok := true; ok; _, ok = x.change() {
				}
			}
		}
		Split(b)
		_, _, _, _ = splitVersionKey(b)
	})
}

func sampleSnapshot(t testing.TB) []byte {
	s := openMemory(t)
	do(
		t, s, put("a", "1"), put("b", "2"), put("a", "3"), &LeaseGrantRequest{ID: 7, TTL: 60}, &CompactRequest{Revision: 3},
		&PutRequest{Key: []byte("c"), Lease: 7}, &DeleteRangeRequest{Key: []byte("b")},
		&AlarmRequest{Action: AlarmActivate, Member: 1, Alarm: AlarmNoSpace}, &PublishRequest{Member: Member{ID: 1, Name: "n"}},
		&CheckRequest{Sample: 3, Member: 1, Hash: 9},
	)
	view, err := s.Snapshot()
	check(t, err)
	var b bytes.Buffer
	check(t, errors.Join(view.WriteSnapshot(t.Context(), &b), view.Close()))
	return b.Bytes()
}

// TestTruncatedSnapshot: every part of a snapshot is refused, and what a crash
// leaves of the attempt is an empty store.
func TestTruncatedSnapshot(t *testing.T) {
	snapshot := sampleSnapshot(t)
	for n := range snapshot {
		e := engine.NewMemory(Split)
		s, err := Open(e, nil)
		check(t, err)
		do(t, s, put("old", "x"))
		if err := s.Restore(bytes.NewReader(snapshot[:n])); !errors.Is(err, ErrBadSnapshot) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(snapshot), err)
		}
		if err := s.Apply(nil); err == nil {
			t.Fatal("a store whose restore failed goes on")
		}
		check(t, e.Sync())
		after, err := Open(e.Crash(0), nil)
		check(t, err)
		if st := after.Status(); st.Applied != 0 || st.Revision != 1 || after.DurableIndex() != 0 {
			t.Fatalf("after a restore of %d bytes and a crash: %+v, durable %d", n, st, after.DurableIndex())
		}
		if got := do(t, after, put("old", "y"))[0]; got.Response.(*PutResponse).Revision != 2 {
			t.Fatalf("got %+v", got)
		}
		check(t, errors.Join(s.Close(), after.Close()))
	}
	if err := openMemory(t).Restore(strings.NewReader(string(snapshot) + "x")); !errors.Is(err, ErrBadSnapshot) {
		t.Errorf("with a byte too many: %v", err)
	}
}

// FuzzRestore: any bytes are a snapshot that gives itself again, or are refused.
func FuzzRestore(f *testing.F) {
	f.Add(sampleSnapshot(f))
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Open(engine.NewMemory(Split), nil)
		check(t, err)
		err = s.Restore(bytes.NewReader(b))
		if err == nil {
			_, err := s.HashKV(t.Context(), 0)
			check(t, err)
		} else if !errors.Is(err, ErrBadSnapshot) {
			t.Fatalf("got %v, which is none of ours", err)
		}
		check(t, s.Close())
	})
}
