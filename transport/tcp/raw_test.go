package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

const patience = 30 * time.Second

// recorder is a handler for tests with bare connections.
type recorder struct {
	received chan transport.Envelope
	up       chan raft.NodeID
	down     chan error
	aborted  chan error
	once     sync.Once
	stop     chan struct{}
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{
		received: make(chan transport.Envelope), up: make(chan raft.NodeID), down: make(chan error),
		aborted: make(chan error, 8), stop: make(chan struct{}),
	}
	t.Cleanup(r.close)
	return r
}

// close makes every further call return at once.
func (r *recorder) close() { r.once.Do(func() { close(r.stop) }) }

func (r *recorder) Deliver(envelopes []transport.Envelope) {
	for _, e := range envelopes {
		select {
		case r.received <- e:
		case <-r.stop:
		}
	}
}
func (r *recorder) Admit(transport.Identity) error { return nil }

func (r *recorder) PeerUp(id raft.NodeID) {
	select {
	case r.up <- id:
	case <-r.stop:
	}
}

func (r *recorder) PeerDown(_ raft.NodeID, err error) {
	select {
	case r.down <- err:
	case <-r.stop:
	}
}

func (r *recorder) ReceiveSnapshot(context.Context, transport.SnapshotOffer) (transport.SnapshotSink, error) {
	return recorderSink{r}, nil
}

type recorderSink struct{ r *recorder }

func (s recorderSink) Offset() uint64               { return 0 }
func (s recorderSink) Write(p []byte) (int, error)  { return len(p), nil }
func (s recorderSink) Finish(context.Context) error { return nil }
func (s recorderSink) Abort(err error)              { s.r.aborted <- err }

// await receives, or fails the test.
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// startNode starts a node that is closed with the test.
func startNode(t *testing.T, id raft.NodeID, c Config) (*Transport, *recorder) {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	c.Logger = quiet
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	r := newRecorder(t) // is stopped before tr is closed
	if err := tr.Start(transport.Identity{Node: id, Incarnation: raft.Incarnation(id)}, r); err != nil {
		t.Fatal(err)
	}
	return tr, r
}

// raw is a bare connection to a node.
type raw struct {
	net.Conn
	t *testing.T
}

func dialRaw(t *testing.T, tr *Transport) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", tr.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &raw{conn, t}
}

func (c *raw) write(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// hello shakes hands as a node would.
func (c *raw) hello(from, to raft.NodeID, kind wire.Kind) {
	c.t.Helper()
	h := wire.HelloFrame{
		From: transport.Identity{Node: from, Incarnation: raft.Incarnation(from)}, To: to, FrameMax: 16 << 20, Kind: kind,
	}
	c.write(h.Frame())
	if typ, payload, err := wire.ReadFrame(c, wire.HandshakeMax, nil); err != nil || typ != wire.Welcome {
		c.t.Fatalf("answer to hello: %v %q, %v", typ, payload, err)
	}
}

// ends reads until the node closes the connection, and gives the reason it named.
func (c *raw) ends() (reason string) {
	c.t.Helper()
	for {
		typ, payload, err := wire.ReadFrame(c, wire.HandshakeMax, nil)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
			return reason
		case err != nil:
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				c.t.Fatal("the node did not close the connection")
			}
			return reason // reset
		case typ == wire.Refusal:
			reason = wire.DecodeRefusal(payload)
		}
	}
}

// messages is a frame with one heartbeat.
func messages(t *testing.T, number int) []byte {
	t.Helper()
	q := newQueue()
	e := envelope(1, number, 0)
	if added, err := q.add(&e); !added {
		t.Fatal(err)
	}
	b := q.take(nil)[0]
	b.Seal()
	return b.Buffers(nil)[0]
}

// TestGarbage: whatever comes on a connection ends at most that connection, and is
// counted.
func TestGarbage(t *testing.T) {
	tr, r := startNode(t, 2, Config{})
	change := func(b []byte, at int, to byte) []byte {
		b[at] = to
		return b
	}
	large := messages(t, 1)
	large[8], large[9], large[10], large[11] = 0, 0, 0, 2 // 32 MiB
	chunk := append(make([]byte, wire.HeaderSize), "content"...)
	wire.Seal(chunk, wire.SnapshotChunk)
	offer, err := wire.OfferFrame(&transport.SnapshotOffer{Size: 5})
	if err != nil {
		t.Fatal(err)
	}
	damagedBody := append(make([]byte, wire.HeaderSize), 1, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	wire.Seal(damagedBody, wire.Messages)
	for _, c := range []struct {
		name   string
		kind   wire.Kind // of the handshake before, or zero
		bytes  []byte
		reason string
	}{
		{"not ours", 0, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "magic"},
		{"TLS", 0, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaa"), "TLS"},
		{"version in the handshake", 0, change((&wire.HelloFrame{}).Frame(), 4, 7), "version"},
		{"no hello", 0, messages(t, 1), "unexpected messages"},
		{"long hello", 0, change((&wire.HelloFrame{}).Frame(), 9, 200), "at most 1024"},
		{"damaged hello", 0, change((&wire.HelloFrame{}).Frame(), 20, 9), "checksum"},
		{"garbage", wire.MessageConnection, []byte(strings.Repeat("garbage ", 1000)), "magic"},
		{"damaged message", wire.MessageConnection, change(messages(t, 1), 40, 9), "checksum"},
		{"unknown message", wire.MessageConnection, damagedBody, "unknown kind of message 99"},
		{"version", wire.MessageConnection, change(messages(t, 1), 4, 2), "version"},
		{"type", wire.MessageConnection, change(messages(t, 1), 5, 200), "type"},
		{"another frame", wire.MessageConnection, chunk, "unexpected snapshot chunk"},
		{"too large", wire.MessageConnection, large, "at most"},
		{"no offer", wire.SnapshotConnection, chunk, "unexpected snapshot chunk"},
		{"more than offered", wire.SnapshotConnection, append(append([]byte{}, offer...), chunk...), "more than the 5 bytes"},
		{"less than offered", wire.SnapshotConnection, append(append([]byte{}, offer...), wire.NumberFrame(wire.SnapshotEnd, 5)...), "ends after 0"},
	} {
		conn := dialRaw(t, tr)
		if c.kind != 0 {
			conn.hello(7, 2, c.kind)
		}
		before := tr.Counts().Corrupt
		conn.write(c.bytes)
		if reason := conn.ends(); !strings.Contains(reason, c.reason) {
			t.Errorf("%s: closed with %q, want %q", c.name, reason, c.reason)
		}
		if c.kind != wire.SnapshotConnection && tr.Counts().Corrupt != before+1 {
			t.Errorf("%s: not counted", c.name)
		}
	}
	// A connection that ends in a frame.
	conn := dialRaw(t, tr)
	conn.hello(7, 2, wire.MessageConnection)
	conn.write(messages(t, 1)[:30])
	_ = conn.Close()
	// What is good before what is not is delivered, and others go on.
	conn = dialRaw(t, tr)
	conn.hello(7, 2, wire.MessageConnection)
	conn.write(append(messages(t, 5), "garbage garbage garbage"...))
	if e := await(t, "message", r.received); round(&e) != 5 || e.Message.From != 7 {
		t.Errorf("received %+v", e)
	}
	conn.ends()
	from, fr := startNode(t, 1, Config{})
	from.SetPeer(2, tr.Address())
	await(t, "connection", fr.up)
	if n := from.Send(2, []transport.Envelope{envelope(1, 6, 0)}); n != 1 {
		t.Fatal("not taken")
	}
	if e := await(t, "message", r.received); round(&e) != 6 {
		t.Errorf("received %+v", e)
	}
}

// TestByteByByte: frames may arrive cut anywhere.
func TestByteByByte(t *testing.T) {
	tr, r := startNode(t, 2, Config{})
	conn := dialRaw(t, tr)
	conn.hello(7, 2, wire.MessageConnection)
	var stream []byte
	for i := range 3 {
		stream = append(stream, messages(t, i)...)
	}
	for i := range stream {
		conn.write(stream[i : i+1])
	}
	for i := range 3 {
		if e := await(t, "message", r.received); round(&e) != i {
			t.Fatalf("message %d arrived, want %d", round(&e), i)
		}
	}
}

// TestSilentHandshakes: connections that say nothing neither stay nor keep others
// out.
func TestSilentHandshakes(t *testing.T) {
	tr, _ := startNode(t, 2, Config{MaxHandshakes: 3})
	var silent []*raw
	for range 10 {
		silent = append(silent, dialRaw(t, tr))
	}
	// The oldest were closed for the sake of the newer ones.
	for _, c := range silent[:7] {
		c.ends()
	}
	if n := tr.Counts().Crowded; n < 7 {
		t.Errorf("%d connections crowded out, want 7", n)
	}
	from, fr := startNode(t, 1, Config{})
	from.SetPeer(2, tr.Address())
	await(t, "connection", fr.up)

	short, _ := startNode(t, 3, Config{HandshakeTimeout: time.Millisecond})
	dialRaw(t, short).ends()
}

// TestTooManySnapshots: one peer does not fill this node with transfers.
func TestTooManySnapshots(t *testing.T) {
	tr, r := startNode(t, 2, Config{MaxSnapshotsPerPeer: 2})
	for range 2 {
		dialRaw(t, tr).hello(7, 2, wire.SnapshotConnection)
	}
	third := dialRaw(t, tr)
	h := wire.HelloFrame{From: transport.Identity{Node: 7, Incarnation: 7}, To: 2, FrameMax: 1 << 20, Kind: wire.SnapshotConnection}
	third.write(h.Frame())
	if reason := third.ends(); !strings.Contains(reason, "2 snapshots") {
		t.Errorf("refused with %q", reason)
	}
	dialRaw(t, tr).hello(8, 2, wire.SnapshotConnection)
	r.close()
}

// TestIdleSnapshot: a transfer on which nothing moves is given up by its receiver.
func TestIdleSnapshot(t *testing.T) {
	tr, r := startNode(t, 2, Config{SnapshotIdleTimeout: 20 * time.Millisecond})
	conn := dialRaw(t, tr)
	conn.hello(7, 2, wire.SnapshotConnection)
	offer, err := wire.OfferFrame(&transport.SnapshotOffer{Size: 5})
	if err != nil {
		t.Fatal(err)
	}
	conn.write(offer)
	err = await(t, "abort", r.aborted)
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
		t.Errorf("aborted with %v, want a timeout", err)
	}
	conn.ends()
}

// impostor listens as a node would and answers each hello with a frame.
func impostor(t *testing.T, answer func(wire.HelloFrame) []byte) (address string, accepted <-chan net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if _, payload, err := wire.ReadFrame(conn, wire.HandshakeMax, nil); err == nil {
				if h, err := wire.DecodeHello(payload); err == nil {
					_, _ = conn.Write(answer(h))
				}
			}
			select {
			case conns <- conn:
			default:
				_ = conn.Close()
			}
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
		close(conns)
		for c := range conns {
			_ = c.Close()
		}
	})
	return listener.Addr().String(), conns
}

// TestImpostors: the dialler checks whom it reached (PS-10).
func TestImpostors(t *testing.T) {
	good := func(h wire.HelloFrame) wire.WelcomeFrame {
		return wire.WelcomeFrame{From: transport.Identity{Node: h.To, Incarnation: 1}, Nonce: h.Nonce, FrameMax: 16 << 20}
	}
	for _, c := range []struct {
		name   string
		answer func(wire.HelloFrame) []byte
		text   string
	}{
		{"another nonce", func(h wire.HelloFrame) []byte {
			w := good(h)
			w.Nonce[0]++
			return w.Frame()
		}, "another handshake"},
		{"another cluster", func(h wire.HelloFrame) []byte {
			w := good(h)
			w.From.Cluster[0]++
			return w.Frame()
		}, "cluster"},
		{"another node", func(h wire.HelloFrame) []byte {
			w := good(h)
			w.From.Node++
			return w.Frame()
		}, "instead of node 2"},
		{"tiny frames", func(h wire.HelloFrame) []byte {
			w := good(h)
			w.FrameMax = 10
			return w.Frame()
		}, "only 10 bytes"},
		{"another frame", func(h wire.HelloFrame) []byte { return h.Frame() }, "unexpected hello"},
		{"another version", func(h wire.HelloFrame) []byte {
			w := good(h)
			b := w.Frame()
			b[4] = 9
			return b
		}, "version"},
		{"another protocol", func(wire.HelloFrame) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, "magic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, _ := impostor(t, c.answer)
			tr, r := startNode(t, 1, Config{})
			tr.SetPeer(2, address)
			if err := await(t, "refusal", r.down); !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %q", err, c.text)
			}
		})
	}
}

// TestStalledReceiver: a peer that accepts and never reads does not hold a
// connection for ever, and Send does not wait for it.
func TestStalledReceiver(t *testing.T) {
	address, _ := impostor(t, func(h wire.HelloFrame) []byte {
		w := wire.WelcomeFrame{From: transport.Identity{Node: h.To, Incarnation: 1}, Nonce: h.Nonce, FrameMax: 16 << 20}
		return w.Frame()
	})
	for _, noInline := range []bool{false, true} {
		tr, r := startNode(t, 1, Config{DeadPeerTimeout: 50 * time.Millisecond, noInline: noInline})
		tr.SetPeer(2, address)
		await(t, "connection", r.up)
		for i := 0; tr.Send(2, []transport.Envelope{envelope(1, i, 100<<10), envelope(1, i, 100)}) == 2; i++ {
			if i > 100_000 {
				t.Fatal("100,000 messages taken, and none is received")
			}
		}
		err := await(t, "end of the connection", r.down)
		if errors.Is(err, transport.ErrRefused) {
			t.Errorf("noInline %v: %v", noInline, err)
		}
		if s := tr.Stats(2); s.Lost == 0 {
			t.Errorf("noInline %v: stats %+v, want what was queued to be lost", noInline, s)
		}
	}
}

// TestReasonAtTheEnd: a peer may say why it ends a connection that stands.
func TestReasonAtTheEnd(t *testing.T) {
	address, accepted := impostor(t, func(h wire.HelloFrame) []byte {
		w := wire.WelcomeFrame{From: transport.Identity{Node: h.To, Incarnation: 1}, Nonce: h.Nonce, FrameMax: 16 << 20}
		return append(w.Frame(), wire.RefusalFrame("enough of you")...)
	})
	tr, r := startNode(t, 1, Config{})
	tr.SetPeer(2, address)
	await(t, "connection", r.up)
	if err := await(t, "end", r.down); !errors.Is(err, transport.ErrRefused) || !strings.Contains(err.Error(), "enough of you") {
		t.Errorf("%v", err)
	}
	_ = (<-accepted).Close()
}

// TestSmallerFrames: a peer that accepts only smaller frames gets no larger ones.
func TestSmallerFrames(t *testing.T) {
	to, r := startNode(t, 2, Config{MaxFrameBytes: 256 << 10})
	from, fr := startNode(t, 1, Config{})
	from.SetPeer(2, to.Address())
	// Queued before anything is known of the peer, or after: either way it is lost.
	from.Send(2, []transport.Envelope{envelope(1, 0, 300<<10)})
	await(t, "connection", fr.up)
	from.Send(2, []transport.Envelope{envelope(1, 1, 300<<10)})
	from.Send(2, []transport.Envelope{envelope(1, 2, 200<<10)})
	if e := await(t, "message", r.received); round(&e) != 2 {
		t.Errorf("message %d arrived, want 2", round(&e))
	}
	if s := from.Stats(2); s.Lost+s.Dropped != 2 || !s.Connected {
		t.Errorf("stats %+v, want 2 lost or dropped", s)
	}
}

func TestAddress(t *testing.T) {
	tr, _ := startNode(t, 1, Config{Advertise: "example.org:7000"})
	if got := tr.Address(); got != "example.org:7000" {
		t.Errorf("Address %q", got)
	}
	if _, err := New(Config{Listen: tr.listener.Addr().String()}); err == nil {
		t.Error("two transports on one address")
	}
}

// TestBytesAreCounted: what one side says that it sent is what the other received,
// and on Linux the round trip is known.
func TestBytesAreCounted(t *testing.T) {
	to, r := startNode(t, 2, Config{})
	from, fr := startNode(t, 1, Config{})
	to.SetPeer(1, from.Address())
	from.SetPeer(2, to.Address())
	await(t, "connection", fr.up)
	await(t, "connection", r.up)
	for i, size := range []int{10, 3 << 20, 100 << 10} { // the second fits into no buffer
		from.Send(2, []transport.Envelope{envelope(1, i, size)})
		await(t, "message", r.received)
	}
	sent := from.Stats(2)
	if runtime.GOOS == "linux" && (sent.RoundTrip <= 0 || sent.RoundTrip > time.Minute) {
		t.Errorf("round trip %v", sent.RoundTrip)
	}
	// What is written is counted after it, so that it may arrive before.
	_ = from.Close()
	sent = from.Stats(2)
	if got := to.Stats(1).Received; got != sent.Bytes || got < 3<<20 {
		t.Errorf("%d bytes received of %d", got, sent.Bytes)
	}
}
