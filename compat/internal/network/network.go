// Package network puts servers and clients of one machine on a network whose
// links can be cut in one direction, lose, delay and throttle, without either end
// hearing of it.
//
// Where the kernel gives network namespaces, also to an ordinary user, each place
// has its own with a TUN device, and this process is the switch between them: what
// a link does happens to IP packets, so that TCP retransmits, backs off and gives
// up by itself. Elsewhere [Relay] carries the connections between members over
// loopback and what a link does happens to a stream of bytes.
package network

import (
	"os/exec"
	"time"
)

// Clients is the place of this process and of the clients in it. Servers are at
// the places from 0 on.
const Clients = -1

// A Link is what happens to what is sent from one place to another. Zero is a
// link without fault.
type Link struct {
	// Cut: nothing arrives, and nobody is told.
	Cut bool
	// Loss is the part of packets that are lost, from 0 to 1. A relay, whose
	// streams lose nothing, delays instead what TCP would have sent again.
	Loss float64
	// Delay is added to each packet, and up to Jitter on top.
	Delay, Jitter time.Duration
	// BytesPerSecond, if not 0, is all that passes; more waits, and what would wait
	// for longer than two seconds is lost.
	BytesPerSecond int
}

// A Network is places and the links between them. All methods are safe for
// concurrent use.
type Network interface {
	// Kind names how it is made.
	Kind() string
	// Host is the address at which a server listens.
	Host(server int) string
	// Peer is the address at which a server finds the other, given the port on
	// which that one listens.
	Peer(from, to int, port string) (string, error)
	// Start starts a command at a server's place.
	Start(server int, cmd *exec.Cmd) error
	// Set gives the link from one place to another a state.
	Set(from, to int, l Link)
	// Heal gives every link the state without fault.
	Heal()
	// Packets counts what was carried, and what was lost on purpose: packets, or
	// pieces of a stream.
	Packets() (carried, lost int64)
	Close() error
}
