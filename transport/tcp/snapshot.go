package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

// snapshotChunk is how much of a snapshot goes into one frame, in bytes, and the
// most that is accepted in one.
const snapshotChunk = 256 << 10

// SendSnapshot sends a snapshot on a connection of its own and returns when the
// peer has installed it, refused it, or ctx ends.
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

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(transport.ErrClosed) })()

	p.mu.Lock()
	addresses := slices.Clone(p.addresses)
	p.mu.Unlock()
	err := t.sendSnapshot(ctx, to, addresses, &offer, open)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("snapshot %d.%d of group %d to node %d: %w", offer.Meta.ID.Term, offer.Meta.ID.Index, offer.Group, to, err)
}

func (t *Transport) sendSnapshot(ctx context.Context, to raft.NodeID, addresses []string, offer *transport.SnapshotOffer,
	open func(offset uint64) (io.ReadCloser, error),
) error {
	frame, err := wire.OfferFrame(offer)
	if err != nil {
		return err
	}
	var c *outgoing
	for _, address := range addresses {
		if c, err = t.dial(ctx, to, address, wire.SnapshotConnection); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	defer c.socket.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.socket.Close() })
	defer stop()
	s := &snapshotSender{c: c, idle: t.config.SnapshotIdleTimeout, answered: make(chan struct{})}
	if err := s.write(frame); err != nil {
		return err
	}
	offset, err := s.resume()
	if err != nil {
		return err
	}
	if offset > offer.Size {
		return fmt.Errorf("%w: resume at %d of a snapshot of %d bytes", wire.ErrCorrupt, offset, offer.Size)
	}

	// The answer may come at any time. It ends the writing.
	answer := make(chan error, 1)
	go func() {
		answer <- s.answer()
		close(s.answered)
		_ = c.SetWriteDeadline(time.Unix(1, 0))
	}()
	err = s.content(open, offset, offer.Size)
	if err != nil {
		// What the peer said explains why it no longer reads. An error of our
		// own source is told by closing.
		var source *sourceError
		if errors.As(err, &source) {
			_ = c.socket.Close()
			<-answer
			return err
		}
		linger := time.AfterFunc(lingerTimeout, func() { _ = c.socket.Close() })
		defer linger.Stop()
		if said := <-answer; errors.Is(said, transport.ErrRefused) {
			return said
		}
		return err
	}
	return <-answer
}

// A sourceError is one of the snapshot that is sent, not of the connection.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// snapshotSender is the sender's side of one transfer. Both sides give up when
// nothing moves for as long as idle; a receiver that is at work says so.
type snapshotSender struct {
	c    *outgoing
	idle time.Duration
	// answered is closed when the receiver has said how it ended.
	answered chan struct{}
}

var errAnswered = errors.New("transport: the receiver answered before the end")

func (s *snapshotSender) write(frame []byte) error {
	if err := s.c.SetWriteDeadline(time.Now().Add(s.idle)); err != nil {
		return err
	}
	// After the deadline: whoever closes answered sets another one then.
	select {
	case <-s.answered:
		return errAnswered
	default:
	}
	if _, err := s.c.Write(frame); err != nil {
		return err
	}
	if s.c.secure != nil {
		return s.c.secure.flush()
	}
	return nil
}

// next reads the next frame that says something.
func (s *snapshotSender) next() (wire.Type, []byte, error) {
	for {
		if err := s.c.SetReadDeadline(time.Now().Add(s.idle)); err != nil {
			return 0, nil, err
		}
		typ, payload, err := wire.ReadFrame(s.c.Conn, wire.HandshakeMax, nil)
		switch {
		case errors.Is(err, io.EOF):
			return 0, nil, io.ErrUnexpectedEOF
		case err != nil:
			return 0, nil, err
		case typ == wire.Refusal:
			return 0, nil, refused(wire.DecodeRefusal(payload))
		case typ != wire.SnapshotWorking:
			return typ, payload, nil
		}
	}
}

func (s *snapshotSender) resume() (uint64, error) {
	typ, payload, err := s.next()
	if err != nil {
		return 0, err
	}
	if typ != wire.SnapshotResume {
		return 0, fmt.Errorf("%w: unexpected %v", wire.ErrCorrupt, typ)
	}
	return wire.DecodeNumber(payload)
}

func (s *snapshotSender) answer() error {
	typ, _, err := s.next()
	if err == nil && typ != wire.SnapshotInstalled {
		err = fmt.Errorf("%w: unexpected %v", wire.ErrCorrupt, typ)
	}
	return err
}

// content sends the bytes [offset, size) and the end.
func (s *snapshotSender) content(open func(uint64) (io.ReadCloser, error), offset, size uint64) error {
	source, err := open(offset)
	if err != nil {
		return &sourceError{err}
	}
	defer source.Close()
	frame := make([]byte, wire.HeaderSize+snapshotChunk)
	for offset < size {
		n := int(min(snapshotChunk, size-offset))
		if _, err := io.ReadFull(source, frame[wire.HeaderSize:wire.HeaderSize+n]); err != nil {
			return &sourceError{fmt.Errorf("read at %d of %d bytes: %w", offset, size, err)}
		}
		chunk := frame[:wire.HeaderSize+n]
		wire.Seal(chunk, wire.SnapshotChunk)
		if err := s.write(chunk); err != nil {
			return err
		}
		offset += uint64(n)
	}
	return s.write(wire.NumberFrame(wire.SnapshotEnd, size))
}

// receiveSnapshot is the receiver's side of one transfer.
func (t *Transport) receiveSnapshot(c *incoming) {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	r := &snapshotReceiver{t: t, c: c, idle: t.config.SnapshotIdleTimeout, cancel: cancel}
	var sign sync.WaitGroup
	sign.Go(func() { r.signs(ctx) })
	err := r.receive(ctx)
	cancel()
	sign.Wait()
	if err == nil {
		_ = c.socket.SetWriteDeadline(time.Now().Add(r.idle))
		_, err = c.Write(wire.EmptyFrame(wire.SnapshotInstalled))
	} else if t.ctx.Err() == nil {
		t.refuse(c, err)
	}
	if err != nil && t.ctx.Err() == nil {
		t.log.Warn("snapshot not received", slog.Uint64("peer", uint64(c.peer.Node)), slog.Any("error", err))
	}
}

type snapshotReceiver struct {
	t      *Transport
	c      *incoming
	idle   time.Duration
	cancel context.CancelFunc
	// mu lets one frame at a time be written.
	mu sync.Mutex
}

func (r *snapshotReceiver) write(frame []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.c.socket.SetWriteDeadline(time.Now().Add(r.idle)); err != nil {
		return err
	}
	_, err := r.c.Write(frame)
	return err
}

// signs tells the sender that this side is at work, until ctx ends.
func (r *snapshotReceiver) signs(ctx context.Context) {
	ticker := time.NewTicker(max(r.idle/4, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if r.write(wire.EmptyFrame(wire.SnapshotWorking)) != nil {
				r.cancel()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (r *snapshotReceiver) read(maxPayload int, buf []byte) (wire.Type, []byte, error) {
	if err := r.c.socket.SetReadDeadline(time.Now().Add(r.idle)); err != nil {
		return 0, nil, err
	}
	typ, payload, err := wire.ReadFrame(r.c.Conn, maxPayload, buf)
	switch {
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	case errors.Is(err, wire.ErrCorrupt) || errors.Is(err, wire.ErrVersion):
		r.t.counters.corrupt.Add(1)
	case err == nil && typ == wire.Refusal:
		err = refused(wire.DecodeRefusal(payload))
	}
	return typ, payload, err
}

func (r *snapshotReceiver) receive(ctx context.Context) error {
	typ, payload, err := r.read(wire.OfferMax, nil)
	if err != nil {
		return err
	}
	if typ != wire.SnapshotOffer {
		return fmt.Errorf("%w: unexpected %v", wire.ErrCorrupt, typ)
	}
	offer, err := wire.DecodeOffer(payload, r.c.peer.Node)
	if err != nil {
		return err
	}
	sink, err := r.t.handler.ReceiveSnapshot(ctx, offer)
	if err != nil {
		return err
	}
	if err := r.content(sink, offer.Size); err != nil {
		sink.Abort(err)
		return err
	}
	// The snapshot is here whole: it is worth installing even if its sender has
	// gone meanwhile.
	return sink.Finish(r.t.ctx)
}

// content gives the sink all bytes.
func (r *snapshotReceiver) content(sink transport.SnapshotSink, size uint64) error {
	offset := sink.Offset()
	if offset > size {
		return fmt.Errorf("transport: the receiver holds %d bytes of a snapshot of %d", offset, size)
	}
	if err := r.write(wire.NumberFrame(wire.SnapshotResume, offset)); err != nil {
		return err
	}
	buf := make([]byte, snapshotChunk)
	for {
		typ, payload, err := r.read(snapshotChunk, buf)
		switch {
		case err != nil:
			return err
		case typ == wire.SnapshotEnd:
			end, err := wire.DecodeNumber(payload)
			if err == nil && (end != size || offset != size) {
				err = fmt.Errorf("%w: a snapshot of %d bytes ends after %d, announced as %d", wire.ErrCorrupt, size, offset, end)
			}
			return err
		case typ != wire.SnapshotChunk:
			return fmt.Errorf("%w: unexpected %v", wire.ErrCorrupt, typ)
		case uint64(len(payload)) > size-offset:
			return fmt.Errorf("%w: more than the %d bytes announced", wire.ErrCorrupt, size)
		}
		n, err := sink.Write(payload)
		if err == nil && n != len(payload) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return err
		}
		offset += uint64(n)
	}
}
