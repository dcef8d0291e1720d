package keyspace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store"
)

// Propose has a command applied, wherever the leader is, and gives what the store
// answered. It waits for a leader while none is known, and tries again only what
// was certainly not applied: the errors are node's, the store's refusals, and
// this package's.
func (k *Keyspace) Propose(ctx context.Context, command store.Command) (store.Response, error) {
	if !k.allowAll {
		if err := k.authorize(ctx, wantsCommand(nil, command)); err != nil {
			return nil, err
		}
	}
	return k.propose(ctx, command)
}

// propose is Propose on the server's own behalf.
func (k *Keyspace) propose(ctx context.Context, command store.Command) (store.Response, error) {
	buffer, _ := k.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	encoded := store.AppendCommand((*buffer)[:0], command)
	if len(encoded) > k.config.MaxRequestBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(encoded), k.config.MaxRequestBytes)
	}
	bounded, cancel := k.within(ctx)
	defer cancel()
	k.proposalsPending.Add(1)
	result, err := k.proposeToLeader(bounded, encoded)
	k.proposalsPending.Add(-1)
	if cap(encoded) <= 64<<10 {
		// Propose returned, so nobody reads the command any more.
		*buffer = encoded
		k.buffers.Put(buffer)
	}
	if err != nil {
		k.proposalsFailed.Add(1)
		return nil, timedOut(bounded, err)
	}
	return store.DecodeResult(command, result)
}

// proposeToLeader is the one place that tries a proposal again: as long as nobody
// took it because there is no leader, or because the leader changed before it was
// appended.
func (k *Keyspace) proposeToLeader(ctx context.Context, command []byte) (rsm.Result, error) {
	for {
		result, err := k.group.Propose(ctx, command)
		if err == nil || !errors.Is(err, node.ErrNotLeader) && !errors.Is(err, node.ErrNotReady) {
			return result, err
		}
		if !k.awaitLeader(ctx, err) {
			return rsm.Result{}, err
		}
	}
}

// awaitLeader waits until it is worth trying again after err, and reports false
// if it is not. A leader that is known but refused has stepped down, and we are
// about to hear of it.
func (k *Keyspace) awaitLeader(ctx context.Context, err error) bool {
	if ready := k.group.Ready(ctx); ready != nil {
		return false
	}
	var refused *node.NotLeaderError
	leader, term := k.group.Leader()
	if errors.As(err, &refused) && (refused.Leader == raft.None || refused.Leader != leader || refused.Term != term) {
		return true
	}
	k.runtime.NewSignal().Wait(ctx, min(k.config.ElectionTimeout/20+time.Millisecond, 50*time.Millisecond))
	return ctx.Err() == nil
}
