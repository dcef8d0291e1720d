package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
	"github.com/quorate/quorate/store/watch"
	"github.com/quorate/quorate/transport/tcp"
	"github.com/quorate/quorate/vfs"
)

// fs is the disk of the log and the snapshots.
func (s *Server) fs() vfs.FS {
	if s.config.NoSync {
		return unsyncedFS{vfs.OS()}
	}
	return vfs.OS()
}

// openStore opens the state machine.
func (s *Server) openStore() (rsm.StateMachine, error) {
	dir := filepath.Join(s.config.DataDir, "store")
	hub := watch.NewHub(watch.Options{})
	observer := storeObserver{hub, s.keeper, s.auditor}
	if s.config.InMemory {
		var err error
		if s.store, err = store.Open(engine.NewMemory(store.Split), observer); err != nil {
			return nil, err
		}
		s.watch(hub)
		// Not rsm.OnDisk: it is restored from snapshots and the log.
		return struct{ rsm.StateMachine }{s.store}, nil
	}
	db, err := engine.OpenPebble(dir, engine.PebbleOptions{Split: store.Split, Logger: s.config.Logger.With(slog.String("part", "store"))})
	if err == nil {
		s.store, err = store.Open(db, observer)
	}
	if err != nil {
		return nil, fmt.Errorf("the store in %s cannot be opened: %w", dir, err)
	}
	s.watch(hub)
	return s.store, nil
}

// storeObserver hears for watchers, for leases and for who compares states.
type storeObserver struct {
	*watch.Hub
	*keyspace.Keeper
	*keyspace.Auditor
}

func (s *Server) watch(hub *watch.Hub) {
	s.hub = hub
	hub.Start(s.store)
}

// explainOpen says what to do about a data directory that cannot be opened.
func (s *Server) explainOpen(err error) error {
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("the data directory %s is in use by another process: stop that one, or give this member another --data-dir", s.config.DataDir)
	}
	return err
}

// owner says whose a data directory is, for people and for a better refusal than
// ids would give.
type owner struct {
	Name    string `json:"name"`
	Cluster string `json:"cluster"`
}

const ownerFile = "OWNER"

// checkOwner refuses another member's directory.
func (s *Server) checkOwner() error {
	b, err := os.ReadFile(filepath.Join(s.config.DataDir, ownerFile))
	var is owner
	if err != nil || json.Unmarshal(b, &is) != nil {
		return nil // node's own identity decides
	}
	switch {
	case is.Cluster != s.config.Cluster:
		return fmt.Errorf("the data directory %s belongs to the cluster %q, not to %q: give this member its own with --data-dir, or the right --initial-cluster-token", s.config.DataDir, is.Cluster, s.config.Cluster)
	case is.Name != s.config.Name:
		return fmt.Errorf("the data directory %s belongs to the member %q, not to %q: give each member its own with --data-dir, or the right --name", s.config.DataDir, is.Name, s.config.Name)
	}
	return nil
}

// own writes down whose the directory is.
func (s *Server) own() error {
	b, err := json.Marshal(owner{Name: s.config.Name, Cluster: s.config.Cluster})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.config.DataDir, ownerFile), append(b, '\n'), 0o600)
}

func (t *PeerTLS) transport() *tcp.TLSConfig {
	if t == nil {
		return nil
	}
	return &tcp.TLSConfig{CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, AllowedNames: t.AllowedNames}
}

// unsyncedFS answers before anything is on the disk. What was acknowledged is
// lost when the machine fails.
type unsyncedFS struct{ vfs.FS }

func (fs unsyncedFS) SyncDir(string) error { return nil }

func (fs unsyncedFS) Create(name string) (vfs.File, error) { return unsynced(fs.FS.Create(name)) }
func (fs unsyncedFS) Open(name string) (vfs.File, error)   { return unsynced(fs.FS.Open(name)) }

func unsynced(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

type unsyncedFile struct{ vfs.File }

func (unsyncedFile) SyncData() error { return nil }
func (unsyncedFile) Sync() error     { return nil }
