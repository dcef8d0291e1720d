package engine

import (
	"math"
	"sync"
	"sync/atomic"
)

// A gate counts who is inside, and once shut lets nobody in.
type gate struct {
	// inside is the count, plus shutGate once the gate is shut.
	inside atomic.Int64
	shut   sync.Once
	empty  chan struct{}
}

const shutGate = math.MinInt64 / 2

func newGate() *gate { return &gate{empty: make(chan struct{}, 1)} }

func (g *gate) enter() error {
	if g.inside.Add(1) <= 0 {
		g.leave()
		return ErrClosed
	}
	return nil
}

func (g *gate) leave() {
	if g.inside.Add(-1) == shutGate {
		select {
		case g.empty <- struct{}{}:
		default:
		}
	}
}

// close shuts the gate and waits until nobody is inside. It reports whether this
// call was the one that shut it.
func (g *gate) close() bool {
	first := false
	g.shut.Do(func() {
		first = true
		g.inside.Add(shutGate)
		for g.inside.Load() != shutGate {
			<-g.empty
		}
	})
	return first
}
