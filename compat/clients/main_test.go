// Package clients holds stock clients of etcd to real Quorate processes: etcdctl,
// clientv3 and what is built on it, on every node, in plaintext and over TLS.
package clients

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// debianEnv names Debian's etcdctl 3.4; empty it means to go without. `make compat`
// fetches it and sets this.
const debianEnv = "ETCDCTL34"

// Each way to connect has one cluster of three processes, which all its tests
// share: they keep to keys of their own.
var clusters = map[cluster.Security]*shared{
	cluster.Plaintext: {}, cluster.TLS: {}, cluster.MutualTLS: {},
}

type shared struct {
	once    sync.Once
	cluster *cluster.Cluster
	remove  func()
	err     error
}

func (s *shared) start(security cluster.Security) {
	dir, remove, err := cluster.TempDir()
	if err != nil {
		s.err = err
		return
	}
	s.remove = remove
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s.cluster, s.err = cluster.Start(ctx, cluster.Config{Security: security, Dir: dir, NoFsync: true})
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range clusters {
		if s.cluster != nil {
			s.cluster.Stop()
		}
		if s.remove != nil {
			s.remove()
		}
	}
	os.Exit(code)
}

func clusterOf(t *testing.T, security cluster.Security) *cluster.Cluster {
	t.Helper()
	s := clusters[security]
	s.once.Do(func() { s.start(security) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.cluster.Logs(2000))
		}
	})
	return s.cluster
}

// everywhere runs a test against each node, in each way to connect. The prefix is
// of this run's own keys.
func everywhere(t *testing.T, test func(t *testing.T, c *cluster.Cluster, node *cluster.Node, prefix string)) {
	t.Helper()
	for _, security := range []cluster.Security{cluster.Plaintext, cluster.TLS, cluster.MutualTLS} {
		t.Run(string(security), func(t *testing.T) {
			c := clusterOf(t, security)
			for _, n := range c.Nodes {
				t.Run(n.Name, func(t *testing.T) {
					test(t, c, n, fmt.Sprintf("%s/%s", t.Name(), n.Name))
				})
			}
		})
	}
}

func dial(t *testing.T, c *cluster.Cluster, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(c.ClientConfig(endpoints...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// soon is a context that ends a test that hangs.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
