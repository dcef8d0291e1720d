// Command embed is the smallest program on Quorate: a node, a group, a state machine
// of one's own, commands and a linearizable read. It decides nothing else: see
// examples/kv for a program with several members, errors handled and a way to stop.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport/tcp"
)

func main() {
	ctx, dir := context.Background(), must(os.MkdirTemp("", "embed"))
	defer os.RemoveAll(dir)
	n := must(node.Open(node.Config{
		ID: 1, Cluster: "example", Dir: dir,
		Transport: must(tcp.New(tcp.Config{Listen: "127.0.0.1:0"})),
	}))
	defer n.Close()
	g := must(n.StartGroup(node.GroupConfig{ID: 1, Voters: []raft.NodeID{1}, StateMachine: newWords()}))
	if err := g.Ready(ctx); err != nil {
		panic(err)
	}
	for _, word := range []string{"to", "be", "or", "not", "to", "be"} {
		result := must(g.Propose(ctx, []byte(word)))
		fmt.Println(word, result.Value)
	}
	fmt.Println("times of be:", must(g.Read(ctx, "be")))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
