package tcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

// outgoing is an established connection that this node dialled.
type outgoing struct {
	net.Conn
	// socket is what is under TLS, or Conn itself.
	socket net.Conn
	// address is what was dialled; frameMax the largest frame accepted there.
	address  string
	frameMax int
	// secure is the TLS side of Conn, which buffers until flush; else nil.
	secure *secureConn

	timeout time.Duration
	// deadline is the write deadline in force, written by whoever writes.
	deadline time.Time
	buffers  net.Buffers
	parts    net.Buffers

	// raw, if not nil, allows writing without waiting; attempt is tryWrite's
	// function for it, and rest, wrote, wroteErr its argument and results.
	raw      syscall.RawConn
	attempt  func(fd uintptr) bool
	rest     []byte
	wrote    int
	wroteErr error

	once   sync.Once
	failed chan struct{}
	err    error // set before failed is closed
}

// fail closes the connection for a reason. Only the first is kept.
func (c *outgoing) fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.failed)
		_ = c.socket.Close()
	})
}

// inline reports whether tryWrite works.
func (c *outgoing) inline() bool { return c.raw != nil }

// arm sees to it that writing fails if it takes longer than the timeout. Deadlines
// cost something, so one is good for several writes.
func (c *outgoing) arm() error {
	now := time.Now()
	if c.deadline.Sub(now) >= c.timeout {
		return nil
	}
	c.deadline = now.Add(2 * c.timeout)
	return c.SetWriteDeadline(c.deadline)
}

// tryWrite writes as much of a sealed frame in one piece as it can without waiting.
func (c *outgoing) tryWrite(b *batch) (int, error) {
	if err := c.arm(); err != nil {
		return 0, err
	}
	c.parts = b.Buffers(c.parts[:0])
	c.rest = c.parts[0]
	err := c.raw.Write(c.attempt)
	clear(c.parts)
	c.rest = nil
	if err == nil {
		err = c.wroteErr
	}
	return c.wrote, err
}

// write writes sealed frames, the first from an offset on, and waits until the
// operating system has them.
func (c *outgoing) write(batches []*batch, from int) error {
	if len(batches) == 0 {
		return nil
	}
	if err := c.arm(); err != nil {
		return err
	}
	c.parts = c.parts[:0]
	for _, b := range batches {
		c.parts = b.Buffers(c.parts)
	}
	// Only a frame in one piece is ever written in part.
	c.parts[0] = c.parts[0][from:]
	defer clear(c.parts)
	if c.secure == nil {
		c.buffers = c.parts
		_, err := c.buffers.WriteTo(c.Conn)
		return err
	}
	for _, part := range c.parts {
		if _, err := c.secure.Write(part); err != nil {
			return err
		}
	}
	return c.secure.flush()
}

// watch waits for the end of a connection on which the peer sends nothing, unless
// it has a reason to end it.
func (c *outgoing) watch() {
	typ, payload, err := wire.ReadFrame(c.Conn, wire.HandshakeMax, nil)
	switch {
	case err == nil && typ == wire.Refusal:
		c.fail(refused(wire.DecodeRefusal(payload)))
	case err == nil:
		c.fail(fmt.Errorf("%w: unexpected %v", wire.ErrCorrupt, typ))
	case errors.Is(err, io.EOF):
		c.fail(errors.New("transport: the peer closed the connection"))
	default:
		c.fail(err)
	}
}

// refused is the error for what a peer said.
func refused(reason string) error { return fmt.Errorf("%w: %s", transport.ErrRefused, reason) }

// connect tries the addresses in order and gives the first connection for messages
// that both sides agree to.
func (t *Transport) connect(ctx context.Context, to raft.NodeID, addresses []string) (*outgoing, error) {
	var result error
	for _, address := range addresses {
		c, err := t.dial(ctx, to, address, wire.MessageConnection)
		if err == nil {
			return c, nil
		}
		err = fmt.Errorf("node %d at %s: %w", to, address, err)
		// A refusal says more than that another address did not answer.
		if result == nil || errors.Is(err, transport.ErrRefused) || !errors.Is(result, transport.ErrRefused) {
			result = err
		}
	}
	return nil, result
}

// dial makes one connection and shakes hands on it.
func (t *Transport) dial(ctx context.Context, to raft.NodeID, address string, kind wire.Kind) (*outgoing, error) {
	dialer := net.Dialer{Timeout: t.config.DialTimeout, KeepAliveConfig: t.keepAlive()}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	timeout := t.config.DeadPeerTimeout
	if kind == wire.SnapshotConnection {
		timeout = t.config.SnapshotIdleTimeout
	}
	tuneSocket(conn, timeout)
	c := &outgoing{Conn: conn, socket: conn, address: address, timeout: timeout, failed: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := t.introduce(c, to, kind); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if !stop() {
		_ = conn.Close()
		return nil, context.Cause(ctx)
	}
	return c, nil
}

// introduce is the dialer's side of the handshake.
func (t *Transport) introduce(c *outgoing, to raft.NodeID, kind wire.Kind) error {
	if err := c.SetDeadline(time.Now().Add(t.config.HandshakeTimeout)); err != nil {
		return err
	}
	if t.config.TLS != nil {
		secure, err := t.tls.client(c.Conn, c.address, to)
		if err != nil {
			return err
		}
		c.secure, c.Conn = secure, secure
	}
	hello := wire.HelloFrame{From: t.self, To: to, FrameMax: uint32(t.config.MaxFrameBytes), Kind: kind}
	_, _ = rand.Read(hello.Nonce[:]) // never fails
	if _, err := c.Write(hello.Frame()); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	typ, payload, err := wire.ReadFrame(c.Conn, wire.HandshakeMax, nil)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("handshake: the peer closed the connection; see its log for the reason")
	case err != nil:
		return fmt.Errorf("handshake: %w", err)
	case typ == wire.Refusal:
		return refused(wire.DecodeRefusal(payload))
	case typ != wire.Welcome:
		return fmt.Errorf("handshake: %w: unexpected %v", wire.ErrCorrupt, typ)
	}
	welcome, err := wire.DecodeWelcome(payload)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if err := t.checkWelcome(&welcome, &hello); err != nil {
		_, _ = c.Write(wire.RefusalFrame(err.Error()))
		return err
	}
	c.frameMax = int(min(uint64(welcome.FrameMax), uint64(t.config.MaxFrameBytes)))
	if c.secure != nil {
		c.secure.established()
	} else if kind == wire.MessageConnection && !t.config.noInline {
		c.enableInline()
	}
	return c.SetDeadline(time.Time{})
}

// checkWelcome decides whether the node that answered is the one that was meant
// (PS-10).
func (t *Transport) checkWelcome(w *wire.WelcomeFrame, h *wire.HelloFrame) error {
	switch {
	case w.Nonce != h.Nonce:
		return errors.New("handshake: the answer belongs to another handshake")
	case w.From.Cluster != t.self.Cluster:
		return fmt.Errorf("handshake: this node is of cluster %x, the peer of cluster %x", t.self.Cluster, w.From.Cluster)
	case w.From.Node != h.To:
		return fmt.Errorf("handshake: reached node %d instead of node %d", w.From.Node, h.To)
	case w.FrameMax < 2*frameSoft:
		return fmt.Errorf("handshake: the peer accepts frames of only %d bytes", w.FrameMax)
	}
	if err := t.handler.Admit(w.From); err != nil {
		return fmt.Errorf("handshake: this node refuses node %d: %w", w.From.Node, err)
	}
	return nil
}
