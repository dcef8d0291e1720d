package keyspace

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
)

// oneMember is a group whose reads are confirmed, or fail.
type oneMember struct {
	Group
	store *store.Store
	err   error
	read  func()
}

func (g *oneMember) Read(ctx context.Context, query any) (any, error) {
	if g.err != nil {
		return nil, g.err
	}
	if g.read != nil {
		g.read()
	}
	return g.store.Read(ctx, query)
}

func (g *oneMember) Leader() (raft.NodeID, raft.Term) { return 1, 1 }

// TestDoubtsAreSettled: that a lease is not there, or what is left of it, is told
// only by a member that knows that it leads. A leader that was paused while another
// granted the lease knows nothing of it, and told its holder that it was gone.
func TestDoubtsAreSettled(t *testing.T) {
	s, err := store.Open(engine.NewMemory(store.Split), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	index := raft.Index(0)
	apply := func(c store.Command) {
		t.Helper()
		index++
		if err := s.Apply([]rsm.Entry{{Index: index, Term: 1, Command: store.AppendCommand(nil, c)}}); err != nil {
			t.Fatal(err)
		}
	}
	apply(&store.LeaseGrantRequest{ID: 5, TTL: 60})
	g := &oneMember{store: s}
	p := NewKeeper(Process{})
	k := New(Config{Group: g, Store: s, Keeper: p, Self: 1, Authorizer: AllowAll{}, MaxRequestBytes: 1 << 20, ElectionTimeout: time.Second})
	p.tracker.Promote(time.Now(), s.Leases())

	type answer struct {
		ok     bool
		status byte
		value  int64
	}
	ask := func(kind byte, id int64) *answer {
		got := &answer{}
		p.Answer(question(kind, id))(func(r rsm.Result, ok bool) {
			got.ok = ok
			if ok {
				got.status, got.value = r.Data[0], int64(binary.LittleEndian.Uint64(r.Data[1:]))
			}
		})
		return got
	}
	settle := func() { k.settle(context.Background(), p) }

	// Replaced without knowing it: the read is not confirmed, so nothing is told.
	g.err = node.ErrUnknownOutcome
	for _, kind := range []byte{askKeepAlive, askRemaining} {
		if got := ask(kind, 9); func() bool { settle(); return got.ok }() {
			t.Errorf("question %d: a member that cannot confirm that it leads answered %v", kind, got)
		}
	}
	if got := ask(askRemaining, 5); func() bool { settle(); return got.ok }() {
		t.Errorf("a member that cannot confirm that it leads told what is left: %v", got)
	}
	g.err = nil
	if got := ask(askKeepAlive, 9); func() bool { settle(); return !got.ok || got.status != answerNotFound }() {
		t.Errorf("a lease that is not there: %v", got)
	}
	if got := ask(askRemaining, 5); func() bool { settle(); return !got.ok || got.value < int64(50*time.Second) }() {
		t.Errorf("what is left of 60 s: %v", got)
	}
	// Confirming brought what had been granted elsewhere: it is asked again.
	got := ask(askKeepAlive, 9)
	g.read = func() { apply(&store.LeaseGrantRequest{ID: 9, TTL: 60}) }
	if settle(); got.ok {
		t.Errorf("a lease that has just come is told of as %v", got)
	}
	g.read = nil
	// Who no longer leads answers at once that another is to be asked.
	last := ask(askRemaining, 9)
	p.demote()
	if last.ok || ask(askRemaining, 9).ok || len(p.doubts) != 0 {
		t.Error("a member that does not lead answered, or keeps questions")
	}
}
