package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/server"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
)

// falsify has a stopped member's store begin with a key that nobody else has, as if
// another command had stood in the log.
func falsify(t *testing.T, config server.Config) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(config.DataDir, "store")); err != nil {
		t.Fatal(err)
	}
	db, err := engine.OpenPebble(filepath.Join(config.DataDir, "store"), engine.PebbleOptions{Split: store.Split, Logger: config.Logger})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	command := store.AppendCommand(nil, &store.PutRequest{Key: []byte("phantom"), Value: []byte("of this member alone")})
	if err := s.Apply([]rsm.Entry{{Index: 1, Term: 1, Command: command}}); err != nil {
		t.Fatal(err)
	}
	s.Flush()
	ctx := patient(t)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for s.DurableIndex() != 1 {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatal("the store is not durable")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) page(i int, path string) (code int, text string) {
	c.t.Helper()
	resp, err := http.Get("http://" + c.configs[i].ListenClient[0].Address + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestDivergentMemberIsQuarantined: a member whose state is not that of the others
// stops serving and says so; the others go on; a restart changes nothing.
func TestDivergentMemberIsQuarantined(t *testing.T) {
	c := newCluster(t, 3, func(config *server.Config) {
		config.InMemory, config.CheckInterval = false, 20*time.Millisecond
	})
	ctx := patient(t)
	all := c.client()
	if _, err := all.Put(ctx, "a", "1"); err != nil {
		t.Fatal(err)
	}
	wrong := (c.leader() + 1) % 3
	well := []int{(wrong + 1) % 3, (wrong + 2) % 3}
	c.stop(wrong)
	falsify(t, c.configs[wrong])
	c.start(wrong)

	others := c.client(well...)
	alarmed := func(r *clientv3.AlarmResponse) bool {
		return len(r.Alarms) == 1 && r.Alarms[0].Alarm == etcdserverpb.AlarmType_CORRUPT && r.Alarms[0].MemberID == uint64(c.configs[wrong].Members[wrong].ID())
	}
	for {
		if _, err := others.Put(ctx, "a", "2"); err != nil {
			t.Fatalf("the others do not go on: %v", err)
		}
		r, err := others.AlarmList(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if alarmed(r) {
			break
		}
	}
	quarantined := func(when string) {
		t.Helper()
		alone := c.client(wrong)
		for {
			one, cancel := context.WithTimeout(ctx, time.Second)
			_, err := alone.Get(one, "phantom", clientv3.WithSerializable())
			cancel()
			if errors.Is(err, rpctypes.ErrCorrupt) {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("%s: the divergent member answers %v, want %v", when, err, rpctypes.ErrCorrupt)
			}
		}
		if _, err := alone.Put(ctx, "a", "3"); !errors.Is(err, rpctypes.ErrCorrupt) {
			t.Errorf("%s: a write through the divergent member: %v, want %v", when, err, rpctypes.ErrCorrupt)
		}
		if code, text := c.page(wrong, "/readyz?verbose"); code != http.StatusServiceUnavailable || !strings.Contains(text, "[-]data_corruption failed: quarantined: ") {
			t.Errorf("%s: readyz: %d %s", when, code, text)
		}
		if _, text := c.page(wrong, "/health"); !strings.Contains(text, "ALARM CORRUPT") {
			t.Errorf("%s: health: %s", when, text)
		}
		if _, text := c.page(wrong, "/metrics"); !strings.Contains(text, "\nquorate_quarantined 1\n") {
			t.Errorf("%s: the metrics do not say that it is quarantined", when)
		}
	}
	quarantined("found")
	for _, i := range well {
		if code, text := c.page(i, "/readyz?verbose"); code != http.StatusOK {
			t.Errorf("member %d is not ready: %s", i, text)
		}
		if _, text := c.page(i, "/metrics"); !strings.Contains(text, "\nquorate_quarantined 0\n") || !strings.Contains(text, "\nquorate_divergent_members 1\n") {
			t.Errorf("the metrics of member %d do not tell of it", i)
		}
	}
	c.stop(wrong)
	c.start(wrong)
	quarantined("started again")

	// An operator clears the alarm as etcd's.
	if _, err := others.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	if r, err := others.AlarmList(ctx); err != nil || len(r.Alarms) != 0 {
		t.Errorf("after disarming there are %v, %v", r, err)
	}
}
