package tcp

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
)

// tlsHandshakeMax bounds what is read from a peer before its handshake is over, in
// bytes: chains of certificates included.
const tlsHandshakeMax = 256 << 10

// secureConn is a TLS connection whose records are gathered before they are
// written, so that many cost one system call.
type secureConn struct {
	*tls.Conn
	under *gatherConn
}

// newSecureConn makes a TLS connection and completes its handshake. The caller has
// set a deadline.
func newSecureConn(conn net.Conn, upgrade func(net.Conn) *tls.Conn) (*secureConn, error) {
	under := &gatherConn{Conn: conn, readable: tlsHandshakeMax}
	secure := &secureConn{Conn: upgrade(under), under: under}
	if err := secure.Handshake(); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, nil
}

// admitted lifts the bound of what is read.
func (c *secureConn) admitted() {
	c.under.readable = -1
}

// established is admitted, and from here on what is written waits for flush.
func (c *secureConn) established() {
	c.admitted()
	c.under.mu.Lock()
	defer c.under.mu.Unlock()
	c.under.gathered = bufio.NewWriterSize(c.under.Conn, 64<<10)
}

// flush writes what was gathered.
func (c *secureConn) flush() error {
	c.under.mu.Lock()
	defer c.under.mu.Unlock()
	return c.under.gathered.Flush()
}

// gatherConn is the connection under a TLS connection.
type gatherConn struct {
	net.Conn
	// readable is how many bytes may still be read, or -1. It changes only before
	// the connection is read by more than its handshake.
	readable int
	// mu guards gathered: TLS may answer the peer by itself while it reads.
	mu       sync.Mutex
	gathered *bufio.Writer
}

var errHandshakeTooLong = errors.New("the peer sent too much before its handshake was over")

func (c *gatherConn) Read(p []byte) (int, error) {
	if c.readable < 0 {
		return c.Conn.Read(p)
	}
	if c.readable == 0 {
		return 0, errHandshakeTooLong
	}
	n, err := c.Conn.Read(p[:min(len(p), c.readable)])
	c.readable -= n
	return n, err
}

func (c *gatherConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gathered == nil {
		return c.Conn.Write(p)
	}
	return c.gathered.Write(p)
}
