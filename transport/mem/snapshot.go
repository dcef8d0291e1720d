package mem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

const snapshotChunk = 64 << 10

// SendSnapshot sends a snapshot and returns when the peer has installed it, refused
// it, or ctx ends. The peer's handler is called on a goroutine of this call.
func (t *Transport) SendSnapshot(ctx context.Context, to raft.NodeID, offer transport.SnapshotOffer,
	open func(offset uint64) (io.ReadCloser, error),
) error {
	t.mu.Lock()
	p := t.peers[to]
	switch {
	case t.closed || !t.started:
		t.mu.Unlock()
		return transport.ErrClosed
	case p == nil:
		t.mu.Unlock()
		return fmt.Errorf("%w: node %d", transport.ErrUnknownPeer, to)
	}
	t.wg.Add(1)
	t.mu.Unlock()
	defer t.wg.Done()

	p.mu.Lock()
	addresses := slices.Clone(p.addresses)
	p.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c, _, err := t.connect(to, addresses, true)
	if err != nil {
		return err
	}
	defer c.end(errBroken)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(transport.ErrClosed) })()

	// The receiver's side runs beside this one: what blocks there must not keep
	// this one from ending with ctx.
	pipe := &pipe{chunks: make(chan []byte), offset: make(chan uint64, 1), result: make(chan error, 1)}
	if !c.to.visit() {
		return errBroken
	}
	go func() {
		defer c.to.leave()
		pipe.result <- t.receive(c, offer, pipe)
	}()
	err = t.feed(ctx, c, pipe, to, offer.Size, open)
	if err == nil {
		return nil
	}
	c.fail(err)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// pipe joins the two sides of a transfer.
type pipe struct {
	// offset carries the receiver's offset, result how it ended.
	offset chan uint64
	result chan error
	// chunks carries content, and a nil chunk its end.
	chunks chan []byte
}

// feed is the sender's side.
func (t *Transport) feed(ctx context.Context, c *conn, p *pipe, to raft.NodeID, size uint64,
	open func(uint64) (io.ReadCloser, error),
) error {
	var offset uint64
	select {
	case offset = <-p.offset:
	case err := <-p.result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.broken:
		return c.err
	}
	source, err := open(offset)
	if err != nil {
		return err
	}
	defer source.Close()
	for {
		var chunk []byte
		if n := min(snapshotChunk, size-offset); n > 0 {
			chunk = make([]byte, n)
			if _, err := io.ReadFull(source, chunk); err != nil {
				return fmt.Errorf("read at %d of %d bytes: %w", offset, size, err)
			}
			offset += n
		}
		if err := t.pass(ctx, c, to); err != nil {
			return err
		}
		select {
		case p.chunks <- chunk:
		case err := <-p.result:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.broken:
			return c.err
		}
		if chunk == nil {
			break
		}
	}
	select {
	case err := <-p.result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.broken:
		return c.err
	}
}

// pass waits while the link is cut.
func (t *Transport) pass(ctx context.Context, c *conn, to raft.NodeID) error {
	for {
		cut, _, changed := t.network.state(t.id, to)
		if !cut {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.broken:
			return c.err
		}
	}
}

// receive is the receiver's side, at c.to.
func (t *Transport) receive(c *conn, offer transport.SnapshotOffer, p *pipe) error {
	refuse := func(err error) error { return fmt.Errorf("%w: %s", transport.ErrRefused, err.Error()) }
	// Over the wire and back, so that nothing is shared.
	frame, err := wire.OfferFrame(&offer)
	if err == nil {
		offer, err = wire.DecodeOffer(frame[wire.HeaderSize:], t.id)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.to.ctx)
	defer cancel()
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-c.broken:
			cancel()
		case <-stop:
		}
	}()
	defer func() { close(stop); <-stopped }()
	sink, err := c.to.handler.ReceiveSnapshot(ctx, offer)
	if err != nil {
		return refuse(err)
	}
	if err := fill(c, sink, offer.Size, p); err != nil {
		sink.Abort(err)
		return refuse(err)
	}
	if err := sink.Finish(c.to.ctx); err != nil {
		return refuse(err)
	}
	return nil
}

// fill gives the sink all chunks.
func fill(c *conn, sink transport.SnapshotSink, size uint64, p *pipe) error {
	offset := sink.Offset()
	if offset > size {
		return fmt.Errorf("mem: the receiver holds %d bytes of a snapshot of %d", offset, size)
	}
	p.offset <- offset
	for {
		var chunk []byte
		select {
		case chunk = <-p.chunks:
		case <-c.broken:
			return c.err
		}
		if chunk == nil {
			if offset != size {
				return errors.New("mem: snapshot ends early")
			}
			return nil
		}
		n, err := sink.Write(chunk)
		if err == nil && n != len(chunk) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return err
		}
		offset += uint64(n)
	}
}
