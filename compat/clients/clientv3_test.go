package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// must is for answers that a test does not look at.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestClient: keys, transactions, a watch, a lease kept alive, and the cluster.
func TestClient(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		ctx, cl := soon(t), dial(t, c, n.Endpoint())
		put := must[*clientv3.PutResponse](t)(cl.Put(ctx, p, "1"))
		w := cl.Watch(clientv3.WithRequireLeader(ctx), p, clientv3.WithPrefix(), clientv3.WithPrevKV(),
			clientv3.WithRev(put.Header.Revision), clientv3.WithCreatedNotify(), clientv3.WithFragment())
		txn := must[*clientv3.TxnResponse](t)(cl.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(p), "=", put.Header.Revision), clientv3.Compare(clientv3.Value(p), "<", "2")).
			Then(clientv3.OpPut(p, "2"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(p)}, nil)).
			Else(clientv3.OpGet(p)).Commit())
		if !txn.Succeeded || string(txn.Responses[1].GetResponseTxn().Responses[0].GetResponseRange().Kvs[0].Value) != "2" {
			t.Fatalf("the transaction answers %v", txn)
		}
		must[*clientv3.DeleteResponse](t)(cl.Delete(ctx, p))
		var got []string
		for resp := range w {
			if err := resp.Err(); err != nil {
				t.Fatal(err)
			}
			for _, ev := range resp.Events {
				s := fmt.Sprintf("%v %s", ev.Type, ev.Kv.Value)
				if ev.PrevKv != nil {
					s += " after " + string(ev.PrevKv.Value)
				}
				got = append(got, s)
			}
			if len(got) == 3 {
				break
			}
		}
		if want := []string{"PUT 1", "PUT 2 after 1", "DELETE  after 2"}; !slices.Equal(got, want) {
			t.Errorf("the watch tells %q, want %q", got, want)
		}
		if _, err := cl.Get(ctx, p, clientv3.WithRev(put.Header.Revision+1000000)); !errors.Is(err, rpctypes.ErrFutureRev) {
			t.Errorf("a read of the future gives %v", err)
		}
		if _, err := cl.Put(ctx, p, "x", clientv3.WithLease(404)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Errorf("a put with no lease gives %v", err)
		}
	})
}

// TestLeaseKeptAliveAndLost: a lease that is kept alive outlives its time, and its
// keys go when nobody keeps it any more.
func TestLeaseKeptAliveAndLost(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		t.Parallel()
		ctx, cl := soon(t), dial(t, c, n.Endpoint())
		lease := must[*clientv3.LeaseGrantResponse](t)(cl.Grant(ctx, 2))
		put := must[*clientv3.PutResponse](t)(cl.Put(ctx, p, "x", clientv3.WithLease(lease.ID)))
		w := cl.Watch(ctx, p, clientv3.WithRev(put.Header.Revision+1))
		keeping, stop := context.WithCancel(ctx)
		alive, err := cl.KeepAlive(keeping, lease.ID)
		if err != nil {
			t.Fatal(err)
		}
		for range 6 { // each third of its two seconds: past their end
			select {
			case resp, ok := <-alive:
				if !ok || resp.TTL != 2 {
					t.Fatalf("keep alive answers %v, %v", resp, ok)
				}
			case resp := <-w:
				t.Fatalf("the key went while its lease was kept alive: %v", resp.Events)
			}
		}
		stop()
		resp := <-w
		if err := resp.Err(); err != nil || len(resp.Events) != 1 || resp.Events[0].Type != mvccpb.Event_DELETE {
			t.Fatalf("the watch tells %v, %v", resp.Events, err)
		}
		left := must[*clientv3.LeaseTimeToLiveResponse](t)(cl.TimeToLive(ctx, lease.ID))
		if left.TTL != -1 {
			t.Errorf("a lease that ended has %d s left", left.TTL)
		}
	})
}

// TestCluster: what clients learn of the members.
func TestCluster(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, _ string) {
		ctx, cl := soon(t), dial(t, c, n.Endpoint())
		if err := cl.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		if got := cl.Endpoints(); len(got) != len(c.Nodes) || !slices.Contains(got, n.ClientURL) {
			t.Errorf("Sync finds %q", got)
		}
		hash := must[*clientv3.HashKVResponse](t)(cl.HashKV(ctx, n.ClientURL, 0))
		for _, other := range c.Nodes {
			h := must[*clientv3.HashKVResponse](t)(dial(t, c, other.Endpoint()).HashKV(ctx, other.ClientURL, hash.HashRevision))
			if h.Hash != hash.Hash && h.CompactRevision == hash.CompactRevision {
				t.Errorf("%s hashes revision %d to %d, %s to %d", n.Name, hash.HashRevision, hash.Hash, other.Name, h.Hash)
			}
		}
		health := grpc_health_v1.NewHealthClient(cl.ActiveConnection())
		resp, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil || resp.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("the health service answers %v, %v", resp, err)
		}
	})
}

// TestMutex: of many sessions, over all nodes, one at a time holds the lock.
func TestMutex(t *testing.T) {
	for security := range clusters {
		t.Run(string(security), func(t *testing.T) {
			c, ctx := clusterOf(t, security), soon(t)
			var wg sync.WaitGroup
			var held, turns atomic.Int64 // which the lock under test guards
			for i := range 6 {
				cl := dial(t, c, c.Nodes[i%3].Endpoint())
				wg.Go(func() {
					s, err := concurrency.NewSession(cl, concurrency.WithTTL(10), concurrency.WithContext(ctx))
					if err != nil {
						t.Error(err)
						return
					}
					defer s.Close()
					m := concurrency.NewMutex(s, t.Name())
					for range 4 {
						if err := m.Lock(ctx); err != nil {
							t.Error(err)
							return
						}
						if n := held.Add(1); n != 1 {
							t.Errorf("%d hold the lock", n)
						}
						turns.Add(1)
						held.Add(-1)
						if err := m.Unlock(ctx); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if turns.Load() != 24 {
				t.Errorf("the lock was held %d times, want 24", turns.Load())
			}
		})
	}
}

// TestMutexTryLock: a lock that is held is refused at once.
func TestMutexTryLock(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		ctx, cl := soon(t), dial(t, c, n.Endpoint())
		one := must[*concurrency.Session](t)(concurrency.NewSession(cl))
		defer one.Close()
		two := must[*concurrency.Session](t)(concurrency.NewSession(cl))
		defer two.Close()
		m := concurrency.NewMutex(one, p)
		if err := m.Lock(ctx); err != nil {
			t.Fatal(err)
		}
		if err := concurrency.NewMutex(two, p).TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
			t.Errorf("a second holder gets %v", err)
		}
		if err := m.Unlock(ctx); err != nil {
			t.Fatal(err)
		}
		if err := concurrency.NewMutex(two, p).TryLock(ctx); err != nil {
			t.Errorf("a lock given back is refused: %v", err)
		}
	})
}

// TestElection: one is elected, the next when it resigns, and observers see both.
func TestElection(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		ctx, cl := soon(t), dial(t, c, n.Endpoint())
		sessions := make([]*concurrency.Election, 2)
		for i := range sessions {
			s := must[*concurrency.Session](t)(concurrency.NewSession(cl))
			defer s.Close()
			sessions[i] = concurrency.NewElection(s, p)
		}
		observed := sessions[1].Observe(ctx)
		if err := sessions[0].Campaign(ctx, "first"); err != nil {
			t.Fatal(err)
		}
		won := make(chan error, 1)
		go func() { won <- sessions[1].Campaign(ctx, "second") }()
		if got := string((<-observed).Kvs[0].Value); got != "first" {
			t.Errorf("observed is %q", got)
		}
		if got := must[*clientv3.GetResponse](t)(sessions[1].Leader(ctx)); string(got.Kvs[0].Value) != "first" {
			t.Errorf("the leader is %q", got.Kvs[0].Value)
		}
		if err := sessions[0].Proclaim(ctx, "first again"); err != nil {
			t.Fatal(err)
		}
		if err := sessions[0].Resign(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-won; err != nil {
			t.Fatal(err)
		}
		for resp := range observed {
			if string(resp.Kvs[0].Value) == "second" {
				break
			}
		}
	})
}

// TestSTM: transfers between accounts, many at once, keep the sum.
func TestSTM(t *testing.T) {
	for security := range clusters {
		t.Run(string(security), func(t *testing.T) {
			c, ctx := clusterOf(t, security), soon(t)
			account := func(i int) string { return fmt.Sprintf("%s/%d", t.Name(), i) }
			first := dial(t, c)
			for i := range 4 {
				must[*clientv3.PutResponse](t)(first.Put(ctx, account(i), "100"))
			}
			for _, isolation := range []concurrency.Isolation{
				concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads,
			} {
				var wg sync.WaitGroup
				for i := range 6 {
					cl := dial(t, c, c.Nodes[i%3].Endpoint())
					wg.Go(func() {
						for j := range 8 {
							_, err := concurrency.NewSTM(cl, func(s concurrency.STM) error {
								return transfer(s, account((i+j)%4), account((i+2*j+1)%4))
							}, concurrency.WithIsolation(isolation), concurrency.WithAbortContext(ctx))
							if err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
			}
			sum := 0
			for i := range 4 {
				got := must[*clientv3.GetResponse](t)(first.Get(ctx, account(i)))
				var v int
				if _, err := fmt.Sscan(string(got.Kvs[0].Value), &v); err != nil {
					t.Fatal(err)
				}
				sum += v
			}
			if sum != 400 {
				t.Errorf("the accounts hold %d, want 400", sum)
			}
		})
	}
}

func transfer(s concurrency.STM, from, to string) error {
	if from == to {
		return nil
	}
	var a, b int
	if _, err := fmt.Sscan(s.Get(from), &a); err != nil {
		return err
	}
	if _, err := fmt.Sscan(s.Get(to), &b); err != nil {
		return err
	}
	s.Put(from, fmt.Sprint(a-7))
	s.Put(to, fmt.Sprint(b+7))
	return nil
}

// TestNamespace: keys, watches and leases behind a prefix.
func TestNamespace(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		ctx, cl := soon(t), dial(t, c, n.Endpoint())
		kv, watcher := namespace.NewKV(cl.KV, p+"/"), namespace.NewWatcher(cl.Watcher, p+"/")
		lease := namespace.NewLease(cl.Lease, p+"/")
		granted := must[*clientv3.LeaseGrantResponse](t)(lease.Grant(ctx, 100))
		put := must[*clientv3.PutResponse](t)(kv.Put(ctx, "k", "v", clientv3.WithLease(granted.ID)))
		if got := must[*clientv3.GetResponse](t)(cl.Get(ctx, p+"/k")); got.Count != 1 {
			t.Errorf("the key has no prefix: %v", got)
		}
		got := must[*clientv3.GetResponse](t)(kv.Get(ctx, "", clientv3.WithPrefix()))
		if got.Count != 1 || string(got.Kvs[0].Key) != "k" {
			t.Errorf("within it is %v", got.Kvs)
		}
		resp := <-watcher.Watch(ctx, "k", clientv3.WithRev(put.Header.Revision))
		if len(resp.Events) != 1 || string(resp.Events[0].Kv.Key) != "k" {
			t.Errorf("the watch tells %v, %v", resp.Events, resp.Err())
		}
		left := must[*clientv3.LeaseTimeToLiveResponse](t)(lease.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys()))
		if len(left.Keys) != 1 || string(left.Keys[0]) != "k" {
			t.Errorf("the lease has the keys %q", left.Keys)
		}
	})
}

// TestLeasing: a cached key is given up when another client writes it.
func TestLeasing(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		ctx := soon(t)
		open := func(endpoint string) clientv3.KV {
			kv, closeKV, err := leasing.NewKV(dial(t, c, endpoint), p+"/leasing/")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(closeKV)
			return kv
		}
		one, two := open(n.Endpoint()), open(c.Nodes[0].Endpoint())
		for i := range 5 {
			want := fmt.Sprint(i)
			must[*clientv3.PutResponse](t)(two.Put(ctx, p+"/k", want))
			for range 2 { // the second is of the cache
				if got := must[*clientv3.GetResponse](t)(one.Get(ctx, p+"/k")); string(got.Kvs[0].Value) != want {
					t.Fatalf("read %q, want %q", got.Kvs[0].Value, want)
				}
			}
		}
	})
}

// TestMirror: first what there is, then what changes.
func TestMirror(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		ctx, cl := soon(t), dial(t, c, n.Endpoint())
		for i := range 20 {
			must[*clientv3.PutResponse](t)(cl.Put(ctx, fmt.Sprintf("%s/%02d", p, i), "x"))
		}
		s := mirror.NewSyncer(cl, p+"/", 0)
		base, errs := s.SyncBase(ctx)
		count := 0
		for resp := range base {
			count += len(resp.Kvs)
		}
		if err := <-errs; err != nil || count != 20 {
			t.Fatalf("the base has %d keys, %v", count, err)
		}
		must[*clientv3.DeleteResponse](t)(cl.Delete(ctx, p+"/03"))
		resp := <-s.SyncUpdates(ctx)
		if len(resp.Events) != 1 || resp.Events[0].Type != mvccpb.Event_DELETE {
			t.Errorf("the update is %v, %v", resp.Events, resp.Err())
		}
	})
}

// TestOrdering: a client that changes its node never reads what is older than
// what it saw.
func TestOrdering(t *testing.T) {
	c, ctx := clusterOf(t, cluster.Plaintext), soon(t)
	cl := dial(t, c)
	kv := ordering.NewKV(cl.KV, ordering.NewOrderViolationSwitchEndpointClosure(cl))
	for i := range 30 {
		want := fmt.Sprint(i)
		must[*clientv3.PutResponse](t)(kv.Put(ctx, t.Name(), want))
		must[*clientv3.GetResponse](t)(kv.Get(ctx, t.Name())) // what it saw
		cl.SetEndpoints(c.Nodes[i%3].Endpoint())
		got := must[*clientv3.GetResponse](t)(kv.Get(ctx, t.Name(), clientv3.WithSerializable()))
		if string(got.Kvs[0].Value) != want {
			t.Errorf("read %q after %q", got.Kvs[0].Value, want)
		}
		cl.SetEndpoints(c.Endpoints()...)
	}
}

// TestKubernetes: the interface that Kubernetes' API server uses.
func TestKubernetes(t *testing.T) {
	everywhere(t, func(t *testing.T, c *cluster.Cluster, n *cluster.Node, p string) {
		ctx := soon(t)
		cl, err := kubernetes.New(c.ClientConfig(n.Endpoint()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		k := p + "/pod"
		made := must[kubernetes.PutResponse](t)(cl.Kubernetes.OptimisticPut(ctx, k, []byte("1"), 0, kubernetes.PutOptions{}))
		again := must[kubernetes.PutResponse](t)(cl.Kubernetes.OptimisticPut(ctx, k, []byte("2"), 0, kubernetes.PutOptions{GetOnFailure: true}))
		if !made.Succeeded || again.Succeeded || string(again.KV.Value) != "1" {
			t.Errorf("creating twice: %v, %v", made, again)
		}
		list := must[kubernetes.ListResponse](t)(cl.Kubernetes.List(ctx, p+"/", kubernetes.ListOptions{Limit: 5}))
		if list.Count != 1 || string(list.Kvs[0].Key) != k {
			t.Errorf("the list has %d, %v", list.Count, list.Kvs)
		}
		// Its watch cache asks for progress by itself and trusts what it is told.
		progress(t, ctx, cl.Client, p, list.Revision)
		gone := must[kubernetes.DeleteResponse](t)(cl.Kubernetes.OptimisticDelete(ctx, k, list.Kvs[0].ModRevision, kubernetes.DeleteOptions{}))
		if !gone.Succeeded {
			t.Errorf("the deletion answers %v", gone)
		}
	})
}

func progress(t *testing.T, ctx context.Context, cl *clientv3.Client, p string, from int64) {
	t.Helper()
	w := cl.Watch(clientv3.WithRequireLeader(ctx), p, clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithProgressNotify())
	other := must[*clientv3.PutResponse](t)(cl.Put(ctx, "elsewhere", "x"))
	ask := time.NewTicker(100 * time.Millisecond)
	defer ask.Stop()
	for {
		select {
		case resp := <-w:
			if err := resp.Err(); err != nil {
				t.Fatal(err)
			}
			if resp.IsProgressNotify() && resp.Header.Revision >= other.Header.Revision {
				return
			}
		case <-ask.C:
			if err := cl.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
				t.Fatal(err)
			}
		case <-ctx.Done():
			t.Fatal("no progress is told")
		}
	}
}
