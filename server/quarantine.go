package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/server/keyspace"
)

// quarantineFile, in the data directory, keeps a member whose state was found wrong
// from serving it, also after a restart.
const quarantineFile = "QUARANTINED"

// quarantineNote is what that file says, for people.
type quarantineNote struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// quarantine ends this member's part in the cluster: its state is not that of the
// majority, so nothing that it would answer, and no vote for it, can be trusted. The
// process lives on to say so.
func (s *Server) quarantine(cause error) {
	note, err := json.Marshal(quarantineNote{Since: time.Now().UTC(), Reason: cause.Error()})
	if err == nil {
		err = writeDurably(filepath.Join(s.config.DataDir, quarantineFile), append(note, '\n'))
	}
	if err != nil {
		s.config.Logger.Error("that this member is quarantined could not be written down: it must not be started again", slog.Any("error", err))
	}
	s.stopForGood(cause)
}

// stopForGood has this member serve nothing any more.
func (s *Server) stopForGood(cause error) {
	s.divergence.Store(&cause)
	s.config.Logger.Error("this member is quarantined: it serves nothing and does not vote; the others go on. Keep its data directory for an inquiry, and replace the member",
		slog.String("data_dir", s.config.DataDir), slog.Any("error", cause))
	s.group.Fail(cause)
	s.hub.Close()
}

// quarantined gives why this member was quarantined before it was started, or nil.
func (s *Server) quarantined() error {
	b, err := os.ReadFile(filepath.Join(s.config.DataDir, quarantineFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var note quarantineNote
	if err == nil {
		err = json.Unmarshal(b, &note)
	}
	if err != nil {
		// There is a file, so there was a reason.
		return fmt.Errorf("%w: %s says so, and cannot be read: %w", keyspace.ErrDivergent, quarantineFile, err)
	}
	return fmt.Errorf("%w, since %s: %s", keyspace.ErrDivergent, note.Since.Format(time.RFC3339), note.Reason)
}

// writeDurably writes a file that is there, whole, after a crash, or not at all.
func writeDurably(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".quarantine-")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
