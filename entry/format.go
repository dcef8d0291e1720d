package entry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/quorate/quorate/raft"
)

// An encoded entry, integers little-endian:
//
//	 0        4    5    6        8               16              24
//	+--------+----+----+--------+---------------+---------------+
//	| length |vers|kind| flags  |     term      |     index     |
//	+--------+----+----+--------+-------+-------+-------+-------+
//	| timestamp, earliest       |uncert.| prev  | check | payload ...
//	+---------------------------+-------+-------+-------+------
//	24                          32      36      40      44
//
//	length    of the payload, in bytes, at most MaxPayload
//	flags     zero; a set bit is a version that this code does not know
//	timestamp the earliest instant, by the leader's clock, at which the entry
//	          can have been made: nanoseconds since the Unix epoch
//	uncert.   latest minus earliest, in microseconds
//	prev      check of the entry before this one; zero if index is 1
//	check     CRC-32C of bytes [0, 40) and of the payload
//
// Every later version keeps length, version and check where they are, so that
// damage and an unknown version can be told apart.
const (
	// HeaderSize is the number of bytes before the payload.
	HeaderSize = 44
	// MaxPayload bounds a payload, in bytes.
	MaxPayload = 16 << 20
	// Version is the version that AppendTo writes.
	Version = 1

	checksumAt = 40
)

// Errors of decoding. What is wrong is wrapped around them.
var (
	// ErrShort: the bytes end before the entry does.
	ErrShort = errors.New("entry: short")
	// ErrCorrupt: the bytes are not what was encoded.
	ErrCorrupt = errors.New("entry: corrupt")
	// ErrUnknownVersion: intact, and written by a newer version.
	ErrUnknownVersion = errors.New("entry: unknown version")
	// ErrUnknownKind: intact, and of a kind that this version does not know. It
	// must not be skipped (RP-16).
	ErrUnknownKind = errors.New("entry: unknown kind")
)

// Kind says what an entry's payload is. The numbers are part of the format.
type Kind uint8

// The kinds.
const (
	// Command is for the state machine.
	Command Kind = 1
	// NoOp begins a leader's term (EL-13). Its payload is empty.
	NoOp Kind = 2
	// Configuration holds what AppendConfiguration encodes.
	Configuration Kind = 3
)

// Known reports whether this version knows the kind.
func (k Kind) Known() bool { return k >= Command && k <= Configuration }

// String gives the kind's name.
func (k Kind) String() string {
	switch k {
	case Command:
		return "command"
	case NoOp:
		return "no-op"
	case Configuration:
		return "configuration"
	}
	return fmt.Sprintf("unknown kind %d", uint8(k))
}

// Entry is a decoded entry.
type Entry struct {
	Term  raft.Term
	Index raft.Index
	Kind  Kind
	// Timestamp is the earliest instant at which the entry can have been made,
	// by the clock of the leader that made it: nanoseconds since the Unix epoch.
	// Uncertainty, in microseconds, is how much later it can have been.
	Timestamp   int64
	Uncertainty uint32
	// Prev is the Checksum of the entry before this one, zero at index 1.
	Prev uint32
	// Checksum covers all the rest. AppendTo computes it.
	Checksum uint32
	Payload  []byte
}

// ID names the entry.
func (e *Entry) ID() raft.EntryID { return raft.EntryID{Term: e.Term, Index: e.Index} }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Size gives the encoded size of an entry with that many bytes of payload.
func Size(payloadLen int) int { return HeaderSize + payloadLen }

// AppendTo appends the encoded entry to dst and gives its checksum, with which
// the next entry is chained. It ignores e.Checksum. A payload above MaxPayload
// is the caller's error, and cannot be decoded.
func (e *Entry) AppendTo(dst []byte) ([]byte, uint32) {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(e.Payload)))
	dst = append(dst, Version, byte(e.Kind), 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Term))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Index))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Timestamp))
	dst = binary.LittleEndian.AppendUint32(dst, e.Uncertainty)
	dst = binary.LittleEndian.AppendUint32(dst, e.Prev)
	sum := crc32.Update(crc32.Checksum(dst[start:], castagnoli), castagnoli, e.Payload)
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	return append(dst, e.Payload...), sum
}

// Header is what Peek reads without looking at the payload.
type Header struct {
	ID       raft.EntryID
	Kind     Kind
	Prev     uint32
	Checksum uint32
	// Size is the size of the encoded entry, header included.
	Size int
}

// Peek reads the header of the entry at the beginning of b and verifies nothing
// but its length: for bytes that were verified before, or will be. It is
// ErrShort if b ends before the header does; b may end before the payload.
func Peek(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: %d bytes of a header of %d", ErrShort, len(b), HeaderSize)
	}
	length := binary.LittleEndian.Uint32(b)
	if length > MaxPayload {
		return Header{}, fmt.Errorf("%w: payload length %d above %d", ErrCorrupt, length, MaxPayload)
	}
	return Header{
		ID: raft.EntryID{
			Term:  raft.Term(binary.LittleEndian.Uint64(b[8:])),
			Index: raft.Index(binary.LittleEndian.Uint64(b[16:])),
		},
		Kind:     Kind(b[5]),
		Prev:     binary.LittleEndian.Uint32(b[36:]),
		Checksum: binary.LittleEndian.Uint32(b[checksumAt:]),
		Size:     HeaderSize + int(length),
	}, nil
}

// Decode reads and verifies the entry at the beginning of b and gives the number
// of bytes that it takes. The payload aliases b.
func Decode(b []byte) (Entry, int, error) {
	h, err := Peek(b)
	if err != nil {
		return Entry{}, 0, err
	}
	if len(b) < h.Size {
		return Entry{}, 0, fmt.Errorf("%w: %d bytes of an entry of %d", ErrShort, len(b), h.Size)
	}
	payload := b[HeaderSize:h.Size:h.Size]
	sum := crc32.Update(crc32.Checksum(b[:checksumAt], castagnoli), castagnoli, payload)
	if sum != h.Checksum {
		return Entry{}, 0, fmt.Errorf("%w: checksum %08x, content has %08x", ErrCorrupt, h.Checksum, sum)
	}
	if b[4] != Version {
		return Entry{}, 0, fmt.Errorf("%w: %d", ErrUnknownVersion, b[4])
	}
	if flags := binary.LittleEndian.Uint16(b[6:]); flags != 0 {
		return Entry{}, 0, fmt.Errorf("%w: flags %04x", ErrUnknownVersion, flags)
	}
	if !h.Kind.Known() {
		return Entry{}, 0, fmt.Errorf("%w: %d at %v", ErrUnknownKind, b[5], h.ID)
	}
	return Entry{
		Term:        h.ID.Term,
		Index:       h.ID.Index,
		Kind:        h.Kind,
		Timestamp:   int64(binary.LittleEndian.Uint64(b[24:])),
		Uncertainty: binary.LittleEndian.Uint32(b[32:]),
		Prev:        h.Prev,
		Checksum:    h.Checksum,
		Payload:     payload,
	}, h.Size, nil
}
