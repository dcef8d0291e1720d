package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store/engine"
)

// Observer hears what happens to a store, on the goroutine that applies. It must
// not wait, and must not call the store.
type Observer interface {
	// Wants says whether Committed is to be given events, and whether those are
	// to have their Prev.
	Wants() (events, prevs bool)
	// Committed says that reads now see the store at revision, compacted up to
	// compacted. Commits, the observer's to keep, are what changed since the last
	// call, or nothing or some of it if Wants said no meanwhile.
	Committed(revision, compacted int64, commits []Commit)
	// Restored says that another state took the place of the old one.
	Restored(revision, compacted int64)
}

// LeaseObserver is an Observer that also hears of leases, before Committed of the
// commit that granted or revoked them. After Restored it asks the store.
type LeaseObserver interface {
	Observer
	// LeaseGranted gives the time to live in seconds.
	LeaseGranted(id, ttl int64)
	LeaseRevoked(id int64)
}

// CheckObserver is an Observer that also hears of CheckRequests, before Committed of
// their commit.
type CheckObserver interface {
	Observer
	// Sampled gives what the state hashed to where the log asked for it, at index.
	Sampled(index, hash uint64)
	// Reported gives what a member told of its sample.
	Reported(sample, member, hash uint64)
}

// ClockObserver is an Observer that also hears that the log went on, while there are
// leases, before readers see it. Term is that of the last command.
type ClockObserver interface {
	Observer
	ClockMoved(term uint64)
}

// Store is the state machine. See the package for who may call what when.
type Store struct {
	engine   engine.Engine
	observer Observer
	leases   LeaseObserver // the observer, if it is one
	checks   CheckObserver // likewise
	clocks   ClockObserver // likewise

	// published is the state as of the last commit to the engine.
	published atomic.Pointer[state]
	side      side

	// life is held by readers for the time of a read, and by who puts another
	// state in the place of this one.
	life   sync.RWMutex
	closed bool

	// writing is held by who commits: Apply, and Reclaim beside it.
	writing   sync.Mutex
	applier   *applier
	reclaimer reclaimer
	failed    error
}

var _ rsm.OnDisk = (*Store)(nil)

// Open gives the store that an engine holds, a new one if it is empty. The engine
// must be made with Split, and is the store's to close. The observer may be nil.
func Open(e engine.Engine, observer Observer) (*Store, error) {
	s := &Store{engine: e, observer: observer}
	s.leases, _ = observer.(LeaseObserver)
	s.checks, _ = observer.(CheckObserver)
	s.clocks, _ = observer.(ClockObserver)
	s.applier = newApplier(s)
	if err := s.load(); err != nil {
		return nil, err
	}
	if s.published.Load().restoring {
		// A crash cut a Restore short: what there is is a part of a snapshot.
		if err := s.wipe(false); err != nil {
			return nil, err
		}
		if err := s.load(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// load takes up what the engine holds.
func (s *Store) load() error {
	st := newState()
	b, ok, err := s.engine.Get(nil, stateKey)
	if err == nil && ok {
		st, err = decodeState(b)
	}
	if err != nil {
		return fmt.Errorf("store: open: %w", err)
	}
	s.side.reset()
	if !st.restoring {
		if err := s.loadSide(); err != nil {
			return fmt.Errorf("store: open: %w", err)
		}
	}
	if err := s.reclaimer.load(s.engine); err != nil {
		return fmt.Errorf("store: open: %w", err)
	}
	s.published.Store(&st)
	return nil
}

func (s *Store) loadSide() error {
	s.side.mu.Lock()
	defer s.side.mu.Unlock()
	return errors.Join(
		eachRecord(s.engine, spaceLease, func(k, v []byte) error {
			id, err := decodeU64Key(k)
			if err != nil {
				return err
			}
			l, err := decodeLease(int64(id), v)
			if err == nil {
				s.side.leases[l.id] = l
			}
			return err
		}),
		eachRecord(s.engine, spaceAlarm, func(k, _ []byte) error {
			a, err := decodeAlarmKey(k)
			if err == nil {
				s.side.raise(a)
			}
			return err
		}),
		eachRecord(s.engine, spaceMember, func(_, v []byte) error {
			m, err := decodeMember(v)
			if err == nil {
				s.side.members[m.ID] = m
			}
			return err
		}),
	)
}

// eachRecord visits the records of a space in order.
func eachRecord(r engine.Reader, space byte, visit func(k, v []byte) error) error {
	lower, upper := spaceBounds(space)
	it, err := r.NewIterator(lower, upper)
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = visit(it.Key(), it.Value())
	}
	return errors.Join(err, it.Error(), it.Close())
}

// Apply applies commands. A refused command is a result; an error says that this
// replica cannot go on, and every later Apply fails with it.
func (s *Store) Apply(entries []rsm.Entry) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.failed != nil {
		return s.failed
	}
	a := s.applier
	a.begin()
	changes := 0
	for i := range entries {
		if err := a.entry(&entries[i]); err != nil {
			return s.fail(err)
		}
		changes++
	}
	if err := s.reclaimer.step(s, a.batch, 2*changes, &a.state.bytes); err != nil {
		return s.fail(err)
	}
	if err := a.commit(); err != nil {
		return s.fail(err)
	}
	return nil
}

func (s *Store) fail(err error) error {
	s.failed = errors.Join(err, s.applier.release(), s.applier.recent.release())
	return s.failed
}

// DurableIndex is the index of the last command that a crash cannot take. While a
// snapshot is being restored it is 0: a crash then leaves nothing but the
// snapshot to start from.
func (s *Store) DurableIndex() raft.Index {
	b, ok, err := s.engine.GetDurable(nil, stateKey)
	if err != nil || !ok {
		return 0
	}
	st, err := decodeState(b)
	if err != nil || st.restoring {
		return 0
	}
	return raft.Index(st.applied)
}

// Flush starts to make durable what is applied. That it failed shows in the
// engine's Err, and in that DurableIndex stays.
func (s *Store) Flush() { _ = s.engine.Flush() }

// Engine gives the engine, for its metrics.
func (s *Store) Engine() engine.Engine { return s.engine }

// Close waits for reads under way and closes the engine. What is not durable has
// to be applied again.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.writing.Lock()
	defer s.writing.Unlock()
	s.failed = ErrClosed
	err := errors.Join(s.applier.release(), s.applier.recent.release())
	s.applier.batch.Close()
	return errors.Join(err, s.engine.Close())
}

// enter begins a read, exit ends it.
func (s *Store) enter() error {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) exit() { s.life.RUnlock() }

// Status is the state of a store at one moment.
type Status struct {
	Applied  raft.Index
	Revision int64
	// Compacted is the revision up to which history is gone; -1 if none is.
	Compacted int64
	// Keys counts the keys that exist.
	Keys int64
	// Bytes is about what keys and values take, history included, before
	// compression; it falls as compacted history is deleted.
	Bytes int64
	// Hash is a chain over all that commands changed since the beginning: equal on
	// every replica at the same Applied.
	Hash uint64
}

// Status gives the state as of the last commit.
func (s *Store) Status() Status {
	st := s.published.Load()
	return Status{
		Applied: raft.Index(st.applied), Revision: st.revision, Compacted: st.compacted, Keys: st.keys, Bytes: st.bytes, Hash: st.hash,
	}
}

// Revision is that of the last change; 1 before the first.
func (s *Store) Revision() int64 { return s.published.Load().revision }

// Alarms lists the raised alarms of a type, or all of them for AlarmNone.
func (s *Store) Alarms(of AlarmType) []Alarm { return s.side.listAlarms(of) }

// Members lists what members published, by their id.
func (s *Store) Members() []Member { return s.side.listMembers() }

// Read answers a *RangeRequest with a *RangeResponse and a *TxnRequest that is
// ReadOnly with a *TxnResponse.
func (s *Store) Read(ctx context.Context, query any) (any, error) {
	switch q := query.(type) {
	case *RangeRequest:
		return s.Range(ctx, q)
	case *TxnRequest:
		return s.ReadTxn(ctx, q)
	}
	return nil, fmt.Errorf("store: no such query: %T", query)
}

// Range answers a range from what is published. What it answers is the caller's.
func (s *Store) Range(ctx context.Context, q *RangeRequest) (*RangeResponse, error) {
	return s.ranged(ctx, q, true)
}

// RangePart is Range, but Count is of no use unless CountOnly is set: keys beyond
// the limit are not counted, which is what costs most in a large range.
func (s *Store) RangePart(ctx context.Context, q *RangeRequest) (*RangeResponse, error) {
	return s.ranged(ctx, q, false)
}

func (s *Store) ranged(ctx context.Context, q *RangeRequest, count bool) (*RangeResponse, error) {
	var resp *RangeResponse
	err := s.viewed(ctx, keyRange{q.Key, q.RangeEnd}, func(a answerer) (err error) {
		resp, err = a.answer(q, count)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// ReadTxn answers a transaction that is ReadOnly, all of it at one revision.
func (s *Store) ReadTxn(ctx context.Context, t *TxnRequest) (*TxnResponse, error) {
	if !t.ReadOnly() {
		return nil, ErrInvalid
	}
	var resp *TxnResponse
	err := s.viewed(ctx, everything, func(a answerer) (err error) {
		x := executor{answerer: a}
		resp, err = x.txn(t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// viewed has a read done on one picture of the store, through an iterator over r.
//
// The revision is taken first and the picture after it, so the picture has all
// of it; newer versions are passed over. What a compaction made superfluous is
// deleted only after it was published, so if the revision is still not compacted
// once there is a picture, nothing of it is missing.
func (s *Store) viewed(ctx context.Context, r keyRange, read func(answerer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.exit()
	for {
		st := s.published.Load()
		v := &view{reader: s.engine}
		if err := v.open(r); err != nil {
			return err
		}
		compacted := s.published.Load().compacted
		if compacted > st.revision {
			if err := v.close(); err != nil {
				return err
			}
			continue
		}
		err := read(answerer{src: v, ctx: ctx, current: st.revision, compacted: compacted})
		return errors.Join(err, v.close())
	}
}

// LeaseKeys gives the keys that are attached to a lease, in order.
func (s *Store) LeaseKeys(id int64) ([][]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.exit()
	return s.leaseKeys(s.engine, id)
}

func (s *Store) leaseKeys(r engine.Reader, id int64) ([][]byte, error) {
	lower := appendU64Key(nil, spaceLeaseKey, uint64(id))
	upper := appendU64Key(nil, spaceLeaseKey, uint64(id)+1)
	if uint64(id)+1 == 0 {
		_, upper = spaceBounds(spaceLeaseKey)
	}
	it, err := r.NewIterator(lower, upper)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	var copies arena
	for ok := it.First(); ok; ok = it.Next() {
		keys = append(keys, copies.copy(it.Key()[len(lower):]))
	}
	return keys, errors.Join(it.Error(), it.Close())
}
