package diff

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// divides is a difference that needs a put with a lease and, later, a transaction
// that compares a lease.
func divides(_ context.Context, ops []Op) bool {
	leased := false
	for _, op := range ops {
		switch m := op.Msg.(type) {
		case *pb.PutRequest:
			leased = leased || m.Lease != 0
		case *pb.TxnRequest:
			for _, c := range m.Compare {
				if leased && c.Target == pb.Compare_LEASE {
					return true
				}
			}
		}
	}
	return false
}

// TestShrink: of a long sequence that divides two servers is left what does it,
// and of its requests what they need.
func TestShrink(t *testing.T) {
	ops := Generate(1, 5000)
	if !divides(t.Context(), ops) {
		t.Fatal("the sequence does not divide")
	}
	short := Shrink(t.Context(), ops, 1000, divides)
	if len(short) != 2 {
		t.Fatalf("left are %d operations:\n%s", len(short), Script(short))
	}
	txn := short[1].Msg.(*pb.TxnRequest)
	if len(txn.Compare) != 1 || txn.Success != nil || txn.Failure != nil {
		t.Errorf("left of the transaction is %v", txn)
	}
	t.Log(Script(short))
}

// TestShrinkEnds: it tries no more often than it may.
func TestShrinkEnds(t *testing.T) {
	n := 0
	Shrink(t.Context(), Generate(1, 200), 17, func(context.Context, []Op) bool { n++; return false })
	if n != 17 {
		t.Errorf("tried %d times, want 17", n)
	}
}
