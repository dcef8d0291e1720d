package store

import (
	"fmt"
	"math"
)

// A state is what a store knows beside its records. All of it but reclaimable is
// the same on every replica that applied the same commands.
type state struct {
	// applied is the index of the last command.
	applied uint64
	// revision is that of the last change; 1 before the first.
	revision int64
	// compacted is the revision up to which history was forgotten: reads before
	// it are refused. -1 before the first compaction.
	compacted int64
	// keys counts the keys that exist.
	keys int64
	// bytes is about what all versions take that were not deleted from the engine.
	// Not the same on every replica.
	bytes int64
	// hash is a chain over every change since the beginning.
	hash uint64
	// clock is the log's own time, in nanoseconds: how long leaders have been
	// seen to be at work, by their own clocks and without the gaps between them.
	clock int64
	// term and timestamp are of the last entry that moved the clock.
	term      uint64
	timestamp int64
	// restoring: a snapshot is being put in, and nothing else here counts.
	restoring bool
}

func newState() state { return state{revision: 1, compacted: -1} }

// observe moves the clock on to an entry. Timestamps of different terms come
// from different clocks and are never compared.
func (s *state) observe(term uint64, timestamp int64) {
	if term == s.term && timestamp > s.timestamp {
		if d := timestamp - s.timestamp; d > 0 && s.clock <= math.MaxInt64-d {
			s.clock += d
		}
	}
	if term != s.term || timestamp > s.timestamp {
		s.term, s.timestamp = term, timestamp
	}
}

func (s *state) appendTo(dst []byte) []byte {
	dst = append(dst, recordVersion, bit(s.restoring, 1))
	dst = appendUint(dst, s.applied)
	dst = appendInt(dst, s.revision)
	dst = appendInt(dst, s.compacted)
	dst = appendInt(dst, s.keys)
	dst = appendInt(dst, s.bytes)
	dst = appendUint(dst, s.hash)
	dst = appendInt(dst, s.clock)
	dst = appendUint(dst, s.term)
	return appendInt(dst, s.timestamp)
}

func (r *reader) state() (state, error) {
	if v := r.byte(); v != recordVersion {
		return state{}, fmt.Errorf("%w: state of version %d", ErrUnknownVersion, v)
	}
	s := state{
		restoring: r.flags(1) != 0, applied: r.uint(), revision: r.int(), compacted: r.int(),
		keys: r.int(), bytes: r.int(), hash: r.uint(), clock: r.int(), term: r.uint(), timestamp: r.int(),
	}
	if r.bad || s.revision < 1 || s.compacted < -1 || s.compacted > s.revision {
		return state{}, fmt.Errorf("%w: state", errDamaged)
	}
	return s, nil
}

func decodeState(b []byte) (state, error) {
	r := reader{b: b}
	s, err := r.state()
	if err == nil && !r.done() {
		err = fmt.Errorf("%w: state is %d bytes too long", errDamaged, len(r.b))
	}
	return s, err
}
