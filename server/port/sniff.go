package port

import (
	"crypto/tls"
	"net"
)

// preface is what every HTTP/2 connection begins with (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// A replayConn gives again what was read from it to decide.
type replayConn struct {
	net.Conn
	head []byte
}

// sniff reads until the connection is known to begin with the HTTP/2 preface or
// not to: it stops at the first byte that differs, since nothing says that a
// client which is not gRPC's will send more before it is answered.
func (c *replayConn) sniff() (isHTTP2 bool, err error) {
	var buffer [len(preface)]byte
	n := 0
	for n < len(preface) {
		more, err := c.Conn.Read(buffer[n:])
		for i := range more {
			if buffer[n+i] != preface[n+i] {
				c.head = append(c.head, buffer[:n+more]...)
				return false, nil
			}
		}
		n += more
		if err != nil && n < len(preface) {
			return false, err
		}
	}
	c.head = append(c.head, buffer[:n]...)
	return true, nil
}

func (c *replayConn) Read(b []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(b, c.head)
		if c.head = c.head[n:]; len(c.head) == 0 {
			c.head = nil
		}
		return n, nil
	}
	return c.Conn.Read(b)
}

// secureReplayConn is a replayConn over TLS. ConnectionState is what net/http
// and Credentials look for, so that the client's identity is not lost.
type secureReplayConn struct {
	*replayConn
	secure *tls.Conn
}

func (c *secureReplayConn) ConnectionState() tls.ConnectionState { return c.secure.ConnectionState() }
