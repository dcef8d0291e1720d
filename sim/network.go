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
	// cut[a][b] counts what holds back packets from node a to node b; apart[a][b]
	// does so while a quorum has to manage alone.
	cut     [][]int
	apart   [][]bool
	last    [][]instant       // when the last packet arrives that keeps the order
	slow    [][]time.Duration // how much later packets arrive
	weather weather
	// era counts the times at which the network was healed, the last of which was
	// healed: connections were made anew then, and what was still under way on the
	// old ones arrives soon or never.
	era    int
	healed instant
}

// weather is what ails all links for a while: percents of the packets, and
// whether they overtake each other.
type weather struct {
	lose, repeat, delay, corrupt int
	disorder                     bool
	record                       int // to be repeated after wake
	wake                         instant
}

func (n *network) init(w *world) {
	n.w = w
	for range w.p.voters {
		n.cut = append(n.cut, make([]int, w.p.voters))
		n.apart = append(n.apart, make([]bool, w.p.voters))
		n.last = append(n.last, make([]instant, w.p.voters))
		n.slow = append(n.slow, make([]time.Duration, w.p.voters))
	}
}

// heal ends what ails the links, or some of them.
func (n *network) heal() {
	n.weather = weather{}
	n.era++
	n.healed = n.w.now
	soon := n.soon()
	for a := range n.slow {
		clear(n.slow[a])
		for b := range n.last[a] {
			n.last[a][b] = min(n.last[a][b], soon)
		}
	}
}

// overtaken reports whether a packet belongs to a connection that is no more.
func (n *network) overtaken(p *packetOnItsWay) bool {
	return p.era != n.era && n.w.now > n.soon()
}

// soon is until when what was under way before the healing arrives.
func (n *network) soon() instant { return n.healed.after(2 * (n.w.p.latency + n.w.p.jitter)) }

// send carries messages, through their real encoding.
func (n *network) send(from *node, to raft.NodeID, envelopes []transport.Envelope) {
	frame, err := n.codec.Encode(envelopes)
	if err != nil {
		n.w.fail(fmt.Errorf("node %d: encode messages to node %d: %w", from.id, to, err))
		return
	}
	sender := from.id
	n.carry(from, to, func(to *node) {
		decoded, err := n.codec.Decode(sender, to.id, frame)
		if err != nil {
			n.w.fail(fmt.Errorf("node %d: decode messages of node %d: %w", to.id, sender, err))
			return
		}
		to.receive(decoded)
	}, frame)
}

// carry lets f happen at a node when a packet arrives there. The frame, if there
// is one, is what may be corrupted on the way.
func (n *network) carry(from *node, to raft.NodeID, f func(to *node), frame ...[]byte) {
	w := n.w
	if to == raft.None || int(to) > len(w.nodes) {
		w.fail(fmt.Errorf("node %d sends to node %d", from.id, to))
		return
	}
	r, a, b := w.netRand, int(from.id)-1, int(to)-1
	if n.cut[a][b] > 0 || n.apart[a][b] {
		w.count(countCutOff)
		return
	}
	happens := func(percent int) bool { return percent > 0 && r.IntN(100) < percent }
	if happens(n.weather.lose) {
		w.count(countLost)
		return
	}
	arrival := w.now.after(n.delay() + n.slow[a][b])
	if happens(n.weather.delay) {
		w.count(countLate)
		arrival = arrival.after(time.Duration(r.Int64N(int64(10 * w.p.election))))
	} else if (w.p.ordered || w.calm) && !n.weather.disorder { // as a transport that works does
		arrival = max(arrival, n.last[a][b])
		n.last[a][b] = arrival
	}
	p := packetOnItsWay{era: n.era, from: from, incarnation: from.incarnation, to: w.nodes[b], deliver: f}
	if happens(n.weather.corrupt) {
		n.corrupt(&p, frame)
	}
	n.arrive(arrival, &p)
	if happens(n.weather.repeat) {
		w.count(countDuplicated)
		again := 2 * w.p.election
		if r.IntN(8) == 0 {
			again = 10 * time.Second // long after, perhaps after a restart
		}
		n.arrive(arrival.after(time.Duration(r.Int64N(int64(again)))), &p)
	}
	if happens(n.weather.record) {
		late := n.weather.wake.after(time.Duration(r.Int64N(int64(4 * w.p.election))))
		minutes := p
		minutes.deliver = func(to *node) {
			w.count(countMinutesLate)
			f(to)
		}
		n.arrive(late, &minutes)
	}
}

// corrupt flips a bit of a frame. Whoever receives it has to notice, and drops
// the connection.
func (n *network) corrupt(p *packetOnItsWay, frame [][]byte) {
	r, sender := n.w.netRand, p.from.id
	if len(frame) == 0 {
		p.deliver = func(*node) {} // a chunk of a snapshot travels in a frame like any other
		return
	}
	damaged := append([]byte(nil), frame[0]...)
	bit := r.IntN(8 * len(damaged))
	damaged[bit/8] ^= 1 << (bit % 8)
	p.deliver = func(to *node) {
		if _, err := n.codec.Decode(sender, to.id, damaged); err == nil {
			n.w.fail(fmt.Errorf("node %d: a frame of node %d with bit %d flipped is taken for intact", to.id, sender, bit))
			return
		}
		n.w.count(countCorruptDropped)
		to.unreachable(sender, 0)
		if n.w.nodes[sender-1].up {
			n.w.nodes[sender-1].unreachable(to.id, n.delay())
		}
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

// packetOnItsWay remembers under which incarnation its sender sent it.
type packetOnItsWay struct {
	era         int
	from        *node
	incarnation raft.Incarnation
	to          *node
	deliver     func(to *node)
}

func (n *network) arrive(at instant, p *packetOnItsWay) {
	n.w.q.push(event{at: at, kind: packetEvent, do: func() {
		switch target := p.to; {
		case !target.up, n.overtaken(p):
		case target.paused > n.w.now:
			n.arrive(target.paused, p) // waits in the machine's socket
		case !target.admits(p.from.id, p.incarnation) || !p.from.admits(target.id, target.incarnation):
			n.w.count(countRefused)
		default:
			p.deliver(target)
		}
	}})
}

// admits reports whether a node talks to another: not if it knows it with another
// data directory, since that one may have promised what is forgotten (PS-09). A
// transport asks when it connects.
func (n *node) admits(peer raft.NodeID, incarnation raft.Incarnation) bool {
	for _, g := range n.groups {
		if m, ok := g.status.Configuration.Configuration.Member(peer); ok && m.Incarnation != 0 && m.Incarnation != incarnation {
			return false
		}
	}
	return true
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
