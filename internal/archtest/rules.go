package archtest

import (
	"slices"
	"strings"
)

// Module is the path of the module whose tree is checked.
const Module = "github.com/quorate/quorate"

// A packageRule says what the packages that match Path may import. Patterns are
// directories of the module; one that ends in "/..." matches the directory and
// everything below it. The longest matching Path counts.
type packageRule struct {
	Path string
	// Own are the packages of this module that may be imported.
	Own []string
	// External are the modules outside the standard library that may be
	// imported; "*" is any.
	External []string
	// Pure: no clock, no chance, no I/O, no goroutine, no lock, no logger. The
	// same inputs give the same outputs.
	Pure bool
	// Clockless: a clock is never read, although durations may be spoken of.
	Clockless bool
	// Steps: may hold a raft.Raft. Everyone else who imports raft speaks its
	// types only, so that the protocol is stepped in one place.
	Steps bool
	// Why is told to whoever breaks the rule.
	Why string
}

const (
	invariants = "internal/invariant"
	xsys       = "golang.org/x/sys"
)

// packageRules is the import table. A package that matches no row is a
// violation: its place is to be decided here before it is written.
var packageRules = []packageRule{
	{
		Path: "raft", Own: []string{"raft/quorum", invariants}, Pure: true, Steps: true,
		Why: "raft is the protocol alone: it imports raft/quorum and nothing else of ours",
	},
	{
		Path: "raft/quorum", Own: []string{invariants}, Pure: true,
		Why: "raft/quorum is arithmetic and lies below everything",
	},
	{
		Path: "raft/tracelog", Own: []string{"raft"},
		Why: "raft/tracelog writes down what raft says",
	},
	{
		Path: "check/trace",
		Why:  "check/trace knows Raft on its own: it shares no code with what it judges",
	},
	{
		Path: "entry/...", Own: []string{"raft", invariants}, External: []string{xsys},
		Why: "entry knows the types of raft and nothing of disks or networks",
	},
	{
		Path: "vfs/...", Own: []string{"vfs", invariants}, External: []string{xsys},
		Why: "vfs is the disk seam and knows nothing of what is written",
	},
	{
		Path: "wal/...", Own: []string{"raft", "entry", "vfs", "wal/...", invariants}, External: []string{xsys},
		Why: "wal, snapshot and transport never import each other or node",
	},
	{
		Path: "snapshot/...", Own: []string{"raft", "entry", "vfs", "snapshot/...", invariants}, External: []string{xsys},
		Why: "wal, snapshot and transport never import each other or node",
	},
	{
		Path: "transport/...", Own: []string{"raft", "entry", "vfs", "transport/...", invariants}, External: []string{xsys},
		Why: "wal, snapshot and transport never import each other or node",
	},
	{
		Path: "rsm/...", Own: []string{"raft", "rsm/...", invariants},
		Why: "rsm is a contract: it knows the types of raft and nothing of who drives it",
	},
	{
		Path: "internal/replica", Own: []string{"raft", "raft/quorum", "entry", "rsm", "wal", "transport", "snapshot", invariants},
		Pure: true, Steps: true,
		Why: "internal/replica is the deterministic step that node and sim share",
	},
	{
		Path: "node/...", Own: []string{
			"raft", "raft/quorum", "entry", "vfs", "wal", "snapshot", "transport",
			"rsm/...", "node/...", "internal/replica", invariants,
		},
		External: []string{xsys},
		Why:      "node runs the library over its seams: a transport is given to it, and nothing above it is known",
	},
	{
		Path: "sim/...", Own: []string{
			"raft/...", "entry", "vfs/...", "wal", "snapshot", "transport", "transport/mem",
			"rsm/...", "check/...", "sim/...", "internal/replica", invariants,
		},
		Steps: true, Clockless: true,
		Why: "sim drives the deterministic parts itself: no node, no socket, no clock",
	},
	{
		Path: "sim/storesim", Own: []string{
			"raft", "rsm", "sim", "check", "store/...", "server/keyspace", "node", "internal/replica", invariants,
		},
		Clockless: true,
		Why:       "sim/storesim runs the server's request logic on virtual time, and nothing that opens a socket",
	},
	{
		Path: "check/...", Own: []string{"raft/...", "entry", "rsm/...", "check/...", invariants},
		External: []string{"github.com/anishathalye/porcupine"}, Steps: true, Clockless: true,
		Why: "check judges histories and states; it runs no node and no simulator",
	},
	{
		Path: "store/engine/...", Own: []string{"store/engine/...", "vfs", invariants},
		External: []string{"github.com/cockroachdb/pebble"}, Clockless: true,
		Why: "store/engine is an ordered-KV seam below store",
	},
	{
		Path: "store/...", Own: []string{"rsm/...", "raft", "store/...", invariants}, Clockless: true,
		Why: "store is a state machine: it knows rsm, the types that rsm speaks, and nothing of Raft",
	},
	{
		Path: "api/...", Own: []string{"api/..."},
		External: []string{
			"google.golang.org/protobuf", "google.golang.org/grpc", "google.golang.org/genproto",
			"github.com/grpc-ecosystem", "go.etcd.io/etcd/api/v3",
		},
		Why: "api is where server and client meet, and depends on neither",
	},
	{
		Path: "server/...", Own: []string{
			"raft", "raft/tracelog", "entry", "vfs/...", "wal", "snapshot", "transport/...", "rsm/...", "node/...",
			"store/...", "api/...", "server/...", "console/...", invariants,
		},
		External: []string{"*"},
		Why:      "server and client meet only in api",
	},
	{
		Path: "client/...", Own: []string{"api/...", "client/..."}, External: []string{"*"},
		Why: "server and client meet only in api",
	},
	{
		Path: "cmd/...", Own: []string{"..."}, External: []string{"*"},
		Why: "a command is wiring",
	},
	{
		Path: "console/...", Own: []string{"console/..."},
		Why: "console is a page and its embedding",
	},
	{
		Path: "examples/...", Own: []string{
			"raft", "entry", "vfs", "snapshot", "transport/...", "rsm/...", "node/...", "client/...", "examples/...",
			"sim", "check",
		},
		External: []string{"*"},
		Why:      "an example is what a user could write: exported packages only",
	},
	{
		Path: "internal/testutil/...", Own: []string{"..."},
		Why: "internal/testutil serves tests only",
	},
	{Path: invariants, Why: "internal/invariant lies below everything"},
	{Path: "internal/archtest", Why: "internal/archtest reads source and runs none of it"},
	{Path: "internal/cmd/...", Why: "a generator reads source and runs none of it"},
	{
		Path: "internal/cmd/mutants/...", Own: []string{"sim/...", "check/...", "raft/..."},
		Why: "what looks for planted bugs runs the simulator and the judges",
	},
}

// ruleFor finds the row of a package by its directory.
func ruleFor(dir string) (packageRule, bool) {
	var best packageRule
	found := false
	for _, rule := range packageRules {
		if matches(rule.Path, dir) && (!found || len(rule.Path) > len(best.Path)) {
			best, found = rule, true
		}
	}
	return best, found
}

// matches reports whether pattern covers dir.
func matches(pattern, dir string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return within(dir, base)
	}
	return pattern == dir
}

// within reports whether path is base or lies below it.
func within(path, base string) bool {
	return path == base || strings.HasPrefix(path, base+"/")
}

// impureStd are the standard packages, with all below them, that bring time,
// chance, I/O or concurrency into a pure package.
var impureStd = []string{
	"time", "os", "net", "sync", "context", "math/rand", "log",
	"crypto/rand", "runtime", "syscall", "unsafe", "testing", "plugin", "embed", "io/ioutil",
}

// clockReads are the functions of package time by which a clock is read or
// waited for.
var clockReads = []string{
	"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep",
}

// judgeImport gives the reason why a package under rule may not import path, or
// nothing.
func judgeImport(rule packageRule, path string) string {
	if path == Module || strings.HasPrefix(path, Module+"/") {
		own := strings.TrimPrefix(strings.TrimPrefix(path, Module), "/")
		if within(own, "internal/testutil") && !matches("internal/testutil/...", strings.TrimSuffix(rule.Path, "/...")) {
			return "internal/testutil serves tests only"
		}
		if slices.ContainsFunc(rule.Own, func(pattern string) bool { return matches(pattern, own) }) {
			return ""
		}
		return rule.Why
	}
	if path == "C" {
		return "no cgo: the library cross-compiles everywhere with Go alone"
	}
	if isStandard(path) {
		if rule.Pure && slices.ContainsFunc(impureStd, func(base string) bool { return within(path, base) }) {
			return "no clock, chance, I/O, concurrency or logger in a pure package; " + rule.Why
		}
		return ""
	}
	if slices.ContainsFunc(rule.External, func(base string) bool { return base == "*" || within(path, base) }) {
		return ""
	}
	return "depends on the standard library alone" + allowedExternal(rule)
}

// allowedExternal says which modules a rule allows beside the standard library.
func allowedExternal(rule packageRule) string {
	if len(rule.External) == 0 {
		return ""
	}
	return " (and " + strings.Join(rule.External, ", ") + ")"
}

// isStandard reports whether an import path is of the standard library: the
// first element of any other has a dot.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
