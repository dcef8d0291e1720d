package tcp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/transport/internal/wire"
)

// authority issues certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// leaf is what a test asks of a certificate.
type leaf struct {
	common  string
	dns     []string
	uri     string
	expired bool
	usages  []x509.ExtKeyUsage
}

// files are those of one node, in a directory of their own.
type files struct{ TLSConfig }

func newFiles(t testing.TB) files {
	dir := t.TempDir()
	return files{TLSConfig{
		CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"),
	}}
}

// write fills the files: a certificate of a, and those authorities that are trusted.
func (f files) write(a *authority, l leaf, trusted ...*authority) files {
	a.t.Helper()
	key := newKey(a.t)
	if l.usages == nil {
		l.usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: l.common},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: l.dns, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: l.usages,
	}
	if l.expired {
		template.NotAfter = time.Now().Add(-time.Minute)
	}
	if l.uri != "" {
		u, err := url.Parse(l.uri)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	var pool []byte
	for _, other := range trusted {
		pool = append(pool, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.cert.Raw})...)
	}
	for name, content := range map[string][]byte{
		f.CAFile:   pool,
		f.CertFile: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		f.KeyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return f
}

// secure is a configuration with these files.
func (f files) secure(change ...func(*TLSConfig)) Config {
	c := f.TLSConfig
	for _, one := range change {
		one(&c)
	}
	return Config{TLS: &c, Listen: "127.0.0.1:0"}
}

func dnsName(id raft.NodeID) string { return fmt.Sprintf("node-%d.quorate.test", id) }

func TestContractOverTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	all := make(map[raft.NodeID]files)
	contract(t, func(id raft.NodeID, c *Config) {
		if _, ok := all[id]; !ok {
			// The files outlive the case that needs them first.
			all[id] = newFiles(t).write(ca, leaf{dns: []string{dnsName(id)}}, ca)
		}
		tlsConfig := all[id].TLSConfig
		tlsConfig.NodeName = nil // the contract has nodes that dial others under wrong ids
		c.TLS = &tlsConfig
	})
}

// TestTLSRefuses has one row for each reason why two nodes do not talk. The dialler
// is node 1, the acceptor node 2.
func TestTLSRefuses(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	good := func(id raft.NodeID) files {
		return newFiles(t).write(ca, leaf{common: fmt.Sprint("node ", id), dns: []string{dnsName(id)}}, ca)
	}
	bind := func(c *TLSConfig) { c.NodeName = dnsName }
	allow := func(names ...string) func(*TLSConfig) { return func(c *TLSConfig) { c.AllowedNames = names } }
	uri := func(c *TLSConfig) {
		c.NodeName = func(id raft.NodeID) string { return fmt.Sprintf("quorate://test/%d", id) }
	}
	withURI := func(id, named int) files {
		return newFiles(t).write(ca, leaf{uri: fmt.Sprintf("quorate://test/%d", named)}, ca)
	}
	for _, c := range []struct {
		name     string
		from, to Config
		text     string // empty: they do talk
	}{
		{"both are good", good(1).secure(), good(2).secure(), ""},
		{"names bound", good(1).secure(bind), good(2).secure(bind), ""},
		{"URIs bound", withURI(1, 1).secure(uri), withURI(2, 2).secure(uri), ""},
		{"names allowed", good(1).secure(allow("x", "node 2")), good(2).secure(allow("*.quorate.test", dnsName(1))), ""},
		{"server name", good(1).secure(func(c *TLSConfig) { c.ServerName = dnsName(2) }), good(2).secure(), ""},
		{"dialler of another authority", newFiles(t).write(other, leaf{}, ca).secure(), good(2).secure(), "tls: "},
		{"acceptor of another authority", good(1).secure(), newFiles(t).write(other, leaf{}, ca).secure(), "unknown authority"},
		{"expired", good(1).secure(), newFiles(t).write(ca, leaf{expired: true}, ca).secure(), "expired"},
		{"not for servers", good(1).secure(), newFiles(t).write(ca, leaf{usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca).secure(), "incompatible key usage"},
		{"not for clients", newFiles(t).write(ca, leaf{usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca).secure(), good(2).secure(), "tls: "},
		{"server name differs", good(1).secure(func(c *TLSConfig) { c.ServerName = "elsewhere.test" }), good(2).secure(), "elsewhere.test"},
		{"acceptor's name not allowed", good(1).secure(allow("node 3")), good(2).secure(), "none of the allowed names"},
		{"dialler's name not allowed", good(1).secure(), good(2).secure(allow("node 3")), "tls: "},
		{"acceptor is another node", good(1).secure(bind), good(3).secure(bind), "not that of node 2"},
		{"dialler is another node", good(3).secure(bind), good(2).secure(bind), "not that of node 1"},
		{"acceptor's URI is another's", withURI(1, 1).secure(uri), withURI(2, 3).secure(uri), "not that of node 2"},
		{"wildcards bind nobody", newFiles(t).write(ca, leaf{dns: []string{"*.quorate.test"}}, ca).secure(), good(2).secure(bind), "not that of node 1"},
		{"dialler without TLS", Config{Listen: "127.0.0.1:0"}, good(2).secure(), "this node speaks TLS"},
		{"acceptor without TLS", good(1).secure(), Config{Listen: "127.0.0.1:0"}, "TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, r := startNode(t, 1, c.from)
			to, _ := startNode(t, 2, c.to)
			from.SetPeer(2, to.Address())
			if c.text == "" {
				await(t, "connection", r.up)
				return
			}
			if err := await(t, "refusal", r.down); !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %q", err, c.text)
			}
		})
	}
}

// TestTLSWithoutCertificate: nobody gets in without one, nor with an old protocol.
func TestTLSWithoutCertificate(t *testing.T) {
	ca := newAuthority(t, "ca")
	to, _ := startNode(t, 2, newFiles(t).write(ca, leaf{}, ca).secure())
	for name, c := range map[string]*tls.Config{
		"no certificate": {InsecureSkipVerify: true},
		"TLS 1.1":        {InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	} {
		conn := tls.Client(dialRaw(t, to), c)
		h := wire.HelloFrame{From: transport.Identity{Node: 1}, To: 2, FrameMax: 1 << 20, Kind: wire.MessageConnection}
		_, err := conn.Write(h.Frame())
		if err == nil {
			var typ wire.Type
			if typ, _, err = wire.ReadFrame(conn, wire.HandshakeMax, nil); err == nil {
				t.Errorf("%s: answered with %v", name, typ)
			}
		}
	}
	// Nor does a handshake go on for ever.
	conn := dialRaw(t, to)
	record := append([]byte{0x16, 3, 1, 0x40, 0}, make([]byte, 0x4000)...)
	for range 2 * tlsHandshakeMax / len(record) {
		if _, err := conn.Write(record); err != nil {
			break
		}
	}
	conn.ends()
}

// TestGatherConn: what is read before a handshake is over is bounded.
func TestGatherConn(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	go func() { _, _ = there.Write(make([]byte, 10)) }()
	c := &gatherConn{Conn: here, readable: 7}
	buf := make([]byte, 10)
	if n, err := c.Read(buf); n != 7 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := c.Read(buf); !errors.Is(err, errHandshakeTooLong) {
		t.Errorf("read beyond the bound: %v", err)
	}
}

// TestTLSReload: new files take effect with the next connection; broken ones do not.
func TestTLSReload(t *testing.T) {
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	ours, theirs := newFiles(t), newFiles(t)
	ours.write(first, leaf{}, first)
	theirs.write(first, leaf{}, first)
	to, _ := startNode(t, 2, theirs.secure())
	from, r := startNode(t, 1, ours.secure())
	again := func() {
		from.SetPeer(2)
		from.SetPeer(2, to.Address())
	}
	// An attempt made with the files before may fail late: only a failure that
	// stays is one.
	works := func(what string) {
		t.Helper()
		again()
		for {
			select {
			case <-r.up:
				return
			case <-r.down:
			case <-time.After(patience):
				t.Fatalf("%s: no connection", what)
			}
		}
	}
	fails := func(what, text string) {
		t.Helper()
		again()
		select {
		case <-r.up:
			t.Fatalf("%s: connected", what)
		case err := <-r.down:
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %q", what, err, text)
			}
		case <-time.After(patience):
			t.Fatalf("%s: nothing happened", what)
		}
	}
	works("first files")
	// A certificate of an authority that the other side does not know yet.
	theirs.write(second, leaf{}, first, second)
	fails("new certificate", "unknown authority")
	ours.write(first, leaf{}, first, second)
	works("both authorities")
	// Files in the middle of being replaced leave things as they were.
	for _, name := range []string{theirs.KeyFile, theirs.CAFile} {
		if err := os.WriteFile(name, []byte("half of a fi"), 0o600); err != nil {
			t.Fatal(err)
		}
		works("broken file")
	}
	if err := os.Remove(theirs.CertFile); err != nil {
		t.Fatal(err)
	}
	works("missing file")
	// An authority that is taken away lets nobody in any more.
	theirs.write(second, leaf{}, second)
	fails("authority taken away", "tls: ")
	ours.write(second, leaf{}, second)
	works("second authority")
	// Without files there is no start.
	if err := os.Remove(theirs.CertFile); err != nil {
		t.Fatal(err)
	}
	if _, err := New(theirs.secure()); err == nil {
		t.Error("started without a certificate")
	}
}
