package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/wal"
)

// handler is a Node as its transport sees it.
type handler Node

// Deliver puts messages into their groups' inboxes.
func (h *handler) Deliver(envelopes []transport.Envelope) {
	n := (*Node)(h)
	for _, env := range envelopes {
		if g := n.group(env.Group); g != nil && env.Message.To == n.cfg.ID {
			g.deliver(env)
		}
	}
}

// Admit refuses a node whose data directory is not the one that a group knows
// under its id: it may have promised what it no longer remembers (PS-09).
func (h *handler) Admit(peer transport.Identity) error {
	n := (*Node)(h)
	var refusal error
	n.eachGroup(func(g *Group) {
		c := g.configuration.Load()
		if c == nil {
			return
		}
		if m, ok := c.Member(peer.Node); ok && m.Incarnation != 0 && m.Incarnation != peer.Incarnation {
			refusal = fmt.Errorf("group %d knows node %d with another data directory (incarnation %016x, yours is %016x): if its disk was lost, remove node %d from the group and add this machine under a new node id; if an old copy was restored, restore nothing and do the same",
				g.cfg.ID, peer.Node, uint64(m.Incarnation), uint64(peer.Incarnation), peer.Node)
		}
	})
	return refusal
}

// PeerUp reports a connection.
func (h *handler) PeerUp(peer raft.NodeID) {
	h.unreachable.Delete(peer)
	h.cfg.Logger.Info("connected", slog.Uint64("node", uint64(h.cfg.ID)), slog.Uint64("peer", uint64(peer)))
}

// PeerDown tells the groups that what is in flight to a peer is probably lost.
func (h *handler) PeerDown(peer raft.NodeID, err error) {
	n := (*Node)(h)
	n.unreachable.Store(peer, true) // before what was forwarded is answered
	level := slog.LevelInfo
	if errors.Is(err, transport.ErrRefused) {
		level = slog.LevelError
	}
	n.cfg.Logger.Log(context.Background(), level, "no connection",
		slog.Uint64("node", uint64(n.cfg.ID)), slog.Uint64("peer", uint64(peer)), slog.Any("error", err))
	n.eachGroup(func(g *Group) {
		g.call(func() {
			g.replica.PeerUnreachable(peer, &g.out)
			if g.forwards.to.Leader == peer {
				g.abandonForwards()
			}
		})
	})
}

// readLog reads entries for a replica.
func (n *Node) readLog(group raft.GroupID, request replica.LogRead) ([]byte, error) {
	data, _, err := n.log.Read(group, request.First, request.Last, request.MaxBytes, nil)
	if errors.Is(err, wal.ErrCompacted) {
		return nil, replica.ErrCompacted
	}
	return data, err
}

// timestamp is the time that new entries bear. It is read from the wall once, when
// the node is opened, and is monotonic from then on: within a term it never jumps.
func (n *Node) timestamp() replica.Timestamp {
	return replica.Timestamp{Earliest: n.start.UnixNano() + n.now()}
}
