package dev

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

	"github.com/quorate/quorate/server"
)

// Config is a cluster of servers on this machine.
type Config struct {
	// Name is by what other terminals find the cluster.
	Name string
	// Nodes is how many, 1 to 9.
	Nodes int
	// Dir is where data and logs are kept; empty is a temporary directory that is
	// removed at the end.
	Dir string
	// Port is the first node's for clients; the one after it is for the other
	// nodes, and each further node's are ten higher.
	Port int
	// ElectionTimeout is how long the nodes wait for a leader.
	ElectionTimeout time.Duration
	// Extra are more arguments for each server.
	Extra []string
	// Command is how this program is called, for what is printed to try.
	Command string
}

// Validate reports what is wrong.
func (c Config) Validate() error {
	switch {
	case c.Nodes < 1 || c.Nodes > 9:
		return errors.New("--nodes is from 1 to 9")
	case c.Name == "" || strings.ContainsAny(c.Name, `/\`) || len(c.Name) > 32:
		return errors.New("--name has 1 to 32 characters and no slash")
	case c.Port < 1 || c.Port+10*(c.Nodes-1)+1 > 65535:
		return errors.New("--port is from 1 to 65535, with room for ten ports per node")
	case c.ElectionTimeout < 50*time.Millisecond || c.ElectionTimeout > 50*time.Second:
		return errors.New("--election-timeout is from 50ms to 50s")
	}
	return nil
}

func (c Config) clientPort(node int) int { return c.Port + 10*(node-1) }
func (c Config) peerPort(node int) int   { return c.clientPort(node) + 1 }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// cluster starts members, tells what happens to them, and carries out what other
// terminals ask.
type cluster struct {
	config    Config
	members   []*member
	processes sync.WaitGroup

	mu sync.Mutex
	// out takes a line per event.
	out io.Writer
	// leader is the node that was last seen to lead, in term.
	leader int
	term   uint64
	// lost is when a leader was killed or paused, until the next one is seen.
	lost    time.Time
	elected chan struct{} // closed when the first leader is seen
}

// Run runs a cluster until ctx ends.
func Run(ctx context.Context, config Config, out io.Writer) (err error) {
	if err := config.Validate(); err != nil {
		return err
	}
	if err := config.checkPorts(); err != nil {
		return err
	}
	control, err := listenControl(config.Name)
	if err != nil {
		return err
	}
	defer control.Close()
	if config.Dir == "" {
		if config.Dir, err = os.MkdirTemp("", "quorate-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(config.Dir)) }()
	} else if config.Dir, err = filepath.Abs(config.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return newCluster(config, out).run(ctx, control)
}

func newCluster(config Config, out io.Writer) *cluster {
	c := &cluster{config: config, out: out, elected: make(chan struct{})}
	var initial []string
	for node := 1; node <= config.Nodes; node++ {
		initial = append(initial, fmt.Sprintf("%s=http://%s", memberName(node), loopback(config.peerPort(node))))
	}
	for node := 1; node <= config.Nodes; node++ {
		peer, client := "http://"+loopback(config.peerPort(node)), "http://"+loopback(config.clientPort(node))
		dir := filepath.Join(config.Dir, memberName(node))
		m := &member{
			node: node, id: uint64(server.Member{Name: memberName(node)}.ID()),
			endpoint: loopback(config.clientPort(node)), cluster: c, process: Stopped, log: dir + ".log",
		}
		m.args = append([]string{
			"serve", "--name", memberName(node), "--data-dir", dir,
			"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-token", config.Name,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--election-timeout", fmt.Sprint(config.ElectionTimeout.Milliseconds()),
			"--heartbeat-interval", fmt.Sprint(max(config.ElectionTimeout.Milliseconds()/10, 1)),
			"--log-format", "console", "--stop-on-eof",
		}, config.Extra...)
		c.members = append(c.members, m)
	}
	return c
}

func memberName(node int) string { return fmt.Sprintf("node-%d", node) }

// checkPorts finds out early, and with words, that a port is taken.
func (c Config) checkPorts() error {
	for node := 1; node <= c.Nodes; node++ {
		for _, port := range []int{c.clientPort(node), c.peerPort(node)} {
			l, err := net.Listen("tcp", loopback(port))
			if err != nil {
				return fmt.Errorf("port %d, which node %d needs, is taken: stop what uses it, or choose others with --port", port, node)
			}
			l.Close()
		}
	}
	return nil
}

// cleanEnvironment keeps what configures a server out of the members'.
func cleanEnvironment(environment []string) []string {
	var kept []string
	for _, entry := range environment {
		if !strings.HasPrefix(entry, "ETCD_") && !strings.HasPrefix(entry, "QUORATE_") {
			kept = append(kept, entry)
		}
	}
	return kept
}

func (c *cluster) run(ctx context.Context, control net.Listener) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
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
	c.processes.Wait()
	c.say("all nodes stopped")
	return err
}

func (c *cluster) runMembers(ctx context.Context) error {
	for _, m := range c.members {
		if err := m.start(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	fmt.Fprintf(c.out, "Cluster %q: %d nodes on this machine. Data and logs: %s\n\n", c.config.Name, len(c.members), c.config.Dir)
	for _, m := range c.members {
		fmt.Fprintf(c.out, "  node %d   %s   process %d\n", m.node, m.endpoint, m.info().PID)
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
		return fmt.Errorf("no leader within 30 s: the logs in %s say why", c.config.Dir)
	}
	c.mu.Lock()
	fmt.Fprint(c.out, c.whatToTry())
	c.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (c *cluster) whatToTry() string {
	name := ""
	if c.config.Name != DefaultName {
		name = " --name " + c.config.Name
	}
	var all []string
	for _, m := range c.members {
		all = append(all, m.endpoint)
	}
	endpoints := ""
	if c.config.Port != DefaultPort {
		endpoints = " --endpoints " + strings.Join(all, ",")
	}
	return fmt.Sprintf(`
Try, in another terminal:

  %[1]s put greeting hello%[2]s
  %[1]s get greeting%[2]s
  %[1]s watch greeting%[2]s           # and put again, in a third one
  etcdctl --endpoints %[3]s put greeting hi

  %[1]s dev status%[4]s
  %[1]s dev kill leader%[4]s             # nothing that was acknowledged is lost
  %[1]s dev restart all%[4]s

Ctrl-C stops the cluster.

`, c.config.Command, endpoints, strings.Join(all, ","), name)
}

// DefaultName and DefaultPort are those that need not be repeated.
const (
	DefaultName = "dev"
	DefaultPort = 2379
)

// say prints one line.
func (c *cluster) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sayLocked(format, args...)
}

func (c *cluster) sayLocked(format string, args ...any) {
	fmt.Fprintf(c.out, "%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// sawLeader is told by a member itself that it leads. A term has one leader, and
// the one of the newest term counts.
func (c *cluster) sawLeader(node int, term uint64) {
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
	c.leader, c.term, c.lost = node, term, time.Time{}
	c.sayLocked("node %d leads term %d%s", node, term, after)
}

// carryOut does what another terminal asks.
func (c *cluster) carryOut(request Request) Answer {
	if request.Command == "status" {
		var answer Answer
		for _, m := range c.members {
			answer.Members = append(answer.Members, m.info())
		}
		return answer
	}
	targets, err := c.targets(request.Target)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	var texts []string
	for _, m := range targets {
		text, err := c.carryOutOn(request, m)
		switch {
		case err == nil:
			texts = append(texts, text)
		case request.Target != "all" || !errors.Is(err, errNothingToDo):
			return Answer{Error: err.Error()}
		}
	}
	return Answer{Text: cmp.Or(strings.Join(texts, "\n"), "nothing to "+request.Command)}
}

func (c *cluster) carryOutOn(request Request, m *member) (string, error) {
	act, did := (func() error)(nil), ""
	switch request.Command {
	case "kill":
		act, did = m.kill, "killed with kill -9"
	case "pause":
		act, did = m.pause, "paused with SIGSTOP"
	case "resume":
		act, did = m.resume, "resumed with SIGCONT"
	case "restart":
		act, did = m.restart, "restarted"
	default:
		return "", fmt.Errorf("this cluster knows no command %q", request.Command)
	}
	if request.Command == "restart" && request.Target == "all" && m.info().Process != Stopped {
		return "", errNothingToDo // those that were killed are meant
	}
	began := time.Now()
	if err := act(); err != nil {
		return "", err
	}
	text := fmt.Sprintf("node %d was %s", m.node, did)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader == m.node && c.lost.IsZero() && request.Command != "resume" {
		c.lost = began
		text += "; it led"
	}
	if n, majority := c.running(), len(c.members)/2+1; n < majority {
		text += fmt.Sprintf("; %d of %d run, and a majority is %d: nothing can be written or read linearizably", n, len(c.members), majority)
	}
	c.sayLocked("%s", text)
	return text, nil
}

func (c *cluster) running() int {
	n := 0
	for _, m := range c.members {
		if m.info().Process == Running {
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
		if leader == 0 || !known || c.members[leader-1].info().Process != Running {
			return nil, errors.New("no leader is known at this moment: try again in a second, or name a node ('quorate dev status')")
		}
		return c.members[leader-1 : leader], nil
	}
	node, err := strconv.Atoi(strings.TrimPrefix(word, "node-"))
	if err != nil || node < 1 || node > len(c.members) {
		return nil, fmt.Errorf("there is no node %q: name one from 1 to %d, leader, or all", word, len(c.members))
	}
	return c.members[node-1 : node], nil
}
