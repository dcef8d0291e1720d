package port

import (
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	protocolH2    = "h2"
	protocolHTTP1 = "http/1.1"
)

// configs are the two forms of the newest TLS configuration: they are kept, since
// a configuration owns the keys of the sessions that clients resume.
type configs struct {
	mu        sync.Mutex
	of        *tls.Config
	h2, http1 *tls.Config
}

// configFor lets a client that offers http/1.1 have it: it is a browser, curl or
// a scraper. Whoever offers h2 alone is gRPC.
func (p *Port) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	base, err := p.config.TLS(hello)
	if err != nil {
		return nil, err
	}
	c := &p.configs
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of != base {
		c.of, c.h2, c.http1 = base, base.Clone(), base.Clone()
		c.h2.NextProtos, c.http1.NextProtos = []string{protocolH2}, []string{protocolHTTP1}
	}
	if slices.Contains(hello.SupportedProtos, protocolH2) && !slices.Contains(hello.SupportedProtos, protocolHTTP1) {
		return c.h2, nil
	}
	return c.http1, nil
}

const plainHTTPAnswer = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"This port speaks TLS: use https.\n"

// answerPlainHTTP tells a client that spoke HTTP where TLS is expected, as
// net/http would.
func answerPlainHTTP(err error) {
	var header tls.RecordHeaderError
	if !errors.As(err, &header) || header.Conn == nil {
		return
	}
	switch string(header.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		header.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(header.Conn, plainHTTPAnswer)
	}
}
