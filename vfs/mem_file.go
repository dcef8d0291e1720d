package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
)

const (
	sectorBytes  = 512
	chunkSectors = 64
	// writeEndMax bounds the index that a write far beyond the end would make.
	writeEndMax = 1 << 38
)

type sector [sectorBytes]byte

// slot is one sector of a file: as reads see it, and as it is on disk. A nil
// sector is zeros. The two are the same pointer while nothing is unsynced.
type slot struct {
	live, durable *sector
	// dirty: a sync makes live durable. A sector that a failed sync dropped is
	// not dirty although the two differ.
	dirty bool
}

type chunk [chunkSectors]slot

// contents is a file: sparse, so that preallocated space costs nothing, and with
// all that is not synced noted twice, as sectors that differ (to sync or lose
// everything fast) and as a log of calls (to keep a part of it in a crash).
type contents struct {
	size, durableSize int64
	chunks            []*chunk
	dirty             []int64 // numbers of dirty slots
	dropped           []int64 // numbers of slots that failed syncs dropped
	pending           []dataChange
	redo              []byte // what the pending writes wrote, back to back
}

// dataChange is a write, or with resize a new size, and the size after it.
type dataChange struct {
	seq       uint64
	resize    bool
	off       int64
	redo, len int // its bytes in contents.redo
	size      int64
}

func (c *contents) slot(i int64) *slot {
	if n := i / chunkSectors; n < int64(len(c.chunks)) && c.chunks[n] != nil {
		return &c.chunks[n][i%chunkSectors]
	}
	return nil
}

func (c *contents) makeSlot(i int64) *slot {
	n := int(i / chunkSectors)
	for len(c.chunks) <= n {
		c.chunks = append(c.chunks, nil)
	}
	if c.chunks[n] == nil {
		c.chunks[n] = new(chunk)
	}
	return &c.chunks[n][i%chunkSectors]
}

// newSector makes a sector with undefined contents.
func (d *disk) newSector() *sector {
	if len(d.free) == 0 {
		slab := new([16]sector)
		for i := range slab {
			d.free = append(d.free, &slab[i])
		}
	}
	s := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	return s
}

func (c *contents) read(p []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	p = p[:min(int64(len(p)), c.size-off)]
	for n := 0; n < len(p); {
		i, in := (off+int64(n))/sectorBytes, int((off+int64(n))%sectorBytes)
		part := p[n:min(len(p), n+sectorBytes-in)]
		if s := c.slot(i); s != nil && s.live != nil {
			copy(part, s.live[in:])
		} else {
			clear(part)
		}
		n += len(part)
	}
	return len(p)
}

// note remembers a change for the crash.
func (d *disk) note(n *node, ch dataChange) {
	c := &n.file
	if len(c.pending) == 0 {
		d.dirty = append(d.dirty, n)
	}
	d.seq++
	ch.seq, ch.size = d.seq, c.size
	c.pending = append(c.pending, ch)
}

// touch makes a slot dirty and its live sector its own. A nil sector stays nil
// if the caller is to overwrite all of it.
func (d *disk) touch(c *contents, i int64, whole bool) *slot {
	s := c.makeSlot(i)
	if !s.dirty {
		s.dirty = true
		c.dirty = append(c.dirty, i)
	} else if s.live != s.durable && s.live != nil {
		return s
	}
	old := s.live
	s.live = d.newSector()
	switch {
	case whole:
	case old != nil:
		*s.live = *old
	default:
		clear(s.live[:])
	}
	return s
}

func (d *disk) write(n *node, p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	c := &n.file
	for done := 0; done < len(p); {
		i, in := (off+int64(done))/sectorBytes, int((off+int64(done))%sectorBytes)
		part := p[done:min(len(p), done+sectorBytes-in)]
		s := d.touch(c, i, len(part) == sectorBytes)
		copy(s.live[in:], part)
		done += len(part)
	}
	d.setSize(n, max(c.size, off+int64(len(p))))
	redo := len(c.redo)
	c.redo = append(c.redo, p...)
	d.note(n, dataChange{off: off, redo: redo, len: len(p)})
}

func (d *disk) setSize(n *node, size int64) {
	if !n.unlinked {
		d.used += size - n.file.size
	}
	n.file.size = size
}

func (d *disk) resize(n *node, size int64) {
	c := &n.file
	if size == c.size {
		return
	}
	if size < c.size {
		d.zeroFrom(c, size)
	}
	d.setSize(n, size)
	d.note(n, dataChange{resize: true})
}

// zeroFrom makes everything from off on zeros, as an unsynced change.
func (d *disk) zeroFrom(c *contents, off int64) {
	first := (off + sectorBytes - 1) / sectorBytes
	if in := off % sectorBytes; in != 0 {
		if s := c.slot(off / sectorBytes); s != nil && s.live != nil {
			clear(d.touch(c, off/sectorBytes, false).live[in:])
		}
	}
	for i := first; i < int64(len(c.chunks))*chunkSectors; i++ {
		s := c.slot(i)
		if s == nil {
			i |= chunkSectors - 1 // the rest of an empty chunk
			continue
		}
		if s.live == nil {
			continue
		}
		if !s.dirty {
			s.dirty = true
			c.dirty = append(c.dirty, i)
		} else if s.live != s.durable {
			d.free = append(d.free, s.live)
		}
		s.live = nil
	}
}

// sync makes what is dirty durable.
func (d *disk) sync(n *node) {
	c := &n.file
	for _, i := range c.dirty {
		s := c.slot(i)
		if s.durable != s.live && s.durable != nil {
			d.free = append(d.free, s.durable)
		}
		s.durable, s.dirty = s.live, false
	}
	for _, i := range c.dropped {
		if i*sectorBytes >= c.size { // a truncation that was dropped, but now the size is synced
			c.slot(i).durable = c.slot(i).live
		}
	}
	c.durableSize = c.size
	d.forget(n)
}

// drop is a failed sync: what is dirty is taken for clean.
func (d *disk) drop(n *node) {
	c := &n.file
	for _, i := range c.dirty {
		c.slot(i).dirty = false
	}
	c.dropped = append(c.dropped, c.dirty...)
	d.forget(n)
}

func (d *disk) forget(n *node) {
	c := &n.file
	c.dirty, c.redo = c.dirty[:0], c.redo[:0]
	if len(c.pending) > 0 {
		c.pending = c.pending[:0]
		d.dirty = slices.DeleteFunc(d.dirty, func(other *node) bool { return other == n })
	}
}

// memFile is a handle.
type memFile struct {
	mem      *Mem
	node     *node
	name     string
	writable bool
	closed   bool
}

// begin is Mem.begin for a handle.
func (f *memFile) begin(op Op) (Fault, error) {
	op.Name = f.name
	fault, err := f.mem.begin(op)
	if err != nil {
		return fault, pathError(op.Kind, f.name, err)
	}
	switch {
	case f.closed:
		err = fs.ErrClosed
	case op.Kind.Changes() && !f.writable && op.Kind != OpSync && op.Kind != OpSyncData:
		err = fs.ErrPermission
	case op.Offset < 0, op.Kind == OpWrite && op.Offset > writeEndMax-int64(op.Len):
		err = fs.ErrInvalid
	}
	if err != nil {
		f.mem.mu.Unlock()
		return fault, pathError(op.Kind, f.name, err)
	}
	return fault, nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.begin(Op{Kind: OpRead, Offset: off, Len: len(p)}); err != nil {
		return 0, err
	}
	defer f.mem.mu.Unlock()
	n := f.node.file.read(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// room cuts a new size down to what the capacity allows.
func (f *memFile) room(size int64) int64 {
	d := f.mem.disk
	if d.capacity == 0 || f.node.unlinked || size <= f.node.file.size {
		return size
	}
	return min(size, f.node.file.size+max(0, d.capacity-d.used))
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	fault, err := f.begin(Op{Kind: OpWrite, Offset: off, Len: len(p)})
	if err != nil {
		return 0, err
	}
	defer f.mem.mu.Unlock()
	at, n := off, len(p)
	switch {
	case fault.Err != nil:
		err = fault.Err
		n = min(max(0, fault.Partial), n)
	case fault.Lost:
		return n, nil
	case fault.Misdirect:
		at = fault.Offset
	}
	if fits := f.room(at + int64(n)); fits < at+int64(n) && fault.Err == nil {
		n = int(max(0, fits-at))
		err = fmt.Errorf("%w: %d of %d bytes fit", ErrNoSpace, n, len(p))
	}
	f.mem.disk.write(f.node, p[:n], at)
	return n, pathError(OpWrite, f.name, err)
}

func (f *memFile) Preallocate(size int64) error {
	return f.resize(OpPreallocate, size)
}

func (f *memFile) Truncate(size int64) error {
	return f.resize(OpTruncate, size)
}

func (f *memFile) resize(kind OpKind, size int64) error {
	if _, err := f.begin(Op{Kind: kind, Offset: size}); err != nil {
		return err
	}
	defer f.mem.mu.Unlock()
	if kind == OpPreallocate && size <= f.node.file.size {
		return nil
	}
	if f.room(size) < size {
		return pathError(kind, f.name, ErrNoSpace)
	}
	f.mem.disk.resize(f.node, size)
	return nil
}

func (f *memFile) Size() (int64, error) {
	if _, err := f.begin(Op{Kind: OpSize}); err != nil {
		return 0, err
	}
	defer f.mem.mu.Unlock()
	return f.node.file.size, nil
}

func (f *memFile) SyncData() error { return f.sync(OpSyncData) }
func (f *memFile) Sync() error     { return f.sync(OpSync) }

func (f *memFile) sync(kind OpKind) error {
	fault, err := f.begin(Op{Kind: kind})
	if err != nil {
		return err
	}
	defer f.mem.mu.Unlock()
	switch {
	case fault.Err != nil:
		if !fault.StayDirty {
			f.mem.disk.drop(f.node)
		}
		return pathError(kind, f.name, fault.Err)
	case !fault.Lost:
		f.mem.disk.sync(f.node)
	}
	return nil
}

func (f *memFile) Close() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	if f.mem.disk != nil { // else the node belongs to another Mem by now
		f.node.open--
	}
	return nil
}
