package mem

import (
	"fmt"
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

// Encode gives one frame with all the envelopes, in memory of its own.
func (c *Codec) Encode(envelopes []transport.Envelope) ([]byte, error) {
	c.batch.Reset()
	for i := range envelopes {
		if _, err := c.batch.Append(&envelopes[i], math.MaxInt32, math.MaxInt32); err != nil {
			return nil, err
		}
	}
	c.batch.Seal()
	return append([]byte(nil), c.batch.Buffers(nil)[0]...), nil
}

// Decode gives the envelopes of a frame, which belongs to them from here on. It
// fails if the frame is not as it was encoded.
func (c *Codec) Decode(from, to raft.NodeID, frame []byte) ([]transport.Envelope, error) {
	header, err := wire.ParseHeader(frame, len(frame)-wire.HeaderSize)
	if err != nil {
		return nil, err
	}
	if header.Length != len(frame)-wire.HeaderSize {
		return nil, fmt.Errorf("%w: %d bytes announced, %d there", wire.ErrCorrupt, header.Length, len(frame)-wire.HeaderSize)
	}
	if err := header.Verify(frame, frame[wire.HeaderSize:]); err != nil {
		return nil, err
	}
	c.decoder.From, c.decoder.To = from, to
	return c.decoder.Decode(nil, frame[wire.HeaderSize:], true)
}

// Offer passes a snapshot offer through its frame, to the node that it is for.
func (c *Codec) Offer(offer transport.SnapshotOffer) (transport.SnapshotOffer, error) {
	frame, err := wire.OfferFrame(&offer)
	if err != nil {
		return offer, err
	}
	return wire.DecodeOffer(frame[wire.HeaderSize:], offer.From)
}
