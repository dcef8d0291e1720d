package engine

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/quorate/quorate/vfs"
)

// A pressure holds commits back while the disk does not keep up. Pebble would do
// that too, but for as long as the disk takes, in a call that nothing ends: a
// commit that waits here is called off when the engine fails or is closed.
type pressure struct {
	// unlooked is what was committed since it was looked at last.
	unlooked atomic.Int64
	// failures counts those in a row.
	failures atomic.Int64

	mu      sync.Mutex
	eased   chan struct{} // closed, and another one made, when a flush or a compaction ends
	shut    sync.Once
	closing chan struct{}
}

const (
	// pressureSlack is how many memtables more than that Pebble may have before it
	// holds commits back itself.
	pressureSlack = 4
	// l0Sublevels is how many tables a read may have to look into at the top level
	// before commits wait for compactions: thrice the number at which they begin, as
	// Pebble has it.
	l0Sublevels = 3 * l0Compaction
	// failuresMax is how many flushes and compactions in a row may fail before the
	// engine has failed for good. A full disk is none: there may be space again.
	failuresMax = 32
)

func (s *pressure) close() { s.shut.Do(func() { close(s.closing) }) }

func (s *pressure) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.eased
}

func (s *pressure) ease() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.eased)
	s.eased = make(chan struct{})
}

// ended hears of a flush or a compaction.
func (p *Pebble) ended(err error) {
	if err == nil && p.pressure.failures.Swap(0) > 0 {
		p.opt.Logger.Warn("the store's engine can write again")
	}
	p.pressure.ease()
}

// backgroundError hears of one that failed and is tried again, at once and for ever.
// It is called by the goroutine that does so, and ends it once the engine has failed.
func (p *Pebble) backgroundError(err error) {
	p.backgroundErrors.Add(1)
	full := errors.Is(err, vfs.ErrNoSpace) || errors.Is(err, syscall.ENOSPC)
	switch n := p.pressure.failures.Add(1); {
	case n == 1 && full:
		p.opt.Logger.Error("the store's engine finds no space on its disk; it tries again until there is", "error", err)
	case n == 1:
		p.opt.Logger.Error("the store's engine could not write; it tries again", "error", err)
	case n >= failuresMax && !full:
		p.log.fail(err)
	}
	if p.log.failed() != nil {
		runtime.Goexit()
	}
}

// room waits until the engine can take a batch. It looks only now and then, since
// that costs as much as a commit.
func (p *Pebble) room(bytes int) error {
	s := &p.pressure
	if s.unlooked.Add(int64(bytes)) < int64(p.opt.MemTableBytes/4) {
		return nil
	}
	for waits := 0; ; waits++ {
		s.unlooked.Store(0)
		eased := s.next()
		m, err := p.metrics()
		if err != nil {
			return err
		}
		// Not by their number: the first ones are small, and wait for each other.
		if m.MemTable.Size <= uint64(p.opt.MemTables)*p.opt.MemTableBytes && m.Levels[0].Sublevels < l0Sublevels {
			return p.log.failed()
		}
		if waits == 0 {
			p.stalls.Add(1)
		}
		select {
		case <-eased:
		case <-p.log.dead:
			return p.log.failed()
		case <-s.closing:
			return ErrClosed
		}
	}
}
