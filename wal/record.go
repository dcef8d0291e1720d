package wal

import (
	"fmt"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
)

// A record is the whole state of one group's log after a batch, and what of its
// entries the batch holds. As every record has the state whole, an older one is
// never needed once there is a newer one. In the data of a batch:
//
//	 0       8        12   13    14     16     24     32           40
//	+-------+--------+----+-----+------+------+------+------------+
//	| group | length |kind|flags| zero | term | vote | generation |
//	+-------+------+-+----+-----+--+---+---+--+--+---+---+--------+
//	| log first    | log last      | prev  | last| zero  | snapshot
//	|              |               | term  | sum |       | index, term
//	+--------------+---------------+-------+-----+-------+---------
//	40             48              56      64    68      72, 80     88
//	+--------------+---------------+---------+---------+
//	| first        | last          | meta    | entries | meta ... | entries ...
//	+--------------+---------------+---------+---------+
//	88             96              104       108       112
//
//	length     of the record in the data, header included
//	log first, log last   bounds of the log after this record
//	prev term  term of the entry before log first
//	last sum   checksum of the entry at log last, or of the one before log first
//	snapshot   what the log rests on. The newest record with meta has the rest
//	first, last   the entries that follow; zero if there are none
//	meta       bytes of the snapshot's description
//
// The identity has the same header and meta, and in place of the entries
//
//	runs u32 | configurations u32 | entries at u32, bytes from the beginning of
//	the batch | zero u32 | per run: first u64, term u64 | per entry: size u32,
//	checksum u32 | per configuration entry: size u32 and the encoded entry
const (
	recordHeaderSize = 112
	idRecordHeader   = 16

	// kindUpdate: the entries follow log order; what the log held from first on
	// is truncated.
	kindUpdate = 1
	// kindCopy: entries that stand elsewhere as well are written here again.
	// They take their places; nothing is truncated.
	kindCopy = 2

	// flagAccepted: damage of this group before this record was accepted, by
	// CutTail.
	flagAccepted = 1
)

// head is what every record says of a group.
type head struct {
	hard        raft.HardState
	generation  uint64
	first, last raft.Index
	prevTerm    raft.Term
	lastSum     uint32
	snapshot    raft.EntryID
}

type entryRef struct{ size, sum uint32 }

type record struct {
	group       raft.GroupID
	kind, flags byte
	head        head
	first, last raft.Index // first is zero if there are no entries
	meta        []byte
	entries     [][]byte // pieces, as the caller gave them
	entriesLen  int
	entriesAt   int // from the beginning of the batch
	runs        []raft.TermRun
	refs        []entryRef
	configs     []config
}

// config is a configuration entry: encoded, and decoded.
type config struct {
	bytes   []byte
	decoded raft.ConfigurationEntry
}

func (r *record) size() int { return recordHeaderSize + len(r.meta) + r.entriesLen }

func (r *record) idSize() int {
	n := recordHeaderSize + len(r.meta) + idRecordHeader + 16*len(r.runs) + 8*len(r.refs)
	for _, c := range r.configs {
		n += 4 + len(c.bytes)
	}
	return n
}

func (r *record) appendHeader(b []byte) []byte {
	b = le.AppendUint64(b, uint64(r.group))
	b = le.AppendUint32(b, uint32(r.size()))
	b = append(b, r.kind, r.flags, 0, 0)
	b = le.AppendUint64(b, uint64(r.head.hard.CurrentTerm))
	b = le.AppendUint64(b, uint64(r.head.hard.VotedFor))
	b = le.AppendUint64(b, r.head.generation)
	b = le.AppendUint64(b, uint64(r.head.first))
	b = le.AppendUint64(b, uint64(r.head.last))
	b = le.AppendUint64(b, uint64(r.head.prevTerm))
	b = le.AppendUint32(b, r.head.lastSum)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(r.head.snapshot.Index))
	b = le.AppendUint64(b, uint64(r.head.snapshot.Term))
	b = le.AppendUint64(b, uint64(r.first))
	b = le.AppendUint64(b, uint64(r.last))
	b = le.AppendUint32(b, uint32(len(r.meta)))
	b = le.AppendUint32(b, uint32(r.entriesLen))
	return append(b, r.meta...)
}

func (r *record) appendData(b []byte) []byte {
	b = r.appendHeader(b)
	for _, piece := range r.entries {
		b = append(b, piece...)
	}
	return b
}

func (r *record) appendIdentity(b []byte) []byte {
	b = r.appendHeader(b)
	b = le.AppendUint32(b, uint32(len(r.runs)))
	b = le.AppendUint32(b, uint32(len(r.configs)))
	b = le.AppendUint32(b, uint32(r.entriesAt))
	b = le.AppendUint32(b, 0)
	for _, run := range r.runs {
		b = le.AppendUint64(b, uint64(run.First))
		b = le.AppendUint64(b, uint64(run.Term))
	}
	for _, ref := range r.refs {
		b = le.AppendUint32(b, ref.size)
		b = le.AppendUint32(b, ref.sum)
	}
	for _, c := range r.configs {
		b = le.AppendUint32(b, uint32(len(c.bytes)))
		b = append(b, c.bytes...)
	}
	return b
}

// indexEntries fills runs, refs and configs from the entries. It checks that
// they are those of [first, last] in order; their checksums are checked by whoever
// made or received them, and by every reader. Nothing aliases the entries.
func (r *record) indexEntries() error {
	next := r.first
	r.entriesLen = 0
	if r.first != 0 && r.last >= r.first {
		r.refs = make([]entryRef, 0, min(uint64(r.last-r.first)+1, 1<<20))
	}
	for _, piece := range r.entries {
		r.entriesLen += len(piece)
		for len(piece) > 0 {
			h, err := entry.Peek(piece)
			if err != nil {
				return err
			}
			if h.Size > len(piece) {
				return fmt.Errorf("entry %v of %d bytes in %d", h.ID, h.Size, len(piece))
			}
			if h.ID.Index != next || r.first == 0 {
				return fmt.Errorf("entry %v in the place of index %d", h.ID, next)
			}
			if n := len(r.runs); n == 0 || r.runs[n-1].Term < h.ID.Term {
				r.runs = append(r.runs, raft.TermRun{First: next, Term: h.ID.Term})
			} else if r.runs[n-1].Term > h.ID.Term {
				return fmt.Errorf("entry %v after term %d", h.ID, r.runs[n-1].Term)
			}
			r.refs = append(r.refs, entryRef{uint32(h.Size), h.Checksum})
			if h.Kind == entry.Configuration {
				c, err := decodeConfig(append([]byte(nil), piece[:h.Size]...))
				if err != nil {
					return err
				}
				r.configs = append(r.configs, c)
			}
			piece = piece[h.Size:]
			next++
		}
	}
	if r.first != 0 && next != r.last+1 || r.first == 0 && r.last != 0 {
		return fmt.Errorf("entries end before %d, want [%d, %d]", next, r.first, r.last)
	}
	return nil
}

func decodeConfig(b []byte) (config, error) {
	e, _, err := entry.Decode(b)
	if err != nil {
		return config{}, err
	}
	c, err := entry.DecodeConfiguration(e.Payload)
	if err != nil {
		return config{}, fmt.Errorf("entry %v: %w", e.ID(), err)
	}
	return config{b, raft.ConfigurationEntry{ID: e.ID(), Configuration: c}}, nil
}

// decodeRecordHeader reads header and meta and gives the size of both and, in
// r.entriesLen, what the entries take in the data.
func decodeRecordHeader(b []byte) (r record, n int, err error) {
	if len(b) < recordHeaderSize {
		return r, 0, fmt.Errorf("%w: record header of %d bytes", ErrCorrupt, len(b))
	}
	r = record{
		group: raft.GroupID(le.Uint64(b)), kind: b[12], flags: b[13],
		head: head{
			hard:       raft.HardState{CurrentTerm: raft.Term(le.Uint64(b[16:])), VotedFor: raft.NodeID(le.Uint64(b[24:]))},
			generation: le.Uint64(b[32:]),
			first:      raft.Index(le.Uint64(b[40:])), last: raft.Index(le.Uint64(b[48:])),
			prevTerm: raft.Term(le.Uint64(b[56:])), lastSum: le.Uint32(b[64:]),
			snapshot: raft.EntryID{Index: raft.Index(le.Uint64(b[72:])), Term: raft.Term(le.Uint64(b[80:]))},
		},
		first: raft.Index(le.Uint64(b[88:])), last: raft.Index(le.Uint64(b[96:])),
	}
	length, metaLen, entriesLen := le.Uint32(b[8:]), le.Uint32(b[104:]), le.Uint32(b[108:])
	if r.kind != kindUpdate && r.kind != kindCopy || r.flags&^flagAccepted != 0 || le.Uint16(b[14:]) != 0 || le.Uint32(b[68:]) != 0 {
		return record{}, 0, fmt.Errorf("%w: record of kind %d, flags %x", ErrUnknownVersion, r.kind, r.flags)
	}
	if uint64(length) != recordHeaderSize+uint64(metaLen)+uint64(entriesLen) {
		return record{}, 0, fmt.Errorf("%w: record of %d bytes with meta of %d, entries of %d", ErrCorrupt, length, metaLen, entriesLen)
	}
	if uint64(metaLen) > uint64(len(b)-recordHeaderSize) {
		return record{}, 0, fmt.Errorf("%w: meta of %d bytes in %d", ErrCorrupt, metaLen, len(b)-recordHeaderSize)
	}
	if r.head.first == 0 || r.head.last < r.head.first-1 {
		return record{}, 0, fmt.Errorf("%w: log [%d, %d]", ErrCorrupt, r.head.first, r.head.last)
	}
	if r.first == 0 && (r.last != 0 || entriesLen != 0) || r.first != 0 && (r.last < r.first || r.last > r.head.last || entriesLen == 0) {
		return record{}, 0, fmt.Errorf("%w: entries [%d, %d] of %d bytes", ErrCorrupt, r.first, r.last, entriesLen)
	}
	n = recordHeaderSize + int(metaLen)
	if metaLen > 0 {
		r.meta = b[recordHeaderSize:n]
	}
	r.entriesLen = int(entriesLen)
	return r, n, nil
}

// decodeData reads the records of a batch whose checksums hold; b is the batch
// from its header on. The records alias b.
func decodeData(h *batchHeader, b []byte) ([]record, error) {
	var records []record
	end := batchHeaderSize + int(h.Bytes)
	for off := batchHeaderSize; off < end; {
		r, n, err := decodeRecordHeader(b[off:end])
		if err != nil {
			return nil, err
		}
		off += n
		if r.entriesLen > end-off {
			return nil, fmt.Errorf("%w: entries of %d bytes in %d", ErrCorrupt, r.entriesLen, end-off)
		}
		r.entriesAt = off
		if r.entriesLen > 0 {
			r.entries = [][]byte{b[off : off+r.entriesLen]}
		}
		if err := r.indexEntries(); err != nil {
			return nil, fmt.Errorf("%w: group %d: %w", ErrCorrupt, r.group, err)
		}
		off += r.entriesLen
		records = append(records, r)
	}
	if len(records) != int(h.Records) {
		return nil, fmt.Errorf("%w: %d records, want %d", ErrCorrupt, len(records), h.Records)
	}
	return records, nil
}

// identityStream is what the identity of a batch says.
type identityStream struct {
	oldest     uint64
	prev, body uint32
	prints     []fingerprint
	records    []record
}

func appendIdentityStream(b []byte, h *batchHeader, prints []fingerprint, records []record) []byte {
	start := len(b)
	b = le.AppendUint64(b, h.Oldest)
	b = le.AppendUint32(b, h.Prev)
	b = le.AppendUint32(b, h.Body)
	b = le.AppendUint32(b, h.Records)
	b = le.AppendUint32(b, 0)
	for _, p := range prints {
		b = p.appendTo(b)
	}
	for i := range records {
		b = records[i].appendIdentity(b)
	}
	le.PutUint32(b[start+20:], uint32(len(b)-start-idStreamHeader))
	return b
}

func identityStreamSize(dataLen uint64, records []record) uint64 {
	n := idStreamHeader + dataLen*fingerprintSize
	for i := range records {
		n += uint64(records[i].idSize())
	}
	return n
}

// decodeIdentityStream reads the stream of the identity of a batch with dataLen
// sectors of data. Nothing aliases b.
func decodeIdentityStream(b []byte, dataLen uint32) (identityStream, error) {
	var s identityStream
	if len(b) < idStreamHeader {
		return s, fmt.Errorf("%w: identity of %d bytes", ErrCorrupt, len(b))
	}
	s.oldest, s.prev, s.body = le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:])
	count, size := le.Uint32(b[16:]), le.Uint32(b[20:])
	rest := b[idStreamHeader:]
	if uint64(size) > uint64(len(rest)) || uint64(dataLen)*fingerprintSize > uint64(size) {
		return s, fmt.Errorf("%w: identity of %d bytes in %d, data of %d sectors", ErrCorrupt, size, len(rest), dataLen)
	}
	rest = rest[:size]
	s.prints = make([]fingerprint, dataLen)
	for i := range s.prints {
		s.prints[i] = decodeFingerprint(rest)
		rest = rest[fingerprintSize:]
	}
	for len(rest) > 0 {
		r, n, err := decodeRecordHeader(rest)
		if err != nil {
			return s, err
		}
		r.meta = append([]byte(nil), r.meta...)
		if rest, err = r.decodeIdentity(rest[n:]); err != nil {
			return s, fmt.Errorf("group %d: %w", r.group, err)
		}
		s.records = append(s.records, r)
	}
	if len(s.records) != int(count) {
		return s, fmt.Errorf("%w: %d records, want %d", ErrCorrupt, len(s.records), count)
	}
	return s, nil
}

// decodeIdentity reads what follows header and meta and gives the rest of b.
func (r *record) decodeIdentity(b []byte) ([]byte, error) {
	if len(b) < idRecordHeader {
		return nil, fmt.Errorf("%w: identity record of %d bytes", ErrCorrupt, len(b))
	}
	runs, configs := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
	r.entriesAt = int(le.Uint32(b[8:]))
	zero := le.Uint32(b[12:])
	b = b[idRecordHeader:]
	var count uint64
	if r.first != 0 {
		count = uint64(r.last-r.first) + 1
	}
	room := uint64(len(b))
	if zero != 0 || count > room/8 || runs > count || configs > count || runs*16+count*8 > room || (runs == 0) != (count == 0) {
		return nil, fmt.Errorf("%w: %d runs, %d configurations, %d entries in %d bytes", ErrCorrupt, runs, configs, count, room)
	}
	for i := range runs {
		run := raft.TermRun{First: raft.Index(le.Uint64(b)), Term: raft.Term(le.Uint64(b[8:]))}
		b = b[16:]
		ordered := run.First == r.first
		if i > 0 {
			prev := r.runs[i-1]
			ordered = run.First > prev.First && run.First <= r.last && run.Term > prev.Term
		}
		if !ordered {
			return nil, fmt.Errorf("%w: term %d from index %d", ErrCorrupt, run.Term, run.First)
		}
		r.runs = append(r.runs, run)
	}
	total := uint64(0)
	for range count {
		ref := entryRef{le.Uint32(b), le.Uint32(b[4:])}
		b = b[8:]
		total += uint64(ref.size)
		r.refs = append(r.refs, ref)
	}
	if total != uint64(r.entriesLen) {
		return nil, fmt.Errorf("%w: entries of %d bytes, want %d", ErrCorrupt, total, r.entriesLen)
	}
	for range configs {
		if len(b) < 4 || uint64(le.Uint32(b)) > uint64(len(b)-4) {
			return nil, fmt.Errorf("%w: configuration in %d bytes", ErrCorrupt, len(b))
		}
		n := int(le.Uint32(b))
		c, err := decodeConfig(append([]byte(nil), b[4:4+n]...))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		r.configs = append(r.configs, c)
		b = b[4+n:]
	}
	return b, nil
}
