package mem_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport/mem"
	"github.com/quorate/quorate/transport/transporttest"
)

// made gives every transport an address of its own, as ports do.
func made(testing.TB) func(raft.NodeID, transporttest.Options) transporttest.Transport {
	network := mem.NewNetwork()
	count := 0
	return func(id raft.NodeID, o transporttest.Options) transporttest.Transport {
		if count++; o.Address == "" {
			o.Address = fmt.Sprintf("host-%d", count)
		}
		return network.TransportWith(id, mem.Config{Address: o.Address, MaxQueueMessages: o.QueueMessages})
	}
}

func TestContract(t *testing.T) {
	transporttest.Run(t, transporttest.Config{Network: made})
}

func TestContractInBubble(t *testing.T) {
	transporttest.Run(t, transporttest.Config{Network: made, Bubble: synctest.Test})
}
