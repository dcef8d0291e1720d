package tcp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

var (
	errTooLarge = errors.New("transport: message larger than a frame may be")
	errAddress  = errors.New("transport: the peer's address changed")
)

// inlineMax bounds what Send writes on its caller's goroutine, in bytes. Longer
// frames cost the caller more to copy into the kernel than to wake the writer.
const inlineMax = 16 << 10

// A peer sends to one node. Its goroutine, run, makes the connection and writes
// what is queued; a Send that finds the connection idle writes by itself, which
// saves waking that goroutine.
//
//	down ── attempt succeeds ──> up ── connection lost ──> hopeful
//	  ^                          ^                            │
//	  └───────── attempt fails ──┼────────────────────────────┤
//	                             └────── attempt succeeds ────┘
//
// A new peer is hopeful. What Send is given while down is dropped.
type peer struct {
	t  *Transport
	id raft.NodeID
	// ctx ends when the peer is forgotten or the transport closed, done when run
	// has returned. after is the done of a forgotten peer of the same id.
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	after  <-chan struct{}
	// kick ends a pause between attempts; wake makes run look at the queue.
	kick, wake chan struct{}

	mu        sync.Mutex
	addresses []string
	down      bool
	queue     queue
	// conn is the connection, nil unless up. While writing is set one goroutine
	// writes to it, without mu. idle: run sleeps, and wants to be woken when
	// there is something to write.
	conn          *outgoing
	writing, idle bool
	// partial is a frame of which a Send could write only partialAt bytes.
	partial   *batch
	partialAt int
	stats     transport.PeerStats
	// received counts what came from the node, in bytes.
	received atomic.Uint64
	// tooLarge: a message that is never sent has been reported.
	tooLarge bool
	// taken is scratch space of whoever has set writing.
	taken []*batch
}

func newPeer(t *Transport, id raft.NodeID, after <-chan struct{}) *peer {
	p := &peer{
		t: t, id: id, after: after, done: make(chan struct{}),
		kick: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		queue: queue{
			frameMax: t.config.MaxFrameBytes, reference: referenceFrom,
			bytesMax: t.config.MaxQueueBytes, countMax: t.config.MaxQueueMessages,
		},
	}
	if t.config.TLS != nil {
		// A TLS connection copies everything anyway.
		p.queue.reference = t.config.MaxFrameBytes + 1
	}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	return p
}

// signal makes a receiver of c run once more.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// send queues envelopes, and writes them if the connection is idle.
func (p *peer) send(envelopes []transport.Envelope) int {
	p.mu.Lock()
	if p.down {
		p.stats.Dropped += uint64(len(envelopes))
		p.mu.Unlock()
		return 0
	}
	taken := p.enqueue(envelopes)
	c := p.conn
	if taken == 0 || c == nil || p.writing || !p.idle {
		// Who writes now, or is about to, looks at the queue once more.
		p.mu.Unlock()
		return taken
	}
	if !c.inline() || !p.queue.single(inlineMax) {
		p.idle = false
		p.mu.Unlock()
		signal(p.wake)
		return taken
	}
	p.taken = p.queue.take(p.taken[:0])
	b := p.taken[0]
	p.writing = true
	p.mu.Unlock()

	b.Seal()
	n, err := c.tryWrite(b)

	p.mu.Lock()
	p.writing = false
	switch {
	case err != nil || p.conn != c:
		p.stats.Lost += uint64(b.Len())
		p.queue.written(b)
	case n < b.Size():
		p.partial, p.partialAt = b, n
	default:
		p.sent(b)
	}
	more := p.partial != nil || !p.queue.empty() || p.conn != c
	if more {
		p.idle = false
	}
	p.mu.Unlock()
	if err != nil {
		c.fail(err)
	}
	if more {
		signal(p.wake)
	}
	return taken
}

// enqueue takes the envelopes for which there is room. After the first with
// entries that finds none, no other with entries is taken: it would leave a gap.
func (p *peer) enqueue(envelopes []transport.Envelope) (taken int) {
	full := false
	for i := range envelopes {
		e := &envelopes[i]
		carries := len(e.Entries) > 0
		if carries && full {
			continue
		}
		added, err := p.queue.add(e)
		if added {
			taken++
			continue
		}
		full = full || carries
		if err != nil && !p.tooLarge {
			p.tooLarge = true
			p.t.log.Error("message cannot be sent", slog.Uint64("peer", uint64(p.id)),
				slog.Uint64("group", uint64(e.Group)), slog.Any("error", err))
		}
	}
	p.stats.Dropped += uint64(len(envelopes) - taken)
	return taken
}

// sent counts a batch that was written.
func (p *peer) sent(b *batch) {
	p.stats.Sent += uint64(b.Len())
	p.stats.Frames++
	p.stats.Bytes += uint64(b.Size())
	p.queue.written(b)
}

// setAddresses replaces where the peer is looked for.
func (p *peer) setAddresses(addresses []string) {
	p.mu.Lock()
	changed := !slices.Equal(p.addresses, addresses)
	p.addresses = slices.Clone(addresses)
	c := p.conn
	p.mu.Unlock()
	if !changed {
		return
	}
	if c != nil && !slices.Contains(addresses, c.address) {
		c.fail(errAddress)
	}
	signal(p.kick)
}

// reachable says that the peer reached this node, and so can probably be reached.
// It shortens the pause after an attempt that failed, but not the one after a
// connection that was lost: two nodes that close each other's connections would
// make them anew without end.
func (p *peer) reachable() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		signal(p.kick)
	}
}

// run connects, writes, and connects again, until the peer is forgotten.
func (p *peer) run() {
	defer close(p.done)
	if p.after != nil {
		<-p.after
	}
	backoff := backoff{min: p.t.config.BackoffMin, max: p.t.config.BackoffMax}
	reported := ""
	for p.ctx.Err() == nil {
		p.mu.Lock()
		addresses := p.addresses
		p.mu.Unlock()
		c, err := p.t.connect(p.ctx, p.id, addresses)
		if err == nil {
			reported = ""
			p.t.log.Info("connected", slog.Uint64("peer", uint64(p.id)), slog.String("address", c.address))
			since := time.Now()
			err = p.use(c)
			// A connection that did not last is no success: to make it again at
			// once would be to try without end.
			if time.Since(since) >= p.t.config.BackoffMax {
				backoff.reset()
			}
			if errors.Is(err, errAddress) {
				backoff.reset()
			}
		} else {
			p.fail()
		}
		if p.ctx.Err() != nil {
			return
		}
		level := slog.LevelWarn
		if text := err.Error(); text == reported {
			level = slog.LevelDebug
		} else {
			reported = text
		}
		p.t.log.Log(p.ctx, level, "not connected", slog.Uint64("peer", uint64(p.id)), slog.Any("error", err))
		p.t.handler.PeerDown(p.id, err)
		if errors.Is(err, errAddress) {
			continue
		}
		p.pause(backoff.next())
	}
}

// use writes to a new connection until it is lost, and says why it was.
func (p *peer) use(c *outgoing) error {
	p.mu.Lock()
	p.conn = c
	p.down, p.idle = false, false
	p.queue.frameMax = min(p.t.config.MaxFrameBytes, c.frameMax)
	p.stats.Connected = true
	p.stats.Connections++
	select {
	case <-p.kick: // it was about the attempt that succeeded
	default:
	}
	moved := !slices.Contains(p.addresses, c.address)
	p.mu.Unlock()
	if moved {
		c.fail(errAddress)
	}
	p.t.handler.PeerUp(p.id)

	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch()
	}()
	p.write(c)
	c.fail(transport.ErrClosed) // unless it failed already
	<-watched

	p.mu.Lock()
	p.conn = nil
	p.stats.Connected = false
	p.discard()
	p.mu.Unlock()
	return c.err
}

// fail notes that an attempt to connect failed: what waits for it is lost.
func (p *peer) fail() {
	p.mu.Lock()
	p.down = true
	p.discard()
	p.mu.Unlock()
}

// discard empties the queue. A batch that a Send is writing at this moment is
// accounted for by it.
func (p *peer) discard() {
	lost := p.queue.take(nil)
	for !p.queue.empty() {
		lost = p.queue.take(lost)
	}
	if p.partial != nil {
		lost = append(lost, p.partial)
		p.partial = nil
	}
	for _, b := range lost {
		p.stats.Lost += uint64(b.Len())
		p.queue.written(b)
	}
}

// write writes what is queued whenever there is something, until c fails.
func (p *peer) write(c *outgoing) {
	for {
		p.mu.Lock()
		if p.writing || p.partial == nil && p.queue.empty() {
			p.idle = true
			p.mu.Unlock()
			select {
			case <-p.wake:
			case <-c.failed:
				return
			case <-p.ctx.Done():
				return
			}
			continue
		}
		p.idle, p.writing = false, true
		p.taken = p.taken[:0]
		from := 0
		if p.partial != nil {
			p.taken = append(p.taken, p.partial)
			from = p.partialAt
			p.partial = nil
		}
		resumed := len(p.taken)
		p.taken = p.queue.take(p.taken)
		p.dropLarger(resumed, c.frameMax)
		p.mu.Unlock()

		for _, b := range p.taken[resumed:] {
			b.Seal()
		}
		err := c.write(p.taken, from)

		p.mu.Lock()
		p.writing = false
		for _, b := range p.taken {
			if err != nil {
				p.stats.Lost += uint64(b.Len())
				p.queue.written(b)
			} else {
				p.sent(b)
			}
		}
		clear(p.taken)
		p.mu.Unlock()
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// dropLarger drops from p.taken[from:] what was queued before it was known that
// this peer does not accept such large frames.
func (p *peer) dropLarger(from, frameMax int) {
	kept := p.taken[:from]
	for _, b := range p.taken[from:] {
		if b.Size() > frameMax {
			p.stats.Lost += uint64(b.Len())
			p.queue.written(b)
			continue
		}
		kept = append(kept, b)
	}
	p.taken = kept
}

// pause waits before the next attempt, unless something happened that may make it
// succeed.
func (p *peer) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.kick:
	case <-p.ctx.Done():
	}
}

// A backoff gives growing pauses.
type backoff struct {
	min, max, last time.Duration
}

func (b *backoff) next() time.Duration {
	b.last = min(b.max, max(b.min, 2*b.last))
	return b.last - time.Duration(rand.Int64N(int64(b.last)/2+1))
}

func (b *backoff) reset() { b.last = 0 }
