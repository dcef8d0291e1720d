package load

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// lockTTL is a session's time to live, in seconds: short, so that locks of clients
// that are cut off pass on.
const lockTTL = 3

// lock takes a lock again and again and writes under it, each write guarded by the
// lock's fence.
func (w *worker) lock(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.session(ctx); err != nil {
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// session is one life of a holder.
func (w *worker) session(ctx context.Context) error {
	granting, cancel := context.WithTimeout(ctx, w.load.config.Patience)
	grant, err := w.client.Grant(granting, lockTTL)
	cancel()
	if err != nil {
		return err
	}
	session, err := concurrency.NewSession(w.client, concurrency.WithLease(grant.ID), concurrency.WithContext(ctx))
	if err != nil {
		return err
	}
	// Half of them leave without a word, as processes do that die.
	if w.rng.IntN(2) == 0 {
		defer session.Orphan()
	} else {
		defer session.Close()
	}
	for range 1 + w.rng.IntN(4) {
		if err := w.hold(ctx, session); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) hold(ctx context.Context, session *concurrency.Session) error {
	mutex := concurrency.NewMutex(session, w.load.prefix+"lock")
	waiting, cancel := context.WithTimeout(ctx, 4*w.load.config.Patience)
	defer cancel()
	if err := mutex.Lock(waiting); err != nil {
		return err
	}
	for range 1 + w.rng.IntN(6) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.load.config.Patience)
		key, value := w.load.prefix+"guarded", text(w.load.next())
		o := Op{Client: w.id, Kind: "write under a lock", Fence: mutex.Key(), Writes: []Write{{Key: key, Value: value}}}
		err := w.load.do(o, func(o *Op) error {
			resp, err := w.client.Txn(bounded).If(mutex.IsOwner()).Then(clientv3.OpPut(key, value)).
				Else(clientv3.OpGet(mutex.Key())).Commit()
			if err != nil {
				return err
			}
			o.Revision = resp.Header.Revision
			if !resp.Succeeded {
				o.Writes, o.Fence = nil, ""
				o.Reads = []Read{{Key: mutex.Key(), KVs: resp.Responses[0].GetResponseRange().Kvs}}
			}
			return nil
		})
		cancel()
		if err != nil {
			return err
		}
		select {
		case <-time.After(time.Duration(w.rng.IntN(40)) * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.load.config.Patience)
	defer cancel()
	return mutex.Unlock(bounded)
}
