package server_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/server"
)

// TestNoSpace: at the end of the quota writes are refused with etcd's code, reads
// and deletes are served, /health says why, and when deleting and compacting made
// room the alarm goes by itself.
func TestNoSpace(t *testing.T) {
	const quota = 1 << 20
	c := newCluster(t, 3, func(c *server.Config) { c.QuotaBytes = quota })
	ctx, client := patient(t), c.client()
	value := strings.Repeat("x", 64<<10)
	full := false
	for i := 0; !full; i++ {
		_, err := client.Put(ctx, fmt.Sprintf("k%03d", i), value)
		switch {
		case errors.Is(err, rpctypes.ErrNoSpace):
			full = true
		case err != nil:
			t.Fatal(err)
		case i > 100_000:
			t.Fatal("no end of space after 6 GiB in a quota of 1 MiB")
		}
	}
	if _, err := client.Txn(ctx).Then(clientv3.OpPut("k", value)).Commit(); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a transaction that puts: %v", err)
	}
	if _, err := client.Grant(ctx, 100); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a lease: %v", err)
	}
	if got, err := client.Get(ctx, "k000"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("a read: %v, %v", got, err)
	}
	alarms, err := client.AlarmList(ctx)
	if err != nil || len(alarms.Alarms) == 0 || alarms.Alarms[0].Alarm != etcdserverpb.AlarmType_NOSPACE {
		t.Errorf("alarms: %v, %v", alarms, err)
	}
	status, err := client.Status(ctx, client.Endpoints()[0])
	if err != nil || len(status.Errors) == 0 || status.DbSizeQuota < quota {
		t.Errorf("status: %v, %v", status, err)
	}
	if r, err := http.Get("http://" + c.configs[0].ListenClient[0].Address + "/health"); err != nil {
		t.Error(err)
	} else {
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "ALARM NOSPACE") {
			t.Errorf("/health: status %d, %q, %v", r.StatusCode, body, err)
		}
	}
	deleted, err := client.Delete(ctx, "k", clientv3.WithPrefix())
	if err != nil || deleted.Deleted == 0 {
		t.Fatalf("a deletion: %v, %v", deleted, err)
	}
	if _, err := client.Compact(ctx, deleted.Header.Revision); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := client.Put(ctx, "k", value)
		if err == nil {
			break
		}
		if !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Fatal(err)
		}
	}
	if alarms, err := client.AlarmList(ctx); err != nil || len(alarms.Alarms) != 0 {
		t.Errorf("alarms when there is space again: %v, %v", alarms, err)
	}
}
