package load

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/check"
)

// Config is how hard the load is. Zero fields mean the defaults.
type Config struct {
	// Seed decides what clients do, not when.
	Seed uint64
	// Workers is how many clients there are of each kind: registers 6, and each
	// other kind 2. Every second one is of one member alone.
	Registers, Appenders, Sets, Locks, Leases int
	// Pace is the least time between two operations of a client (20ms).
	Pace time.Duration
	// Patience is the deadline of an operation (3s).
	Patience time.Duration
}

func (c Config) withDefaults() Config {
	set := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	set(&c.Registers, 6)
	set(&c.Appenders, 2)
	set(&c.Sets, 2)
	set(&c.Locks, 2)
	set(&c.Leases, 4)
	if c.Pace == 0 {
		c.Pace = 20 * time.Millisecond
	}
	if c.Patience == 0 {
		c.Patience = 3 * time.Second
	}
	return c
}

// Load is clients at work.
type Load struct {
	config Config
	*Recorder
	Leases *Leases

	wg sync.WaitGroup
}

// A Dialer gives the client of a worker: of all members, or of one alone.
type Dialer func(worker int) *clientv3.Client

// Start puts clients to work until ctx ends; then Wait waits for them.
func Start(ctx context.Context, prefix string, cfg Config, dial Dialer) *Load {
	l := &Load{config: cfg.withDefaults(), Recorder: NewRecorder(prefix)}
	l.Leases = &Leases{prefix: prefix, recorder: l.Recorder}
	n := 0
	add := func(count int, run func(context.Context, *worker)) {
		for range count {
			w := &worker{load: l, id: n, client: dial(n), rng: rand.New(rand.NewPCG(l.config.Seed, uint64(n)))}
			n++
			l.wg.Go(func() { run(ctx, w) })
		}
	}
	c := l.config
	add(c.Registers, func(ctx context.Context, w *worker) { w.repeat(ctx, w.register) })
	add(c.Appenders, func(ctx context.Context, w *worker) { w.repeat(ctx, w.append) })
	add(c.Sets, func(ctx context.Context, w *worker) { w.repeat(ctx, w.set) })
	add(c.Locks, func(ctx context.Context, w *worker) { w.lock(ctx) })
	add(c.Leases, func(ctx context.Context, w *worker) { l.Leases.hold(ctx, w.client, w.rng) })
	return l
}

// Wait waits until the clients have stopped.
func (l *Load) Wait() { l.wg.Wait() }

// A worker is one client.
type worker struct {
	load   *Load
	id     int
	client *clientv3.Client
	rng    *rand.Rand
	known  map[string]uint64
}

func (w *worker) repeat(ctx context.Context, one func(context.Context)) {
	pace := time.NewTicker(w.load.config.Pace)
	defer pace.Stop()
	w.known = make(map[string]uint64)
	for {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		// What was asked for is waited for, so that a history has few loose ends.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.load.config.Patience)
		one(bounded)
		cancel()
	}
}

func (w *worker) key(kind string, n uint64) string {
	return fmt.Sprintf("%s%s/%d", w.load.prefix, kind, n)
}

// Registers are so few that clients meet, and pairs of them are written together.
const registers = 12

func (w *worker) register(ctx context.Context) {
	n := w.rng.Uint64N(registers)
	key := w.key("register", n)
	model := &check.RegisterOp{Client: w.id, Key: n}
	switch draw := w.rng.IntN(20); {
	case draw < 7:
		w.get(ctx, Op{Kind: "read", Register: model}, key)
	case draw < 9:
		w.get(ctx, Op{Kind: "stale read", Stale: true}, key)
	case draw < 10:
		w.pair(ctx, n)
	case draw < 15:
		model.Kind, model.Argument = check.WriteRegister, w.load.next()
		_ = w.load.do(Op{Client: w.id, Kind: "write", Register: model, Writes: []Write{{Key: key, Value: text(model.Argument)}}}, func(o *Op) error {
			resp, err := w.client.Put(ctx, key, text(model.Argument), clientv3.WithPrevKV())
			if err != nil {
				return err
			}
			o.Revision = resp.Header.Revision
			o.Writes[0].HasPrev, o.Writes[0].Prev = true, resp.PrevKv
			w.known[key] = model.Argument
			if resp.PrevKv != nil {
				model.Result, err = number(resp.PrevKv.Value)
			}
			return err
		})
	default:
		w.swap(ctx, key, model)
	}
}

func (w *worker) get(ctx context.Context, o Op, key string) {
	o.Client = w.id
	var opts []clientv3.OpOption
	if o.Stale {
		opts = append(opts, clientv3.WithSerializable())
	}
	_ = w.load.do(o, func(o *Op) error {
		resp, err := w.client.Get(ctx, key, opts...)
		if err != nil {
			return err
		}
		o.Revision = resp.Header.Revision
		o.Reads = []Read{{Key: key, KVs: resp.Kvs}}
		if o.Register == nil || len(resp.Kvs) == 0 {
			return nil
		}
		o.Register.Result, err = number(resp.Kvs[0].Value)
		w.known[key] = o.Register.Result
		return err
	})
}

func (w *worker) swap(ctx context.Context, key string, model *check.RegisterOp) {
	model.Kind, model.Argument, model.Expected = check.CompareAndSwap, w.load.next(), w.known[key]
	is := clientv3.Compare(clientv3.Value(key), "=", text(model.Expected))
	if model.Expected == 0 {
		is = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	}
	o := Op{Client: w.id, Kind: "compare-and-swap", Register: model, Writes: []Write{{Key: key, Value: text(model.Argument)}}}
	_ = w.load.do(o, func(o *Op) error {
		resp, err := w.client.Txn(ctx).If(is).Then(clientv3.OpPut(key, text(model.Argument))).Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return err
		}
		o.Revision = resp.Header.Revision
		if resp.Succeeded {
			model.Result, w.known[key] = 1, model.Argument
			return nil
		}
		o.Writes = nil
		o.Reads = []Read{{Key: key, KVs: resp.Responses[0].GetResponseRange().Kvs}}
		if len(o.Reads[0].KVs) > 0 {
			w.known[key], err = number(o.Reads[0].KVs[0].Value)
		}
		return err
	})
}

// pair writes two registers of their own kind at one revision.
func (w *worker) pair(ctx context.Context, n uint64) {
	a, b := w.key("pair", n), w.key("pair", (n+1)%registers)
	value := text(w.load.next())
	o := Op{Client: w.id, Kind: "two writes at once", Writes: []Write{{Key: a, Value: value}, {Key: b, Value: value}}}
	_ = w.load.do(o, func(o *Op) error {
		resp, err := w.client.Txn(ctx).Then(clientv3.OpPut(a, value), clientv3.OpPut(b, value)).Commit()
		if err == nil {
			o.Revision = resp.Header.Revision
		}
		return err
	})
}

// Lists are few, and start anew before they are long.
const (
	lists   = 2
	listMax = 150
)

// append reads a list and adds to it if it is still the same.
func (w *worker) append(ctx context.Context) {
	n := w.rng.Uint64N(lists)
	key := w.key("list", n)
	var before string
	var version int64
	read := &check.RegisterOp{Client: w.id, Key: registers + n}
	err := w.load.do(Op{Client: w.id, Kind: "read of a list", Register: read}, func(o *Op) error {
		resp, err := w.client.Get(ctx, key)
		if err != nil {
			return err
		}
		o.Revision, o.Reads = resp.Header.Revision, []Read{{Key: key, KVs: resp.Kvs}}
		if len(resp.Kvs) > 0 {
			before, version = string(resp.Kvs[0].Value), resp.Kvs[0].ModRevision
		}
		read.Result = digest(before)
		return nil
	})
	if err != nil {
		return
	}
	element := text(w.load.next())
	list := element
	if before != "" && strings.Count(before, ",") < listMax {
		list = before + "," + element
	}
	model := &check.RegisterOp{
		Client: w.id, Key: registers + n, Kind: check.CompareAndSwap, Expected: digest(before), Argument: digest(list),
	}
	o := Op{Client: w.id, Kind: "append", Register: model, Writes: []Write{{Key: key, Value: list}}}
	_ = w.load.do(o, func(o *Op) error {
		resp, err := w.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", version)).
			Then(clientv3.OpPut(key, list)).Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return err
		}
		o.Revision = resp.Header.Revision
		if resp.Succeeded {
			model.Result = 1
		} else {
			o.Writes, o.Reads = nil, []Read{{Key: key, KVs: resp.Responses[0].GetResponseRange().Kvs}}
		}
		return nil
	})
}

// setMax bounds a set, so that reading all of it stays cheap.
const setMax = 64

// set adds an element, takes one out, or reads all.
func (w *worker) set(ctx context.Context) {
	prefix := w.load.prefix + "set/"
	end := clientv3.GetPrefixRangeEnd(prefix)
	key := w.key("set", w.rng.Uint64N(setMax))
	switch w.rng.IntN(4) {
	case 0:
		value := text(w.load.next())
		_ = w.load.do(Op{Client: w.id, Kind: "add to a set", Writes: []Write{{Key: key, Value: value}}}, func(o *Op) error {
			resp, err := w.client.Put(ctx, key, value)
			if err == nil {
				o.Revision = resp.Header.Revision
			}
			return err
		})
	case 1:
		_ = w.load.do(Op{Client: w.id, Kind: "take from a set", Writes: []Write{{Key: key, Delete: true}}}, func(o *Op) error {
			resp, err := w.client.Delete(ctx, key, clientv3.WithPrevKV())
			if err != nil {
				return err
			}
			o.Revision = resp.Header.Revision
			if resp.Deleted == 0 {
				o.Writes, o.Reads = nil, []Read{{Key: key}}
				return nil
			}
			o.Writes[0].HasPrev, o.Writes[0].Prev = true, resp.PrevKvs[0]
			return nil
		})
	default:
		_ = w.load.do(Op{Client: w.id, Kind: "read of a set"}, func(o *Op) error {
			resp, err := w.client.Get(ctx, prefix, clientv3.WithRange(end))
			if err == nil {
				o.Revision, o.Reads = resp.Header.Revision, []Read{{Key: prefix, End: end, KVs: resp.Kvs}}
			}
			return err
		})
	}
}

// digest stands for a list where registers are modelled; that of none is zero.
func digest(list string) uint64 {
	if list == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(list))
	return h.Sum64()
}

func text(n uint64) string { return strconv.FormatUint(n, 10) }

func number(b []byte) (uint64, error) { return strconv.ParseUint(string(b), 10, 64) }
