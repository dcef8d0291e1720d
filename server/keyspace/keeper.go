package keyspace

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/lease"
)

const (
	// renewalPeriod is P: how long the log may go without the time that passed for
	// leases, and what a new leader adds to each deadline.
	renewalPeriod = 250 * time.Millisecond
	// renewalGap is the least time between two commands of renewals: those that
	// come in between share the next one.
	renewalGap = 20 * time.Millisecond
	// revokeRetry is when the revocation of a lease that is still there is proposed
	// again.
	revokeRetry = time.Second
	// revokesMax bounds how many are under way at a time.
	revokesMax = 64
)

// A Keeper ends leases while this member leads, and keeps those alive whose
// holders ask. It is the store's lease observer, and answers what other members
// ask the leader. All methods are safe for concurrent use.
type Keeper struct {
	runtime Runtime
	tracker *lease.Tracker
	// news is set when leadership may have changed, when there is a lease or a
	// renewal, and when something that was begun has ended.
	news Signal

	mu sync.Mutex
	// waiting are keep-alives that the next command of renewals confirms; dying
	// those of leases that are over, until it is clear what became of them.
	waiting []renewal
	dying   map[int64][]renewal
	// doubts are questions that only the leader can answer, who must first know that
	// it still is.
	doubts []doubt

	// When the log last went on here: term is that of the last command, and moved when
	// it was applied. leads as this member last heard, hunted when it last heard that it
	// did not, ceded when it last ceased to. born is when all this began.
	term                       uint64
	leads                      bool
	moved, hunted, ceded, born time.Time
}

// renewal is a keep-alive that waits for its answer.
type renewal struct {
	id, ttl int64
	answer  func(result rsm.Result, ok bool)
}

// doubt is a question that waits until it is sure that this member leads.
type doubt struct {
	kind   byte
	id     int64
	answer func(result rsm.Result, ok bool)
}

// NewKeeper makes a keeper that does not lead.
func NewKeeper(runtime Runtime) *Keeper {
	return &Keeper{
		runtime: runtime, tracker: lease.New(renewalPeriod, revokeRetry), news: runtime.NewSignal(), born: runtime.Now(), dying: map[int64][]renewal{},
	}
}

// LeaseGranted is called when a grant is applied.
func (p *Keeper) LeaseGranted(id, ttl int64) {
	p.tracker.Granted(p.runtime.Now(), id, ttl)
	p.news.Set()
}

// LeaseRevoked is called when a revocation is applied.
func (p *Keeper) LeaseRevoked(id int64) {
	p.tracker.Revoked(id)
	p.mu.Lock()
	gone := p.dying[id]
	delete(p.dying, id)
	p.mu.Unlock()
	for _, r := range gone {
		r.answer(leaseAnswer(answerNotFound, 0), true)
	}
}

// LeaderChanged is called when leadership may have changed, and told whether this
// member leads now.
func (p *Keeper) LeaderChanged(leads bool) {
	p.mu.Lock()
	if !leads {
		p.hunted = p.runtime.Now()
		if p.leads {
			p.ceded = p.hunted
		}
	}
	p.leads = leads
	p.mu.Unlock()
	p.news.Set()
}

// ClockMoved is called when commands are applied, while there are leases.
func (p *Keeper) ClockMoved(term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.term, p.moved = term, p.runtime.Now()
}

// passed is how much more time has passed than the log's clock knows, for one who
// leads in a term, has just read the leases, and last heard of entries of another
// leader at heard: since for leases whose deadline was set in this term, and gap
// beside it for those of older ones. The clock stands still between two leaders, since theirs are never
// compared; but a member knows by its own how long ago it got the last of what is in
// its log, from another leader or by leading itself. It is never more than what
// passed: an entry is older than its arrival, and an election begins before it is won.
func (p *Keeper) passed(now time.Time, term raft.Term, heard time.Time) (gap, since time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range []time.Time{p.born, p.ceded} {
		if t.After(heard) {
			heard = t
		}
	}
	if p.term != uint64(term) {
		return max(now.Sub(heard), 0), 0 // nothing of this leader's is applied
	}
	// The log's clock goes on since this leader's first command.
	return max(p.hunted.Sub(heard), 0), max(now.Sub(p.moved), 0)
}

// A question to the leader, and its answer:
//
//	+-----+------+-----------+       +--------+------------------+
//	|  0  | kind | lease id  |       | status | nanoseconds left |
//	| u8  |  u8  |    u64    |       |   u8   |  or TTL, u64     |
//	+-----+------+-----------+       +--------+------------------+
//
// No command of the store begins with 0: one that found its way into the log
// would be refused there.
const (
	questionLen  = 10
	askKeepAlive = 1
	askRemaining = 2

	answerLen      = 9
	answerDone     = 0
	answerNotFound = 1
)

func question(kind byte, id int64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{0, kind}, uint64(id))
}

func leaseAnswer(status byte, value int64) rsm.Result {
	return rsm.Result{Data: binary.LittleEndian.AppendUint64([]byte{status}, uint64(value))}
}

// Answer takes questions out of what is proposed; see node.GroupConfig.
func (p *Keeper) Answer(command []byte) func(reply func(result rsm.Result, ok bool)) {
	if len(command) != questionLen || command[0] != 0 {
		return nil
	}
	kind, id := command[1], int64(binary.LittleEndian.Uint64(command[2:]))
	switch kind {
	case askKeepAlive:
		return func(reply func(rsm.Result, bool)) { p.keepAlive(id, reply) }
	case askRemaining:
		return func(reply func(rsm.Result, bool)) { p.doubt(kind, id, reply) }
	}
	return nil
}

// doubt has a question answered once it is sure that this member leads: one that
// was replaced without knowing it, because it was paused or cut off, knows neither
// the leases that were granted since nor what was renewed.
func (p *Keeper) doubt(kind byte, id int64, reply func(rsm.Result, bool)) {
	p.mu.Lock()
	leading := p.tracker.Leading() // until demote has the lock, and takes what is here
	if leading {
		p.doubts = append(p.doubts, doubt{kind, id, reply})
	}
	p.mu.Unlock()
	if !leading {
		reply(rsm.Result{}, false)
		return
	}
	p.news.Set()
}

func (p *Keeper) keepAlive(id int64, reply func(rsm.Result, bool)) {
	p.mu.Lock()
	ttl, err := p.tracker.KeepAlive(p.runtime.Now(), id)
	r := renewal{id: id, ttl: ttl, answer: reply}
	switch {
	case err == nil:
		p.waiting = append(p.waiting, r)
	case errors.Is(err, lease.ErrExpired):
		p.dying[id] = append(p.dying[id], r)
	}
	p.mu.Unlock()
	switch {
	case err == nil:
		p.news.Set()
	case errors.Is(err, lease.ErrNotFound):
		p.doubt(askKeepAlive, id, reply)
	case !errors.Is(err, lease.ErrExpired):
		reply(rsm.Result{}, false)
	}
}

// demote ends leading: whoever waits is to ask the next leader.
func (p *Keeper) demote() {
	p.tracker.Demote()
	p.mu.Lock()
	waiting := p.waiting
	for _, id := range slices.Sorted(maps.Keys(p.dying)) {
		waiting = append(waiting, p.dying[id]...)
	}
	doubts := p.doubts
	p.waiting, p.doubts = nil, nil
	clear(p.dying)
	p.mu.Unlock()
	for _, r := range waiting {
		r.answer(rsm.Result{}, false)
	}
	for _, d := range doubts {
		d.answer(rsm.Result{}, false)
	}
}

// end proposes the end of a lease that is over.
func (k *Keyspace) end(ctx context.Context, p *Keeper, id int64, term raft.Term) {
	_, err := k.propose(ctx, &store.LeaseRevokeRequest{ID: id, Term: uint64(term)})
	switch {
	case errors.Is(err, store.ErrLeaseNotFound):
		p.LeaseRevoked(id)
	case err == nil:
		k.leasesExpired.Add(1)
	case errors.Is(err, store.ErrInvalid):
		// Another term has begun, whose leader decides.
	case ctx.Err() == nil:
		k.config.Logger.Warn("a lease that is over could not be revoked yet", slog.Int64("lease", id), slog.Any("error", err))
	}
}

// renew logs what was kept alive, and answers whoever waits for it.
func (k *Keyspace) renew(ctx context.Context, p *Keeper) {
	p.mu.Lock()
	waiting := p.waiting
	p.waiting = nil
	command := p.tracker.Renewals()
	p.mu.Unlock()
	var err error
	if command != nil {
		_, err = k.propose(ctx, command)
	}
	for _, r := range waiting {
		switch _, alive := k.store.Lease(r.id); {
		case err != nil:
			r.answer(rsm.Result{}, false)
		case !alive:
			r.answer(leaseAnswer(answerNotFound, 0), true)
		default:
			r.answer(leaseAnswer(answerDone, r.ttl), true)
		}
	}
}

// settle answers what was in doubt, all by one round of messages.
func (k *Keyspace) settle(ctx context.Context, p *Keeper) {
	p.mu.Lock()
	doubts := p.doubts
	p.doubts = nil
	p.mu.Unlock()
	err := k.confirm(ctx)
	for _, d := range doubts {
		_, alive := k.store.Lease(d.id)
		left, _, lost := p.tracker.Remaining(k.runtime.Now(), d.id)
		switch {
		case err != nil:
			d.answer(rsm.Result{}, false)
		case !alive:
			d.answer(leaseAnswer(answerNotFound, 0), true)
		case d.kind == askRemaining && lost == nil:
			d.answer(leaseAnswer(answerDone, int64(left)), true)
		default: // it has just been granted: to be asked again
			d.answer(rsm.Result{}, false)
		}
	}
}

// ask has the leader answer a question about a lease. It is tried again until
// there is an answer, since asking twice does no harm.
func (k *Keyspace) ask(ctx context.Context, kind byte, id int64) (int64, error) {
	bounded, cancel := k.within(ctx)
	defer cancel()
	for {
		result, err := k.proposeToLeader(bounded, question(kind, id))
		switch {
		case errors.Is(err, node.ErrUnknownOutcome) && bounded.Err() == nil:
			if k.awaitLeader(bounded, err) {
				continue
			}
			return 0, timedOut(bounded, err)
		case err != nil:
			return 0, timedOut(bounded, err)
		case len(result.Data) != answerLen:
			return 0, store.ErrBadResult
		case result.Data[0] == answerNotFound:
			return 0, store.ErrLeaseNotFound
		}
		return int64(binary.LittleEndian.Uint64(result.Data[1:])), nil
	}
}
