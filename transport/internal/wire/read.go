package wire

import (
	"fmt"
	"io"
)

// growStep is what is allocated for a payload before any of it has arrived.
const growStep = 256 << 10

// ReadPayload reads a payload of length bytes of which have are there already. It
// allocates as bytes arrive, at most twice what came and a step, so that a length
// alone costs nothing.
func ReadPayload(r io.Reader, have []byte, length int) ([]byte, error) {
	buf := make([]byte, len(have), min(length, len(have)+growStep))
	copy(buf, have)
	for len(buf) < length {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(length, 2*cap(buf)))
			copy(grown, buf)
			buf = grown
		}
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			return nil, noEOF(err)
		}
	}
	return buf, nil
}

// ReadFrame reads one frame, not a byte more, whose payload is at most maxPayload
// bytes long. The payload is in buf, if it fits there, or else newly allocated. The
// error is io.EOF if r ends before the frame begins.
func ReadFrame(r io.Reader, maxPayload int, buf []byte) (Type, []byte, error) {
	var header [HeaderSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	h, err := ParseHeader(header[:], maxPayload)
	if err != nil {
		return 0, nil, err
	}
	var payload []byte
	if h.Length <= len(buf) {
		payload = buf[:h.Length]
		_, err = io.ReadFull(r, payload)
		err = noEOF(err)
	} else {
		payload, err = ReadPayload(r, nil, h.Length)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("%v of %d bytes: %w", h.Type, h.Length, err)
	}
	if err := h.Verify(header[:], payload); err != nil {
		return 0, nil, err
	}
	return h.Type, payload, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
