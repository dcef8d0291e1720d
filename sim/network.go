package sim

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/mem"
)

// network carries packets between nodes: late, and not always, and not always
// once.
type network struct {
	w     *world
	codec mem.Codec
	// cut[a][b] counts what holds back packets from node a to node b.
	cut     [][]int
	last    [][]instant // when the last packet arrives that keeps the order
	weather weather
}

// weather is what ails all links for a while.
type weather struct {
	lose, repeat, delay float64 // shares of the packets
	disorder            bool
}

func (n *network) init(w *world) {
	n.w = w
	for range w.p.voters {
		n.cut = append(n.cut, make([]int, w.p.voters))
		n.last = append(n.last, make([]instant, w.p.voters))
	}
}

// send carries messages, through their real encoding.
func (n *network) send(from *node, to raft.NodeID, envelopes []transport.Envelope) {
	payload, err := n.codec.Encode(envelopes)
	if err != nil {
		n.w.fail(fmt.Errorf("node %d: encode messages to node %d: %w", from.id, to, err))
		return
	}
	sender := from.id
	n.carry(from, to, func(to *node) {
		decoded, err := n.codec.Decode(sender, to.id, payload)
		if err != nil {
			n.w.fail(fmt.Errorf("node %d: decode messages of node %d: %w", to.id, sender, err))
			return
		}
		to.receive(decoded)
	})
}

// carry lets f happen at a node when a packet arrives there.
func (n *network) carry(from *node, to raft.NodeID, f func(to *node)) {
	w := n.w
	if to == raft.None || int(to) > len(w.nodes) {
		w.fail(fmt.Errorf("node %d sends to node %d", from.id, to))
		return
	}
	r, a, b := w.netRand, int(from.id)-1, int(to)-1
	if n.cut[a][b] > 0 {
		w.count(countCutOff)
		return
	}
	if r.Float64() < n.weather.lose {
		w.count(countLost)
		return
	}
	arrival := w.now.after(n.delay())
	if n.weather.delay > 0 && r.Float64() < n.weather.delay {
		w.count(countLate)
		arrival = arrival.after(time.Duration(r.Int64N(int64(10 * w.p.election))))
	} else if (w.p.ordered || w.calm) && !n.weather.disorder { // as a transport that works does
		arrival = max(arrival, n.last[a][b])
		n.last[a][b] = arrival
	}
	n.arrive(arrival, to, f)
	if n.weather.repeat > 0 && r.Float64() < n.weather.repeat {
		w.count(countDuplicated)
		again := 2 * w.p.election
		if r.IntN(8) == 0 {
			again = 10 * time.Second // long after, perhaps after a restart
		}
		n.arrive(arrival.after(time.Duration(r.Int64N(int64(again)))), to, f)
	}
}

func (n *network) delay() time.Duration {
	r, p := n.w.netRand, &n.w.p
	d := p.latency + time.Duration(r.Int64N(int64(p.jitter)+1))
	if n.weather.disorder && r.IntN(4) == 0 {
		d += time.Duration(r.Int64N(int64(20*p.latency) + 1))
	}
	return d
}

func (n *network) arrive(at instant, to raft.NodeID, f func(to *node)) {
	n.w.q.push(event{at: at, kind: packetEvent, do: func() {
		target := n.w.nodes[to-1]
		if !target.up {
			return
		}
		if target.paused > n.w.now {
			n.arrive(target.paused, to, f) // waits in the machine's socket
			return
		}
		f(target)
	}})
}

// disconnected lets the others notice that a process has ended, as a transport
// does whose connection breaks; not all do.
func (n *network) disconnected(gone *node) {
	for _, other := range n.w.nodes {
		if other != gone && other.up && n.w.netRand.IntN(2) == 0 {
			other.unreachable(gone.id, n.delay())
		}
	}
}

// unreachable tells a node's groups that contact with a peer was lost.
func (n *node) unreachable(peer raft.NodeID, in time.Duration) {
	n.after(in, packetEvent, func() {
		for _, g := range n.groups {
			g.call(func() { g.replica.PeerUnreachable(peer, &g.out) })
		}
	})
}
