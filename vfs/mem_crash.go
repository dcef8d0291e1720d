package vfs

import (
	"io/fs"
	"maps"
	"path"
)

// Keep says what of the unsynced a crash keeps.
type Keep uint8

// What a crash keeps of unsynced contents.
const (
	// KeepNone: only what was synced.
	KeepNone Keep = iota
	// KeepAll: as if all had been synced.
	KeepAll
	// KeepPrefix: the calls up to a moment, one moment for the whole disk; of
	// the write at that moment the sectors up to some sector.
	KeepPrefix
	// KeepFilePrefix: as KeepPrefix, with a moment for each file and directory.
	KeepFilePrefix
	// KeepSectors: each sector as some call left it, chosen for each sector;
	// the size likewise.
	KeepSectors
	// KeepTorn: each sector as it was, as it became, or torn: its first bytes as
	// the one and the rest as the other.
	KeepTorn
	// KeepMixed: one of the above, chosen for each file and directory.
	KeepMixed

	keeps = iota
)

var keepNames = [keeps]string{"none", "all", "prefix", "file prefix", "sectors", "torn", "mixed"}

// String gives the mode's name.
func (k Keep) String() string {
	if int(k) < len(keepNames) {
		return keepNames[k]
	}
	return "unknown"
}

// Keeps lists every Keep, for tests that try each.
func Keeps() []Keep {
	all := make([]Keep, keeps)
	for i := range all {
		all[i] = Keep(i)
	}
	return all
}

// Rand is what a crash draws from; *rand.Rand of math/rand/v2 is one.
type Rand interface{ Uint64() uint64 }

// CrashOptions says what a power loss leaves. The zero value keeps only what was
// synced.
type CrashOptions struct {
	// Data is what is kept of contents and sizes; PerFile, if set, says so for
	// one file, by its name before the crash.
	Data    Keep
	PerFile func(name string) Keep
	// Entries is what is kept of creates, renames and removes that SyncDir did
	// not reach. For KeepSectors and KeepTorn each is kept or lost by itself.
	Entries Keep
	// Rand is needed for every mode but KeepNone and KeepAll.
	Rand Rand
}

// Crash takes the power away and gives the disk as it is when it comes back. m,
// its handles and its locks are dead from here on: every call on them is
// ErrCrashed. The new disk has m's capacity, hook, waiter and count of changes,
// and no StopAt.
func (m *Mem) Crash(o CrashOptions) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := &Mem{
		disk: m.disk, hook: m.hook, wait: m.wait, locks: map[string]*memLock{},
		changes: m.changes, strict: m.strict, log: m.log,
	}
	if next.disk == nil {
		next.disk = NewMem().disk
	}
	m.disk, m.log = nil, opLog{}
	next.disk.crash(o)
	return next
}

// CrashClone gives the disk as a power loss now would leave it, as Crash does,
// and leaves m as it is. The clone has m's capacity and none of its hook, waiter,
// StopAt and counts.
func (m *Mem) CrashClone(o CrashOptions) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := NewMem()
	next.strict = m.strict
	if m.disk != nil {
		next.disk = m.disk.clone()
	}
	next.disk.crash(o)
	return next
}

// Corrupt flips the bits of mask in the byte at offset, in what reads see and in
// what is on disk (bit rot).
func (m *Mem) Corrupt(name string, offset int64, mask byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disk == nil {
		return pathError(OpWrite, name, ErrCrashed)
	}
	n, err := m.disk.lookup(path.Clean(name))
	if err == nil && (n.dir != nil || offset < 0 || offset >= n.file.size || offset >= writeEndMax) {
		err = fs.ErrInvalid
	}
	if err != nil {
		return pathError(OpWrite, name, err)
	}
	s := n.file.makeSlot(offset / sectorBytes)
	shared := s.live == s.durable
	flip := func(p **sector) {
		if *p == nil {
			*p = new(sector)
		}
		(*p)[offset%sectorBytes] ^= mask
	}
	flip(&s.live)
	if shared {
		s.durable = s.live
	} else {
		flip(&s.durable)
	}
	return nil
}

// EvictCache makes reads see the disk instead of what failed syncs dropped, as
// when the operating system needs the memory.
func (m *Mem) EvictCache(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disk == nil {
		return pathError(OpRead, name, ErrCrashed)
	}
	n, err := m.disk.lookup(path.Clean(name))
	if err == nil && n.dir != nil {
		err = fs.ErrInvalid
	}
	if err == nil {
		n.file.evict()
	}
	return pathError(OpRead, name, err)
}

func (c *contents) evict() {
	for _, i := range c.dropped {
		if s := c.slot(i); !s.dirty {
			s.live = s.durable
		}
	}
	c.dropped = c.dropped[:0]
}

// crash decides what of the unsynced stays, and makes that all there is. Files
// and directories are visited in the order in which they became dirty, so that
// the same history and draws give the same disk.
func (d *disk) crash(o CrashOptions) {
	draw := drawer{o.Rand}
	moment := uint64(0)
	if o.Data == KeepPrefix || o.Entries == KeepPrefix {
		moment = d.moment(draw)
	}
	var names map[*node]string
	if o.PerFile != nil {
		names = map[*node]string{}
		nameAll(d.root, "", names)
	}
	dirty, dirtyDir := d.dirty, d.dirtyDir
	d.dirty, d.dirtyDir = nil, nil
	for _, n := range dirty {
		keep := o.Data
		if name, ok := names[n]; ok {
			keep = o.PerFile(name)
			if keep == KeepPrefix && o.Data != KeepPrefix {
				keep = KeepFilePrefix
			}
		}
		if keep == KeepMixed {
			keep = draw.mode()
		}
		n.file.crash(keep, moment, draw)
	}
	for _, n := range dirtyDir {
		keep := o.Entries
		if keep == KeepMixed {
			keep = draw.mode()
		}
		n.dir.crash(keep, moment, draw)
	}
	d.used = d.settle(d.root)
}

// moment draws the last change that a prefix keeps, from none to all.
func (d *disk) moment(draw drawer) uint64 {
	first, any := d.seq+1, false
	for _, n := range d.dirty {
		first, any = min(first, n.file.pending[0].seq), true
	}
	for _, n := range d.dirtyDir {
		first, any = min(first, n.dir.pending[0].seq), true
	}
	if !any {
		return d.seq
	}
	return first - 1 + draw.upTo(d.seq-first+1)
}

// settle makes every directory and file equal to what is durable of it and gives
// the bytes below.
func (d *disk) settle(n *node) (bytes int64) {
	n.open, n.unlinked = 0, false
	if n.dir == nil {
		n.file.evict()
		n.file.size = n.file.durableSize
		return n.file.size
	}
	clear(n.dir.live)
	for name, child := range n.dir.durable {
		n.dir.live[name] = child
		bytes += d.settle(child)
	}
	n.dir.pending = nil
	return bytes
}

func nameAll(n *node, prefix string, names map[*node]string) {
	if n.dir == nil {
		return
	}
	for name, child := range n.dir.live {
		names[child] = prefix + name
		nameAll(child, prefix+name+"/", names)
	}
}

func (dir *directory) crash(keep Keep, moment uint64, draw drawer) {
	if keep == KeepFilePrefix {
		moment = dir.pending[0].seq - 1 + draw.upTo(dir.pending[len(dir.pending)-1].seq-dir.pending[0].seq+1)
	}
	for _, c := range dir.pending {
		var kept bool
		switch keep {
		case KeepAll:
			kept = true
		case KeepPrefix, KeepFilePrefix:
			kept = c.seq <= moment
		case KeepSectors, KeepTorn:
			kept = draw.upTo(1) == 1
		}
		if !kept {
			continue
		}
		// A rename before this change may be lost: the file has one name.
		maps.DeleteFunc(dir.durable, func(_ string, n *node) bool { return n == c.node })
		c.apply(dir.durable)
	}
}

func (c *contents) crash(keep Keep, moment uint64, draw drawer) {
	switch keep {
	case KeepAll:
	case KeepPrefix:
		c.keepPrefix(moment, draw)
	case KeepFilePrefix:
		moment = c.pending[len(c.pending)-1].seq
		if k := draw.upTo(uint64(len(c.pending))); k < uint64(len(c.pending)) {
			moment = c.pending[k].seq - 1
		}
		c.keepPrefix(moment, draw)
	case KeepSectors:
		c.keepSectors(draw)
	case KeepTorn:
		c.keepTorn(draw)
	default:
		c.rewind()
	}
	c.cut()
	for _, i := range c.dirty {
		s := c.slot(i)
		s.durable, s.dirty = s.live, false
	}
	c.durableSize = c.size
	c.dirty, c.redo, c.pending = c.dirty[:0], c.redo[:0], c.pending[:0]
}

// rewind goes back to what is durable.
func (c *contents) rewind() {
	for _, i := range c.dirty {
		s := c.slot(i)
		s.live = s.durable
	}
	c.size = c.durableSize
}

// cut makes what lies beyond the end zeros.
func (c *contents) cut() {
	for _, i := range c.dirty {
		s := c.slot(i)
		switch start := i * sectorBytes; {
		case s.live == nil:
		case start >= c.size:
			s.live = nil
		case start+sectorBytes > c.size:
			own := *s.live
			clear(own[c.size-start:])
			s.live = &own
		}
	}
}

// redoWrite writes bytes of a pending write again, into sectors that are already
// dirty. Both of a slot's pointers may share the sector, hence a new one.
func (c *contents) redoWrite(p []byte, off int64) {
	for n := 0; n < len(p); {
		i, in := (off+int64(n))/sectorBytes, int((off+int64(n))%sectorBytes)
		part := p[n:min(len(p), n+sectorBytes-in)]
		s := c.slot(i)
		own := new(sector)
		if s.live != nil {
			*own = *s.live
		}
		copy(own[in:], part)
		s.live = own
		n += len(part)
	}
}

// redoCut zeroes dirty sectors from off on: a truncation that took place.
func (c *contents) redoCut(off int64) {
	size := c.size
	c.size = off
	c.cut()
	c.size = size
}

// keepPrefix keeps the calls up to a moment. The first one after it, if it is a
// write, has reached the disk up to some sector.
func (c *contents) keepPrefix(moment uint64, draw drawer) {
	c.rewind()
	for _, ch := range c.pending {
		p := c.redo[ch.redo : ch.redo+ch.len]
		switch {
		case ch.seq <= moment && ch.resize:
			c.redoCut(ch.size)
			c.size = ch.size
		case ch.seq <= moment:
			c.redoWrite(p, ch.off)
			c.size = ch.size
		default:
			if ch.seq != moment+1 || ch.resize {
				return
			}
			if end := sectorEnd(ch, draw); end > ch.off {
				c.redoWrite(p[:end-ch.off], ch.off)
				c.size = max(c.size, end)
			}
			return
		}
	}
}

// sectorEnd draws where a write stopped: at its begin, its end or a boundary of
// sectors between them.
func sectorEnd(ch dataChange, draw drawer) int64 {
	end := ch.off + int64(ch.len)
	sectors := (end-1)/sectorBytes - ch.off/sectorBytes + 1
	stop := (ch.off/sectorBytes + int64(draw.upTo(uint64(sectors)))) * sectorBytes
	return min(max(stop, ch.off), end)
}

// keepSectors gives each sector, and the size, as some call left it.
func (c *contents) keepSectors(draw drawer) {
	total := uint64(len(c.pending))
	kept := make(map[int64]int, len(c.dirty)) // calls before this one reached the sector
	for _, i := range c.dirty {
		kept[i] = draw.cutoff(total)
	}
	sizeKept := draw.cutoff(total)
	c.rewind()
	gone := int64(writeEndMax) // from a truncation on that was lost, writes beyond it were too
	for n, ch := range c.pending {
		if ch.resize && n < sizeKept {
			c.redoCut(ch.size)
		}
		if ch.resize && n >= sizeKept {
			gone = min(gone, ch.size)
		}
		if n < sizeKept {
			c.size = ch.size
		}
		p := c.redo[ch.redo : ch.redo+ch.len]
		for done := 0; done < len(p); {
			at := ch.off + int64(done)
			part := p[done:min(len(p), done+sectorBytes-int(at%sectorBytes))]
			if n < kept[at/sectorBytes] && at+int64(len(part)) <= gone {
				c.redoWrite(part, at)
			}
			done += len(part)
		}
	}
}

// keepTorn gives each sector as it was, as it became, or torn between the two.
func (c *contents) keepTorn(draw drawer) {
	cut := int64(writeEndMax) // the least size in between
	for _, ch := range c.pending {
		if ch.resize {
			cut = min(cut, ch.size)
		}
	}
	sizeKept := draw.upTo(1) == 1
	for _, i := range c.dirty {
		s := c.slot(i)
		var before, after sector
		if s.durable != nil {
			before = *s.durable
		}
		if s.live != nil {
			after = *s.live
		}
		freed := (i+1)*sectorBytes > cut // a truncation gave the sector away
		if freed && sizeKept {
			clear(before[max(0, min(sectorBytes, cut-i*sectorBytes)):])
		}
		if freed && !sizeKept {
			after = before
		}
		switch mode := draw.upTo(3); mode {
		case 0:
			after = before
		case 1:
		default:
			at := draw.upTo(sectorBytes)
			if mode == 2 {
				copy(after[at:], before[at:])
			} else {
				copy(after[:at], before[:at])
			}
		}
		s.live = &after
	}
	if !sizeKept {
		c.size = c.durableSize
	}
}

// drawer draws numbers. Without a source it draws zero.
type drawer struct{ r Rand }

// upTo draws from [0, n].
func (d drawer) upTo(n uint64) uint64 {
	if d.r == nil || n == 0 {
		return 0
	}
	return d.r.Uint64() % (n + 1)
}

// cutoff draws from [0, n], and often an end of it.
func (d drawer) cutoff(n uint64) int {
	switch d.upTo(2) {
	case 0:
		return 0
	case 1:
		return int(n)
	}
	return int(d.upTo(n))
}

func (d drawer) mode() Keep { return Keep(d.upTo(uint64(KeepMixed) - 1)) }
