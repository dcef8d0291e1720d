package etcd

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/raft"
)

// admit judges what a request says of itself in its metadata, and reports
// whether it demands a leader.
func (s *Server) admit(ctx context.Context, kind string) (needsLeader bool, err error) {
	version := "unknown"
	if v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(v) > 0 {
		if version = v[0]; !utf8.ValidString(version) {
			return false, rpctypes.ErrGRPCInvalidClientAPIVersion
		}
	}
	if s.config.Metrics != nil {
		s.config.Metrics.clientRequest(kind, version)
	}
	demand := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	if len(demand) == 0 || demand[0] != rpctypes.MetadataHasLeader {
		return false, nil
	}
	if leader, _ := s.keys.Leader(); leader == raft.None {
		return true, rpctypes.ErrGRPCNoLeader
	}
	return true, nil
}

func (s *Server) interceptUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	began := time.Now()
	done := s.config.Metrics.begin(info.FullMethod)
	var response any
	_, err := s.admit(ctx, "unary")
	if err == nil {
		response, err = handle(ctx, request)
	}
	took := time.Since(began)
	done(err, took)
	if took > s.config.WarnUnaryDuration {
		s.warnSlow(ctx, info.FullMethod, took, err)
	}
	return response, err
}

// warnSlow says what took long, and nothing of keys or values.
func (s *Server) warnSlow(ctx context.Context, method string, took time.Duration, err error) {
	attributes := []any{slog.String("method", method), slog.Duration("took", took), slog.String("code", status.Code(err).String())}
	if p, ok := peer.FromContext(ctx); ok {
		attributes = append(attributes, slog.String("remote", p.Addr.String()))
	}
	s.config.Logger.Warn("a request took long", attributes...)
}

// errNoLeader ends streams that demand a leader.
var errNoLeader = errors.New("etcd: no leader")

// errStopping ends all streams.
var errStopping = errors.New("etcd: the server stops")

func (s *Server) interceptStream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	began := time.Now()
	done := s.config.Metrics.begin(info.FullMethod)
	err := s.serveStream(service, stream, handle)
	done(err, time.Since(began))
	return err
}

func (s *Server) serveStream(service any, stream grpc.ServerStream, handle grpc.StreamHandler) error {
	needsLeader, err := s.admit(stream.Context(), "stream")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.life, func() { cancel(errStopping) })()
	if needsLeader {
		defer s.streams.enter(cancel)()
	}
	err = handle(service, &boundedStream{ServerStream: stream, ctx: ctx})
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errNoLeader):
		return rpctypes.ErrGRPCNoLeader
	case errors.Is(cause, errStopping):
		return rpctypes.ErrGRPCStopped
	}
	return err
}

// A boundedStream ends earlier than its connection's. Recv and Send do not: a
// handler that waits in them must not hold up its end.
type boundedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context is done when the stream is to end.
func (s *boundedStream) Context() context.Context { return s.ctx }

// streams are those that demand a leader.
type streams struct {
	mu   sync.Mutex
	last uint64
	all  map[uint64]context.CancelCauseFunc
}

// enter adds a stream and gives the function that takes it away.
func (s *streams) enter(cancel context.CancelCauseFunc) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[uint64]context.CancelCauseFunc{}
	}
	s.last++
	id := s.last
	s.all[id] = cancel
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, id)
	}
}

func (s *streams) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cancel := range s.all {
		cancel(errNoLeader)
	}
}

// leaderlessMax is for how many election timeouts streams that demand a leader
// outlive it: to make them anew costs far more than to refuse a request.
const leaderlessMax = 3

// watchLeader ends the streams that demand a leader when there has been none for
// long.
func (s *Server) watchLeader() {
	ticker := time.NewTicker(s.config.ElectionTimeout)
	defer ticker.Stop()
	leaderless := 0
	for {
		select {
		case <-s.life.Done():
			return
		case <-ticker.C:
		}
		if leader, _ := s.keys.Leader(); leader != raft.None {
			leaderless = 0
			continue
		}
		if leaderless++; leaderless >= leaderlessMax {
			s.streams.endAll()
		}
	}
}
