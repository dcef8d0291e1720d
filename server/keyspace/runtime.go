package keyspace

import (
	"context"
	"time"
)

// A Runtime is what carries a keyspace: time, waiting, and what goes on beside a
// request. That of a process is its clock, channels and goroutines; the simulator
// has one on virtual time, so that it runs the same requests.
type Runtime interface {
	Now() time.Time
	// WithTimeout is context.WithTimeoutCause.
	WithTimeout(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc)
	// NewSignal gives one that is not set.
	NewSignal() Signal
	// Go has f run beside the caller, who sees to it that somebody waits for it.
	Go(f func())
}

// A Signal wakes the one who waits for it.
type Signal interface {
	// Set wakes whoever waits, or spares the next one the wait. It does not wait.
	Set()
	// Wait returns once Set was called since the last Wait returned, or d passed, or
	// ctx ended.
	Wait(ctx context.Context, d time.Duration)
}

// Process is the Runtime of a process.
type Process struct{}

// Now is the clock's.
func (Process) Now() time.Time { return time.Now() }

// WithTimeout is context.WithTimeoutCause.
func (Process) WithTimeout(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, cause)
}

// NewSignal is a channel.
func (Process) NewSignal() Signal { return make(channelSignal, 1) }

// Go starts a goroutine.
func (Process) Go(f func()) { go f() }

type channelSignal chan struct{}

func (c channelSignal) Set() {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (c channelSignal) Wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
	case <-ctx.Done():
	}
}
