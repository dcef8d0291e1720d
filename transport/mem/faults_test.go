package mem_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/mem"
)

// host is a node that records.
type host struct {
	*mem.Transport
	mu     sync.Mutex // of what follows, while goroutines of the transport run
	rounds []int
	at     []time.Time
	ups    int
	downs  []error
}

func (h *host) Deliver(envelopes []transport.Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range envelopes {
		h.rounds = append(h.rounds, int(e.Message.Body.(*raft.AppendEntries).Round))
		h.at = append(h.at, time.Now())
	}
}
func (h *host) Admit(transport.Identity) error { return nil }

func (h *host) PeerUp(raft.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ups++
}

func (h *host) PeerDown(_ raft.NodeID, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.downs = append(h.downs, err)
}

// send sends messages and waits until nothing moves.
func (h *host) send(to raft.NodeID, rounds ...uint64) {
	for _, r := range rounds {
		h.Send(to, []transport.Envelope{{Group: 1, Message: raft.Message{Body: &raft.AppendEntries{Round: r}}}})
	}
	synctest.Wait()
}

func (h *host) ReceiveSnapshot(context.Context, transport.SnapshotOffer) (transport.SnapshotSink, error) {
	return nil, errors.New("none")
}

// bubble runs f with nodes 1 to n that know each other.
func bubble(t *testing.T, n int, f func(t *testing.T, network *mem.Network, hosts []*host)) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork()
		hosts := []*host{nil}
		for id := raft.NodeID(1); int(id) <= n; id++ {
			h := &host{Transport: network.Transport(id)}
			hosts = append(hosts, h)
			if err := h.Start(transport.Identity{Node: id, Incarnation: 1}, h); err != nil {
				t.Fatal(err)
			}
		}
		for _, h := range hosts[1:] {
			for id, other := range hosts {
				if other != nil && other != h {
					h.SetPeer(raft.NodeID(id), other.Address())
				}
			}
		}
		synctest.Wait()
		f(t, network, hosts)
		for _, h := range hosts[1:] {
			_ = h.Close()
		}
	})
}

func wantRounds(t *testing.T, h *host, want ...int) {
	t.Helper()
	if len(h.rounds) != len(want) {
		t.Fatalf("received %v, want %v", h.rounds, want)
	}
	for i := range want {
		if h.rounds[i] != want[i] {
			t.Fatalf("received %v, want %v", h.rounds, want)
		}
	}
}

func TestCutOneWay(t *testing.T) {
	bubble(t, 2, func(t *testing.T, network *mem.Network, hosts []*host) {
		network.Cut(1, 2)
		hosts[1].send(2, 1)
		hosts[2].send(1, 2)
		wantRounds(t, hosts[2])
		wantRounds(t, hosts[1], 2)
		network.Mend(1, 2)
		hosts[1].send(2, 3)
		wantRounds(t, hosts[2], 3)
		if hosts[1].ups != 1 || len(hosts[1].downs) != 0 {
			t.Errorf("a cut was told: up %d times, down %v", hosts[1].ups, hosts[1].downs)
		}
	})
}

func TestPartition(t *testing.T) {
	bubble(t, 3, func(t *testing.T, network *mem.Network, hosts []*host) {
		network.Partition([]raft.NodeID{1, 2}, []raft.NodeID{3})
		hosts[1].send(2, 1)
		hosts[1].send(3, 2)
		hosts[3].send(1, 3)
		wantRounds(t, hosts[1])
		wantRounds(t, hosts[2], 1)
		wantRounds(t, hosts[3])
		// No connection is made across it, and those that end are made after it.
		network.Break(1, 3)
		synctest.Wait()
		<-time.After(time.Second) // of the bubble
		synctest.Wait()
		if n := len(hosts[1].downs); n < 2 || hosts[1].ups != 2 {
			t.Fatalf("down %d times, up %d times across the partition", n, hosts[1].ups)
		}
		network.Heal()
		synctest.Wait()
		if hosts[1].ups != 3 {
			t.Fatalf("up %d times after it was healed, want 3", hosts[1].ups)
		}
		hosts[1].send(3, 4)
		wantRounds(t, hosts[3], 4)
	})
}

func TestDelay(t *testing.T) {
	bubble(t, 2, func(t *testing.T, network *mem.Network, hosts []*host) {
		begin := time.Now()
		network.Delay(1, 2, 50*time.Millisecond)
		hosts[1].send(2, 1, 2)
		wantRounds(t, hosts[2])
		network.Delay(1, 2, 0)
		hosts[1].send(2, 3)
		<-time.After(time.Second) // of the bubble
		synctest.Wait()
		wantRounds(t, hosts[2], 1, 2, 3)
		for i, at := range hosts[2].at {
			if at.Sub(begin) != 50*time.Millisecond {
				t.Errorf("message %d took %v, want 50ms", i, at.Sub(begin))
			}
		}
	})
}

func TestFilterAndBreak(t *testing.T) {
	bubble(t, 2, func(t *testing.T, network *mem.Network, hosts []*host) {
		network.SetFilter(func(from, to raft.NodeID, e *transport.Envelope) bool {
			return e.Message.Body.(*raft.AppendEntries).Round%2 == 0
		})
		hosts[1].send(2, 1, 2, 3, 4)
		wantRounds(t, hosts[2], 2, 4)
		network.SetFilter(nil)
		network.Break(1, 2)
		synctest.Wait()
		if len(hosts[1].downs) != 1 || len(hosts[2].downs) != 0 {
			t.Fatalf("down %v and %v, want once at node 1", hosts[1].downs, hosts[2].downs)
		}
		<-time.After(time.Second) // of the bubble
		synctest.Wait()
		hosts[1].send(2, 5)
		wantRounds(t, hosts[2], 2, 4, 5)
	})
}
