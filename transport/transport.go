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
	"time"

	"github.com/quorate/quorate/raft"
)

// ClusterID names a cluster: random, given at its creation.
type ClusterID [16]byte

// Envelope is one message of one group between two nodes.
type Envelope struct {
	Group raft.GroupID
	// Message.From and Message.To are not carried: the receiver's transport sets
	// them to the two nodes that shook hands, so that no node can speak for
	// another. Neither are AppendEntries.Configurations and InstallSnapshot.Done,
	// which the receiver's runtime sets.
	Message raft.Message
	// Entries are the encoded entries (package entry) that an AppendEntries
	// carries: (Prev.Index, Last]. A sender gives them in any number of pieces
	// of whole entries; a receiver gets one piece, or none.
	Entries [][]byte
	// Bootstrap carries a bootstrap exchange, in place of Message.Body.
	Bootstrap *Bootstrap
	// Forward carries what the runtimes of two nodes tell each other about
	// forwarded proposals, in place of Message.Body.
	Forward []byte
}

// Bootstrap is what the first members of a group tell each other before there is
// a log (MB-18).
type Bootstrap struct {
	Incarnation raft.Incarnation
	// Seen is the receiver's incarnation as the sender last heard of it; zero if
	// it has not.
	Seen raft.Incarnation
	// Empty attests, to the incarnation Seen, that the sender holds nothing of
	// the group. Otherwise Configuration is in force there, and its ID says
	// whether it is still the first one.
	Empty         bool
	Configuration raft.ConfigurationEntry
}

// Identity is who a node is. It is shown in each handshake and checked by both
// sides (PS-10).
type Identity struct {
	Cluster     ClusterID
	Node        raft.NodeID
	Incarnation raft.Incarnation
}

// Handler receives what other nodes send. Its methods are called by the
// transport's goroutines, concurrently for different peers and, for one peer, one
// Deliver at a time and one of PeerUp and PeerDown at a time. They may call every
// method of the transport but Close, which waits for them.
type Handler interface {
	// Deliver hands over messages that arrived together. The messages and the
	// entries' bytes belong to the receiver from here on; the slice does not, and
	// is used again when Deliver returns. Messages of one group arrive in the
	// order in which they were sent, as long as the connection lasts; those of
	// another group may overtake them. It should not block for long: while it
	// does, the sender is held back.
	Deliver(envelopes []Envelope)
	// Admit is asked in each handshake whether a peer may talk to this node. An
	// error refuses it; its text is sent to the peer, so it should say what to do.
	// It is asked on both sides of a connection: also about the node that was
	// called. The cluster and the node's id were compared before.
	Admit(peer Identity) error
	// PeerUp reports that the connection for sending to a peer was made,
	// PeerDown that it was lost with all that was queued for it, or that an
	// attempt to make it failed. If the peer refused, err wraps ErrRefused and
	// carries the peer's reason. Neither is called for a node that was forgotten,
	// or after Close.
	PeerUp(peer raft.NodeID)
	PeerDown(peer raft.NodeID, err error)
	// ReceiveSnapshot is called when a peer begins to send a snapshot. The sink
	// names the offset from which the sender is to go on (zero, or what an
	// earlier transfer of the same snapshot left) and takes what comes. ctx ends
	// with the transfer. An error refuses it; its text is sent to the peer.
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

// SnapshotSink takes the bytes of a transfer, in order from Offset on. Its
// methods are called one at a time, and the last call is Finish or Abort.
type SnapshotSink interface {
	// Offset is at most the offer's Size.
	Offset() uint64
	// Write must not keep p. An error ends the transfer; its text is sent to the
	// peer.
	Write(p []byte) (int, error)
	// Finish is called after the last byte: verify, make durable, install. Its
	// error is told to the sender.
	Finish(ctx context.Context) error
	// Abort is called instead of Finish if the transfer breaks.
	Abort(err error)
}

// Transport sends. All methods are safe for concurrent use.
type Transport interface {
	// Start begins to accept, to connect and to deliver to h. It is called once;
	// SetPeer may be called before.
	Start(self Identity, h Handler) error
	// SetPeer says where a node listens, best address first; no address forgets
	// the node and closes what is open to and from it. A connection to an address
	// that is no longer named is made anew.
	SetPeer(peer raft.NodeID, addresses ...string)
	// Send queues envelopes for a peer and does not wait. It returns how many
	// were taken: the rest found the queue full, or nobody there, and are lost.
	// The last of those that carry entries are lost first: room is kept for
	// envelopes without entries, so that bulk does not crowd out heartbeats.
	// Messages and entries' bytes must not change afterwards; the slice may.
	Send(peer raft.NodeID, envelopes []Envelope) int
	// SendSnapshot sends a snapshot on a connection of its own and returns when
	// the peer has installed it, refused it (ErrRefused), or ctx ends. open gives
	// the bytes from an offset on; exactly offer.Size bytes are there in all.
	// offer.From is not carried.
	SendSnapshot(ctx context.Context, peer raft.NodeID, offer SnapshotOffer, open func(offset uint64) (io.ReadCloser, error)) error
	// Address is where this transport listens, for others to be told.
	Address() string
	// Close stops listening, closes connections and waits for every goroutine.
	// What is queued is lost.
	Close() error
}

// PeerStats counts what became of the envelopes for one peer since SetPeer first
// named it. Both implementations have a method Stats(peer) that gives it.
type PeerStats struct {
	// Connected: the connection for sending stands.
	Connected bool
	// Connections counts how often it was made.
	Connections uint64
	// Sent counts envelopes handed to the network, in Frames frames of Bytes
	// bytes.
	Sent, Frames, Bytes uint64
	// Received counts the bytes of messages that came from the peer, and RoundTrip
	// is what the operating system measured on the connection for sending; 0 where
	// that is not known. Both are of tcp alone.
	Received  uint64
	RoundTrip time.Duration
	// Dropped counts envelopes that Send did not take. Lost counts those that it
	// took and that were queued or being written when the connection was lost.
	Dropped, Lost uint64
	// Queued and QueuedBytes wait to be written now.
	Queued, QueuedBytes int
}

// ErrRefused is wrapped by errors that carry a peer's refusal.
var ErrRefused = errors.New("transport: refused by peer")

// ErrUnknownPeer: SetPeer was not called for that node.
var ErrUnknownPeer = errors.New("transport: unknown peer")

// ErrClosed: the transport is closed.
var ErrClosed = errors.New("transport: closed")
