package load

import (
	"context"
	"flag"
	"slices"
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
	watchers = 6
	stallers = 6
	election = time.Second
	// lateness is what a lease may outlive its end by.
	lateness = election + time.Second
)

// rig is a cluster under load and the time in which it was disturbed.
type rig struct {
	t       *testing.T
	c       *cluster.Cluster
	probe   *clientv3.Client
	stalls  *Stallers
	healthy context.Context

	disturbed []Interval
	// After each time that the leader was killed: until a write succeeded, how long
	// the longest request without a deadline took, and how long a client had no
	// success.
	resumed, longest, without []time.Duration
}

// connect is a client of all nodes as it comes, but that it leaves one which does
// not answer, as a paused one does not.
func (r *rig) connect(int) *clientv3.Client {
	cfg := r.c.ClientConfig()
	cfg.DialKeepAliveTime, cfg.DialKeepAliveTimeout = 2*time.Second, 2*time.Second
	return r.client(cfg)
}

func (r *rig) client(cfg clientv3.Config) *clientv3.Client {
	r.t.Helper()
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
	for {
		one, cancel := context.WithTimeout(r.healthy, 100*time.Millisecond)
		_, err := r.probe.Put(one, "load/probe", time.Now().String())
		cancel()
		if err == nil {
			break
		}
		if r.healthy.Err() != nil {
			r.t.Fatalf("%s: no write succeeds: %v\n%s", what, err, r.c.Logs(3000))
		}
	}
	r.disturbed = append(r.disturbed, Interval{from, time.Now(), what, all})
}

func (r *rig) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.healthy.Done():
	}
}

func (r *rig) leader() *cluster.Node {
	r.t.Helper()
	n, err := r.c.Leader(r.healthy)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, r.c.Logs(3000))
	}
	return n
}

func (r *rig) follower() *cluster.Node {
	r.t.Helper()
	l := r.leader()
	return r.c.Nodes[slices.IndexFunc(r.c.Nodes, func(n *cluster.Node) bool { return n != l })]
}

// faults are what happens to the cluster; after each all nodes run.
func (r *rig) faults() {
	killed := r.leader()
	at := time.Now()
	r.disturb("the leader is killed", false, killed.Kill)
	r.rest(2*time.Second + time.Until(at.Add(2*time.Second)))
	resumed, _ := r.stalls.Resumed(at)
	longest, without := r.stalls.Longest(at, at.Add(2*time.Second))
	r.resumed = append(r.resumed, resumed.Sub(at))
	r.longest, r.without = append(r.longest, longest), append(r.without, without)
	r.disturb("it comes back", false, killed.Start)

	r.rest(time.Second)
	paused := r.follower()
	r.disturb("a follower is paused", false, paused.Pause)
	r.rest(3 * time.Second)
	r.disturb("it goes on", false, paused.Resume)

	r.rest(time.Second)
	paused = r.leader()
	r.disturb("the leader is paused", false, paused.Pause)
	r.rest(2 * time.Second)
	r.disturb("it goes on", false, paused.Resume)

	r.rest(time.Second)
	killed = r.follower()
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
	r.rest(3 * time.Second)
}

// TestFaultsUnderLoad: clients read, write, lock, watch and hold leases while the
// processes are killed and paused, and nothing that they see is wrong.
func TestFaultsUnderLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*rounds)*2*time.Minute+2*time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Config{Kind: cluster.Kind(*kind), Dir: t.TempDir(), Election: election})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	r := &rig{t: t, c: c, healthy: ctx}
	r.probe = r.connect(0)
	first, err := r.probe.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	log := Log{After: first.Header.Revision, Before: first.Kvs}
	w := Watch(ctx, log.After, make([]string, watchers), r.connect)
	load, stop := context.WithCancel(ctx)
	defer stop()
	alone := func(i int) *clientv3.Client {
		return r.client(c.ClientConfig(c.Nodes[i%len(c.Nodes)].Endpoint()))
	}
	l := Start(load, "load/", Config{Seed: *seed, Pace: 10 * time.Millisecond, Patience: 5 * time.Second}, r.connect)
	parts := Seek(load, "load/", 2, *seed, r.connect, func() (int64, int64) { return log.After + 1, w.Told() })
	// Stock clients, without anything set.
	r.stalls = Stall(load, "load/stall/", stallers, func(int) *clientv3.Client { return r.client(c.ClientConfig()) })
	observer := Observe(load, c.Nodes, alone)
	for range *rounds {
		r.faults()
	}
	stop()
	l.Wait()
	r.stalls.Wait()
	observer.Wait()
	r.rest(LongestTTL + lateness + time.Second)
	end, err := r.probe.Put(ctx, "load/probe", "the end")
	if err != nil {
		t.Fatal(err)
	}
	log.Last = end.Header.Revision
	views := w.Finish(log.Last)
	r.judge(l, &log, views, parts.Wait(), observer)
	if err := Equal(ctx, c.Nodes, log.Last, alone); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Log(c.Logs(3000))
	}
}

func (r *rig) judge(l *Load, log *Log, views []*View, parts []*Part, observer *Observer) {
	t := r.t
	merged := Merge(*log, views)
	for _, v := range views {
		if err := JudgeView(v, merged); err != nil {
			t.Error(err)
		}
		if err := JudgeSame(views[0], v); err != nil {
			t.Error(err)
		}
	}
	for _, p := range parts {
		if err := JudgePart(p, merged); err != nil {
			t.Error(err)
		}
	}
	if err := JudgeHistory(l.Ops(), l.Began(), merged, time.Minute); err != nil {
		t.Error(err)
	}
	verdict, err := JudgeLeases(l.Leases.Tenures(), merged, r.disturbed, lateness)
	if err != nil {
		t.Error(err)
	}
	reigns, faults := observer.Take(l.Began())
	for _, err := range faults {
		t.Error(err)
	}
	if verdict.Judged == 0 || len(l.Ops()) < 100 {
		t.Errorf("judged %d leases and %d operations: too few", verdict.Judged, len(l.Ops()))
	}
	t.Logf("%d operations, %d revisions, %d watches of everything and %d of parts, %d terms; errors: %v",
		len(l.Ops()), log.Last-log.After, len(views), len(parts), len(reigns), l.Errors())
	t.Logf("%d leases; the latest ended %v after it was due, %v after anybody could end it", verdict.Judged, verdict.Worst, verdict.Net)
	for _, m := range []struct {
		what string
		of   []time.Duration
	}{
		{"after kill -9 of the leader an operation succeeds again", r.resumed},
		{"the longest request of a client without deadlines then takes", r.longest},
		{"the longest time that such a client has no success is", r.without},
	} {
		slices.Sort(m.of)
		t.Logf("%s: median %v, worst %v of %d", m.what, m.of[len(m.of)/2].Round(time.Millisecond), m.of[len(m.of)-1].Round(time.Millisecond), len(m.of))
	}
}
