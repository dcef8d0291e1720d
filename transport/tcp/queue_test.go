package tcp

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

func newQueue() *queue {
	return &queue{frameMax: 1 << 20, reference: referenceFrom, bytesMax: 8 << 20, countMax: 1000}
}

func envelope(group raft.GroupID, number, size int) transport.Envelope {
	e := transport.Envelope{Group: group, Message: raft.Message{Body: &raft.AppendEntries{Round: uint64(number)}}}
	if size > 0 {
		e.Entries = [][]byte{make([]byte, size)}
	}
	return e
}

// written takes what is next, ends its accounting and gives it decoded.
func written(t *testing.T, q *queue) (all []transport.Envelope) {
	t.Helper()
	decoder := wire.Decoder{}
	for _, b := range q.take(nil) {
		b.Seal()
		frame := bytes.Join(b.Buffers(nil), nil)
		var err error
		if all, err = decoder.Decode(all, frame[wire.HeaderSize:], true); err != nil {
			t.Fatal(err)
		}
		q.written(b)
	}
	return all
}

func round(e *transport.Envelope) int { return int(e.Message.Body.(*raft.AppendEntries).Round) }

// TestQueueOvertakes: what another group has to say does not wait behind bulk, but
// its own messages do (FC-03, MG-08).
func TestQueueOvertakes(t *testing.T) {
	q := newQueue()
	add := func(e transport.Envelope) {
		t.Helper()
		if added, err := q.add(&e); !added || err != nil {
			t.Fatalf("add: %v, %v", added, err)
		}
	}
	for i := range 60 {
		add(envelope(1, i, 64<<10))
	}
	add(envelope(1, 60, 0)) // heartbeat of the busy group
	add(envelope(2, 0, 0))
	position := make(map[raft.GroupID][]int)
	takes := 0
	for !q.empty() {
		takes++
		for _, e := range written(t, q) {
			if e.Group == 2 {
				if takes != 1 {
					t.Errorf("the other group's heartbeat left with write %d", takes)
				}
				continue
			}
			position[1] = append(position[1], round(&e))
		}
	}
	if takes < 5 {
		t.Errorf("%d writes: bulk left at once", takes)
	}
	for i, n := range position[1] {
		if i != n {
			t.Fatalf("group 1: message %d left in place %d", n, i)
		}
	}
	if len(position[1]) != 61 || q.bytes != 0 || q.count != 0 || len(q.bulkGroups) != 0 || q.frontBytes != 0 {
		t.Errorf("%d messages left; then %d bytes, %d messages, groups %v", len(position[1]), q.bytes, q.count, q.bulkGroups)
	}
}

// TestQueueKeepsOrder: whatever is added and taken, a group's messages leave in
// order, within the bounds, and the accounts are even.
func TestQueueKeepsOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 12 {
		q := newQueue()
		in, out := map[raft.GroupID][]int{}, map[raft.GroupID][]int{}
		next := 0
		leave := func() {
			for _, e := range written(t, q) {
				out[e.Group] = append(out[e.Group], round(&e))
			}
		}
		for range 400 {
			switch random.IntN(12) {
			case 0:
				leave()
			default:
				size := []int{0, 0, 100, 5000, 30_000, 150_000}[random.IntN(6)]
				e := envelope(raft.GroupID(1+random.IntN(4)), next, size)
				added, err := q.add(&e)
				if err != nil {
					t.Fatal(err)
				}
				if added {
					in[e.Group] = append(in[e.Group], next)
				}
				next++
			}
			if q.bytes > q.bytesMax+q.bytesMax/8 || q.count > q.countMax+q.countMax/8+1 {
				t.Fatalf("%d bytes and %d messages queued", q.bytes, q.count)
			}
		}
		for !q.empty() {
			leave()
		}
		for g := range in {
			if len(in[g]) != len(out[g]) {
				t.Fatalf("group %d: %d in, %d out", g, len(in[g]), len(out[g]))
			}
			for i := range in[g] {
				if in[g][i] != out[g][i] {
					t.Fatalf("group %d: in %v, out %v", g, in[g], out[g])
				}
			}
		}
		if q.bytes != 0 || q.count != 0 || len(q.bulkGroups) != 0 {
			t.Fatalf("%d bytes, %d messages, groups %v left", q.bytes, q.count, q.bulkGroups)
		}
	}
}

func TestQueueRefuses(t *testing.T) {
	q := newQueue()
	large := envelope(1, 0, 1<<20)
	if added, err := q.add(&large); added || !errors.Is(err, errTooLarge) {
		t.Errorf("message larger than a frame: %v, %v", added, err)
	}
	empty := transport.Envelope{Group: 1}
	if added, err := q.add(&empty); added || err == nil {
		t.Errorf("message without a body: %v, %v", added, err)
	}
	if q.bytes != 0 || q.count != 0 || !q.empty() {
		t.Errorf("%d bytes and %d messages after what was refused", q.bytes, q.count)
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{min: 10, max: 100}
	for _, bound := range []int64{10, 20, 40, 80, 100, 100} {
		if d := int64(b.next()); d < bound/2 || d > bound {
			t.Errorf("pause %d, want between %d and %d", d, bound/2, bound)
		}
	}
	b.reset()
	if d := b.next(); d > 10 {
		t.Errorf("pause %d after a success, want at most 10", d)
	}
}

func TestConfig(t *testing.T) {
	if err := (Config{Listen: "x:1"}).WithDefaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for name, c := range map[string]Config{
		"no address":       {},
		"small frames":     {Listen: "x:1", MaxFrameBytes: 1000},
		"queue of a frame": {Listen: "x:1", MaxQueueBytes: 1000},
		"negative":         {Listen: "x:1", DialTimeout: -1},
		"backoff":          {Listen: "x:1", BackoffMin: 10, BackoffMax: 5},
		"TLS":              {Listen: "x:1", TLS: &TLSConfig{CAFile: "ca"}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
