// Package wire is how transports put messages into bytes. It decides the layout of
// frames and of what they carry, checks form and bounds every length before it
// allocates; what a message means, and whether the entries that it carries are
// the ones it names, it leaves to the receiver's runtime.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A connection carries frames in both directions:
//
//	 0        4        5      6          8           12        16
//	+--------+---------+------+----------+-----------+---------+---------------+
//	| magic  | version | type | reserved | length    | CRC-32C | payload       |
//	| "QRTF" | u8      | u8   | 0        | u32       | u32     | length bytes  |
//	+--------+---------+------+----------+-----------+---------+---------------+
//
// Integers are little-endian. Length is that of the payload; the checksum covers
// the first 12 bytes of the header and the payload. The header and the refusal
// frame keep their layout in every version, so that nodes of different versions
// can tell each other why they do not talk.
const (
	// HeaderSize is the size of a frame's header in bytes.
	HeaderSize = 16
	// Version is the version that this code speaks, and the only one so far.
	Version = 1

	magic = 0x46545251 // "QRTF"
)

// Type says what a frame carries.
type Type uint8

// The types of frames. Who sends them:
//
//	dialer    Hello                        Messages...
//	acceptor         Welcome | Refusal               [Refusal]
//
//	dialer    Hello           SnapshotOffer                Chunk... SnapshotEnd
//	acceptor         Welcome                 SnapshotResume                     Installed
//
// Instead of any answer a Refusal may come, with a reason; and while the acceptor
// of a snapshot is at work it sends Working, so that silence means it is gone. A
// dialer that refuses the node it reached sends a Refusal, too.
const (
	Hello Type = 1 + iota
	Welcome
	Refusal
	Messages
	SnapshotOffer
	SnapshotResume
	SnapshotChunk
	SnapshotEnd
	SnapshotWorking
	SnapshotInstalled

	types = iota + 1
)

// String gives the type's name.
func (t Type) String() string {
	names := [types]string{
		"", "hello", "welcome", "refusal", "messages", "snapshot offer", "snapshot resume",
		"snapshot chunk", "snapshot end", "snapshot working", "snapshot installed",
	}
	if t == 0 || t >= types {
		return fmt.Sprintf("unknown type %d", uint8(t))
	}
	return names[t]
}

// ErrCorrupt is wrapped by every error about bytes that do not follow the format.
var ErrCorrupt = errors.New("transport: corrupt frame")

// ErrVersion is wrapped when a frame is of a version that this code does not speak.
var ErrVersion = errors.New("transport: unknown protocol version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is a decoded frame header. The checksum has not been compared yet.
type Header struct {
	Type   Type
	Length int
	sum    uint32
}

// ParseHeader decodes a header whose payload is at most maxPayload bytes long.
func ParseHeader(b []byte, maxPayload int) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: header of %d bytes", ErrCorrupt, len(b))
	}
	if m := binary.LittleEndian.Uint32(b); m != magic {
		switch {
		case b[0] == 0x16 && b[1] == 3:
			return Header{}, fmt.Errorf("%w: the peer speaks TLS and this node does not", ErrCorrupt)
		case b[0] == 0x15 && b[1] == 3:
			return Header{}, fmt.Errorf("%w: a TLS alert: the peer expects TLS and this node does not speak it", ErrCorrupt)
		}
		return Header{}, fmt.Errorf("%w: magic %#08x, want %#08x", ErrCorrupt, m, magic)
	}
	t := Type(b[5])
	// A refusal is understood in every version.
	if v := b[4]; v != Version && t != Refusal {
		return Header{}, fmt.Errorf("%w: %d in a frame of %v, this node speaks %d", ErrVersion, v, t, Version)
	}
	if t == 0 || t >= types {
		return Header{}, fmt.Errorf("%w: %v", ErrCorrupt, t)
	}
	if r := binary.LittleEndian.Uint16(b[6:]); r != 0 {
		return Header{}, fmt.Errorf("%w: reserved field is %#x", ErrCorrupt, r)
	}
	length := binary.LittleEndian.Uint32(b[8:])
	if maxPayload < 0 || uint64(length) > uint64(maxPayload) {
		return Header{}, fmt.Errorf("%w: %v of %d bytes, at most %d are allowed", ErrCorrupt, t, length, maxPayload)
	}
	return Header{Type: t, Length: int(length), sum: binary.LittleEndian.Uint32(b[12:])}, nil
}

// Verify compares the checksum of a frame whose header is given both as bytes and
// as ParseHeader decoded it.
func (h Header) Verify(header, payload []byte) error {
	sum := crc32.Update(0, castagnoli, header[:12])
	sum = crc32.Update(sum, castagnoli, payload)
	if sum != h.sum {
		return fmt.Errorf("%w: checksum %#08x of %v with %d bytes, computed %#08x", ErrCorrupt, h.sum, h.Type, h.Length, sum)
	}
	return nil
}

// putHeader writes the header of a frame of this version, but for its checksum.
func putHeader(b []byte, t Type, length int) {
	binary.LittleEndian.PutUint32(b, magic)
	b[4] = Version
	b[5] = byte(t)
	binary.LittleEndian.PutUint16(b[6:], 0)
	binary.LittleEndian.PutUint32(b[8:], uint32(length))
}

// Seal makes a frame of a buffer that holds HeaderSize bytes of room and then the
// payload. The payload is shorter than 4 GiB.
func Seal(frame []byte, t Type) {
	putHeader(frame, t, len(frame)-HeaderSize)
	sum := crc32.Update(0, castagnoli, frame[:12])
	sum = crc32.Update(sum, castagnoli, frame[HeaderSize:])
	binary.LittleEndian.PutUint32(frame[12:], sum)
}
