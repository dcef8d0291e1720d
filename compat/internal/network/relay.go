package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// Relay is a network on loopback: between two members there is one listener for
// each direction of dialling, and what passes through its connections obeys the
// links. A link that is cut is silent: its connections stay open, also new ones,
// and nothing comes through. Clients reach the servers directly: their links have
// no faults.
type Relay struct {
	mu        sync.Mutex
	links     [][]*queue // [from][to]
	listeners map[[2]int]net.Listener
	conns     map[net.Conn]struct{}

	carried, lost atomic.Int64
	ended         chan struct{}
	wg            sync.WaitGroup
}

// NewRelay gives a relay between so many servers.
func NewRelay(servers int, seed uint64) (*Relay, error) {
	r := &Relay{listeners: map[[2]int]net.Listener{}, conns: map[net.Conn]struct{}{}, ended: make(chan struct{})}
	for from := range servers {
		row := make([]*queue, servers)
		for to := range row {
			row[to] = newQueue(seed+uint64(from)<<16+uint64(to), &r.carried, &r.lost, r.ended)
		}
		r.links = append(r.links, row)
	}
	return r, nil
}

// Kind says that it is a relay.
func (r *Relay) Kind() string { return "relayed loopback" }

// Host is loopback.
func (r *Relay) Host(int) string { return "127.0.0.1" }

// Start starts the command here.
func (r *Relay) Start(_ int, cmd *exec.Cmd) error { return cmd.Start() }

// Peer listens for what one server sends to another, if it does not yet.
func (r *Relay) Peer(from, to int, port string) (string, error) {
	direct := net.JoinHostPort("127.0.0.1", port)
	if from == to {
		return direct, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.listeners[[2]int{from, to}]
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", fmt.Errorf("network: a relay from %d to %d: %w", from, to, err)
		}
		r.listeners[[2]int{from, to}] = l
		r.wg.Go(func() { r.accept(l, from, to, direct) })
	}
	return l.Addr().String(), nil
}

func (r *Relay) accept(l net.Listener, from, to int, direct string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		if r.hold(in) {
			r.wg.Go(func() { r.carry(in, from, to, direct) })
		}
	}
}

// hold notes a connection so that Close ends it.
func (r *Relay) hold(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *Relay) drop(c net.Conn) {
	c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *Relay) carry(in net.Conn, from, to int, direct string) {
	defer r.drop(in)
	out, err := net.DialTimeout("tcp", direct, time.Second)
	if err != nil || !r.hold(out) {
		return
	}
	defer r.drop(out)
	ended := make(chan struct{}, 2)
	r.wg.Go(func() { r.pump(out, in, r.links[from][to]); ended <- struct{}{} })
	r.wg.Go(func() { r.pump(in, out, r.links[to][from]); ended <- struct{}{} })
	<-ended
	// The other end is told too; a cut link keeps that from it, as a network does.
	for _, q := range []*queue{r.links[from][to], r.links[to][from]} {
		if !r.passable(q, 0) {
			return
		}
	}
}

// resend is what a lost packet costs a stream: a retransmission.
const resend = 200 * time.Millisecond

// passable waits until a piece of a stream may pass; it reports false when the
// relay ends.
func (r *Relay) passable(q *queue, size int) bool {
	counted := false
	for {
		leaves, lost := q.decide(size, time.Now())
		wait := time.Until(leaves)
		switch {
		case lost:
			if !counted {
				q.lost.Add(1)
				counted = true
			}
			wait = resend
		case leaves.IsZero():
			q.carried.Add(1)
			return true
		}
		select {
		case <-time.After(wait):
		case <-r.ended:
			return false
		}
		if !lost {
			q.carried.Add(1)
			return true
		}
	}
}

func (r *Relay) pump(to io.Writer, from io.Reader, q *queue) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !r.passable(q, n) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Set gives a link between servers a state; links of clients have none.
func (r *Relay) Set(from, to int, l Link) {
	if from != Clients && to != Clients {
		r.links[from][to].set(l)
	}
}

// Heal gives every link the state without fault.
func (r *Relay) Heal() {
	for _, row := range r.links {
		for _, q := range row {
			q.set(Link{})
		}
	}
}

// Packets counts pieces of streams.
func (r *Relay) Packets() (carried, lost int64) { return r.carried.Load(), r.lost.Load() }

// Close ends all connections.
func (r *Relay) Close() error {
	close(r.ended)
	var errs []error
	r.mu.Lock()
	for _, l := range r.listeners {
		errs = append(errs, l.Close())
	}
	for c := range r.conns {
		c.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.wg.Wait()
	return errors.Join(errs...)
}
