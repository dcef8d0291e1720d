package keyspace

import (
	"context"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/store"
)

// KeepLeases ends leases that are over, while this member leads, until ctx ends.
func (k *Keyspace) KeepLeases(ctx context.Context) {
	p := k.config.Keeper
	for ctx.Err() == nil {
		if leader, term := k.group.Leader(); leader == k.config.Self {
			k.reign(ctx, p, term)
			continue
		}
		p.news.Wait(ctx, idleWait)
	}
}

// leads reports whether this member leads in a term.
func (k *Keyspace) leads(term raft.Term) bool {
	leader, now := k.group.Leader()
	return leader == k.config.Self && now == term
}

// reign keeps leases for as long as this member leads in term.
func (k *Keyspace) reign(ctx context.Context, p *Keeper, term raft.Term) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// All that earlier leaders had applied is in the store before the leases are
	// looked at. Those granted meanwhile are heard of or found by the second look.
	for {
		if err := k.confirm(ctx); err == nil {
			break
		}
		if ctx.Err() != nil || !k.leads(term) {
			return
		}
	}
	leases := k.store.Leases()
	now := k.runtime.Now()
	var gap, since time.Duration
	if h, ok := k.group.(interface{ Heard() time.Time }); ok {
		gap, since = p.passed(now, term, h.Heard())
	}
	for i := range leases {
		l := &leases[i]
		l.Remaining -= int64(since)
		if !k.store.LeaseSetIn(l.ID, uint64(term)) {
			l.Remaining -= int64(gap)
		}
	}
	p.tracker.Promote(now, leases)
	defer p.demote()
	for _, l := range k.store.Leases() {
		p.tracker.Granted(now, l.ID, l.TTL)
	}
	if gap > renewalPeriod && !k.checkpoint(ctx, leases, term) {
		return
	}
	r := &reign{p: p, last: now}
	for k.leads(term) && ctx.Err() == nil {
		revoke, renew, settle, wait := r.next(k.runtime.Now())
		for _, id := range revoke {
			k.runtime.Go(func() {
				defer r.ended(&r.revoking)
				k.end(ctx, p, id, term)
			})
		}
		if renew {
			k.runtime.Go(func() {
				defer r.ended(&r.renewing)
				k.renew(ctx, p)
			})
		}
		if settle {
			k.runtime.Go(func() {
				defer r.ended(&r.settling)
				k.settle(ctx, p)
			})
		}
		p.news.Wait(ctx, wait)
	}
	cancel()
	for r.busy() {
		p.news.Wait(context.Background(), idleWait)
	}
}

// checkpointMax bounds the leases of one command.
const checkpointMax = 1000

// checkpoint logs what leases have left, so that a later leader knows of the time
// that passed between the leaders before. It is waited for: renewals come after it
// in the log, or they would be undone. It reports false when this member's time as
// leader is over.
func (k *Keyspace) checkpoint(ctx context.Context, leases []store.LeaseInfo, term raft.Term) bool {
	for len(leases) > 0 {
		c := &store.LeaseCheckpointRequest{Term: uint64(term)}
		n := min(len(leases), checkpointMax)
		for _, l := range leases[:n] {
			c.Checkpoints = append(c.Checkpoints, store.LeaseCheckpoint{ID: l.ID, Remaining: l.Remaining})
		}
		if _, err := k.propose(ctx, c); err != nil {
			break // leases live a little longer under the next leader
		}
		leases = leases[n:]
	}
	return ctx.Err() == nil && k.leads(term)
}

// A reign decides what a leader has to do for leases, and when.
type reign struct {
	p *Keeper
	// last is when the last command of renewals was begun.
	last time.Time
	// The keeper's lock guards the counts of what is under way.
	revoking, renewing, settling int
}

// idleWait is how long to wait when there is no lease.
const idleWait = time.Hour

// next gives what is to be begun now, and counts it as begun: leases to revoke,
// whether to log renewals, and whether to settle doubts. It is to be asked again
// after wait, or when there are news. What cannot be begun yet is when something
// ends, which is news.
func (r *reign) next(now time.Time) (revoke []int64, renew, settle bool, wait time.Duration) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	revoke = p.tracker.Expired(now, revokesMax-r.revoking)
	r.revoking += len(revoke)
	expiry, leases := p.tracker.Next()
	due := r.last.Add(renewalPeriod)
	if len(p.waiting) > 0 {
		due = r.last.Add(renewalGap)
	}
	// Whoever waits is answered even if the last lease has gone meanwhile.
	wanted := leases || len(p.waiting) > 0
	if r.renewing == 0 && wanted && !now.Before(due) {
		renew, r.last = true, now
		r.renewing++
	}
	if len(p.doubts) > 0 && r.settling == 0 {
		settle = true
		r.settling++
	}
	wait = idleWait
	if leases && r.revoking < revokesMax {
		wait = min(wait, expiry.Sub(now))
	}
	if wanted && r.renewing == 0 {
		wait = min(wait, due.Sub(now))
	}
	return revoke, renew, settle, max(wait, 0)
}

// ended says that something that was begun has ended.
func (r *reign) ended(count *int) {
	r.p.mu.Lock()
	*count--
	r.p.mu.Unlock()
	r.p.news.Set()
}

// busy reports whether anything is under way.
func (r *reign) busy() bool {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	return r.revoking+r.renewing+r.settling > 0
}
