package keyspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/store"
)

// An Auditor compares this member's state with that of the others, through the
// log:
//
//	leader       proposes a sample: a place in the log
//	every member notes what its state hashes to there, and proposes a report of it
//	every member hears all reports in the same order, and compares them
//
// Members of whom more than half of the voters report another hash than theirs are
// divergent: their state is wrong, through a broken disk, memory or program. Since
// it takes a majority that agrees, a majority is never among them; where none
// agrees, nothing is done. A divergent member quarantines itself, and whoever leads
// raises an alarm for it. All costs an entry for each member and interval, and none
// while nothing changes.
//
// An Auditor is the store's check observer. All methods are safe for concurrent use.
type Auditor struct {
	news Signal

	mu      sync.Mutex
	sampled []report // of this member, to be proposed
	heard   []report
}

// report is what a member's state hashed to at a sample.
type report struct {
	sample, member, hash uint64
}

// NewAuditor makes an auditor that has heard nothing.
func NewAuditor(runtime Runtime) *Auditor { return &Auditor{news: runtime.NewSignal()} }

// heardMax bounds what waits to be compared. Who floods the log with reports has
// the oldest forgotten, and nothing is compared.
const heardMax = 256

// Sampled is called when a sample is applied.
func (a *Auditor) Sampled(index, hash uint64) {
	a.mu.Lock()
	a.sampled = []report{{sample: index, hash: hash}} // the newest is enough
	a.mu.Unlock()
	a.news.Set()
}

// Reported is called when a report is applied.
func (a *Auditor) Reported(sample, member, hash uint64) {
	a.mu.Lock()
	if len(a.heard) < heardMax {
		a.heard = append(a.heard, report{sample, member, hash})
	}
	a.mu.Unlock()
	a.news.Set()
}

func (a *Auditor) take() (sampled, heard []report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	sampled, heard = a.sampled, a.heard
	a.sampled, a.heard = nil, nil
	return sampled, heard
}

// ErrDivergent: this member's state is not that of the majority.
var ErrDivergent = errors.New("keyspace: this member's state differs from that of a majority of the members")

// A ballot is the reports of one sample, by member.
type ballot map[uint64]uint64

// divergent gives the members whose reports differ from what more than half of the
// voters agree on, in each half of a joint configuration. Without such an agreement
// there is none.
func (b ballot) divergent(c *raft.Configuration) (members []uint64, agreed uint64) {
	halves := [][]raft.NodeID{nil}
	for _, m := range c.Members {
		if m.Role == raft.Voter {
			halves[0] = append(halves[0], m.ID)
		}
	}
	if c.Joint() {
		halves = append(halves, c.Outgoing)
	}
	for i, voters := range halves {
		votes := map[uint64]int{}
		for _, v := range voters {
			if hash, told := b[uint64(v)]; told {
				votes[hash]++
			}
		}
		found := false
		for hash, n := range votes {
			if n > len(voters)/2 && (i == 0 || hash == agreed) {
				agreed, found = hash, true
			}
		}
		if !found {
			return nil, 0
		}
	}
	for member, hash := range b {
		if hash != agreed {
			members = append(members, member)
		}
	}
	slices.Sort(members)
	return members, agreed
}

// ballotsMax is how many samples are compared at a time: reports of older ones
// come too late.
const ballotsMax = 4

// condemnedMax is for how many intervals a member waits for another leader to raise
// an alarm, or does so itself if it comes to lead.
const condemnedMax = 10

// audit is what an Audit remembers.
type audit struct {
	k        *Keyspace
	ballots  map[uint64]ballot
	samples  []uint64 // their order
	condemns map[uint64]time.Time
	// from is the first sample that counts: what the log says of earlier ones may be
	// about a state that was mended since.
	from uint64
	// due is when the next sample is to be proposed, if this member leads; seen is
	// the hash that all voters last agreed on.
	due  time.Time
	seen uint64
}

// Audit compares states until ctx ends, every interval if anything changed, or
// until this member is found divergent: then it calls quarantine, with an error that
// is ErrDivergent, and returns.
func (k *Keyspace) Audit(ctx context.Context, interval time.Duration, quarantine func(error)) {
	a := &audit{k: k, ballots: map[uint64]ballot{}, condemns: map[uint64]time.Time{}, due: k.runtime.Now().Add(interval)}
	auditor := k.config.Auditor
	for k.confirm(ctx) != nil {
		if ctx.Err() != nil {
			return
		}
		auditor.news.Wait(ctx, interval)
	}
	a.from = uint64(k.store.Status().Applied) + 1
	for ctx.Err() == nil {
		sampled, heard := auditor.take()
		for _, r := range heard {
			if r.sample >= a.from {
				a.put(r)
			}
		}
		if len(heard) > 0 {
			if err := a.judge(ctx); err != nil {
				quarantine(err)
				return
			}
		}
		for _, r := range sampled {
			// Who is not heard of this time is the next.
			_, _ = k.propose(ctx, &store.CheckRequest{Sample: r.sample, Member: uint64(k.config.Self), Hash: r.hash})
		}
		a.lead(ctx, interval)
		auditor.news.Wait(ctx, max(a.due.Sub(k.runtime.Now()), time.Millisecond))
	}
}

// put adds a report to its ballot.
func (a *audit) put(r report) {
	b := a.ballots[r.sample]
	if b == nil {
		b = ballot{}
		a.ballots[r.sample] = b
		a.samples = append(a.samples, r.sample)
		if len(a.samples) > ballotsMax {
			delete(a.ballots, a.samples[0])
			a.samples = a.samples[1:]
		}
	}
	b[r.member] = r.hash
}

// judge compares what was reported. The error is that this member is divergent.
func (a *audit) judge(ctx context.Context) error {
	status, err := a.k.group.Status(ctx)
	if err != nil {
		return nil // it has stopped, or is about to
	}
	c := &status.Configuration.Configuration
	for sample, b := range a.ballots {
		divergent, agreed := b.divergent(c)
		for _, member := range divergent {
			if member == uint64(a.k.config.Self) {
				return fmt.Errorf("%w: at log index %d it hashes to %016x, theirs to %016x", ErrDivergent, sample, b[member], agreed)
			}
			if _, is := c.Member(raft.NodeID(member)); is && a.condemns[member].IsZero() {
				a.condemns[member] = a.k.runtime.Now()
				a.k.config.Logger.Error("a member's state differs from that of the majority; it is quarantined",
					slog.Uint64("member", member), slog.Uint64("index", sample),
					slog.String("its_hash", fmt.Sprintf("%016x", b[member])), slog.String("hash", fmt.Sprintf("%016x", agreed)))
			}
		}
		if agreed != 0 && len(b) == len(c.Members) {
			a.seen = agreed
			a.k.audits.Add(1)
			delete(a.ballots, sample)
			a.samples = slices.DeleteFunc(a.samples, func(s uint64) bool { return s == sample })
		}
	}
	return nil
}

// lead does what falls to the leader: alarms for divergent members, and the next
// sample.
func (a *audit) lead(ctx context.Context, interval time.Duration) {
	now := a.k.runtime.Now()
	if now.Before(a.due) && len(a.condemns) == 0 {
		return
	}
	leader, _ := a.k.group.Leader()
	leads := leader == a.k.config.Self
	for member, since := range a.condemns {
		raised := slices.Contains(a.k.store.Alarms(store.AlarmDivergent), store.Alarm{Member: member, Type: store.AlarmDivergent})
		if !raised && leads {
			_, err := a.k.propose(ctx, &store.AlarmRequest{Action: store.AlarmActivate, Member: member, Alarm: store.AlarmDivergent})
			raised = err == nil
		}
		// Whoever leads has heard the same. What it did not act on for so long is over.
		if raised || now.Sub(since) > condemnedMax*interval {
			delete(a.condemns, member)
		}
	}
	if now.Before(a.due) {
		return
	}
	a.due = now.Add(interval)
	if leads && a.k.store.Status().Hash != a.seen {
		_, _ = a.k.propose(ctx, &store.CheckRequest{}) // or at the next interval
	}
}

// Audits counts the samples at which all members were found equal.
func (k *Keyspace) Audits() int64 { return k.audits.Load() }
