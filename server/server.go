package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/raft/tracelog"
	"github.com/quorate/quorate/server/etcd"
	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/watch"
	"github.com/quorate/quorate/transport/tcp"
)

// group is the only group of a server.
const group raft.GroupID = 1

// Server is a running member. All methods are safe for concurrent use.
type Server struct {
	config   Config
	self     Member
	registry *prometheus.Registry

	transport *tcp.Transport
	node      *node.Node
	trace     *tracelog.Ring // or nil
	group     *node.Group
	store     *store.Store
	hub       *watch.Hub
	keeper    *keyspace.Keeper
	auditor   *keyspace.Auditor
	keys      *keyspace.Keyspace
	etcd      *etcd.Server
	ports     []*servedPort
	// healthy and ailing count what /health answered.
	healthy, ailing prometheus.Counter
	// divergence is why this member serves nothing; nil while it does.
	divergence atomic.Pointer[error]

	// life ends with Stop; wg counts the server's own goroutines.
	life  context.Context
	end   context.CancelFunc
	wg    sync.WaitGroup
	ready chan struct{}
	// refused takes what other members say against this one.
	refused chan error
	failed  chan error // capacity 1
	once    sync.Once
}

// Start opens everything and begins to serve. It returns when clients can
// connect, which is before there is a leader: see Ready.
func Start(config Config) (*Server, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		config: config, registry: prometheus.NewRegistry(), keeper: keyspace.NewKeeper(keyspace.Process{}), auditor: keyspace.NewAuditor(keyspace.Process{}),
		ready: make(chan struct{}), failed: make(chan error, 1),
	}
	s.life, s.end = context.WithCancel(context.Background())
	for _, m := range config.Members {
		if m.Name == config.Name {
			s.self = m
		}
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.release(context.Background()))
	}
	return s, nil
}

func (s *Server) start() error {
	if err := s.checkDir(); err != nil {
		return err
	}
	// Ports first: a taken one is the commonest mistake, and the cheapest to find.
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.openNode(); err != nil {
		return err
	}
	peers := map[uint64][]string{}
	for _, m := range s.config.Members {
		peers[uint64(m.ID())] = m.PeerURLs
	}
	s.keys = keyspace.New(keyspace.Config{
		Group: s.group, Store: s.store, Hub: s.hub, Keeper: s.keeper, Auditor: s.auditor, Self: s.self.ID(), Authorizer: s.config.Authorizer,
		MaxRequestBytes: s.config.MaxRequestBytes, ElectionTimeout: s.config.ElectionTimeout, Logger: s.config.Logger,
	})
	s.etcd = etcd.New(etcd.Config{
		Keyspace: s.keys, ClusterID: s.config.ClusterID(), PeerURLs: peers,
		MaxRequestBytes: s.config.MaxRequestBytes, MaxTxnOps: s.config.MaxTxnOps,
		MaxConcurrentStreams: s.config.MaxConcurrentStreams,
		KeepAliveMinTime:     s.config.KeepAliveMinTime, KeepAliveInterval: s.config.KeepAliveInterval, KeepAliveTimeout: s.config.KeepAliveTimeout,
		ConnectionTimeout: connectionTimeout, ElectionTimeout: s.config.ElectionTimeout,
		WatchProgressInterval: s.config.WatchProgressInterval, WarnUnaryDuration: s.config.WarnUnaryDuration,
		Logger: s.config.Logger, Metrics: etcd.NewMetrics(s.registry, s.config.Histograms),
	})
	s.registerMetrics()
	between := newPeers(s)
	s.registry.MustRegister(between)
	s.wg.Go(between.measure)
	for _, p := range s.ports {
		s.servePort(p)
	}
	if cause := s.quarantined(); cause != nil {
		s.stopForGood(cause)
	}
	s.wg.Go(s.becomeReady)
	s.wg.Go(s.failIfRefused)
	s.wg.Go(s.reclaim)
	s.wg.Go(s.guardSpace)
	s.wg.Go(s.compact)
	s.wg.Go(func() { s.keys.KeepLeases(s.life) })
	if s.config.CheckInterval > 0 {
		s.wg.Go(func() { s.keys.Audit(s.life, s.config.CheckInterval, s.quarantine) })
	}
	return nil
}

// checkDir refuses a directory that cannot be what was meant.
func (s *Server) checkDir() error {
	dir := s.config.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the data directory cannot be made: choose another with --data-dir: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return fmt.Errorf("the data directory %s cannot be written to: give it to this user, or choose another with --data-dir: %w", dir, err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return fmt.Errorf("the data directory %s: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "member", "snap")); err == nil {
		return fmt.Errorf("%s holds the data of an etcd member, which is not read: give an empty directory with --data-dir, and copy the keys with etcdctl make-mirror", dir)
	}
	return s.checkOwner()
}

// openNode opens the data directory and starts this member's replica.
func (s *Server) openNode() error {
	var transportLog *slog.Logger
	transportLog, s.refused = watchRefusals(s.config.Logger)
	transport, err := tcp.New(tcp.Config{
		Listen: s.config.ListenPeer, TLS: s.config.PeerTLS.transport(), Logger: transportLog,
	})
	if err != nil {
		return explainListen(err, s.config.ListenPeer, "--listen-peer-urls")
	}
	s.transport = transport
	peers := map[raft.NodeID]string{}
	var voters []raft.NodeID
	more := map[raft.NodeID][]string{}
	for _, m := range s.config.Members {
		voters = append(voters, m.ID())
		var addresses []string
		for _, u := range m.PeerURLs {
			address, err := PeerAddress(u)
			if err != nil {
				return errors.Join(err, transport.Close())
			}
			addresses = append(addresses, address)
		}
		peers[m.ID()] = addresses[0]
		if len(addresses) > 1 {
			more[m.ID()] = addresses
		}
	}
	observer := newObserver(s.registry, s.self.ID(), s.keeper)
	if n := s.config.TraceRecords; n > 0 {
		s.trace = tracelog.NewRing(s.self.ID(), uint64(time.Now().UnixNano()), n, func() int64 { return time.Now().UnixNano() })
		observer.ring, observer.dump = s.trace, s.dumpTrace
	}
	s.node, err = node.Open(node.Config{
		ID: s.self.ID(), Cluster: s.config.Cluster, Dir: filepath.ToSlash(s.config.DataDir),
		Transport: transport, Peers: peers,
		ElectionTimeout: s.config.ElectionTimeout, HeartbeatInterval: s.config.HeartbeatInterval,
		FS: s.fs(), Logger: s.config.Logger, Observer: observer,
	})
	if err != nil {
		return s.explainOpen(errors.Join(err, transport.Close()))
	}
	if err := s.own(); err != nil {
		return err
	}
	for id, addresses := range more {
		if id != s.self.ID() {
			s.node.SetPeer(id, addresses...)
		}
	}
	machine, err := s.openStore()
	if err != nil {
		return err
	}
	s.group, err = s.node.StartGroup(node.GroupConfig{ID: group, Voters: voters, StateMachine: machine, Forward: true, Answer: s.keeper.Answer})
	if err != nil {
		return errors.Join(err, s.store.Close())
	}
	return nil
}

// becomeReady publishes this member once there is a leader, and says so.
func (s *Server) becomeReady() {
	for {
		err := s.keys.Publish(s.life, store.Member{ID: uint64(s.self.ID()), Name: s.config.Name, ClientURLs: s.config.AdvertiseClient})
		if err == nil {
			break
		}
		if s.life.Err() != nil || errors.Is(err, node.ErrGroupStopped) {
			return
		}
		s.config.Logger.Warn("no majority of the members answers yet; waiting for them", slog.Any("error", err))
	}
	s.config.Logger.Info("ready to serve client requests", slog.String("name", s.config.Name), slog.Any("urls", s.config.AdvertiseClient))
	close(s.ready)
}

// Ready is closed once this member has joined its cluster.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Failed gives why a port stopped serving.
func (s *Server) Failed() <-chan error { return s.failed }

// ClientAddresses are where clients are served, as they were bound.
func (s *Server) ClientAddresses() []string {
	var addresses []string
	for _, p := range s.ports {
		if p.kind == clientEndpoint {
			addresses = append(addresses, p.Addr().String())
		}
	}
	return addresses
}

// Handler is what HTTP requests are answered by, for tests.
func (s *Server) Handler() http.Handler { return s.handler(true) }

// Stop answers what is under way for as long as ctx lasts, then ends everything
// and waits for it. It may be called again, and then does nothing.
func (s *Server) Stop(ctx context.Context) error {
	var err error
	s.once.Do(func() { err = s.release(ctx) })
	return err
}

func (s *Server) release(ctx context.Context) error {
	s.end()
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, p.stopAccepting())
	}
	if s.etcd != nil {
		s.etcd.Stop(ctx)
	}
	for _, p := range s.ports {
		errs = append(errs, p.stop(ctx))
	}
	s.wg.Wait()
	if s.hub != nil {
		s.hub.Close()
	}
	if s.node != nil {
		errs = append(errs, s.node.Close()) // and with it the group and the store
	}
	return errors.Join(errs...)
}

// stopPatience is how long requests under way may take to end when the process is
// asked to.
const stopPatience = 5 * time.Second

// Run serves until ctx ends, then stops in order.
func Run(ctx context.Context, config Config) error {
	s, err := Start(config)
	if err != nil {
		return err
	}
	notify := s.config.Logger
	select {
	case <-s.Ready():
		tellManager(notify, "READY=1")
	case <-ctx.Done():
	case err = <-s.Failed():
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-s.Failed():
		}
	}
	tellManager(notify, "STOPPING=1")
	grace, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	return errors.Join(err, s.Stop(grace))
}
