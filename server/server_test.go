package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/quorate/quorate/server"
)

// patience bounds what takes no time unless something is broken.
const patience = 30 * time.Second

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// cluster is servers of this process on loopback.
type cluster struct {
	t       *testing.T
	configs []server.Config
	servers []*server.Server
}

var lastPort = 20000 + int32(os.Getpid()%10000)

// freePort finds a port below those that the system gives to connections that are
// made meanwhile.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", atomic.AddInt32(&lastPort, 1))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// newCluster makes and starts n servers, each as change leaves its configuration.
func newCluster(t *testing.T, n int, change func(*server.Config)) *cluster {
	t.Helper()
	c := &cluster{t: t}
	log := &buffer{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the servers said:\n%s", log)
		}
	})
	var members []server.Member
	for i := range n {
		members = append(members, server.Member{Name: fmt.Sprintf("m%d", i), PeerURLs: []string{"http://" + freePort(t)}})
	}
	for i, m := range members {
		client := freePort(t)
		config := server.Config{
			Name: m.Name, DataDir: t.TempDir(), Members: members, Cluster: t.Name(),
			ListenPeer:      strings.TrimPrefix(m.PeerURLs[0], "http://"),
			ListenClient:    []server.Endpoint{{Network: "tcp", Address: client}},
			AdvertiseClient: []string{"http://" + client},
			ElectionTimeout: 250 * time.Millisecond, HeartbeatInterval: 25 * time.Millisecond,
			NoSync: true, InMemory: true, ReserveBytes: 1, Logger: slog.New(slog.NewTextHandler(log, nil)).With("member", i),
		}
		if change != nil {
			change(&config)
		}
		c.configs, c.servers = append(c.configs, config), append(c.servers, nil)
		c.start(i)
	}
	t.Cleanup(func() {
		for i := range c.servers {
			c.stop(i)
		}
	})
	for i := range c.servers {
		c.ready(i)
	}
	return c
}

// buffer takes what several goroutines write.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (c *cluster) start(i int) {
	c.t.Helper()
	s, err := server.Start(c.configs[i])
	if err != nil {
		c.t.Fatal(err)
	}
	c.servers[i] = s
}

func (c *cluster) ready(i int) {
	c.t.Helper()
	select {
	case <-c.servers[i].Ready():
	case <-time.After(patience):
		c.t.Fatalf("member %d is not ready", i)
	}
}

func (c *cluster) stop(i int) {
	if c.servers[i] == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := c.servers[i].Stop(ctx); err != nil {
		c.t.Errorf("stop member %d: %v", i, err)
	}
	c.servers[i] = nil
}

// client speaks to the servers that are named, or to all.
func (c *cluster) client(which ...int) *clientv3.Client {
	c.t.Helper()
	if len(which) == 0 {
		for i := range c.servers {
			which = append(which, i)
		}
	}
	var endpoints []string
	for _, i := range which {
		endpoints = append(endpoints, c.configs[i].ListenClient[0].Address)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

// leader gives the member that leads.
func (c *cluster) leader() int {
	c.t.Helper()
	for i, s := range c.servers {
		if s == nil {
			continue
		}
		r, err := c.client(i).Status(patient(c.t), c.configs[i].ListenClient[0].Address)
		if err != nil {
			c.t.Fatal(err)
		}
		for j, m := range c.configs[0].Members {
			if uint64(m.ID()) == r.Leader {
				return j
			}
		}
	}
	c.t.Fatal("nobody knows a leader")
	return -1
}

func TestKeysOnEveryMember(t *testing.T) {
	c := newCluster(t, 3, nil)
	ctx := patient(t)
	for i := range 3 {
		client := c.client(i)
		key := fmt.Sprintf("k%d", i)
		put, err := client.Put(ctx, key, "v")
		if err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
		// What was acknowledged at one member is read at every other.
		for j := range 3 {
			got, err := c.client(j).Get(ctx, key)
			if err != nil || len(got.Kvs) != 1 || got.Kvs[0].ModRevision != put.Header.Revision {
				t.Errorf("put at %d, get at %d: %v, %v", i, j, got, err)
			}
			if got.Header.MemberId != uint64(c.configs[j].Members[j].ID()) || got.Header.ClusterId != c.configs[j].ClusterID() || got.Header.RaftTerm == 0 {
				t.Errorf("header of member %d: %v", j, got.Header)
			}
		}
	}
	members, err := c.client(1).MemberList(ctx)
	if err != nil || len(members.Members) != 3 {
		t.Fatalf("members: %v, %v", members, err)
	}
	for _, m := range members.Members {
		if m.Name == "" || len(m.ClientURLs) != 1 || len(m.PeerURLs) != 1 {
			t.Errorf("member is not published: %v", m)
		}
	}
}

func TestKeysAndTransactions(t *testing.T) {
	c := newCluster(t, 1, nil)
	client, ctx := c.client(), patient(t)
	for i := range 5 {
		if _, err := client.Put(ctx, fmt.Sprintf("a%d", i), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := client.Get(ctx, "a", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(2))
	if err != nil || len(got.Kvs) != 2 || string(got.Kvs[0].Key) != "a4" || !got.More || got.Count != 5 {
		t.Errorf("range: %v, %v", got, err)
	}
	del, err := client.Delete(ctx, "a0", clientv3.WithRange("a2"), clientv3.WithPrevKV())
	if err != nil || del.Deleted != 2 || len(del.PrevKvs) != 2 {
		t.Errorf("delete: %v, %v", del, err)
	}
	old, err := client.Get(ctx, "a0", clientv3.WithRev(got.Header.Revision))
	if err != nil || len(old.Kvs) != 1 {
		t.Errorf("get at an old revision: %v, %v", old, err)
	}
	txn, err := client.Txn(ctx).If(clientv3.Compare(clientv3.Value("a2"), "=", "2")).
		Then(clientv3.OpPut("b", "1"), clientv3.OpGet("a2"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("a3")}, nil)).
		Else(clientv3.OpGet("none")).Commit()
	if err != nil || !txn.Succeeded || len(txn.Responses) != 3 || txn.Responses[2].GetResponseTxn().Responses[0].GetResponseDeleteRange().Deleted != 1 {
		t.Errorf("txn: %v, %v", txn, err)
	}
	read, err := client.Txn(ctx).Then(clientv3.OpGet("b")).Commit()
	if err != nil || read.Header.Revision != txn.Header.Revision || len(read.Responses[0].GetResponseRange().Kvs) != 1 {
		t.Errorf("txn that reads: %v, %v", read, err)
	}
	stream, err := client.GetStream(ctx, "a", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := clientv3.GetStreamToGetResponse(stream)
	if err != nil || len(whole.Kvs) != 2 || whole.Count != 2 {
		t.Errorf("range stream: %v, %v", whole, err)
	}
}

// Every refusal has etcd's code and text, which clientv3 makes its errors of.
func TestRefusals(t *testing.T) {
	c := newCluster(t, 1, func(c *server.Config) { c.MaxTxnOps, c.MaxRequestBytes = 3, 10000 })
	client, ctx := c.client(), patient(t)
	if _, err := client.Put(ctx, "k", "1"); err != nil {
		t.Fatal(err)
	}
	put, err := client.Put(ctx, "k", "2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(ctx, put.Header.Revision); err != nil {
		t.Fatal(err)
	}
	do := func(op clientv3.Op) func() error {
		return func() error { _, err := client.Do(ctx, op); return err }
	}
	txn := func(ops ...clientv3.Op) func() error {
		return func() error { _, err := client.Txn(ctx).Then(ops...).Commit(); return err }
	}
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"no key", do(clientv3.OpPut("", "v")), rpctypes.ErrEmptyKey},
		{"no key to read", do(clientv3.OpGet("")), rpctypes.ErrEmptyKey},
		{"compacted", do(clientv3.OpGet("k", clientv3.WithRev(1))), rpctypes.ErrCompacted},
		{"compacted again", func() error { _, err := client.Compact(ctx, 2); return err }, rpctypes.ErrCompacted},
		{"future", do(clientv3.OpGet("k", clientv3.WithRev(1000))), rpctypes.ErrFutureRev},
		{"future compaction", func() error { _, err := client.Compact(ctx, 1000); return err }, rpctypes.ErrFutureRev},
		{"no such key", do(clientv3.OpPut("none", "", clientv3.WithIgnoreValue())), rpctypes.ErrKeyNotFound},
		{"value and ignored", do(clientv3.OpPut("k", "v", clientv3.WithIgnoreValue())), rpctypes.ErrValueProvided},
		{"lease and ignored", do(clientv3.OpPut("k", "v", clientv3.WithLease(1), clientv3.WithIgnoreLease())), rpctypes.ErrLeaseProvided},
		{"no such lease", do(clientv3.OpPut("k", "v", clientv3.WithLease(77))), rpctypes.ErrLeaseNotFound},
		{"too many operations", txn(clientv3.OpGet("a"), clientv3.OpGet("b"), clientv3.OpGet("c"), clientv3.OpGet("d")), rpctypes.ErrTooManyOps},
		{"a key twice", txn(clientv3.OpPut("a", "1"), clientv3.OpPut("a", "2")), rpctypes.ErrDuplicateKey},
		{"a key twice, nested", txn(clientv3.OpPut("a", "1"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("a", "2")}, nil)), rpctypes.ErrDuplicateKey},
		{"too large", do(clientv3.OpPut("k", strings.Repeat("x", 10001))), rpctypes.ErrRequestTooLarge},
		{"revoke no lease", func() error { _, err := client.Revoke(ctx, 77); return err }, rpctypes.ErrLeaseNotFound},
		{"keep no lease", func() error { _, err := client.KeepAliveOnce(ctx, 77); return err }, rpctypes.ErrLeaseNotFound},
		{"lease too long", func() error { _, err := client.Grant(ctx, 9_000_000_001); return err }, rpctypes.ErrLeaseTTLTooLarge},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	if got, err := client.Get(ctx, "k"); err != nil || string(got.Kvs[0].Value) != "2" {
		t.Errorf("after all refusals: %v, %v", got, err)
	}
}

func TestWatch(t *testing.T) {
	c := newCluster(t, 3, func(c *server.Config) { c.WatchProgressInterval = 100 * time.Millisecond })
	ctx := patient(t)
	writer, reader := c.client(0), c.client(1)
	first, err := writer.Put(ctx, "w/0", "0")
	if err != nil {
		t.Fatal(err)
	}
	events := reader.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(first.Header.Revision), clientv3.WithPrevKV())
	const n = 200
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for i := 1; i < n; i++ {
			var err error
			began := time.Now()
			if i%10 == 0 {
				_, err = writer.Txn(ctx).Then(clientv3.OpPut("w/t", fmt.Sprint(i)), clientv3.OpDelete("w/0")).Commit()
			} else {
				_, err = writer.Put(ctx, "w/0", fmt.Sprint(i))
			}
			if err != nil {
				t.Errorf("write %d, after %v: %v", i, time.Since(began), err)
			}
		}
	})
	next := first.Header.Revision
	previous := map[string]string{}
	for next < first.Header.Revision+n {
		r, ok := <-events
		if !ok || r.Err() != nil {
			now, err := reader.Status(context.Background(), reader.Endpoints()[0])
			t.Fatalf("watch ended at revision %d: %v; get: %v, %v", next, r.Err(), now, err)
		}
		for _, e := range r.Events {
			key := string(e.Kv.Key)
			switch e.Kv.ModRevision {
			case next - 1, next:
				next = e.Kv.ModRevision + 1
			default:
				t.Fatalf("event of revision %d where %d is next", e.Kv.ModRevision, next)
			}
			if want, was := previous[key]; was != (e.PrevKv != nil) || was && string(e.PrevKv.Value) != want {
				t.Fatalf("revision %d: previous value is %v, want %q", e.Kv.ModRevision, e.PrevKv, want)
			}
			if delete(previous, key); e.Type == clientv3.EventTypePut {
				previous[key] = string(e.Kv.Value)
			}
		}
	}
	// Nothing more comes, so progress is told.
	quiet := reader.Watch(ctx, "quiet", clientv3.WithProgressNotify())
	if r := <-quiet; !r.IsProgressNotify() || r.Header.Revision != first.Header.Revision+n-1 {
		t.Errorf("progress: %+v", r)
	}
	if _, err := writer.Compact(ctx, first.Header.Revision+10); err != nil {
		t.Fatal(err)
	}
	if r := <-reader.Watch(ctx, "w/0", clientv3.WithRev(1)); r.CompactRevision != first.Header.Revision+10 || !errors.Is(r.Err(), rpctypes.ErrCompacted) {
		t.Errorf("watch of compacted history: %+v", r)
	}
}

func TestLeases(t *testing.T) {
	c := newCluster(t, 3, nil)
	ctx := patient(t)
	leader := c.leader()
	follower := c.client((leader + 1) % 3)
	granted, err := follower.Grant(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if granted.TTL < 1 {
		t.Errorf("granted %d s", granted.TTL)
	}
	if _, err := follower.Put(ctx, "leased", "v", clientv3.WithLease(granted.ID)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		kept, err := c.client(i).KeepAliveOnce(ctx, granted.ID)
		if err != nil || kept.TTL != granted.TTL {
			t.Errorf("keep alive at %d: %v, %v", i, kept, err)
		}
		left, err := c.client(i).TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
		if err != nil || left.GrantedTTL != granted.TTL || left.TTL > granted.TTL || len(left.Keys) != 1 {
			t.Errorf("time to live at %d: %+v, %v", i, left, err)
		}
	}
	events := follower.Watch(ctx, "leased")
	if r := <-events; len(r.Events) != 1 || r.Events[0].Type != clientv3.EventTypeDelete {
		t.Errorf("when the lease ended: %+v", r)
	}
	left, err := follower.TimeToLive(ctx, granted.ID)
	if err != nil || left.TTL != -1 {
		t.Errorf("a lease that ended: %+v, %v", left, err)
	}

	// A lease outlives its leader.
	long, err := follower.Grant(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	c.stop(leader)
	left, err = follower.TimeToLive(ctx, long.ID)
	if err != nil || left.TTL < 900 {
		t.Errorf("after the leader was lost: %+v, %v", left, err)
	}
	if _, err := follower.Revoke(ctx, long.ID); err != nil {
		t.Error(err)
	}
}

// A client without a deadline goes on as soon as there is another leader.
func TestLeaderLost(t *testing.T) {
	c := newCluster(t, 3, nil)
	ctx := patient(t)
	leader := c.leader()
	client := c.client((leader+1)%3, (leader+2)%3)
	if _, err := client.Put(ctx, "k", "before"); err != nil {
		t.Fatal(err)
	}
	c.stop(leader)
	if _, err := client.Put(ctx, "k", "after"); err != nil && !errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail) {
		t.Errorf("put while there is no leader: %v", err)
	}
	if got, err := client.Get(ctx, "k"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("get: %v, %v", got, err)
	}
	// One alone answers what needs nobody else, and says of the rest that there is
	// no leader to whoever demands one.
	other := (leader + 1) % 3
	c.stop((leader + 2) % 3)
	alone := c.client(other)
	demanding := clientv3.WithRequireLeader(ctx)
	watch := alone.Watch(demanding, "k")
	for {
		if _, err := alone.Get(demanding, "k", clientv3.WithSerializable()); errors.Is(err, rpctypes.ErrNoLeader) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := alone.Get(ctx, "k", clientv3.WithSerializable()); err != nil || len(got.Kvs) != 1 {
		t.Errorf("serializable get: %v, %v", got, err)
	}
	for r := range watch {
		if err := r.Err(); err != nil && !errors.Is(err, rpctypes.ErrNoLeader) {
			t.Errorf("the watch ended with %v, want no leader", err)
		}
	}
}

// What was acknowledged is there after all stopped.
func TestRestart(t *testing.T) {
	c := newCluster(t, 3, func(c *server.Config) { c.InMemory = false })
	ctx := patient(t)
	for i := range 50 {
		if _, err := c.client(i%3).Put(ctx, fmt.Sprintf("k%d", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	granted, err := c.client().Grant(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		c.stop(i)
	}
	for i := range 3 {
		c.start(i)
	}
	for i := range 3 {
		c.ready(i)
		got, err := c.client(i).Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || got.Count != 50 {
			t.Errorf("member %d: %v, %v", i, got, err)
		}
	}
	if left, err := c.client().TimeToLive(ctx, granted.ID); err != nil || left.TTL < 900 {
		t.Errorf("lease: %+v, %v", left, err)
	}
}

func TestHTTP(t *testing.T) {
	c := newCluster(t, 1, nil)
	base := "http://" + c.configs[0].ListenClient[0].Address
	for path, want := range map[string]string{
		"/health": `"health":"true"`, "/livez": "ok", "/readyz?verbose": "[+]linearizable_read ok", "/livez/serializable_read": "ok",
		"/version": `"etcdserver":"3.7.3"`, "/metrics": "etcd_server_has_leader 1",
	} {
		r, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			t.Errorf("%s: status %d, %v, %q not in the answer", path, r.StatusCode, err, want)
		}
	}
	r, err := http.Post(base+"/health", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /health: status %d", r.StatusCode)
	}
}

func TestMetricsOfEtcd(t *testing.T) {
	c := newCluster(t, 1, func(c *server.Config) { c.Histograms = true })
	if _, err := c.client().Put(patient(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	r, err := http.Get("http://" + c.configs[0].ListenClient[0].Address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	// Those that etcd's own alerts and dashboard use.
	for _, name := range []string{
		"etcd_server_has_leader", "etcd_server_is_leader", "etcd_server_leader_changes_seen_total",
		"etcd_server_proposals_committed_total", "etcd_server_proposals_applied_total", "etcd_server_proposals_pending", "etcd_server_proposals_failed_total",
		"etcd_disk_wal_fsync_duration_seconds_bucket", "etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes",
		"etcd_server_quota_backend_bytes", "etcd_server_version", "etcd_server_id", "etcd_debugging_mvcc_keys_total",
		"grpc_server_started_total", `grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
		"grpc_server_handling_seconds_bucket", "process_resident_memory_bytes", "process_open_fds",
	} {
		if !strings.Contains(string(b), name) {
			t.Errorf("no %s", name)
		}
	}
}
