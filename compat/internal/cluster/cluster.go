package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/quorate/quorate/compat/internal/network"
)

// Config says what to run. The zero fields mean the defaults.
type Config struct {
	Kind     Kind     // Quorate
	Binary   string   // the path of the server to run; by default Kind's, built
	Nodes    int      // 3
	Security Security // Plaintext
	// Dir is where data, logs and certificates go. It must exist.
	Dir string
	// Heartbeat and Election are the intervals given to the servers: 100 ms and
	// 1 s, as etcd's own.
	Heartbeat, Election time.Duration
	// NoFsync lets the servers lose what they acknowledged when the machine stops.
	NoFsync bool
	// Flags are further flags, in etcd's form, for each server.
	Flags []string
	// Network, if not nil, is where the servers are, in plaintext and Quorate's:
	// etcd's must all find a server at one address.
	Network network.Network
}

func (c Config) withDefaults() Config {
	if c.Kind == "" {
		c.Kind = Quorate
	}
	if c.Nodes == 0 {
		c.Nodes = 3
	}
	if c.Security == "" {
		c.Security = Plaintext
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 100 * time.Millisecond
	}
	if c.Election == 0 {
		c.Election = time.Second
	}
	return c
}

// A Cluster is some servers that know each other.
type Cluster struct {
	Config Config
	Nodes  []*Node
	// Certificates is nil in plaintext.
	Certificates *Certificates
}

// Start starts the servers and waits until each answers a linearizable read. On
// an error the processes are gone, and the error tells what they logged.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg = cfg.withDefaults()
	path, err := cfg.Binary, error(nil)
	if path == "" {
		if path, err = Binary(ctx, cfg.Kind); err != nil {
			return nil, err
		}
	}
	c := &Cluster{Config: cfg}
	if cfg.Security != Plaintext {
		if c.Certificates, err = newCertificates(cfg.Dir); err != nil {
			return nil, err
		}
	}
	if err := c.place(path); err != nil {
		return nil, err
	}
	for i, n := range c.Nodes {
		initial, err := c.initialCluster(i)
		if err != nil {
			return nil, err
		}
		n.args = c.arguments(n, initial)
		if err := n.Start(); err != nil {
			c.Stop()
			return nil, err
		}
	}
	if err := c.WaitReady(ctx); err != nil {
		err = fmt.Errorf("%w\n%s", err, c.Logs(4000))
		c.Stop()
		return nil, err
	}
	return c, nil
}

// place gives each node its addresses and directories.
func (c *Cluster) place(path string) error {
	cfg := c.Config
	ports, err := freePorts(2 * cfg.Nodes)
	if err != nil {
		return err
	}
	scheme := "http"
	if cfg.Security != Plaintext {
		scheme = "https"
	}
	for i := range cfg.Nodes {
		name := "n" + strconv.Itoa(i+1)
		host, launch := "127.0.0.1", (*exec.Cmd).Start
		if cfg.Network != nil {
			host = cfg.Network.Host(i)
			launch = func(cmd *exec.Cmd) error { return cfg.Network.Start(i, cmd) }
		}
		c.Nodes = append(c.Nodes, &Node{
			Name: name, path: path, launch: launch,
			ClientURL: fmt.Sprintf("%s://%s:%d", scheme, host, ports[2*i]),
			PeerURL:   fmt.Sprintf("%s://%s:%d", scheme, host, ports[2*i+1]),
			Dir:       filepath.Join(cfg.Dir, name),
			LogPath:   filepath.Join(cfg.Dir, name+".log"),
		})
	}
	return nil
}

// initialCluster says where one node finds the others.
func (c *Cluster) initialCluster(from int) (string, error) {
	var initial []string
	for to, n := range c.Nodes {
		at := n.PeerURL
		if c.Config.Network != nil {
			_, port, _ := net.SplitHostPort(strings.TrimPrefix(at, "http://"))
			address, err := c.Config.Network.Peer(from, to, port)
			if err != nil {
				return "", err
			}
			at = "http://" + address
		}
		initial = append(initial, n.Name+"="+at)
	}
	return strings.Join(initial, ","), nil
}

func (c *Cluster) arguments(n *Node, initial string) []string {
	var args []string
	if c.Config.Kind == Quorate {
		args = append(args, "serve")
	}
	args = append(
		args,
		"--name="+n.Name, "--data-dir="+n.Dir,
		"--listen-client-urls="+n.ClientURL, "--advertise-client-urls="+n.ClientURL,
		"--listen-peer-urls="+n.PeerURL, "--initial-advertise-peer-urls="+n.PeerURL,
		"--initial-cluster="+initial, "--initial-cluster-token=compat", "--initial-cluster-state=new",
		"--heartbeat-interval="+strconv.FormatInt(c.Config.Heartbeat.Milliseconds(), 10),
		"--election-timeout="+strconv.FormatInt(c.Config.Election.Milliseconds(), 10),
	)
	if c.Config.NoFsync {
		args = append(args, "--unsafe-no-fsync")
	}
	if crt := c.Certificates; crt != nil {
		args = append(
			args,
			"--cert-file="+crt.ServerCert, "--key-file="+crt.ServerKey,
			"--peer-cert-file="+crt.ServerCert, "--peer-key-file="+crt.ServerKey,
			"--peer-trusted-ca-file="+crt.CA, "--peer-client-cert-auth",
		)
		if c.Config.Security == MutualTLS {
			args = append(args, "--trusted-ca-file="+crt.CA, "--client-cert-auth")
		}
	}
	return append(args, c.Config.Flags...)
}

// freePorts are ports of loopback that were free a moment ago.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// Held until all are found, so that each is found once.
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Endpoints are the client addresses of all nodes, without a scheme.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, n.Endpoint())
	}
	return all
}

// TLS is what a client connects with; nil in plaintext.
func (c *Cluster) TLS() *tls.Config {
	if c.Certificates == nil {
		return nil
	}
	cfg := &tls.Config{RootCAs: c.Certificates.pool, MinVersion: tls.VersionTLS12}
	if c.Config.Security == MutualTLS {
		cfg.Certificates = []tls.Certificate{c.Certificates.client}
	}
	return cfg
}

// ClientConfig is a configuration of a stock client for these endpoints, or for
// all nodes if none is named.
func (c *Cluster) ClientConfig(endpoints ...string) clientv3.Config {
	if len(endpoints) == 0 {
		endpoints = c.Endpoints()
	}
	return clientv3.Config{
		Endpoints: endpoints, TLS: c.TLS(), DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
	}
}

// ClientFlags are etcdctl's flags for these endpoints, or for all nodes.
func (c *Cluster) ClientFlags(endpoints ...string) []string {
	if len(endpoints) == 0 {
		endpoints = c.Endpoints()
	}
	scheme := "http://"
	var flags []string
	if crt := c.Certificates; crt != nil {
		scheme = "https://"
		flags = append(flags, "--cacert="+crt.CA)
		if c.Config.Security == MutualTLS {
			flags = append(flags, "--cert="+crt.ClientCert, "--key="+crt.ClientKey)
		}
	}
	return append(flags, "--endpoints="+scheme+strings.Join(endpoints, ","+scheme))
}

// WaitReady waits until every running node answers a linearizable read.
func (c *Cluster) WaitReady(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := c.waitNode(ctx, n); err != nil {
			return fmt.Errorf("cluster: %s is not ready: %w", n.Name, err)
		}
	}
	return nil
}

func (c *Cluster) waitNode(ctx context.Context, n *Node) error {
	client, err := clientv3.New(c.ClientConfig(n.Endpoint()))
	if err != nil {
		return err
	}
	defer client.Close()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		if !n.Running() {
			return errors.New("the process ended")
		}
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := client.Get(one, "ready?")
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-retry.C:
		}
	}
}

// Leader asks the running nodes which of them leads, until one says so of itself.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	client, err := clientv3.New(c.ClientConfig())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		for _, n := range c.Nodes {
			if !n.Running() {
				continue
			}
			one, cancel := context.WithTimeout(ctx, time.Second)
			st, err := client.Status(one, n.ClientURL)
			cancel()
			if err == nil && st.Leader != 0 && st.Leader == st.Header.MemberId {
				return n, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cluster: no node says that it leads: %w", ctx.Err())
		case <-retry.C:
		}
	}
}

// Logs are the ends of all nodes' logs.
func (c *Cluster) Logs(bytesEach int) string {
	var b strings.Builder
	for _, n := range c.Nodes {
		fmt.Fprintf(&b, "--- %s %s ---\n%s\n", c.Config.Kind, n.Name, n.LogTail(bytesEach))
	}
	return b.String()
}

// Stop kills what still runs.
func (c *Cluster) Stop() {
	for _, n := range c.Nodes {
		if n.Running() {
			_ = n.Kill() // it may have ended in between
		}
	}
}

// TempDir makes a directory for a cluster, and the function that removes it.
func TempDir() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "compat-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}
