package nemesis

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/quorate/quorate/compat/internal/network"
)

// A kind of fault begins one, tells what it did and to whom, and gives what ends
// it. What ends it is called once, also when the run is over.
type kind struct {
	// track: of each there is one fault at a time, so that no two undo each other.
	track string
	hold  [2]time.Duration // how long it lasts, from to
	begin func(e *env, rng *rand.Rand) (f active, err error)
	// needs says whether it can be had; nil is always.
	needs func(e *env) bool
}

type active struct {
	what  string
	nodes []int
	end   func() error
}

const (
	processes = "processes"
	links     = "links"
	disks     = "disks"
)

func ms(from, to int) [2]time.Duration {
	return [2]time.Duration{time.Duration(from) * time.Millisecond, time.Duration(to) * time.Millisecond}
}

// Kinds are the names of the faults.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

var kinds map[string]*kind

func init() {
	kinds = map[string]*kind{
		"kill leader":     {track: processes, hold: ms(300, 6000), begin: func(e *env, _ *rand.Rand) (active, error) { return e.kill(e.leader()) }},
		"kill follower":   {track: processes, hold: ms(100, 6000), begin: func(e *env, r *rand.Rand) (active, error) { return e.kill(e.follower(r)) }},
		"kill minority":   {track: processes, hold: ms(100, 6000), begin: func(e *env, r *rand.Rand) (active, error) { return e.kill(e.some(r, e.minority())...) }},
		"kill majority":   {track: processes, hold: ms(100, 2500), begin: func(e *env, r *rand.Rand) (active, error) { return e.kill(e.some(r, e.minority()+1)...) }},
		"kill all":        {track: processes, hold: ms(0, 1500), begin: func(e *env, r *rand.Rand) (active, error) { return e.kill(e.some(r, len(e.nodes))...) }},
		"stop in order":   {track: processes, hold: ms(100, 3000), begin: func(e *env, r *rand.Rand) (active, error) { return e.terminate(e.any(r)) }},
		"stop the leader": {track: processes, hold: ms(100, 3000), begin: func(e *env, _ *rand.Rand) (active, error) { return e.terminate(e.leader()) }},
		"pause leader":    {track: processes, hold: ms(200, 6000), begin: func(e *env, _ *rand.Rand) (active, error) { return e.pause(e.leader()) }},
		"pause follower":  {track: processes, hold: ms(200, 6000), begin: func(e *env, r *rand.Rand) (active, error) { return e.pause(e.follower(r)) }},
		"pause all":       {track: processes, hold: ms(300, 4000), begin: func(e *env, r *rand.Rand) (active, error) { return e.pause(e.some(r, len(e.nodes))...) }},

		"leader is not heard": {track: links, hold: ms(500, 7000), begin: func(e *env, r *rand.Rand) (active, error) {
			l := e.leader()
			return e.set(network.Link{Cut: true}, pairs(e.others(l), func(o int) (int, int) { return l, o }), "what "+member(l)+" sends is lost", l)
		}},
		"leader hears nobody": {track: links, hold: ms(500, 7000), begin: func(e *env, r *rand.Rand) (active, error) {
			l := e.leader()
			return e.set(network.Link{Cut: true}, pairs(e.others(l), func(o int) (int, int) { return o, l }), "what is sent to "+member(l)+" is lost", l)
		}},
		"one way cut": {track: links, hold: ms(500, 7000), begin: func(e *env, r *rand.Rand) (active, error) {
			p := e.some(r, 2)
			return e.set(network.Link{Cut: true}, [][2]int{{p[0], p[1]}}, "what "+member(p[0])+" sends to "+member(p[1])+" is lost", p...)
		}},
		"cut between two": {track: links, hold: ms(500, 7000), begin: func(e *env, r *rand.Rand) (active, error) {
			l, f := e.leader(), e.follower(r)
			return e.set(network.Link{Cut: true}, [][2]int{{l, f}, {f, l}}, "nothing passes between "+numbers([]int{l, f}), l, f)
		}},
		"isolate leader":   {track: links, hold: ms(500, 7000), begin: func(e *env, r *rand.Rand) (active, error) { return e.isolate(r, e.leader()) }},
		"isolate follower": {track: links, hold: ms(500, 7000), begin: func(e *env, r *rand.Rand) (active, error) { return e.isolate(r, e.follower(r)) }},
		"split":            {track: links, hold: ms(500, 7000), begin: func(e *env, r *rand.Rand) (active, error) { return e.isolate(r, e.some(r, e.minority())...) }},
		"ring": {track: links, hold: ms(1000, 7000), needs: func(e *env) bool { return len(e.nodes) > 3 }, begin: func(e *env, r *rand.Rand) (active, error) {
			order := e.some(r, len(e.nodes))
			return e.set(network.Link{Cut: true}, e.apart(func(i, j int) bool {
				d := slices.Index(order, i) - slices.Index(order, j)
				return d == 1 || d == -1 || d == len(order)-1 || d == 1-len(order)
			}), "each node reaches its two neighbours only")
		}},
		"bridge": {track: links, hold: ms(1000, 7000), begin: func(e *env, r *rand.Rand) (active, error) {
			order := e.some(r, len(e.nodes))
			middle := len(order) / 2
			return e.set(network.Link{Cut: true}, e.apart(func(i, j int) bool {
				a, b := slices.Index(order, i), slices.Index(order, j)
				return a == middle || b == middle || (a < middle) == (b < middle)
			}), "two halves meet only in "+member(order[middle]))
		}},
		"clients lose the leader": {track: links, hold: ms(500, 6000), needs: func(e *env) bool { return e.clientLinks }, begin: func(e *env, r *rand.Rand) (active, error) {
			l := e.leader()
			way := [][2]int{{network.Clients, l}, {l, network.Clients}}
			return e.set(network.Link{Cut: true}, way[r.IntN(2):][:1], "between clients and "+member(l)+" one way is lost", l)
		}},
		"slow leader": {track: links, hold: ms(1000, 7000), begin: func(e *env, r *rand.Rand) (active, error) {
			l, d := e.leader(), time.Duration(20+r.IntN(300))*time.Millisecond
			return e.set(network.Link{Delay: d, Jitter: d / 4}, slices.Concat(
				pairs(e.others(l), func(o int) (int, int) { return l, o }), pairs(e.others(l), func(o int) (int, int) { return o, l })),
				fmt.Sprintf("to and from %s takes %v longer", member(l), d), l)
		}},
		"slow everywhere": {track: links, hold: ms(1000, 7000), begin: func(e *env, r *rand.Rand) (active, error) {
			d := time.Duration(5+r.IntN(60)) * time.Millisecond
			return e.set(network.Link{Delay: d, Jitter: d}, e.apart(nil), fmt.Sprintf("everything takes %v longer", d))
		}},
		"lossy": {track: links, hold: ms(1000, 7000), begin: func(e *env, r *rand.Rand) (active, error) {
			loss := 0.02 + r.Float64()*0.25
			return e.set(network.Link{Loss: loss}, e.apart(nil), fmt.Sprintf("%.0f%% of packets are lost", loss*100))
		}},
		"narrow": {track: links, hold: ms(1000, 7000), begin: func(e *env, r *rand.Rand) (active, error) {
			rate := (32 + r.IntN(256)) << 10
			return e.set(network.Link{BytesPerSecond: rate}, e.apart(nil), fmt.Sprintf("each link carries %d KiB/s", rate>>10))
		}},
		"flapping": {track: links, hold: ms(2000, 7000), begin: func(e *env, r *rand.Rand) (active, error) { return e.flap(r) }},

		"fill to the reserve": {track: disks, hold: ms(1500, 5000), needs: func(e *env) bool { return e.bounded }, begin: func(e *env, r *rand.Rand) (active, error) {
			return e.fill(e.any(r), reserveBytes/2)
		}},
		"fill the disk": {track: disks, hold: ms(1500, 5000), needs: func(e *env) bool { return e.bounded }, begin: func(e *env, r *rand.Rand) (active, error) {
			return e.fill(e.any(r), 0)
		}},
	}
}

func pairs(of []int, pair func(int) (int, int)) [][2]int {
	var all [][2]int
	for _, o := range of {
		a, b := pair(o)
		all = append(all, [2]int{a, b})
	}
	return all
}

func (e *env) minority() int { return (len(e.nodes) - 1) / 2 }

func (e *env) any(r *rand.Rand) int { return r.IntN(len(e.nodes)) }

// some gives so many nodes in a random order.
func (e *env) some(r *rand.Rand, n int) []int { return r.Perm(len(e.nodes))[:min(n, len(e.nodes))] }

func (e *env) others(than int) []int {
	var all []int
	for i := range e.nodes {
		if i != than {
			all = append(all, i)
		}
	}
	return all
}

func (e *env) follower(r *rand.Rand) int {
	others := e.others(e.leader())
	if len(others) == 0 {
		return 0
	}
	return others[r.IntN(len(others))]
}

// apart gives the links, in both directions, between nodes that are not to be
// together; nil is all.
func (e *env) apart(together func(i, j int) bool) [][2]int {
	var all [][2]int
	for i := range e.nodes {
		for j := range e.nodes {
			if i != j && (together == nil || !together(i, j)) {
				all = append(all, [2]int{i, j})
			}
		}
	}
	return all
}

func numbers(nodes []int) string {
	var all []string
	for _, n := range nodes {
		all = append(all, member(n))
	}
	return strings.Join(all, ", ")
}

// member is how a node is called.
func member(n int) string { return fmt.Sprintf("n%d", n+1) }

// running gives those of the nodes whose processes run.
func (e *env) running(nodes []int) []int {
	return slices.DeleteFunc(slices.Clone(nodes), func(n int) bool { return !e.nodes[n].Running() })
}

func (e *env) kill(nodes ...int) (active, error) {
	nodes = e.running(nodes)
	for _, n := range nodes {
		if err := e.nodes[n].Kill(); err != nil {
			return active{}, err
		}
	}
	return active{"kill -9 " + numbers(nodes), nodes, func() error { return e.start(nodes) }}, nil
}

func (e *env) terminate(node int) (active, error) {
	nodes := e.running([]int{node})
	for _, n := range nodes {
		if err := e.nodes[n].Terminate(e.config.Recovery / 2); err != nil {
			e.violate("%s does not stop in order: %v", member(n), err)
		}
	}
	return active{"SIGTERM " + numbers(nodes), nodes, func() error { return e.start(nodes) }}, nil
}

func (e *env) start(nodes []int) error {
	for _, n := range nodes {
		if e.nodes[n].Running() {
			continue
		}
		if err := e.nodes[n].Start(); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) pause(nodes ...int) (active, error) {
	nodes = e.running(nodes)
	for _, n := range nodes {
		if err := e.nodes[n].Pause(); err != nil {
			return active{}, err
		}
	}
	return active{"SIGSTOP " + numbers(nodes), nodes, func() error {
		for _, n := range e.running(nodes) {
			if err := e.nodes[n].Resume(); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// set gives links a state.
func (e *env) set(l network.Link, on [][2]int, what string, nodes ...int) (active, error) {
	for _, p := range on {
		e.network.Set(p[0], p[1], l)
	}
	return active{what, nodes, func() error {
		for _, p := range on {
			e.network.Set(p[0], p[1], network.Link{})
		}
		return nil
	}}, nil
}

// isolate cuts nodes off from the others, and half the time from clients too.
func (e *env) isolate(r *rand.Rand, nodes ...int) (active, error) {
	on := e.apart(func(i, j int) bool { return slices.Contains(nodes, i) == slices.Contains(nodes, j) })
	what := numbers(nodes) + " cut off from the others"
	if e.clientLinks && r.IntN(2) == 0 {
		what += " and from clients"
		for _, n := range nodes {
			on = append(on, [2]int{network.Clients, n}, [2]int{n, network.Clients})
		}
	}
	return e.set(network.Link{Cut: true}, on, what, nodes...)
}

// flap cuts a node off again and again.
func (e *env) flap(r *rand.Rand) (active, error) {
	node := e.any(r)
	on := e.apart(func(i, j int) bool { return (i == node) == (j == node) })
	period := time.Duration(100+r.IntN(900)) * time.Millisecond
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for cut := true; ; cut = !cut {
			for _, p := range on {
				e.network.Set(p[0], p[1], network.Link{Cut: cut})
			}
			select {
			case <-time.After(period):
			case <-stop:
				for _, p := range on {
					e.network.Set(p[0], p[1], network.Link{})
				}
				return
			}
		}
	}()
	return active{fmt.Sprintf("%s is cut off every other %v", member(node), period), []int{node}, func() error {
		close(stop)
		<-stopped
		return nil
	}}, nil
}

// fill leaves a node's disk so many bytes.
func (e *env) fill(node int, leave int64) (active, error) {
	ballast := filepath.Join(e.nodes[node].Dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		return active{}, err
	}
	defer f.Close()
	free, err := freeBytes(e.nodes[node].Dir)
	if err != nil {
		return active{}, err
	}
	piece, written := make([]byte, 1<<20), int64(0)
	for written < free-leave {
		n, err := f.Write(piece[:min(int64(len(piece)), free-leave-written)])
		written += int64(n)
		if err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				break // somebody else took the last bytes
			}
			return active{}, err
		}
	}
	e.noteFilled(node, leave == 0)
	return active{fmt.Sprintf("%s has %d MiB of disk left", member(node), leave>>20), []int{node}, func() error { return os.Remove(ballast) }}, nil
}
