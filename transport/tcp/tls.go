package tcp

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/quorate/quorate/raft"
)

// TLSConfig says how nodes prove to each other who they are. Both sides of every
// connection show a certificate and verify the other's, TLS 1.2 or newer. The
// files are read again at each handshake, so that new certificates and authorities
// take effect without a restart; files that do not fit together are reported, and
// the last ones that did stay in use.
type TLSConfig struct {
	// CAFile holds the certificates of the authorities that nodes' certificates
	// must come from, CertFile this node's certificate with its chain, KeyFile
	// its private key; all PEM. The certificate must be good for both client and
	// server authentication. Required.
	CAFile, CertFile, KeyFile string
	// AllowedNames, if any, are the names of which a peer's certificate must
	// carry one: as its common name, or as a DNS name (wildcards count), an IP
	// address or a URI among its subject alternative names.
	AllowedNames []string
	// NodeName, if not nil, binds certificates to nodes: the certificate of a
	// node must carry exactly this name for it, as a DNS name or (if it contains
	// "://") as a URI, in every connection that it accepts or makes. It takes the
	// place of comparing the address that was dialled. Without it every holder of
	// an allowed certificate may claim to be any node.
	NodeName func(raft.NodeID) string
	// ServerName, if not empty, is the name expected in the certificate of a node
	// that is dialled, in place of the host in its address.
	ServerName string
}

// Validate reports what is missing. It does not read the files; New does.
func (c *TLSConfig) Validate() error {
	var errs []error
	for _, f := range []struct{ name, value string }{
		{"TLS.CAFile", c.CAFile}, {"TLS.CertFile", c.CertFile}, {"TLS.KeyFile", c.KeyFile},
	} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("%s is required", f.name))
		}
	}
	return errors.Join(errs...)
}

// A tlsSource makes TLS connections from what the files hold at that moment.
type tlsSource struct {
	config TLSConfig
	log    *slog.Logger

	mu       sync.Mutex
	contents [3][]byte // of CAFile, CertFile, KeyFile, when current was made
	reported string
	current  *tlsMaterial
}

type tlsMaterial struct {
	certificate tls.Certificate
	authorities *x509.CertPool
}

func newTLSSource(c TLSConfig, log *slog.Logger) (*tlsSource, error) {
	s := &tlsSource{config: c, log: log}
	if err := s.reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// material gives what the files hold, or the last that was good.
func (s *tlsSource) material() *tlsMaterial {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.reload(); err != nil {
		if text := err.Error(); text != s.reported {
			s.reported = text
			s.log.Error("certificates cannot be reloaded, the old ones stay in use", slog.Any("error", err))
		}
	} else {
		s.reported = ""
	}
	return s.current
}

func (s *tlsSource) reload() error {
	var contents [3][]byte
	same := s.current != nil
	for i, name := range []string{s.config.CAFile, s.config.CertFile, s.config.KeyFile} {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		contents[i] = b
		same = same && bytes.Equal(b, s.contents[i])
	}
	if same {
		return nil
	}
	m := &tlsMaterial{authorities: x509.NewCertPool()}
	if !m.authorities.AppendCertsFromPEM(contents[0]) {
		return fmt.Errorf("%s holds no certificate in PEM form", s.config.CAFile)
	}
	var err error
	if m.certificate, err = tls.X509KeyPair(contents[1], contents[2]); err != nil {
		return fmt.Errorf("%s and %s: %w", s.config.CertFile, s.config.KeyFile, err)
	}
	if s.current != nil {
		s.log.Info("certificates reloaded")
	}
	s.current, s.contents = m, contents
	return nil
}

// base is common to both sides. Sessions are not resumed: that would let a peer in
// by an authority that has been taken away.
func (s *tlsSource) base(m *tlsMaterial) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{m.certificate},
		SessionTicketsDisabled: true,
	}
}

// client makes the dialer's side and completes the handshake.
func (s *tlsSource) client(conn net.Conn, address string, to raft.NodeID) (*secureConn, error) {
	name := s.config.ServerName
	if name == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		name = host
	}
	m := s.material()
	c := s.base(m)
	c.ServerName = name
	// Verification is done below, with the same function for both sides; the
	// standard one cannot compare a name of ours in place of the host's.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if err := s.verify(m, state.PeerCertificates, x509.ExtKeyUsageServerAuth); err != nil {
			return err
		}
		if s.config.NodeName != nil {
			return s.checkNode(state.PeerCertificates[0], to)
		}
		return state.PeerCertificates[0].VerifyHostname(name)
	}
	return newSecureConn(conn, func(under net.Conn) *tls.Conn { return tls.Client(under, c) })
}

// server makes the acceptor's side and completes the handshake.
func (s *tlsSource) server(conn net.Conn) (*secureConn, error) {
	m := s.material()
	c := s.base(m)
	c.ClientAuth = tls.RequireAnyClientCert
	c.ClientCAs = m.authorities
	c.VerifyConnection = func(state tls.ConnectionState) error {
		return s.verify(m, state.PeerCertificates, x509.ExtKeyUsageClientAuth)
	}
	return newSecureConn(conn, func(under net.Conn) *tls.Conn { return tls.Server(under, c) })
}

// verify checks a peer's chain against the authorities, and its allowed names.
func (s *tlsSource) verify(m *tlsMaterial, chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errors.New("the peer shows no certificate")
	}
	options := x509.VerifyOptions{
		Roots: m.authorities, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage},
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	leaf := chain[0]
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("the peer's certificate %s: %w", describe(leaf), err)
	}
	if names := s.config.AllowedNames; len(names) > 0 {
		if !slices.ContainsFunc(names, func(name string) bool { return allowed(leaf, name) }) {
			return fmt.Errorf("the peer's certificate %s carries none of the allowed names %q", describe(leaf), names)
		}
	}
	return nil
}

// checkNode checks that a certificate was made for a node.
func (s *tlsSource) checkNode(leaf *x509.Certificate, node raft.NodeID) error {
	if s.config.NodeName == nil {
		return nil
	}
	name := s.config.NodeName(node)
	if name == "" {
		return fmt.Errorf("no certificate name is known for node %d", node)
	}
	if strings.Contains(name, "://") {
		for _, u := range leaf.URIs {
			if u.String() == name {
				return nil
			}
		}
	} else {
		for _, n := range leaf.DNSNames {
			if strings.EqualFold(n, name) {
				return nil
			}
		}
	}
	return fmt.Errorf("the certificate %s is not that of node %d: it does not carry the name %q", describe(leaf), node, name)
}

// allowed reports whether a certificate carries a name in any of its forms.
func allowed(leaf *x509.Certificate, name string) bool {
	if leaf.Subject.CommonName == name || leaf.VerifyHostname(name) == nil {
		return true
	}
	for _, u := range leaf.URIs {
		if u.String() == name {
			return true
		}
	}
	return false
}

// describe names a certificate in an error.
func describe(leaf *x509.Certificate) string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	return fmt.Sprintf("(subject %q, names %q)", leaf.Subject.String(), names)
}
