package port_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/quorate/quorate/server/port"
	"github.com/quorate/quorate/server/secure"
)

// served is a port with a gRPC health service and an HTTP server that tells what
// it saw.
type served struct {
	address string
	roots   *x509.CertPool
	files   secure.Files
	// clients takes what gRPC knows of each caller.
	clients chan *peer.Peer
}

func serve(t *testing.T, config port.Config, secured bool) *served {
	t.Helper()
	s := &served{clients: make(chan *peer.Peer, 16)}
	config.Logger = slog.New(slog.DiscardHandler)
	if secured {
		var err error
		if s.files, err = secure.Generate(t.TempDir(), []string{"127.0.0.1", "localhost"}, 1); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(s.files.CertFile, s.files.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		s.roots = x509.NewCertPool()
		s.roots.AddCert(pair.Leaf)
		base := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
		config.TLS = func(*tls.ClientHelloInfo) (*tls.Config, error) { return base, nil }
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := port.New(listener, config)
	s.address = p.Addr().String()
	rpc := grpc.NewServer(grpc.Creds(port.Credentials()), grpc.ConnectionTimeout(time.Second),
		grpc.UnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			from, _ := peer.FromContext(ctx)
			s.clients <- from
			return handle(ctx, r)
		}))
	healthpb.RegisterHealthServer(rpc, health.NewServer())
	web := &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := "none"
			if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
				name = r.TLS.PeerCertificates[0].Subject.String()
			}
			fmt.Fprintf(w, "%s %s tls=%t client=%s", r.Method, r.Proto, r.TLS != nil, name)
		}),
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Serve(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	running.Go(func() { rpc.Serve(p.GRPC()) })
	running.Go(func() { web.Serve(p.HTTP()) })
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		rpc.Stop()
		web.Close()
		running.Wait()
	})
	return s
}

// check makes a gRPC call.
func check(t *testing.T, address string, creds credentials.TransportCredentials, opts ...grpc.DialOption) error {
	t.Helper()
	conn, err := grpc.NewClient(address, append(opts, grpc.WithTransportCredentials(creds))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

// get makes an HTTP request.
func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPlaintextServesGRPCAndHTTP(t *testing.T) {
	s := serve(t, port.Config{}, false)
	if err := check(t, s.address, insecure.NewCredentials()); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	if from := <-s.clients; from.AuthInfo == nil || from.AuthInfo.AuthType() != "insecure" {
		t.Errorf("gRPC in plaintext has AuthInfo %v, want insecure", from.AuthInfo)
	}
	if got, want := get(t, http.DefaultClient, "http://"+s.address+"/"), "GET HTTP/1.1 tls=false client=none"; got != want {
		t.Errorf("HTTP: got %q, want %q", got, want)
	}
}

// POST and PRI begin alike: the first byte that differs decides, and nothing is
// waited for.
func TestRequestThatBeginsLikeThePreface(t *testing.T) {
	s := serve(t, port.Config{DecideTimeout: time.Hour}, false)
	conn := dial(t, s.address)
	for _, part := range []string{"P", "O", "ST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"} {
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("POST in pieces: %v, %v", r, err)
	}
}

// One byte at a time, as a slow network delivers it.
func TestPrefaceInPieces(t *testing.T) {
	s := serve(t, port.Config{}, false)
	err := check(t, s.address, insecure.NewCredentials(), grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return &slowWriter{Conn: conn, slow: 40}, nil
	}))
	if err != nil {
		t.Errorf("gRPC: %v", err)
	}
}

// slowWriter writes its first bytes one by one.
type slowWriter struct {
	net.Conn
	slow int
}

func (w *slowWriter) Write(b []byte) (int, error) {
	n := 0
	for ; n < len(b) && w.slow > 0; n++ {
		w.slow--
		if _, err := w.Conn.Write(b[n : n+1]); err != nil {
			return n, err
		}
	}
	rest, err := w.Conn.Write(b[n:])
	return n + rest, err
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A connection that does not say what it is, or not all of it, is closed.
func TestUndecidedConnectionsAreClosed(t *testing.T) {
	for secured, all := range map[bool][]string{
		false: {"", "P", "PRI * HT"},
		true:  {"", "\x16", "\x16\x03\x01"},
	} {
		for _, said := range all {
			t.Run(fmt.Sprintf("tls=%t/%q", secured, said), func(t *testing.T) {
				s := serve(t, port.Config{DecideTimeout: 50 * time.Millisecond}, secured)
				conn := dial(t, s.address)
				if _, err := io.WriteString(conn, said); err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(conn); len(b) > 0 {
					t.Errorf("got %q, %v; want the connection closed", b, err)
				}
			})
		}
	}
}

// A preface and no more is grpc-go's, whose own deadline ends it.
func TestPrefaceAloneEnds(t *testing.T) {
	s := serve(t, port.Config{}, false)
	conn := dial(t, s.address)
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

// Of too many that are not decided the oldest is closed, and others are served.
func TestTooManyUndecided(t *testing.T) {
	s := serve(t, port.Config{DecideTimeout: time.Hour, MaxUndecided: 2}, false)
	first := dial(t, s.address)
	dial(t, s.address)
	for range 3 {
		get(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+s.address+"/")
	}
	if b, _ := io.ReadAll(first); len(b) > 0 {
		t.Errorf("got %q, want the oldest connection closed", b)
	}
}

func TestTLSRoutesByWhatIsOffered(t *testing.T) {
	s := serve(t, port.Config{}, true)
	pair, err := tls.LoadX509KeyPair(s.files.CertFile, s.files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, withClient := range []bool{false, true} {
		config := &tls.Config{RootCAs: s.roots}
		who := "none"
		if withClient {
			config.Certificates = []tls.Certificate{pair}
			who = "O=quorate"
		}
		if err := check(t, s.address, credentials.NewTLS(config.Clone())); err != nil {
			t.Fatalf("gRPC: %v", err)
		}
		info, ok := (<-s.clients).AuthInfo.(credentials.TLSInfo)
		if !ok || info.State.NegotiatedProtocol != "h2" || (len(info.State.PeerCertificates) > 0) != withClient {
			t.Errorf("gRPC over TLS has AuthInfo %+v, client certificate %t", info, withClient)
		}
		// As curl and browsers offer, then as curl --no-alpn does.
		for _, offer := range [][]string{{"h2", "http/1.1"}, {"http/1.1"}, nil} {
			config := config.Clone()
			config.NextProtos = offer
			client := &http.Client{Transport: &http.Transport{DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
			}, DisableKeepAlives: true}}
			if got, want := get(t, client, "https://"+s.address+"/"), "GET HTTP/1.1 tls=true client="+who; got != want {
				t.Errorf("offer %q: got %q, want %q", offer, got, want)
			}
		}
	}
}

// Without a negotiated protocol the first bytes decide under TLS as well, and the
// client's identity is not lost.
func TestTLSWithoutALPNMaySpeakHTTP2(t *testing.T) {
	s := serve(t, port.Config{}, true)
	pair, err := tls.LoadX509KeyPair(s.files.CertFile, s.files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	err = check(t, s.address, insecure.NewCredentials(), grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return (&tls.Dialer{Config: &tls.Config{RootCAs: s.roots, Certificates: []tls.Certificate{pair}}}).DialContext(ctx, "tcp", address)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if info, ok := (<-s.clients).AuthInfo.(credentials.TLSInfo); !ok || len(info.State.PeerCertificates) != 1 {
		t.Errorf("AuthInfo is %+v, want TLSInfo with the client's certificate", info)
	}
}

func TestGarbageAndPlainHTTPWhereTLSIsExpected(t *testing.T) {
	s := serve(t, port.Config{}, true)
	conn := dial(t, s.address)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || r.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: %v, %v; want a 400", r, err)
	}
	garbage := dial(t, s.address)
	io.WriteString(garbage, strings.Repeat("\xff", 64))
	if b, _ := io.ReadAll(garbage); len(b) > 64 {
		t.Errorf("garbage was answered with %d bytes", len(b))
	}
	if err := check(t, s.address, credentials.NewTLS(&tls.Config{RootCAs: s.roots})); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// HTTP/2 in plaintext without asking is gRPC, which says what it wants.
func TestHTTP2PriorKnowledgeIsGRPC(t *testing.T) {
	s := serve(t, port.Config{}, false)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	r, err := (&http.Client{Transport: transport}).Get("http://" + s.address + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("got status %d, want 415", r.StatusCode)
	}
	transport.CloseIdleConnections()
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p := port.New(listener, port.Config{Logger: slog.New(slog.DiscardHandler)})
	web := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	var running sync.WaitGroup
	running.Go(func() { p.Serve() })
	running.Go(func() { web.Serve(p.HTTP()) })
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	r, err := client.Get("http://unix/")
	if err != nil || r.StatusCode != http.StatusNotFound {
		t.Errorf("got %v, %v", r, err)
	}
	p.Close()
	web.Close()
	running.Wait()
}
