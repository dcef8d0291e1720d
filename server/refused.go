package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/quorate/quorate/transport"
)

// refusals sees in what the transport logs that another member refused this one.
type refusals struct {
	slog.Handler
	seen chan error // capacity 1
}

func watchRefusals(logger *slog.Logger) (*slog.Logger, chan error) {
	seen := make(chan error, 1)
	return slog.New(refusals{logger.Handler(), seen}), seen
}

// Handle looks, and passes on what is to be logged.
func (h refusals) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && errors.Is(err, transport.ErrRefused) {
			select {
			case h.seen <- err:
			default:
			}
		}
		return true
	})
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// Enabled is true for all that could tell of a refusal.
func (h refusals) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs keeps looking.
func (h refusals) WithAttrs(attrs []slog.Attr) slog.Handler {
	return refusals{h.Handler.WithAttrs(attrs), h.seen}
}

// WithGroup keeps looking.
func (h refusals) WithGroup(name string) slog.Handler {
	return refusals{h.Handler.WithGroup(name), h.seen}
}

// failIfRefused stops a member that has not joined a cluster when another member
// wants nothing of it: waiting will not help. One that has joined goes on with
// those that know it.
func (s *Server) failIfRefused() {
	for {
		select {
		case <-s.life.Done():
			return
		case err := <-s.refused:
			status, statusErr := s.group.Status(s.life)
			if statusErr == nil && !status.Exists {
				s.failIf(explainRefused(err))
			}
		}
	}
}

// explainRefused says what to do about a member that wants nothing of this one.
// What it said has come as text.
func explainRefused(err error) error {
	if strings.Contains(err.Error(), "data directory") {
		return fmt.Errorf("the other members know this one with other data than is in its --data-dir: if that was lost, they go on without this member, since members cannot be changed yet, and a whole cluster again is a new one, to which 'etcdctl make-mirror' copies the keys: %w", err)
	}
	return fmt.Errorf("another member refuses this one: give all members the same --initial-cluster and --initial-cluster-token: %w", err)
}
