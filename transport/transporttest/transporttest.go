// Package transporttest is the contract of transport.Transport as a test. Whoever
// writes a transport runs it; it knows nothing of what is underneath.
package transporttest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// Transport is what is tested: a transport that also counts.
type Transport interface {
	transport.Transport
	Stats(peer raft.NodeID) transport.PeerStats
}

// Options is what a case asks of one transport. Zero fields ask nothing.
type Options struct {
	// Address is to be listened on: that of a transport which was closed.
	Address string
	// QueueMessages bounds what waits for one peer.
	QueueMessages int
}

// Config says how to make the transports under test.
type Config struct {
	// Network begins a case. The transports that are made by what it returns
	// reach each other by their Address. They are not started.
	Network func(t testing.TB) func(node raft.NodeID, o Options) Transport
	// Bubble, if not nil, runs each case, for example in testing/synctest.
	Bubble func(t *testing.T, f func(t *testing.T))
}

// patience bounds every wait. It is virtual in a bubble, and a real wait takes so
// long only if the test fails.
const patience = 30 * time.Second

// Run tests the contract.
func Run(t *testing.T, c Config) {
	cases := []struct {
		name string
		f    func(*bench)
	}{
		{"every message arrives as it was sent", testMessages},
		{"messages of a group arrive in order with their entries", testOrder},
		{"entries belong to the receiver", testOwnership},
		{"a full queue drops the newest and counts", testBoundedQueue},
		{"unknown peers", testUnknownPeer},
		{"a handler may call the transport", testCallsFromHandler},
		{"a refusal by Admit is visible at the sender", testRefusedByAdmit},
		{"the dialler may refuse, too", testDialerRefuses},
		{"another cluster is refused PS-10", testWrongCluster},
		{"another node is refused PS-10", testWrongNode},
		{"another incarnation is refused and replaced PS-10", testIncarnation},
		{"reconnect after the peer restarts", testRestart},
		{"reconnect when the address changes", testAddressChange},
		{"forget and know again", testForget},
		{"snapshot content and offer", testSnapshot},
		{"snapshot resumes", testSnapshotResume},
		{"stalled snapshot receiver does not delay messages", testSnapshotStalls},
		{"snapshot refused with a reason", testSnapshotRefused},
		{"snapshot source fails", testSnapshotSourceFails},
		{"snapshot ends with its context", testSnapshotContext},
		{"several snapshots at a time", testSnapshotsTogether},
		{"close with traffic", testCloseWithTraffic},
		{"calls after close", testAfterClose},
	}
	for _, one := range cases {
		t.Run(one.name, func(t *testing.T) {
			run := func(t *testing.T) {
				b := &bench{T: t, make: c.Network(t)}
				defer b.close()
				one.f(b)
			}
			if c.Bubble != nil {
				c.Bubble(t, run)
				return
			}
			run(t)
			noGoroutines(t)
		})
	}
}

// noGoroutines fails if goroutines of a transport run on after it was closed.
func noGoroutines(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		var left []string
		for _, g := range strings.Split(string(buf), "\n\n") {
			if strings.Contains(g, "quorate/transport/") && !strings.Contains(g, "testing.tRunner(") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return
		}
		// A goroutine that has said that it is done may still be on its way out.
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines left after Close:\n%s", len(left), strings.Join(left, "\n\n"))
		}
		runtime.Gosched()
	}
}

// bench is where one case runs.
type bench struct {
	*testing.T
	make  func(raft.NodeID, Options) Transport
	nodes []*node
}

func (b *bench) close() {
	for _, n := range b.nodes {
		n.open()
		if err := n.Close(); err != nil {
			b.Errorf("Close of node %d: %v", n.self.Node, err)
		}
	}
}

// cluster is the cluster of all nodes of a case, unless it says otherwise.
var cluster = transport.ClusterID{1, 2, 3}

// node makes and starts a node.
func (b *bench) node(id raft.NodeID, o Options) *node {
	b.Helper()
	return b.start(transport.Identity{Cluster: cluster, Node: id, Incarnation: raft.Incarnation(id)}, o)
}

func (b *bench) start(self transport.Identity, o Options) *node {
	b.Helper()
	n := &node{Transport: b.make(self.Node, o), t: b.T, self: self, changed: make(chan struct{})}
	b.nodes = append(b.nodes, n)
	if err := n.Start(self, n); err != nil {
		b.Fatalf("Start of node %d: %v", self.Node, err)
	}
	return n
}

// pair makes two nodes of which the first is connected to the second.
func (b *bench) pair(o Options) (from, to *node) {
	b.Helper()
	from, to = b.node(1, o), b.node(2, o)
	from.SetPeer(2, to.Address())
	from.awaitUp(1)
	return from, to
}

// node is a transport with a handler that records.
type node struct {
	Transport
	t    *testing.T
	self transport.Identity

	mu       sync.Mutex
	changed  chan struct{}
	received []transport.Envelope
	ups      []raft.NodeID
	downs    []error
	sinks    []*sink
	// gate, if not nil, holds Deliver back until it is closed.
	gate chan struct{}
	// admit, deliver, up and receive replace what the handler does.
	admit   func(transport.Identity) error
	deliver func([]transport.Envelope)
	up      func(raft.NodeID)
	receive func(context.Context, transport.SnapshotOffer) (transport.SnapshotSink, error)
}

// update changes the node under its lock and wakes whoever awaits something.
func (n *node) update(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// await waits until ok, which is called under the lock, says so.
func (n *node) await(what string, ok func() bool) {
	n.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		n.mu.Lock()
		done, changed := ok(), n.changed
		n.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			n.mu.Lock()
			defer n.mu.Unlock()
			n.t.Fatalf("node %d: no %s; received %d messages, up %v, down %v", n.self.Node, what, len(n.received), n.ups, n.downs)
		}
	}
}

func (n *node) awaitUp(times int) {
	n.t.Helper()
	n.await(fmt.Sprintf("connection number %d", times), func() bool { return len(n.ups) >= times })
}

// awaitDown waits for a PeerDown, after those seen before, whose error is as
// wanted, and gives it.
func (n *node) awaitDown(what string, ok func(error) bool) (found error) {
	n.t.Helper()
	n.await(what, func() bool {
		for _, err := range n.downs {
			if ok(err) {
				found = err
				return true
			}
		}
		return false
	})
	return found
}

// awaitRefusal waits for a refusal whose text contains reason.
func (n *node) awaitRefusal(reason string) {
	n.t.Helper()
	n.awaitDown("refusal with "+reason, func(err error) bool {
		return errors.Is(err, transport.ErrRefused) && strings.Contains(err.Error(), reason)
	})
}

// awaitReceived waits for so many messages and gives all.
func (n *node) awaitReceived(count int) []transport.Envelope {
	n.t.Helper()
	n.await(fmt.Sprintf("%d messages", count), func() bool { return len(n.received) >= count })
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.received
}

// shut holds Deliver back until open.
func (n *node) shut() { n.update(func() { n.gate = make(chan struct{}) }) }

func (n *node) open() {
	n.update(func() {
		if n.gate != nil {
			close(n.gate)
			n.gate = nil
		}
	})
}

// must sends one message, which must be taken.
func (n *node) must(to raft.NodeID, e transport.Envelope) {
	n.t.Helper()
	if taken := n.Send(to, []transport.Envelope{e}); taken != 1 {
		n.t.Fatalf("node %d: Send to %d took %d messages, want 1; %+v", n.self.Node, to, taken, n.Stats(to))
	}
}

func (n *node) Deliver(envelopes []transport.Envelope) {
	n.mu.Lock()
	gate, deliver := n.gate, n.deliver
	n.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if deliver != nil {
		deliver(envelopes)
	}
	n.update(func() { n.received = append(n.received, envelopes...) })
}

func (n *node) Admit(peer transport.Identity) error {
	n.mu.Lock()
	admit := n.admit
	n.mu.Unlock()
	if admit == nil {
		return nil
	}
	return admit(peer)
}

func (n *node) PeerUp(peer raft.NodeID) {
	n.mu.Lock()
	up := n.up
	n.mu.Unlock()
	if up != nil {
		up(peer)
	}
	n.update(func() { n.ups = append(n.ups, peer) })
}

func (n *node) PeerDown(_ raft.NodeID, err error) {
	if err == nil {
		n.t.Error("PeerDown without an error")
		return
	}
	n.update(func() { n.downs = append(n.downs, err) })
}

func (n *node) ReceiveSnapshot(ctx context.Context, offer transport.SnapshotOffer) (transport.SnapshotSink, error) {
	n.mu.Lock()
	receive := n.receive
	n.mu.Unlock()
	if receive == nil {
		return n.newSink(offer, 0), nil
	}
	return receive(ctx, offer)
}

// heartbeat is a message without entries that says its number.
func heartbeat(group raft.GroupID, number int) transport.Envelope {
	return transport.Envelope{Group: group, Message: raft.Message{Body: &raft.AppendEntries{Term: 1, Round: uint64(number)}}}
}

// appendEntries is a message with entries that says its number.
func appendEntries(group raft.GroupID, number int, entries ...[]byte) transport.Envelope {
	e := heartbeat(group, number)
	e.Entries = entries
	return e
}

// number is what heartbeat and appendEntries were given.
func number(e *transport.Envelope) int {
	return int(e.Message.Body.(*raft.AppendEntries).Round)
}
