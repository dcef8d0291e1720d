package options

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/server"
	"github.com/quorate/quorate/server/secure"
)

// Config makes a server's configuration of the values. The error names everything
// that is wrong, each with what to do.
func (v *Values) Config() (server.Config, error) {
	b := &builder{Values: v}
	c := server.Config{
		Name: v.Get("name"), DataDir: v.Get("data-dir"), Cluster: v.Get("initial-cluster-token"),
		HeartbeatInterval: time.Duration(b.integer("heartbeat-interval")) * time.Millisecond,
		ElectionTimeout:   time.Duration(b.integer("election-timeout")) * time.Millisecond,
		MaxRequestBytes:   int(b.integer("max-request-bytes")),
		MaxTxnOps:         int(b.integer("max-txn-ops")),
		QuotaBytes:        b.integer("quota-backend-bytes"),
		ReserveBytes:      b.integer("disk-reserve-bytes"),
		KeepAliveMinTime:  b.duration("grpc-keepalive-min-time"),
		KeepAliveInterval: b.duration("grpc-keepalive-interval"), KeepAliveTimeout: b.duration("grpc-keepalive-timeout"),
		WatchProgressInterval: b.duration("watch-progress-notify-interval"),
		WarnUnaryDuration:     b.duration("warning-unary-request-duration"),
		AdvertiseClient:       b.advertised(),
		HostWhitelist:         split(v.Get("host-whitelist")),
		ReusePort:             b.boolean("socket-reuse-port"),
		Profiling:             b.boolean("enable-pprof"),
		TraceRecords:          int(b.integer("trace-records")),
		NoSync:                b.boolean("unsafe-no-fsync"),
		InMemory:              b.boolean("unsafe-in-memory"),
	}
	if c.DataDir == "" {
		c.DataDir = c.Name + ".quorate"
	}
	streams := b.integer("max-concurrent-streams")
	b.bad(streams < 0 || streams > 1<<32-1, "--max-concurrent-streams (%d) must be between 0 and %d", streams, 1<<32-1)
	c.MaxConcurrentStreams = uint32(streams)
	if c.KeepAliveInterval == 0 {
		c.KeepAliveInterval = 1<<63 - 1
	}
	b.bad(c.TraceRecords < 0 || c.TraceRecords > 1<<24, "--trace-records (%d) must be between 0 and %d", c.TraceRecords, 1<<24)
	metrics := v.Get("metrics")
	b.bad(metrics != "basic" && metrics != "extensive", "--metrics is basic or extensive, not %q", metrics)
	c.Histograms = metrics == "extensive"

	c.ListenPeer = b.listenPeer()
	c.ListenClient = b.endpoints("listen-client-urls")
	c.ListenClientHTTP = b.endpoints("listen-client-http-urls")
	c.ListenMetrics = b.endpoints("listen-metrics-urls")
	b.members(&c)
	b.compaction(&c)
	b.clientTLS(&c)
	b.peerTLS(&c)
	if err := errors.Join(b.errs...); err != nil {
		return c, err
	}
	return c, c.WithDefaults().Validate()
}

type builder struct {
	*Values
	errs []error
}

func (b *builder) bad(wrong bool, format string, args ...any) {
	if wrong {
		b.errs = append(b.errs, fmt.Errorf(format, args...))
	}
}

// The values were checked when they were read.

func (b *builder) integer(name string) int64 {
	n, _ := strconv.ParseInt(b.Get(name), 10, 64)
	return n
}

func (b *builder) boolean(name string) bool {
	is, _ := strconv.ParseBool(b.Get(name))
	return is
}

func (b *builder) duration(name string) time.Duration {
	d, _ := time.ParseDuration(b.Get(name))
	return d
}

func (b *builder) listenPeer() string {
	urls := split(b.Get("listen-peer-urls"))
	if len(urls) != 1 {
		b.bad(true, "--listen-peer-urls takes one URL, not %d: listen on 0.0.0.0 to be reached by several addresses", len(urls))
		return ""
	}
	address, err := server.PeerAddress(urls[0])
	b.bad(err != nil, "--listen-peer-urls: %v", err)
	return address
}

// endpoints are where clients are served.
func (b *builder) endpoints(name string) []server.Endpoint {
	var endpoints []server.Endpoint
	for _, text := range split(b.Get(name)) {
		e, err := endpoint(text)
		b.bad(err != nil, "--%s: %v", name, err)
		if err == nil {
			endpoints = append(endpoints, e)
		}
	}
	return endpoints
}

func endpoint(text string) (server.Endpoint, error) {
	u, err := url.Parse(text)
	if err != nil {
		return server.Endpoint{}, err
	}
	switch u.Scheme {
	case "http", "https":
		host, port, err := net.SplitHostPort(u.Host)
		if err != nil {
			return server.Endpoint{}, fmt.Errorf("%q: %w", text, err)
		}
		if host != "localhost" && host != "" && net.ParseIP(strings.SplitN(host, "%", 2)[0]) == nil {
			return server.Endpoint{}, fmt.Errorf("%q: listen on an IP address or localhost, not on a name", text)
		}
		if strings.Trim(u.Path, "/") != "" {
			return server.Endpoint{}, fmt.Errorf("%q must not have a path", text)
		}
		return server.Endpoint{Network: "tcp", Address: net.JoinHostPort(host, port), TLS: u.Scheme == "https"}, nil
	case "unix", "unixs":
		if path := u.Host + u.Path; path != "" {
			return server.Endpoint{Network: "unix", Address: path, TLS: u.Scheme == "unixs"}, nil
		}
	}
	return server.Endpoint{}, fmt.Errorf("%q is not of the form http://HOST:PORT, https://HOST:PORT or unix://PATH", text)
}

// advertised are the URLs that clients are told of: etcd demands them as soon as
// it is told where to listen.
func (b *builder) advertised() []string {
	if b.Set("listen-client-urls") && !b.Set("advertise-client-urls") {
		b.bad(true, "--advertise-client-urls is required when --listen-client-urls is given: the URLs by which clients reach this member")
		return nil
	}
	urls := split(b.Get("advertise-client-urls"))
	for _, text := range urls {
		u, err := url.Parse(text)
		b.bad(err != nil || u.Host == "" && u.Path == "", "--advertise-client-urls: %q is not a URL", text)
	}
	return urls
}

func (b *builder) members(c *server.Config) {
	for _, name := range []string{"discovery-srv", "discovery-endpoints"} {
		if b.Set(name) {
			return // refused already
		}
	}
	cluster := b.Get("initial-cluster")
	advertised := split(b.Get("initial-advertise-peer-urls"))
	if !b.Set("initial-cluster") {
		var parts []string
		for _, u := range advertised {
			parts = append(parts, c.Name+"="+u)
		}
		cluster = strings.Join(parts, ",")
	}
	for part := range strings.SplitSeq(cluster, ",") {
		name, peer, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || name == "" || peer == "" {
			b.bad(true, "--initial-cluster: %q is not of the form NAME=URL", part)
			continue
		}
		if i := slices.IndexFunc(c.Members, func(m server.Member) bool { return m.Name == name }); i >= 0 {
			c.Members[i].PeerURLs = append(c.Members[i].PeerURLs, peer)
			continue
		}
		c.Members = append(c.Members, server.Member{Name: name, PeerURLs: []string{peer}})
	}
	for _, m := range c.Members {
		if m.Name == c.Name && b.Set("initial-advertise-peer-urls") && !sameSet(m.PeerURLs, advertised) {
			b.bad(true, "--initial-cluster has %s=%s but --initial-advertise-peer-urls is %s: make them the same", m.Name, strings.Join(m.PeerURLs, ","), strings.Join(advertised, ","))
		}
	}
	switch state := b.Get("initial-cluster-state"); state {
	case "new":
	case "existing":
		if _, err := os.Stat(filepath.Join(c.DataDir, "wal")); err != nil {
			b.bad(true, "--initial-cluster-state=existing is refused: %s, and %s holds no data of a member", noMembership, c.DataDir)
		}
	default:
		b.bad(true, "--initial-cluster-state is new or existing, not %q", state)
	}
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func (b *builder) compaction(c *server.Config) {
	text := b.Get("auto-compaction-retention")
	switch mode := b.Get("auto-compaction-mode"); mode {
	case "revision":
		n, err := strconv.ParseInt(text, 10, 64)
		b.bad(err != nil || n < 0, "--auto-compaction-retention: %q is not a number of revisions", text)
		c.CompactionRevisions = n
	case "periodic":
		if hours, err := strconv.Atoi(text); err == nil {
			text = fmt.Sprintf("%dh", hours)
		}
		d, err := time.ParseDuration(text)
		b.bad(err != nil || d < 0, "--auto-compaction-retention: %q is neither a duration nor a number of hours", text)
		c.CompactionPeriod = d
	default:
		b.bad(true, "--auto-compaction-mode is periodic or revision, not %q", mode)
	}
}

func (b *builder) clientTLS(c *server.Config) {
	files := secure.Files{
		CertFile: b.Get("cert-file"), KeyFile: b.Get("key-file"),
		TrustedCAFile: b.Get("trusted-ca-file"), ClientCertAuth: b.boolean("client-cert-auth"),
		CRLFile: b.Get("client-crl-file"), AllowedHostnames: split(b.Get("client-cert-allowed-hostname")),
	}
	secured := slices.ContainsFunc(slices.Concat(c.ListenClient, c.ListenClientHTTP, c.ListenMetrics), func(e server.Endpoint) bool { return e.TLS })
	if files.CertFile == "" && files.KeyFile == "" && b.boolean("auto-tls") && secured {
		var hosts []string
		for _, e := range c.ListenClient {
			if host, _, err := net.SplitHostPort(e.Address); err == nil {
				hosts = append(hosts, host)
			}
		}
		made, err := secure.Generate(filepath.Join(c.DataDir, "fixtures", "client"), hosts, int(b.integer("self-signed-cert-validity")))
		b.bad(err != nil, "--auto-tls: %v", err)
		files.CertFile, files.KeyFile = made.CertFile, made.KeyFile
	}
	if files.CertFile == "" && files.KeyFile == "" {
		b.bad(files.ClientCertAuth, "--client-cert-auth needs --cert-file, --key-file and --trusted-ca-file")
		return
	}
	var err error
	files.MinVersion, err = secure.Version(b.Get("tls-min-version"))
	b.bad(err != nil, "--tls-min-version: %v", err)
	files.MaxVersion, err = secure.Version(b.Get("tls-max-version"))
	b.bad(err != nil, "--tls-max-version: %v", err)
	for _, name := range split(b.Get("cipher-suites")) {
		id, err := secure.Cipher(name)
		b.bad(err != nil, "--cipher-suites: %v", err)
		files.CipherSuites = append(files.CipherSuites, id)
	}
	if err := files.Validate(); err != nil {
		b.errs = append(b.errs, err)
	}
	if !secured {
		b.warn("--cert-file and --key-file have no effect: no URL to listen on for clients is https")
		return
	}
	c.ClientTLS = &files
}

func (b *builder) peerTLS(c *server.Config) {
	t := server.PeerTLS{
		CAFile: b.Get("peer-trusted-ca-file"), CertFile: b.Get("peer-cert-file"), KeyFile: b.Get("peer-key-file"),
		AllowedNames: slices.Concat(split(b.Get("peer-cert-allowed-cn")), split(b.Get("peer-cert-allowed-hostname"))),
	}
	given := t.CAFile != "" || t.CertFile != "" || t.KeyFile != ""
	secured := strings.HasPrefix(b.Get("listen-peer-urls"), "https:")
	switch {
	case secured && (t.CAFile == "" || t.CertFile == "" || t.KeyFile == ""):
		b.bad(true, "--listen-peer-urls is https: give --peer-cert-file, --peer-key-file and --peer-trusted-ca-file, since members always verify each other")
	case secured:
		c.PeerTLS = &t
	case given:
		b.warn("--peer-cert-file, --peer-key-file and --peer-trusted-ca-file have no effect: --listen-peer-urls is not https")
	}
	b.bad(!secured && b.boolean("peer-client-cert-auth") && !given, "--peer-client-cert-auth needs --peer-cert-file, --peer-key-file and --peer-trusted-ca-file")
	for _, m := range c.Members {
		for _, peer := range m.PeerURLs {
			b.bad(strings.HasPrefix(peer, "https:") != secured, "--initial-cluster has %s=%s, but this member listens on %s: either all members' URLs are https or none", m.Name, peer, b.Get("listen-peer-urls"))
		}
	}
}

// Logger makes the logger that the values ask for. The function it gives closes
// the files that it opened.
func (v *Values) Logger(stdout, stderr *os.File) (*slog.Logger, func() error, error) {
	var level slog.Level
	switch name := v.Get("log-level"); name {
	case "debug":
		level = slog.LevelDebug
	case "info":
	case "warn":
		level = slog.LevelWarn
	case "error", "dpanic", "panic", "fatal":
		level = slog.LevelError
	default:
		return nil, nil, fmt.Errorf("--log-level is debug, info, warn or error, not %q", name)
	}
	out, closeOut, err := logOutput(split(v.Get("log-outputs")), stdout, stderr)
	if err != nil {
		return nil, nil, err
	}
	handlerOptions := &slog.HandlerOptions{Level: level}
	switch format := v.Get("log-format"); format {
	case "json":
		// The names of etcd's log: what reads that reads this.
		handlerOptions.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) > 0 {
				return a
			}
			switch a.Key {
			case slog.TimeKey:
				a.Key = "ts"
			case slog.LevelKey:
				a.Value = slog.StringValue(strings.ToLower(a.Value.String()))
			}
			return a
		}
		return slog.New(slog.NewJSONHandler(out, handlerOptions)), closeOut, nil
	case "console":
		return slog.New(slog.NewTextHandler(out, handlerOptions)), closeOut, nil
	default:
		return nil, nil, errors.Join(fmt.Errorf("--log-format is json or console, not %q", format), closeOut())
	}
}
