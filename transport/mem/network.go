// Package mem carries messages between nodes of one process, for tests. It behaves
// as transport/tcp does, takes and gives the same bytes, and decides in addition
// what a test wants to go wrong: cuts, losses, delays, broken connections. It does
// no I/O and waits only on channels and timers, so that it runs in bubbles of
// testing/synctest.
package mem

import (
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// A Network connects the transports that were made from it. All methods are safe
// for concurrent use. Whatever goes wrong on it silently loses messages on the way;
// a connection that is made stays so until Break, or until one of its ends closes.
type Network struct {
	mu sync.Mutex
	// hosts are the transports by address.
	hosts  map[string]*Transport
	cut    map[link]bool
	delay  map[link]time.Duration
	filter func(from, to raft.NodeID, e *transport.Envelope) bool
	// changed is closed, and made anew, when something was healed or a host came.
	changed chan struct{}
}

// link is a direction between two nodes.
type link struct{ from, to raft.NodeID }

// NewNetwork makes a network without faults and without nodes.
func NewNetwork() *Network {
	return &Network{
		hosts: make(map[string]*Transport), cut: make(map[link]bool), delay: make(map[link]time.Duration),
		changed: make(chan struct{}),
	}
}

// Config is how one transport behaves. Zero fields mean the documented default.
type Config struct {
	// Address is where it is reached. Default "mem-" and the node's id. A
	// transport takes the address over from an earlier one.
	Address string
	// MaxQueueBytes and MaxQueueMessages bound what waits to be sent to one peer.
	// Defaults 64 MiB and 65,536. An eighth more is kept for messages without
	// entries.
	MaxQueueBytes    int
	MaxQueueMessages int
	// Backoff is the pause between attempts to connect. Default 20ms.
	Backoff time.Duration
}

// Transport makes a transport for a node.
func (n *Network) Transport(id raft.NodeID) *Transport { return n.TransportWith(id, Config{}) }

// TransportWith makes a transport for a node.
func (n *Network) TransportWith(id raft.NodeID, c Config) *Transport {
	if c.Address == "" {
		c.Address = fmt.Sprintf("mem-%d", id)
	}
	if c.MaxQueueBytes == 0 {
		c.MaxQueueBytes = 64 << 20
	}
	if c.MaxQueueMessages == 0 {
		c.MaxQueueMessages = 65536
	}
	if c.Backoff == 0 {
		c.Backoff = 20 * time.Millisecond
	}
	t := newTransport(n, id, c)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[c.Address] = t
	return t
}

// Cut loses everything that one node sends to another from now on, and lets no new
// connection be made between them. Connections that stand are not told.
func (n *Network) Cut(from, to raft.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[link{from, to}] = true
}

// Mend ends a cut.
func (n *Network) Mend(from, to raft.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, link{from, to})
	n.notify()
}

// Partition cuts all links between different groups of nodes, in both directions,
// and mends all others between them. A node that is not named is left as it is.
func (n *Network) Partition(groups ...[]raft.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, a := range groups {
		for j, b := range groups {
			for _, from := range a {
				for _, to := range b {
					if i == j {
						delete(n.cut, link{from, to})
					} else {
						n.cut[link{from, to}] = true
					}
				}
			}
		}
	}
	n.notify()
}

// Heal ends every cut and every delay.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	clear(n.delay)
	n.notify()
}

// Delay makes everything that one node sends to another take so long. Messages
// stay in order.
func (n *Network) Delay(from, to raft.NodeID, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay[link{from, to}] = d
}

// SetFilter asks f about every message on its way; it is lost if f says false. f
// must not keep or change the message, and is called by several goroutines. Nil
// asks nobody.
func (n *Network) SetFilter(f func(from, to raft.NodeID, e *transport.Envelope) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filter = f
}

// Break ends the connections on which one node sends to another, snapshots among
// them; what is queued for them is lost. They are made anew unless cut.
func (n *Network) Break(from, to raft.NodeID) {
	n.mu.Lock()
	hosts := make([]*Transport, 0, len(n.hosts))
	for _, t := range n.hosts {
		if t.id == to {
			hosts = append(hosts, t)
		}
	}
	n.mu.Unlock()
	for _, t := range hosts {
		t.breakFrom(from, errBroken)
	}
}

// notify wakes those who wait for a link. The caller holds n.mu.
func (n *Network) notify() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// find gives who listens at an address, if it can be reached and answer.
func (n *Network) find(from raft.NodeID, address string) (*Transport, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.hosts[address]
	if t == nil {
		return nil, fmt.Errorf("mem: nobody listens at %s", address)
	}
	if n.cut[link{from, t.id}] || n.cut[link{t.id, from}] {
		return nil, fmt.Errorf("mem: no route to %s", address)
	}
	return t, nil
}

// remove takes t off the network, unless another has its address.
func (n *Network) remove(t *Transport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[t.config.Address] == t {
		delete(n.hosts, t.config.Address)
	}
}

// came says that t listens.
func (n *Network) came() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notify()
}

// state gives what holds on a link, and a channel that is closed when that may
// have changed for the better.
func (n *Network) state(from, to raft.NodeID) (cut bool, delay time.Duration, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := link{from, to}
	return n.cut[l], n.delay[l], n.changed
}

// passes asks the filter.
func (n *Network) passes(from, to raft.NodeID, e *transport.Envelope) bool {
	n.mu.Lock()
	f := n.filter
	n.mu.Unlock()
	return f == nil || f(from, to, e)
}
