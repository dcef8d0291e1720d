package server

import (
	"log/slog"
	"time"
)

const (
	reclaimInterval = time.Second
	// reclaimChanges bounds how long one step holds up what is applied.
	reclaimChanges = 2000
)

// reclaim gives back what compactions made superfluous, also when nothing is
// written.
func (s *Server) reclaim() {
	ticker := time.NewTicker(reclaimInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-ticker.C:
		}
		for more := true; more && s.life.Err() == nil; {
			var err error
			if more, err = s.store.Reclaim(reclaimChanges); err != nil {
				s.config.Logger.Error("space of compacted history is not given back", slog.Any("error", err))
				return
			}
		}
	}
}
