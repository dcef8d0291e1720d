package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store/engine"
)

// A snapshot, as it is written for a replica:
//
//	+--------------------+
//	| magic "QRSTORE1"   |
//	+--------------------+
//	| block: length u32, kind u8, then as many bytes of records: |
//	|   state      the state's record without bytes              |
//	|   leases     id, TTL, deadline                             |
//	|   alarms     type, member                                  |
//	|   members    id, name, URLs                                |
//	|   versions   key, main, sub, the version's record          |
//	|   revisions  revision, number of changes, then each        |
//	|              as length<<1|deleted and the key              |
//	|   end        nothing                                       |
//	+--------------------+
//
// Blocks come in the order of their kinds, any number of each; only the state
// and the end are there once. What a compaction made superfluous is left out, so
// equal states give equal snapshots, whatever each engine still holds.
const snapshotMagic = "QRSTORE1"

const (
	blockState = 1 + iota
	blockLeases
	blockAlarms
	blockMembers
	blockVersions
	blockRevisions
	blockEnd
)

const (
	// blockBytes is the size at which a block is written out.
	blockBytes = 256 << 10
	// blockBytesMax bounds a block; a single record may make one large.
	blockBytesMax = 1 << 30
	blockHeadLen  = 5
)

// ErrBadSnapshot: what was to be restored is not a store's snapshot.
var ErrBadSnapshot = errors.New("store: malformed snapshot")

// Snapshot gives a view of the state as of the last Apply.
func (s *Store) Snapshot() (rsm.View, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.exit()
	picture, err := s.engine.NewSnapshot()
	if err != nil {
		return nil, err
	}
	return &snapshotView{picture}, nil
}

type snapshotView struct{ picture engine.Snapshot }

func (v *snapshotView) Close() error { return v.picture.Close() }

// WriteSnapshot writes the view. The state is read from the picture like all
// else, so they cannot disagree.
func (v *snapshotView) WriteSnapshot(ctx context.Context, w io.Writer) error {
	st := newState()
	b, ok, err := v.picture.Get(nil, stateKey)
	if err == nil && ok {
		st, err = decodeState(b)
	}
	if err != nil {
		return err
	}
	out := &blockWriter{ctx: ctx, w: bufio.NewWriterSize(w, 64<<10)}
	if _, err := out.w.WriteString(snapshotMagic); err != nil {
		return err
	}
	st.bytes = 0
	out.begin(blockState)
	out.buf = st.appendTo(out.buf)
	out.begin(blockLeases)
	err = eachRecord(v.picture, spaceLease, func(k, b []byte) error {
		id, err := decodeU64Key(k)
		if err != nil {
			return err
		}
		l, err := decodeLease(int64(id), b)
		if err != nil {
			return err
		}
		out.buf = appendInt(appendInt(appendInt(out.buf, l.id), l.ttl), l.deadline)
		return out.record()
	})
	if err != nil {
		return err
	}
	out.begin(blockAlarms)
	err = eachRecord(v.picture, spaceAlarm, func(k, _ []byte) error {
		a, err := decodeAlarmKey(k)
		if err != nil {
			return err
		}
		out.buf = appendUint(appendInt(out.buf, int64(a.Type)), a.Member)
		return out.record()
	})
	if err != nil {
		return err
	}
	out.begin(blockMembers)
	err = eachRecord(v.picture, spaceMember, func(_, b []byte) error {
		m, err := decodeMember(b)
		if err != nil {
			return err
		}
		out.buf = m.appendTo(out.buf)
		return out.record()
	})
	if err != nil {
		return err
	}
	out.begin(blockVersions)
	err = eachVersion(v.picture, st.compacted, func(key []byte, ver *version, record []byte) error {
		out.buf = appendBytes(out.buf, key)
		out.buf = appendUint(out.buf, uint64(ver.main))
		out.buf = appendUint(out.buf, uint64(ver.sub))
		out.buf = appendBytes(out.buf, record)
		return out.record()
	})
	if err != nil {
		return err
	}
	out.begin(blockRevisions)
	if err := v.writeRevisions(out, st.compacted); err != nil {
		return err
	}
	out.begin(blockEnd)
	out.flush()
	return errors.Join(out.err, out.w.Flush())
}

func (v *snapshotView) writeRevisions(out *blockWriter, compacted int64) error {
	return eachRecord(v.picture, spaceRevision, func(_, record []byte) error {
		x, err := newIndexReader(record)
		if err != nil {
			return err
		}
		for x.next() {
			n := x.left
			if x.revision >= compacted {
				out.buf = appendUint(out.buf, uint64(x.revision))
				out.buf = appendUint(out.buf, n)
			}
			for range n {
				c, ok := x.change()
				if !ok {
					break
				}
				if x.revision >= compacted {
					out.buf = append(appendUint(out.buf, uint64(len(c.key))<<1|uint64(bit(c.deleted, 1))), c.key...)
				}
			}
			if err := errors.Join(x.err(), out.record()); err != nil {
				return err
			}
		}
		return x.err()
	})
}

// eachVersion visits the versions that a compaction left, by key and then the
// newest first, whether the others were deleted already or not: those after the
// compacted revision, and the newest before unless it is a deletion that is
// older than the compacted revision's own.
func eachVersion(r engine.Reader, compacted int64, visit func(key []byte, v *version, record []byte) error) error {
	var key, prefix []byte
	first := false // no version of key at or before compacted was seen
	return eachRecord(r, spaceVersion, func(k, record []byte) error {
		escaped, main, sub, err := splitVersionKey(k)
		if err != nil {
			return err
		}
		if p := k[:len(k)-suffixLen]; string(p) != string(prefix) {
			prefix = append(prefix[:0], p...)
			key = appendUnescaped(key[:0], escaped)
			first = true
		}
		v, err := decodeVersion(main, sub, record)
		if err != nil {
			return err
		}
		if main <= compacted {
			if !first {
				return nil
			}
			first = false
			if v.deleted && main < compacted {
				return nil
			}
		}
		return visit(key, &v, record)
	})
}

// A blockWriter puts records into blocks. After an error it writes nothing more.
type blockWriter struct {
	ctx  context.Context
	w    *bufio.Writer
	kind byte
	buf  []byte
	err  error
}

// begin ends what was begun before and begins records of a kind.
func (b *blockWriter) begin(kind byte) {
	if b.kind != 0 && (len(b.buf) > blockHeadLen) {
		b.flush()
	}
	b.kind = kind
	b.buf = append(b.buf[:0], 0, 0, 0, 0, kind)
}

// record is called after each record.
func (b *blockWriter) record() error {
	if len(b.buf) >= blockBytes {
		b.flush()
		b.buf = append(b.buf[:0], 0, 0, 0, 0, b.kind)
	}
	return b.err
}

func (b *blockWriter) flush() {
	if b.err == nil {
		b.err = b.ctx.Err()
	}
	if b.err != nil {
		return
	}
	n := len(b.buf) - blockHeadLen
	if n > blockBytesMax {
		b.err = fmt.Errorf("store: a record of %d bytes is too large for a snapshot", n)
		return
	}
	binary.LittleEndian.PutUint32(b.buf, uint32(n))
	_, b.err = b.w.Write(b.buf)
}

// readBlock gives the next block. It allocates no more than what is there.
func readBlock(r io.Reader, buf []byte) (kind byte, body []byte, err error) {
	var head [blockHeadLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > blockBytesMax {
		return 0, nil, fmt.Errorf("%w: block of %d bytes", ErrBadSnapshot, n)
	}
	body = buf[:0]
	for len(body) < int(n) {
		part := min(int(n)-len(body), 4*blockBytes)
		at := len(body)
		if cap(body) < at+part {
			body = append(make([]byte, 0, at+part), body...)
		}
		body = body[:at+part]
		if _, err := io.ReadFull(r, body[at:]); err != nil {
			return 0, nil, fmt.Errorf("%w: %w", ErrBadSnapshot, err)
		}
	}
	return head[4], body, nil
}

// wipe deletes everything, and with restoring leaves the mark by which a crash
// before the end of a Restore is known.
func (s *Store) wipe(restoring bool) error {
	batch := s.engine.NewBatch()
	defer batch.Close()
	batch.DeleteRange([]byte{0}, []byte{0xff})
	if restoring {
		st := newState()
		st.restoring = true
		batch.Set(stateKey, st.appendTo(nil))
	}
	if err := batch.Commit(); err != nil {
		return fmt.Errorf("store: wipe: %w", err)
	}
	return nil
}

// Restore replaces everything by a snapshot and returns once it is durable. After
// a crash before that the store is found empty, with a DurableIndex of 0.
func (s *Store) Restore(r io.Reader) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.failed != nil {
		return s.failed
	}
	err := s.restore(r)
	if err != nil {
		return s.fail(fmt.Errorf("store: restore: %w", err))
	}
	if s.observer != nil {
		st := s.published.Load()
		s.observer.Restored(st.revision, st.compacted)
	}
	return nil
}

func (s *Store) restore(r io.Reader) error {
	if err := s.applier.forget(); err != nil {
		return err
	}
	if err := s.wipe(true); err != nil {
		return err
	}
	in := restorer{batch: s.engine.NewBatch()}
	defer in.batch.Close()
	if err := in.read(bufio.NewReaderSize(r, 64<<10)); err != nil {
		return err
	}
	in.batch.Set(stateKey, in.state.appendTo(nil))
	at := reclaimer{at: max(in.state.compacted, 1)}
	in.batch.Set(reclaimedKey, at.record())
	if err := in.batch.Commit(); err != nil {
		return err
	}
	if err := s.engine.Sync(); err != nil {
		return err
	}
	return s.load()
}

// A restorer turns a snapshot's blocks into records.
type restorer struct {
	batch   engine.Batch
	state   state
	last    byte // the kind of the last block
	index   indexWriter
	changes []change
	scratch []byte
	key     []byte // of the last version
	keys    int    // how many versions came
}

func (in *restorer) read(r io.Reader) error {
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	}
	if string(magic) != snapshotMagic {
		return fmt.Errorf("%w: it begins with %x", ErrBadSnapshot, magic)
	}
	var buf []byte
	for in.last != blockEnd {
		kind, body, err := readBlock(r, buf)
		if err != nil {
			return err
		}
		buf = body
		once := kind == blockState || kind == blockEnd
		if kind < in.last || once && kind == in.last || (in.last == 0) != (kind == blockState) {
			return fmt.Errorf("%w: block of kind %d after %d", ErrBadSnapshot, kind, in.last)
		}
		in.last = kind
		if err := in.block(kind, &reader{b: body}); err != nil {
			return err
		}
		if in.batch.Size() >= batchBytesMax {
			if err := in.batch.Commit(); err != nil {
				return err
			}
		}
	}
	var extra [1]byte
	if n, _ := io.ReadFull(r, extra[:]); n > 0 {
		return fmt.Errorf("%w: bytes after its end", ErrBadSnapshot)
	}
	in.writeIndex()
	return nil
}

func (in *restorer) block(kind byte, r *reader) error {
	if kind == blockState {
		st, err := r.state()
		if err != nil || !r.done() || st.restoring {
			return fmt.Errorf("%w: state: %w", ErrBadSnapshot, err)
		}
		in.state = st
		return nil
	}
	for !r.bad && len(r.b) > 0 {
		if err := in.record(kind, r); err != nil {
			return err
		}
		if in.batch.Size() >= batchBytesMax {
			if err := in.batch.Commit(); err != nil {
				return err
			}
		}
	}
	if r.bad {
		return fmt.Errorf("%w: block of kind %d", ErrBadSnapshot, kind)
	}
	return nil
}

// record takes one record. What does not fit sets r.bad.
func (in *restorer) record(kind byte, r *reader) error {
	switch kind {
	case blockLeases:
		l := lease{id: r.int(), ttl: r.int(), deadline: r.int()}
		if l.ttl < 1 || l.ttl > MaxLeaseTTL {
			r.fail()
		}
		in.set(r, appendLeaseKey(in.scratch[:0], l.id), l.appendTo(nil))
	case blockAlarms:
		a := Alarm{Type: AlarmType(r.int32()), Member: r.uint()}
		in.set(r, appendAlarmKey(in.scratch[:0], a), nil)
	case blockMembers:
		m := r.member()
		in.set(r, appendMemberKey(in.scratch[:0], m.ID), m.appendTo([]byte{recordVersion}))
	case blockVersions:
		return in.version(r)
	case blockRevisions:
		in.revision(r)
	default:
		r.fail()
	}
	return nil
}

func (in *restorer) set(r *reader, key, value []byte) {
	in.scratch = key
	if !r.bad {
		in.batch.Set(key, value)
	}
}

func (in *restorer) version(r *reader) error {
	key, main, sub, record := r.bytes(), r.uint(), r.uint(), r.bytes()
	if r.bad || main > uint64(in.state.revision) || sub > 1<<32-1 {
		r.fail()
		return nil
	}
	v, err := decodeVersion(int64(main), uint32(sub), record)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	}
	in.set(r, appendVersionKey(in.scratch[:0], key, v.main, v.sub), record)
	in.state.bytes += v.size(key)
	// The first of a key is its newest, which says what it is attached to.
	if in.keys++; in.keys == 1 || !bytes.Equal(key, in.key) {
		in.key = append(in.key[:0], key...)
		if v.lease != 0 {
			in.set(r, appendLeaseKeyKey(in.scratch[:0], v.lease, key), nil)
		}
	}
	return nil
}

// revision takes a revision's changes over into an r record. Which command made
// them is not known any more; none came after the last.
func (in *restorer) revision(r *reader) {
	revision, n := r.uint(), r.uint()
	if r.bad || n > uint64(len(r.b)) || revision > uint64(in.state.revision) || int64(revision) <= in.index.last {
		r.fail()
		return
	}
	in.changes = in.changes[:0]
	for range n {
		length := r.uint()
		if r.bad || length>>1 > uint64(len(r.b)) {
			r.fail()
			return
		}
		in.changes = append(in.changes, change{key: r.b[:length>>1], version: version{deleted: length&1 != 0}})
		r.b = r.b[length>>1:]
	}
	in.index.revision(int64(revision), in.state.applied, in.changes)
	if len(in.index.buf) >= indexRecordBytes {
		in.writeIndex()
	}
}

func (in *restorer) writeIndex() {
	if !in.index.empty() {
		in.scratch = appendRevisionKey(in.scratch[:0], in.index.last)
		in.batch.Set(in.scratch, in.index.buf)
	}
	in.index.close()
}
