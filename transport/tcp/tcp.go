package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// Transport is a transport.Transport over TCP. All methods are safe for concurrent
// use.
type Transport struct {
	config   Config
	tls      *tlsSource
	listener net.Listener
	log      *slog.Logger

	// self and handler are set by Start, before any goroutine runs.
	self    transport.Identity
	handler transport.Handler

	// ctx ends with Close; wg counts every goroutine and every SendSnapshot.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	started bool
	closed  bool
	peers   map[raft.NodeID]*peer
	// leaving are the ends of the goroutines of peers that were forgotten.
	leaving map[raft.NodeID]<-chan struct{}
	inbound inbound
	// table is peers for Send, which must not wait for mu. It is never changed,
	// only replaced.
	table atomic.Pointer[map[raft.NodeID]*peer]

	complaints limiter
	counters   counters
}

var _ transport.Transport = (*Transport)(nil)

// New makes a transport and binds its address at once, so that Address is known.
// It accepts nothing before Start.
func New(c Config) (*Transport, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	t := &Transport{
		config: c, log: c.Logger,
		peers: make(map[raft.NodeID]*peer), leaving: make(map[raft.NodeID]<-chan struct{}),
	}
	t.table.Store(&map[raft.NodeID]*peer{})
	t.inbound.init()
	if c.TLS != nil {
		var err error
		if t.tls, err = newTLSSource(*c.TLS, c.Logger); err != nil {
			return nil, fmt.Errorf("transport: TLS: %w", err)
		}
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	listen := net.ListenConfig{KeepAliveConfig: t.keepAlive()}
	var err error
	if t.listener, err = listen.Listen(t.ctx, "tcp", c.Listen); err != nil {
		t.cancel()
		return nil, fmt.Errorf("transport: %w", err)
	}
	return t, nil
}

// keepAlive finds peers that are gone while nothing is sent.
func (t *Transport) keepAlive() net.KeepAliveConfig {
	third := max(t.config.DeadPeerTimeout/3, time.Second)
	return net.KeepAliveConfig{Enable: true, Idle: third, Interval: third, Count: 2}
}

// Start begins to accept, to connect and to deliver to h.
func (t *Transport) Start(self transport.Identity, h transport.Handler) error {
	if self.Node == raft.None {
		return errors.New("transport: a node needs an id")
	}
	if h == nil {
		return errors.New("transport: a handler is required")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return transport.ErrClosed
	case t.started:
		return errors.New("transport: started already")
	}
	t.started = true
	t.self, t.handler = self, h
	// A handler may send as soon as it hears of a peer: Send knows it before.
	t.publish()
	t.wg.Go(t.accept)
	for _, p := range t.peers {
		t.wg.Go(func() { t.run(p) })
	}
	return nil
}

// SetPeer says where a node listens; no address forgets the node.
func (t *Transport) SetPeer(id raft.NodeID, addresses ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || id == raft.None {
		return
	}
	p := t.peers[id]
	if len(addresses) == 0 {
		if p != nil {
			delete(t.peers, id)
			p.cancel()
			if t.started {
				t.leaving[id] = p.done
			}
			t.publish()
		}
		t.inbound.closeAll(id)
		return
	}
	if p != nil {
		p.setAddresses(addresses)
		return
	}
	p = newPeer(t, id, t.leaving[id])
	p.setAddresses(addresses)
	t.peers[id] = p
	if t.started {
		t.publish()
		t.wg.Go(func() { t.run(p) })
	}
}

// run is the life of a peer's goroutine.
func (t *Transport) run(p *peer) {
	p.run()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leaving[p.id] == p.done {
		delete(t.leaving, p.id)
	}
}

// publish makes t.peers known to Send. The caller holds t.mu.
func (t *Transport) publish() {
	table := make(map[raft.NodeID]*peer, len(t.peers))
	for id, p := range t.peers {
		table[id] = p
	}
	t.table.Store(&table)
}

// Send queues envelopes for a peer and does not wait.
func (t *Transport) Send(to raft.NodeID, envelopes []transport.Envelope) int {
	p := (*t.table.Load())[to]
	if p == nil || len(envelopes) == 0 {
		return 0
	}
	return p.send(envelopes)
}

// Address is where other nodes reach this one.
func (t *Transport) Address() string {
	if t.config.Advertise != "" {
		return t.config.Advertise
	}
	return t.listener.Addr().String()
}

// Stats gives the counts for one peer, zero if it is unknown.
func (t *Transport) Stats(id raft.NodeID) transport.PeerStats {
	t.mu.Lock()
	p := t.peers[id]
	t.mu.Unlock()
	if p == nil {
		return transport.PeerStats{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Queued, s.QueuedBytes = p.queue.count, p.queue.bytes
	s.Received = p.received.Load()
	if p.conn != nil {
		s.RoundTrip = roundTrip(p.conn.socket)
	}
	return s
}

// Close stops listening, closes connections and waits for every goroutine. It must
// not be called by the handler.
func (t *Transport) Close() error {
	t.mu.Lock()
	closed := t.closed
	t.closed = true
	if !closed {
		t.cancel()
		_ = t.listener.Close()
		t.inbound.close()
		// Sends that come later find nobody.
		t.table.Store(&map[raft.NodeID]*peer{})
	}
	t.mu.Unlock()
	t.wg.Wait()
	return nil
}

// Counts is what became of the connections that others made to this node.
type Counts struct {
	// Accepted connections passed their handshake; Refused ones were told why
	// not; Crowded ones were closed because too many had not finished theirs.
	Accepted, Refused, Crowded uint64
	// Corrupt counts the connections that were closed because of bytes which do
	// not follow the format, a checksum among them.
	Corrupt uint64
}

type counters struct{ accepted, refused, crowded, corrupt atomic.Uint64 }

// Counts gives the counts of incoming connections.
func (t *Transport) Counts() Counts {
	return Counts{
		Accepted: t.counters.accepted.Load(), Refused: t.counters.refused.Load(),
		Crowded: t.counters.crowded.Load(), Corrupt: t.counters.corrupt.Load(),
	}
}

// complain logs what strangers can cause, not more often than once a second.
func (t *Transport) complain(message string, args ...any) {
	if suppressed, ok := t.complaints.allow(time.Now()); ok {
		if suppressed > 0 {
			args = append(args, slog.Int("suppressed", suppressed))
		}
		t.log.Warn(message, args...)
	}
}

// A limiter lets through one event a second and counts the others.
type limiter struct {
	mu         sync.Mutex
	next       time.Time
	suppressed int
}

func (l *limiter) allow(now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.suppressed++
		return 0, false
	}
	suppressed = l.suppressed
	l.suppressed = 0
	l.next = now.Add(time.Second)
	return suppressed, true
}
