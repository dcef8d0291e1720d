package load

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/quorate/quorate/check"
)

func put(key, value string, rev, created, version int64, prev *mvccpb.KeyValue) seen {
	return seen{Event: &mvccpb.Event{Kv: &mvccpb.KeyValue{
		Key: []byte(key), Value: []byte(value), ModRevision: rev, CreateRevision: created, Version: version,
	}, PrevKv: prev}}
}

func gone(key string, rev int64, prev *mvccpb.KeyValue, at time.Time) seen {
	return seen{Event: &mvccpb.Event{
		Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}, PrevKv: prev,
	}, at: at}
}

func wants(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: got %v, want %q", name, err, want)
	}
}

// TestJudgeWatch: each thing that a watch must not do is found.
func TestJudgeWatch(t *testing.T) {
	a := put("a", "1", 2, 2, 1, nil)
	b := put("a", "2", 3, 2, 2, a.Kv)
	d := gone("a", 4, b.Kv, time.Time{})
	for _, c := range []struct {
		name string
		log  []seen
		want string
	}{
		{"right", []seen{a, b, d}, ""},
		{"a revision is missing", []seen{a, d}, "revision 4 comes after 2"},
		{"a revision comes twice", []seen{a, b, b, d}, "tells twice"},
		{"out of order", []seen{b, a, d}, "revision 3 comes after 1"},
		{"no value before", []seen{a, put("a", "2", 3, 2, 2, nil), d}, "before"},
		{"an older value before", []seen{a, b, gone("a", 4, a.Kv, time.Time{})}, "before"},
		{"a wrong version", []seen{a, put("a", "2", 3, 2, 3, a.Kv), d}, "want version 2"},
		{"the end is missing", []seen{a, b}, "ends at revision 3"},
	} {
		wants(t, c.name, judgeWatch(c.log, 2, 4), c.want)
	}
}

// TestJudgeHistory: each lie to a client is found.
func TestJudgeHistory(t *testing.T) {
	key := func(k uint64) string { return fmt.Sprintf("r/%d", k) }
	first := put("r/0", "1", 2, 2, 1, nil)
	log := []seen{first, put("r/0", "2", 3, 2, 2, first.Kv)}
	write := func(v, replaced uint64, rev, call, ret int64) op {
		return op{check.RegisterOp{Kind: check.WriteRegister, Argument: v, Result: replaced, Call: call, Return: ret}, rev, "r/0"}
	}
	read := func(v uint64, rev, call, ret int64) op {
		return op{check.RegisterOp{Result: v, Call: call, Return: ret}, rev, "r/0"}
	}
	unknown := write(2, 0, 0, 3, check.Never)
	unknown.Unknown = true
	lost := write(9, 0, 0, 3, check.Never)
	lost.Unknown = true
	for _, c := range []struct {
		name string
		ops  []op
		want string
	}{
		{"right", []op{write(1, 0, 2, 1, 2), write(2, 1, 3, 3, 4), read(2, 3, 5, 6)}, ""},
		{"one was not answered and took place", []op{write(1, 0, 2, 1, 2), unknown, read(2, 3, 5, 6)}, ""},
		{"one was not answered and did not", []op{write(1, 0, 2, 1, 2), lost, read(1, 2, 5, 6)}, ""},
		{"a write is lost", []op{write(7, 0, 2, 1, 2)}, "stands at 0"},
		{"a write of another revision", []op{write(1, 0, 3, 1, 2)}, "stands at 2"},
		{"a stale read", []op{write(1, 0, 2, 1, 2), write(2, 1, 3, 3, 4), read(1, 2, 5, 6)}, "after 3 had been told of"},
		{"a stale value", []op{write(1, 0, 2, 1, 2), write(2, 1, 3, 3, 4), read(1, 3, 5, 6)}, "no order"},
	} {
		wants(t, c.name, judgeHistory(c.ops, log, key, time.Minute), c.want)
	}
	wants(t, "written twice", judgeHistory(nil, append(log, put("r/1", "2", 4, 4, 1, nil)), key, time.Minute), "written twice")
}

// TestJudgeLeases: early and late ends are found, and what a disturbance excuses
// is not.
func TestJudgeLeases(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	held := []tenure{{key: "l", ttl: 10 * time.Second, renewed: at(5), abandoned: at(6)}}
	log := func(end int) []seen { return []seen{put("l", "x", 2, 2, 1, nil), gone("l", 3, nil, at(end))} }
	for _, c := range []struct {
		name      string
		log       []seen
		disturbed []interval
		want      string
	}{
		{"right", log(16), nil, ""},
		{"early", log(14), nil, "before its 10s were over"},
		{"late", log(19), nil, "late"},
		{"late, but nobody led", log(19), []interval{{from: at(15), to: at(18)}}, ""},
		{"late after a disturbance long ago", log(19), []interval{{from: at(1), to: at(12)}}, "late"},
		{"late, but all were down", log(19), []interval{{from: at(7), to: at(10), all: true}}, ""},
		{"later than all were down", log(22), []interval{{from: at(7), to: at(10), all: true}}, "late"},
		{"never", log(16)[:1], nil, "has not ended"},
	} {
		_, _, err := judgeLeases(held, c.log, c.disturbed, 2*time.Second)
		wants(t, c.name, err, c.want)
	}
}
