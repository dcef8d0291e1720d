package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/check"
)

// An op is what one client asked for, and what it was told.
type op struct {
	check.RegisterOp
	revision int64 // of the answer's header; 0 if there was none
	key      string
}

// recorder collects what clients did. Its clock is the time since it began.
type recorder struct {
	began  time.Time
	prefix string

	mu     sync.Mutex
	ops    []op
	values uint64 // each value is written once
	errs   map[string]int
}

func newRecorder(prefix string) *recorder {
	return &recorder{began: time.Now(), prefix: prefix, errs: make(map[string]int)}
}

func (r *recorder) now() int64 { return int64(time.Since(r.began)) }

func (r *recorder) next() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values++
	return r.values
}

func (r *recorder) add(o op, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs[err.Error()]++
		o.Unknown, o.Return = true, check.Never
	}
	r.ops = append(r.ops, o)
}

// keys are so few that clients meet.
const keys = 12

func (r *recorder) key(k uint64) string { return fmt.Sprintf("%sregister/%d", r.prefix, k) }

// operate does operations through one client until ctx ends, each bounded so that
// a node that hangs is left for another.
func (r *recorder) operate(ctx context.Context, id int, client *clientv3.Client, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, uint64(id)))
	last := make(map[uint64]uint64) // what this client knows of each register
	pace := time.NewTicker(8 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		o := op{RegisterOp: check.RegisterOp{Client: id, Key: rng.Uint64N(keys), Call: r.now()}}
		o.key = r.key(o.Key)
		err := r.one(one, client, &o, rng.IntN(10), last)
		o.Return = r.now()
		cancel()
		if ctx.Err() != nil && err != nil && o.Kind == check.ReadRegister {
			return
		}
		r.add(o, err)
	}
}

func (r *recorder) one(ctx context.Context, c *clientv3.Client, o *op, draw int, last map[uint64]uint64) error {
	switch {
	case draw < 4:
		resp, err := c.Get(ctx, o.key)
		if err != nil {
			return err
		}
		o.revision = resp.Header.Revision
		o.Result, err = valueOf(resp.Kvs)
		last[o.Key] = o.Result
		return err
	case draw < 7:
		o.Kind, o.Argument = check.WriteRegister, r.next()
		resp, err := c.Put(ctx, o.key, strconv.FormatUint(o.Argument, 10), clientv3.WithPrevKV())
		if err != nil {
			return err
		}
		o.revision = resp.Header.Revision
		if resp.PrevKv != nil {
			o.Result, err = valueOf([]*mvccpb.KeyValue{resp.PrevKv})
		}
		last[o.Key] = o.Argument
		return err
	default:
		o.Kind, o.Argument, o.Expected = check.CompareAndSwap, r.next(), last[o.Key]
		is := clientv3.Compare(clientv3.Value(o.key), "=", strconv.FormatUint(o.Expected, 10))
		if o.Expected == 0 {
			is = clientv3.Compare(clientv3.CreateRevision(o.key), "=", 0)
		}
		resp, err := c.Txn(ctx).If(is).Then(clientv3.OpPut(o.key, strconv.FormatUint(o.Argument, 10))).
			Else(clientv3.OpGet(o.key)).Commit()
		if err != nil {
			return err
		}
		o.revision = resp.Header.Revision
		if resp.Succeeded {
			o.Result, last[o.Key] = 1, o.Argument
			return nil
		}
		last[o.Key], err = valueOf(resp.Responses[0].GetResponseRange().Kvs)
		return err
	}
}

func valueOf(kvs []*mvccpb.KeyValue) (uint64, error) {
	if len(kvs) == 0 {
		return 0, nil
	}
	return strconv.ParseUint(string(kvs[0].Value), 10, 64)
}

// A seen is an event and when a watch told of it.
type seen struct {
	*mvccpb.Event
	at time.Time
}

// watch collects events of the prefix from a revision on, until it was told of
// the revision that last gives once it is known.
func watch(ctx context.Context, c *clientv3.Client, prefix string, from int64, last func() int64) ([]seen, error) {
	var all []seen
	events := c.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithPrevKV())
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	next := from
	for {
		select {
		case resp, ok := <-events:
			if !ok || errors.Is(resp.Err(), errNoLeader) {
				// Without a leader the stream ends, as the client asked; it goes on
				// where it was.
				if ctx.Err() != nil {
					return all, ctx.Err()
				}
				events = c.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(next), clientv3.WithPrevKV())
				continue
			}
			if err := resp.Err(); err != nil {
				return all, err
			}
			for _, ev := range resp.Events {
				all = append(all, seen{ev, time.Now()})
				next = ev.Kv.ModRevision + 1
			}
		case <-look.C:
			if want := last(); want != 0 && next > want {
				return all, nil
			}
		case <-ctx.Done():
			return all, fmt.Errorf("watched up to revision %d of %d: %w", next-1, last(), ctx.Err())
		}
	}
}
