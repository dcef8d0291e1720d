package load

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/quorate/quorate/check"
)

func put(key, value string, rev, created, version int64, prev *mvccpb.KeyValue) Seen {
	return Seen{Event: &mvccpb.Event{Kv: &mvccpb.KeyValue{
		Key: []byte(key), Value: []byte(value), ModRevision: rev, CreateRevision: created, Version: version,
	}, PrevKv: prev}}
}

func gone(key string, rev int64, prev *mvccpb.KeyValue, at time.Time) Seen {
	return Seen{Event: &mvccpb.Event{
		Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}, PrevKv: prev,
	}, At: at}
}

func wants(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: got %v, want %q", name, err, want)
	}
}

// TestJudgeView: each thing that a watch of everything must not do is found.
func TestJudgeView(t *testing.T) {
	a := put("a", "1", 2, 2, 1, nil)
	b := put("a", "2", 3, 2, 2, a.Kv)
	other := put("b", "2", 3, 3, 1, nil)
	d := gone("a", 4, b.Kv, time.Time{})
	for _, c := range []struct {
		name string
		log  []Seen
		want string
	}{
		{"right", []Seen{a, b, d}, ""},
		{"two keys at one revision", []Seen{a, b, other, d}, ""},
		{"a revision is missing", []Seen{a, d}, "revision 4 comes after 2"},
		{"a revision comes twice", []Seen{a, b, b, d}, "tells twice"},
		{"a key comes twice, with another between", []Seen{a, b, other, b, d}, "tells twice"},
		{"out of order", []Seen{b, a, d}, "revision 3 comes after 1"},
		{"no value before", []Seen{a, put("a", "2", 3, 2, 2, nil), d}, "before"},
		{"an older value before", []Seen{a, b, gone("a", 4, a.Kv, time.Time{})}, "before"},
		{"a wrong version", []Seen{a, put("a", "2", 3, 2, 3, a.Kv), d}, "want version 2"},
		{"nothing was deleted", []Seen{a, b, gone("c", 4, nil, time.Time{})}, "was not there"},
		{"the end is missing", []Seen{a, b}, "ends at revision 3"},
	} {
		wants(t, c.name, JudgeView(&View{Name: "w", Events: c.log}, &Log{After: 1, Last: 4}), c.want)
	}
	wants(t, "the rest of a revision is missing", JudgeSame(&View{Events: []Seen{a, b, other}}, &View{Events: []Seen{a, b}}), "of 3 events")
	wants(t, "other values", JudgeSame(&View{Events: []Seen{a, b}}, &View{Events: []Seen{a, other}}), "tells")
}

// TestJudgePart: a watch of a part tells all that concerns it and nothing else.
func TestJudgePart(t *testing.T) {
	a := put("a", "1", 2, 2, 1, nil)
	b := put("b", "2", 3, 3, 1, nil)
	d := gone("a", 4, a.Kv, time.Time{})
	log := &Log{After: 1, Last: 4, Events: []Seen{a, b, d}}
	for _, c := range []struct {
		name string
		part Part
		want string
	}{
		{"right", Part{Key: "a", First: 2, Last: 4, Events: []*mvccpb.Event{a.Event, d.Event}}, ""},
		{"right, a range", Part{Key: "a", End: "c", First: 3, Last: 4, Events: []*mvccpb.Event{b.Event, d.Event}}, ""},
		{"right, without deletions", Part{Key: "a", First: 2, Last: 4, NoDelete: true, Events: []*mvccpb.Event{a.Event}}, ""},
		{"announced and not told", Part{Key: "a", First: 2, Last: 4, Events: []*mvccpb.Event{a.Event}}, "misses"},
		{"told of another key", Part{Key: "a", First: 2, Last: 3, Events: []*mvccpb.Event{a.Event, b.Event}}, "has not"},
		{"told of what was before", Part{Key: "a", First: 3, Last: 4, Events: []*mvccpb.Event{a.Event, d.Event}}, "the log has"},
		{"told of what it did not want", Part{Key: "a", First: 2, Last: 4, NoPut: true, Events: []*mvccpb.Event{a.Event, d.Event}}, "the log has"},
	} {
		wants(t, c.name, JudgePart(&c.part, log), c.want)
	}
}

// TestJudgeHistory: each lie to a client is found.
func TestJudgeHistory(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(s Seen, ms int) Seen { s.At = began.Add(time.Duration(ms) * time.Millisecond); return s }
	one := at(put("r", "1", 2, 2, 1, nil), 2)
	two := at(put("r", "2", 3, 2, 2, one.Kv), 4)
	pairA, pairB := at(put("x", "5", 4, 4, 1, nil), 5), at(put("y", "5", 4, 4, 1, nil), 5)
	log := &Log{After: 1, Last: 4, Events: []Seen{one, two, pairA, pairB}}
	op := func(o Op, rev, call, ret int64) Op {
		o.Revision, o.Call, o.Return = rev, time.Duration(call)*time.Millisecond, time.Duration(ret)*time.Millisecond
		return o
	}
	write := func(v uint64, prev *mvccpb.KeyValue, rev, call, ret int64) Op {
		m := &check.RegisterOp{Kind: check.WriteRegister, Argument: v}
		if prev != nil {
			m.Result, _ = number(prev.Value)
		}
		return op(Op{Kind: "write", Register: m, Writes: []Write{{Key: "r", Value: text(v), HasPrev: true, Prev: prev}}}, rev, call, ret)
	}
	read := func(kv *mvccpb.KeyValue, rev, call, ret int64) Op {
		m := &check.RegisterOp{}
		o := Op{Kind: "read", Register: m, Reads: []Read{{Key: "r"}}}
		if kv != nil {
			m.Result, _ = number(kv.Value)
			o.Reads[0].KVs = []*mvccpb.KeyValue{kv}
		}
		return op(o, rev, call, ret)
	}
	as := func(o Op, outcome Outcome) Op {
		o.Outcome = outcome
		if outcome != Done {
			o.Revision = 0
			o.Writes[0].HasPrev = false
		}
		return o
	}
	stale := func(o Op) Op { o.Stale, o.Register = true, nil; return o }
	wrote := []Op{write(1, nil, 2, 1, 2), write(2, one.Kv, 3, 3, 4)}
	pair := Op{Kind: "pair", Writes: []Write{{Key: "x", Value: "5"}, {Key: "y", Value: "5"}}}
	for _, c := range []struct {
		name string
		ops  []Op
		want string
	}{
		{"right", append(wrote, read(two.Kv, 3, 5, 6)), ""},
		{"right, two at once", []Op{op(pair, 4, 1, 2)}, ""},
		{"one was not answered and took place", []Op{wrote[0], as(write(2, nil, 0, 3, 9), Unknown), read(two.Kv, 3, 5, 6)}, ""},
		{"one was not answered and did not", []Op{wrote[0], as(write(9, nil, 0, 3, 9), Unknown), read(one.Kv, 2, 5, 6)}, ""},
		{"a stale read that was asked for", append(wrote, stale(read(one.Kv, 2, 5, 6))), ""},
		{"a write is lost", []Op{write(7, nil, 2, 1, 2)}, "stands at 0"},
		{"a write of another revision", []Op{write(1, nil, 3, 1, 2)}, "stands at 2"},
		{"half of a write", []Op{op(Op{Kind: "pair", Writes: []Write{{Key: "x", Value: "5"}, {Key: "z", Value: "5"}}}, 4, 1, 2)}, "stands at 0"},
		{"a write with more at its revision", []Op{op(Op{Kind: "write", Writes: pair.Writes[:1]}, 4, 1, 2)}, "has 2 changes"},
		{"a refused write took place", []Op{as(write(1, nil, 2, 1, 2), Refused)}, "was refused"},
		{"a wrong value before", []Op{write(2, nil, 3, 3, 4)}, "was told of"},
		{"a value of another revision", append(wrote, read(one.Kv, 3, 5, 6)), "where the log has"},
		{"nothing where something is", append(wrote, read(nil, 3, 5, 6)), "where the log has"},
		{"a stale read", append(wrote, read(one.Kv, 2, 5, 6)), "after 3 had been told of"},
		{"a read of the future", append(wrote, read(two.Kv, 5, 5, 6)), "the last is 4"},
		{"a write before it was asked for", []Op{read(one.Kv, 2, 1, 2), read(two.Kv, 3, 3, 4), as(write(2, nil, 0, 5, 9), Unknown)}, "after 3 had been told of"},
	} {
		wants(t, c.name, JudgeHistory(c.ops, began, log, time.Minute), c.want)
	}
	twice := &Log{After: 1, Last: 3, Events: []Seen{one, put("r", "1", 3, 2, 2, one.Kv)}}
	wants(t, "written twice", JudgeHistory(nil, began, twice, time.Minute), "written twice")
	// Revisions apart, the values alone must have an order.
	liar := append(wrote, read(two.Kv, 3, 5, 6))
	liar[2].Register = &check.RegisterOp{Result: 1}
	wants(t, "values out of order", JudgeHistory(liar, began, log, time.Minute), "no order")
}

// TestJudgeFences: who writes under a lock holds it.
func TestJudgeFences(t *testing.T) {
	first, second := put("lock/a", "", 2, 2, 1, nil), put("lock/b", "", 3, 3, 1, nil)
	release := gone("lock/a", 4, first.Kv, time.Time{})
	guarded := put("g", "7", 5, 5, 1, nil)
	op := func(fence string) []Op {
		return []Op{{Fence: fence, Revision: 5, Writes: []Write{{Key: "g", Value: "7"}}}}
	}
	for _, c := range []struct {
		name  string
		log   []Seen
		fence string
		want  string
	}{
		{"right", []Seen{first, second, release, guarded}, "lock/b", ""},
		{"the holder's key is gone", []Seen{first, second, release, guarded}, "lock/a", "was gone"},
		{"somebody else holds it", []Seen{first, second, put("c", "", 4, 4, 1, nil), guarded}, "lock/b", `"lock/a" held the lock`},
	} {
		wants(t, c.name, judgeFences(op(c.fence), &Log{After: 1, Last: 5, Events: c.log}), c.want)
	}
}

// TestJudgeLeases: early and late ends are found, and what a disturbance excuses
// is not.
func TestJudgeLeases(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	held := []Tenure{{Key: "l", TTL: 10 * time.Second, Renewed: at(5), Abandoned: at(6)}}
	log := func(end int) *Log {
		return &Log{Events: []Seen{put("l", "x", 2, 2, 1, nil), gone("l", 3, nil, at(end))}}
	}
	for _, c := range []struct {
		name      string
		log       *Log
		disturbed []Interval
		want      string
	}{
		{"right", log(16), nil, ""},
		{"early", log(14), nil, "before its 10s were over"},
		{"late", log(19), nil, "late"},
		{"late, but nobody led", log(19), []Interval{{From: at(15), To: at(18)}}, ""},
		{"late after a disturbance long ago", log(19), []Interval{{From: at(1), To: at(12)}}, "late"},
		{"late, but all were down", log(19), []Interval{{From: at(7), To: at(10), All: true}}, ""},
		{"later than all were down", log(22), []Interval{{From: at(7), To: at(10), All: true}}, "late"},
		{"never", &Log{Events: log(16).Events[:1]}, nil, "has not ended"},
	} {
		_, err := JudgeLeases(held, c.log, c.disturbed, 2*time.Second)
		wants(t, c.name, err, c.want)
	}
}
