package keyspace

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/store"
)

// Range answers a range: linearizably, or from the local store as it is if
// serializable.
func (k *Keyspace) Range(ctx context.Context, r *store.RangeRequest, serializable bool) (*store.RangeResponse, error) {
	if !k.allowAll {
		if err := k.authorize(ctx, wantsRange(nil, r)); err != nil {
			return nil, err
		}
	}
	answer, err := k.read(ctx, r, serializable)
	if err != nil {
		return nil, err
	}
	return answer.(*store.RangeResponse), nil
}

// ReadTxn answers a transaction that only reads.
func (k *Keyspace) ReadTxn(ctx context.Context, t *store.TxnRequest, serializable bool) (*store.TxnResponse, error) {
	if !k.allowAll {
		if err := k.authorize(ctx, wantsTxn(nil, t)); err != nil {
			return nil, err
		}
	}
	answer, err := k.read(ctx, t, serializable)
	if err != nil {
		return nil, err
	}
	return answer.(*store.TxnResponse), nil
}

func (k *Keyspace) read(ctx context.Context, query any, serializable bool) (any, error) {
	if serializable {
		return k.group.ReadStale(ctx, query)
	}
	bounded, cancel := k.within(ctx)
	defer cancel()
	for {
		answer, err := k.group.Read(bounded, query)
		switch {
		case err == nil:
			return answer, nil
		case errors.Is(err, node.ErrNotLeader), errors.Is(err, node.ErrNotReady):
			// A read changes nothing, so it is tried again whatever happened.
			if k.awaitLeader(bounded, err) {
				continue
			}
		case errors.Is(err, node.ErrUnknownOutcome):
			err = fmt.Errorf("%w: %w", ErrReadUnconfirmed, err)
		}
		return nil, timedOut(bounded, err)
	}
}

// confirm waits until the local store holds all that was acknowledged before.
func (k *Keyspace) confirm(ctx context.Context) error {
	_, err := k.read(ctx, &store.RangeRequest{Key: []byte{0}, CountOnly: true}, false)
	return err
}

// Member is a member of the group.
type Member struct {
	store.Member
	Learner bool
}

// Members gives the group's members, by their ids, with what each published.
func (k *Keyspace) Members(ctx context.Context, linearizable bool) ([]Member, error) {
	if err := k.authorize(ctx, []Access{{Kind: Inspect}}); err != nil {
		return nil, err
	}
	if linearizable {
		if err := k.confirm(ctx); err != nil {
			return nil, err
		}
	}
	status, err := k.group.Status(ctx)
	if err != nil {
		return nil, err
	}
	published := map[uint64]store.Member{}
	for _, m := range k.store.Members() {
		published[m.ID] = m
	}
	var members []Member
	for _, in := range status.Configuration.Configuration.Members {
		m := Member{Member: published[uint64(in.ID)], Learner: in.Role == raft.Learner}
		m.ID = uint64(in.ID)
		members = append(members, m)
	}
	return members, nil
}

// Status describes this member, as it is.
type Status struct {
	Leader             raft.NodeID
	Term               raft.Term
	Committed, Applied raft.Index
	Learner            bool
	// SizeBytes is what the store takes on disk, UsedBytes what is in it, and
	// QuotaBytes what it can have.
	SizeBytes, UsedBytes, QuotaBytes int64
	Alarms                           []store.Alarm
	Store                            store.Status
}

// Status describes this member without asking another.
func (k *Keyspace) Status(ctx context.Context) (Status, error) {
	if err := k.authorize(ctx, []Access{{Kind: Inspect}}); err != nil {
		return Status{}, err
	}
	return k.LocalStatus(ctx)
}

// LocalStatus is Status for the server itself: nobody is asked.
func (k *Keyspace) LocalStatus(ctx context.Context) (Status, error) {
	group, err := k.group.Status(ctx)
	if err != nil {
		return Status{}, err
	}
	leader, term := k.group.Leader()
	s := Status{
		Leader: leader, Term: term, Committed: group.CommitIndex, Applied: group.Applied,
		Alarms: k.store.Alarms(store.AlarmNone), Store: k.store.Status(),
	}
	s.UsedBytes = s.Store.Bytes
	// Never 0: etcdctl divides by it.
	s.SizeBytes = max(int64(k.store.Engine().Metrics().DiskBytes), s.UsedBytes, 1)
	s.QuotaBytes = max(k.quota.Load(), s.SizeBytes)
	for _, m := range group.Configuration.Configuration.Members {
		if m.ID == k.config.Self {
			s.Learner = m.Role == raft.Learner
		}
	}
	return s, nil
}

// Operate asks whether the client may do what an operator does.
func (k *Keyspace) Operate(ctx context.Context) error {
	return k.authorize(ctx, []Access{{Kind: Operate}})
}

// HashKV gives the hash of the keyspace and its history up to a revision, 0 for
// the newest.
func (k *Keyspace) HashKV(ctx context.Context, revision int64) (store.KVHash, error) {
	if err := k.authorize(ctx, []Access{{Kind: Operate}}); err != nil {
		return store.KVHash{}, err
	}
	return k.store.HashKV(ctx, revision)
}
