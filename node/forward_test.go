package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport"
)

func forwarded(c *cluster) { c.group = func(cfg *GroupConfig) { cfg.Forward = true } }

// forwarding3 starts three nodes that forward, and waits until all know the leader.
func forwarding3(t *testing.T) (c *cluster, leader, follower raft.NodeID) {
	c = newCluster(t, 3)
	forwarded(c)
	c.start(c.voters...)
	for _, id := range c.voters {
		if err := c.groups[id].Ready(patience(t)); err != nil {
			t.Fatal(err)
		}
	}
	leader = c.leader(c.voters...)
	return c, leader, c.voters[int(leader)%3]
}

// CS-02: with forwarding every node takes proposals, each answered with its own
// result, and each applied once.
func TestForwardedProposals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		forwarded(c)
		c.start(c.voters...)
		defer c.stopAll()
		for _, id := range c.voters {
			if err := c.groups[id].Ready(patience(t)); err != nil {
				t.Fatal(err)
			}
		}
		var wait sync.WaitGroup
		for _, id := range c.voters {
			for i := range 50 {
				wait.Go(func() {
					command := fmt.Sprintf("c%d-%d", id, i)
					result, err := c.groups[id].Propose(patience(t), []byte(command))
					if err != nil || string(result.Data) != "did "+command {
						t.Errorf("node %d, %s: %q, %v", id, command, result.Data, err)
					}
				})
			}
		}
		wait.Wait()
		seen := map[string]int{}
		for _, command := range strings.Fields(c.read(1)) {
			seen[command]++
		}
		for _, id := range c.voters {
			for i := range 50 {
				if n := seen[fmt.Sprintf("c%d-%d", id, i)]; n != 1 {
					t.Errorf("c%d-%d was applied %d times", id, i, n)
				}
			}
		}
	})
}

// CM-08, CS-14: a forwarded proposal whose leader goes away is answered as soon
// as that is known, with an unknown outcome; with nobody to forward to it is
// certainly not applied.
func TestForwardToALeaderThatGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader, follower := forwarding3(t)
		c.network.Cut(follower, leader)
		c.network.Cut(leader, follower)
		began := time.Now()
		_, err := c.groups[follower].Propose(context.Background(), []byte("x"))
		if !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotLeader) {
			t.Fatalf("got %v", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Fatalf("answered after %v", took)
		}
		c.network.Heal()
		c.stopAll()
	})
}

// CM-08: with no connection to the leader a proposal is certainly not applied. What
// a transport is given then may be sent later or not, and its outcome be unknown.
func TestForwardWithoutAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader, follower := forwarding3(t)
		defer c.stopAll()
		connection := (*handler)(c.nodes[follower])
		connection.PeerDown(leader, errors.New("lost"))
		for range 3 {
			if _, err := c.groups[follower].Propose(patience(t), []byte("x")); !errors.Is(err, ErrNotLeader) {
				t.Fatalf("got %v, want ErrNotLeader", err)
			}
		}
		connection.PeerUp(leader)
		if _, err := c.groups[follower].Propose(patience(t), []byte("y")); err != nil {
			t.Fatal(err)
		}
		if got := c.read(leader); got != "y" {
			t.Errorf("applied %q, want y alone", got)
		}
	})
}

// A duplicate of a forward is taken once, of whatever life of the forwarder.
func TestForwardIsTakenOnce(t *testing.T) {
	f := forwarding{taken: map[raft.NodeID][]forwardLife{}}
	for _, step := range []struct {
		from     raft.NodeID
		life, id uint64
		want     bool
	}{
		{2, 10, 1, true},
		{2, 10, 2, true},
		{2, 10, 2, false},
		{3, 10, 2, true},
		{2, 11, 1, true},  // it restarted
		{2, 10, 2, false}, // a late duplicate of its earlier life
		{2, 10, 5, true},
		{2, 10, 4, false}, // overtaken: dropped rather than taken twice
	} {
		if got := f.first(step.from, step.life, step.id); got != step.want {
			t.Errorf("node %d, life %d, id %d: %v, want %v", step.from, step.life, step.id, got, step.want)
		}
	}
	for life := range uint64(100) {
		f.first(2, 100+life, 1)
	}
	if n := len(f.taken[2]); n > maxForwardLives {
		t.Errorf("%d lives are remembered", n)
	}
}

// A duplicate of a forward that arrives after the node which took it was restarted,
// and led again, is not taken again: it was meant for an earlier term.
func TestForwardOfBeforeARestartIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		forwarded(c)
		c.start(1)
		defer func() { c.stopAll() }()
		c.propose("a", 1)
		_, term := c.groups[1].Leader()
		forward := startForward(kindProposals, 99, term, 0)
		forward = binary.LittleEndian.AppendUint64(forward, 1)
		forward = append(binary.LittleEndian.AppendUint32(forward, 1), 'x')
		binary.LittleEndian.PutUint32(forward[forwardCount:], 1)
		arrive := func() {
			c.groups[1].deliver(transport.Envelope{Group: 1, Message: raft.Message{From: 2, To: 1}, Forward: bytes.Clone(forward)})
		}
		arrive()
		c.propose("b", 1)
		arrive() // a duplicate
		c.stopAll()
		c.start(1)
		c.propose("c", 1)
		arrive() // a late one
		c.propose("d", 1)
		if got := c.read(1); got != "a x b c d" {
			t.Fatalf("reads %q", got)
		}
	})
}

// A malformed forward from a peer is dropped and changes nothing.
func TestMalformedForwardIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		forwarded(c)
		c.start(1)
		defer c.stopAll()
		c.propose("a", 1)
		for _, b := range [][]byte{{}, {9}, bytes.Repeat([]byte{0xff}, 40)} {
			c.groups[1].deliver(transport.Envelope{Group: 1, Message: raft.Message{From: 2, To: 1}, Forward: b})
		}
		if got := c.read(1); got != "a" {
			t.Fatalf("reads %q", got)
		}
	})
}

func FuzzForward(f *testing.F) {
	b := startForward(kindProposals, 7, 3, 0)
	b = binary.LittleEndian.AppendUint64(b, 1)
	b = binary.LittleEndian.AppendUint32(b, 3)
	b = append(b, "abc"...)
	binary.LittleEndian.PutUint32(b[forwardCount:], 1)
	f.Add(b)
	f.Add(startForward(kindAnswers, 1, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, life, term, items, err := decodeForward(b)
		if err != nil {
			if !errors.Is(err, errForward) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		again := startForward(kind, life, term, 0)
		for _, item := range items {
			again = binary.LittleEndian.AppendUint64(again, item.id)
			if kind == kindAnswers {
				again = append(again, byte(item.outcome))
				again = binary.LittleEndian.AppendUint64(again, item.value)
			}
			again = binary.LittleEndian.AppendUint32(again, uint32(len(item.data)))
			again = append(again, item.data...)
		}
		binary.LittleEndian.PutUint32(again[forwardCount:], uint32(len(items)))
		if !bytes.Equal(again, b) {
			t.Fatalf("%x decodes and encodes to %x", b, again)
		}
	})
}

// A question to the leader is answered by whoever leads, from every node, and is
// not in the log; a leader that cannot answer it is ErrNotLeader.
func TestQuestionsToTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.group = func(cfg *GroupConfig) {
			cfg.Forward = true
			cfg.Answer = func(command []byte) func(reply func(rsm.Result, bool)) {
				if !bytes.HasPrefix(command, []byte("?")) {
					return nil
				}
				question := string(command)
				return func(reply func(rsm.Result, bool)) {
					go reply(rsm.Result{Data: []byte("answer to " + question)}, question != "?refused")
				}
			}
		}
		c.start(c.voters...)
		defer c.stopAll()
		for _, id := range c.voters {
			if err := c.groups[id].Ready(patience(t)); err != nil {
				t.Fatal(err)
			}
			result, err := c.groups[id].Propose(patience(t), []byte("?"))
			if err != nil || string(result.Data) != "answer to ?" {
				t.Errorf("node %d: %q, %v", id, result.Data, err)
			}
			if _, err := c.groups[id].Propose(patience(t), []byte("?refused")); !errors.Is(err, ErrNotLeader) {
				t.Errorf("node %d: got %v, want ErrNotLeader", id, err)
			}
			if _, err := c.groups[id].Propose(patience(t), []byte("command")); err != nil {
				t.Errorf("node %d: %v", id, err)
			}
		}
		if got := c.read(1); strings.Contains(got, "?") || len(strings.Fields(got)) != 3 {
			t.Errorf("applied %q, want three commands and no question", got)
		}
	})
}
