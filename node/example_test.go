package node_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport/tcp"
)

// sum is a replicated state machine: a number to which commands add.
type sum struct{ value atomic.Uint64 }

func (s *sum) Apply(entries []rsm.Entry) error {
	for i := range entries {
		n, _ := binary.Uvarint(entries[i].Command)
		entries[i].Result.Value = s.value.Add(n)
	}
	return nil
}

func (s *sum) Read(context.Context, any) (any, error) { return s.value.Load(), nil }
func (s *sum) Snapshot() (rsm.View, error)            { return picture(s.value.Load()), nil }
func (s *sum) Close() error                           { return nil }

func (s *sum) Restore(r io.Reader) error {
	var p picture
	if err := binary.Read(r, binary.LittleEndian, &p); err != nil {
		return err
	}
	s.value.Store(uint64(p))
	return nil
}

// picture is the number at one moment.
type picture uint64

func (p picture) Close() error { return nil }
func (p picture) WriteSnapshot(_ context.Context, w io.Writer) error {
	return binary.Write(w, binary.LittleEndian, p)
}

// A cluster of one: with more, each process opens its own node, with the addresses
// of the others as Peers and all of them as Voters.
func Example() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "example")
	must(err)
	defer os.RemoveAll(dir)
	network, err := tcp.New(tcp.Config{Listen: "127.0.0.1:0"})
	must(err)
	n, err := node.Open(node.Config{
		ID: 1, Cluster: "example", Dir: dir, Transport: network,
		Logger: slog.New(slog.DiscardHandler),
	})
	must(err)
	defer n.Close()
	g, err := n.StartGroup(node.GroupConfig{ID: 1, Voters: []raft.NodeID{1}, StateMachine: &sum{}})
	must(err)

	ctx := context.Background()
	must(g.Ready(ctx))
	for _, n := range []uint64{20, 22} {
		result, err := g.Propose(ctx, binary.AppendUvarint(nil, n))
		must(err) // node.ErrNotLeader, node.ErrUnknownOutcome, ...
		fmt.Println("the sum is", result.Value)
	}
	value, err := g.Read(ctx, nil) // linearizable, at any member
	must(err)
	fmt.Println("read", value)
	// Output:
	// the sum is 20
	// the sum is 42
	// read 42
}
