package mem

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

var errBroken = errors.New("mem: connection broken")

// Transport is a transport.Transport within one process. All methods are safe for
// concurrent use.
type Transport struct {
	network *Network
	id      raft.NodeID
	config  Config

	self    transport.Identity
	handler transport.Handler

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines, SendSnapshots and visitors

	mu      sync.Mutex
	started bool
	closed  bool
	peers   map[raft.NodeID]*peer
	leaving map[raft.NodeID]<-chan struct{}
	// inbound are the connections that others made.
	inbound map[raft.NodeID]*inbound
}

// inbound is what one peer has opened to this node.
type inbound struct {
	messages  *conn
	snapshots map[*conn]struct{}
	// turn holds one token: who has it delivers.
	turn chan struct{}
}

// A conn is a connection that stands.
type conn struct {
	to   *Transport
	peer transport.Identity // who made it
	in   *inbound

	once   sync.Once
	broken chan struct{}
	err    error // set before broken is closed
}

func (c *conn) fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.broken)
	})
}

var _ transport.Transport = (*Transport)(nil)

func newTransport(n *Network, id raft.NodeID, c Config) *Transport {
	t := &Transport{
		network: n, id: id, config: c, peers: make(map[raft.NodeID]*peer),
		leaving: make(map[raft.NodeID]<-chan struct{}), inbound: make(map[raft.NodeID]*inbound),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Start begins to accept, to connect and to deliver to h.
func (t *Transport) Start(self transport.Identity, h transport.Handler) error {
	if self.Node != t.id || self.Node == raft.None {
		return fmt.Errorf("mem: node %d on the transport made for node %d", self.Node, t.id)
	}
	if h == nil {
		return errors.New("mem: a handler is required")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return transport.ErrClosed
	case t.started:
		return errors.New("mem: started already")
	}
	t.started = true
	t.self, t.handler = self, h
	for _, p := range t.peers {
		t.wg.Go(func() { t.run(p) })
	}
	t.network.came()
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
		}
		t.breakLocked(id, errBroken)
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

// Send queues envelopes for a peer and does not wait.
func (t *Transport) Send(to raft.NodeID, envelopes []transport.Envelope) int {
	t.mu.Lock()
	p := t.peers[to]
	ok := t.started && !t.closed && p != nil
	t.mu.Unlock()
	if !ok || len(envelopes) == 0 {
		return 0
	}
	return p.send(envelopes)
}

// Address is where this transport is reached on its network.
func (t *Transport) Address() string { return t.config.Address }

// Stats gives the counts for one peer, zero if it is unknown. Frames and Bytes are
// zero: there are none.
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
	s.Queued, s.QueuedBytes = p.count, p.bytes
	return s
}

// Close leaves the network and waits for every goroutine, also those of peers that
// deliver here. It must not be called by the handler.
func (t *Transport) Close() error {
	t.mu.Lock()
	closed := t.closed
	t.closed = true
	if !closed {
		t.cancel()
		for id := range t.inbound {
			t.breakLocked(id, errors.New("mem: the peer closed the connection"))
		}
	}
	t.mu.Unlock()
	t.network.remove(t)
	t.wg.Wait()
	return nil
}

// visit lets a goroutine of another transport call this one's handler. Close waits
// until it says leave.
func (t *Transport) visit() (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.started || t.closed {
		return false
	}
	t.wg.Add(1)
	return true
}

func (t *Transport) leave() { t.wg.Done() }

// admit is the acceptor's side of a handshake (PS-10).
func (t *Transport) admit(from transport.Identity, to raft.NodeID, snapshot bool) (*conn, error) {
	if !t.visit() {
		return nil, fmt.Errorf("mem: nobody listens at %s", t.config.Address)
	}
	defer t.leave()
	refuse := func(format string, args ...any) (*conn, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{transport.ErrRefused}, args...)...)
	}
	switch {
	case from.Cluster != t.self.Cluster:
		return refuse("node %d is of cluster %x, node %d of cluster %x", t.id, t.self.Cluster, from.Node, from.Cluster)
	case to != t.id:
		return refuse("this is node %d, not node %d", t.id, to)
	case from.Node == t.id:
		return refuse("node %d cannot be reached by node %d", t.id, from.Node)
	}
	if err := t.handler.Admit(from); err != nil {
		return refuse("%s", err.Error())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fmt.Errorf("mem: nobody listens at %s", t.config.Address)
	}
	in := t.inbound[from.Node]
	if in == nil {
		in = &inbound{snapshots: make(map[*conn]struct{}), turn: make(chan struct{}, 1)}
		in.turn <- struct{}{}
		t.inbound[from.Node] = in
	}
	c := &conn{to: t, peer: from, in: in, broken: make(chan struct{})}
	if old := in.messages; old != nil && (!snapshot || old.peer.Incarnation != from.Incarnation) {
		old.fail(errBroken)
	}
	for s := range in.snapshots {
		if s.peer.Incarnation != from.Incarnation {
			s.fail(errBroken)
		}
	}
	if snapshot {
		in.snapshots[c] = struct{}{}
	} else {
		in.messages = c
	}
	return c, nil
}

// end undoes admit.
func (c *conn) end(err error) {
	c.fail(err)
	c.to.mu.Lock()
	defer c.to.mu.Unlock()
	if c.in.messages == c {
		c.in.messages = nil
	}
	delete(c.in.snapshots, c)
}

func (t *Transport) breakFrom(id raft.NodeID, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.breakLocked(id, err)
}

func (t *Transport) breakLocked(id raft.NodeID, err error) {
	in := t.inbound[id]
	if in == nil {
		return
	}
	if in.messages != nil {
		in.messages.fail(err)
	}
	for s := range in.snapshots {
		s.fail(err)
	}
}

// connect is the dialer's side of a handshake (PS-10).
func (t *Transport) connect(to raft.NodeID, addresses []string, snapshot bool) (*conn, string, error) {
	var result error
	for _, address := range addresses {
		c, err := t.dial(to, address, snapshot)
		if err == nil {
			return c, address, nil
		}
		if result == nil || errors.Is(err, transport.ErrRefused) || !errors.Is(result, transport.ErrRefused) {
			result = fmt.Errorf("node %d at %s: %w", to, address, err)
		}
	}
	return nil, "", result
}

func (t *Transport) dial(to raft.NodeID, address string, snapshot bool) (*conn, error) {
	host, err := t.network.find(t.id, address)
	if err != nil {
		return nil, err
	}
	c, err := host.admit(t.self, to, snapshot)
	if err != nil {
		return nil, err
	}
	if err := t.handler.Admit(host.self); err != nil {
		err = fmt.Errorf("this node refuses node %d: %w", to, err)
		c.end(err)
		return nil, err
	}
	return c, nil
}
