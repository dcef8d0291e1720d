package surface

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Config{Kind: kind, Nodes: 1, Dir: t.TempDir(), NoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c.Endpoints()[0]
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

// TestMetrics: the metrics that etcd calls stable, and the dashboards use, are
// there under their names.
func TestMetrics(t *testing.T) {
	ours, etcd := start(t, cluster.Quorate), start(t, cluster.Etcd)
	names := func(endpoint string) map[string]string {
		found := make(map[string]string)
		for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(get(t, endpoint, "/metrics").body, -1) {
			found[m[1]] = m[2]
		}
		return found
	}
	got, want := names(ours), names(etcd)
	for _, name := range stableMetrics {
		if want[name] == "" {
			t.Errorf("etcd itself has no %s", name)
		}
		if got[name] != want[name] {
			t.Errorf("%s is a %q, etcd's a %q", name, got[name], want[name])
		}
	}
}

// stableMetrics are those in etcd's own alerts and dashboard, contrib/mixin, that
// speak of the server and not of its process.
var stableMetrics = []string{
	"etcd_server_has_leader", "etcd_server_is_leader", "etcd_server_leader_changes_seen_total",
	"etcd_server_proposals_failed_total", "etcd_server_proposals_pending", "etcd_server_proposals_committed_total",
	"etcd_server_proposals_applied_total", "etcd_server_quota_backend_bytes",
	"etcd_disk_wal_fsync_duration_seconds", "etcd_disk_backend_commit_duration_seconds",
	"etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes",
	"etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total",
	"grpc_server_handled_total", "grpc_server_started_total",
}
