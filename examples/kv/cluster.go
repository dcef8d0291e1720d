package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/raft"
)

// clusterConfig is a cluster of processes on this machine.
type clusterConfig struct {
	name            string
	dir             string
	http, raft      []int // each member's ports
	electionTimeout time.Duration
	snapshotBytes   int64
	segmentBytes    int64
	patience        time.Duration
}

// cluster starts members as processes, tells what happens to them, and carries out
// what other commands ask.
type cluster struct {
	cfg     clusterConfig
	members []*member
	client  *client

	mu sync.Mutex
	// out takes a line per event.
	out io.Writer
	// leader is the newest that was seen to lead, in term.
	leader raft.NodeID
	term   raft.Term
	// lost is when a leader was killed or paused, until the next one is seen.
	lost    time.Time
	elected chan struct{} // closed when the first leader is seen
}

const pollInterval = 20 * time.Millisecond

func runCluster(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := newFlags("cluster", `kv cluster starts members as processes on this machine, says where they are and
what happens to them, and stops them all on Ctrl-C. It restarts nothing by itself:
kv kill, restart, pause and resume are for another terminal.`, stderr)
	var cfg clusterConfig
	flags.StringVar(&cfg.name, "name", "demo", "the cluster's `name`")
	nodes := flags.Int("nodes", 3, "`how many` members, 1 to 9")
	flags.StringVar(&cfg.dir, "dir", "", "data `directory`, kept at the end (default: a temporary one, removed at the end)")
	httpPort := flags.Int("http-port", 8081, "the first member's `port` for clients; the others' follow it")
	raftPort := flags.Int("raft-port", 9081, "the first member's `port` for the other members; the others' follow it")
	flags.DurationVar(&cfg.electionTimeout, "election-timeout", 250*time.Millisecond, "how long without a leader before an election")
	flags.Int64Var(&cfg.snapshotBytes, "snapshot-bytes", 4<<20, "log `bytes` between snapshots")
	flags.Int64Var(&cfg.segmentBytes, "segment-bytes", 8<<20, "`bytes` of a file of the log, at once taken from the disk")
	flags.DurationVar(&cfg.patience, "patience", 5*time.Second, "how long a request waits for a leader or a majority")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	switch last := *nodes - 1; {
	case *nodes < 1 || *nodes > 9:
		return wrong(flags, "--nodes is from 1 to 9")
	case cfg.name == "" || strings.ContainsAny(cfg.name, `/\`) || len(cfg.name) > 32:
		return wrong(flags, "--name has 1 to 32 characters and no slash")
	case *httpPort < 1 || *httpPort+last > 65535 || *raftPort < 1 || *raftPort+last > 65535:
		return wrong(flags, "ports are from 1 to 65535")
	}
	for i := range *nodes {
		cfg.http, cfg.raft = append(cfg.http, *httpPort+i), append(cfg.raft, *raftPort+i)
	}
	control, err := listenControl(cfg.name)
	if err != nil {
		return err
	}
	if err := cfg.checkPorts(); err != nil {
		return errors.Join(err, control.Close())
	}
	if cfg.dir == "" {
		if cfg.dir, err = os.MkdirTemp("", "quorate-kv-"); err != nil {
			return errors.Join(err, control.Close())
		}
		defer func() { err = errors.Join(err, os.RemoveAll(cfg.dir)) }()
	} else if cfg.dir, err = filepath.Abs(cfg.dir); err != nil {
		return errors.Join(err, control.Close())
	}
	c := newCluster(cfg, stdout)
	return c.run(ctx, control)
}

func newCluster(cfg clusterConfig, out io.Writer) *cluster {
	c := &cluster{cfg: cfg, out: out, client: newClient(time.Second), elected: make(chan struct{})}
	var peers, httpPeers []string
	for i := range cfg.http {
		m := &member{id: raft.NodeID(i + 1), http: loopback(cfg.http[i]), cluster: c, process: stopped}
		c.members = append(c.members, m)
		peers = append(peers, fmt.Sprintf("%d=%s", m.id, loopback(cfg.raft[i])))
		httpPeers = append(httpPeers, fmt.Sprintf("%d=%s", m.id, m.http))
	}
	for _, m := range c.members {
		dir := filepath.Join(cfg.dir, fmt.Sprintf("node-%d", m.id))
		m.log = dir + ".log"
		m.args = []string{
			"serve", "--id", fmt.Sprint(m.id), "--cluster", cfg.name, "--dir", dir,
			"--peers", strings.Join(peers, ","), "--http-peers", strings.Join(httpPeers, ","),
			"--election-timeout", cfg.electionTimeout.String(),
			"--snapshot-bytes", fmt.Sprint(cfg.snapshotBytes), "--segment-bytes", fmt.Sprint(cfg.segmentBytes),
			"--patience", cfg.patience.String(), "--stop-on-eof",
		}
	}
	return c
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// checkPorts finds out early, and with words, that a port is taken.
func (cfg clusterConfig) checkPorts() error {
	for i := range cfg.http {
		for _, want := range []struct {
			port int
			flag string
		}{{cfg.http[i], "--http-port"}, {cfg.raft[i], "--raft-port"}} {
			l, err := net.Listen("tcp", loopback(want.port))
			if err != nil {
				return fmt.Errorf("port %d, which node %d needs, cannot be had: choose others with %s: %w", want.port, i+1, want.flag, err)
			}
			l.Close()
		}
	}
	return nil
}

// run starts the members and waits for ctx.
func (c *cluster) run(ctx context.Context, control net.Listener) error {
	if err := os.MkdirAll(c.cfg.dir, 0o700); err != nil {
		return errors.Join(err, control.Close())
	}
	watching, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { serveControl(control, c.carryOut) })
	for _, m := range c.members {
		background.Go(func() { c.watch(watching, m) })
	}
	err := c.runMembers(ctx)
	stop()
	err = errors.Join(err, control.Close())
	background.Wait()
	for _, m := range c.members {
		m.stop()
	}
	c.say("all members stopped")
	return err
}

func (c *cluster) runMembers(ctx context.Context) error {
	for _, m := range c.members {
		if err := m.start(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	fmt.Fprintf(c.out, "Cluster %q: %d members on this machine. Data and logs: %s\n\n", c.cfg.name, len(c.members), c.cfg.dir)
	for _, m := range c.members {
		fmt.Fprintf(c.out, "  node %d   http://%s   process %d\n", m.id, m.http, m.info().PID)
	}
	fmt.Fprintln(c.out)
	c.mu.Unlock()

	patience, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-c.elected:
	case <-patience.Done():
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("no leader within 30 s: the logs in %s say why", c.cfg.dir)
	}
	c.mu.Lock()
	fmt.Fprint(c.out, c.whatToTry())
	c.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (c *cluster) whatToTry() string {
	self := "kv"
	if len(os.Args) > 0 && strings.Contains(os.Args[0], "go-build") {
		self = "go run ./examples/kv"
	}
	name := ""
	if c.cfg.name != "demo" {
		name = " --name " + c.cfg.name
	}
	first, last := c.members[0].http, c.members[len(c.members)-1].http
	return fmt.Sprintf(`
Try, in another terminal:

  curl -L -X PUT -d hello http://%[1]s/kv/greeting     # any member; -L follows to the leader
  curl -i http://%[2]s/kv/greeting                     # linearizable, at any member
  curl -i 'http://%[2]s/kv/greeting?stale=true'        # what this member has, asking nobody
  curl -L -X PUT -d hi -H 'If-None-Match: *' http://%[1]s/kv/greeting   # only if there is none: refused

  %[3]s load%[4]s             # write for 10 s; meanwhile, in a third one:
  %[3]s kill leader%[4]s
  %[3]s status%[4]s
  %[3]s restart all%[4]s

Ctrl-C stops the cluster.

`, first, last, self, name)
}

// say prints one line.
func (c *cluster) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sayLocked(format, args...)
}

func (c *cluster) sayLocked(format string, args ...any) {
	fmt.Fprintf(c.out, "%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// watch asks a member again and again whether it leads.
func (c *cluster) watch(ctx context.Context, m *member) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if m.info().Process != running {
			continue
		}
		if s, err := c.client.status(ctx, m.http); err == nil && s.Leader == m.id {
			c.sawLeader(m.id, s.Term)
		}
	}
}

// sawLeader is told by a member itself that it leads. A term has one leader, and
// the one of the newest term counts.
func (c *cluster) sawLeader(id raft.NodeID, term raft.Term) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if term <= c.term {
		return
	}
	if c.term == 0 {
		close(c.elected)
	}
	after := ""
	if !c.lost.IsZero() {
		after = fmt.Sprintf(", %d ms after the last leader was lost", time.Since(c.lost).Milliseconds())
	}
	c.leader, c.term, c.lost = id, term, time.Time{}
	c.sayLocked("node %d leads term %d%s", id, term, after)
}

// carryOut does what another terminal asks.
func (c *cluster) carryOut(request controlRequest) controlAnswer {
	if request.Command == "status" {
		var answer controlAnswer
		for _, m := range c.members {
			answer.Members = append(answer.Members, m.info())
		}
		return answer
	}
	targets, err := c.targets(request.Target)
	if err != nil {
		return controlAnswer{Error: err.Error()}
	}
	var texts []string
	for _, m := range targets {
		text, err := c.carryOutOn(request, m)
		switch {
		case err == nil:
			texts = append(texts, text)
		case request.Target != "all" || !errors.Is(err, errNothingToDo):
			return controlAnswer{Error: err.Error()}
		}
	}
	return controlAnswer{Text: cmp.Or(strings.Join(texts, "\n"), "nothing to "+request.Command)}
}

func (c *cluster) carryOutOn(request controlRequest, m *member) (string, error) {
	act, did := (func() error)(nil), ""
	switch request.Command {
	case "kill":
		act, did = m.kill, "killed with kill -9"
	case "pause":
		act, did = m.pause, "paused with SIGSTOP"
	case "resume":
		act, did = m.resume, "resumed with SIGCONT"
	case "restart":
		act, did = m.start, "restarted"
	default:
		return "", fmt.Errorf("this cluster knows no command %q", request.Command)
	}
	began := time.Now()
	if err := act(); err != nil {
		return "", err
	}
	text := fmt.Sprintf("node %d was %s", m.id, did)
	c.mu.Lock()
	defer c.mu.Unlock()
	if request.Command == "kill" || request.Command == "pause" {
		if c.leader == m.id {
			c.lost = began
			text += "; it led"
		}
		switch n := c.running(); {
		case n == 0:
			text += "; none runs"
		case n <= len(c.members)/2:
			text += fmt.Sprintf("; %d of %d run, less than a majority: only stale reads are answered", n, len(c.members))
		}
	}
	c.sayLocked("%s", text)
	return text, nil
}

func (c *cluster) running() int {
	n := 0
	for _, m := range c.members {
		if m.info().Process == running {
			n++
		}
	}
	return n
}

// targets finds the members that a word names.
func (c *cluster) targets(word string) ([]*member, error) {
	switch word {
	case "all":
		return c.members, nil
	case "leader":
		c.mu.Lock()
		leader, known := c.leader, c.lost.IsZero()
		c.mu.Unlock()
		if leader == raft.None || !known || c.members[leader-1].info().Process != running {
			return nil, errors.New("no leader is known at this moment: try again in a second, or name a node (kv status)")
		}
		return c.members[leader-1 : leader], nil
	}
	id, err := strconv.Atoi(word)
	if err != nil || id < 1 || id > len(c.members) {
		return nil, fmt.Errorf("there is no node %q: name one from 1 to %d, leader, or all", word, len(c.members))
	}
	return c.members[id-1 : id], nil
}
