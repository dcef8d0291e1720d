package load

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/internal/cluster"
)

var (
	kind   = flag.String("server", "quorate", "whose server is judged: quorate or etcd")
	rounds = flag.Int("rounds", 1, "how often each fault comes")
	seed   = flag.Uint64("seed", 1, "of what the clients do")
)

const (
	clients  = 8
	watchers = 6
	holders  = 6
	// lateness is what a lease may outlive its end by: an election and a second.
	lateness = time.Second + time.Second
)

// rig is a cluster under load and the time in which it was disturbed.
type rig struct {
	t       *testing.T
	c       *cluster.Cluster
	probe   *clientv3.Client
	healthy context.Context

	disturbed []interval
}

// connect is a client of all nodes that leaves one which does not answer.
func (r *rig) connect() *clientv3.Client {
	cfg := r.c.ClientConfig()
	cfg.DialKeepAliveTime, cfg.DialKeepAliveTimeout = 2*time.Second, 2*time.Second
	cl, err := clientv3.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { cl.Close() })
	return cl
}

// disturb does something to the cluster and waits until it writes again.
func (r *rig) disturb(what string, all bool, fault func() error) {
	r.t.Helper()
	from := time.Now()
	if err := fault(); err != nil {
		r.t.Fatalf("%s: %v\n%s", what, err, r.c.Logs(3000))
	}
	r.writes(what)
	r.disturbed = append(r.disturbed, interval{from, time.Now(), what, all})
	r.t.Logf("%s: writes again after %v", what, time.Since(from).Round(time.Millisecond))
}

// writes waits until a write succeeds: of a key of its own beside the registers.
func (r *rig) writes(what string) {
	r.t.Helper()
	for {
		one, cancel := context.WithTimeout(r.healthy, time.Second)
		_, err := r.probe.Put(one, prefix+"probe", what)
		cancel()
		if err == nil {
			return
		}
		if r.healthy.Err() != nil {
			r.t.Fatalf("%s: no write succeeds: %v\n%s", what, err, r.c.Logs(3000))
		}
	}
}

func (r *rig) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.healthy.Done():
	}
}

const prefix = "load/"

// faults are what happens to the cluster; after each all nodes run.
func (r *rig) faults() {
	leader := func() *cluster.Node {
		n, err := r.c.Leader(r.healthy)
		if err != nil {
			r.t.Fatalf("%v\n%s", err, r.c.Logs(3000))
		}
		return n
	}
	follower := func() *cluster.Node {
		l := leader()
		return r.c.Nodes[slices.IndexFunc(r.c.Nodes, func(n *cluster.Node) bool { return n != l })]
	}
	killed := leader()
	r.disturb("the leader is killed", false, killed.Kill)
	r.rest(2 * time.Second)
	r.disturb("it comes back", false, killed.Start)

	r.rest(time.Second)
	paused := follower()
	r.disturb("a follower is paused", false, paused.Pause)
	r.rest(3 * time.Second)
	r.disturb("it goes on", false, paused.Resume)

	r.rest(time.Second)
	paused = leader()
	r.disturb("the leader is paused", false, paused.Pause)
	r.rest(2 * time.Second)
	r.disturb("it goes on", false, paused.Resume)

	r.rest(time.Second)
	killed = follower()
	r.disturb("a follower is killed", false, killed.Kill)
	r.rest(2 * time.Second)
	r.disturb("it comes back", false, killed.Start)

	r.rest(time.Second)
	r.disturb("all are killed and come back", true, func() error {
		for _, n := range r.c.Nodes {
			if err := n.Kill(); err != nil {
				return err
			}
		}
		for _, n := range r.c.Nodes {
			if err := n.Start(); err != nil {
				return err
			}
		}
		return nil
	})
	r.rest(2 * time.Second)
}

// TestFaultsUnderLoad: clients read, write, watch and hold leases while the
// processes are killed and paused, and nothing that they see is wrong.
func TestFaultsUnderLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*rounds)*2*time.Minute+2*time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Config{Kind: cluster.Kind(*kind), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	r := &rig{t: t, c: c, healthy: ctx}
	r.probe = r.connect()
	first, err := r.probe.Put(ctx, prefix+"probe", "first")
	if err != nil {
		t.Fatal(err)
	}

	rec, held := newRecorder(prefix), &leases{prefix: prefix}
	var last atomic.Int64 // the last revision, once it is known
	logs := make([][]seen, watchers)
	errs := make([]error, watchers)
	var watching, working sync.WaitGroup
	for i := range watchers {
		cl := r.connect()
		watching.Go(func() { logs[i], errs[i] = watch(ctx, cl, prefix, first.Header.Revision, last.Load) })
	}
	load, stop := context.WithCancel(ctx)
	defer stop()
	for i := range clients {
		cl := r.connect()
		working.Go(func() { rec.operate(load, i, cl, *seed) })
	}
	for i := range holders {
		cl := r.connect()
		working.Go(func() { held.hold(load, cl, rand.New(rand.NewPCG(*seed, 1000+uint64(i)))) })
	}
	for range *rounds {
		r.faults()
	}
	stop()
	working.Wait()
	// The longest lease and what it may be late, then nothing changes any more.
	r.rest(4*time.Second + lateness + time.Second)
	end, err := r.probe.Get(ctx, prefix+"probe")
	if err != nil {
		t.Fatal(err)
	}
	last.Store(end.Header.Revision)
	watching.Wait()

	t.Logf("%d operations, %d revisions; errors: %v", len(rec.ops), end.Header.Revision-first.Header.Revision, rec.errs)
	for i := range logs {
		if err := errors.Join(errs[i], judgeWatch(logs[i], first.Header.Revision, end.Header.Revision)); err != nil {
			t.Errorf("watcher %d: %v", i, err)
		}
	}
	if err := judgeHistory(rec.ops, logs[0], rec.key, time.Minute); err != nil {
		t.Error(err)
	}
	judged, worst, err := judgeLeases(held.ended, logs[0], r.disturbed, lateness)
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d leases; the latest ended %v after it was due", judged, worst)
	if judged == 0 || len(rec.ops) < 100 {
		t.Errorf("judged %d leases and %d operations: too few", judged, len(rec.ops))
	}
	if err := equal(ctx, r, end.Header.Revision); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Log(c.Logs(3000))
	}
}

// equal holds the replicas' hashes of one revision against each other.
func equal(ctx context.Context, r *rig, revision int64) error {
	hashes := make(map[string][]string)
	for _, n := range r.c.Nodes {
		// A linearizable read has the node catch up.
		cl, err := clientv3.New(r.c.ClientConfig(n.Endpoint()))
		if err != nil {
			return err
		}
		defer cl.Close()
		if _, err := cl.Get(ctx, "caught up?"); err != nil {
			return err
		}
		h, err := cl.HashKV(ctx, n.ClientURL, revision)
		if err != nil {
			return err
		}
		k := fmt.Sprintf("hash %d of revision %d, compacted %d", h.Hash, h.HashRevision, h.CompactRevision)
		hashes[k] = append(hashes[k], n.Name)
	}
	if len(hashes) != 1 {
		return fmt.Errorf("the replicas differ: %v", strings.ReplaceAll(fmt.Sprint(hashes), "map", ""))
	}
	return nil
}
