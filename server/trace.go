package server

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// serveTrace gives the newest events of the protocol, as docs/trace-format.md
// describes them.
func (s *Server) serveTrace(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	if _, err := s.trace.WriteTo(w); err != nil {
		s.config.Logger.Debug("trace was not sent whole", slog.Any("error", err))
	}
}

// dumpTrace writes them into the data directory, for whoever looks into why this
// member cannot go on.
func (s *Server) dumpTrace(cause error) {
	name := filepath.Join(s.config.DataDir, fmt.Sprintf("trace-%d.ndjson", time.Now().UnixNano()))
	if err := s.writeTrace(name); err != nil {
		s.config.Logger.Error("cannot write down what the protocol did", slog.Any("error", err))
		return
	}
	s.config.Logger.Error("what the protocol did is written down", slog.String("file", name), slog.Any("cause", cause))
}

func (s *Server) writeTrace(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	_, err = s.trace.WriteTo(w)
	return errors.Join(err, w.Flush(), f.Close())
}
