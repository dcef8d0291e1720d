package store

import (
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store/engine"
)

func openMemory(t testing.TB) *Store {
	t.Helper()
	return openOn(t, engine.NewMemory(Split))
}

func openOn(t testing.TB, e engine.Engine) *Store {
	t.Helper()
	s, err := Open(e, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// do applies commands in one batch and gives what they answer.
func do(t testing.TB, s *Store, cmds ...Command) []answered {
	t.Helper()
	first := s.Status().Applied + 1
	entries := make([]rsm.Entry, len(cmds))
	for i, cmd := range cmds {
		entries[i] = rsm.Entry{Index: first + raft.Index(i), Term: 1, Timestamp: int64(first) + int64(i), Command: AppendCommand(nil, cmd)}
	}
	if err := s.Apply(entries); err != nil {
		t.Fatal(err)
	}
	out := make([]answered, len(cmds))
	for i, cmd := range cmds {
		out[i].Response, out[i].Err = DecodeResult(cmd, entries[i].Result)
	}
	return out
}

type answered struct {
	Response
	Err error
}

func put(key, value string) *PutRequest { return &PutRequest{Key: []byte(key), Value: []byte(value)} }

func TestPutAndGet(t *testing.T) {
	s := openMemory(t)
	got := do(t, s, put("a", "1"), put("b", "2"), put("a", "3"))
	if rev := got[2].Response.(*PutResponse).Revision; rev != 4 {
		t.Errorf("got revision %d, want 4", rev)
	}
	resp, err := s.Range(t.Context(), &RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}})
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.KVs) != 2 || string(resp.KVs[0].Value) != "3" || resp.KVs[0].Version != 2 || resp.KVs[0].CreateRevision != 2 {
		t.Errorf("got %+v", resp)
	}
	resp, err = s.Range(t.Context(), &RangeRequest{Key: []byte("a"), Revision: 3})
	if err != nil || len(resp.KVs) != 1 || string(resp.KVs[0].Value) != "1" {
		t.Errorf("got %+v, %v", resp, err)
	}
}

// A refused transaction leaves nothing behind for the rest of its batch to see,
// also of a key that the batch had changed before.
func TestRefusedTransactionLeavesNothing(t *testing.T) {
	s := openMemory(t)
	refused := &TxnRequest{Success: []RequestOp{
		{Put: put("a", "2")},
		{Put: &PutRequest{Key: []byte("b"), Value: []byte("2"), Lease: 99}}, // there is no such lease
	}}
	look := &TxnRequest{Success: []RequestOp{{Range: &RangeRequest{Key: []byte("a")}}}}
	got := do(t, s, put("a", "1"), refused, look, put("a", "3"))
	if got[1].Err == nil {
		t.Fatal("the lease is not missed")
	}
	seen := got[2].Response.(*TxnResponse).Responses[0].Range.KVs
	if len(seen) != 1 || string(seen[0].Value) != "1" || seen[0].Version != 1 {
		t.Errorf("saw %+v after the refusal", seen)
	}
	resp, err := s.Range(t.Context(), &RangeRequest{Key: []byte("a")})
	if err != nil || len(resp.KVs) != 1 || string(resp.KVs[0].Value) != "3" || resp.KVs[0].Version != 2 {
		t.Errorf("got %+v, %v", resp, err)
	}
}
