package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

const (
	// HandshakeMax bounds the payload of each frame of a handshake, in bytes.
	HandshakeMax = 1024
	// ReasonMax bounds the text of a refusal, in bytes.
	ReasonMax = 512
)

// Kind says what a connection is for.
type Kind uint8

// The kinds of connections.
const (
	MessageConnection Kind = 1 + iota
	SnapshotConnection
)

// Nonce tells one handshake from another: the answer repeats it.
type Nonce [16]byte

// HelloFrame begins a connection:
//
//	cluster [16] | node u64 | incarnation u64 | to u64 | nonce [16] | frame max u32 | kind u8
type HelloFrame struct {
	From transport.Identity
	// To is the node that the dialer means to reach.
	To    raft.NodeID
	Nonce Nonce
	// FrameMax is the largest frame that the sender of this accepts, in bytes.
	FrameMax uint32
	Kind     Kind
}

// WelcomeFrame accepts a connection:
//
//	cluster [16] | node u64 | incarnation u64 | nonce [16] | frame max u32
type WelcomeFrame struct {
	From     transport.Identity
	Nonce    Nonce
	FrameMax uint32
}

func appendIdentity(b []byte, id *transport.Identity) []byte {
	b = append(b, id.Cluster[:]...)
	b = le.AppendUint64(b, uint64(id.Node))
	return le.AppendUint64(b, uint64(id.Incarnation))
}

func (c *cursor) identity() (id transport.Identity) {
	copy(id.Cluster[:], c.take(len(id.Cluster)))
	id.Node = raft.NodeID(c.u64())
	id.Incarnation = raft.Incarnation(c.u64())
	return id
}

// Frame encodes h as a whole frame.
func (h *HelloFrame) Frame() []byte {
	b := make([]byte, HeaderSize, 128)
	b = appendIdentity(b, &h.From)
	b = le.AppendUint64(b, uint64(h.To))
	b = append(b, h.Nonce[:]...)
	b = le.AppendUint32(b, h.FrameMax)
	b = append(b, byte(h.Kind))
	Seal(b, Hello)
	return b
}

// DecodeHello decodes the payload of a Hello frame.
func DecodeHello(payload []byte) (HelloFrame, error) {
	c := cursor{b: payload}
	h := HelloFrame{From: c.identity(), To: raft.NodeID(c.u64())}
	copy(h.Nonce[:], c.take(len(h.Nonce)))
	h.FrameMax = c.u32()
	h.Kind = Kind(c.u8())
	if c.err == nil && h.Kind != MessageConnection && h.Kind != SnapshotConnection {
		c.fail("unknown kind of connection %d", h.Kind)
	}
	if err := c.end(); err != nil {
		return HelloFrame{}, fmt.Errorf("hello: %w", err)
	}
	return h, nil
}

// Frame encodes w as a whole frame.
func (w *WelcomeFrame) Frame() []byte {
	b := make([]byte, HeaderSize, 128)
	b = appendIdentity(b, &w.From)
	b = append(b, w.Nonce[:]...)
	b = le.AppendUint32(b, w.FrameMax)
	Seal(b, Welcome)
	return b
}

// DecodeWelcome decodes the payload of a Welcome frame.
func DecodeWelcome(payload []byte) (WelcomeFrame, error) {
	c := cursor{b: payload}
	w := WelcomeFrame{From: c.identity()}
	copy(w.Nonce[:], c.take(len(w.Nonce)))
	w.FrameMax = c.u32()
	if err := c.end(); err != nil {
		return WelcomeFrame{}, fmt.Errorf("welcome: %w", err)
	}
	return w, nil
}

// RefusalFrame encodes a refusal as a whole frame. The reason is cut after
// ReasonMax bytes.
func RefusalFrame(reason string) []byte {
	b := make([]byte, HeaderSize, HeaderSize+ReasonMax)
	b = append(b, cutReason(reason)...)
	Seal(b, Refusal)
	return b
}

// DecodeRefusal gives the reason in the payload of a Refusal frame, fit to be
// printed: what cannot be is replaced.
func DecodeRefusal(payload []byte) string {
	reason := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, cutReason(string(payload)))
	if reason == "" {
		return "no reason given"
	}
	return reason
}

func cutReason(reason string) string {
	if len(reason) <= ReasonMax {
		return reason
	}
	n := ReasonMax
	for n > 0 && !utf8.RuneStart(reason[n]) {
		n--
	}
	return reason[:n]
}
