package sim

import (
	"errors"
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
// until the machine has lost power or times were called.
func (n *node) failCalls(times, oneOf int, kinds ...vfs.OpKind) {
	disk := n.disk
	n.failing = true
	disk.SetHook(func(op vfs.Op) vfs.Fault {
		for _, k := range kinds {
			if op.Kind != k || n.w.diskRand.IntN(oneOf) > 0 {
				continue
			}
			n.hurt = true
			if times--; times == 0 {
				disk.SetHook(nil)
				n.failing = false
			}
			n.w.tracef("node %d: disk fails to %v %s at %d", n.id, op.Kind, op.Name, op.Offset)
			return vfs.Fault{Err: errDisk, Partial: n.w.diskRand.IntN(op.Len + 1)}
		}
		return vfs.Fault{}
	})
}
