package wal

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// Names in the directory: a segment is its sequence number, 16 hexadecimal
// digits, with one of these suffixes. What is temporary or free holds nothing.
const (
	suffixSegment   = ".wal"
	suffixFree      = ".free"
	suffixTemporary = ".tmp"
	lockName        = "LOCK"
)

func segmentName(sequence uint64, suffix string) string {
	return fmt.Sprintf("%016x%s", sequence, suffix)
}

// parseName gives the sequence number in a file's name if it has that suffix.
func parseName(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil && segmentName(n, suffix) == name
}

// segment is a segment file that is in use or ready.
type segment struct {
	header segmentHeader
	name   string
	file   vfs.File
	// Free sectors are [front, back).
	front, back uint32
	// live is the sum of the lengths of the extents here.
	live int64
	// groups had a record here; whether they still need it is for them to say.
	groups map[raft.GroupID]*group
	// readers have the file in use.
	readers atomic.Int64
	dirty   bool
	// damaged: kept until no group has faults.
	damaged bool
	// held: recovery keeps a batch that is here.
	held bool
}

func (s *segment) refer(g *group) {
	if s.groups == nil {
		s.groups = map[raft.GroupID]*group{}
	}
	s.groups[g.id] = g
}

// sealsFor reports whether the segment cuts something off those before it that no
// later seal would, if batches up to last are kept. Such a seal stays as long as
// any of them, also when no batch is in it.
func (s *segment) sealsFor(before []*segment, last uint64) bool {
	return s.header.FirstBatch != 0 && s.header.FirstBatch <= last && len(before) > 0
}

func (s *segment) room() uint32 { return s.back - s.front }

// maker makes segments.
type maker struct {
	fs       vfs.FS
	dir      string
	identity Identity
	size     int64
}

// fresh makes a segment of zeros. A crash leaves a temporary file, or the whole
// segment.
func (m *maker) fresh(sequence uint64, size int64, firstBatch, oldest uint64) (*segment, error) {
	h := segmentHeader{
		Sequence: sequence, Identity: m.identity, Size: size, DataStart: 1, Fresh: true,
		FirstBatch: firstBatch, Oldest: oldest,
	}
	temporary := path.Join(m.dir, segmentName(sequence, suffixTemporary))
	f, err := m.fs.Create(temporary)
	if err != nil {
		return nil, err
	}
	err = f.Preallocate(size)
	if err == nil {
		err = writeHeaders(f, &h)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		// What is left is removed by the next Open at the latest.
		return nil, errors.Join(err, m.fs.Remove(temporary))
	}
	return m.publish(temporary, h)
}

// recycle makes a segment of a free file: the pre-image of its sectors is noted
// in it before it can be used. The file's name as a free file is made durable
// first, so that no crash brings it back as the segment that it was with other
// contents.
func (m *maker) recycle(free string, sequence, firstBatch, oldest uint64) (*segment, error) {
	if err := m.fs.SyncDir(m.dir); err != nil {
		return nil, err
	}
	free = path.Join(m.dir, free)
	f, err := m.fs.Open(free)
	if err != nil {
		return nil, err
	}
	h := segmentHeader{
		Sequence: sequence, Identity: m.identity, Size: m.size, DataStart: recycledDataStart(m.size),
		FirstBatch: firstBatch, Oldest: oldest,
	}
	err = writePreImage(f, &h)
	if err == nil {
		err = writeHeaders(f, &h)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return m.publish(free, h)
}

func writeHeaders(f vfs.File, h *segmentHeader) error {
	b := h.encode()
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	_, err := f.WriteAt(b, h.Size-sectorSize)
	return err
}

// writePreImage notes what the sectors of the regions hold.
func writePreImage(f vfs.File, h *segmentHeader) error {
	first, end := h.regions()
	table := make([]byte, 0, int(end-first)*fingerprintSize)
	buf := make([]byte, min(1<<20, int(end-first)*sectorSize))
	for at := first; at < end; {
		n := min(end-at, uint32(len(buf)/sectorSize))
		b := buf[:n*sectorSize]
		if err := readFull(f, b, int64(at)*sectorSize); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[sectorSize:] {
			table = fingerprintOf(b).appendTo(table)
		}
		at += n
	}
	h.TableSum = checksum(table)
	_, err := f.WriteAt(table, sectorSize)
	return err
}

// publish gives a finished file its name as a segment, durably.
func (m *maker) publish(from string, h segmentHeader) (*segment, error) {
	name := segmentName(h.Sequence, suffixSegment)
	to := path.Join(m.dir, name)
	if err := m.fs.Rename(from, to); err != nil {
		return nil, err
	}
	if err := m.fs.SyncDir(m.dir); err != nil {
		return nil, err
	}
	f, err := m.fs.Open(to)
	if err != nil {
		return nil, err
	}
	s := &segment{header: h, name: name, file: f}
	s.front, s.back = h.regions()
	return s, nil
}

// readFull reads all of b.
func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// roundSize gives the size of a segment that has room for at least that many
// sectors of batches.
func roundSize(sectors uint64) int64 { return int64(sectors+2) * sectorSize }
