package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/server"
)

// quorate runs the program in this process.
func quorate(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, arguments(append([]string{"quorate"}, args...), nil), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestArgumentsOfAServer(t *testing.T) {
	for _, c := range []struct {
		args, environment, want []string
	}{
		{[]string{"quorate"}, nil, nil},
		{[]string{"quorate"}, []string{"ETCD_NAME=a"}, []string{"serve"}},
		{[]string{"quorate"}, []string{"QUORATE_NAME=a"}, []string{"serve"}},
		{[]string{"quorate"}, []string{"ETCDCTL_ENDPOINTS=a"}, nil},
		{[]string{"/usr/bin/etcd"}, nil, []string{"serve"}},
		{[]string{"quorate", "--name", "a"}, nil, []string{"serve", "--name", "a"}},
		{[]string{"quorate", "-name=a", "-data-dir", "d"}, nil, []string{"serve", "--name=a", "--data-dir", "d"}},
		{[]string{"quorate", "serve", "-name", "a"}, nil, []string{"serve", "--name", "a"}},
		{[]string{"quorate", "put", "-name", "a"}, []string{"ETCD_NAME=a"}, []string{"put", "-name", "a"}},
		{[]string{"quorate", "--help"}, nil, []string{"--help"}},
	} {
		if got := arguments(c.args, c.environment); !slices.Equal(got, c.want) {
			t.Errorf("%q with %q: got %q, want %q", c.args, c.environment, got, c.want)
		}
	}
}

func TestMistakesAreOneSentence(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	etcdDir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(etcdDir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	owned := t.TempDir()
	if err := os.WriteFile(filepath.Join(owned, "OWNER"), []byte(`{"name":"other","cluster":"etcd-cluster"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := []string{"--listen-peer-urls", "http://127.0.0.1:0", "--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1"}
	serve := func(args ...string) []string { return slices.Concat([]string{"serve"}, listen, args) }
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown command", []string{"nonsense"}, exitUsage, `there is no command "nonsense"`},
		{"unknown flag", []string{"serve", "--nonsense"}, exitUsage, "unknown flag: --nonsense"},
		{"an experimental flag", []string{"serve", "--experimental-x=1"}, exitUsage, "lost that prefix"},
		{"bad value", serve("--max-txn-ops", "many"), exitUsage, "is not a whole number"},
		{"refused", serve("--force-new-cluster"), exitUsage, "is refused"},
		{"taken port", serve("--data-dir", t.TempDir(), "--listen-client-urls", "http://"+taken.Addr().String()), exitFailed, "is taken by another process"},
		{"taken peer port", serve("--data-dir", t.TempDir(), "--listen-peer-urls", "http://"+taken.Addr().String()), exitFailed, "is taken by another process"},
		{"unusable directory", serve("--data-dir", filepath.Join(file, "d")), exitFailed, "choose another with --data-dir"},
		{"etcd's directory", serve("--data-dir", etcdDir), exitFailed, "holds the data of an etcd member"},
		{"another member's directory", serve("--data-dir", owned), exitFailed, `belongs to the member "other"`},
		{"no certificate", serve("--data-dir", t.TempDir(), "--listen-client-urls", "https://127.0.0.1:0", "--cert-file", file, "--key-file", file), exitFailed, "TLS:"},
		{"put without a key", []string{"put"}, exitUsage, "put needs a key"},
		{"bad output", []string{"get", "k", "-w", "x"}, exitUsage, "--write-out is"},
		{"dev with no nodes", []string{"dev", "--nodes", "0"}, exitUsage, "--nodes is from 1 to 9"},
		{"no dev cluster", []string{"dev", "kill", "leader", "--name", "none"}, exitFailed, "start one with 'quorate dev'"},
		{"no log", []string{"wal", "verify", file}, exitFailed, "is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := process(t, c.args...)
			if code != c.code || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d and %q; want %d and a sentence with %q", code, stderr, c.code, c.want)
			}
		})
	}
}

// serveOne runs a server of one member in this process.
func serveOne(t *testing.T) (endpoint string) {
	t.Helper()
	s, err := server.Start(server.Config{
		Name: "one", DataDir: t.TempDir(), Members: []server.Member{{Name: "one", PeerURLs: []string{"http://127.0.0.1:1"}}},
		ListenPeer: "127.0.0.1:0", ListenClient: []server.Endpoint{{Network: "tcp", Address: "127.0.0.1:0"}},
		AdvertiseClient: []string{"http://127.0.0.1:1"}, ElectionTimeout: 250 * time.Millisecond, HeartbeatInterval: 25 * time.Millisecond,
		ReserveBytes: 1, NoSync: true, InMemory: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	<-s.Ready()
	return s.ClientAddresses()[0]
}

func TestCommands(t *testing.T) {
	endpoint := serveOne(t)
	for _, c := range []struct {
		stdin string
		args  string
		want  string // of standard output; a * stands for anything
	}{
		{"", "put a 1", "OK\n"},
		{"from stdin", "put b", "OK\n"},
		{"", "put a 2 --prev-kv", "OK\na\n1\n"},
		{"", "get a", "a\n2\n"},
		{"", "get a --print-value-only", "2\n"},
		{"", "get --prefix -- ", "a\n2\nb\nfrom stdin\n"},
		{"", "get --prefix --stream -- ", "a\n2\nb\nfrom stdin\n"},
		{"", "get a c --order DESCEND --keys-only", "b\n\na\n\n"},
		{"", "get a --rev 2", "a\n1\n"},
		{"", "get a c --count-only", "2\n"},
		{"", "get b --hex", `\x62` + "\n" + `\x66\x72\x6f\x6d\x20\x73\x74\x64\x69\x6e` + "\n"},
		{"", "get a -w json", `{"header":{"cluster_id":*,"member_id":*,"revision":4,"raft_term":*},"kvs":[{"key":"YQ==","create_revision":2,"mod_revision":4,"version":2,"value":"Mg=="}],"count":1}` + "\n"},
		{"", "get a -w fields", "*\"Key\" : \"a\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 4\n\"Version\" : 2\n\"Value\" : \"2\"\n\"Lease\" : 0\n\"More\" : false\n\"Count\" : 1\n"},
		{"", "get a -w table", "*| KEY | VALUE | CREATED | MODIFIED | VERSION | LEASE |\n*|   a |     2 |       2 |        4 |       2 |     0 |\n*"},
		{"value(\"a\") = \"2\"\nmod(\"b\") > \"1\"\n\nput c \"x y\"\nget a\ndel b --prev-kv\n\nput d 1\n", "txn", "SUCCESS\n\nOK\n\na\n2\n\n1\nb\nfrom stdin\n"},
		{"create(\"c\") = \"0\"\n\n\nget c\n", "txn", "FAILURE\n\nc\nx y\n"},
		{"", "del a c", "1\n"},
		{"", "compact 3", "compacted revision 3\n"},
		{"", "compaction 4", "compacted revision 4\n"},
		{"", "lease grant 100 1f", "lease 000000000000001f granted with TTL(100s)\n"},
		{"", "put leased v --lease 1f", "OK\n"},
		{"", "lease timetolive 1f --keys", "lease 000000000000001f granted with TTL(100s), remaining(*s), attached keys([leased])\n"},
		{"", "lease list", "found 1 leases\n000000000000001f\n"},
		{"", "lease keep-alive 1f --once", "lease 000000000000001f keepalived with TTL(100)\n"},
		{"", "lease revoke 1f", "lease 000000000000001f revoked\n"},
		{"", "lease timetolive 1f", "lease 000000000000001f already expired\n"},
		{"", "alarm list", ""},
		{"", "members", "*, started, one, http://127.0.0.1:1, http://127.0.0.1:1, false\n"},
		{"", "status", endpoint + ", *, 3.7.3, 3.7.0, *, true, false, *\n"},
		{"", "member list", "*, started, one, http://127.0.0.1:1, http://127.0.0.1:1, false\n"},
		{"", "endpoint status", endpoint + ", *, 3.7.3, 3.7.0, *%, *, true, false, *, , , false\n"},
		{"", "status -w fields", "*\"DowngradeEnabled\" : false\n\n"},
		{"", "status -w table", "*ENDPOINT*3.7.3*"},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := append(strings.Fields(c.args), "--endpoints", endpoint)
			if i := slices.Index(args, "--"); i >= 0 {
				args = append(slices.Delete(args, i, i+1), "")
			}
			code, stdout, stderr := quorate(t, c.stdin, args...)
			if code != exitOK || !matches(stdout, c.want) {
				t.Errorf("exit code %d, %q\ngot  %q\nwant %q", code, stderr, stdout, c.want)
			}
		})
	}
	t.Run("refusal", func(t *testing.T) {
		code, _, stderr := quorate(t, "", "get", "a", "--rev", "1", "--endpoints", endpoint)
		if code != exitFailed || !strings.Contains(stderr, "required revision has been compacted") {
			t.Errorf("exit code %d, %q", code, stderr)
		}
	})
	t.Run("watch", func(t *testing.T) { testWatch(t, endpoint) })
}

// matches compares with a pattern in which * stands for anything.
func matches(text, pattern string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for i, part := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(text, part)
		}
		_, after, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = after
	}
	return text == ""
}

// testWatch watches in two ways: by arguments, and by lines of standard input.
func testWatch(t *testing.T, endpoint string) {
	t.Run("arguments", func(t *testing.T) {
		testWatchBy(t, endpoint, func(from int64) ([]string, string) {
			return []string{"watch", "watched", "--rev", fmt.Sprint(from)}, ""
		})
	})
	t.Run("interactive", func(t *testing.T) {
		testWatchBy(t, endpoint, func(from int64) ([]string, string) {
			return []string{"watch", "-i"}, fmt.Sprintf("\nwatch --rev %d watched\n", from)
		})
	})
	code, _, stderr := quorate(t, "look at it\nwatch\n'\n", "watch", "-i", "--endpoints", endpoint)
	for _, want := range []string{"type watch KEY", "watch takes a key", "there is no command in it"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("exit code %d, %q lacks %q", code, stderr, want)
		}
	}
}

func testWatchBy(t *testing.T, endpoint string, command func(from int64) (args []string, stdin string)) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	put := func(value string) int64 {
		_, stdout, stderr := quorate(t, "", "put", "watched", value, "-w", "json", "--endpoints", endpoint)
		var answer struct{ Header struct{ Revision int64 } }
		if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		return answer.Header.Revision
	}
	from := put("first")
	r, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		args, stdin := command(from)
		code := run(ctx, append(args, "--endpoints", endpoint), strings.NewReader(stdin), w, w)
		w.Close()
		done <- code
	}()
	lines := bufio.NewScanner(r)
	expect := func(want ...string) {
		t.Helper()
		for _, want := range want {
			if !lines.Scan() || lines.Text() != want {
				t.Fatalf("got %q, want %q", lines.Text(), want)
			}
		}
	}
	expect("PUT", "watched", "first")
	put("second")
	expect("PUT", "watched", "second")
	cancel()
	if lines.Scan() {
		t.Errorf("after the end: %q", lines.Text())
	}
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"serve", "--version"}, {"--version"}} {
		code, stdout, stderr := quorate(t, "", args...)
		if code != exitOK || !strings.Contains(stdout, "etcd API version: 3.7.3") {
			t.Errorf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, stdout, _ := quorate(t, "", "completion", shell); code != exitOK || !strings.Contains(stdout, "quorate") {
			t.Errorf("completion %s: exit code %d", shell, code)
		}
	}
}
