package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/quorate/quorate/server/port"
	"github.com/quorate/quorate/server/secure"
)

const (
	// connectionTimeout bounds how long a connection may take to say what it is,
	// and then to finish its HTTP/2 handshake.
	connectionTimeout = 10 * time.Second
	// An HTTP request here is small and quickly answered; a profile takes longest.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 2 * time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// servedPort is an address with what serves it.
type servedPort struct {
	*port.Port
	kind endpointKind
	http *http.Server
	grpc bool // serves gRPC too
}

type endpointKind int

const (
	clientEndpoint endpointKind = iota
	httpEndpoint
	metricsEndpoint
)

// listen opens every address that clients are served on.
func (s *Server) listen() error {
	var source *secure.Source
	if s.config.ClientTLS != nil {
		var err error
		if source, err = secure.NewSource(*s.config.ClientTLS, s.config.Logger); err != nil {
			return err
		}
	}
	for _, all := range []struct {
		kind      endpointKind
		flag      string
		endpoints []Endpoint
	}{
		{clientEndpoint, "--listen-client-urls", s.config.ListenClient},
		{httpEndpoint, "--listen-client-http-urls", s.config.ListenClientHTTP},
		{metricsEndpoint, "--listen-metrics-urls", s.config.ListenMetrics},
	} {
		for _, e := range all.endpoints {
			listener, err := s.listenOn(e)
			if err != nil {
				return explainListen(err, e.Address, all.flag)
			}
			config := port.Config{UserTimeout: s.config.KeepAliveTimeout, Logger: s.config.Logger}
			if e.TLS {
				config.TLS = source.Config
			}
			s.ports = append(s.ports, &servedPort{Port: port.New(listener, config), kind: all.kind})
		}
	}
	return nil
}

func (s *Server) listenOn(e Endpoint) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: 30 * time.Second}
	if s.config.ReusePort {
		config.Control = reusePort
	}
	if e.Network == "unix" {
		// A socket file that nobody listens on is what a crash left.
		if conn, err := net.Dial("unix", e.Address); err == nil {
			conn.Close()
		} else if err := os.Remove(e.Address); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return config.Listen(s.life, e.Network, e.Address)
}

// servePort begins to serve an address.
func (s *Server) servePort(p *servedPort) {
	withAll := p.kind == httpEndpoint || p.kind == clientEndpoint && len(s.config.ListenClientHTTP) == 0
	p.http = &http.Server{
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
	}
	switch {
	case p.kind == metricsEndpoint:
		p.http.Handler = s.guardHost(s.handler(false))
	case withAll:
		p.http.Handler = s.guardHost(s.handler(true))
	default:
		p.http.Handler = http.NotFoundHandler()
	}
	p.grpc = p.kind == clientEndpoint
	s.wg.Go(func() { s.failIf(p.Serve()) })
	s.wg.Go(func() {
		if err := p.http.Serve(p.HTTP()); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.failIf(err)
		}
	})
	if !p.grpc {
		p.GRPC().Close() // such connections are closed
		return
	}
	s.wg.Go(func() {
		if err := s.etcd.GRPC().Serve(p.GRPC()); !errors.Is(err, grpc.ErrServerStopped) && !errors.Is(err, net.ErrClosed) {
			s.failIf(err)
		}
	})
}

// failIf reports why a port cannot go on.
func (s *Server) failIf(err error) {
	if err == nil || s.life.Err() != nil {
		return
	}
	select {
	case s.failed <- err:
	default:
	}
}

func (p *servedPort) stopAccepting() error { return p.Close() }

func (p *servedPort) stop(ctx context.Context) error {
	if p.http == nil {
		return nil
	}
	if err := p.http.Shutdown(ctx); err != nil {
		return p.http.Close()
	}
	return nil
}

// explainListen says what to do about an address that cannot be had.
func explainListen(err error, address, flag string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another process: stop that one, or choose another address with %s", address, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is not an address of this machine: choose another with %s", address, flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("this user may not listen on %s: choose a port above 1023 with %s", address, flag)
	}
	return fmt.Errorf("cannot listen on %s, as %s says: %w", address, flag, err)
}
