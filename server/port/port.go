package port

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Config is how a port behaves. Zero fields mean the documented default.
type Config struct {
	// TLS, if not nil, gives the configuration for a handshake that begins now;
	// the port sets NextProtos. It is not changed afterwards by either side, and
	// is best the same one until certificates change. nil is plaintext.
	TLS func(*tls.ClientHelloInfo) (*tls.Config, error)
	// DecideTimeout bounds the time from accepting a connection until it is known
	// whose it is, the TLS handshake included. Default 5s.
	DecideTimeout time.Duration
	// MaxUndecided bounds the connections that are not decided yet; beyond it the
	// oldest is closed. Default 1024.
	MaxUndecided int
	// UserTimeout closes a connection whose peer acknowledged nothing for so
	// long, where the system can do that (TCP_USER_TIMEOUT). Default 20s.
	UserTimeout time.Duration
	// Logger receives what operators should know. Default slog.Default.
	Logger *slog.Logger
}

// WithDefaults gives c with every zero field replaced.
func (c Config) WithDefaults() Config {
	if c.DecideTimeout == 0 {
		c.DecideTimeout = 5 * time.Second
	}
	if c.MaxUndecided == 0 {
		c.MaxUndecided = 1024
	}
	if c.UserTimeout == 0 {
		c.UserTimeout = 20 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Port shares one listener between a gRPC server, which must be made with
// Credentials, and an HTTP server. All methods are safe for concurrent use.
type Port struct {
	config   Config
	listener net.Listener
	grpc     *queue
	http     *queue
	configs  configs

	wg sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	undecided *list.List // of net.Conn, the oldest in front
}

// New makes a port of a listener, which it closes. It accepts nothing before
// Serve.
func New(listener net.Listener, config Config) *Port {
	p := &Port{config: config.WithDefaults(), listener: listener, undecided: list.New()}
	p.grpc, p.http = newQueue(listener.Addr()), newQueue(listener.Addr())
	return p
}

// GRPC is what the gRPC server serves, HTTP what the HTTP server does. Closing
// one of them ends no other.
func (p *Port) GRPC() net.Listener { return p.grpc }

// HTTP is what the HTTP server serves.
func (p *Port) HTTP() net.Listener { return p.http }

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Serve accepts connections until Close. It returns nil after Close, else why it
// cannot go on.
func (p *Port) Serve() error {
	var pause time.Duration
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if p.isClosed() {
				return nil
			}
			// Too many open files, or a peer that left already. Connections that
			// stand must go on, and others may come when some are gone.
			var temporary interface{ Temporary() bool }
			if !errors.As(err, &temporary) || !temporary.Temporary() {
				return fmt.Errorf("accept on %v: %w", p.listener.Addr(), err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.config.Logger.Error("cannot accept connections; trying again", slog.Any("error", err), slog.Duration("after", pause))
			if !p.sleep(pause) {
				return nil
			}
			continue
		}
		pause = 0
		if entry, ok := p.enter(conn); ok {
			go p.decide(conn, entry)
		}
	}
}

// Close stops accepting and closes what is undecided. Connections that were
// handed over are their servers'. It waits for every goroutine of the port.
func (p *Port) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		for e := p.undecided.Front(); e != nil; e = e.Next() {
			e.Value.(net.Conn).Close()
		}
	}
	p.mu.Unlock()
	err := p.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	p.grpc.Close()
	p.http.Close()
	p.wg.Wait()
	return err
}

func (p *Port) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// sleep waits, and reports false if the port was closed meanwhile.
func (p *Port) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.http.closed:
		return false
	}
}

// enter counts a connection among the undecided. It reports false, and closes
// the connection, if the port is closed.
func (p *Port) enter(conn net.Conn) (*list.Element, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return nil, false
	}
	if p.undecided.Len() >= p.config.MaxUndecided {
		oldest := p.undecided.Front()
		oldest.Value.(net.Conn).Close()
		p.undecided.Remove(oldest)
		oldest.Value = nil
	}
	p.wg.Add(1)
	return p.undecided.PushBack(conn), true
}

// leave takes a connection out of the undecided. It reports false if the port
// was closed, or the connection crowded out, meanwhile.
func (p *Port) leave(entry *list.Element) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || entry.Value == nil {
		return false
	}
	p.undecided.Remove(entry)
	return true
}

// decide finds out whose a connection is and hands it over.
func (p *Port) decide(conn net.Conn, entry *list.Element) {
	defer p.wg.Done()
	setUserTimeout(conn, p.config.UserTimeout)
	conn.SetDeadline(time.Now().Add(p.config.DecideTimeout))
	decided, to, err := p.route(conn)
	stands := p.leave(entry)
	if err != nil || !stands {
		if err != nil {
			p.config.Logger.Debug("connection closed before it said what it is", slog.Any("remote", conn.RemoteAddr()), slog.Any("error", err))
		}
		conn.Close()
		return
	}
	conn.SetDeadline(time.Time{})
	to.put(decided)
}

func (p *Port) route(conn net.Conn) (net.Conn, *queue, error) {
	if p.config.TLS != nil {
		secure := tls.Server(conn, &tls.Config{GetConfigForClient: p.configFor})
		if err := secure.Handshake(); err != nil {
			answerPlainHTTP(err)
			return nil, nil, err
		}
		if secure.ConnectionState().NegotiatedProtocol == protocolH2 {
			return secure, p.grpc, nil
		}
		conn = secure
	}
	// A TLS client that offered nothing may still speak HTTP/2.
	replay := &replayConn{Conn: conn}
	isHTTP2, err := replay.sniff()
	if err != nil {
		return nil, nil, err
	}
	to := p.http
	if isHTTP2 {
		to = p.grpc
	}
	if secure, ok := conn.(*tls.Conn); ok {
		return &secureReplayConn{replayConn: replay, secure: secure}, to, nil
	}
	return replay, to, nil
}

// queue is a net.Listener that is given its connections.
type queue struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// put hands a connection to whoever accepts, or closes it if nobody will.
func (q *queue) put(conn net.Conn) {
	select {
	case q.conns <- conn:
	case <-q.closed:
		conn.Close()
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

func (q *queue) Addr() net.Addr { return q.addr }
