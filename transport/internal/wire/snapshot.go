package wire

import (
	"fmt"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// OfferMax bounds the payload of a SnapshotOffer frame, in bytes: it holds a
// configuration.
const OfferMax = 8 << 20

// OfferFrame encodes a snapshot offer, but for its sender, as a whole frame:
//
//	group u64 | term u64 | round u64 | size u64 | id u64 | meta
func OfferFrame(o *transport.SnapshotOffer) ([]byte, error) {
	b := make([]byte, HeaderSize, 512)
	b = le.AppendUint64(b, uint64(o.Group))
	b = le.AppendUint64(b, uint64(o.Term))
	b = le.AppendUint64(b, o.Round)
	b = le.AppendUint64(b, o.Size)
	b = le.AppendUint64(b, o.ID)
	b, err := appendMeta(b, &o.Meta)
	if err != nil {
		return nil, err
	}
	if len(b)-HeaderSize > OfferMax {
		return nil, fmt.Errorf("transport: snapshot offer of %d bytes, at most %d are allowed", len(b)-HeaderSize, OfferMax)
	}
	Seal(b, SnapshotOffer)
	return b, nil
}

// DecodeOffer decodes the payload of a SnapshotOffer frame that a node sent.
func DecodeOffer(payload []byte, from raft.NodeID) (transport.SnapshotOffer, error) {
	c := cursor{b: payload}
	o := transport.SnapshotOffer{
		From:  from,
		Group: raft.GroupID(c.u64()),
		Term:  raft.Term(c.u64()),
		Round: c.u64(),
		Size:  c.u64(),
		ID:    c.u64(),
		Meta:  c.meta(),
	}
	if err := c.end(); err != nil {
		return transport.SnapshotOffer{}, fmt.Errorf("snapshot offer: %w", err)
	}
	return o, nil
}

// NumberFrame encodes a frame whose payload is one number: the offset of a
// SnapshotResume, the size of a SnapshotEnd.
func NumberFrame(t Type, v uint64) []byte {
	b := le.AppendUint64(make([]byte, HeaderSize, HeaderSize+8), v)
	Seal(b, t)
	return b
}

// DecodeNumber decodes the payload of such a frame.
func DecodeNumber(payload []byte) (uint64, error) {
	c := cursor{b: payload}
	v := c.u64()
	return v, c.end()
}

// EmptyFrame encodes a frame without payload: SnapshotWorking, SnapshotInstalled.
func EmptyFrame(t Type) []byte {
	b := make([]byte, HeaderSize)
	Seal(b, t)
	return b
}
