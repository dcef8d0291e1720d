package tcp

import (
	"log/slog"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport/transporttest"
)

// quiet is a logger that says nothing.
var quiet = slog.New(slog.DiscardHandler)

// contract runs the contract test on transports of a configuration.
func contract(t *testing.T, change func(raft.NodeID, *Config)) {
	transporttest.Run(t, transporttest.Config{
		Network: func(t testing.TB) func(raft.NodeID, transporttest.Options) transporttest.Transport {
			return func(id raft.NodeID, o transporttest.Options) transporttest.Transport {
				c := Config{Listen: "127.0.0.1:0", MaxQueueMessages: o.QueueMessages, Logger: quiet}
				if o.Address != "" {
					c.Listen = o.Address
				}
				if change != nil {
					change(id, &c)
				}
				tr, err := New(c)
				if err != nil {
					t.Fatal(err)
				}
				return tr
			}
		},
	})
}

func TestContract(t *testing.T) { contract(t, nil) }

// TestContractByWriter takes the path on which Send never writes.
func TestContractByWriter(t *testing.T) {
	contract(t, func(_ raft.NodeID, c *Config) { c.noInline = true })
}
