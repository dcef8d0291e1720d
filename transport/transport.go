// Package transport carries frames between nodes. Its two implementations, tcp
// and mem, pass the same contract test (transporttest).
//
// A transport may lose, delay, duplicate and reorder messages: Raft does not
// mind. It never corrupts one, never delivers one from a node of another cluster
// or of an incarnation that was refused, and never lets a snapshot delay a
// heartbeat.
package transport

import (
	"context"
	"errors"
	"io"

	"github.com/quorate/quorate/raft"
)

// ClusterID names a cluster: random, given at its creation.
type ClusterID [16]byte

// Envelope is one message of one group between two nodes.
type Envelope struct {
	Group   raft.GroupID
	Message raft.Message
	// Entries are the encoded entries (package entry) that an AppendEntries
	// carries: (Prev.Index, Last], in any number of pieces of whole entries.
	Entries [][]byte
	// Bootstrap carries a bootstrap exchange, in place of Message.Body.
	Bootstrap *Bootstrap
}

// Bootstrap is what the first members of a group tell each other before there is
// a log (MB-18).
type Bootstrap struct {
	Incarnation raft.Incarnation
	// Empty attests that the sender holds nothing of the group. Otherwise
	// Configuration is the one that its log began with.
	Empty         bool
	Configuration raft.Configuration
}

// Identity is who a node is. It is shown in each handshake and checked by both
// sides (PS-10).
type Identity struct {
	Cluster     ClusterID
	Node        raft.NodeID
	Incarnation raft.Incarnation
}

// Handler receives what other nodes send. Its methods are called by the
// transport's goroutines, concurrently for different peers, in order of arrival
// for one connection.
type Handler interface {
	// Deliver hands over messages that arrived together. The entries' bytes
	// belong to the receiver from here on. It should not block for long: while
	// it does, the sender is held back.
	Deliver(envelopes []Envelope)
	// Admit is asked in each handshake whether a peer may talk to this node. An
	// error refuses it; its text is sent to the peer, so it should say what to do.
	Admit(peer Identity) error
	// PeerUp and PeerDown report that the connection for sending to a peer was
	// made or lost. Refused is what the peer said in its handshake, if it did.
	PeerUp(peer raft.NodeID)
	PeerDown(peer raft.NodeID, err error)
	// ReceiveSnapshot is called when a peer begins to send a snapshot. It
	// returns the offset from which the sender is to go on (zero, or what an
	// earlier transfer of the same snapshot left) and a writer for what comes.
	ReceiveSnapshot(ctx context.Context, offer SnapshotOffer) (SnapshotSink, error)
}

// SnapshotOffer begins a transfer.
type SnapshotOffer struct {
	From  raft.NodeID
	Group raft.GroupID
	// Term and Round are those of the sender's SendSnapshot effect.
	Term  raft.Term
	Round uint64
	Meta  raft.SnapshotMeta
	// Size is the length of the snapshot's file in bytes; ID its random name.
	Size uint64
	ID   uint64
}

// SnapshotSink takes the bytes of a transfer, in order from Offset on.
type SnapshotSink interface {
	Offset() uint64
	Write(p []byte) (int, error)
	// Finish is called after the last byte: verify, make durable, install. Its
	// error is told to the sender.
	Finish(ctx context.Context) error
	// Abort is called instead of Finish if the transfer breaks.
	Abort(err error)
}

// Transport sends. All methods are safe for concurrent use.
type Transport interface {
	// Start begins to listen and to deliver to h.
	Start(self Identity, h Handler) error
	// SetPeer says where a node listens; no address forgets the node.
	SetPeer(peer raft.NodeID, addresses ...string)
	// Send queues envelopes for a peer and does not wait. It returns how many
	// were taken: the rest found the queue full, or nobody there, and are lost.
	// The entries' bytes must not change afterwards.
	Send(peer raft.NodeID, envelopes []Envelope) int
	// SendSnapshot sends a snapshot on a connection of its own and returns when
	// the peer has installed it, refused it, or ctx ends. open gives the bytes
	// from an offset on.
	SendSnapshot(ctx context.Context, peer raft.NodeID, offer SnapshotOffer, open func(offset uint64) (io.ReadCloser, error)) error
	// Address is where this transport listens, for others to be told.
	Address() string
	// Close stops listening, closes connections and waits for every goroutine.
	Close() error
}

// ErrRefused is wrapped by errors that carry a peer's refusal.
var ErrRefused = errors.New("transport: refused by peer")

// ErrUnknownPeer: SetPeer was not called for that node.
var ErrUnknownPeer = errors.New("transport: unknown peer")

// ErrClosed: the transport is closed.
var ErrClosed = errors.New("transport: closed")
