package main

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/bench/internal/cluster"
	"github.com/quorate/quorate/bench/internal/histogram"
	"github.com/quorate/quorate/node"
)

// Names of the library's measures.
const (
	writes        = "library: propose"
	leaderReads   = "library: read at leader"
	followerReads = "library: read at follower"
)

// newLibrary makes the measures of the library.
func newLibrary(c *cluster.Cluster, o *options) []measure {
	l := &library{cluster: c, groups: make([]atomic.Pointer[node.Group], o.groups)}
	var all []measure
	for _, n := range o.clients {
		payloads := make([][]byte, n)
		for i := range payloads {
			payloads[i] = make([]byte, o.payload)
		}
		all = append(all, l.measure(writes, n, c.Leader, func(ctx context.Context, g *node.Group, client int) error {
			if p := payloads[client]; len(p) >= 8 {
				binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)+1)
			}
			_, err := g.Propose(ctx, payloads[client])
			return err
		}))
	}
	if !o.reads {
		return all
	}
	read := func(ctx context.Context, g *node.Group, _ int) error {
		_, err := g.Read(ctx, nil)
		return err
	}
	for _, n := range o.clients {
		all = append(all, l.measure(leaderReads, n, c.Leader, read))
	}
	for _, n := range o.clients {
		all = append(all, l.measure(followerReads, n, c.Follower, read))
	}
	return all
}

// library is the replicas that the clients of a run talk to.
type library struct {
	cluster *cluster.Cluster
	groups  []atomic.Pointer[node.Group]
}

// choose finds the replica of each group.
type choose func(ctx context.Context, group int) (*node.Group, error)

func (l *library) measure(name string, clients int, where choose, operate func(ctx context.Context, g *node.Group, client int) error) measure {
	return measure{
		name: name, clients: clients,
		before: func(ctx context.Context) error {
			for j := range l.groups {
				if err := l.find(ctx, j, where); err != nil {
					return err
				}
			}
			return nil
		},
		operate: func(ctx context.Context, client int) (time.Time, error) {
			group := client % len(l.groups)
			err := operate(ctx, l.groups[group].Load(), client)
			ended := time.Now()
			if err != nil {
				// Leadership moved, most likely. It is counted as an error.
				if failed := l.find(ctx, group, where); failed != nil {
					err = failed
				}
			}
			return ended, err
		},
		fs: l.cluster.FS,
		takeSyncs: func(to *histogram.Histogram) {
			for _, s := range l.cluster.Syncs {
				s.Take(to)
			}
		},
	}
}

func (l *library) find(ctx context.Context, group int, where choose) error {
	g, err := where(ctx, group)
	if err == nil {
		l.groups[group].Store(g)
	}
	return err
}
