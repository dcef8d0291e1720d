package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/bench/internal/countfs"
	"github.com/quorate/quorate/bench/internal/histogram"
	"github.com/quorate/quorate/bench/internal/usage"
)

// A measure is something that can be measured again and again.
type measure struct {
	name string
	// clients do one operation after the other, each on a goroutine.
	clients int
	// operate does one operation and says when it ended. Clients count from 0.
	operate func(ctx context.Context, client int) (ended time.Time, err error)
	// before, if not nil, prepares a run.
	before func(ctx context.Context) error
	// fs counts the syncs, if not nil; takeSyncs brings how long they took.
	fs        *countfs.FS
	takeSyncs func(to *histogram.Histogram)
}

// result is what one run gave. Counts and costs are of the whole process.
type result struct {
	Operations      uint64  `json:"operations"`
	PerSecond       float64 `json:"per_second"`
	P50             float64 `json:"p50_us"`
	P99             float64 `json:"p99_us"`
	P999            float64 `json:"p999_us"`
	Max             float64 `json:"max_us"`
	CPU             float64 `json:"cpu_s_per_100k"`
	Cores           float64 `json:"cores"`
	Allocs          float64 `json:"allocs_per_op"`
	AllocBytes      float64 `json:"alloc_bytes_per_op"`
	ContextSwitches float64 `json:"context_switches_per_op"`
	Syncs           float64 `json:"syncs_per_op"`
	SyncsPerBatch   float64 `json:"data_syncs_per_log_batch"`
	OtherSyncs      float64 `json:"full_and_directory_syncs_per_op"`
	WrittenBytes    float64 `json:"written_bytes_per_op"`
	SyncP50         float64 `json:"log_write_and_sync_p50_us"`
	Errors          uint64  `json:"errors"`
}

// client is what one client counts, on cache lines of its own.
type client struct {
	latencies histogram.Histogram
	errors    uint64
	_         [64]byte
}

// patience is how long a run waits for its first operation.
const patience = 30 * time.Second

// run measures for so long, after a fifth of that for warming up.
func (m *measure) run(ctx context.Context, window time.Duration) (result, error) {
	if m.before != nil {
		if err := m.before(ctx); err != nil {
			return result{}, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var measuring, stop atomic.Bool
	var firstError atomic.Pointer[error]
	clients := make([]client, m.clients)
	var running sync.WaitGroup
	var something sync.Once
	done := make(chan struct{}) // closed by the first operation that is counted
	for i := range clients {
		running.Go(func() {
			c := &clients[i]
			for !stop.Load() {
				began := time.Now()
				ended, err := m.operate(context.Background(), i)
				if !measuring.Load() {
					continue
				}
				if err != nil {
					first := err // err itself must stay on the stack
					firstError.CompareAndSwap(nil, &first)
					c.errors++
					continue
				}
				if c.latencies.Record(ended.Sub(began)); c.latencies.Count() == 1 {
					something.Do(func() { close(done) })
				}
			}
		})
	}
	pause(ctx, window/5)
	var syncs histogram.Histogram
	if m.takeSyncs != nil {
		m.takeSyncs(&syncs)
		syncs = histogram.Histogram{}
	}
	var counts countfs.Counts
	if m.fs != nil {
		counts = m.fs.Counts()
	}
	used := usage.Now()
	began := time.Now()
	measuring.Store(true)
	pause(ctx, window)
	select {
	case <-done:
	case <-time.After(patience): // it is said below
	case <-ctx.Done():
	}
	measuring.Store(false)
	took := time.Since(began)
	used = usage.Now().Sub(used)
	if m.fs != nil {
		counts = m.fs.Counts().Sub(counts)
	}
	if m.takeSyncs != nil {
		m.takeSyncs(&syncs)
	}
	stop.Store(true)
	running.Wait()

	var all histogram.Histogram
	var r result
	for i := range clients {
		all.Add(&clients[i].latencies)
		r.Errors += clients[i].errors
	}
	r.Operations = all.Count()
	if r.Operations == 0 {
		if err := firstError.Load(); err != nil {
			return r, *err
		}
		return r, fmt.Errorf("nothing was done in %v", took)
	}
	n := float64(r.Operations)
	r.PerSecond = n / took.Seconds()
	r.P50, r.P99, r.P999 = micros(all.Quantile(0.5)), micros(all.Quantile(0.99)), micros(all.Quantile(0.999))
	r.Max = micros(all.Max())
	r.CPU = used.CPU.Seconds() / n * 100_000
	r.Cores = used.CPU.Seconds() / took.Seconds()
	r.Allocs, r.AllocBytes = float64(used.Allocs)/n, float64(used.AllocBytes)/n
	r.ContextSwitches = float64(used.Switches) / n
	r.Syncs = float64(counts.Syncs()) / n
	if batches := syncs.Count(); batches > 0 {
		r.SyncsPerBatch = float64(counts.DataSyncs) / float64(batches)
	}
	r.OtherSyncs = float64(counts.FullSyncs+counts.DirSyncs) / n
	r.WrittenBytes = float64(counts.Bytes) / n
	r.SyncP50 = micros(syncs.Quantile(0.5))
	return r, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
