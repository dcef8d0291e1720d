package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// asProgram tells the test's own binary to be the program: the members that the
// tests start are processes, of exactly the code under test. (The test's binary
// also starts itself to fuzz, and is no program then.)
const asProgram = "QUORATE_KV_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" && len(os.Args) > 1 && os.Args[1] == "serve" {
		main() // does not return
	}
	os.Setenv(asProgram, "1")
	os.Exit(m.Run())
}

// TestCommandLine: what is wrong is said, with what to do, and the exit code tells
// a wrong command line from a failure.
func TestCommandLine(t *testing.T) {
	t.Setenv("TMPDIR", shortTempDir(t))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	peers := []string{"--peers", "1=127.0.0.1:1", "--http-peers", "1=" + taken.Addr().String()}

	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"nothing", nil, exitUsage, "", "kv cluster"},
		{"help", []string{"--help"}, exitOK, "kv kill leader|NODE", ""},
		{"help of a command", []string{"serve", "--help"}, exitOK, "", "--http-peers 1=10.0.0.1:8081"},
		{"no such command", []string{"explode"}, exitUsage, "", `no command "explode"`},
		{"no such flag", []string{"cluster", "--sides", "3"}, exitUsage, "", "-sides"},
		{"too many nodes", []string{"cluster", "--nodes", "100"}, exitUsage, "", "from 1 to 9"},
		{"a name with a slash", []string{"cluster", "--name", "../x"}, exitUsage, "", "no slash"},
		{"an argument too many", []string{"cluster", "now"}, exitUsage, "", "give no argument"},
		{"an argument too few", []string{"kill"}, exitUsage, "", "leader|NODE|all"},
		{"no id", []string{"serve"}, exitUsage, "", "--id is required"},
		{"no dir", []string{"serve", "--id", "1"}, exitUsage, "", "--dir is required"},
		{"peers that are none", []string{"serve", "--id", "1", "--dir", "d", "--peers", "localhost"}, exitUsage, "", "ID=HOST:PORT"},
		{"a peer without HTTP", []string{"serve", "--id", "1", "--dir", "d", "--peers", "1=a:1,2=b:2", "--http-peers", "1=a:3"}, exitUsage, "", "does not name node 2"},
		{"a node that is no peer", append([]string{"serve", "--id", "2", "--dir", "d"}, peers...), exitUsage, "", "does not name this node, 2"},
		{"no cluster", []string{"status"}, exitFailed, "", "start one with kv cluster"},
		{"no cluster of that name", []string{"kill", "leader", "--name", "other"}, exitFailed, "", `no cluster "other" runs here`},
		{"HTTP port taken", append([]string{"serve", "--id", "1", "--dir", t.TempDir()}, peers...), exitFailed, "", "is taken by another process: stop that one, or choose another address with --http"},
		{"a cluster's port taken", []string{"cluster", "--nodes", "1", "--http-port", fmt.Sprint(port)}, exitFailed, "", fmt.Sprintf("port %d, which node 1 needs, cannot be had: choose others with --http-port", port)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), test.args, &stdout, &stderr)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, said := range []struct{ where, got, want string }{
				{"stdout", stdout.String(), test.stdout}, {"stderr", stderr.String(), test.stderr},
			} {
				if !strings.Contains(said.got, said.want) {
					t.Errorf("%s is %q, want it to contain %q", said.where, said.got, said.want)
				}
			}
		})
	}
}

// shortTempDir makes a temporary directory whose name leaves room for that of a
// socket, of which most systems take about a hundred bytes.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
