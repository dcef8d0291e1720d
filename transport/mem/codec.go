package mem

import (
	"math"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

// A Codec passes messages through the frames in which they travel, for whoever
// carries them by themselves, as a simulator does. Not safe for concurrent use.
type Codec struct {
	batch   wire.Batch
	decoder wire.Decoder
}

// Encode gives the payload of one frame with all the envelopes, in memory of its
// own.
func (c *Codec) Encode(envelopes []transport.Envelope) ([]byte, error) {
	c.batch.Reset()
	for i := range envelopes {
		if _, err := c.batch.Append(&envelopes[i], math.MaxInt32, math.MaxInt32); err != nil {
			return nil, err
		}
	}
	c.batch.Seal()
	frame := c.batch.Buffers(nil)[0]
	return append([]byte(nil), frame[wire.HeaderSize:]...), nil
}

// Decode gives the envelopes of a payload, which belongs to them from here on.
func (c *Codec) Decode(from, to raft.NodeID, payload []byte) ([]transport.Envelope, error) {
	c.decoder.From, c.decoder.To = from, to
	return c.decoder.Decode(nil, payload, true)
}

// Offer passes a snapshot offer through its frame, to the node that it is for.
func (c *Codec) Offer(offer transport.SnapshotOffer) (transport.SnapshotOffer, error) {
	frame, err := wire.OfferFrame(&offer)
	if err != nil {
		return offer, err
	}
	return wire.DecodeOffer(frame[wire.HeaderSize:], offer.From)
}
