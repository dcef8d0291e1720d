package archtest

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// TestTree holds the whole repository to its rules.
func TestTree(t *testing.T) {
	tree := os.DirFS("../..")
	if _, err := fs.Stat(tree, "go.mod"); err != nil {
		t.Fatalf("this is not the module's root: %v", err)
	}
	violations, err := Check(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}

// TestPlanted plants one violation at a time and expects it, and nothing else,
// to be found.
func TestPlanted(t *testing.T) {
	const own = Module + "/"
	goFile := func(dir string, body ...string) string {
		name := dir[strings.LastIndex(dir, "/")+1:]
		return "// Package " + name + " is planted.\npackage " + name + "\n" + strings.Join(body, "\n") + "\n"
	}
	imports := func(dir string, paths ...string) string {
		var lines []string
		for _, p := range paths {
			lines = append(lines, `import _ "`+p+`"`)
		}
		return goFile(dir, lines...)
	}

	tests := []struct {
		name string
		file string
		text string
		want string // what the one violation says; empty if there is none
	}{
		// The import table.
		{"raft imports quorum", "raft/a.go", imports("raft", own+"raft/quorum", own+"internal/invariant", "fmt", "math/bits"), ""},
		{"raft imports entry", "raft/a.go", imports("raft", own+"entry"), `imports "` + own + `entry"`},
		{"raft imports time", "raft/a.go", imports("raft", "time"), `imports "time"`},
		{"raft imports os", "raft/a.go", imports("raft", "os"), `imports "os"`},
		{"raft imports net/http", "raft/a.go", imports("raft", "net/http"), `imports "net/http"`},
		{"raft imports sync/atomic", "raft/a.go", imports("raft", "sync/atomic"), `imports "sync/atomic"`},
		{"raft imports context", "raft/a.go", imports("raft", "context"), `imports "context"`},
		{"raft imports math/rand/v2", "raft/a.go", imports("raft", "math/rand/v2"), `imports "math/rand/v2"`},
		{"raft imports log/slog", "raft/a.go", imports("raft", "log/slog"), `imports "log/slog"`},
		{"raft imports x/sys", "raft/a.go", imports("raft", "golang.org/x/sys/unix"), "standard library alone"},
		{"quorum imports raft", "raft/quorum/a.go", imports("raft/quorum", own+"raft"), `imports "` + own + `raft"`},
		{"wal imports its seams", "wal/a.go", imports("wal", own+"raft", own+"entry", own+"vfs", "golang.org/x/sys/unix", "os"), ""},
		{"wal imports snapshot", "wal/a.go", imports("wal", own+"snapshot"), "never import each other"},
		{"wal imports node", "wal/a.go", imports("wal", own+"node"), "never import each other or node"},
		{"snapshot imports transport", "snapshot/a.go", imports("snapshot", own+"transport"), "never import each other"},
		{"transport/tcp imports wal", "transport/tcp/a.go", imports("transport/tcp", own+"wal"), "never import each other"},
		{"transport/tcp imports transport", "transport/tcp/a.go", imports("transport/tcp", own+"transport", "crypto/tls"), ""},
		{"vfs imports raft", "vfs/a.go", imports("vfs", own+"raft"), "disk seam"},
		{"rsm imports node", "rsm/a.go", imports("rsm", own+"node"), "rsm is a contract"},
		{"replica imports the parts", "internal/replica/a.go", imports("internal/replica", own+"raft", own+"entry", own+"rsm", own+"wal", own+"transport", own+"snapshot"), ""},
		{"replica imports sync", "internal/replica/a.go", imports("internal/replica", "sync"), `imports "sync"`},
		{"replica imports vfs", "internal/replica/a.go", imports("internal/replica", own+"vfs"), "deterministic step"},
		{"node imports replica", "node/a.go", imports("node", own+"internal/replica", own+"wal", "net", "time"), ""},
		{"node imports a transport's implementation", "node/a.go", imports("node", own+"transport/tcp"), "a transport is given to it"},
		{"node imports a foreign module", "node/a.go", imports("node", "github.com/prometheus/client_golang/prometheus"), "standard library alone"},
		{"sim imports node", "sim/a.go", imports("sim", own+"node"), "sim drives the deterministic parts itself"},
		{"store imports rsm", "store/a.go", imports("store", own+"rsm", own+"raft", own+"store/engine"), ""},
		{"store imports node", "store/a.go", imports("store", own+"node"), "nothing of Raft"},
		{"store imports wal", "store/a.go", imports("store", own+"wal"), "nothing of Raft"},
		{"store imports pebble past its seam", "store/a.go", imports("store", "github.com/cockroachdb/pebble"), "standard library alone"},
		{"engine imports pebble", "store/engine/a.go", imports("store/engine", "github.com/cockroachdb/pebble"), ""},
		{"server imports api", "server/a.go", imports("server", own+"api/v1", own+"store", "google.golang.org/grpc"), ""},
		{"server imports client", "server/a.go", imports("server", own+"client"), "meet only in api"},
		{"client imports server", "client/a.go", imports("client", own+"server"), "meet only in api"},
		{"client imports node", "client/a.go", imports("client", own+"node"), "meet only in api"},
		{"an example imports internal", "examples/kv/a.go", imports("examples/kv", own+"internal/replica"), "exported packages only"},
		{"testutil outside a test", "cmd/quorate/a.go", imports("cmd/quorate", own+"internal/testutil"), "serves tests only"},
		{"cgo", "vfs/a.go", imports("vfs", "C"), "no cgo"},
		{"a package without a row", "gossip/a.go", goFile("gossip"), "no place in the tree"},
		{"a subpackage without a row", "raft/zab/a.go", goFile("raft/zab"), "no place in the tree"},
		{"a file for one platform", "raft/a_windows.go", imports("raft", "os"), `imports "os"`},
		{"a nested module", "bench/a.go", imports("bench", "github.com/lni/dragonboat/v4"), ""},
		{"a test imports what it likes", "raft/a_test.go", imports("raft", "time", "math/rand"), ""},
		{"a dot import", "wal/a.go", goFile("wal", `import . "time"`), "dot-imports"},

		// Time.
		{"the clock in store", "store/a.go", goFile("store", `import "time"`, `var _ = time.Now`), "uses time.Now"},
		{"the clock under another name", "store/lease/a.go", goFile("store/lease", `import clock "time"`, `var _ = clock.Since`), "uses time.Since"},
		{"a duration in store", "store/a.go", goFile("store", `import "time"`, `const ttl = time.Second`), ""},
		{"the clock in node", "node/a.go", goFile("node", `import "time"`, `var _ = time.Now`), ""},
		{"a sleep", "node/a.go", goFile("node", `import "time"`, `func f() { time.Sleep(1) }`), "calls time.Sleep"},
		{"a sleep in a test", "node/a_test.go", goFile("node", `import "time"`, `func f() { time.Sleep(1) }`), "calls time.Sleep"},
		{
			"a sleep in a bubble", "node/a_test.go",
			goFile("node", `import ("time"; "testing/synctest")`, `func f() { synctest.Test(nil, func(*testing.T) { time.Sleep(1) }) }`), "",
		},
		{
			"a sleep beside a bubble", "node/a_test.go",
			goFile("node", `import ("time"; "testing/synctest")`, `func f() { time.Sleep(1); synctest.Test(nil, nil) }`), "calls time.Sleep",
		},

		// Concurrency.
		{"a goroutine in raft", "raft/a.go", goFile("raft", `func f() { go f() }`), "starts a goroutine"},
		{"a channel in replica", "internal/replica/a.go", goFile("internal/replica", `type q chan int`), "speaks of a channel"},
		{"a select in raft", "raft/a.go", goFile("raft", `func f() { select {} }`), "selects"},
		{"a goroutine in node", "node/a.go", goFile("node", `func f() { go f() }`), ""},

		// The protocol is stepped in one place.
		{"wal speaks types", "wal/a.go", goFile("wal", `import "`+own+`raft"`, `type t = raft.Index`), ""},
		{"wal holds a core", "wal/a.go", goFile("wal", `import "`+own+`raft"`, `type t = raft.Raft`), "uses raft.Raft"},
		{"node makes a core", "node/a.go", goFile("node", `import "`+own+`raft"`, `var _ = raft.New`), "uses raft.New"},
		{"replica makes a core", "internal/replica/a.go", goFile("internal/replica", `import "`+own+`raft"`, `var _ = raft.New`), ""},

		// What a file owes its reader.
		{"no doc", "wal/a.go", "package wal\n", "has no doc comment"},
		{"a long file", "wal/a.go", goFile("wal", strings.Repeat("\n", maxLines)), "lines"},
		{"a long test", "wal/a_test.go", goFile("wal", strings.Repeat("\n", maxLines)), "lines"},
		{"a file of the longest length", "wal/a.go", goFile("wal", strings.Repeat("\n", maxLines-4)), ""},
		{"a long generated file", "wal/a.go", "// Code generated by x. DO NOT EDIT.\n\n" + goFile("wal", strings.Repeat("\n", maxLines)), ""},
		{"a path of a machine", "docs/a.md", "See " + "/" + "work/notes.\n", "names the path"},
		{"a path of a home", "deploy/a.yaml", "dir: " + "/" + "home/me\n", "names the path"},
		{"a path in a nested module", "bench/a.go", "package bench // " + "/" + "root/x\n", "names the path"},
		{"part of an address", "docs/a.md", "https://example.org" + "/" + "work/paper\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := fstest.MapFS{
				"go.mod":       {Data: []byte("module " + Module + "\n")},
				"bench/go.mod": {Data: []byte("module " + Module + "/bench\n")},
				test.file:      {Data: []byte(test.text)},
			}
			violations, err := Check(tree)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.want == "" && len(violations) > 0:
				t.Errorf("got %v, want no violation", violations)
			case test.want != "" && len(violations) != 1:
				t.Errorf("got %v, want one violation that says %q", violations, test.want)
			case test.want != "" && !strings.Contains(violations[0].String(), test.want):
				t.Errorf("got %v, want it to say %q", violations[0], test.want)
			case test.want != "" && !strings.HasPrefix(violations[0].String(), test.file+":") && test.name != "no doc":
				t.Errorf("got %v, want it to name %s", violations[0], test.file)
			}
		})
	}
}

// TestTwoDocs: two doc comments in one package contradict each other sooner or
// later.
func TestTwoDocs(t *testing.T) {
	violations, err := Check(fstest.MapFS{
		"wal/a.go": {Data: []byte("// Package wal is one thing.\npackage wal\n")},
		"wal/b.go": {Data: []byte("// Package wal is another.\npackage wal\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(violations) != 1 || !strings.Contains(violations[0].String(), "wal/a.go and wal/b.go") {
		t.Errorf("got %v, want one violation that names both files", violations)
	}
}

// TestUnparsable: source that cannot be judged is an error, not a pass.
func TestUnparsable(t *testing.T) {
	if _, err := Check(fstest.MapFS{"wal/a.go": {Data: []byte("package")}}); err == nil {
		t.Error("got no error for a file that does not parse")
	}
}

// TestOneProcessorIsEnough: no file is built for one processor alone. `make cross` vets
// each system for one of its processors only, and would overlook such a file.
func TestOneProcessorIsEnough(t *testing.T) {
	special := regexp.MustCompile(`(?m)_(amd64|arm64|386|arm)(_test)?\.go$|^//go:build .*\b(amd64|arm64|386|arm)\b`)
	err := fs.WalkDir(os.DirFS("../.."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile("../../" + path)
		head, _, _ := strings.Cut(string(text), "\npackage ")
		if special.MatchString(path) || special.MatchString(head) {
			t.Errorf("%s is for some processors only: have `make cross` vet them (VETTED in the Makefile)", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
