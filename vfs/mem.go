package vfs

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrCrashed: the disk of this call is gone, by Mem.Crash or Mem.StopAt.
var ErrCrashed = errors.New("vfs: crashed")

// Mem is a disk in memory that knows what was synced. Crash and CrashClone give
// the disk as a power loss leaves it: of contents that were not synced, and of
// directory entries that were not synced, what CrashOptions says. A Hook sees
// every call first and can make it fail, fall short, lie or wait.
//
// The model: a file's contents and size become durable by SyncData or Sync of
// any handle, its name by SyncDir of its directory, and neither by the other. The
// unit that the disk writes is a sector of 512 bytes. A rename is atomic. Before
// it is synced, any of these may or may not have reached the disk.
//
// A Mem is safe for concurrent use. It starts no goroutine and reads no clock;
// the same calls with the same random source give the same disk.
type Mem struct {
	mu      sync.Mutex
	disk    *disk // nil: taken over by Crash
	hook    Hook
	wait    func(time.Duration)
	locks   map[string]*memLock
	changes uint64 // changing calls so far
	stopAt  uint64 // calls from this change on fail; zero: none
	strict  bool
	log     opLog
}

var _ FS = (*Mem)(nil)

// disk is what a crash keeps or loses.
type disk struct {
	root     *node
	seq      uint64  // orders what is not synced
	dirty    []*node // files with contents that are not synced, oldest first
	dirtyDir []*node // directories with entries that are not synced, oldest first
	capacity int64   // bytes; zero: unlimited
	used     int64   // bytes, the sum of the sizes of all files
	free     []*sector
}

// node is a file or a directory.
type node struct {
	dir      *directory // nil: a file
	file     contents
	open     int  // handles
	unlinked bool // has no name any more: its size is not counted
}

// directory holds entries as they are and as they are on disk.
type directory struct {
	live, durable map[string]*node
	pending       []entryChange
}

// entryChange is a create (from is empty), a remove (to is empty) or a rename.
type entryChange struct {
	seq      uint64
	from, to string
	node     *node
}

func newDirectory() *node {
	return &node{dir: &directory{live: map[string]*node{}, durable: map[string]*node{}}}
}

// NewMem makes an empty disk with a root directory: names with and without a
// leading slash are the same.
func NewMem() *Mem {
	return &Mem{disk: &disk{root: newDirectory()}, locks: map[string]*memLock{}}
}

// SetCapacity limits the sum of all files' sizes; zero is unlimited. Beyond it
// calls fail with ErrNoSpace.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disk != nil {
		m.disk.capacity = bytes
	}
}

// Used is the sum of the sizes of all files, in bytes.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disk == nil {
		return 0
	}
	return m.disk.used
}

// RefuseRemoveOpen makes Remove, and Rename from or over it, refuse a file that
// is open, as windows does.
func (m *Mem) RefuseRemoveOpen(refuse bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.strict = refuse
}

// lookup finds a node by its cleaned name.
func (d *disk) lookup(name string) (*node, error) {
	n := d.root
	for name = strings.Trim(name, "/"); name != "" && name != "."; {
		var first string
		first, name, _ = strings.Cut(name, "/")
		if n.dir == nil || n.dir.live[first] == nil {
			return nil, fs.ErrNotExist
		}
		n = n.dir.live[first]
	}
	return n, nil
}

// parent finds the directory of a name and the name's last element.
func (d *disk) parent(name string) (*node, string, error) {
	name = path.Clean(name)
	dir, base := path.Split(name)
	if base == "" || base == "." || base == ".." {
		return nil, "", fs.ErrInvalid
	}
	n, err := d.lookup(dir)
	if err == nil && n.dir == nil {
		err = fs.ErrNotExist
	}
	return n, base, err
}

// change makes an entry change in a directory, not synced yet.
func (d *disk) change(dir *node, c entryChange) {
	d.seq++
	c.seq = d.seq
	if len(dir.dir.pending) == 0 {
		d.dirtyDir = append(d.dirtyDir, dir)
	}
	dir.dir.pending = append(dir.dir.pending, c)
	c.apply(dir.dir.live)
}

// apply is idempotent, and each change stands by itself: a rename that is kept
// gives the file its new name even where its creation was lost.
func (c entryChange) apply(entries map[string]*node) {
	if c.from != "" && entries[c.from] == c.node {
		delete(entries, c.from)
	}
	if c.to != "" {
		entries[c.to] = c.node
	}
}

// unlink frees the space of a file that loses its name.
func (d *disk) unlink(n *node) {
	d.used -= n.file.size
	n.unlinked = true
}

func (d *disk) syncDir(dir *node) {
	for _, c := range dir.dir.pending {
		if old := dir.dir.durable[c.to]; old != nil && old != c.node {
			d.forget(old) // no crash brings it back
		}
		if c.to == "" {
			d.forget(c.node)
		}
		c.apply(dir.dir.durable)
	}
	if len(dir.dir.pending) > 0 {
		dir.dir.pending = nil
		d.dirtyDir = slices.DeleteFunc(d.dirtyDir, func(n *node) bool { return n == dir })
	}
}

func pathError(kind OpKind, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: kind.String(), Path: name, Err: err}
}

// Create is FS.Create.
func (m *Mem) Create(name string) (File, error) {
	if _, err := m.begin(Op{Kind: OpCreate, Name: name}); err != nil {
		return nil, pathError(OpCreate, name, err)
	}
	defer m.mu.Unlock()
	dir, base, err := m.disk.parent(name)
	if err == nil && dir.dir.live[base] != nil {
		err = fs.ErrExist
	}
	if err != nil {
		return nil, pathError(OpCreate, name, err)
	}
	n := &node{}
	m.disk.change(dir, entryChange{to: base, node: n})
	return m.handle(name, n, true), nil
}

// Open is FS.Open.
func (m *Mem) Open(name string) (File, error) { return m.openFile(OpOpen, name, true) }

// OpenRead is FS.OpenRead.
func (m *Mem) OpenRead(name string) (File, error) { return m.openFile(OpOpenRead, name, false) }

func (m *Mem) openFile(kind OpKind, name string, writable bool) (File, error) {
	if _, err := m.begin(Op{Kind: kind, Name: name}); err != nil {
		return nil, pathError(kind, name, err)
	}
	defer m.mu.Unlock()
	n, err := m.disk.lookup(path.Clean(name))
	if err == nil && n.dir != nil {
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, pathError(kind, name, err)
	}
	return m.handle(name, n, writable), nil
}

func (m *Mem) handle(name string, n *node, writable bool) File {
	n.open++
	return &memFile{mem: m, node: n, name: name, writable: writable}
}

// Rename is FS.Rename.
func (m *Mem) Rename(oldName, newName string) error {
	if _, err := m.begin(Op{Kind: OpRename, Name: oldName, NewName: newName}); err != nil {
		return pathError(OpRename, oldName, err)
	}
	defer m.mu.Unlock()
	if _, err := sameDir(path.Clean(oldName), path.Clean(newName)); err != nil {
		return err
	}
	dir, from, err := m.disk.parent(oldName)
	if err != nil {
		return pathError(OpRename, oldName, err)
	}
	to := path.Base(newName)
	n, old := dir.dir.live[from], dir.dir.live[to]
	switch {
	case n == nil:
		err = fs.ErrNotExist
	case n == old:
		return nil
	case old != nil && (old.dir != nil || n.dir != nil):
		err = fs.ErrExist
	case m.strict && (n.open > 0 || old != nil && old.open > 0):
		err = fs.ErrPermission
	}
	if err != nil {
		return pathError(OpRename, oldName, err)
	}
	if old != nil {
		m.disk.unlink(old)
	}
	m.disk.change(dir, entryChange{from: from, to: to, node: n})
	return nil
}

// Remove is FS.Remove.
func (m *Mem) Remove(name string) error {
	if _, err := m.begin(Op{Kind: OpRemove, Name: name}); err != nil {
		return pathError(OpRemove, name, err)
	}
	defer m.mu.Unlock()
	dir, base, err := m.disk.parent(name)
	if err != nil {
		return pathError(OpRemove, name, err)
	}
	n := dir.dir.live[base]
	switch {
	case n == nil:
		err = fs.ErrNotExist
	case n.dir != nil && len(n.dir.live) > 0:
		err = fs.ErrExist
	case m.strict && n.open > 0:
		err = fs.ErrPermission
	}
	if err != nil {
		return pathError(OpRemove, name, err)
	}
	m.disk.unlink(n)
	m.disk.change(dir, entryChange{from: base, node: n})
	return nil
}

// MkdirAll is FS.MkdirAll. The entries that it makes are synced.
func (m *Mem) MkdirAll(name string) error {
	if _, err := m.begin(Op{Kind: OpMkdir, Name: name}); err != nil {
		return pathError(OpMkdir, name, err)
	}
	defer m.mu.Unlock()
	n := m.disk.root
	for elem := range strings.SplitSeq(path.Clean(name), "/") {
		if elem == "" || elem == "." {
			continue
		}
		child := n.dir.live[elem]
		if child == nil {
			child = newDirectory()
			m.disk.change(n, entryChange{to: elem, node: child})
		}
		if child.dir == nil {
			return pathError(OpMkdir, name, fs.ErrExist)
		}
		m.disk.syncDir(n)
		n = child
	}
	return nil
}

// List is FS.List.
func (m *Mem) List(dir string) ([]string, error) {
	if _, err := m.begin(Op{Kind: OpList, Name: dir}); err != nil {
		return nil, pathError(OpList, dir, err)
	}
	defer m.mu.Unlock()
	n, err := m.disk.lookup(path.Clean(dir))
	if err == nil && n.dir == nil {
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, pathError(OpList, dir, err)
	}
	names := make([]string, 0, len(n.dir.live))
	for name := range n.dir.live {
		names = append(names, name)
	}
	sortNames(names)
	return names, nil
}

func sortNames(names []string) { slices.Sort(names) }

// SyncDir is FS.SyncDir.
func (m *Mem) SyncDir(dir string) error {
	fault, err := m.begin(Op{Kind: OpSyncDir, Name: dir})
	if err != nil {
		return pathError(OpSyncDir, dir, err)
	}
	defer m.mu.Unlock()
	n, err := m.disk.lookup(path.Clean(dir))
	if err == nil && n.dir == nil {
		err = fs.ErrInvalid
	}
	if err == nil && !fault.Lost {
		m.disk.syncDir(n)
	}
	return pathError(OpSyncDir, dir, err)
}

// FreeBytes is FS.FreeBytes: what SetCapacity leaves, else a large number.
func (m *Mem) FreeBytes(dir string) (uint64, error) {
	if _, err := m.begin(Op{Kind: OpFreeBytes, Name: dir}); err != nil {
		return 0, pathError(OpFreeBytes, dir, err)
	}
	defer m.mu.Unlock()
	n, err := m.disk.lookup(path.Clean(dir))
	if err == nil && n.dir == nil {
		err = fs.ErrInvalid
	}
	if err != nil {
		return 0, pathError(OpFreeBytes, dir, err)
	}
	if m.disk.capacity == 0 {
		return 1 << 50, nil
	}
	return uint64(max(0, m.disk.capacity-m.disk.used)), nil
}

// Lock is FS.Lock.
func (m *Mem) Lock(name string) (Unlocker, error) {
	if _, err := m.begin(Op{Kind: OpLock, Name: name}); err != nil {
		return nil, pathError(OpLock, name, err)
	}
	defer m.mu.Unlock()
	dir, base, err := m.disk.parent(name)
	key := strings.TrimPrefix(path.Clean(name), "/")
	if err == nil && m.locks[key] != nil {
		err = ErrLocked
	}
	if err != nil {
		return nil, pathError(OpLock, name, err)
	}
	if dir.dir.live[base] == nil {
		m.disk.change(dir, entryChange{to: base, node: &node{}})
	}
	l := &memLock{mem: m, name: key}
	m.locks[key] = l
	return l, nil
}

type memLock struct {
	mem  *Mem
	name string
}

func (l *memLock) Unlock() error {
	l.mem.mu.Lock()
	defer l.mem.mu.Unlock()
	if l.mem.locks[l.name] == l {
		delete(l.mem.locks, l.name)
	}
	return nil
}
