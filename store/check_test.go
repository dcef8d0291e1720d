package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store/engine"
)

func opPut(key string) RequestOp { return RequestOp{Put: put(key, "")} }

func opDelete(key, end string) RequestOp {
	return RequestOp{DeleteRange: &DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}
}

func opTxn(then, otherwise []RequestOp) RequestOp {
	return RequestOp{Txn: &TxnRequest{Success: then, Failure: otherwise}}
}

func TestCheckTxn(t *testing.T) {
	type ops = []RequestOp
	for _, test := range []struct {
		name string
		ops  ops
		ok   bool
	}{
		{"two keys", ops{opPut("a"), opPut("b")}, true},
		{"a key twice", ops{opPut("a"), opPut("a")}, false},
		{"deleted and put", ops{opDelete("a", ""), opPut("a")}, false},
		{"put and deleted", ops{opPut("a"), opDelete("a", "")}, false},
		{"put within a deleted range", ops{opPut("b"), opDelete("a", "c")}, false},
		{"put at the end of a deleted range", ops{opPut("c"), opDelete("a", "c")}, true},
		{"put within the longer of two ranges", ops{opDelete("a", "z"), opDelete("b", "c"), opPut("d")}, false},
		{"put before a deleted key", ops{opDelete("b", ""), opPut("a")}, true},
		{"deleted twice", ops{opDelete("a", ""), opDelete("a", "c")}, true},
		{"put beyond the start of an open range, which is not seen", ops{opDelete("a", "\x00"), opPut("b")}, true},
		{"put in both branches", ops{opTxn(ops{opPut("a")}, ops{opPut("a")})}, true},
		{"put in a branch and beside it", ops{opTxn(ops{opPut("a")}, nil), opPut("a")}, false},
		{"put in two nested ones", ops{opTxn(ops{opPut("a")}, nil), opTxn(nil, ops{opPut("a")})}, false},
		{"put in both branches after another", ops{opTxn(ops{opPut("a")}, nil), opTxn(ops{opPut("b")}, ops{opPut("a")})}, false},
		{"put in a branch, deleted beside it", ops{opTxn(ops{opPut("a")}, nil), opDelete("a", "")}, false},
		{"deleted in a branch, put beside it", ops{opTxn(nil, ops{opDelete("a", "")}), opPut("a")}, false},
		{"deleted in one nested, put in the next", ops{opTxn(ops{opDelete("a", "")}, nil), opTxn(ops{opPut("a")}, nil)}, false},
		{"put in one nested, deleted in the next, which is not seen", ops{opTxn(ops{opPut("a")}, nil), opTxn(ops{opDelete("a", "")}, nil)}, true},
		{"a key twice, two levels below", ops{opTxn(nil, ops{opTxn(ops{opPut("a"), opPut("a")}, nil)})}, false},
	} {
		for _, txn := range []*TxnRequest{{Success: test.ops}, {Failure: test.ops}} {
			if err := CheckTxn(txn); (err == nil) != test.ok || err != nil && !errors.Is(err, ErrDuplicateKey) {
				t.Errorf("%s: got %v, want it to pass: %v", test.name, err, test.ok)
			}
		}
	}
	if err := CheckTxn(&TxnRequest{Success: ops{opPut("a")}, Failure: ops{opDelete("a", "")}}); err != nil {
		t.Errorf("the branches of the transaction itself: %v", err)
	}
}

// TestLeaseIDIsChosen: a lease without an id gets one that is new, positive and
// the same on every replica.
func TestLeaseIDIsChosen(t *testing.T) {
	ids := [2][]int64{}
	for i := range ids {
		s := openMemory(t)
		for range 100 {
			g := do(t, s, &LeaseGrantRequest{TTL: 5})[0].Response.(*LeaseGrantResponse)
			if g.ID <= 0 || slices.Contains(ids[i], g.ID) {
				t.Fatalf("got %d after %v", g.ID, ids[i])
			}
			ids[i] = append(ids[i], g.ID)
		}
	}
	if !slices.Equal(ids[0], ids[1]) {
		t.Errorf("two replicas chose %v and %v", ids[0], ids[1])
	}
}

// TestMalformedCommand is refused alike everywhere, and one of a newer version
// stops the replica.
func TestMalformedCommand(t *testing.T) {
	s := openMemory(t)
	entries := []rsm.Entry{{Index: 1, Command: nil}, {Index: 2, Command: []byte{1, 99}}, {Index: 3, Command: []byte{1, byte(kindPut)}}}
	if err := s.Apply(entries); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := DecodeResult(&PutRequest{}, e.Result); !errors.Is(err, ErrInvalid) {
			t.Errorf("entry %d: got %v, want ErrInvalid", e.Index, err)
		}
	}
	if st := s.Status(); st.Applied != 3 || st.Revision != 1 {
		t.Errorf("status is %+v", st)
	}
	newer := []rsm.Entry{{Index: 4, Command: []byte{2, byte(kindPut)}}}
	if err := s.Apply(newer); !errors.Is(err, ErrUnknownVersion) {
		t.Errorf("got %v, want ErrUnknownVersion", err)
	}
	if err := s.Apply(newer[:0]); !errors.Is(err, ErrUnknownVersion) {
		t.Errorf("it goes on after that: %v", err)
	}
	if st := s.Status(); st.Applied != 3 {
		t.Errorf("status is %+v", st)
	}
}

// TestAppliedTwice: an entry that was applied is a mistake of who applies.
func TestAppliedTwice(t *testing.T) {
	s := openMemory(t)
	do(t, s, put("a", "1"))
	if err := s.Apply([]rsm.Entry{{Index: 1, Command: AppendCommand(nil, put("a", "1"))}}); err == nil {
		t.Error("it was applied again")
	}
}

// TestReclaim: what compactions made superfluous is gone from the engine once all
// steps are done, whatever their size, and the count of bytes is that of what is
// left.
func TestReclaim(t *testing.T) {
	for _, most := range []int{1, 7, 1000} {
		t.Run(fmt.Sprint("most=", most), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(most), 9))
			e := engine.NewMemory(Split)
			s := openOn(t, e)
			for range 12 {
				var cmds []Command
				for range 60 {
					key := fmt.Sprint(rng.IntN(12))
					switch rng.IntN(4) {
					case 0:
						cmds = append(cmds, &DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(key + "\xff")})
					default:
						cmds = append(cmds, put(key, "value"))
					}
				}
				do(t, s, cmds...)
				do(t, s, &CompactRequest{Revision: s.Revision() - rng.Int64N(4)})
				// A part is left for the next compaction, or not.
				for range rng.IntN(200) {
					if _, err := s.Reclaim(most); err != nil {
						t.Fatal(err)
					}
				}
			}
			do(t, s, &CompactRequest{Revision: s.Revision()})
			for more := true; more; {
				var err error
				if more, err = s.Reclaim(most); err != nil {
					t.Fatal(err)
				}
			}
			// The compacted revision itself is looked at with the next compaction.
			compacted := s.Status().Compacted
			var left, logical, bytes int64
			check(t, eachRecord(e, spaceVersion, func(k, v []byte) error {
				_, main, sub, err := splitVersionKey(k)
				check(t, err)
				ver, err := decodeVersion(main, sub, v)
				check(t, err)
				bytes += ver.size(appendUnescaped(nil, k[1:len(k)-suffixLen-len(keyEnd)]))
				left++
				return nil
			}))
			superseded := int64(0)
			check(t, eachVersion(e, compacted, func([]byte, *version, []byte) error { logical++; return nil }))
			h, err := s.Events(t.Context(), compacted, HistoryOptions{})
			check(t, err)
			for _, c := range h.Commits {
				superseded += int64(len(c.Events))
			}
			if left > logical+superseded {
				t.Errorf("%d versions are left, %d needed", left, logical)
			}
			if got := s.Status().Bytes; got != bytes {
				t.Errorf("bytes are counted as %d, but are %d", got, bytes)
			}
			records := 0
			check(t, eachRecord(e, spaceRevision, func(k, _ []byte) error {
				if last, err := decodeU64Key(k); err != nil || int64(last) < compacted {
					t.Errorf("revision record %d is left, compacted to %d: %v", last, compacted, err)
				}
				records++
				return nil
			}))
			if records == 0 {
				t.Error("there is no history at all")
			}
		})
	}
}

// TestReclaimWithinARevision: a compaction to a revision that changed more than one
// step looks at is carried through, by the steps that Apply does or by those of an
// idle store, and its deletions go with the next one.
func TestReclaimWithinARevision(t *testing.T) {
	const keys = 100
	for _, most := range []int{1, 7, keys} {
		for _, later := range []int{0, 1} { // changes after the compacted revision
			e := engine.NewMemory(Split)
			s := openOn(t, e)
			for i := range keys {
				do(t, s, put(fmt.Sprint(i), string(make([]byte, 1000))))
			}
			full := s.Status().Bytes
			do(t, s, &DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
			deleted := s.Revision()
			for range later {
				do(t, s, put("later", "value"))
			}
			reclaim := func() {
				t.Helper()
				for more, n := true, 0; more; n++ {
					var err error
					if more, err = s.Reclaim(most); err != nil {
						t.Fatal(err)
					}
					if n > 10*keys {
						t.Fatalf("there is no end of reclaiming")
					}
				}
			}
			do(t, s, &CompactRequest{Revision: deleted})
			reclaim()
			if got := s.Status().Bytes; got > full/10 {
				t.Errorf("most=%d later=%d: %d bytes are left of %d when all was deleted", most, later, got, full)
			}
			do(t, s, put("after", ""))
			do(t, s, &CompactRequest{Revision: s.Revision()})
			reclaim()
			left := 0
			check(t, eachRecord(e, spaceVersion, func([]byte, []byte) error { left++; return nil }))
			if want := 1 + later; left != want {
				t.Errorf("most=%d later=%d: %d versions are left, want %d", most, later, left, want)
			}
		}
	}
}

// TestLargeBatchIsDivided: what is too large for one commit is several, of which
// a crash leaves a prefix.
func TestLargeBatchIsDivided(t *testing.T) {
	e := engine.NewMemory(Split)
	s := openOn(t, e)
	entries := make([]rsm.Entry, 24)
	for i := range entries {
		entries[i] = rsm.Entry{Index: raft.Index(i + 1), Command: AppendCommand(nil, &PutRequest{Key: fmt.Append(nil, i), Value: make([]byte, 512<<10)})}
	}
	check(t, s.Apply(entries))
	if n := e.Unflushed(); n < 3 || n > 6 {
		t.Errorf("12 MiB were committed in %d batches", n)
	}
	for keep := range e.Unflushed() + 1 {
		after := openOn(t, e.Crash(keep))
		st := after.Status()
		if st.Revision != 1+int64(st.Applied) || st.Keys != int64(st.Applied) {
			t.Errorf("after a crash: %+v", st)
		}
	}
}
