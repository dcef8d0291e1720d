package keyspace

import (
	"context"

	"github.com/quorate/quorate/store"
)

// What the server does on its own behalf: nobody is asked, since no client is
// behind it.

// Publish tells the cluster how clients reach a member.
func (k *Keyspace) Publish(ctx context.Context, m store.Member) error {
	_, err := k.propose(ctx, &store.PublishRequest{Member: m})
	return err
}

// Alarm raises or clears an alarm of this member.
func (k *Keyspace) Alarm(ctx context.Context, action store.AlarmAction, of store.AlarmType) error {
	_, err := k.propose(ctx, &store.AlarmRequest{Action: action, Member: uint64(k.config.Self), Alarm: of})
	return err
}

// Compact forgets history.
func (k *Keyspace) Compact(ctx context.Context, revision int64) error {
	_, err := k.propose(ctx, &store.CompactRequest{Revision: revision})
	return err
}

// SetQuota says which size the store can have, for Status.
func (k *Keyspace) SetQuota(bytes int64) { k.quota.Store(bytes) }

// Leased counts the leases that ended and the keep-alives that were answered so
// far.
func (k *Keyspace) Leased() (expired, renewed int64) {
	return k.leasesExpired.Load(), k.leasesRenewed.Load()
}

// Probe reports whether reads are answered; it reads nothing.
func (k *Keyspace) Probe(ctx context.Context, serializable bool) error {
	if !serializable {
		return k.confirm(ctx)
	}
	_, err := k.read(ctx, &store.RangeRequest{Key: []byte{0}, CountOnly: true}, true)
	return err
}

// Proposals counts those under way, and those that failed so far.
func (k *Keyspace) Proposals() (pending, failed int64) {
	return k.proposalsPending.Load(), k.proposalsFailed.Load()
}
