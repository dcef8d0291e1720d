package diff

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
)

// A stream is one watch stream to one server, and what came on it.
type stream struct {
	client pb.Watch_WatchClient
	cancel context.CancelFunc
	done   chan struct{} // closed when nothing more comes

	mu   sync.Mutex
	came []*pb.WatchResponse
	err  error
	more chan struct{} // holds one when something came
}

func openStream(ctx context.Context, c pb.WatchClient) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	client, err := c.Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &stream{client: client, cancel: cancel, done: make(chan struct{}), more: make(chan struct{}, 1)}
	go s.receive()
	return s, nil
}

func (s *stream) receive() {
	defer close(s.done)
	for {
		resp, err := s.client.Recv()
		s.mu.Lock()
		if err != nil {
			s.err = err
		} else {
			s.came = append(s.came, resp)
		}
		s.mu.Unlock()
		select {
		case s.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (s *stream) close() {
	s.cancel()
	<-s.done
}

// take returns what came since.
func (s *stream) take() []*pb.WatchResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	came := s.came
	s.came = nil
	return came
}

func (s *stream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// errPatience: what was due did not come.
var errPatience = errors.New("what is due did not come in time")

// wait waits until came holds, or until the patience ends.
func wait(ctx context.Context, s *stream, patience time.Duration, came func() (bool, error)) error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		ok, err := came()
		if ok || err != nil {
			return err
		}
		if err := s.failure(); err != nil {
			return fmt.Errorf("the watch stream ended: %v", status.Convert(err))
		}
		select {
		case <-s.more:
		case <-timeout.C:
			return errPatience
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
