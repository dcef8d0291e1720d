package transporttest

import (
	"errors"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// none fails if a node has received anything.
func (n *node) none() {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.received) > 0 {
		n.t.Errorf("node %d received %d messages of a peer that was refused", n.self.Node, len(n.received))
	}
}

func testRefusedByAdmit(b *bench) {
	from, to := b.node(1, Options{}), b.node(2, Options{})
	const reason = "node 1 lost its disk; join it again under a new id"
	to.update(func() { to.admit = func(transport.Identity) error { return errors.New(reason) } })
	from.SetPeer(2, to.Address())
	from.awaitRefusal(reason)
	if n := from.Send(2, []transport.Envelope{heartbeat(1, 1)}); n != 0 {
		b.Errorf("Send to a peer that refuses took %d messages", n)
	}
	err := from.SendSnapshot(b.Context(), 2, transport.SnapshotOffer{}, nothing)
	if !errors.Is(err, transport.ErrRefused) {
		b.Errorf("SendSnapshot: %v, want a refusal", err)
	}
	to.none()
	// It is tried again, and let in once there is no reason left.
	var asked []transport.Identity
	to.update(func() {
		to.admit = func(peer transport.Identity) error {
			to.update(func() { asked = append(asked, peer) })
			return nil
		}
	})
	from.awaitUp(1)
	from.must(2, heartbeat(1, 2))
	to.awaitReceived(1)
	to.mu.Lock()
	defer to.mu.Unlock()
	if asked[0] != from.self {
		b.Errorf("Admit was asked about %+v, want %+v", asked[0], from.self)
	}
}

func testDialerRefuses(b *bench) {
	from, to := b.node(1, Options{}), b.node(2, Options{})
	reason := errors.New("node 2 is not a member")
	from.update(func() {
		from.admit = func(peer transport.Identity) error {
			if peer != to.self {
				b.Errorf("Admit was asked about %+v, want %+v", peer, to.self)
			}
			return reason
		}
	})
	from.SetPeer(2, to.Address())
	err := from.awaitDown("refusal", func(err error) bool { return errors.Is(err, reason) })
	if errors.Is(err, transport.ErrRefused) {
		b.Errorf("%v: the peer did not refuse", err)
	}
	to.none()
}

func testWrongCluster(b *bench) {
	from := b.start(transport.Identity{Cluster: transport.ClusterID{9}, Node: 1, Incarnation: 1}, Options{})
	to := b.node(2, Options{})
	from.SetPeer(2, to.Address())
	from.awaitRefusal("cluster")
	to.none()
}

func testWrongNode(b *bench) {
	from, to := b.node(1, Options{}), b.node(2, Options{})
	from.SetPeer(3, to.Address())
	from.awaitRefusal("node 2, not node 3")
	// Nor does a node reach itself, or one of its own id.
	twin := b.node(1, Options{})
	twin.SetPeer(2, from.Address())
	twin.awaitRefusal("node 1")
	to.none()
	from.none()
}

func testIncarnation(b *bench) {
	to := b.node(2, Options{})
	self := transport.Identity{Cluster: cluster, Node: 1, Incarnation: 7}
	former := b.start(self, Options{})
	former.SetPeer(2, to.Address())
	former.awaitUp(1)
	former.must(2, heartbeat(1, 1))
	to.awaitReceived(1)
	// From now on only another incarnation may talk.
	to.update(func() {
		to.admit = func(peer transport.Identity) error {
			if peer.Incarnation != 8 {
				return errors.New("this incarnation was replaced")
			}
			return nil
		}
	})
	self.Incarnation = 8
	latter := b.start(self, Options{})
	latter.SetPeer(2, to.Address())
	latter.awaitUp(1)
	// Its arrival ends the connection of the former one, which is let in no more.
	former.awaitRefusal("this incarnation was replaced")
	latter.must(2, heartbeat(1, 2))
	if got := to.awaitReceived(2); number(&got[1]) != 2 {
		b.Errorf("received message %d, want 2", number(&got[1]))
	}
}

func testRestart(b *bench) {
	from, to := b.pair(Options{})
	address := to.Address()
	from.must(2, heartbeat(1, 1))
	to.awaitReceived(1)
	if err := to.Close(); err != nil {
		b.Fatal(err)
	}
	from.awaitDown("lost connection", func(error) bool { return true })
	again := b.node(2, Options{Address: address})
	from.awaitUp(2)
	from.must(2, heartbeat(1, 2))
	if got := again.awaitReceived(1); number(&got[0]) != 2 {
		b.Errorf("received message %d, want 2", number(&got[0]))
	}
	if s := from.Stats(2); !s.Connected || s.Connections != 2 {
		b.Errorf("stats %+v, want the second connection", s)
	}
}

func testAddressChange(b *bench) {
	from, to := b.pair(Options{})
	moved := b.node(2, Options{Address: ""})
	if moved.Address() == to.Address() {
		b.Fatalf("two transports at %s", moved.Address())
	}
	// A further address changes nothing.
	from.SetPeer(2, moved.Address(), to.Address())
	from.must(2, heartbeat(1, 1))
	to.awaitReceived(1)
	from.SetPeer(2, moved.Address())
	from.awaitUp(2)
	from.must(2, heartbeat(1, 2))
	moved.awaitReceived(1)
	// One that nobody listens on is passed over.
	if err := to.Close(); err != nil {
		b.Fatal(err)
	}
	other := b.node(2, Options{})
	from.SetPeer(2, to.Address(), other.Address())
	from.awaitUp(3)
	from.must(2, heartbeat(1, 3))
	other.awaitReceived(1)
}

func testForget(b *bench) {
	from, to := b.pair(Options{})
	to.SetPeer(1, from.Address())
	to.awaitUp(1)
	from.SetPeer(2)
	if n := from.Send(2, []transport.Envelope{heartbeat(1, 1)}); n != 0 {
		b.Errorf("Send to a forgotten node took %d messages", n)
	}
	err := from.SendSnapshot(b.Context(), 2, transport.SnapshotOffer{}, nothing)
	if !errors.Is(err, transport.ErrUnknownPeer) {
		b.Errorf("SendSnapshot to a forgotten node: %v, want %v", err, transport.ErrUnknownPeer)
	}
	// What a forgotten node opened is closed as well; it may come again.
	to.awaitDown("lost connection", func(error) bool { return true })
	to.awaitUp(2)
	from.SetPeer(2, to.Address())
	from.awaitUp(2)
	from.must(2, heartbeat(1, 2))
	if got := to.awaitReceived(1); number(&got[0]) != 2 || got[0].Message.From != raft.NodeID(1) {
		b.Errorf("received %+v, want message 2", got[0])
	}
}
