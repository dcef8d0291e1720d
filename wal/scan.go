package wal

import (
	"bytes"
	"errors"
	"io"
	"math/bits"
	"path"
	"syscall"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// found is a batch, or the place of one, as a scan of a segment finds it.
type found struct {
	// first and last are the number, or for a place whose batches cannot be read
	// the range of numbers that must have been there.
	first, last     uint64
	seg             *segment
	dataAt, dataLen uint32 // dataLen is zero if the extent is unknown
	idTop, idLen    uint32 // the identity ends before sector idTop
	// durable and oldest are what the batch claims, zero if neither copy can be
	// read.
	durable, oldest uint64
	prev, body      uint32
	dataOK, idOK    bool
	// contradict: both copies are intact and say different things.
	contradict bool
	// torn: a sector of it holds what it held before, so that its sync never
	// returned.
	torn bool
	// blank: nothing of it is there at all.
	blank   bool
	records []record
	// bad are the entries that are damaged, if the identity tells which.
	bad []badEntry
	// patches are what should be there and is not.
	patches []patch
}

type patch struct {
	offset int64
	bytes  []byte
}

type badEntry struct {
	group  raft.GroupID
	index  raft.Index
	seg    *segment
	offset int64
}

// unknown: neither copy says what the batch held.
func (f *found) unknown() bool { return !f.dataOK && !f.idOK }

// scanner looks at one segment, held in memory whole.
type scanner struct {
	seg   *segment
	buf   []byte
	table []byte // nil: no pre-image is known
	first uint32 // sector that table begins with
	fresh bool
	// mended are the identity sectors that were put right in buf.
	mended map[uint32]bool
}

func (s *scanner) sector(at uint32) []byte {
	return s.buf[int64(at)*sectorSize : int64(at+1)*sectorSize]
}

// before gives what a sector held when the segment was prepared.
func (s *scanner) before(at uint32) (fingerprint, bool) {
	if s.fresh {
		return zeroFingerprint, true
	}
	if off := int(at-s.first) * fingerprintSize; off+fingerprintSize <= len(s.table) {
		return decodeFingerprint(s.table[off:]), true
	}
	return fingerprint{}, false
}

// untouched: the sector is as it was before the segment was used.
func (s *scanner) untouched(at uint32) bool {
	before, ok := s.before(at)
	if !ok {
		return false
	}
	if s.fresh {
		return isZero(s.sector(at))
	}
	return fingerprintOf(s.sector(at)) == before
}

func isZero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if le.Uint64(b) != 0 {
			return false
		}
	}
	return true
}

// partlyBefore: the sector begins or ends as it did before, although what was
// written there begins and ends otherwise. Rot of a bit or a byte cannot bring
// that about: three bytes or four must have gone back to their old values.
func (s *scanner) partlyBefore(at uint32, written fingerprint) bool {
	before, ok := s.before(at)
	if !ok {
		return false
	}
	now := fingerprintOf(s.sector(at))
	if now == written {
		return false
	}
	return now == before ||
		now.head == before.head && bytesApart(before.head, written.head) >= 3 ||
		now.tail == before.tail && bytesApart(before.tail, written.tail) >= 3
}

func bytesApart(a, b uint32) int {
	x := a ^ b
	x |= x >> 4
	x |= x >> 2
	x |= x >> 1
	return bits.OnesCount32(x & 0x01010101)
}

// edgeBefore is partlyBefore for a bad sector of which only head or tail is
// known to be new: a checksum or a stamp, which are not what was there before.
func (s *scanner) edgeBefore(at uint32, head, tail bool) bool {
	before, ok := s.before(at)
	if !ok {
		return false
	}
	now := fingerprintOf(s.sector(at))
	return now == before || head && now.head == before.head || tail && now.tail == before.tail
}

// scan gives the batches of the segment in order, of numbers from next on (from
// any, if next is zero), and the place behind the last of them.
func (s *scanner) scan(next uint64) (batches []*found, tail *found, err error) {
	front, back := s.seg.header.regions()
	for front < back {
		f, err := s.at(front, back, next)
		if err != nil {
			return nil, nil, err
		}
		if f == nil {
			if f, front, back = s.resume(front, back, next); f == nil {
				return batches, s.end(front, back, next), nil
			}
			batches = append(batches, f)
			next = f.last + 1
			continue
		}
		front, back = front+f.dataLen, back-f.idLen
		batches = append(batches, f)
		next = f.last + 1
	}
	s.seg.front, s.seg.back = front, back
	return batches, nil, nil
}

// idSector decodes an identity sector that belongs where it is.
func (s *scanner) idSector(at uint32) (idSector, bool) {
	b := s.sector(at)
	if le.Uint32(b[4:]) != idMagic {
		return idSector{}, false
	}
	id, err := decodeIDSector(b)
	if err != nil && s.mendIdentity(at, b) {
		id, err = decodeIDSector(b)
	}
	ok := err == nil && id.Sequence == s.seg.header.Sequence && id.At == at
	return id, ok
}

// mendIdentity puts an identity sector right of which only the stamp is wrong, or
// only the first bytes of the checksum, which are then as they were before.
func (s *scanner) mendIdentity(at uint32, b []byte) bool {
	var c [sectorSize]byte
	copy(c[:], b)
	le.PutUint32(c[sectorSize-stampSize:], checksum(b[4:idSectorHeader]))
	ok := checksum(c[4:]) == le.Uint32(b)
	if before, known := s.before(at); !ok && known {
		sum := checksum(b[4:])
		le.PutUint32(c[:], sum)
		copy(c[4:], b[4:])
		for k := 8; k < 32 && !ok; k += 8 {
			old := uint32(1)<<k - 1
			ok = le.Uint32(b) == before.head&old|sum&^old
		}
	}
	if ok {
		copy(b, c[:])
		s.mended[at] = true
	}
	return ok
}

// header decodes a batch header that belongs where it is.
func (s *scanner) header(front, back uint32) (batchHeader, bool) {
	b := s.sector(front)
	if le.Uint32(b[4:]) != batchMagic {
		return batchHeader{}, false
	}
	h, err := decodeBatchHeader(b)
	ok := err == nil && h.Sequence == s.seg.header.Sequence && h.DataAt == front && h.IDTop <= back &&
		uint64(front)+uint64(h.DataLen) <= uint64(h.IDTop-h.IDLen)
	return h, ok
}

// at reads the batch whose data begins at front and whose identity ends at back;
// nil if nothing there tells its extent.
func (s *scanner) at(front, back uint32, next uint64) (*found, error) {
	f := &found{seg: s.seg, dataAt: front, idTop: back}
	h, headerOK := s.header(front, back)
	headerOK = headerOK && h.IDTop == back && h.Number >= next
	if headerOK {
		f.first, f.dataLen, f.idLen, f.durable, f.oldest = h.Number, h.DataLen, h.IDLen, h.Durable, h.Oldest
		f.prev, f.body = h.Prev, h.Body
	} else {
		id, ok := s.topIdentity(front, back, next)
		if !ok {
			return nil, nil
		}
		f.first, f.dataLen, f.idLen, f.durable = id.Number, id.DataLen, id.Parts, id.Durable
	}
	f.last = f.first

	stream, whole := s.stream(f.first, back, f.idLen)
	var id identityStream
	if whole {
		var err error
		id, err = decodeIdentityStream(stream, f.dataLen)
		if errors.Is(err, ErrUnknownVersion) {
			return nil, err
		}
		f.idOK = err == nil
	}
	var prints []fingerprint
	for again := true; ; again = false {
		var err error
		if prints, err = s.data(f, &h, headerOK); err != nil {
			return nil, err
		}
		if f.dataOK || !f.idOK || !again || !s.mendData(f, id.prints) {
			break
		}
		h, headerOK = s.header(front, back)
	}
	switch {
	case f.dataOK:
		want := appendIdentityStream(nil, &h, prints, f.records)
		f.contradict = f.idOK && !bytes.HasPrefix(stream, want)
		if !f.idOK {
			f.patches = append(f.patches, patch{int64(back-f.idLen) * sectorSize, cutIdentity(&h, want, nil)})
		}
		for i := range f.records {
			r := &f.records[i]
			r.meta = bytes.Clone(r.meta)
			r.entries, r.refs = nil, nil
		}
	case f.idOK:
		f.oldest, f.prev, f.body, f.records = id.oldest, id.prev, id.body, id.records
		s.checkEntries(f, s.bytes(front, f.dataLen))
	}
	for at := back - f.idLen; at < back; at++ {
		if s.mended[at] {
			f.patches = append(f.patches, patch{int64(at) * sectorSize, bytes.Clone(s.sector(at))})
		}
	}
	if !f.dataOK {
		f.torn = s.torn(f, back, id.prints)
	}
	return f, nil
}

func (s *scanner) bytes(at, n uint32) []byte {
	return s.buf[int64(at)*sectorSize : int64(at+n)*sectorSize]
}

// data verifies the data of f and decodes its records, which alias the buffer.
func (s *scanner) data(f *found, h *batchHeader, headerOK bool) ([]fingerprint, error) {
	b := s.bytes(f.dataAt, f.dataLen)
	prints := make([]fingerprint, 0, f.dataLen)
	for off := 0; off < len(b); off += sectorSize {
		prints = append(prints, fingerprintOf(b[off:off+sectorSize]))
	}
	if !headerOK || h.Number != f.first || h.DataLen != f.dataLen || h.IDLen != f.idLen ||
		bodySum(b, prints) != h.Body || le.Uint32(b[len(b)-stampSize:]) != stamp(h.Sequence, h.Number, h.DataAt) {
		return prints, nil
	}
	records, err := decodeData(h, b)
	if errors.Is(err, ErrUnknownVersion) {
		return nil, err
	}
	f.dataOK, f.records = err == nil, records
	f.durable, f.oldest, f.prev, f.body = h.Durable, h.Oldest, h.Prev, h.Body
	return prints, nil
}

// mendData puts right the sectors that are wrong in their first or last bytes
// only: what belongs there is in the fingerprint, and the checksum proves it.
func (s *scanner) mendData(f *found, written []fingerprint) (mended bool) {
	var c [sectorSize]byte
	for k, want := range written {
		b := s.sector(f.dataAt + uint32(k))
		if fingerprintOf(b) == want {
			continue
		}
		for head := range 2 {
			copy(c[:], b)
			if head == 1 {
				le.PutUint32(c[:], want.head)
			} else {
				le.PutUint32(c[sectorSize-4:], want.tail)
			}
			if fingerprintOf(c[:]) == want {
				copy(b, c[:])
				f.patches = append(f.patches, patch{int64(f.dataAt+uint32(k)) * sectorSize, bytes.Clone(b)})
				mended = true
				break
			}
		}
	}
	return mended
}

// topIdentity finds an intact sector of the identity that ends at back.
func (s *scanner) topIdentity(front, back uint32, next uint64) (idSector, bool) {
	for k := uint32(0); k < back-front; k++ {
		if id, ok := s.idSector(back - 1 - k); ok {
			fits := uint64(front)+uint64(id.DataLen)+uint64(id.Parts) <= uint64(back)
			return id, fits && id.Part == k && id.DataAt == front && id.Number >= next
		}
	}
	return idSector{}, false
}

// stream puts the identity's stream together, if all its sectors are intact.
func (s *scanner) stream(number uint64, top, parts uint32) ([]byte, bool) {
	stream := make([]byte, 0, int(parts)*idSectorRoom)
	for part := range parts {
		id, ok := s.idSector(top - 1 - part)
		if !ok || id.Number != number || id.Part != part || id.Parts != parts {
			return nil, false
		}
		stream = append(stream, id.Stream...)
	}
	return stream, true
}

// torn looks for a sector of a bad batch that was not written whole.
func (s *scanner) torn(f *found, back uint32, prints []fingerprint) bool {
	for at := back - f.idLen; at < back; at++ {
		if _, ok := s.idSector(at); !ok && s.edgeBefore(at, true, true) {
			return true
		}
	}
	if len(prints) > 0 {
		for k, written := range prints {
			if s.partlyBefore(f.dataAt+uint32(k), written) {
				return true
			}
		}
		return false
	}
	// Without the identity, only the sectors that cannot be what they were before.
	last := f.dataAt + f.dataLen - 1
	if _, ok := s.header(f.dataAt, back); !ok && s.edgeBefore(f.dataAt, true, false) {
		return true
	}
	return s.edgeBefore(last, false, true)
}

// checkEntries finds which entries of a bad batch are damaged.
func (s *scanner) checkEntries(f *found, data []byte) {
	for i := range f.records {
		r := &f.records[i]
		off, index := r.entriesAt, r.first
		for _, ref := range r.refs {
			end := off + int(ref.size)
			ok := end <= len(data)
			if ok {
				e, n, err := entry.Decode(data[off:end])
				ok = err == nil && n == int(ref.size) && e.Index == index && e.Checksum == ref.sum
			}
			if !ok {
				f.bad = append(f.bad, badEntry{r.group, index, s.seg, int64(f.dataAt)*sectorSize + int64(off)})
			}
			off, index = end, index+1
		}
		r.refs = nil
	}
}

// resume goes on behind a place that nothing intact describes: to the next batch
// that is intact enough to tell where it is. Nil if there is none.
func (s *scanner) resume(front, back uint32, next uint64) (f *found, newFront, newBack uint32) {
	skip := func(number uint64, dataAt, top uint32) *found {
		first := next
		if first == 0 || first >= number {
			first = number - 1
		}
		return &found{
			first: first, last: number - 1, seg: s.seg, dataAt: front,
			torn: s.edgeBefore(front, true, false) || s.edgeBefore(back-1, true, true),
		}
	}
	for at := back; at > front; at-- {
		if id, ok := s.idSector(at - 1); ok && id.Number > next {
			top := uint64(at) + uint64(id.Part)
			if id.DataAt >= front && id.DataAt < at && top <= uint64(back) && uint64(id.DataAt) != uint64(front) {
				return skip(id.Number, id.DataAt, uint32(top)), id.DataAt, uint32(top)
			}
		}
	}
	for at := front + 1; at < back; at++ {
		if h, ok := s.header(at, back); ok && h.Number > next {
			return skip(h.Number, at, h.IDTop), at, h.IDTop
		}
	}
	return nil, front, back
}

// end describes the place behind the last batch.
func (s *scanner) end(front, back uint32, next uint64) *found {
	s.seg.front, s.seg.back = front, back
	f := &found{first: next, last: next, seg: s.seg, dataAt: front}
	f.blank = s.untouched(front) && s.untouched(back-1)
	f.torn = s.edgeBefore(front, true, false) || s.edgeBefore(back-1, true, true)
	return f
}

// clean: all that is free is as it was before, so that writing may go on there.
func (s *scanner) clean() bool {
	for at := s.seg.front; at < s.seg.back; at++ {
		if !s.untouched(at) {
			return false
		}
	}
	return true
}

// openScanner reads a segment file into buf, which it may grow. A header that
// neither copy has is ErrCorrupt, with a scanner for what is known.
func openScanner(open func(string) (vfs.File, error), dir, name string, sequence uint64, buf []byte) (*scanner, []byte, error) {
	f, err := open(path.Join(dir, name))
	if err != nil {
		return nil, buf, err
	}
	seg := &segment{name: name, file: f}
	s := &scanner{seg: seg, mended: map[uint32]bool{}}
	if err := s.read(sequence, buf); err != nil {
		if errors.Is(err, ErrCorrupt) {
			return s, s.buf, err
		}
		return nil, buf, errors.Join(err, f.Close())
	}
	return s, s.buf, nil
}

func (s *scanner) read(sequence uint64, buf []byte) error {
	size, err := s.seg.file.Size()
	if err != nil {
		return err
	}
	s.seg.header = segmentHeader{Sequence: sequence, Size: size}
	s.buf = buf
	front, back := make([]byte, sectorSize), make([]byte, sectorSize)
	if err := readSectors(s.seg.file, front, 0); err != nil {
		return err
	}
	h, err := decodeSegmentHeader(front)
	if errors.Is(err, ErrCorrupt) && size >= segmentSizeMin {
		if err := readSectors(s.seg.file, back, size-size%sectorSize-sectorSize); err != nil {
			return err
		}
		h, err = decodeSegmentHeader(back)
	}
	if err != nil {
		return err
	}
	if h.Sequence != sequence {
		return errWrongSequence(h.Sequence)
	}
	s.seg.header, s.fresh, s.first = h, h.Fresh, h.DataStart
	s.buf = grow(buf, int(h.Size))
	if err := readSectors(s.seg.file, s.buf, 0); err != nil {
		return err
	}
	if !h.Fresh {
		first, end := h.regions()
		table := s.buf[sectorSize : sectorSize+int(end-first)*fingerprintSize]
		if checksum(table) == h.TableSum {
			s.table = table
		}
	}
	return nil
}

// unreadable fills what the disk does not give: content that nothing was before
// and no checksum fits.
const unreadable = 0xa5

// readSectors fills b. What lies behind the end of the file, and sectors that the
// disk cannot read, become unreadable; any other error is returned.
func readSectors(f vfs.File, b []byte, off int64) error {
	const chunk = 1 << 20
	for len(b) > 0 {
		n := min(len(b), chunk)
		got, err := f.ReadAt(b[:n], off)
		if err != nil && got < n {
			switch {
			case errors.Is(err, io.EOF):
				fill(b[got:])
				return nil
			case !errors.Is(err, syscall.EIO):
				return err
			}
			for at := 0; at < n; at += sectorSize {
				sector := b[at:min(n, at+sectorSize)]
				if _, err := f.ReadAt(sector, off+int64(at)); errors.Is(err, syscall.EIO) {
					fill(sector)
				} else if err != nil && !errors.Is(err, io.EOF) {
					return err
				}
			}
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

func fill(b []byte) {
	for i := range b {
		b[i] = unreadable
	}
}
