package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/quorate/quorate/raft"
)

// A segment file is an array of sectors. All integers are little-endian, all
// checksums CRC-32C.
//
//	sector 0                                          last sector
//	+--------+-----------+------------------+------------------+--------+
//	| header | pre-image | data batches --> | <-- identities   | header |
//	|        | (recycled)|                  |                  | (copy) |
//	+--------+-----------+------------------+------------------+--------+
//
// The segment header, in the first and in the last sector:
//
//	 0       4       8               16                              32
//	+-------+-------+---------------+-------------------------------+
//	| magic | vers. | sequence      | cluster                       |
//	+-------+-------+---------------+---------------+-------+-------+
//	| node          | incarnation   | size in bytes | data  | flags |
//	|               |               |               | start |       |
//	+---------------+---------------+-------+-------+-------+-------+
//	| first batch   | oldest segm.  | table | zeros ...      | sum   |
//	+---------------+---------------+-------+-------...------+------+
//	64              72              80      84              508    512
//
//	data start   the sector where the data region begins
//	flags        bit 0, fresh: the regions held zeros before, there is no table
//	first batch  a seal: batches from this number on, in segments before this
//	             one, are cut; all before it are kept. Zero: no seal
//	oldest       no segment before this one is needed
//	table        checksum of the pre-image table
//	sum          checksum of bytes [0, 508)
//
// The pre-image table has a fingerprint (12 bytes) for each sector of the two
// regions: what the sector held when the segment was prepared.
const (
	sectorSize = 512

	segmentMagic   = 0x4c415751 // "QWAL"
	segmentVersion = 1
	flagFresh      = 1

	fingerprintSize = 12

	segmentSizeMin = 8 * sectorSize
	segmentSizeMax = 1 << 32
)

// Errors of decoding and of opening.
var (
	// ErrCorrupt: bytes on disk are not what was written.
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrUnknownVersion: intact, and written by a newer version.
	ErrUnknownVersion = errors.New("wal: unknown version")
	// ErrIdentity: the directory belongs to another cluster, node or
	// incarnation (PS-10).
	ErrIdentity = errors.New("wal: directory of another node")
)

// Identity says whose log this is. It is in every segment (PS-10).
type Identity struct {
	Cluster     [16]byte
	Node        raft.NodeID
	Incarnation raft.Incarnation
}

// String gives the identity as messages to people show it.
func (id Identity) String() string {
	return fmt.Sprintf("cluster %x, node %d, incarnation %x", id.Cluster, id.Node, uint64(id.Incarnation))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

var le = binary.LittleEndian

// fingerprint tells whether a sector still holds what it held before, or partly:
// a sector that was torn while it was written has the head or the tail of one
// content and the rest of the other.
type fingerprint struct{ sum, head, tail uint32 }

// fingerprintOf looks at the first sector of b.
func fingerprintOf(b []byte) fingerprint {
	sector := b[:sectorSize]
	return fingerprint{checksum(sector), le.Uint32(sector), le.Uint32(sector[sectorSize-4:])}
}

func (f fingerprint) appendTo(b []byte) []byte {
	b = le.AppendUint32(b, f.sum)
	b = le.AppendUint32(b, f.head)
	return le.AppendUint32(b, f.tail)
}

func decodeFingerprint(b []byte) fingerprint {
	return fingerprint{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:])}
}

var zeroFingerprint = fingerprintOf(make([]byte, sectorSize))

type segmentHeader struct {
	Sequence   uint64
	Identity   Identity
	Size       int64
	DataStart  uint32
	Fresh      bool
	FirstBatch uint64
	Oldest     uint64
	TableSum   uint32
}

// regions gives the sectors [first, end) of the two regions.
func (h *segmentHeader) regions() (first, end uint32) {
	return h.DataStart, uint32(h.Size/sectorSize) - 1
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, sectorSize)
	le.PutUint32(b, segmentMagic)
	le.PutUint32(b[4:], segmentVersion)
	le.PutUint64(b[8:], h.Sequence)
	copy(b[16:32], h.Identity.Cluster[:])
	le.PutUint64(b[32:], uint64(h.Identity.Node))
	le.PutUint64(b[40:], uint64(h.Identity.Incarnation))
	le.PutUint64(b[48:], uint64(h.Size))
	le.PutUint32(b[56:], h.DataStart)
	if h.Fresh {
		le.PutUint32(b[60:], flagFresh)
	}
	le.PutUint64(b[64:], h.FirstBatch)
	le.PutUint64(b[72:], h.Oldest)
	le.PutUint32(b[80:], h.TableSum)
	le.PutUint32(b[508:], checksum(b[:508]))
	return b
}

func decodeSegmentHeader(b []byte) (segmentHeader, error) {
	var h segmentHeader
	if len(b) < sectorSize {
		return h, fmt.Errorf("%w: segment header of %d bytes", ErrCorrupt, len(b))
	}
	if m := le.Uint32(b); m != segmentMagic {
		return h, fmt.Errorf("%w: segment header has magic %08x", ErrCorrupt, m)
	}
	if sum := checksum(b[:508]); sum != le.Uint32(b[508:]) {
		return h, fmt.Errorf("%w: segment header has checksum %08x, content %08x", ErrCorrupt, le.Uint32(b[508:]), sum)
	}
	if v := le.Uint32(b[4:]); v != segmentVersion {
		return h, fmt.Errorf("%w: segment version %d", ErrUnknownVersion, v)
	}
	flags := le.Uint32(b[60:])
	if flags&^flagFresh != 0 {
		return h, fmt.Errorf("%w: segment flags %x", ErrUnknownVersion, flags)
	}
	h = segmentHeader{
		Sequence:   le.Uint64(b[8:]),
		Identity:   Identity{Node: raft.NodeID(le.Uint64(b[32:])), Incarnation: raft.Incarnation(le.Uint64(b[40:]))},
		Size:       int64(le.Uint64(b[48:])),
		DataStart:  le.Uint32(b[56:]),
		Fresh:      flags&flagFresh != 0,
		FirstBatch: le.Uint64(b[64:]),
		Oldest:     le.Uint64(b[72:]),
		TableSum:   le.Uint32(b[80:]),
	}
	copy(h.Identity.Cluster[:], b[16:32])
	if h.Size < segmentSizeMin || h.Size > segmentSizeMax || h.Size%sectorSize != 0 {
		return segmentHeader{}, fmt.Errorf("%w: segment size %d", ErrCorrupt, h.Size)
	}
	want := uint32(1)
	if !h.Fresh {
		want = recycledDataStart(h.Size)
	}
	if h.DataStart != want {
		return segmentHeader{}, fmt.Errorf("%w: data region at sector %d, want %d", ErrCorrupt, h.DataStart, want)
	}
	return h, nil
}

// recycledDataStart leaves room for the table: it is sized for all sectors
// between the headers, a little more than there will be.
func recycledDataStart(size int64) uint32 {
	sectors := size/sectorSize - 2
	return uint32(1 + (sectors*fingerprintSize+sectorSize-1)/sectorSize)
}

// A batch is what one Write put down: its data at the front of the free space,
// its identity at the back, each padded to whole sectors. The data begins with
//
//	 0      4       8          16       24        32       40
//	+------+-------+----------+--------+---------+--------+------+------+
//	| sum  | magic | sequence | number | durable | oldest | data | data |
//	|      |       |          |        |         |        | at   | len  |
//	+------+-------+-----+----+-+------+-+-------+--+-----+------+------+
//	| id top | id len   | prev  | body  | records | bytes  | records ...
//	+--------+----------+-------+-------+---------+--------+---
//	48       52         56      60      64        68       72
//
// and the last four bytes of its last sector are a stamp, so that neither the
// first nor the last sector of a batch is ever equal to what was there before.
//
//	sum       checksum of bytes [4, 72)
//	sequence  the segment's: old contents of a recycled file have another
//	number    of the batch, one more than that of the batch before, in the whole
//	          log
//	durable   batches up to this number had been synced when this one was written
//	oldest    no segment before this one is needed
//	data at, data len    own place: sectors
//	id top, id len       of the identity: sectors [top-len, top)
//	prev      body checksum of the batch before
//	body      checksum of the checksums of the sectors, the first without this
//	          header
const (
	batchMagic      = 0x42415751 // "QWAB"
	batchHeaderSize = 72
	stampSize       = 4
)

type batchHeader struct {
	Sequence, Number, Durable, Oldest uint64
	DataAt, DataLen, IDTop, IDLen     uint32
	Prev, Body, Records, Bytes        uint32
}

func (h *batchHeader) encode(b []byte) {
	le.PutUint32(b[4:], batchMagic)
	le.PutUint64(b[8:], h.Sequence)
	le.PutUint64(b[16:], h.Number)
	le.PutUint64(b[24:], h.Durable)
	le.PutUint64(b[32:], h.Oldest)
	le.PutUint32(b[40:], h.DataAt)
	le.PutUint32(b[44:], h.DataLen)
	le.PutUint32(b[48:], h.IDTop)
	le.PutUint32(b[52:], h.IDLen)
	le.PutUint32(b[56:], h.Prev)
	le.PutUint32(b[60:], h.Body)
	le.PutUint32(b[64:], h.Records)
	le.PutUint32(b[68:], h.Bytes)
	le.PutUint32(b, checksum(b[4:batchHeaderSize]))
}

// decodeBatchHeader verifies the header alone: magic, checksum, and that the
// lengths agree with each other.
func decodeBatchHeader(b []byte) (batchHeader, error) {
	var h batchHeader
	if len(b) < batchHeaderSize {
		return h, fmt.Errorf("%w: batch header of %d bytes", ErrCorrupt, len(b))
	}
	if m := le.Uint32(b[4:]); m != batchMagic {
		return h, fmt.Errorf("%w: batch header has magic %08x", ErrCorrupt, m)
	}
	if sum := checksum(b[4:batchHeaderSize]); sum != le.Uint32(b) {
		return h, fmt.Errorf("%w: batch header has checksum %08x, content %08x", ErrCorrupt, le.Uint32(b), sum)
	}
	h = batchHeader{
		Sequence: le.Uint64(b[8:]), Number: le.Uint64(b[16:]),
		Durable: le.Uint64(b[24:]), Oldest: le.Uint64(b[32:]),
		DataAt: le.Uint32(b[40:]), DataLen: le.Uint32(b[44:]),
		IDTop: le.Uint32(b[48:]), IDLen: le.Uint32(b[52:]),
		Prev: le.Uint32(b[56:]), Body: le.Uint32(b[60:]),
		Records: le.Uint32(b[64:]), Bytes: le.Uint32(b[68:]),
	}
	if uint64(h.DataLen) != dataSectors(uint64(h.Bytes)) {
		return batchHeader{}, fmt.Errorf("%w: batch of %d bytes in %d sectors", ErrCorrupt, h.Bytes, h.DataLen)
	}
	if h.IDLen == 0 || h.IDLen > h.IDTop {
		return batchHeader{}, fmt.Errorf("%w: identity of %d sectors below sector %d", ErrCorrupt, h.IDLen, h.IDTop)
	}
	if h.Number == 0 || h.Durable >= h.Number {
		return batchHeader{}, fmt.Errorf("%w: batch %d says that %d is durable", ErrCorrupt, h.Number, h.Durable)
	}
	return h, nil
}

// dataSectors gives the size of a batch whose records take that many bytes.
func dataSectors(bytes uint64) uint64 {
	return (batchHeaderSize + bytes + stampSize + sectorSize - 1) / sectorSize
}

func stamp(sequence, number uint64, at uint32) uint32 {
	var b [20]byte
	le.PutUint64(b[:], sequence)
	le.PutUint64(b[8:], number)
	le.PutUint32(b[16:], at)
	return checksum(b[:])
}

// sealData writes the header and the stamp of a batch, whose records stand in b
// from batchHeaderSize on, and gives the fingerprints of its sectors.
func sealData(h *batchHeader, b []byte, prints []fingerprint) []fingerprint {
	le.PutUint32(b[len(b)-stampSize:], stamp(h.Sequence, h.Number, h.DataAt))
	prints = prints[:0]
	for off := 0; off < len(b); off += sectorSize {
		prints = append(prints, fingerprintOf(b[off:off+sectorSize]))
	}
	h.Body = bodySum(b, prints)
	h.encode(b)
	prints[0] = fingerprintOf(b[:sectorSize])
	return prints
}

// bodySum needs the fingerprints only of sectors after the first.
func bodySum(b []byte, prints []fingerprint) uint32 {
	var word [4]byte
	le.PutUint32(word[:], checksum(b[batchHeaderSize:sectorSize]))
	sum := checksum(word[:])
	for _, p := range prints[1:] {
		le.PutUint32(word[:], p.sum)
		sum = crc32.Update(sum, castagnoli, word[:])
	}
	return sum
}

// The identity of a batch is a stream cut into sectors, the first at the top and
// each next one below. Every sector stands by itself:
//
//	 0      4       8          16       24        32      36      40   44
//	+------+-------+----------+--------+---------+-------+-------+----+------+
//	| sum  | magic | sequence | number | durable | data  | data  | at | part |
//	|      |       |          |        |         | at    | len   |    |      |
//	+------+-------+----------+--------+---------+-------+-------+----+------+
//	| parts | stream, 456 bytes                                     | stamp  |
//	+-------+-------------------------------------------------------+--------+
//	48      52                                                     508      512
//
//	sum    checksum of bytes [4, 512)
//	at     own place, so that a misdirected sector is found
//	part   of parts, from zero
//	stamp  checksum of bytes [4, 52): no sector ends as it did before
//
// The stream:
//
//	oldest u64 | prev u32 | body u32 | records u32 | bytes u32, of what follows |
//	a fingerprint for each sector of the data | records
const (
	idMagic        = 0x49415751 // "QWAI"
	idSectorHeader = 52
	idSectorRoom   = sectorSize - idSectorHeader - stampSize
	idStreamHeader = 24
)

type idSector struct {
	Sequence, Number, Durable uint64
	DataAt, DataLen           uint32
	At, Part, Parts           uint32
	Stream                    []byte
}

func (s *idSector) encode(b []byte) {
	le.PutUint32(b[4:], idMagic)
	le.PutUint64(b[8:], s.Sequence)
	le.PutUint64(b[16:], s.Number)
	le.PutUint64(b[24:], s.Durable)
	le.PutUint32(b[32:], s.DataAt)
	le.PutUint32(b[36:], s.DataLen)
	le.PutUint32(b[40:], s.At)
	le.PutUint32(b[44:], s.Part)
	le.PutUint32(b[48:], s.Parts)
	clear(b[idSectorHeader+copy(b[idSectorHeader:sectorSize-stampSize], s.Stream) : sectorSize-stampSize])
	le.PutUint32(b[sectorSize-stampSize:], checksum(b[4:idSectorHeader]))
	le.PutUint32(b, checksum(b[4:sectorSize]))
}

func decodeIDSector(b []byte) (idSector, error) {
	var s idSector
	if len(b) < sectorSize {
		return s, fmt.Errorf("%w: identity sector of %d bytes", ErrCorrupt, len(b))
	}
	if m := le.Uint32(b[4:]); m != idMagic {
		return s, fmt.Errorf("%w: identity sector has magic %08x", ErrCorrupt, m)
	}
	if sum := checksum(b[4:sectorSize]); sum != le.Uint32(b) {
		return s, fmt.Errorf("%w: identity sector has checksum %08x, content %08x", ErrCorrupt, le.Uint32(b), sum)
	}
	s = idSector{
		Sequence: le.Uint64(b[8:]), Number: le.Uint64(b[16:]), Durable: le.Uint64(b[24:]),
		DataAt: le.Uint32(b[32:]), DataLen: le.Uint32(b[36:]),
		At: le.Uint32(b[40:]), Part: le.Uint32(b[44:]), Parts: le.Uint32(b[48:]),
		Stream: b[idSectorHeader : sectorSize-stampSize],
	}
	if s.Part >= s.Parts || s.DataLen == 0 || s.Number == 0 || s.Durable >= s.Number {
		return idSector{}, fmt.Errorf("%w: identity sector %d of %d, data of %d sectors, batch %d, durable %d",
			ErrCorrupt, s.Part, s.Parts, s.DataLen, s.Number, s.Durable)
	}
	return s, nil
}

// cutIdentity writes the stream of batch h as sectors into b, which is grown to
// h.IDLen sectors, lowest first.
func cutIdentity(h *batchHeader, stream, b []byte) []byte {
	b = grow(b, int(h.IDLen)*sectorSize)
	for part := range h.IDLen {
		room := stream[min(len(stream), int(part)*idSectorRoom):]
		s := idSector{
			Sequence: h.Sequence, Number: h.Number, Durable: h.Durable,
			DataAt: h.DataAt, DataLen: h.DataLen,
			At: h.IDTop - 1 - part, Part: part, Parts: h.IDLen,
			Stream: room[:min(len(room), idSectorRoom)],
		}
		off := int(h.IDLen-1-part) * sectorSize
		s.encode(b[off : off+sectorSize])
	}
	return b
}

func idSectors(streamBytes uint64) uint64 {
	return (streamBytes + idSectorRoom - 1) / idSectorRoom
}

// grow gives b with length n, reusing its memory; contents are undefined.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, n+n/4)
	}
	return b[:n]
}
