package vfs

import "time"

// OpKind says what a call does.
type OpKind uint8

// The calls. Those up to OpMkdir change the disk or what is durable of it.
const (
	OpCreate OpKind = iota
	OpWrite
	OpPreallocate
	OpTruncate
	OpSyncData
	OpSync
	OpSyncDir
	OpRename
	OpRemove
	OpLock
	OpMkdir
	OpOpen
	OpOpenRead
	OpRead
	OpSize
	OpList
	OpFreeBytes
)

var opNames = [...]string{
	"create", "write", "preallocate", "truncate", "sync data", "sync", "sync directory", "rename",
	"remove", "lock", "mkdir", "open", "open for reading", "read", "size", "list", "free bytes",
}

// String gives the call's name.
func (k OpKind) String() string {
	if int(k) < len(opNames) {
		return opNames[k]
	}
	return "unknown call"
}

// Changes reports whether such a call may change the disk.
func (k OpKind) Changes() bool { return k <= OpMkdir }

// Op is one call.
type Op struct {
	// N counts the calls that may change the disk, from 1. A call that only
	// reads has the number of the change before it.
	N    uint64
	Kind OpKind
	Name string
	// NewName is that of a rename.
	NewName string
	// Offset and Len are those of a read or a write; Offset is the size of a
	// Preallocate or Truncate.
	Offset int64
	Len    int
}

// Fault is what a Hook does to a call. The zero Fault lets it be.
type Fault struct {
	// Err makes the call fail. A failed SyncData or Sync drops what was not
	// synced, as Linux does: reads still give it, a later sync succeeds and does
	// not write it, a crash loses it.
	Err error
	// StayDirty: a failed sync drops nothing; a later one may succeed.
	StayDirty bool
	// Partial is how many bytes of a write that fails are written first.
	Partial int
	// Lost: a write, sync or SyncDir succeeds and does nothing (a lying disk).
	Lost bool
	// Misdirect: a write lands at Offset in place of its own, and reports
	// success.
	Misdirect bool
	Offset    int64
	// Delay is handed to the function of SetWaiter before the call takes
	// effect. Without a waiter it is ignored.
	Delay time.Duration
}

// Hook is asked before each call takes effect. It is called without a lock held
// and may itself block (a disk that stalls), or call this Mem.
type Hook func(Op) Fault

// SetHook sets the hook; nil removes it.
func (m *Mem) SetHook(h Hook) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = h
}

// SetWaiter sets what passes the time of Fault.Delay: time.Sleep in a synctest
// bubble, or a simulator's clock.
func (m *Mem) SetWaiter(wait func(time.Duration)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wait = wait
}

// Changes counts the calls so far that may change the disk (OpKind.Changes), also
// those that failed.
func (m *Mem) Changes() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changes
}

// StopAt makes the n-th changing call and every call after it, reads included,
// fail with ErrCrashed without effect: the machine has lost power before call n.
// CrashClone or Crash then gives the disk. Zero takes StopAt back.
func (m *Mem) StopAt(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopAt = n
}

// begin numbers, logs and judges a call. Without an error it returns with m.mu
// held. A Fault that is left to the call comes back with a nil error: those of
// writes and syncs, which have an effect of their own.
func (m *Mem) begin(op Op) (Fault, error) {
	m.mu.Lock()
	if err := m.dead(op.Kind); err != nil {
		m.mu.Unlock()
		return Fault{}, err
	}
	if op.Kind.Changes() {
		m.changes++
	}
	op.N = m.changes
	m.log.add(op)
	if m.hook == nil {
		return Fault{}, nil
	}
	hook, wait := m.hook, m.wait
	m.mu.Unlock()
	fault := hook(op)
	if fault.Delay > 0 && wait != nil {
		wait(fault.Delay)
	}
	ownEffect := op.Kind == OpWrite || op.Kind == OpSyncData || op.Kind == OpSync
	if fault.Err != nil && !ownEffect {
		return Fault{}, fault.Err
	}
	m.mu.Lock()
	if m.disk == nil { // lost power while it waited
		m.mu.Unlock()
		return Fault{}, ErrCrashed
	}
	return fault, nil
}

// dead reports whether a call of this kind finds the machine without power.
func (m *Mem) dead(kind OpKind) error {
	stopped := m.stopAt != 0 && (m.changes >= m.stopAt || kind.Changes() && m.changes+1 >= m.stopAt)
	if m.disk == nil || stopped {
		if stopped && kind.Changes() {
			m.changes = max(m.changes, m.stopAt) // reads fail from now on, too
		}
		return ErrCrashed
	}
	return nil
}

// opLog keeps the last calls.
type opLog struct {
	ops  []Op
	next int
}

const opLogMax = 1024

func (l *opLog) add(op Op) {
	if len(l.ops) < opLogMax {
		l.ops = append(l.ops, op)
		return
	}
	l.ops[l.next] = op
	l.next = (l.next + 1) % opLogMax
}

// Log gives the last calls, up to 1,024, oldest first.
func (m *Mem) Log() []Op {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append(append([]Op(nil), m.log.ops[m.log.next:]...), m.log.ops[:m.log.next]...)
}
