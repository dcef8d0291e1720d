package keyspace

import (
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/rsm"
)

// TestReign: what a leader begins for leases, and when it looks again.
func TestReign(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	p := NewKeeper(Process{})
	p.tracker.Promote(begin, nil)
	r := &reign{p: p, last: begin}
	check := func(ms int, wantRevoke []int64, wantRenew bool, wantWait time.Duration) {
		t.Helper()
		revoke, renew, settle, wait := r.next(at(ms))
		if settle {
			t.Errorf("at %d ms: there is nothing to settle", ms)
		}
		if !slices.Equal(revoke, wantRevoke) || renew != wantRenew || wait != wantWait {
			t.Errorf("at %d ms: revoke %v, renew %v, wait %v; want %v, %v, %v", ms, revoke, renew, wait, wantRevoke, wantRenew, wantWait)
		}
	}
	check(0, nil, false, idleWait) // no lease: no wakeup
	p.tracker.Granted(at(0), 7, 1)
	check(10, nil, false, 240*time.Millisecond) // the log's clock goes on every P
	check(250, nil, true, 750*time.Millisecond) // until the lease is over, while one is under way
	r.ended(&r.renewing)
	check(260, nil, false, 240*time.Millisecond)

	reply := func(rsm.Result, bool) {}
	p.tracker.KeepAlive(at(261), 7)
	p.waiting = append(p.waiting, renewal{id: 7, ttl: 1, answer: reply})
	check(261, nil, false, 9*time.Millisecond) // those who wait share the next one
	check(270, nil, true, 991*time.Millisecond)
	r.ended(&r.renewing)
	p.waiting = nil

	check(1262, []int64{7}, true, revokeRetry) // over: to be revoked, and again if that fails
	r.ended(&r.renewing)
	r.ended(&r.revoking)
	p.LeaseRevoked(7)
	check(1300, nil, false, idleWait)

	// The last lease went while somebody waits for its renewal: it is not forgotten.
	p.waiting = []renewal{{id: 7, ttl: 1, answer: reply}}
	check(1300, nil, true, idleWait)
	if !r.busy() {
		t.Error("not busy with a renewal under way")
	}
	p.waiting = []renewal{{id: 7, ttl: 1, answer: reply}}
	r.ended(&r.renewing)
	check(1301, nil, false, 19*time.Millisecond)

	// A question about a lease that is not known here is settled, once at a time.
	p.keepAlive(8, reply)
	if _, _, settle, _ := r.next(at(1302)); !settle || !r.busy() {
		t.Error("a doubt is not settled")
	}
	if _, _, settle, _ := r.next(at(1303)); settle {
		t.Error("a doubt is settled twice at a time")
	}
}
