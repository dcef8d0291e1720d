package mem

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

var errAddress = errors.New("mem: the peer's address changed")

// A peer sends to one node, by a goroutine that connects and delivers.
type peer struct {
	t      *Transport
	id     raft.NodeID
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	after  <-chan struct{}
	// kick ends a pause between attempts; wake says that something is queued.
	kick, wake chan struct{}

	mu        sync.Mutex
	addresses []string
	// down: the last attempt to connect failed, and what is sent is dropped.
	down    bool
	conn    *conn
	address string
	queue   []parcel
	// bytes and count are those of what is queued or being delivered.
	bytes, count int
	stats        transport.PeerStats
}

// A parcel is one message on its way, encoded, so that the receiver shares nothing
// with the sender.
type parcel struct {
	payload []byte
	due     time.Time
}

func newPeer(t *Transport, id raft.NodeID, after <-chan struct{}) *peer {
	p := &peer{
		t: t, id: id, after: after, done: make(chan struct{}),
		kick: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	return p
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *peer) send(envelopes []transport.Envelope) (taken int) {
	_, delay, _ := p.t.network.state(p.t.id, p.id)
	var due time.Time
	if delay > 0 {
		due = time.Now().Add(delay)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	full := p.down
	for i := range envelopes {
		e := &envelopes[i]
		carries := len(e.Entries) > 0
		if p.down || full && carries {
			continue
		}
		payload, ok := p.encode(e)
		if !ok {
			full = full || carries
			continue
		}
		p.queue = append(p.queue, parcel{payload, due})
		p.bytes += len(payload)
		p.count++
		taken++
	}
	p.stats.Dropped += uint64(len(envelopes) - taken)
	if taken > 0 {
		signal(p.wake)
	}
	return taken
}

// encode gives the payload of a frame with one message, if there is room for it.
func (p *peer) encode(e *transport.Envelope) ([]byte, bool) {
	bytesMax, countMax := p.t.config.MaxQueueBytes, p.t.config.MaxQueueMessages
	if len(e.Entries) == 0 {
		bytesMax += bytesMax / 8
		countMax += countMax/8 + 1
	}
	if p.count >= countMax || p.bytes+wire.SizeOf(e) > bytesMax {
		return nil, false
	}
	var b wire.Batch
	b.Reset()
	if added, err := b.Append(e, math.MaxInt32, math.MaxInt32); !added || err != nil {
		return nil, false
	}
	b.Seal()
	return bytes.Join(b.Buffers(nil), nil)[wire.HeaderSize:], true
}

func (p *peer) setAddresses(addresses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(p.addresses, addresses) {
		return
	}
	p.addresses = slices.Clone(addresses)
	if p.conn != nil && !slices.Contains(addresses, p.address) {
		p.conn.fail(errAddress)
	}
	signal(p.kick)
}

// run connects and delivers until the peer is forgotten.
func (p *peer) run() {
	defer close(p.done)
	if p.after != nil {
		<-p.after
	}
	for p.ctx.Err() == nil {
		p.mu.Lock()
		addresses := p.addresses
		p.mu.Unlock()
		_, _, changed := p.t.network.state(p.t.id, p.id)
		c, address, err := p.t.connect(p.id, addresses, false)
		if err == nil {
			err = p.use(c, address)
		} else {
			p.mu.Lock()
			p.down = true
			p.discard()
			p.mu.Unlock()
		}
		if p.ctx.Err() != nil {
			return
		}
		p.t.handler.PeerDown(p.id, err)
		if errors.Is(err, errAddress) {
			continue
		}
		timer := time.NewTimer(p.t.config.Backoff)
		select {
		case <-timer.C:
		case <-p.kick:
		case <-changed:
		case <-p.ctx.Done():
		}
		timer.Stop()
	}
}

// use delivers on a connection until it ends, and says why it did.
func (p *peer) use(c *conn, address string) error {
	p.mu.Lock()
	p.conn, p.address, p.down = c, address, false
	p.stats.Connected = true
	p.stats.Connections++
	moved := !slices.Contains(p.addresses, address)
	p.mu.Unlock()
	if moved {
		c.fail(errAddress)
	}
	p.t.handler.PeerUp(p.id)
	p.deliver(c)
	c.end(transport.ErrClosed) // unless it failed already

	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = nil
	p.stats.Connected = false
	p.discard()
	return c.err
}

// discard empties the queue.
func (p *peer) discard() {
	p.stats.Lost += uint64(len(p.queue))
	p.queue, p.bytes, p.count = nil, 0, 0
}

// deliver takes what is queued to the peer's handler until c breaks.
func (p *peer) deliver(c *conn) {
	decoder := wire.Decoder{From: p.t.id, To: p.id}
	for {
		select {
		case <-c.broken:
			return
		case <-p.ctx.Done():
			return
		default:
		}
		p.mu.Lock()
		parcels := p.queue
		p.queue = nil
		p.mu.Unlock()
		if len(parcels) == 0 {
			select {
			case <-p.wake:
			case <-c.broken:
				return
			case <-p.ctx.Done():
				return
			}
			continue
		}
		for len(parcels) > 0 {
			n := 1
			for n < len(parcels) && parcels[n].due.Equal(parcels[0].due) {
				n++
			}
			if !p.hand(c, &decoder, parcels[:n]) {
				p.mu.Lock()
				p.stats.Lost += uint64(len(parcels))
				p.mu.Unlock()
				return
			}
			p.mu.Lock()
			p.stats.Sent += uint64(n)
			p.count -= n
			for _, one := range parcels[:n] {
				p.bytes -= len(one.payload)
			}
			p.mu.Unlock()
			parcels = parcels[n:]
		}
	}
}

// hand delivers messages that travel together, when they are due. It reports
// whether the connection stands.
func (p *peer) hand(c *conn, decoder *wire.Decoder, parcels []parcel) bool {
	if wait := time.Until(parcels[0].due); !parcels[0].due.IsZero() && wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.broken:
			return false
		case <-p.ctx.Done():
			return false
		}
	}
	if cut, _, _ := p.t.network.state(p.t.id, p.id); cut {
		return true
	}
	var envelopes []transport.Envelope
	for _, one := range parcels {
		before := len(envelopes)
		var err error
		if envelopes, err = decoder.Decode(envelopes, one.payload, true); err != nil {
			c.fail(err)
			return false
		}
		if !p.t.network.passes(p.t.id, p.id, &envelopes[before]) {
			envelopes = envelopes[:before]
		}
	}
	if len(envelopes) == 0 {
		return true
	}
	select {
	case <-c.in.turn:
	case <-c.broken:
		return false
	case <-p.ctx.Done():
		return false
	}
	defer func() { c.in.turn <- struct{}{} }()
	select {
	case <-c.broken:
		return false
	default:
	}
	if !c.to.visit() {
		return false
	}
	defer c.to.leave()
	c.to.handler.Deliver(envelopes)
	// As over TCP, the slice is the transport's again. What is kept of it breaks.
	clear(envelopes)
	return true
}
