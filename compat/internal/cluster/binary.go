package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
)

// Kind is whose server a cluster runs.
type Kind string

// The servers.
const (
	Quorate Kind = "quorate"
	Etcd    Kind = "etcd"
)

// The packages that the binaries are built from: tools of this module, so that
// the go command builds each once and keeps it in its cache.
const (
	quoratePackage = "github.com/quorate/quorate/cmd/quorate"
	etcdPackage    = "go.etcd.io/etcd/server/v3"
	etcdctlPackage = "go.etcd.io/etcd/etcdctl/v3"
)

var built sync.Map // package -> *build

type build struct {
	once sync.Once
	path string
	err  error
}

// Binary returns the path of kind's server, built if it was not yet.
func Binary(ctx context.Context, kind Kind) (string, error) {
	switch kind {
	case Quorate:
		return tool(ctx, quoratePackage)
	case Etcd:
		return tool(ctx, etcdPackage)
	}
	return "", fmt.Errorf("cluster: no server of kind %q", kind)
}

// Etcdctl returns the path of the stock command line.
func Etcdctl(ctx context.Context) (string, error) { return tool(ctx, etcdctlPackage) }

func tool(ctx context.Context, pkg string) (string, error) {
	v, _ := built.LoadOrStore(pkg, new(build))
	b := v.(*build)
	b.once.Do(func() {
		cmd := exec.CommandContext(ctx, "go", "tool", "-n", pkg)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			b.err = fmt.Errorf("cluster: building %s: %w\n%s", pkg, err, &stderr)
			return
		}
		b.path = strings.TrimSpace(string(out))
	})
	return b.path, b.err
}
