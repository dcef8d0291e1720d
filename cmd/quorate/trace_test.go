package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What simulated replicas did is Raft; without one of their records it is not.
func TestTraceOfASimulation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace.ndjson")
	if code, _, stderr := process(t, "sim", "--seed", "3", "--trace-out", file); code != exitOK {
		t.Fatal(stderr)
	}
	code, stdout, stderr := process(t, "trace", "verify", file)
	if code != exitOK || !strings.Contains(stdout, "no rule is broken") {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	tampered := filepath.Join(t.TempDir(), "tampered.ndjson")
	if err := os.WriteFile(tampered, []byte(strings.Join(append(lines[:40:40], lines[41:]...), "")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"trace", "verify", tampered}, exitFailed, "this is not Raft"},
		{[]string{"trace", "verify", "--json", tampered}, exitFailed, `"rule": "trace"`},
		{[]string{"trace", "verify", os.Args[0]}, exitFailed, "is no header of a trace"},
		{[]string{"trace", "verify", file + "x"}, exitFailed, "no such file"},
		{[]string{"trace", "verify"}, exitUsage, "name the files"},
	} {
		code, stdout, stderr := process(t, c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%q: exit code %d, want %d: %s%s", c.args, code, c.code, stdout, stderr)
		}
	}
}

// What real members say they did is Raft: the newest of three, and of one that
// was started anew among them.
func TestTraceOfMembers(t *testing.T) {
	dir := t.TempDir()
	var cluster []string
	var clients, peers []int
	for i := range 3 {
		clients, peers = append(clients, freePort(t)), append(peers, freePort(t))
		cluster = append(cluster, fmt.Sprintf("m%d=%s", i, url(peers[i])))
	}
	start := func(i int) *running {
		name := fmt.Sprintf("m%d", i)
		return begin(t, member(name, filepath.Join(dir, name), clients[i], peers[i], strings.Join(cluster, ","), "test")...)
	}
	var members []*running
	for i := range 3 {
		members = append(members, start(i))
	}
	for _, m := range members {
		m.await(ready)
	}
	put := func(key string) {
		t.Helper()
		if code, _, stderr := process(t, "put", key, "v", "--endpoints", fmt.Sprintf("127.0.0.1:%d", clients[0]), "--command-timeout", "60s"); code != exitOK {
			t.Fatal(stderr)
		}
	}
	var files []string
	fetch := func(i int) {
		t.Helper()
		resp, err := http.Get(url(clients[i]) + "/debug/trace")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", resp.Status, err)
		}
		file := filepath.Join(dir, fmt.Sprintf("%d.ndjson", len(files)))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	put("a")
	fetch(2)
	members[2].signal(os.Interrupt)
	members[2].end()
	put("b")
	members[2] = start(2)
	members[2].await(ready)
	put("c")
	for i := range 3 {
		fetch(i)
	}
	code, stdout, stderr := process(t, append([]string{"trace", "verify"}, files...)...)
	if code != exitOK || !strings.Contains(stdout, "of 3 nodes and 1 groups") || !strings.Contains(stdout, "no rule is broken") {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	t.Log(stdout)
}
