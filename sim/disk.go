package sim

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/quorate/quorate/vfs"
)

// diskFault is what ails a disk for a while.
type diskFault struct {
	until  instant
	factor int           // of slow syncs
	stall  time.Duration // of the next sync
}

// errDisk is what a failing disk answers (EIO).
var errDisk = errors.New("sim: input/output error")

// syncDelay is how much longer a sync takes than on a good day.
func (f *diskFault) syncDelay(n *node) time.Duration {
	var d time.Duration
	if f.stall > 0 {
		d, f.stall = f.stall, 0
	}
	if n.w.now < f.until {
		d += n.spread(time.Duration(f.factor) * n.w.p.syncTime)
	}
	return d
}

// failCalls makes the disk fail the next calls of some kinds, one of so many,
// until the machine has lost power or so many have failed.
func (n *node) failCalls(f *Fault, kinds ...vfs.OpKind) {
	disk, times, r := n.disk, f.Count, f.rand()
	n.failing = true
	disk.SetHook(func(op vfs.Op) vfs.Fault {
		for _, k := range kinds {
			if op.Kind != k || r.IntN(max(1, f.OneOf)) > 0 {
				continue
			}
			n.hurt = true
			if times--; times == 0 {
				disk.SetHook(nil)
				n.failing = false
			}
			n.w.tracef("node %d: disk fails to %v %s at %d", n.id, op.Kind, op.Name, op.Offset)
			return vfs.Fault{Err: errDisk, Partial: r.IntN(op.Len + 1)}
		}
		return vfs.Fault{}
	})
}

// damageMax bounds the write that a fault misdirects or loses: a batch or its
// identity, in one place.
const damageMax = 2 << 10

// loseWrite has the disk acknowledge one of the next small writes, and put it in
// another place or nowhere. The cache shows it where it belongs for a while, until
// two more batches of the log are durable. To lose it at once would be to ask the
// impossible of a log: if its newest batch is not there, or half of it, no log can
// tell that from a batch that was never synced.
func (n *node) loseWrite(f *Fault) {
	disk, r := n.disk, f.rand()
	n.failing = false
	n.sicken()
	skip := r.IntN(20)
	disk.SetHook(func(op vfs.Op) vfs.Fault {
		inLog := strings.HasPrefix(op.Name, "wal/")
		if op.Kind != vfs.OpWrite || op.Len == 0 || op.Len > damageMax || !inLog && !strings.HasPrefix(op.Name, "snapshots/") {
			return vfs.Fault{}
		}
		if skip--; skip >= 0 {
			return vfs.Fault{}
		}
		disk.SetHook(nil)
		before, err := n.contents(op.Name)
		if err != nil {
			return vfs.Fault{}
		}
		n.lie = &lie{op: op, before: before, syncs: 3, elsewhere: -1}
		if f.Kind == MisdirectWrite {
			n.lie.elsewhere = op.Offset ^ 512<<r.IntN(5) // one line of an address is stuck
		}
		return vfs.Fault{}
	})
}

// lie is a write that the disk lost.
type lie struct {
	op        vfs.Op
	before    []byte // the file, when it was written
	syncs     int    // of the log, until it comes out
	elsewhere int64  // where it was put; negative: nowhere
}

// synced tells that a batch of the log is durable.
func (n *node) synced() {
	l := n.lie
	if l == nil {
		return
	}
	if l.syncs--; l.syncs > 0 {
		return
	}
	n.lie = nil
	now, err := n.contents(l.op.Name)
	if err != nil {
		return // the file has gone
	}
	n.w.count(countWriteLost)
	n.w.tracef("node %d: disk never wrote %s at %d, %d bytes, but at %d", n.id, l.op.Name, l.op.Offset, l.op.Len, l.elsewhere)
	for i := range int64(l.op.Len) {
		at, to := l.op.Offset+i, byte(0)
		if at >= int64(len(now)) {
			break
		}
		if at < int64(len(l.before)) {
			to = l.before[at]
		}
		n.turn(l.op.Name, at, now[at]^to)
		if other := l.elsewhere + i; l.elsewhere >= 0 && other < int64(len(now)) {
			n.turn(l.op.Name, other, now[other]^now[at])
		}
	}
}

// turn flips bits of a byte on the disk.
func (n *node) turn(name string, at int64, mask byte) {
	if mask == 0 {
		return
	}
	if err := n.disk.Corrupt(name, at, mask); err != nil {
		n.w.fail(err)
	}
}

// rot flips bits of a sector in which something is written.
func (n *node) rot(f *Fault, dir string) {
	r := f.rand()
	n.disk.SetHook(nil)
	n.failing = false
	names, err := n.disk.List(dir)
	if err != nil || len(names) == 0 {
		return // nothing was written yet, or there is no power
	}
	for range 16 {
		name := dir + "/" + names[r.IntN(len(names))]
		data, err := n.contents(name)
		if err != nil {
			return
		}
		sectors := (len(data) + 511) / 512
		if sectors == 0 {
			continue
		}
		sector := r.IntN(sectors) * 512
		held := data[sector:min(len(data), sector+512)]
		if len(bytes.Trim(held, "\x00")) == 0 {
			continue // free space
		}
		n.sicken()
		n.w.count(countRotten)
		for range 1 + r.IntN(8) {
			at := int64(sector + r.IntN(len(held)))
			if err := n.disk.Corrupt(name, at, byte(1+r.IntN(255))); err != nil {
				return
			}
			n.w.tracef("node %d: %s rots at %d", n.id, name, at)
		}
		return
	}
}

// contents reads a file of the disk.
func (n *node) contents(name string) ([]byte, error) {
	f, err := n.disk.OpenRead(name)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	data := make([]byte, size)
	if err == nil {
		_, err = f.ReadAt(data, 0)
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return data, errors.Join(err, f.Close())
}

// wipe takes the disk away and brings the node back with an empty one, under its
// old id. The others refuse it: it does not remember what it promised (PS-09).
func (n *node) wipe(f *Fault) {
	n.sicken()
	if n.up {
		n.exit()
	}
	n.disk = vfs.NewMem()
	n.other, n.loss = nil, nil
	n.incarnation = 0
	n.wiped, n.away = true, false
	n.fault, n.failing, n.full, n.doubt = diskFault{}, false, false, false
	for _, g := range n.w.judges {
		g.Wiped(n.id)
	}
	n.restartIn(f.Back)
}
