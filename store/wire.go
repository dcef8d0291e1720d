package store

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// The integers of commands, results and records are base-128 varints in their
// shortest form, signed ones zigzag; byte strings carry their length before
// them. A value has one encoding only, so equal records are equal bytes.

func appendInt(dst []byte, v int64) []byte   { return binary.AppendVarint(dst, v) }
func appendUint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

func appendBytes(dst, b []byte) []byte {
	return append(appendUint(dst, uint64(len(b))), b...)
}

func appendString(dst []byte, s string) []byte {
	return append(appendUint(dst, uint64(len(s))), s...)
}

// A reader takes values off bytes that nobody vouches for. After the first that
// does not fit, bad is set and all that follows is zero. What it returns aliases
// the input.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// flags takes a byte of which only the bits of known may be set.
func (r *reader) flags(known byte) byte {
	c := r.byte()
	if c&^known != 0 {
		r.fail()
		return 0
	}
	return c
}

func (r *reader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n != (bits.Len64(v)+6)/7 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	u := r.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) int32() int32 {
	v := r.int()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.fail()
		return 0
	}
	return int32(v)
}

// bytes gives nil for an empty string.
func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// count takes the number of things that follow, each of at least one byte, so
// that no more is allocated than the input could hold.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// done reports whether all was taken and fitted.
func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }
