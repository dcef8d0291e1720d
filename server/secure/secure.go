// Package secure makes TLS configurations for clients' connections from files
// that are read again when they change. It decides which certificates are
// accepted, and nothing about what their holders may do.
package secure

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files say where certificates are and what is demanded of clients.
type Files struct {
	// CertFile and KeyFile are the server's certificate with its chain and its
	// private key, PEM. Required.
	CertFile, KeyFile string
	// TrustedCAFile demands a certificate of every client, of an authority in it.
	// ClientCertAuth says so aloud, and needs it.
	TrustedCAFile  string
	ClientCertAuth bool
	// CRLFile lists certificates that are refused, PEM or DER.
	CRLFile string
	// AllowedHostnames, if any, are the names of which a client's certificate must
	// carry one as a subject alternative name.
	AllowedHostnames []string
	// CipherSuites, MinVersion and MaxVersion bound what is negotiated. Defaults
	// are Go's, and TLS 1.2 or newer.
	CipherSuites           []uint16
	MinVersion, MaxVersion uint16
}

// Validate reports what cannot work, without reading the files.
func (f *Files) Validate() error {
	var errs []error
	if f.CertFile == "" || f.KeyFile == "" {
		errs = append(errs, errors.New("--cert-file and --key-file are required together"))
	}
	if f.ClientCertAuth && f.TrustedCAFile == "" {
		errs = append(errs, errors.New("--client-cert-auth needs --trusted-ca-file: the authority of the clients' certificates"))
	}
	if len(f.AllowedHostnames) > 0 && f.TrustedCAFile == "" {
		errs = append(errs, errors.New("--client-cert-allowed-hostname needs --trusted-ca-file: without it clients show no certificate"))
	}
	if f.CRLFile != "" && f.TrustedCAFile == "" {
		errs = append(errs, errors.New("--client-crl-file needs --trusted-ca-file"))
	}
	if f.MaxVersion != 0 && f.MaxVersion < max(f.MinVersion, tls.VersionTLS12) {
		errs = append(errs, errors.New("--tls-max-version is below --tls-min-version"))
	}
	if f.MinVersion >= tls.VersionTLS13 && len(f.CipherSuites) > 0 {
		errs = append(errs, errors.New("--cipher-suites cannot be chosen with TLS 1.3: leave it out, or lower --tls-min-version"))
	}
	return errors.Join(errs...)
}

// Source gives TLS configurations. It is safe for concurrent use.
type Source struct {
	files  Files
	logger *slog.Logger

	mu       sync.Mutex
	contents [4][]byte // of the files, when current was made
	checked  time.Time
	reported string
	current  *tls.Config
}

// NewSource reads the files.
func NewSource(files Files, logger *slog.Logger) (*Source, error) {
	if err := files.Validate(); err != nil {
		return nil, err
	}
	s := &Source{files: files, logger: logger}
	if err := s.reload(); err != nil {
		return nil, err
	}
	s.checked = time.Now()
	return s, nil
}

// recheck is how old the files' contents may be: connections come in crowds.
const recheck = time.Second

// Config gives the configuration for a handshake that begins now. Files that do
// not fit together are reported, and the last ones that did stay in use.
func (s *Source) Config(*tls.ClientHelloInfo) (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.checked) < recheck {
		return s.current, nil
	}
	s.checked = now
	if err := s.reload(); err == nil {
		s.reported = ""
	} else if text := err.Error(); text != s.reported {
		s.reported = text
		s.logger.Error("certificates cannot be reloaded; the old ones stay in use", slog.Any("error", err))
	}
	return s.current, nil
}

func (s *Source) reload() error {
	var contents [4][]byte
	same := s.current != nil
	for i, name := range []string{s.files.CertFile, s.files.KeyFile, s.files.TrustedCAFile, s.files.CRLFile} {
		if name == "" {
			continue
		}
		var err error
		if contents[i], err = os.ReadFile(name); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		same = same && bytes.Equal(contents[i], s.contents[i])
	}
	if same {
		return nil
	}
	config, err := s.files.config(contents)
	if err != nil {
		return err
	}
	if s.current != nil {
		s.logger.Info("certificates reloaded")
	}
	s.current, s.contents = config, contents
	return nil
}

func (f *Files) config(contents [4][]byte) (*tls.Config, error) {
	certificate, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("TLS: %s and %s: %w", f.CertFile, f.KeyFile, err)
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   max(f.MinVersion, tls.VersionTLS12),
		MaxVersion:   f.MaxVersion,
		CipherSuites: f.CipherSuites,
	}
	if f.TrustedCAFile == "" {
		return c, nil
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(contents[2]) {
		return nil, fmt.Errorf("TLS: %s holds no certificate in PEM form", f.TrustedCAFile)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	// A resumed session would be let in by an authority that was taken away, or
	// past the revocation list.
	c.SessionTicketsDisabled = true
	revoked, err := f.revoked(contents[3])
	if err != nil {
		return nil, err
	}
	c.VerifyConnection = func(state tls.ConnectionState) error { return f.verify(state, revoked) }
	return c, nil
}

// serial names a certificate within a revocation list.
type serial struct{ issuer, number string }

func (f *Files) revoked(contents []byte) (map[serial]bool, error) {
	if f.CRLFile == "" {
		return nil, nil
	}
	revoked := map[serial]bool{}
	lists := 0
	add := func(der []byte) error {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return fmt.Errorf("TLS: %s: %w", f.CRLFile, err)
		}
		lists++
		for _, entry := range list.RevokedCertificateEntries {
			revoked[serial{string(list.RawIssuer), entry.SerialNumber.String()}] = true
		}
		return nil
	}
	rest := contents
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if err := add(block.Bytes); err != nil {
			return nil, err
		}
	}
	if lists == 0 {
		return revoked, add(contents)
	}
	return revoked, nil
}

func (f *Files) verify(state tls.ConnectionState, revoked map[serial]bool) error {
	leaf := state.PeerCertificates[0]
	for _, c := range state.PeerCertificates {
		if revoked[serial{string(c.RawIssuer), c.SerialNumber.String()}] {
			return fmt.Errorf("the certificate %q is revoked", c.Subject)
		}
	}
	if names := f.AllowedHostnames; len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool { return leaf.VerifyHostname(name) == nil }) {
		return fmt.Errorf("the client's certificate %q carries none of the allowed names %q", leaf.Subject, names)
	}
	return nil
}

// Version is the TLS version of a name such as "TLS1.2"; "" is 0.
func Version(name string) (uint16, error) {
	switch strings.ToUpper(name) {
	case "":
		return 0, nil
	case "TLS1.2":
		return tls.VersionTLS12, nil
	case "TLS1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("%q is neither TLS1.2 nor TLS1.3", name)
}

// Cipher is the id of a cipher suite by its name.
func Cipher(name string) (uint16, error) {
	for _, suite := range tls.CipherSuites() {
		if suite.Name == name {
			return suite.ID, nil
		}
	}
	for _, suite := range tls.InsecureCipherSuites() {
		if suite.Name == name {
			return 0, fmt.Errorf("the cipher suite %s is insecure", name)
		}
	}
	return 0, fmt.Errorf("there is no cipher suite %q; Go knows them as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", name)
}
