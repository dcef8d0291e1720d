package server

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/server/secure"
)

// Config is one server. Zero fields mean the documented default, which is etcd's.
type Config struct {
	// Name is this member's, and DataDir where it keeps everything. Required.
	Name    string
	DataDir string
	// Cluster names the cluster; members of different clusters refuse each other.
	// Default "etcd-cluster".
	Cluster string
	// Members are the first members, this one among them, the same for all. Once
	// the cluster exists its log says who its members are.
	Members []Member

	// ListenPeer is where other members reach this one, host:port.
	ListenPeer string
	// PeerTLS, if not nil, encrypts and authenticates both sides of every
	// connection between members.
	PeerTLS *PeerTLS

	// ListenClient, ListenClientHTTP and ListenMetrics are where clients are
	// served: gRPC and HTTP, HTTP alone, and HTTP without anything that reaches a
	// key. With a ListenClientHTTP, ListenClient serves gRPC alone.
	ListenClient, ListenClientHTTP, ListenMetrics []Endpoint
	// AdvertiseClient are the URLs that clients are told of.
	AdvertiseClient []string
	// ClientTLS is for the endpoints that are https.
	ClientTLS *secure.Files
	// HostWhitelist, if not empty and without "*", are the Host names that HTTP
	// requests in plaintext may carry: it stops pages that rebind their DNS name.
	HostWhitelist []string
	// ReusePort sets SO_REUSEPORT on the clients' listeners.
	ReusePort bool

	// HeartbeatInterval and ElectionTimeout default to 100ms and 1s.
	HeartbeatInterval, ElectionTimeout time.Duration

	// MaxRequestBytes bounds a request (default 1.5 MiB), MaxTxnOps the operations
	// of a transaction (128), MaxConcurrentStreams what one connection does at a
	// time (unbounded).
	MaxRequestBytes      int
	MaxTxnOps            int
	MaxConcurrentStreams uint32
	// QuotaBytes, if not 0, is the size of the store beyond which only reads and
	// deletes are served. Without it the disk's free space alone decides.
	QuotaBytes int64
	// ReserveBytes is how much of the disk is kept free for the log and for
	// deleting: with less, only reads and deletes are served. Default 256 MiB.
	ReserveBytes int64
	// KeepAliveMinTime is the least time between a client's pings (default 5s);
	// KeepAliveInterval and KeepAliveTimeout are those of the server's (2h, 20s).
	KeepAliveMinTime, KeepAliveInterval, KeepAliveTimeout time.Duration
	// WatchProgressInterval is how often a watcher that asks for it is told how far
	// it is (default 10m, at least 100ms).
	WatchProgressInterval time.Duration
	// WarnUnaryDuration: a request that takes longer is logged. Default 300ms.
	WarnUnaryDuration time.Duration
	// CompactionPeriod, or else CompactionRevisions, is how much history is kept;
	// older revisions are compacted away. Without either nothing is.
	CompactionPeriod    time.Duration
	CompactionRevisions int64

	// CheckInterval is how often members compare their states while anything changes
	// (default 10s; negative: never).
	CheckInterval time.Duration

	// Profiling serves /debug/pprof; Histograms adds how long each RPC takes to
	// the metrics.
	Profiling, Histograms bool
	// TraceRecords is how many of the newest events of the protocol are kept in
	// memory, some 150 bytes each: GET /debug/trace gives them, and they are written
	// into DataDir when the member cannot go on. Zero keeps none.
	TraceRecords int
	// NoSync answers before data is on the disk: it is lost when the machine
	// fails. For comparisons only.
	NoSync bool
	// InMemory keeps the state machine in memory, restored from the log: for
	// tests.
	InMemory bool

	// Authorizer decides what clients may do. Default keyspace.AllowAll.
	Authorizer keyspace.Authorizer
	// Logger receives what operators should know. Default slog.Default.
	Logger *slog.Logger
}

// Member is a server as its cluster knows it.
type Member struct {
	Name     string
	PeerURLs []string
}

// PeerTLS is how members prove to each other who they are; see tcp.TLSConfig.
type PeerTLS struct {
	CAFile, CertFile, KeyFile string
	AllowedNames              []string
}

// Endpoint is an address to serve clients on.
type Endpoint struct {
	Network string // "tcp" or "unix"
	Address string
	TLS     bool
}

// ID is a member's id: a hash of its name, so that it is the same on every
// member, and stays when its address changes. It belongs to its data: a
// member that lost them is refused by the others.
func (m Member) ID() raft.NodeID { return raft.NodeID(hash("member", m.Name)) }

// ClusterID is the id that clients see.
func (c Config) ClusterID() uint64 { return hash("cluster", c.Cluster) }

func hash(what, name string) uint64 {
	sum := sha256.Sum256([]byte("quorate " + what + "\x00" + name))
	return max(binary.LittleEndian.Uint64(sum[:])>>1, 1)
}

// WithDefaults gives c with every zero field that has a default set to it.
func (c Config) WithDefaults() Config {
	setDefault(&c.Cluster, "etcd-cluster")
	setDefault(&c.HeartbeatInterval, 100*time.Millisecond)
	setDefault(&c.ElectionTimeout, time.Second)
	setDefault(&c.MaxRequestBytes, 3<<19)
	setDefault(&c.MaxTxnOps, 128)
	setDefault(&c.MaxConcurrentStreams, 1<<32-1)
	setDefault(&c.ReserveBytes, 256<<20)
	setDefault(&c.KeepAliveMinTime, 5*time.Second)
	setDefault(&c.KeepAliveInterval, 2*time.Hour)
	setDefault(&c.KeepAliveTimeout, 20*time.Second)
	setDefault(&c.WatchProgressInterval, 10*time.Minute)
	c.WatchProgressInterval = max(c.WatchProgressInterval, 100*time.Millisecond)
	setDefault(&c.WarnUnaryDuration, 300*time.Millisecond)
	setDefault(&c.CheckInterval, 10*time.Second)
	if c.Authorizer == nil {
		c.Authorizer = keyspace.AllowAll{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// maxRequestBytes is what fits into an entry with room for what surrounds it.
const maxRequestBytes = 11 << 20

// Validate reports everything wrong with c, not only the first thing.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Name == "", "--name is required: this member's name in --initial-cluster")
	bad(c.DataDir == "", "--data-dir is required: where this member keeps its data")
	bad(c.ListenPeer == "", "--listen-peer-urls is required")
	bad(len(c.ListenClient) == 0, "--listen-client-urls is required")
	bad(c.ElectionTimeout < 5*c.HeartbeatInterval, "--election-timeout (%v) must be at least five times --heartbeat-interval (%v)", c.ElectionTimeout, c.HeartbeatInterval)
	bad(c.ElectionTimeout > 50*time.Second, "--election-timeout (%v) must be at most 50s", c.ElectionTimeout)
	bad(c.MaxRequestBytes < 0 || c.MaxRequestBytes > maxRequestBytes, "--max-request-bytes (%d) must be at most %d", c.MaxRequestBytes, maxRequestBytes)
	bad(c.MaxTxnOps < 0, "--max-txn-ops (%d) must not be negative", c.MaxTxnOps)
	bad(c.ReserveBytes < 0, "--disk-reserve-bytes (%d) must not be negative", c.ReserveBytes)
	bad(c.QuotaBytes < 0, "--quota-backend-bytes (%d) must not be negative; leave it out for no quota", c.QuotaBytes)
	for _, e := range slices.Concat(c.ListenClient, c.ListenClientHTTP, c.ListenMetrics) {
		bad(e.TLS && c.ClientTLS == nil, "%s is to be https: give --cert-file and --key-file, or --auto-tls", e.Address)
	}
	errs = append(errs, c.validateMembers()...)
	return errors.Join(errs...)
}

func (c Config) validateMembers() []error {
	var errs []error
	names := map[raft.NodeID]string{}
	self := false
	for _, m := range c.Members {
		self = self || m.Name == c.Name
		id := m.ID()
		if other, taken := names[id]; taken && other != m.Name {
			errs = append(errs, fmt.Errorf("the member names %q and %q have the same id by accident: change one of them", m.Name, other))
		}
		names[id] = m.Name
		for _, peer := range m.PeerURLs {
			if _, err := PeerAddress(peer); err != nil {
				errs = append(errs, fmt.Errorf("--initial-cluster, member %s: %w", m.Name, err))
			}
		}
	}
	if !self && c.Name != "" {
		errs = append(errs, fmt.Errorf("--initial-cluster does not name this member: add %s=URL to it, or give the --name under which it is there", c.Name))
	}
	return errs
}

// PeerAddress is the host:port of a peer URL.
func PeerAddress(peer string) (string, error) {
	u, err := url.Parse(peer)
	if err != nil {
		return "", err
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%q is not of the form http://HOST:PORT or https://HOST:PORT", peer)
	}
	if _, _, err := net.SplitHostPort(u.Host); err != nil {
		return "", fmt.Errorf("%q: %w", peer, err)
	}
	if strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("%q must not have a path", peer)
	}
	return u.Host, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
