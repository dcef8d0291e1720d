package etcd

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/server/port"
)

// Version is the version of etcd that clients are told: that of the API which is
// served. Clients choose by it which features they use.
const Version = "3.7.3"

// Config is how the API is served. All fields are required but Metrics.
type Config struct {
	Keyspace *keyspace.Keyspace
	// ClusterID is what every answer carries beside the member's id.
	ClusterID uint64
	// PeerURLs are the members' addresses for each other, by their ids.
	PeerURLs map[uint64][]string

	MaxRequestBytes                                       int
	MaxTxnOps                                             int
	MaxConcurrentStreams                                  uint32
	KeepAliveMinTime, KeepAliveInterval, KeepAliveTimeout time.Duration
	// ConnectionTimeout bounds how long a new connection may take to finish its
	// HTTP/2 handshake.
	ConnectionTimeout     time.Duration
	ElectionTimeout       time.Duration
	WatchProgressInterval time.Duration
	WarnUnaryDuration     time.Duration
	Logger                *slog.Logger
	// Metrics, if not nil, counts what is served.
	Metrics *Metrics
}

// streamWorkers is how many goroutines serve one request after the other. Their
// stacks have grown already, which takes longer than anything that we do for a put.
// When all are busy, further requests have goroutines of their own. They take turns,
// and the garbage collector shrinks the stack of one that waits long: so they are not
// more than are busy at once under a heavy load.
const streamWorkers = 128

// What a client may send on a stream, and on a connection, before it is read: as much
// as grpc-go would find out to be useful at most. To find out it sends a ping after
// what it reads, which costs both sides more than a small request.
const (
	streamWindow = 4 << 20
	connWindow   = 16 << 20
)

// overheadBytes is what a message may have beyond MaxRequestBytes: what it grows
// by as a command, and what is refused with a better text than grpc-go's.
const overheadBytes = 512 << 10

// Server serves etcd's API.
type Server struct {
	config Config
	keys   *keyspace.Keyspace
	grpc   *grpc.Server
	health *health.Server

	streams streams

	// life ends with Stop; wg counts what outlives a request.
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup
}

// New makes a server whose connections come from ports.
func New(config Config) *Server {
	s := &Server{config: config, keys: config.Keyspace, health: health.NewServer()}
	s.life, s.end = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(append(
		config.Metrics.options(),
		grpc.Creds(port.Credentials()),
		grpc.MaxRecvMsgSize(config.MaxRequestBytes+overheadBytes),
		grpc.MaxSendMsgSize(1<<31-1),
		grpc.MaxConcurrentStreams(config.MaxConcurrentStreams),
		grpc.ConnectionTimeout(config.ConnectionTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: config.KeepAliveMinTime}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: config.KeepAliveInterval, Timeout: config.KeepAliveTimeout}),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(s.interceptUnary),
		grpc.StreamInterceptor(s.interceptStream),
	)...)
	etcdserverpb.RegisterKVServer(s.grpc, &kvServer{Server: s})
	etcdserverpb.RegisterWatchServer(s.grpc, &watchServer{Server: s})
	etcdserverpb.RegisterLeaseServer(s.grpc, &leaseServer{Server: s})
	etcdserverpb.RegisterClusterServer(s.grpc, &clusterServer{Server: s})
	etcdserverpb.RegisterMaintenanceServer(s.grpc, &maintenanceServer{Server: s})
	etcdserverpb.RegisterAuthServer(s.grpc, etcdserverpb.UnimplementedAuthServer{})
	healthpb.RegisterHealthServer(s.grpc, s.health)
	if config.Metrics != nil {
		config.Metrics.prepare(s.grpc.GetServiceInfo())
	}
	s.wg.Go(s.watchLeader)
	return s
}

// GRPC is the server to serve connections with.
func (s *Server) GRPC() *grpc.Server { return s.grpc }

// Stop answers what is under way for as long as ctx lasts, then cuts it off, and
// waits for everything.
func (s *Server) Stop(ctx context.Context) {
	s.health.Shutdown()
	s.end() // streams end
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		s.grpc.Stop()
		<-stopped
	}
	s.wg.Wait()
}

// header is what every answer carries. A revision of 0 stands for the store's at
// this moment.
func (s *Server) header(revision int64) *etcdserverpb.ResponseHeader {
	if revision == 0 {
		revision = s.keys.Revision()
	}
	_, term := s.keys.Leader()
	return &etcdserverpb.ResponseHeader{
		ClusterId: s.config.ClusterID, MemberId: uint64(s.keys.Self()),
		Revision: revision, RaftTerm: uint64(term),
	}
}
