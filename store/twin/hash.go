package twin

import (
	"encoding/binary"
	"math/bits"

	"github.com/quorate/quorate/store"
)

// word adds one word to the chain: the two halves of a 128-bit product, and what
// was there before.
func word(h, w uint64) uint64 {
	hi, lo := bits.Mul64(h^w^0x9e3779b97f4a7c15, bits.RotateLeft64(h, 32)^w^0xd6e8feb86659fd93|1)
	return hi ^ lo ^ bits.RotateLeft64(h, 17)
}

// text adds a byte string: its length, and its bytes in words filled up with 0.
func text(h uint64, b []byte) uint64 {
	h = word(h, uint64(len(b)))
	for i := 0; i < len(b); i += 8 {
		var w [8]byte
		copy(w[:], b[i:])
		h = word(h, binary.LittleEndian.Uint64(w[:]))
	}
	return h
}

// effect adds what is no change of a key.
func (m *Twin) effect(what byte, words ...uint64) {
	m.Hash = word(m.Hash, uint64(what))
	for _, w := range words {
		m.Hash = word(m.Hash, w)
	}
}

func (m *Twin) hashVersion(v *version, sub uint64) {
	h := word(m.Hash, uint64(v.revision))
	if v.deleted {
		m.Hash = text(word(h, sub*2+1), v.kv.Key)
		return
	}
	h = text(word(h, sub*2), v.kv.Key)
	for _, w := range []int64{v.kv.CreateRevision, v.kv.Version, v.kv.Lease} {
		h = word(h, uint64(w))
	}
	m.Hash = text(h, v.kv.Value)
}

// hashMember adds a member as its record is: a version, and what it published.
func (m *Twin) hashMember(p *store.Member) {
	b := binary.AppendUvarint([]byte{1}, p.ID)
	b = append(binary.AppendUvarint(b, uint64(len(p.Name))), p.Name...)
	b = binary.AppendUvarint(b, uint64(len(p.ClientURLs)))
	for _, u := range p.ClientURLs {
		b = append(binary.AppendUvarint(b, uint64(len(u))), u...)
	}
	m.Hash = text(word(m.Hash, 'p'), b)
}
