package engine

import (
	"errors"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A guardFS stands between Pebble and its file system.
//
// Where a directory cannot be synced Pebble ends the process, since nothing is
// certain any more. Here the engine has failed then, Pebble is told nothing, and
// nothing that it still does reaches the disk.
//
// Where a manifest cannot be written Pebble ends the process, too: by then it has
// changed what it knows of the tables in force, and to go on would be to trip over
// that sooner or later. Here the engine has failed, and who writes the manifest
// never comes back. It holds the lock for manifests, and so whatever else wants to
// change or to look at the tables waits for ever: see Pebble.patient.
//
// Which manifest is in force Pebble says by the name of a marker: it makes a new
// one, removes the old one, and syncs the directory once for both and for the
// manifest. That is right where names reach the disk in their order. Here each
// step is durable before the next one, so that it is right everywhere.
type guardFS struct {
	vfs.FS
	log *pebbleLog
}

func (g guardFS) Unwrap() vfs.FS { return g.FS }

// isMarker reports whether name says which manifest, or which format, is in force.
func (g guardFS) isMarker(name string) bool {
	return strings.HasPrefix(g.PathBase(name), "marker.")
}

// isVital reports whether Pebble cannot go on without the file of that name.
func (g guardFS) isVital(name string) bool {
	return g.isMarker(name) || strings.HasPrefix(g.PathBase(name), "MANIFEST-")
}

// settle makes what came before a change of markers durable.
func (g guardFS) settle(name string) error {
	if !g.isMarker(name) {
		return nil
	}
	dir, err := g.FS.OpenDir(g.PathDir(name))
	if err != nil {
		return err
	}
	err = dir.Sync()
	if err != nil {
		g.log.fail(err)
	}
	return errors.Join(err, dir.Close())
}

func (g guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return guardDir{f, g.log}, nil
}

// guardDir is a directory that is opened to be synced.
type guardDir struct {
	vfs.File
	log *pebbleLog
}

func (d guardDir) Sync() error {
	if err := d.File.Sync(); err != nil {
		d.log.fail(err)
		_ = d.log.survivable(err, false)
	}
	return nil
}

func (g guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	vital := g.isVital(name)
	if err := errors.Join(g.log.failed(), g.settle(name)); err != nil {
		return nil, g.log.survivable(err, vital)
	}
	f, err := g.FS.Create(name, c)
	if err != nil {
		return nil, g.log.survivable(err, vital)
	}
	return guardFile{f, g.log, vital}, nil
}

// GetDiskUsage has nothing to say after a failure: an error would be one more for
// backgroundError, under a lock.
func (g guardFS) GetDiskUsage(dir string) (vfs.DiskUsage, error) {
	if g.log.failed() != nil {
		return vfs.DiskUsage{}, vfs.ErrUnsupported
	}
	return g.FS.GetDiskUsage(dir)
}

func (g guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := g.log.failed(); err != nil {
		return nil, err
	}
	f, err := g.FS.OpenReadWrite(name, c, opts...)
	if err != nil {
		return nil, g.log.survivable(err, false)
	}
	return guardFile{f, g.log, false}, nil
}

func (g guardFS) ReuseForWrite(oldName, newName string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := g.log.failed(); err != nil {
		return nil, err
	}
	f, err := g.FS.ReuseForWrite(oldName, newName, c)
	if err != nil {
		return nil, g.log.survivable(err, false)
	}
	return guardFile{f, g.log, false}, nil
}

func (g guardFS) Link(oldName, newName string) error {
	if err := g.log.failed(); err != nil {
		return err
	}
	return g.FS.Link(oldName, newName)
}

func (g guardFS) Rename(oldName, newName string) error {
	if err := g.log.failed(); err != nil {
		return err
	}
	return g.log.survivable(g.FS.Rename(oldName, newName), false)
}

func (g guardFS) Remove(name string) error {
	if err := errors.Join(g.log.failed(), g.settle(name)); err != nil {
		return err
	}
	return g.FS.Remove(name)
}

// guardFile is a file that Pebble writes.
type guardFile struct {
	vfs.File
	log   *pebbleLog
	vital bool
}

// guarded does something that reaches the disk.
func (f guardFile) guarded(do func() error) error {
	err := f.log.failed()
	if err == nil {
		err = do()
	}
	return f.log.survivable(err, f.vital)
}

func (f guardFile) Write(p []byte) (n int, err error) {
	err = f.guarded(func() (err error) {
		n, err = f.File.Write(p)
		return err
	})
	return n, err
}

func (f guardFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.guarded(func() (err error) {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f guardFile) Close() error    { return f.log.survivable(f.File.Close(), f.vital) }
func (f guardFile) Sync() error     { return f.guarded(f.File.Sync) }
func (f guardFile) SyncData() error { return f.guarded(f.File.SyncData) }

func (f guardFile) SyncTo(length int64) (full bool, err error) {
	err = f.guarded(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}
