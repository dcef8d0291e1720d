package store

import (
	"context"
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/quorate/quorate/store/engine"
)

// The hash by which replicas compare: 64 bits, of folded 128-bit products. It
// finds what went wrong, not who did; it is no defence against an adversary. Its
// values are kept in states and snapshots, so it never changes.
const (
	hashKey1 = 0x9e3779b97f4a7c15
	hashKey2 = 0xd6e8feb86659fd93
)

func hashWord(h, w uint64) uint64 {
	hi, lo := bits.Mul64(h^w^hashKey1, bits.RotateLeft64(h, 32)^w^hashKey2|1)
	return hi ^ lo ^ bits.RotateLeft64(h, 17)
}

func hashBytes(h uint64, b []byte) uint64 {
	h = hashWord(h, uint64(len(b)))
	for len(b) >= 8 {
		h = hashWord(h, binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	if len(b) > 0 {
		var tail [8]byte
		copy(tail[:], b)
		h = hashWord(h, binary.LittleEndian.Uint64(tail[:]))
	}
	return h
}

// hashVersion adds a version of a key.
func hashVersion(h uint64, key []byte, v *version) uint64 {
	h = hashWord(h, uint64(v.main))
	h = hashWord(h, uint64(v.sub)<<1|uint64(bit(v.deleted, 1)))
	h = hashBytes(h, key)
	if v.deleted {
		return h
	}
	h = hashWord(h, uint64(v.create))
	h = hashWord(h, uint64(v.version))
	h = hashWord(h, uint64(v.lease))
	return hashBytes(h, v.value)
}

// fold gives the 32 bits that etcd's API has room for.
func fold(h uint64) uint32 { return uint32(h) ^ uint32(h>>32) }

// KVHash is the hash of the keyspace and its history.
type KVHash struct {
	Hash uint32
	// Revision is the last that is in the hash, Compacted the one up to which
	// history was gone.
	Revision  int64
	Compacted int64
}

// HashKV reads through all that a reader could find up to a revision, 0 for the
// newest, and gives its hash: equal on replicas that are compacted alike. It is
// not etcd's number. A compacted revision's own deletions are not in it, as in
// etcd. It refuses with ErrCompacted and ErrFutureRev.
func (s *Store) HashKV(ctx context.Context, revision int64) (KVHash, error) {
	if err := s.enter(); err != nil {
		return KVHash{}, err
	}
	defer s.exit()
	picture, err := s.engine.NewSnapshot()
	if err != nil {
		return KVHash{}, err
	}
	h, err := hashKV(ctx, picture, revision)
	return h, errors.Join(err, picture.Close())
}

func hashKV(ctx context.Context, r engine.Reader, revision int64) (KVHash, error) {
	st := newState()
	b, ok, err := r.Get(nil, stateKey)
	if err == nil && ok {
		st, err = decodeState(b)
	}
	if err != nil {
		return KVHash{}, err
	}
	switch {
	case revision > 0 && revision < st.compacted:
		return KVHash{}, ErrCompacted
	case revision > st.revision:
		return KVHash{}, ErrFutureRev
	case revision <= 0:
		revision = st.revision
	}
	h, n := uint64(0), 0
	err = eachVersion(r, st.compacted, func(key []byte, v *version, _ []byte) error {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if v.main <= revision && !(v.deleted && v.main == st.compacted) {
			h = hashVersion(h, key, v)
		}
		return nil
	})
	return KVHash{Hash: fold(h), Revision: revision, Compacted: st.compacted}, err
}
