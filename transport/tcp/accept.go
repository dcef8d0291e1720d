package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

// incoming is a connection that a peer made.
type incoming struct {
	net.Conn
	socket net.Conn // under TLS, or Conn itself
	secure *secureConn
	peer   transport.Identity
	kind   wire.Kind
	// after is the peer's former connection for messages, if it is still there.
	after *incoming
	// done is closed when nothing of this connection will be delivered any more.
	done chan struct{}
}

// inbound is the set of connections that others made. Transport.mu guards it.
type inbound struct {
	// waiting are those whose handshake is not over, oldest first.
	waiting []net.Conn
	// messages is the connection on which each peer sends; snapshots are those
	// on which it sends snapshots.
	messages  map[raft.NodeID]*incoming
	snapshots map[raft.NodeID][]*incoming
}

func (in *inbound) init() {
	in.messages = make(map[raft.NodeID]*incoming)
	in.snapshots = make(map[raft.NodeID][]*incoming)
}

// close closes every connection.
func (in *inbound) close() {
	for _, c := range in.waiting {
		_ = c.Close()
	}
	for id := range in.messages {
		in.closeAll(id)
	}
	for id := range in.snapshots {
		in.closeAll(id)
	}
}

// closeAll closes the connections of a peer.
func (in *inbound) closeAll(id raft.NodeID) {
	if c := in.messages[id]; c != nil {
		_ = c.socket.Close()
	}
	for _, c := range in.snapshots[id] {
		_ = c.socket.Close()
	}
}

// accept takes connections until the transport is closed.
func (t *Transport) accept() {
	pause := backoff{min: 5 * time.Millisecond, max: time.Second}
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			if t.ctx.Err() != nil {
				return
			}
			// Out of file descriptors, most likely: what is open goes on.
			t.complain("cannot accept", slog.Any("error", err))
			timer := time.NewTimer(pause.next())
			select {
			case <-timer.C:
			case <-t.ctx.Done():
				timer.Stop()
				return
			}
			continue
		}
		pause.reset()
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			_ = conn.Close()
			return
		}
		if len(t.inbound.waiting) >= t.config.MaxHandshakes {
			// The oldest had the longest time. A stranger who opens many
			// connections must open them faster than a handshake takes to keep
			// nodes out. It is counted before anybody can see it.
			t.counters.crowded.Add(1)
			_ = t.inbound.waiting[0].Close()
			t.inbound.waiting = slices.Delete(t.inbound.waiting, 0, 1)
		}
		t.inbound.waiting = append(t.inbound.waiting, conn)
		t.wg.Go(func() { t.serve(conn) })
		t.mu.Unlock()
	}
}

// settle takes conn off the connections whose handshake is not over.
func (t *Transport) settle(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.inbound.waiting, conn); i >= 0 {
		t.inbound.waiting = slices.Delete(t.inbound.waiting, i, i+1)
	}
}

// serve is the life of one accepted connection.
func (t *Transport) serve(conn net.Conn) {
	defer conn.Close()
	c, err := t.welcome(conn)
	if err != nil {
		t.settle(conn)
		if t.ctx.Err() == nil && !errors.Is(err, io.EOF) {
			t.complain("connection refused", slog.String("from", conn.RemoteAddr().String()), slog.Any("error", err))
		}
		return
	}
	t.counters.accepted.Add(1)
	if c.kind == wire.MessageConnection {
		t.receiveMessages(c)
	} else {
		t.receiveSnapshot(c)
	}
	t.leave(c)
}

// welcome is the acceptor's side of the handshake. A connection that it returns is
// registered, and is to be ended with leave.
func (t *Transport) welcome(conn net.Conn) (*incoming, error) {
	c := &incoming{Conn: conn, socket: conn, done: make(chan struct{})}
	if err := conn.SetDeadline(time.Now().Add(t.config.HandshakeTimeout)); err != nil {
		return nil, err
	}
	if t.tls != nil {
		secure, err := t.tls.server(conn)
		if err != nil {
			t.counters.refused.Add(1)
			if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
				t.refuse(c, errors.New("this node speaks TLS and the peer does not"))
			}
			return nil, err
		}
		c.secure, c.Conn = secure, secure
	}
	typ, payload, err := wire.ReadFrame(c.Conn, wire.HandshakeMax, nil)
	if err == nil && typ != wire.Hello {
		err = fmt.Errorf("%w: unexpected %v", wire.ErrCorrupt, typ)
	}
	var hello wire.HelloFrame
	if err == nil {
		hello, err = wire.DecodeHello(payload)
	}
	if errors.Is(err, wire.ErrCorrupt) || errors.Is(err, wire.ErrVersion) {
		t.counters.corrupt.Add(1)
		t.refuse(c, err)
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if err != nil {
		return nil, err
	}
	c.peer, c.kind = hello.From, hello.Kind
	if err := t.checkHello(c, &hello); err != nil {
		t.counters.refused.Add(1)
		t.refuse(c, err)
		return nil, err
	}
	if err := t.enter(c); err != nil {
		t.counters.refused.Add(1)
		t.refuse(c, err)
		return nil, err
	}
	w := wire.WelcomeFrame{From: t.self, Nonce: hello.Nonce, FrameMax: uint32(t.config.MaxFrameBytes)}
	_, err = c.Write(w.Frame())
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		t.leave(c)
		return nil, err
	}
	if c.secure != nil {
		c.secure.admitted()
	}
	return c, nil
}

// checkHello decides whether the peer may come in (PS-10).
func (t *Transport) checkHello(c *incoming, h *wire.HelloFrame) error {
	switch {
	case h.From.Cluster != t.self.Cluster:
		return fmt.Errorf("node %d is of cluster %x, node %d of cluster %x", t.self.Node, t.self.Cluster, h.From.Node, h.From.Cluster)
	case h.To != t.self.Node:
		return fmt.Errorf("this is node %d, not node %d", t.self.Node, h.To)
	case h.From.Node == raft.None || h.From.Node == t.self.Node:
		return fmt.Errorf("node %d cannot be reached by node %d", t.self.Node, h.From.Node)
	case h.FrameMax < 2*frameSoft:
		return fmt.Errorf("node %d accepts frames of only %d bytes", h.From.Node, h.FrameMax)
	}
	if c.secure != nil {
		leaf := c.secure.ConnectionState().PeerCertificates[0]
		if err := t.tls.checkNode(leaf, h.From.Node); err != nil {
			return err
		}
	}
	return t.handler.Admit(h.From)
}

// enter registers a connection. A peer has one for messages: a new one means that
// the old one is dead, which this side may learn much later. A peer that comes
// with another incarnation ends all connections of the former one.
func (t *Transport) enter(c *incoming) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return transport.ErrClosed
	}
	id := c.peer.Node
	old := t.inbound.messages[id]
	if old != nil && (c.kind == wire.MessageConnection || old.peer.Incarnation != c.peer.Incarnation) {
		_ = old.socket.Close()
	}
	others := 0
	for _, s := range t.inbound.snapshots[id] {
		if s.peer.Incarnation != c.peer.Incarnation {
			_ = s.socket.Close()
		} else {
			others++
		}
	}
	if c.kind == wire.SnapshotConnection {
		if others >= t.config.MaxSnapshotsPerPeer {
			return fmt.Errorf("node %d receives %d snapshots from node %d already; try again later", t.self.Node, others, id)
		}
		t.inbound.snapshots[id] = append(t.inbound.snapshots[id], c)
	} else {
		c.after = old
		t.inbound.messages[id] = c
	}
	if i := slices.Index(t.inbound.waiting, c.socket); i >= 0 {
		t.inbound.waiting = slices.Delete(t.inbound.waiting, i, i+1)
	}
	if p := t.peers[id]; p != nil {
		p.reachable()
	}
	return nil
}

// leave undoes enter.
func (t *Transport) leave(c *incoming) {
	if c.after != nil {
		<-c.after.done
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	close(c.done)
	id := c.peer.Node
	if t.inbound.messages[id] == c {
		delete(t.inbound.messages, id)
	}
	if s := t.inbound.snapshots[id]; c.kind == wire.SnapshotConnection {
		if s = slices.DeleteFunc(s, func(o *incoming) bool { return o == c }); len(s) == 0 {
			delete(t.inbound.snapshots, id)
		} else {
			t.inbound.snapshots[id] = s
		}
	}
}

// lingerTimeout and lingerMax bound how long a peer is given to read why it was
// refused: bytes of its own that nobody read would reset the connection, and the
// reason with it.
const (
	lingerTimeout = time.Second
	lingerMax     = 4 << 20
)

// refuse tells the peer why this connection ends, as far as it still listens.
func (t *Transport) refuse(c *incoming, reason error) {
	_ = c.socket.SetDeadline(time.Now().Add(lingerTimeout))
	if _, err := c.Write(wire.RefusalFrame(reason.Error())); err != nil {
		return
	}
	if half, ok := c.socket.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c.socket, lingerMax)
	}
}
