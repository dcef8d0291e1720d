package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The records in the engine. Integers in keys are big-endian, so that their
// order is the keys' order:
//
//	m                              the state as of the last command, see state.go
//	c                              how far compacted versions were deleted (local)
//	v key' 00 01 ~main u64 ~sub u32
//	                               a version of a key, newest first:
//	                                 a put:      u8 1, main-create, version, lease, value
//	                                 a deletion: nothing
//	r last u64                     the keys that some revisions changed, the last of
//	                               them last: u8 1, index, then per revision
//	                                 its distance from the one before, the number
//	                                 of changes, and each as length<<1|deleted, key
//	l lease u64                    a lease: u8 1, TTL, deadline
//	k lease u64 key                a key that is attached to the lease
//	a type u32 member u64          an alarm
//	p member u64                   what a member published: u8 1, name, URLs
//
// key' is the key with every 00 as 00 FF, so that 00 01 ends it and the order of
// records is the order of keys, versions of one key together. That end is also
// where the engine's prefix ends (Split): the newest version of a key is the
// first with its prefix, and older ones are passed over with NextPrefix.
//
// A value is written once, in its version. A reader at a revision takes the
// first version that is not newer. What changed after a revision, deletions
// included, is found in the r records without a scan: watchers read history
// there, a compaction what it supersedes, and a snapshot for a replica that is
// only behind will find what that replica lacks. How revisions are grouped into r
// records depends on how commands came in batches; it differs between replicas
// and shows nowhere.
const (
	spaceState     = 'm'
	spaceReclaimed = 'c'
	spaceVersion   = 'v'
	spaceRevision  = 'r'
	spaceLease     = 'l'
	spaceLeaseKey  = 'k'
	spaceAlarm     = 'a'
	spaceMember    = 'p'
)

const recordVersion = 1

// suffixLen is the length of what follows a version's prefix.
const suffixLen = 12

var (
	stateKey     = []byte{spaceState}
	reclaimedKey = []byte{spaceReclaimed}
	keyEnd       = []byte{0, 1}
)

// errDamaged: a record is not one. The engine's checksums make it our own
// mistake, or another program's.
var errDamaged = errors.New("store: damaged record")

// Split is the engine's SplitFunc for the records of a store.
func Split(key []byte) int {
	if len(key) == 0 || key[0] != spaceVersion {
		return len(key)
	}
	if i := bytes.Index(key, keyEnd); i >= 0 {
		return i + len(keyEnd)
	}
	return len(key)
}

func appendEscaped(dst, key []byte) []byte {
	for {
		i := bytes.IndexByte(key, 0)
		if i < 0 {
			return append(dst, key...)
		}
		dst = append(append(dst, key[:i+1]...), 0xff)
		key = key[i+1:]
	}
}

// appendUnescaped takes a prefix without its space and its end.
func appendUnescaped(dst, escaped []byte) []byte {
	for {
		i := bytes.IndexByte(escaped, 0)
		if i < 0 {
			return append(dst, escaped...)
		}
		dst = append(dst, escaped[:i+1]...)
		escaped = escaped[min(i+2, len(escaped)):]
	}
}

// appendVersionBound appends what lies before all versions of key and after
// those of all smaller keys.
func appendVersionBound(dst, key []byte) []byte {
	return appendEscaped(append(dst, spaceVersion), key)
}

func appendVersionPrefix(dst, key []byte) []byte {
	return append(appendVersionBound(dst, key), keyEnd...)
}

func appendVersionKey(dst, key []byte, main int64, sub uint32) []byte {
	return appendSuffix(appendVersionPrefix(dst, key), main, sub)
}

func appendSuffix(dst []byte, main int64, sub uint32) []byte {
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(main))
	return binary.BigEndian.AppendUint32(dst, ^sub)
}

// A version is one record of spaceVersion.
type version struct {
	main    int64
	sub     uint32
	deleted bool
	create  int64
	version int64
	lease   int64
	value   []byte
}

// splitVersionKey gives the escaped key, and the revision.
func splitVersionKey(k []byte) (escaped []byte, main int64, sub uint32, err error) {
	n := Split(k)
	if n < 1+len(keyEnd) || len(k) != n+suffixLen {
		return nil, 0, 0, fmt.Errorf("%w: version key %x", errDamaged, k)
	}
	main = int64(^binary.BigEndian.Uint64(k[n:]))
	sub = ^binary.BigEndian.Uint32(k[n+8:])
	return k[1 : n-len(keyEnd)], main, sub, nil
}

func appendVersion(dst []byte, v *version) []byte {
	if v.deleted {
		return dst
	}
	dst = append(dst, recordVersion)
	dst = appendUint(dst, uint64(v.main-v.create))
	dst = appendUint(dst, uint64(v.version))
	dst = appendInt(dst, v.lease)
	return append(dst, v.value...)
}

// decodeVersion gives a version whose value aliases b.
func decodeVersion(main int64, sub uint32, b []byte) (version, error) {
	v := version{main: main, sub: sub}
	if len(b) == 0 {
		v.deleted = true
		return v, nil
	}
	r := reader{b: b}
	if r.byte() != recordVersion {
		return v, fmt.Errorf("%w: version record %x", ErrUnknownVersion, b[0])
	}
	v.create = main - int64(r.uint())
	v.version = int64(r.uint())
	v.lease = r.int()
	if r.bad {
		return v, fmt.Errorf("%w: version at revision %d", errDamaged, main)
	}
	v.value = r.b
	return v, nil
}

func (v *version) size(key []byte) int64 {
	return int64(len(key) + len(v.value) + suffixLen)
}

// keyValue gives v as a key's answer; nothing is copied.
func (v *version) keyValue(key []byte) KeyValue {
	return KeyValue{
		Key: key, Value: v.value, CreateRevision: v.create, ModRevision: v.main,
		Version: v.version, Lease: v.lease,
	}
}

func appendU64Key(dst []byte, space byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, space), n)
}

func appendRevisionKey(dst []byte, last int64) []byte {
	return appendU64Key(dst, spaceRevision, uint64(last))
}

func appendLeaseKey(dst []byte, id int64) []byte { return appendU64Key(dst, spaceLease, uint64(id)) }

func appendLeaseKeyKey(dst []byte, id int64, key []byte) []byte {
	return append(appendU64Key(dst, spaceLeaseKey, uint64(id)), key...)
}

func appendAlarmKey(dst []byte, a Alarm) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, spaceAlarm), uint32(a.Type))
	return binary.BigEndian.AppendUint64(dst, a.Member)
}

func appendMemberKey(dst []byte, id uint64) []byte { return appendU64Key(dst, spaceMember, id) }

// spaceBounds gives the bounds of all records of a space.
func spaceBounds(space byte) (lower, upper []byte) {
	return []byte{space}, []byte{space + 1}
}

// An indexWriter collects the changes of revisions into r records.
type indexWriter struct {
	buf  []byte
	last int64
	open bool
}

// indexRecordBytes is the size at which a record is closed at the end of a
// revision.
const indexRecordBytes = 32 << 10

func (w *indexWriter) empty() bool { return !w.open }

// close begins a new record with the next revision.
func (w *indexWriter) close() { w.open = false }

// revision adds the changes of a revision, which is newer than the last.
func (w *indexWriter) revision(revision int64, index uint64, changes []change) {
	before := w.last
	if !w.open {
		w.buf = appendUint(append(w.buf[:0], recordVersion), index)
		w.open, before = true, 0
	}
	w.buf = appendUint(w.buf, uint64(revision-before))
	w.buf = appendUint(w.buf, uint64(len(changes)))
	for i := range changes {
		c := &changes[i]
		w.buf = appendUint(w.buf, uint64(len(c.key))<<1|uint64(bit(c.version.deleted, 1)))
		w.buf = append(w.buf, c.key...)
	}
	w.last = revision
}

// An indexChange is one change of a revision as the index has it.
type indexChange struct {
	key     []byte
	sub     uint32
	deleted bool
}

// An indexReader takes revisions off an r record.
type indexReader struct {
	r        reader
	revision int64
	left     uint64
	sub      uint32
}

func newIndexReader(record []byte) (indexReader, error) {
	x := indexReader{r: reader{b: record}}
	if v := x.r.byte(); v != recordVersion {
		return x, fmt.Errorf("%w: revision record %d", ErrUnknownVersion, v)
	}
	x.r.uint()
	return x, x.err()
}

func (x *indexReader) err() error {
	if x.r.bad {
		return fmt.Errorf("%w: revision record after revision %d", errDamaged, x.revision)
	}
	return nil
}

// next moves to the next revision of the record; the changes of this one must
// have been taken.
func (x *indexReader) next() bool {
	if x.r.bad || len(x.r.b) == 0 {
		return false
	}
	x.revision += int64(x.r.uint())
	x.left, x.sub = x.r.uint(), 0
	if x.left > uint64(len(x.r.b)) || x.left > math.MaxUint32 {
		x.r.fail()
	}
	return !x.r.bad
}

// change takes the next change of the revision.
func (x *indexReader) change() (indexChange, bool) {
	if x.left == 0 || x.r.bad {
		return indexChange{}, false
	}
	x.left--
	n := x.r.uint()
	if n>>1 > uint64(len(x.r.b)) {
		x.r.fail()
		return indexChange{}, false
	}
	c := indexChange{key: x.r.b[:n>>1], sub: x.sub, deleted: n&1 != 0}
	x.r.b = x.r.b[n>>1:]
	x.sub++
	return c, true
}

func decodeU64Key(k []byte) (uint64, error) {
	if len(k) != 9 {
		return 0, fmt.Errorf("%w: key %x", errDamaged, k)
	}
	return binary.BigEndian.Uint64(k[1:]), nil
}

func decodeAlarmKey(k []byte) (Alarm, error) {
	if len(k) != 13 {
		return Alarm{}, fmt.Errorf("%w: key %x", errDamaged, k)
	}
	return Alarm{Type: AlarmType(binary.BigEndian.Uint32(k[1:])), Member: binary.BigEndian.Uint64(k[5:])}, nil
}

func decodeMember(b []byte) (Member, error) {
	r := reader{b: b}
	if v := r.byte(); v != recordVersion {
		return Member{}, fmt.Errorf("%w: member of version %d", ErrUnknownVersion, v)
	}
	m := r.member()
	if !r.done() {
		return m, fmt.Errorf("%w: member", errDamaged)
	}
	return m, nil
}
