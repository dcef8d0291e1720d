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
