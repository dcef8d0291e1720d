package tcp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

const (
	// readBuffer is how much one read may bring, in bytes.
	readBuffer = 2 * frameSoft
	// keepEnvelopes bounds the slice of envelopes that is used again.
	keepEnvelopes = 4096
)

// A receiver reads the frames of one connection.
type receiver struct {
	t       *Transport
	c       *incoming
	decoder wire.Decoder
	// buf[r:w] has been read and not yet decoded.
	buf       []byte
	r, w      int
	envelopes []transport.Envelope
	// received counts what is read, for the peer's statistics.
	received *atomic.Uint64
}

// receiveMessages delivers what a peer sends until the connection ends.
func (t *Transport) receiveMessages(c *incoming) {
	if c.after != nil {
		// So that nothing of the connection before is delivered after this one's.
		<-c.after.done
		c.after = nil
	}
	rc := &receiver{
		t: t, c: c, buf: make([]byte, readBuffer),
		decoder: wire.Decoder{From: c.peer.Node, To: t.self.Node}, received: new(atomic.Uint64),
	}
	if p := (*t.table.Load())[c.peer.Node]; p != nil {
		rc.received = &p.received
	}
	err := rc.run()
	if t.ctx.Err() != nil {
		return
	}
	if errors.Is(err, wire.ErrCorrupt) || errors.Is(err, wire.ErrVersion) {
		t.counters.corrupt.Add(1)
		t.log.Error("connection closed: damaged or foreign bytes", slog.Uint64("peer", uint64(c.peer.Node)),
			slog.String("from", c.RemoteAddr().String()), slog.Any("error", err))
		t.refuse(c, err)
		return
	}
	level := slog.LevelDebug
	if errors.Is(err, transport.ErrRefused) {
		level = slog.LevelWarn
	}
	t.log.Log(t.ctx, level, "connection ended", slog.Uint64("peer", uint64(c.peer.Node)), slog.Any("error", err))
}

func (rc *receiver) run() error {
	for {
		n, err := rc.c.Read(rc.buf[rc.w:])
		rc.w += n
		rc.received.Add(uint64(n))
		if err := rc.decode(); err != nil {
			return err
		}
		if err != nil {
			if err == io.EOF && rc.w > rc.r {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// decode delivers all complete frames that have been read at once, and makes room
// to read on.
func (rc *receiver) decode() error {
	err := rc.frames()
	rc.deliver()
	if err != nil {
		return err
	}
	if rc.w-rc.r >= wire.HeaderSize {
		h, _ := wire.ParseHeader(rc.buf[rc.r:rc.w], rc.payloadMax()) // frames parsed it
		if h.Length > len(rc.buf)-wire.HeaderSize {
			return rc.large(h)
		}
	}
	if rc.r == rc.w {
		rc.r, rc.w = 0, 0
	} else if rc.r > 0 {
		rc.w = copy(rc.buf, rc.buf[rc.r:rc.w])
		rc.r = 0
	}
	return nil
}

func (rc *receiver) payloadMax() int { return rc.t.config.MaxFrameBytes - wire.HeaderSize }

// frames decodes the frames that are complete.
func (rc *receiver) frames() error {
	for rc.w-rc.r >= wire.HeaderSize {
		header := rc.buf[rc.r : rc.r+wire.HeaderSize]
		h, err := rc.header(header)
		if err != nil {
			return err
		}
		if rc.w-rc.r < wire.HeaderSize+h.Length {
			return nil
		}
		payload := rc.buf[rc.r+wire.HeaderSize : rc.r+wire.HeaderSize+h.Length]
		if err := h.Verify(header, payload); err != nil {
			return err
		}
		if h.Type == wire.Refusal {
			return refused(wire.DecodeRefusal(payload))
		}
		rc.r += wire.HeaderSize + h.Length
		if rc.envelopes, err = rc.decoder.Decode(rc.envelopes, payload, false); err != nil {
			return err
		}
	}
	return nil
}

// header decodes a header and checks that such a frame may come here.
func (rc *receiver) header(b []byte) (wire.Header, error) {
	h, err := wire.ParseHeader(b, rc.payloadMax())
	switch {
	case err != nil:
		return h, err
	case h.Type == wire.Messages || h.Type == wire.Refusal && h.Length <= wire.HandshakeMax:
		return h, nil
	}
	return h, fmt.Errorf("%w: unexpected %v of %d bytes", wire.ErrCorrupt, h.Type, h.Length)
}

// large reads a frame that does not fit into the buffer into one of its own, which
// becomes the receiver's.
func (rc *receiver) large(h wire.Header) error {
	var header [wire.HeaderSize]byte
	copy(header[:], rc.buf[rc.r:])
	payload, err := wire.ReadPayload(rc.c, rc.buf[rc.r+wire.HeaderSize:rc.w], h.Length)
	if err != nil {
		return err
	}
	rc.received.Add(uint64(wire.HeaderSize + h.Length - (rc.w - rc.r)))
	rc.r, rc.w = 0, 0
	if err := h.Verify(header[:], payload); err != nil {
		return err
	}
	if rc.envelopes, err = rc.decoder.Decode(rc.envelopes, payload, true); err != nil {
		return err
	}
	rc.deliver()
	return nil
}

func (rc *receiver) deliver() {
	if len(rc.envelopes) == 0 {
		return
	}
	rc.t.handler.Deliver(rc.envelopes)
	clear(rc.envelopes)
	rc.envelopes = rc.envelopes[:0]
	if cap(rc.envelopes) > keepEnvelopes {
		rc.envelopes = nil
	}
}
