package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// beQuorate makes the test's own binary the program.
const beQuorate = "TEST_IS_QUORATE"

func TestMain(m *testing.M) {
	if os.Getenv(beQuorate) != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience bounds what a process may take on a machine that does much else.
const patience = 2 * time.Minute

// command is the program, as a process that ends with the test.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = []string{beQuorate + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + os.TempDir()}
	return cmd
}

// process runs the program to its end.
func process(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// running is a process that is still there. Its lines come one by one.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	seen  strings.Builder
}

// begin starts the program; what it prints, on either output, can be awaited.
func begin(t *testing.T, args ...string) *running {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &running{t: t, cmd: command(t, args...), lines: bufio.NewScanner(r)}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // it may have ended long ago
		r.Close()
	})
	return p
}

// await reads until a line contains text.
func (p *running) await(text string) string {
	p.t.Helper()
	for p.lines.Scan() {
		fmt.Fprintln(&p.seen, p.lines.Text())
		if strings.Contains(p.lines.Text(), text) {
			return p.lines.Text()
		}
	}
	p.t.Fatalf("it ended without %q:\n%s", text, p.seen.String())
	return ""
}

// end waits for the process and gives its exit code.
func (p *running) end() int {
	for p.lines.Scan() {
		fmt.Fprintln(&p.seen, p.lines.Text())
	}
	_ = p.cmd.Wait() // the code says how
	return p.cmd.ProcessState.ExitCode()
}

// signal asks the process to stop.
func (p *running) signal(s os.Signal) {
	p.t.Helper()
	if runtime.GOOS == "windows" {
		p.t.Skip("no such signal here")
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// freePort gives a port, and the next ones after it as far as they are asked for,
// that nobody listened on a moment ago.
func freePort(t *testing.T, offsets ...int) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		free := func(offset int) bool {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+offset))
			if err == nil {
				l.Close()
			}
			return err == nil
		}
		if !slices.ContainsFunc(offsets, func(o int) bool { return !free(o) }) {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

func url(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

// member are the flags of a server that is one of several.
func member(name, dir string, client, peer int, cluster, token string) []string {
	return []string{
		"serve", "--name", name, "--data-dir", dir, "--initial-cluster", cluster, "--initial-cluster-token", token,
		"--listen-client-urls", url(client), "--advertise-client-urls", url(client),
		"--listen-peer-urls", url(peer), "--initial-advertise-peer-urls", url(peer),
		"--heartbeat-interval", "25", "--election-timeout", "250",
	}
}

// alone is member for a cluster of one.
func alone(t *testing.T, name, dir string) (args []string, client int) {
	client, peer := freePort(t), freePort(t)
	return member(name, dir, client, peer, name+"="+url(peer), "test"), client
}

const ready = "ready to serve client requests"

func TestServeStopsInOrder(t *testing.T) {
	dir := t.TempDir()
	args, client := alone(t, "one", dir)
	endpoint := fmt.Sprintf("127.0.0.1:%d", client)
	p := begin(t, args...)
	p.await(ready)
	if code, _, stderr := process(t, "put", "k", "v", "--endpoints", endpoint); code != exitOK {
		t.Fatalf("put: %s", stderr)
	}
	second, _ := alone(t, "one", dir)
	if code, _, stderr := process(t, second...); code != exitFailed || !strings.Contains(stderr, "in use") {
		t.Errorf("a second server in its directory: exit code %d, %s", code, stderr)
	}
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != exitOK {
		t.Fatalf("exit code %d:\n%s", code, p.seen.String())
	}
	if code, stdout, stderr := process(t, "wal", "verify", dir); code != exitOK || !strings.Contains(stdout, "no damage found") {
		t.Errorf("wal verify: exit code %d, %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := process(t, "wal", "dump", dir); code != exitOK || stdout == "" {
		t.Errorf("wal dump: exit code %d, %s%s", code, stdout, stderr)
	}
	p = begin(t, args...)
	p.await(ready)
	if code, stdout, stderr := process(t, "get", "k", "--endpoints", endpoint); code != exitOK || stdout != "k\nv\n" {
		t.Errorf("get: %d %q %s", code, stdout, stderr)
	}

	other, _ := alone(t, "other", dir)
	if code, _, stderr := process(t, other...); code != exitFailed || !strings.Contains(stderr, `belongs to the member "one"`) {
		t.Errorf("another member in its directory: exit code %d, %s", code, stderr)
	}
}

// TestForeignPeers: who meets members that want nothing of it says why, and stops.
func TestForeignPeers(t *testing.T) {
	var client, peer [3]int
	var initial []string
	for i := range 3 {
		client[i], peer[i] = freePort(t), freePort(t)
		initial = append(initial, fmt.Sprintf("n%d=%s", i, url(peer[i])))
	}
	cluster, dirs := strings.Join(initial, ","), []string{t.TempDir(), t.TempDir(), t.TempDir()}
	servers := make([]*running, 3)
	for i := range 3 {
		servers[i] = begin(t, member(fmt.Sprintf("n%d", i), dirs[i], client[i], peer[i], cluster, "ours")...)
	}
	for i := range 3 {
		servers[i].await(ready)
	}
	_ = servers[2].cmd.Process.Kill()
	servers[2].end()
	for _, c := range []struct{ name, dir, token, want string }{
		{"of another cluster", t.TempDir(), "theirs", "another member refuses this one: give all members the same --initial-cluster and --initial-cluster-token"},
		{"that lost its data", t.TempDir(), "ours", "the other members know this one with other data than is in its --data-dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := process(t, member("n2", c.dir, client[2], peer[2], cluster, c.token)...)
			last := lastLine(stderr)
			if code != exitFailed || !strings.HasPrefix(last, "quorate: "+c.want) {
				t.Errorf("exit code %d, %q", code, last)
			}
			t.Log(last)
		})
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// TestDev: a cluster as a newcomer tries it, from two terminals.
func TestDev(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to pause and interrupt with")
	}
	name, port := fmt.Sprintf("test-%d", os.Getpid()), freePort(t, 1, 10, 11, 20, 21)
	dir := filepath.Join(t.TempDir(), "data")
	p := begin(t, "dev", "--name", name, "--port", fmt.Sprint(port), "--data-dir", dir)
	p.await("leads term")
	p.await("Ctrl-C stops the cluster")
	endpoints := fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d", port, port+10, port+20)
	// must runs another command, as often as a leader has to be found first.
	must := func(want string, args ...string) string {
		t.Helper()
		code, stdout, stderr := process(t, args...)
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Fatalf("%q: exit code %d, %q, %q; want %q\n%s", args, code, stdout, stderr, want, p.seen.String())
		}
		return stdout
	}
	dev := func(want string, args ...string) string {
		t.Helper()
		return must(want, append(append([]string{"dev"}, args...), "--name", name)...)
	}
	put := func(key string) {
		t.Helper()
		must("OK", "put", key, "v", "--endpoints", endpoints, "--command-timeout", "30s")
	}
	put("a")
	dev("it led", "kill", "leader")
	p.await("was killed with kill -9; it led")
	p.await("ms after the last leader was lost")
	put("b")
	if out := dev("", "status"); strings.Count(out, "leads") != 1 || strings.Count(out, "stopped") != 1 {
		t.Errorf("status after a kill:\n%s", out)
	}
	dev("was restarted", "restart", "all")
	dev("was paused with SIGSTOP", "pause", "leader")
	p.await("ms after the last leader was lost")
	put("c")
	dev("was resumed with SIGCONT", "resume", "all")
	dev("nothing to resume", "resume", "all")
	must("a\nv\nb\nv\nc\nv\n", "get", "--prefix", "--endpoints", endpoints, "--command-timeout", "30s", "")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"dev", "kill", "7", "--name", name}, `there is no node "7": name one from 1 to 3, leader, or all`},
		{[]string{"dev", "--name", name, "--port", fmt.Sprint(freePort(t, 1, 10, 11, 20, 21))}, "runs already"},
		{[]string{"dev", "--name", name + "x", "--port", fmt.Sprint(port)}, "is taken"},
	} {
		if code, _, stderr := process(t, c.args...); code != exitFailed || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit code %d, %q", c.args, code, stderr)
		}
	}
	p.signal(os.Interrupt)
	if code := p.end(); code != exitOK || !strings.Contains(p.seen.String(), "all nodes stopped") {
		t.Errorf("exit code %d:\n%s", code, p.seen.String())
	}
	for _, one := range strings.Split(endpoints, ",") {
		if conn, err := net.Dial("tcp", one); err == nil {
			conn.Close()
			t.Errorf("%s is still served", one)
		}
	}
}
