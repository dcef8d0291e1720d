package transporttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// sink records a transfer.
type sink struct {
	n      *node
	offer  transport.SnapshotOffer
	offset uint64
	// gate, if not nil, holds Write back until it is closed.
	gate chan struct{}
	// writeErr and finishErr are what Write and Finish return.
	writeErr, finishErr error

	// What follows is guarded by n.mu.
	content  []byte
	writing  bool
	finished int
	aborted  []error
}

func (n *node) newSink(offer transport.SnapshotOffer, offset uint64) *sink {
	s := &sink{n: n, offer: offer, offset: offset}
	n.update(func() { n.sinks = append(n.sinks, s) })
	return s
}

// receiveWith makes every further transfer go to a sink that f prepared.
func (n *node) receiveWith(offset uint64, f func(*sink)) {
	n.update(func() {
		n.receive = func(_ context.Context, offer transport.SnapshotOffer) (transport.SnapshotSink, error) {
			s := &sink{n: n, offer: offer, offset: offset}
			f(s)
			n.update(func() { n.sinks = append(n.sinks, s) })
			return s, nil
		}
	})
}

func (s *sink) Offset() uint64 { return s.offset }

func (s *sink) Write(p []byte) (int, error) {
	s.n.update(func() { s.writing = true })
	if s.gate != nil {
		<-s.gate
	}
	if s.writeErr != nil {
		return 0, s.writeErr
	}
	s.n.update(func() { s.content = append(s.content, p...) })
	return len(p), nil
}

func (s *sink) Finish(context.Context) error {
	s.n.update(func() { s.finished++ })
	return s.finishErr
}

func (s *sink) Abort(err error) { s.n.update(func() { s.aborted = append(s.aborted, err) }) }

// ended waits until the transfer has ended, and says whether it was finished.
func (s *sink) ended() (finished bool) {
	s.n.t.Helper()
	s.n.await("end of the transfer", func() bool { return s.finished+len(s.aborted) > 0 })
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.finished+len(s.aborted) != 1 {
		s.n.t.Errorf("transfer finished %d times and aborted with %v", s.finished, s.aborted)
	}
	return s.finished == 1
}

// content is size bytes that do not repeat soon.
func content(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)*7 ^ byte(i>>16)*13
	}
	return b
}

// source opens b at an offset.
func source(b []byte) func(uint64) (io.ReadCloser, error) {
	return func(offset uint64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b[offset:])), nil
	}
}

func nothing(uint64) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }

// offerOf is an offer of b with every field set.
func offerOf(b []byte) transport.SnapshotOffer {
	return transport.SnapshotOffer{
		Group: 3, Term: 4, Round: 5, Size: uint64(len(b)), ID: 6,
		Meta: raft.SnapshotMeta{
			ID: raft.EntryID{Term: 7, Index: 8},
			Configuration: raft.ConfigurationEntry{
				ID: raft.EntryID{Term: 1, Index: 2},
				Configuration: raft.Configuration{
					Members: []raft.Member{{ID: 1, Incarnation: 2, Role: raft.Voter, Addresses: []string{"x:1"}}},
				},
			},
			MaxTimestamp: 9,
		},
	}
}

func testSnapshot(b *bench) {
	from, to := b.pair(Options{})
	for i, size := range []int{0, 1, 64 << 10, 1<<20 + 17} {
		want := content(size)
		offer := offerOf(want)
		if err := from.SendSnapshot(b.Context(), 2, offer, source(want)); err != nil {
			b.Fatalf("SendSnapshot of %d bytes: %v", size, err)
		}
		s := to.sinks[i]
		if !s.ended() {
			b.Fatalf("%d bytes: transfer was aborted", size)
		}
		if !bytes.Equal(s.content, want) {
			b.Errorf("%d bytes: content differs, %d bytes arrived", size, len(s.content))
		}
		offer.From = 1
		if !reflect.DeepEqual(s.offer, offer) {
			b.Errorf("offer:\n got %+v\nwant %+v", s.offer, offer)
		}
	}
}

func testSnapshotResume(b *bench) {
	from, to := b.pair(Options{})
	want := content(300_000)
	for i, offset := range []uint64{1, 299_999, 300_000} {
		to.receiveWith(offset, func(*sink) {})
		var opened []uint64
		err := from.SendSnapshot(b.Context(), 2, offerOf(want), func(o uint64) (io.ReadCloser, error) {
			opened = append(opened, o)
			return source(want)(o)
		})
		if err != nil {
			b.Fatalf("SendSnapshot from %d: %v", offset, err)
		}
		if len(opened) != 1 || opened[0] != offset {
			b.Errorf("opened at %d, want once at %d", opened, offset)
		}
		if s := to.sinks[i]; !s.ended() || !bytes.Equal(s.content, want[offset:]) {
			b.Errorf("from %d: %d bytes arrived, finished %d", offset, len(s.content), s.finished)
		}
	}
	// A receiver cannot hold more than there is.
	to.receiveWith(300_001, func(*sink) {})
	if err := from.SendSnapshot(b.Context(), 2, offerOf(want), source(want)); err == nil {
		b.Error("a transfer from beyond the end succeeded")
	}
	if to.sinks[3].ended() {
		b.Error("a transfer from beyond the end was finished")
	}
}

func testSnapshotStalls(b *bench) {
	from, to := b.pair(Options{})
	gate := make(chan struct{})
	to.receiveWith(0, func(s *sink) { s.gate = gate })
	// More than the network holds, so that the sender stalls as well.
	want := content(16 << 20)
	sent := make(chan error, 1)
	go func() { sent <- from.SendSnapshot(b.Context(), 2, offerOf(want), source(want)) }()
	to.await("transfer", func() bool { return len(to.sinks) == 1 && to.sinks[0].writing })
	for i := range 200 {
		from.must(2, heartbeat(1, i))
		to.awaitReceived(i + 1)
	}
	select {
	case err := <-sent:
		b.Fatalf("SendSnapshot returned %v while the receiver was stalled", err)
	default:
	}
	close(gate)
	if err := <-sent; err != nil {
		b.Fatalf("SendSnapshot: %v", err)
	}
	if s := to.sinks[0]; !s.ended() || !bytes.Equal(s.content, want) {
		b.Errorf("%d bytes arrived, finished %d", len(s.content), s.finished)
	}
}

func testSnapshotRefused(b *bench) {
	from, to := b.pair(Options{})
	want := content(4 << 20)
	refused := func(when string, reason string) {
		b.Helper()
		err := from.SendSnapshot(b.Context(), 2, offerOf(want), source(want))
		if !errors.Is(err, transport.ErrRefused) || !strings.Contains(err.Error(), reason) {
			b.Errorf("%s: %v, want a refusal with %q", when, err, reason)
		}
	}
	to.update(func() {
		to.receive = func(context.Context, transport.SnapshotOffer) (transport.SnapshotSink, error) {
			return nil, errors.New("a newer snapshot is here")
		}
	})
	refused("ReceiveSnapshot fails", "a newer snapshot is here")
	to.receiveWith(0, func(s *sink) { s.writeErr = errors.New("the disk is full") })
	refused("Write fails", "the disk is full")
	if to.sinks[0].ended() {
		b.Error("a transfer that could not be written was finished")
	}
	to.receiveWith(0, func(s *sink) { s.finishErr = errors.New("the checksum is wrong") })
	refused("Finish fails", "the checksum is wrong")
	if !to.sinks[1].ended() {
		b.Error("a whole transfer was aborted")
	}
}

func testSnapshotSourceFails(b *bench) {
	from, to := b.pair(Options{})
	want := content(1 << 20)
	broken := errors.New("unreadable")
	fails := func(i int, open func(uint64) (io.ReadCloser, error), cause error) {
		b.Helper()
		if err := from.SendSnapshot(b.Context(), 2, offerOf(want), open); !errors.Is(err, cause) {
			b.Errorf("SendSnapshot: %v, want %v", err, cause)
		}
		to.await("transfer", func() bool { return len(to.sinks) > i })
		if to.sinks[i].ended() {
			b.Error("an incomplete transfer was finished")
		}
	}
	fails(0, func(uint64) (io.ReadCloser, error) { return nil, broken }, broken)
	fails(1, source(want[:600_000]), io.ErrUnexpectedEOF)
}

func testSnapshotContext(b *bench) {
	from, to := b.pair(Options{})
	want := content(16 << 20)
	gate := make(chan struct{})
	to.receiveWith(0, func(s *sink) { s.gate = gate })
	ctx, cancel := context.WithCancel(b.Context())
	sent := make(chan error, 1)
	go func() { sent <- from.SendSnapshot(ctx, 2, offerOf(want), source(want)) }()
	to.await("transfer", func() bool { return len(to.sinks) == 1 && to.sinks[0].writing })
	cancel()
	// It ends although the receiver does not move.
	if err := <-sent; !errors.Is(err, context.Canceled) {
		b.Errorf("SendSnapshot: %v, want %v", err, context.Canceled)
	}
	close(gate)
	if to.sinks[0].ended() {
		b.Error("a transfer that was given up was finished")
	}
	// A context that has ended already sends nothing.
	if err := from.SendSnapshot(ctx, 2, offerOf(want), source(want)); !errors.Is(err, context.Canceled) {
		b.Errorf("SendSnapshot: %v, want %v", err, context.Canceled)
	}
	// Nor does a transfer outlive its transports.
	stalled := make(chan struct{})
	to.receiveWith(0, func(s *sink) { s.gate = stalled })
	go func() { sent <- from.SendSnapshot(b.Context(), 2, offerOf(want), source(want)) }()
	to.await("transfer", func() bool { return len(to.sinks) == 2 && to.sinks[1].writing })
	if err := from.Close(); err != nil {
		b.Fatal(err)
	}
	if err := <-sent; !errors.Is(err, transport.ErrClosed) {
		b.Errorf("SendSnapshot: %v, want %v", err, transport.ErrClosed)
	}
	close(stalled)
	if to.sinks[1].ended() {
		b.Error("a transfer whose sender closed was finished")
	}
}

func testSnapshotsTogether(b *bench) {
	from, to := b.pair(Options{})
	want := content(2 << 20)
	var all sync.WaitGroup
	errs := make(chan error, 3)
	for range cap(errs) {
		all.Go(func() { errs <- from.SendSnapshot(b.Context(), 2, offerOf(want), source(want)) })
	}
	for i := range 100 {
		from.must(2, heartbeat(1, i))
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			b.Errorf("SendSnapshot: %v", err)
		}
	}
	to.awaitReceived(100)
	for _, s := range to.sinks {
		if !s.ended() || !bytes.Equal(s.content, want) {
			b.Errorf("%d bytes arrived, finished %d", len(s.content), s.finished)
		}
	}
}
