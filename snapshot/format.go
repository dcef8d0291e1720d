package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
)

// A snapshot file, integers little-endian, checksums CRC-32C:
//
//	+--------+---------+---------+-- ... --+---------+--------+
//	| header | chunk 0 | chunk 1 |         | chunk n | footer |
//	+--------+---------+---------+-- ... --+---------+--------+
//
// The header:
//
//	 0         4      6      8        12          28      36             44
//	+---------+------+------+--------+-----------+-------+--------------+-------+
//	| "QSNP"  | vers | kind | length | cluster   | node  | incarnation  | group |
//	+---------+------+------+--------+-----------+-------+--------------+-------+
//	 52   60         64                                length-4
//	+----+----------+---------------------------------+----------+
//	| id | meta len | meta (entry.AppendSnapshotMeta) | checksum |
//	+----+----------+---------------------------------+----------+
//
// length counts the whole header. kind is 1, the whole state; others are for
// later. A chunk carries 1 to 1 MiB of the state machine's bytes:
//
//	 0        4          8             8+length
//	+--------+----------+-- ... --------+----------+
//	| length | sequence | state         | checksum |
//	+--------+----------+-- ... --------+----------+
//
// The footer begins with a length that no chunk has:
//
//	 0    4        8             16       20               24            32
//	+----+--------+-------------+--------+----------------+-------------+----------+
//	| 0  | "QEND" | state bytes | chunks | state checksum | file length | checksum |
//	+----+--------+-------------+--------+----------------+-------------+----------+
//
// The checksum of a chunk and of the footer continues the one of the part before
// it, so that an intact part in the wrong place, or of another snapshot (the id in
// the header is random), does not verify. The state checksum is of the state's
// bytes alone and does not depend on how they were cut into chunks.
const (
	headerMagic = "QSNP"
	footerMagic = "QEND"
	version     = 1
	kindWhole   = 1

	headerPrefix  = 12
	headerFixed   = 64
	headerMax     = 8 << 20
	chunkPrefix   = 8
	checksumBytes = 4
	footerBytes   = 36

	// ChunkMax is the most bytes of state in one chunk.
	ChunkMax = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crcOf(before uint32, p []byte) uint32 { return crc32.Update(before, castagnoli, p) }

// ErrCorrupt is matched by every error below but ErrUnknownVersion and
// ErrForeign: the bytes are not those that were written.
var ErrCorrupt = errors.New("snapshot: corrupt")

// What can be wrong with a snapshot's bytes.
var (
	ErrMagic          error = corruption("snapshot: not a snapshot")
	ErrHeaderLength   error = corruption("snapshot: header length")
	ErrHeaderChecksum error = corruption("snapshot: header checksum")
	ErrHeaderContents error = corruption("snapshot: header contents")
	ErrMismatch       error = corruption("snapshot: another snapshot than expected")
	ErrChunkLength    error = corruption("snapshot: chunk length")
	ErrChunkSequence  error = corruption("snapshot: chunk out of sequence")
	ErrChunkChecksum  error = corruption("snapshot: chunk checksum")
	ErrFooterMagic    error = corruption("snapshot: neither chunk nor footer")
	ErrFooterChecksum error = corruption("snapshot: footer checksum")
	ErrFooterTotals   error = corruption("snapshot: footer disagrees with what precedes it")
	ErrTruncated      error = corruption("snapshot: ends too early")
	ErrTrailing       error = corruption("snapshot: bytes after the footer")

	// ErrUnknownVersion: written by a later version of this library.
	ErrUnknownVersion = errors.New("snapshot: unknown version")
	// ErrForeign: of another cluster, or a directory of another node.
	ErrForeign = errors.New("snapshot: of another identity")
)

type corruption string

func (c corruption) Error() string        { return string(c) }
func (c corruption) Is(target error) bool { return target == ErrCorrupt }

// Identity is whose data directory this is.
type Identity struct {
	Cluster     [16]byte
	Node        raft.NodeID
	Incarnation raft.Incarnation
}

// header is what a file says of itself. Its Identity is of the node that took
// the snapshot.
type header struct {
	Identity
	group raft.GroupID
	id    uint64
	meta  raft.SnapshotMeta
}

// appendHeader encodes a header.
func appendHeader(dst []byte, h *header) ([]byte, error) {
	start := len(dst)
	dst = append(dst, headerMagic...)
	dst = binary.LittleEndian.AppendUint16(dst, version)
	dst = binary.LittleEndian.AppendUint16(dst, kindWhole)
	dst = append(dst, 0, 0, 0, 0) // length, known below
	dst = append(dst, h.Cluster[:]...)
	for _, v := range [...]uint64{
		uint64(h.Node), uint64(h.Incarnation), uint64(h.group), h.id,
	} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = append(dst, 0, 0, 0, 0) // meta len, known below
	dst, err := entry.AppendSnapshotMeta(dst, &h.meta)
	if err != nil {
		return dst[:start], fmt.Errorf("snapshot: %w", err)
	}
	binary.LittleEndian.PutUint32(dst[start+headerFixed-4:], uint32(len(dst)-start-headerFixed))
	binary.LittleEndian.PutUint32(dst[start+8:], uint32(len(dst)-start+checksumBytes))
	return binary.LittleEndian.AppendUint32(dst, crcOf(0, dst[start:])), nil
}

// headerLength reads the prefix of a header: what must be known before the rest
// is read.
func headerLength(prefix []byte) (int, error) {
	if string(prefix[:4]) != headerMagic {
		return 0, fmt.Errorf("%w: begins with %x", ErrMagic, prefix[:4])
	}
	if v, kind := binary.LittleEndian.Uint16(prefix[4:]), binary.LittleEndian.Uint16(prefix[6:]); v != version || kind != kindWhole {
		return 0, fmt.Errorf("%w: %d, kind %d", ErrUnknownVersion, v, kind)
	}
	length := binary.LittleEndian.Uint32(prefix[8:])
	if length < headerFixed+checksumBytes || length > headerMax {
		return 0, fmt.Errorf("%w: %d", ErrHeaderLength, length)
	}
	return int(length), nil
}

// decodeHeader reads a whole header, of the length that headerLength gave.
func decodeHeader(b []byte) (*header, error) {
	body := b[:len(b)-checksumBytes]
	if got, want := crcOf(0, body), binary.LittleEndian.Uint32(b[len(body):]); got != want {
		return nil, fmt.Errorf("%w: %08x, want %08x", ErrHeaderChecksum, got, want)
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	if n := binary.LittleEndian.Uint32(b[headerFixed-4:]); uint64(n) != uint64(len(body)-headerFixed) {
		return nil, fmt.Errorf("%w: description of %d bytes in a header of %d", ErrHeaderContents, n, len(b))
	}
	meta, err := entry.DecodeSnapshotMeta(body[headerFixed:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHeaderContents, err)
	}
	h := &header{
		Identity: Identity{Node: raft.NodeID(u64(28)), Incarnation: raft.Incarnation(u64(36))},
		group:    raft.GroupID(u64(44)),
		id:       u64(52),
		meta:     meta,
	}
	copy(h.Cluster[:], b[12:28])
	return h, nil
}

// appendChunk encodes a chunk and gives the checksum that the next part
// continues.
func appendChunk(dst []byte, before, sequence uint32, state []byte) ([]byte, uint32) {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(state)))
	dst = binary.LittleEndian.AppendUint32(dst, sequence)
	dst = append(dst, state...)
	crc := crcOf(before, dst[start:])
	return binary.LittleEndian.AppendUint32(dst, crc), crc
}

// totals is what the footer says of all that precedes it.
type totals struct {
	stateBytes uint64
	chunks     uint32
	stateCRC   uint32
}

func appendFooter(dst []byte, before uint32, t totals, fileLength uint64) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, footerMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, t.stateBytes)
	dst = binary.LittleEndian.AppendUint32(dst, t.chunks)
	dst = binary.LittleEndian.AppendUint32(dst, t.stateCRC)
	dst = binary.LittleEndian.AppendUint64(dst, fileLength)
	return binary.LittleEndian.AppendUint32(dst, crcOf(before, dst[start:]))
}

// decoder verifies a file part by part. The zero decoder begins at the header.
type decoder struct {
	// expect, if set, judges the header.
	expect func(*header) error
	head   *header
	off    int64 // where the next part begins
	crc    uint32
	totals totals
	done   bool
}

// next looks at the part at d.off, of which b holds the beginning or all. n is
// the part's length as far as b shows it, at most headerMax. If it is more than
// len(b) nothing has happened, and n bytes are needed; else the part is verified
// and passed, and state is what a chunk carried, aliasing b.
func (d *decoder) next(b []byte) (n int, state []byte, err error) {
	switch {
	case d.done:
		return 0, nil, ErrTrailing
	case d.head == nil:
		return d.nextHeader(b)
	case len(b) < chunkPrefix:
		return chunkPrefix, nil, nil
	}
	length := binary.LittleEndian.Uint32(b)
	if length == 0 {
		return d.nextFooter(b)
	}
	if length > ChunkMax {
		return 0, nil, fmt.Errorf("%w: %d", ErrChunkLength, length)
	}
	if sequence := binary.LittleEndian.Uint32(b[4:]); sequence != d.totals.chunks {
		return 0, nil, fmt.Errorf("%w: %d, want %d", ErrChunkSequence, sequence, d.totals.chunks)
	}
	end := chunkPrefix + int(length)
	if n = end + checksumBytes; len(b) < n {
		return n, nil, nil
	}
	crc := crcOf(d.crc, b[:end])
	if want := binary.LittleEndian.Uint32(b[end:]); crc != want {
		return 0, nil, fmt.Errorf("%w: %08x, want %08x in chunk %d", ErrChunkChecksum, crc, want, d.totals.chunks)
	}
	state = b[chunkPrefix:end]
	d.crc = crc
	d.totals.chunks++
	d.totals.stateBytes += uint64(length)
	d.totals.stateCRC = crcOf(d.totals.stateCRC, state)
	d.off += int64(n)
	return n, state, nil
}

func (d *decoder) nextHeader(b []byte) (int, []byte, error) {
	if len(b) < headerPrefix {
		return headerPrefix, nil, nil
	}
	n, err := headerLength(b)
	if err != nil || len(b) < n {
		return n, nil, err
	}
	h, err := decodeHeader(b[:n])
	if err == nil && d.expect != nil {
		err = d.expect(h)
	}
	if err != nil {
		return 0, nil, err
	}
	d.head, d.crc, d.off = h, binary.LittleEndian.Uint32(b[n-checksumBytes:]), int64(n)
	return n, nil, nil
}

func (d *decoder) nextFooter(b []byte) (int, []byte, error) {
	if string(b[4:8]) != footerMagic {
		return 0, nil, fmt.Errorf("%w: %x", ErrFooterMagic, b[4:8])
	}
	if len(b) < footerBytes {
		return footerBytes, nil, nil
	}
	b = b[:footerBytes]
	body := b[:footerBytes-checksumBytes]
	if got, want := crcOf(d.crc, body), binary.LittleEndian.Uint32(b[len(body):]); got != want {
		return 0, nil, fmt.Errorf("%w: %08x, want %08x", ErrFooterChecksum, got, want)
	}
	// What the footer says is right exactly if it is what would be written here.
	fileLength := uint64(d.off) + footerBytes
	if want := appendFooter(nil, d.crc, d.totals, fileLength); !bytes.Equal(b, want) {
		return 0, nil, fmt.Errorf("%w: %x, want %x", ErrFooterTotals, b, want)
	}
	d.done = true
	d.off = int64(fileLength)
	return footerBytes, nil, nil
}

// The identity of a directory, the contents of its file IDENTITY:
//
//	 0         4      6      8          24     32             40
//	+---------+------+------+----------+------+--------------+----------+
//	| "QSID"  | vers | zero | cluster  | node | incarnation  | checksum |
//	+---------+------+------+----------+------+--------------+----------+
const (
	identityMagic = "QSID"
	identityBytes = 44
)

// ErrIdentity: the file that says whose directory this is is damaged, or missing
// beside snapshots.
var ErrIdentity error = corruption("snapshot: identity of the directory")

func appendIdentity(dst []byte, id Identity) []byte {
	start := len(dst)
	dst = append(dst, identityMagic...)
	dst = binary.LittleEndian.AppendUint16(dst, version)
	dst = append(dst, 0, 0)
	dst = append(dst, id.Cluster[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id.Node))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id.Incarnation))
	return binary.LittleEndian.AppendUint32(dst, crcOf(0, dst[start:]))
}

func decodeIdentity(b []byte) (id Identity, err error) {
	if len(b) != identityBytes {
		return id, fmt.Errorf("%w: %d bytes, want %d", ErrIdentity, len(b), identityBytes)
	}
	if string(b[:4]) != identityMagic {
		return id, fmt.Errorf("%w: begins with %x", ErrIdentity, b[:4])
	}
	if v, zero := binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]); v != version || zero != 0 {
		return id, fmt.Errorf("%w: identity %d, reserved %d", ErrUnknownVersion, v, zero)
	}
	if got, want := crcOf(0, b[:40]), binary.LittleEndian.Uint32(b[40:]); got != want {
		return id, fmt.Errorf("%w: checksum %08x, want %08x", ErrIdentity, got, want)
	}
	copy(id.Cluster[:], b[8:24])
	id.Node = raft.NodeID(binary.LittleEndian.Uint64(b[24:]))
	id.Incarnation = raft.Incarnation(binary.LittleEndian.Uint64(b[32:]))
	return id, nil
}
