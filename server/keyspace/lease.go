package keyspace

import (
	"context"
	"time"

	"github.com/quorate/quorate/store"
)

// Lease is a lease as it is now.
type Lease struct {
	ID int64
	// TTL is what was granted, in seconds.
	TTL int64
	// Remaining is what is left; a second or so less than nothing if the lease is
	// about to end.
	Remaining time.Duration
	Keys      [][]byte
}

// minTTL is the least TTL in seconds: a lease must outlast an election, so that
// its holder has a chance to keep it.
func (k *Keyspace) minTTL() int64 {
	election := 3 * k.config.ElectionTimeout / 2
	return int64((election + time.Second - 1) / time.Second)
}

// Grant makes a lease; the store chooses the id if it is 0. A TTL that is too
// short is raised.
func (k *Keyspace) Grant(ctx context.Context, id, ttl int64) (*store.LeaseGrantResponse, error) {
	done, err := k.Propose(ctx, &store.LeaseGrantRequest{ID: id, TTL: max(ttl, k.minTTL())})
	if err != nil {
		return nil, err
	}
	return done.(*store.LeaseGrantResponse), nil
}

// Leases lists the leases of the local store.
func (k *Keyspace) Leases(ctx context.Context) ([]Lease, error) {
	if err := k.authorize(ctx, []Access{{Kind: LeaseList}}); err != nil {
		return nil, err
	}
	var out []Lease
	for _, l := range k.store.Leases() {
		out = append(out, Lease{ID: l.ID, TTL: l.TTL, Remaining: time.Duration(l.Remaining)})
	}
	return out, nil
}

// TimeToLive asks the leader how long a lease has left, and gives its keys if they
// are wanted.
func (k *Keyspace) TimeToLive(ctx context.Context, id int64, keys bool) (Lease, error) {
	wants := []Access{{Kind: LeaseRead, Lease: id}}
	if keys {
		wants = append(wants, Access{Kind: LeaseKeys, Lease: id})
	}
	if err := k.authorize(ctx, wants); err != nil {
		return Lease{}, err
	}
	left, err := k.ask(ctx, askRemaining, id)
	if err != nil {
		return Lease{}, err
	}
	if err := k.confirm(ctx); err != nil {
		return Lease{}, err
	}
	info, ok := k.store.Lease(id)
	if !ok {
		return Lease{}, store.ErrLeaseNotFound
	}
	l := Lease{ID: id, TTL: info.TTL, Remaining: time.Duration(left)}
	if keys {
		if l.Keys, err = k.store.LeaseKeys(id); err != nil {
			return Lease{}, err
		}
	}
	return l, nil
}

// KeepAlive has the leader give a lease its whole time again, and says how many
// seconds that is. It answers when the renewal is in the log.
func (k *Keyspace) KeepAlive(ctx context.Context, id int64) (int64, error) {
	if err := k.authorize(ctx, []Access{{Kind: LeaseRenew, Lease: id}}); err != nil {
		return 0, err
	}
	ttl, err := k.ask(ctx, askKeepAlive, id)
	if err == nil {
		k.leasesRenewed.Add(1)
	}
	return ttl, err
}
