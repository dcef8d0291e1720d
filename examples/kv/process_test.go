//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/raft"
)

// electionTimeout of the members in these tests.
const electionTimeout = 250 * time.Millisecond

// liveness bounds how long anything may take that must happen at last. It is
// generous: what is asserted is that it happens.
const liveness = 60 * time.Second

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	patience := time.NewTimer(liveness)
	defer patience.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-patience.C:
			t.Fatalf("not within %v: %s", liveness, what)
		}
	}
}

// lasting lets time pass while something is as it is. That it lasts this long is
// what is tested, and nothing is concluded from the clock.
func lasting(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// freePorts finds ports outside the range from which the system takes those of
// outgoing connections: one of them must not sit on the port of a member that is
// down.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		l, err := net.Listen("tcp", loopback(port))
		if err != nil || slices.Contains(ports, port) {
			continue
		}
		l.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatal("no free ports")
	return nil
}

// processes is a cluster of processes under test.
type processes struct {
	*cluster
	t   *testing.T
	dir string
	out *bytes.Buffer // guarded by cluster.mu
}

func startProcesses(t *testing.T, nodes int) *processes {
	t.Helper()
	ports := freePorts(t, 2*nodes)
	p := &processes{t: t, dir: t.TempDir(), out: &bytes.Buffer{}}
	p.cluster = newCluster(clusterConfig{
		name: "test", dir: p.dir, http: ports[:nodes], raft: ports[nodes:],
		electionTimeout: electionTimeout, patience: 2 * time.Second,
		// Small, so that much happens at the ends of files and around snapshots.
		snapshotBytes: 32 << 10, segmentBytes: 256 << 10,
	}, p.out)
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	for _, m := range p.members {
		watching.Go(func() { p.watch(ctx, m) })
	}
	t.Cleanup(func() {
		cancel()
		watching.Wait()
		for _, m := range p.members {
			m.stop()
		}
		if t.Failed() {
			p.tell()
		}
	})
	for _, m := range p.members {
		p.must(m.start())
	}
	eventually(t, "a leader is elected", func() bool { return p.leading() != nil })
	return p
}

func (p *processes) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// tell prints what the cluster said and the end of each member's log.
func (p *processes) tell() {
	p.mu.Lock()
	p.t.Logf("the cluster said:\n%s", p.out)
	p.mu.Unlock()
	for _, m := range p.members {
		text, err := os.ReadFile(m.log)
		if err != nil {
			p.t.Log(err)
			continue
		}
		if most := 8 << 10; len(text) > most {
			text = text[len(text)-most:]
		}
		p.t.Logf("%s:\n%s", m.log, text)
	}
}

// slowSyncs counts what the members said of their disk. It explains long gaps.
func (p *processes) slowSyncs() int {
	n := 0
	for _, m := range p.members {
		text, err := os.ReadFile(m.log)
		p.must(err)
		n += bytes.Count(text, []byte(slowDisk))
	}
	return n
}

func (p *processes) addresses() []string {
	var all []string
	for _, m := range p.members {
		all = append(all, m.http)
	}
	return all
}

// act does what the commands of another terminal do.
func (p *processes) act(command, target string) {
	p.t.Helper()
	if answer := p.carryOut(controlRequest{Command: command, Target: target}); answer.Error != "" {
		p.t.Fatalf("%s %s: %s", command, target, answer.Error)
	}
}

// leading gives the member that leads, once one does that runs.
func (p *processes) leading() *member {
	targets, err := p.targets("leader")
	if err != nil {
		return nil
	}
	return targets[0]
}

// leader waits for a leader.
func (p *processes) leader() *member {
	p.t.Helper()
	var m *member
	eventually(p.t, "a leader that runs", func() bool {
		m = p.leading()
		return m != nil
	})
	return m
}

// follower waits for a leader and picks another member.
func (p *processes) follower(rng *rand.Rand) *member {
	p.t.Helper()
	leader := p.leader()
	for {
		if m := p.members[rng.IntN(len(p.members))]; m != leader {
			return m
		}
	}
}

// follows reports whether a member runs and knows a leader of the newest term.
func (p *processes) follows(m *member) bool {
	s, err := p.client.status(p.t.Context(), m.http)
	p.mu.Lock()
	defer p.mu.Unlock()
	return err == nil && s.Leader != raft.None && s.Term >= p.term
}

// TestProcessesUnderLoad kills and pauses real processes again and again while
// clients write to and read from all of them: the leader, a follower, all at once.
// At the end the whole history must be linearizable, every acknowledged write must
// be there, at every member, and each outage must have ended.
func TestProcessesUnderLoad(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	p := startProcesses(t, 3)
	rng := rand.New(rand.NewPCG(7, 7))

	h := &history{start: time.Now()}
	keys := &keyring{}
	once := newLoad(p.addresses())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	const registers = 6
	for id := range registers {
		clients.Go(func() { h.client(ctx, newClient(time.Second), id, p.addresses(), keys) })
	}
	clients.Go(func() { once.writer(ctx, 0) })

	// progress waits until so many more writes of the judged clients are
	// acknowledged.
	progress := func(writes int) {
		t.Helper()
		target := h.acknowledged() + writes
		eventually(t, fmt.Sprintf("%d writes are acknowledged", writes), func() bool { return h.acknowledged() >= target })
	}
	var gaps []time.Duration
	// outage does something bad and waits until a write that was asked for after
	// it is acknowledged. The gap is from just before to that.
	outage := func(did string, do func()) {
		t.Helper()
		began := h.now()
		do()
		done := h.mark()
		var resumed time.Duration
		eventually(t, "writes resume after "+did, func() (ok bool) {
			resumed, ok = h.resumed(done)
			return ok
		})
		gap := resumed - began
		t.Logf("%-28s write gap %d ms", did, gap.Milliseconds())
		if did == "kill -9 of the leader" {
			gaps = append(gaps, gap)
		}
	}

	for round := range rounds {
		progress(100)
		switch round % 5 {
		case 0:
			m := p.leader()
			outage("kill -9 of the leader", func() { p.act("kill", fmt.Sprint(m.id)) })
			progress(100)
		case 1:
			// Down so long that what it misses is only in a snapshot.
			m := p.follower(rng)
			outage("kill -9 of a follower", func() { p.act("kill", fmt.Sprint(m.id)) })
			progress(600)
		case 2:
			outage("kill -9 of all", func() {
				p.act("kill", "all")
				p.act("restart", "all")
			})
		case 3:
			// The others elect another; requests wait in the paused process
			// and are answered by a leader of the past when it goes on.
			m := p.leader()
			outage("SIGSTOP of the leader", func() { p.act("pause", fmt.Sprint(m.id)) })
			p.leader()
			p.act("resume", fmt.Sprint(m.id))
		case 4:
			m := p.follower(rng)
			outage("SIGSTOP of a follower", func() { p.act("pause", fmt.Sprint(m.id)) })
			lasting(t, 4*electionTimeout)
			p.act("resume", fmt.Sprint(m.id))
		}
		p.act("restart", "all")
		for _, m := range p.members {
			eventually(t, fmt.Sprintf("node %d follows again", m.id), func() bool { return p.follows(m) })
		}
	}
	progress(100)
	stop()
	clients.Wait()

	// What is there at the end belongs to the history, too, at each member.
	for i, m := range p.members {
		for _, key := range keys.all() {
			eventually(t, fmt.Sprintf("node %d reads %s", m.id, key), func() bool {
				_, ok := h.do(t.Context(), p.client, registers+i, m.http, request{method: http.MethodGet, key: key})
				return ok
			})
		}
	}
	n := h.judge(t)
	unknown := 0
	for _, op := range h.ops {
		if op.out.unknown {
			unknown++
		}
	}
	t.Logf("%s operations on %d keys, %s writes acknowledged, %d without an answer", thousands(len(h.ops)), n, thousands(h.acked), unknown)

	var said strings.Builder
	if err := once.verify(t.Context(), &said); err != nil {
		t.Errorf("writes of which each had its own key: %v", err)
	}
	if want := fmt.Sprintf("read at %d of %d members", len(p.members), len(p.members)); !strings.Contains(said.String(), want) {
		t.Errorf("the keys that were written once were not looked for everywhere: %s", said.String())
	}
	t.Log(strings.TrimSpace(said.String()))
	for _, m := range p.members {
		s, err := p.client.status(t.Context(), m.http)
		p.must(err)
		if s.SnapshotIndex == 0 {
			t.Errorf("node %d took no snapshot: the test wrote too little to show anything about them", m.id)
		}
	}
	slices.Sort(gaps)
	median := (gaps[(len(gaps)-1)/2] + gaps[len(gaps)/2]) / 2
	t.Logf("%d syncs of the log took longer than half an election timeout", p.slowSyncs())
	t.Logf("after %d kills of the leader: median write gap %d ms, longest %d ms (election timeout %d ms)",
		len(gaps), median.Milliseconds(), gaps[len(gaps)-1].Milliseconds(), electionTimeout.Milliseconds())
}

// TestClientProtocol: any member answers; a follower sends writers to the leader;
// without a majority it is said that nothing was done, and only stale reads are
// answered.
func TestClientProtocol(t *testing.T) {
	p := startProcesses(t, 3)
	rng := rand.New(rand.NewPCG(1, 1))
	leader, follower := p.leader(), p.follower(rng)

	direct := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(method, url, body string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		p.must(err)
		resp, err := direct.Do(req)
		p.must(err)
		defer resp.Body.Close()
		var b bytes.Buffer
		_, err = b.ReadFrom(resp.Body)
		p.must(err)
		return resp, b.String()
	}

	key := "a key/with spaces?"
	eventually(t, "the follower knows the leader", func() bool { return p.follows(follower) })
	resp, body := ask(http.MethodPut, keyURL(follower.http, key)+"?x=1", "hello")
	if want := keyURL(leader.http, key) + "?x=1"; resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Location") != want || !strings.Contains(body, `"error":"not_leader"`) {
		t.Fatalf("PUT at a follower: %s, Location %q, %s; want 307 to %s", resp.Status, resp.Header.Get("Location"), body, want)
	}
	if resp, body = ask(http.MethodPut, resp.Header.Get("Location"), "hello"); resp.StatusCode != http.StatusOK {
		t.Fatalf("PUT at the leader: %s: %s", resp.Status, body)
	}
	version := resp.Header.Get("ETag")
	for _, m := range p.members {
		if resp, body = ask(http.MethodGet, keyURL(m.http, key), ""); resp.StatusCode != http.StatusOK || body != "hello" || resp.Header.Get("ETag") != version {
			t.Errorf("GET at node %d: %s, %q, version %s; want 200, hello, version %s", m.id, resp.Status, body, resp.Header.Get("ETag"), version)
		}
	}

	// One of three: nobody leads.
	for _, m := range p.members {
		if m != follower {
			p.act("kill", fmt.Sprint(m.id))
		}
	}
	eventually(t, "a write is refused for want of a leader", func() bool {
		resp, body = ask(http.MethodPut, keyURL(follower.http, key), "nobody")
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	if !strings.Contains(body, `"error":"no_leader"`) || resp.Header.Get("Retry-After") == "" {
		t.Errorf("PUT without a leader: %s, Retry-After %q, %s; want no_leader and when to try again", resp.Status, resp.Header.Get("Retry-After"), body)
	}
	if resp, body = ask(http.MethodGet, keyURL(follower.http, key), ""); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"error":"not_applied"`) {
		t.Errorf("linearizable GET without a majority: %s: %s; want 503", resp.Status, body)
	}
	if resp, body = ask(http.MethodGet, keyURL(follower.http, key)+"?stale=true", ""); resp.StatusCode != http.StatusOK || body != "hello" {
		t.Errorf("stale GET without a majority: %s: %q; want 200 and hello", resp.Status, body)
	}

	p.act("restart", "all")
	eventually(t, "the value is read once a majority is back", func() bool {
		resp, body = ask(http.MethodGet, keyURL(follower.http, key), "")
		return resp.StatusCode == http.StatusOK
	})
	if body != "hello" {
		t.Errorf("after the restart: %q, want hello", body)
	}
}

// TestOutcomeUnknown: a write that the leader took and could not replicate may yet
// be applied, and its client is told so.
func TestOutcomeUnknown(t *testing.T) {
	p := startProcesses(t, 3)
	c := newClient(20 * time.Second)
	eventually(t, "a write is taken by a leader that has lost its followers and does not know it", func() bool {
		leader := p.leader()
		for _, m := range p.members {
			if m != leader {
				p.act("pause", fmt.Sprint(m.id))
			}
		}
		a, err := c.do(t.Context(), http.MethodPut, keyURL(leader.http, "k"), []byte("v"))
		p.act("resume", "all")
		if errors.Is(err, errNotApplied) {
			return false // it knew already
		}
		if !errors.Is(err, errUnknown) || a.status != http.StatusGatewayTimeout {
			t.Fatalf("a write without a majority: status %d, %v; want 504 and an unknown outcome", a.status, err)
		}
		return true
	})
	eventually(t, "writes go on", func() bool {
		a, err := c.do(t.Context(), http.MethodPut, keyURL(p.members[0].http, "k2"), []byte("v"))
		return err == nil && a.status == http.StatusOK
	})
}

// TestGracefulStop: a member that gets SIGTERM closes its log and exits with 0,
// and starts again on it.
func TestGracefulStop(t *testing.T) {
	ports := freePorts(t, 2)
	dir := filepath.Join(t.TempDir(), "data")
	address := loopback(ports[0])
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "serve", "--id", "1", "--cluster", "test", "--dir", dir,
			"--http-peers", "1="+address, "--peers", "1="+loopback(ports[1]), "--election-timeout", "50ms", "--segment-bytes", "262144")
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	c := newClient(2 * time.Second)
	for n := range 3 {
		cmd := start()
		eventually(t, "the member takes a write", func() bool {
			a, err := c.do(t.Context(), http.MethodPut, keyURL(address, fmt.Sprint("k", n)), []byte("v"))
			return err == nil && a.status == http.StatusOK
		})
		found, err := c.list(t.Context(), address, "k")
		if err != nil || len(found) != n+1 {
			t.Errorf("after %d restarts: %v, %v; want %d keys", n, found, err, n+1)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v, want exit code 0", err)
		}
	}
}
