package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A workload is what clients do in a turn.
type workload struct {
	name string
	// unit is what is counted, about what a turn does.
	unit, about string
	// run starts goroutines, counted in the load's wg, that go on until ctx ends.
	run func(ctx context.Context, l *load)
}

// A load is one turn's clients.
type load struct {
	o           *options
	connections []*clientv3.Client
	meter       *meter
	wg          sync.WaitGroup
}

var workloads = []workload{
	{"put", "puts", "puts of random keys", puts},
	{"get", "gets", "linearizable gets of random keys", func(ctx context.Context, l *load) { gets(ctx, l) }},
	{"get-serializable", "gets", "serializable gets of random keys", func(ctx context.Context, l *load) { gets(ctx, l, clientv3.WithSerializable()) }},
	{"txn", "txns", "compare-and-swap of a key for each client", swaps},
	{"watch", "events", "events of one key to many watchers; latency from the put's begin to the event", watches},
}

func isWorkload(name string) bool {
	return slices.ContainsFunc(workloads, func(w workload) bool { return w.name == name })
}

// each starts all clients. client gives what one does again and again.
func (l *load) each(ctx context.Context, client func(i int, c *clientv3.Client, rng *rand.Rand) func() error) {
	for i := range l.o.clients {
		op := client(i, l.connections[i%len(l.connections)], rand.New(rand.NewPCG(rand.Uint64(), uint64(i))))
		r := l.meter.recorder()
		l.wg.Go(func() {
			for ctx.Err() == nil {
				began := l.meter.begin()
				err := op()
				if ctx.Err() == nil {
					r.record(began, err)
				}
			}
		})
	}
}

// randomValues gives values of size bytes that do not compress: pieces of one
// block, since to draw each anew would cost the machine what is measured.
func randomValues(size int) func(*rand.Rand) string {
	block := make([]byte, size+4096)
	for i := range block {
		block[i] = byte(rand.Uint32())
	}
	all := string(block)
	return func(rng *rand.Rand) string {
		from := rng.IntN(4096)
		return all[from : from+size]
	}
}

func puts(ctx context.Context, l *load) {
	value := randomValues(l.o.size)
	l.each(ctx, func(_ int, c *clientv3.Client, rng *rand.Rand) func() error {
		return func() error {
			_, err := c.Put(ctx, "key/"+strconv.Itoa(rng.IntN(l.o.keySpace)), value(rng))
			return err
		}
	})
}

// readKeys are there from the beginning, for gets.
const readKeys = 1 << 16

func readKey(i int) string { return "read/" + strconv.Itoa(i) }

// prepare writes what gets look for.
func prepare(ctx context.Context, o *options, c *clientv3.Client) error {
	value, rng := randomValues(o.size), rand.New(rand.NewPCG(3, 3))
	const batch = 128 // as many operations as etcd allows in a transaction
	for from := 0; from < readKeys; from += batch {
		var ops []clientv3.Op
		for i := from; i < from+batch; i++ {
			ops = append(ops, clientv3.OpPut(readKey(i), value(rng)))
		}
		if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
			return fmt.Errorf("writing what is to be read: %w", err)
		}
	}
	return nil
}

func gets(ctx context.Context, l *load, how ...clientv3.OpOption) {
	l.each(ctx, func(_ int, c *clientv3.Client, rng *rand.Rand) func() error {
		return func() error {
			found, err := c.Get(ctx, readKey(rng.IntN(readKeys)), how...)
			if err == nil && len(found.Kvs) != 1 {
				return fmt.Errorf("a key that is there was not found")
			}
			return err
		}
	})
}

func swaps(ctx context.Context, l *load) {
	value := randomValues(l.o.size)
	l.each(ctx, func(i int, c *clientv3.Client, rng *rand.Rand) func() error {
		key, revision := "swap/"+strconv.Itoa(i), int64(0)
		return func() error {
			done, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
				Then(clientv3.OpPut(key, value(rng))).Else(clientv3.OpGet(key)).Commit()
			if err != nil {
				return err
			}
			if revision = done.Header.Revision; !done.Succeeded {
				// The key is of an earlier turn.
				revision = done.Responses[0].GetResponseRange().Kvs[0].ModRevision
			}
			return nil
		}
	})
}

// watchWriters keep watchers busy without being what limits.
const watchWriters = 4

// watches records an operation for each event that a watcher hears of. A value
// begins with the time at which its put began.
func watches(ctx context.Context, l *load) {
	const key = "watched"
	var heard sync.WaitGroup
	heard.Add(l.o.watchers)
	for i := range l.o.watchers {
		events := l.connections[i%len(l.connections)].Watch(ctx, key, clientv3.WithCreatedNotify())
		r := l.meter.recorder()
		l.wg.Go(func() {
			created := false
			for response := range events {
				if response.Created && !created {
					created = true
					heard.Done()
				}
				for _, e := range response.Events {
					r.record(time.Unix(0, int64(binary.LittleEndian.Uint64(e.Kv.Value))), nil)
				}
			}
			if !created {
				heard.Done() // the turn ended before it began
			}
		})
	}
	for i := range watchWriters {
		c := l.connections[i%len(l.connections)]
		l.wg.Go(func() {
			heard.Wait()
			value := make([]byte, max(l.o.size, 8))
			for ctx.Err() == nil {
				binary.LittleEndian.PutUint64(value, uint64(time.Now().UnixNano()))
				if _, err := c.Put(ctx, key, string(value)); err != nil && ctx.Err() == nil {
					l.meter.failed.Add(1)
				}
			}
		})
	}
}
