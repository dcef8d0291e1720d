package tcp

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"
)

// frameSoft is the size at which a frame of several messages is closed, in bytes.
// Every node accepts a frame of this size.
const frameSoft = 128 << 10

// Config is how a transport behaves. Zero fields mean the documented default.
type Config struct {
	// Listen is where to accept connections, host:port; port 0 takes a free one.
	// Required.
	Listen string
	// Advertise is what Address returns: where other nodes reach this one.
	// Default the address listened on.
	Advertise string
	// TLS, if not nil, encrypts and authenticates every connection.
	TLS *TLSConfig

	// MaxFrameBytes bounds a frame, in both directions, and so a message with
	// its entries. Default 16 MiB, at least 256 KiB.
	MaxFrameBytes int
	// MaxQueueBytes and MaxQueueMessages bound what waits to be sent to one peer.
	// Defaults 64 MiB, at least MaxFrameBytes, and 65,536. An eighth more is kept
	// for messages without entries.
	MaxQueueBytes    int
	MaxQueueMessages int
	// MaxHandshakes bounds the accepted connections that have not finished their
	// handshake; beyond it the oldest is closed. Default 64.
	MaxHandshakes int
	// MaxSnapshotsPerPeer bounds the snapshots that one peer sends to this node
	// at a time. Default 4.
	MaxSnapshotsPerPeer int

	// DialTimeout bounds one attempt to connect, HandshakeTimeout the handshake
	// of either side, TLS included. Defaults 3s and 5s.
	DialTimeout      time.Duration
	HandshakeTimeout time.Duration
	// DeadPeerTimeout: a connection on which nothing was acknowledged for so
	// long, or no byte could be written, is closed. Default 10s.
	DeadPeerTimeout time.Duration
	// SnapshotIdleTimeout: a snapshot that made no progress for so long is given
	// up by both sides. Default 30s.
	SnapshotIdleTimeout time.Duration
	// BackoffMin and BackoffMax bound the pause between attempts to connect. It
	// doubles with each failure and is shortened by chance to between half and
	// all of it. Defaults 20ms and 2s.
	BackoffMin, BackoffMax time.Duration

	// Logger receives what operators should know. Default slog.Default.
	Logger *slog.Logger

	// noInline keeps Send from writing on its caller's goroutine, for tests and
	// benchmarks of the path that TLS takes.
	noInline bool
}

// WithDefaults gives c with every zero field replaced.
func (c Config) WithDefaults() Config {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	setDuration := func(v *time.Duration, to time.Duration) {
		if *v == 0 {
			*v = to
		}
	}
	set(&c.MaxFrameBytes, 16<<20)
	set(&c.MaxQueueBytes, max(64<<20, c.MaxFrameBytes))
	set(&c.MaxQueueMessages, 65536)
	set(&c.MaxHandshakes, 64)
	set(&c.MaxSnapshotsPerPeer, 4)
	setDuration(&c.DialTimeout, 3*time.Second)
	setDuration(&c.HandshakeTimeout, 5*time.Second)
	setDuration(&c.DeadPeerTimeout, 10*time.Second)
	setDuration(&c.SnapshotIdleTimeout, 30*time.Second)
	setDuration(&c.BackoffMin, 20*time.Millisecond)
	setDuration(&c.BackoffMax, max(2*time.Second, c.BackoffMin))
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate reports everything wrong with c, whose defaults are filled in.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Listen == "" {
		wrong("Listen is required")
	}
	if c.MaxFrameBytes < 2*frameSoft || c.MaxFrameBytes > math.MaxInt32 {
		wrong("MaxFrameBytes (%d) must be between %d and %d", c.MaxFrameBytes, 2*frameSoft, math.MaxInt32)
	}
	if c.MaxQueueBytes < c.MaxFrameBytes {
		wrong("MaxQueueBytes (%d) must be at least MaxFrameBytes (%d)", c.MaxQueueBytes, c.MaxFrameBytes)
	}
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"MaxQueueMessages", int64(c.MaxQueueMessages)},
		{"MaxHandshakes", int64(c.MaxHandshakes)},
		{"MaxSnapshotsPerPeer", int64(c.MaxSnapshotsPerPeer)},
		{"DialTimeout", int64(c.DialTimeout)},
		{"HandshakeTimeout", int64(c.HandshakeTimeout)},
		{"DeadPeerTimeout", int64(c.DeadPeerTimeout)},
		{"SnapshotIdleTimeout", int64(c.SnapshotIdleTimeout)},
		{"BackoffMin", int64(c.BackoffMin)},
	} {
		if v.value <= 0 {
			wrong("%s must be positive", v.name)
		}
	}
	if c.BackoffMax < c.BackoffMin {
		wrong("BackoffMax (%v) must be at least BackoffMin (%v)", c.BackoffMax, c.BackoffMin)
	}
	if c.TLS != nil {
		if err := c.TLS.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
