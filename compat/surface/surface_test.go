package surface

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// TestDocument: what is written down is what the tables say now.
func TestDocument(t *testing.T) {
	want, err := Markdown()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/etcd-compatibility.md")
	if err != nil || string(got) != want {
		t.Errorf("docs/etcd-compatibility.md is stale (%v): go generate ./surface", err)
	}
}

func start(t *testing.T, kind cluster.Kind) string {
	t.Helper()
	return startNodes(t, kind, 1).Endpoints()[0]
}

func startNodes(t *testing.T, kind cluster.Kind, nodes int, flags ...string) *cluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Config{Kind: kind, Nodes: nodes, Dir: t.TempDir(), NoFsync: true, Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// TestRPCs: each RPC answers Unimplemented if and only if its row says so.
func TestRPCs(t *testing.T) {
	rpcs, err := RPCs()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(start(t, cluster.Quorate), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, r := range rpcs {
		t.Run(r.ID(), func(t *testing.T) {
			err := call(t, conn, r)
			if got, want := status.Code(err) == codes.Unimplemented, r.Status == Unimplemented; got != want {
				t.Errorf("answers %v, and its row says %s", err, r.Status)
			}
		})
	}
}

// call sends an empty request and waits for the first answer, or a while for none.
func call(t *testing.T, conn *grpc.ClientConn, r RPC) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	in, err := protoregistry.GlobalTypes.FindMessageByName(r.method.Input().FullName())
	if err != nil {
		t.Fatal(err)
	}
	out, err := protoregistry.GlobalTypes.FindMessageByName(r.method.Output().FullName())
	if err != nil {
		t.Fatal(err)
	}
	req, resp := in.New().Interface(), out.New().Interface()
	if !r.method.IsStreamingClient() && !r.method.IsStreamingServer() {
		return conn.Invoke(ctx, r.FullMethod, req, resp)
	}
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{
		ClientStreams: r.method.IsStreamingClient(), ServerStreams: r.method.IsStreamingServer(),
	}, r.FullMethod)
	if err != nil {
		return err
	}
	// If it ended already, RecvMsg says why.
	if err := errors.Join(st.SendMsg(req), st.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return st.RecvMsg(resp)
}

type answer struct {
	code int
	body string
}

func get(t *testing.T, endpoint, path string) answer {
	t.Helper()
	resp, err := http.Get("http://" + endpoint + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, string(body)}
}

// TestHTTP: the paths answer with etcd's codes, and its bodies where that is said.
func TestHTTP(t *testing.T) {
	ours, etcd := start(t, cluster.Quorate), start(t, cluster.Etcd)
	for _, p := range Paths {
		t.Run(p.Path, func(t *testing.T) {
			got, want := get(t, ours, p.Path), get(t, etcd, p.Path)
			if got.code != want.code {
				t.Errorf("answers %d %q, etcd %d", got.code, got.body, want.code)
			}
			if p.Body && got.body != want.body {
				t.Errorf("answers %q, etcd %q", got.body, want.body)
			}
		})
	}
	var version struct{ Etcdserver, Etcdcluster string }
	body := get(t, ours, "/version").body
	if err := json.Unmarshal([]byte(body), &version); err != nil || !strings.HasPrefix(version.Etcdserver, "3.7.") {
		t.Errorf("/version answers %q (%v)", body, err)
	}
	if got := get(t, ours, "/v3/kv/range"); got.code != http.StatusNotFound {
		t.Errorf("/v3/kv/range answers %d", got.code)
	}
}

// TestMetrics: each metric of etcd's has a row; what is served has its name and its
// kind, on a cluster of three so that there are peers.
func TestMetrics(t *testing.T) {
	names := func(kind cluster.Kind) map[string]string {
		c := startNodes(t, kind, 3, "--metrics=extensive")
		for _, path := range []string{"/health", "/health?exclude=x"} {
			get(t, c.Endpoints()[0], path) // some are there when they are first counted
		}
		found := make(map[string]string)
		// The time to a peer is measured from time to time.
		for found["etcd_network_peer_round_trip_time_seconds"] == "" {
			body := get(t, c.Endpoints()[0], "/metrics").body
			for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(body, -1) {
				found[m[1]] = m[2]
			}
			select {
			case <-t.Context().Done():
				t.Fatal(t.Context().Err())
			case <-time.After(100 * time.Millisecond):
			}
		}
		return found
	}
	got, want := names(cluster.Quorate), names(cluster.Etcd)
	for name, kind := range want {
		if !regexp.MustCompile(`^(etcd|grpc|os)_`).MatchString(name) {
			continue // of every Go program
		}
		m, ok := metricOf(name)
		switch {
		case !ok:
			t.Errorf("etcd has %s, of which no row speaks", name)
		case m.Served && got[name] != kind:
			t.Errorf("%s is a %q, etcd's a %q", name, got[name], kind)
		case !m.Served && got[name] != "":
			t.Errorf("%s is served, and its row says that it is not", name)
		}
	}
	// These etcd has when something failed.
	appearing := []string{"etcd_network_peer_sent_failures_total", "etcd_network_server_stream_failures_total"}
	for _, m := range Metrics {
		if m.Served && want[m.Name] == "" && !slices.Contains(appearing, m.Name) {
			t.Errorf("etcd itself has no %s", m.Name)
		}
	}
}
