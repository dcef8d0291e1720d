package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store/engine"
)

// A twin is a store and its model, fed the same random commands.
type twin struct {
	t      *testing.T
	rng    *rand.Rand
	engine crasher
	s      *Store
	m      *model
	// entries are all that were ever applied, want what the model answered.
	entries []rsm.Entry
	cmds    []Command
	want    []outcome
	term    uint64
	stamp   int64
	seen    map[string]int
}

type outcome struct {
	resp Response
	err  error
}

// A crasher is where a twin's engine comes from.
type crasher interface {
	// open gives the engine, crash the one that is found after a crash.
	open() engine.Engine
	crash(rng *rand.Rand)
}

type memoryCrasher struct{ e *engine.Memory }

func (c *memoryCrasher) open() engine.Engine {
	if c.e == nil {
		c.e = engine.NewMemory(Split)
	}
	return c.e
}

func (c *memoryCrasher) crash(rng *rand.Rand) {
	c.e = c.e.Crash(rng.IntN(c.e.Unflushed() + 1))
}

type pebbleCrasher struct {
	t  testing.TB
	fs *vfs.MemFS
	e  *engine.Pebble
}

func (c *pebbleCrasher) open() engine.Engine {
	if c.fs == nil {
		c.fs = vfs.NewCrashableMem()
	}
	e, err := engine.OpenPebble("store", engine.PebbleOptions{Split: Split, FS: c.fs, MemTableBytes: 32 << 10, MemTables: 8, CacheBytes: 1 << 20})
	if err != nil {
		c.t.Fatal(err)
	}
	c.e = e
	return e
}

func (c *pebbleCrasher) crash(rng *rand.Rand) {
	c.fs = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 20, 50, 100}[rng.IntN(4)], RNG: rng})
}

func newTwin(t *testing.T, seed uint64, c crasher) *twin {
	x := &twin{t: t, rng: rand.New(rand.NewPCG(seed, 0)), engine: c, m: newModel(), term: 1, seen: map[string]int{}}
	x.reopen()
	return x
}

func (x *twin) reopen() {
	s, err := Open(x.engine.open(), nil)
	if err != nil {
		x.t.Fatal(err)
	}
	x.s = s
	// What makes it quicker must not make it another.
	s.applier.cache = newCache([]int{1, 2 << 10, cacheBytes}[x.rng.IntN(3)])
	s.applier.recent.maxKeys, s.applier.recent.maxCommits = 1+x.rng.IntN(6), 1+x.rng.IntN(20)
}

func (x *twin) fatalf(format string, args ...any) {
	x.t.Helper()
	x.t.Fatalf("after %d commands: %s", len(x.entries), fmt.Sprintf(format, args...))
}

func (x *twin) key() []byte {
	keys := []string{"a", "ab", "abc", "b", "b\x00", "b\x00\x01", "b\x00\xff", "b\x01", "c", "d", "\xff", "\xff\xff", "\x00"}
	return []byte(keys[x.rng.IntN(len(keys))])
}

func (x *twin) bounds() (key, end []byte) {
	key = x.key()
	switch x.rng.IntN(6) {
	case 0, 1, 2:
		return key, nil
	case 3:
		return key, []byte{0}
	default:
		return key, x.key()
	}
}

func (x *twin) revision() int64 {
	switch x.rng.IntN(8) {
	case 0:
		return x.m.revision - x.rng.Int64N(12)
	case 1:
		return x.m.revision + x.rng.Int64N(2)
	case 2:
		return x.m.compacted + x.rng.Int64N(3) - 1
	}
	return 0
}

func (x *twin) lease() int64 {
	if x.rng.IntN(2) == 0 {
		return 0
	}
	return []int64{1, 2, 3, 4, -5, 1 << 62}[x.rng.IntN(6)]
}

func (x *twin) bit(oneIn int) bool { return x.rng.IntN(oneIn) == 0 }

func (x *twin) put() *PutRequest {
	p := &PutRequest{Key: x.key(), PrevKV: x.bit(3)}
	switch {
	case x.bit(8):
		p.IgnoreValue, p.Lease = true, x.lease()
	default:
		p.Value = []byte(strings.Repeat(string(rune('p'+x.rng.IntN(4))), x.rng.IntN(20)))
		if p.IgnoreLease = x.bit(8); !p.IgnoreLease {
			p.Lease = x.lease()
		}
	}
	return p
}

func (x *twin) ranged() *RangeRequest {
	q := &RangeRequest{
		Revision: x.revision(), KeysOnly: x.bit(4), CountOnly: x.bit(6), Limit: int64(max(0, x.rng.IntN(8)-4)),
		SortOrder: SortOrder(x.rng.IntN(3)), SortTarget: SortTarget(max(0, x.rng.IntN(9)-4)),
	}
	q.Key, q.RangeEnd = x.bounds()
	for _, p := range []*int64{&q.MinModRevision, &q.MaxModRevision, &q.MinCreateRevision, &q.MaxCreateRevision} {
		if x.bit(10) {
			*p = x.m.revision - x.rng.Int64N(6)
		}
	}
	return q
}

func (x *twin) remove() *DeleteRangeRequest {
	d := &DeleteRangeRequest{PrevKV: x.bit(2)}
	d.Key, d.RangeEnd = x.bounds()
	return d
}

func (x *twin) compare() Compare {
	c := Compare{Result: CompareResult(x.rng.IntN(4)), Target: CompareTarget(x.rng.IntN(5))}
	c.Key, c.RangeEnd = x.bounds()
	c.Number = []int64{0, 1, 2, x.m.revision, x.m.revision - 3, x.lease()}[x.rng.IntN(6)]
	c.Value = x.put().Value
	return c
}

func (x *twin) ops(depth int) []RequestOp {
	var ops []RequestOp
	for range x.rng.IntN(4) {
		switch n := x.rng.IntN(8); {
		case n < 3:
			ops = append(ops, RequestOp{Put: x.put()})
		case n < 5:
			ops = append(ops, RequestOp{Range: x.ranged()})
		case n < 6 || depth == 0:
			ops = append(ops, RequestOp{DeleteRange: x.remove()})
		default:
			ops = append(ops, RequestOp{Txn: x.txn(depth - 1)})
		}
	}
	return ops
}

func (x *twin) txn(depth int) *TxnRequest {
	t := &TxnRequest{Success: x.ops(depth), Failure: x.ops(depth)}
	for range x.rng.IntN(3) {
		t.Compare = append(t.Compare, x.compare())
	}
	return t
}

func (x *twin) command() Command {
	switch n := x.rng.IntN(100); {
	case n < 35:
		return x.put()
	case n < 45:
		return x.remove()
	case n < 70:
		// Some write a key twice, which the server would not propose: all replicas
		// must still do the same with them.
		return x.txn(2)
	case n < 73:
		return &CompactRequest{Revision: x.m.revision - x.rng.Int64N(20) + 1}
	case n < 80:
		return &LeaseGrantRequest{ID: []int64{1, 2, 3, 4, -5, 1 << 62}[x.rng.IntN(6)], TTL: []int64{-1, 0, 5, 60, MaxLeaseTTL, MaxLeaseTTL + 1}[x.rng.IntN(6)]}
	case n < 84:
		return &LeaseRevokeRequest{ID: x.lease(), Term: []uint64{0, x.term, x.term, x.term + 7}[x.rng.IntN(4)]}
	case n < 86:
		return &LeaseCheckpointRequest{Checkpoints: []LeaseCheckpoint{{x.lease(), x.rng.Int64N(1e11) - 1e9}, {x.lease(), 5}}, Term: []uint64{0, x.term, x.term + 7}[x.rng.IntN(3)]}
	case n < 88:
		return &LeaseRenewRequest{IDs: []int64{x.lease(), x.lease()}}
	case n < 90:
		return &AlarmRequest{Action: AlarmActivate, Member: x.rng.Uint64N(2), Alarm: AlarmType(x.rng.IntN(3))}
	case n < 97:
		return &AlarmRequest{Action: AlarmDeactivate, Member: x.rng.Uint64N(2), Alarm: AlarmType(x.rng.IntN(3))}
	case n < 98:
		return &AlarmRequest{Member: 1, Alarm: AlarmType(x.rng.IntN(3))}
	case n < 99:
		return &CheckRequest{Sample: x.rng.Uint64N(2) * 7, Member: x.rng.Uint64N(2), Hash: x.rng.Uint64()}
	default:
		return &PublishRequest{Member: Member{ID: x.rng.Uint64N(3), Name: fmt.Sprint("n", x.rng.IntN(9)), ClientURLs: []string{"u"}}}
	}
}

// feed makes new commands and has the model answer them.
func (x *twin) feed(n int) {
	for range n {
		x.stamp += x.rng.Int64N(2e9)
		if x.bit(50) {
			x.term++
			x.stamp = x.rng.Int64N(1e12)
		}
		cmd := x.command()
		x.m.tick(x.term, x.stamp)
		resp, err := x.m.apply(cmd)
		x.entries = append(x.entries, rsm.Entry{
			Index: raft.Index(2*len(x.entries) + 1), Term: raft.Term(x.term), Timestamp: x.stamp, Command: AppendCommand(nil, cmd),
		})
		x.cmds = append(x.cmds, cmd)
		x.want = append(x.want, outcome{resp, err})
		name := strings.TrimPrefix(fmt.Sprintf("%T", cmd), "*store.")
		if err != nil {
			name += ": " + err.Error()
		}
		x.seen[name]++
	}
}

// apply has the store apply what the model has and it has not, in batches, and
// compares the answers.
func (x *twin) apply() {
	for {
		from := int(x.s.Status().Applied+1) / 2
		if from == len(x.entries) {
			return
		}
		to := min(len(x.entries), from+1+x.rng.IntN(12))
		batch := make([]rsm.Entry, to-from)
		for i := range batch {
			batch[i] = x.entries[from+i]
			batch[i].Command = bytes.Clone(batch[i].Command)
		}
		if err := x.s.Apply(batch); err != nil {
			x.fatalf("Apply: %v", err)
		}
		for i, e := range batch {
			for j := range e.Command {
				e.Command[j] = 0xee // valid until Apply returns
			}
			cmd, want := x.cmds[from+i], x.want[from+i]
			resp, err := DecodeResult(cmd, e.Result)
			if !errors.Is(err, want.err) || want.err == nil && (err != nil || !equal(resp, want.resp)) {
				x.fatalf("command %d %s:\n got %s, %v\nwant %s, %v", from+i, show(cmd), show(resp), err, show(want.resp), want.err)
			}
		}
	}
}

func show(v any) string { return fmt.Sprintf("%T%s", v, text(reflect.ValueOf(v))) }

// text prints through pointers.
func text(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "nil"
		}
		return text(v.Elem())
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() && (f.Kind() != reflect.Slice || f.Len() > 0) {
				parts = append(parts, v.Type().Field(i).Name+":"+text(v.Field(i)))
			}
		}
		return "{" + strings.Join(parts, " ") + "}"
	case reflect.Slice:
		if v.Len() == 0 {
			return ""
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("%q", v.Bytes())
		}
		var parts []string
		for i := range v.Len() {
			parts = append(parts, text(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v)
}

// equal is reflect.DeepEqual that takes nil and empty for the same.
func equal(a, b any) bool { return show(a) == show(b) }

// compareAll compares everything that can be asked.
func (x *twin) compareAll() {
	x.t.Helper()
	m, ctx := x.m, x.t.Context()
	st := x.s.Status()
	if st.Revision != m.revision || st.Compacted != m.compacted || st.Keys != int64(len(m.at(m.revision))) {
		x.fatalf("status is %+v, want revision %d, compacted %d, keys %d", st, m.revision, m.compacted, len(m.at(m.revision)))
	}
	for r := max(m.compacted, 1); r <= m.revision; r += 1 + m.revision/20 {
		q := &RangeRequest{RangeEnd: []byte{0}, Revision: r}
		x.compareRange(q)
	}
	for range 20 {
		x.compareRange(x.ranged())
	}
	for range 5 {
		t := &TxnRequest{Compare: []Compare{x.compare()}}
		for range x.rng.IntN(3) {
			t.Success = append(t.Success, RequestOp{Range: x.ranged()})
			t.Failure = append(t.Failure, RequestOp{Range: x.ranged()})
		}
		resp, err := x.s.ReadTxn(ctx, t)
		want, wantErr := m.txn(t)
		if !errors.Is(err, wantErr) || wantErr == nil && (err != nil || !equal(Response(resp), want)) {
			x.fatalf("%s:\n got %s, %v\nwant %s, %v", show(t), show(resp), err, show(want), wantErr)
		}
	}
	x.compareLeases()
	x.compareEvents(m.revision - 30)
	x.compareEvents(m.compacted + x.rng.Int64N(3) - 1)
	if got, want := x.s.Alarms(AlarmNone), m.listAlarms(AlarmNone); !equal(got, want) {
		x.fatalf("alarms are %v, want %v", got, want)
	}
	var members []Member
	for _, id := range []uint64{0, 1, 2} {
		if member, ok := m.members[id]; ok {
			members = append(members, member)
		}
	}
	if got := x.s.Members(); !equal(got, members) {
		x.fatalf("members are %v, want %v", got, members)
	}
}

func (x *twin) compareRange(q *RangeRequest) {
	x.t.Helper()
	resp, err := x.s.Range(x.t.Context(), q)
	want, wantErr := x.m.ranged(q, x.m.revision)
	if !errors.Is(err, wantErr) || wantErr == nil && (err != nil || !equal(resp, want)) {
		x.fatalf("%s:\n got %s, %v\nwant %s, %v", show(q), show(resp), err, show(want), wantErr)
	}
}

func (x *twin) compareLeases() {
	x.t.Helper()
	var want []LeaseInfo
	for id, l := range x.m.leases {
		want = append(want, LeaseInfo{ID: id, TTL: l.ttl, Remaining: min(l.deadline-x.m.clock, l.ttl*1e9)})
		keys, err := x.s.LeaseKeys(id)
		if err != nil || !equal(keys, x.m.leaseKeys(id)) {
			x.fatalf("lease %d has keys %q, %v, want %q", id, keys, err, x.m.leaseKeys(id))
		}
		if info, ok := x.s.Lease(id); !ok || info != want[len(want)-1] {
			x.fatalf("lease %d is %+v, %v, want %+v", id, info, ok, want[len(want)-1])
		}
	}
	got := x.s.Leases()
	byID := func(a, b LeaseInfo) int { return int(a.ID>>32-b.ID>>32) + int(int32(a.ID)-int32(b.ID)) }
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	if !equal(got, want) {
		x.fatalf("leases are %+v, want %+v", got, want)
	}
}

// compareEvents reads history in chunks of random size.
func (x *twin) compareEvents(from int64) {
	x.t.Helper()
	want, ok := x.m.events(max(from, 1), true)
	var got []Commit
	next := from
	for {
		h, err := x.s.Events(x.t.Context(), next, HistoryOptions{
			Prev: func([]byte) bool { return true }, Revisions: 1 + x.rng.IntN(5), Bytes: 1 + x.rng.IntN(200),
		})
		if !ok {
			if !errors.Is(err, ErrCompacted) || h.Compacted != x.m.compacted {
				x.fatalf("events from %d: got %v, compacted %d, want ErrCompacted, %d", from, err, h.Compacted, x.m.compacted)
			}
			return
		}
		if err != nil {
			x.fatalf("events from %d: %v", next, err)
		}
		got = append(got, h.Commits...)
		if h.Next <= next && h.Next <= h.Revision {
			x.fatalf("events from %d: no progress", next)
		}
		if next = h.Next; next > h.Revision {
			break
		}
	}
	if !equal(got, want) {
		x.fatalf("events from %d:\n got %s\nwant %s", from, show(got), show(want))
	}
}

// crash takes the store away and finds an exact prefix of what was applied, not
// shorter than what was durable.
func (x *twin) crash() {
	x.t.Helper()
	durable := x.s.DurableIndex()
	x.engine.crash(x.rng)
	old := x.s
	x.reopen()
	if err := old.Close(); err != nil {
		x.fatalf("close: %v", err)
	}
	applied := x.s.Status().Applied
	if applied < durable || x.s.DurableIndex() > applied {
		x.fatalf("found up to %d, durable %d, after a crash at durable index %d", applied, x.s.DurableIndex(), durable)
	}
	full := x.m
	x.m = x.replay(int(applied+1) / 2)
	x.compareAll()
	x.m = full
	x.apply()
}

// replay gives the model after the first n commands.
func (x *twin) replay(n int) *model {
	m := newModel()
	for i, cmd := range x.cmds[:n] {
		m.tick(uint64(x.entries[i].Term), x.entries[i].Timestamp)
		_, _ = m.apply(cmd)
	}
	return m
}

// snapshot gives the store's snapshot.
func (x *twin) snapshot(s *Store) []byte {
	x.t.Helper()
	view, err := s.Snapshot()
	if err != nil {
		x.fatalf("snapshot: %v", err)
	}
	var b bytes.Buffer
	if err := errors.Join(view.WriteSnapshot(x.t.Context(), &b), view.Close()); err != nil {
		x.fatalf("write snapshot: %v", err)
	}
	return b.Bytes()
}

// restore puts the store's snapshot into another store, which must then be the
// same to the last byte, and goes on with that one or this.
func (x *twin) restore(other *Store) {
	x.t.Helper()
	snapshot := x.snapshot(x.s)
	if err := other.Restore(bytes.NewReader(snapshot)); err != nil {
		x.fatalf("restore: %v", err)
	}
	if got, want := other.Status(), x.s.Status(); got.Applied != want.Applied || got.Hash != want.Hash || other.DurableIndex() != want.Applied {
		x.fatalf("restored %+v, durable %d, want %+v", got, other.DurableIndex(), want)
	}
	if !bytes.Equal(x.snapshot(other), snapshot) {
		x.fatalf("the snapshot of the restored store differs")
	}
	mine, err := x.s.HashKV(x.t.Context(), 0)
	theirs, err2 := other.HashKV(x.t.Context(), 0)
	if err != nil || err2 != nil || mine != theirs {
		x.fatalf("HashKV is %+v, %v, want %+v, %v", theirs, err2, mine, err)
	}
	kept := x.s
	x.s = other
	x.compareAll()
	x.s = kept
	if x.m.raised(AlarmCorrupt) || x.m.raised(AlarmNoSpace) {
		return
	}
	// Nothing is left of what it had before, not even in memory.
	answer := do(x.t, other, &PutRequest{Key: []byte("old"), PrevKV: true})[0]
	if p, ok := answer.resp.(*PutResponse); !ok || p.PrevKV != nil || p.Revision != x.m.revision+1 {
		x.fatalf("a put of a key that was there before the restore: %s, %v", show(answer.resp), answer.err)
	}
	kvs := do(x.t, other, &TxnRequest{Success: []RequestOp{{Range: &RangeRequest{Key: []byte("old")}}}})[0]
	if kv := kvs.resp.(*TxnResponse).Responses[0].Range.KVs[0]; kv.Version != 1 || kv.CreateRevision != x.m.revision+1 {
		x.fatalf("the key that was put after the restore is %+v", kv)
	}
}

func (x *twin) run(rounds int) {
	for range rounds {
		x.feed(1 + x.rng.IntN(20))
		x.apply()
		switch x.rng.IntN(12) {
		case 0:
			x.crash()
		case 1:
			x.s.Flush()
		case 2:
			if _, err := x.s.Reclaim(1 + x.rng.IntN(50)); err != nil {
				x.fatalf("reclaim: %v", err)
			}
		case 3:
			other := openMemory(x.t)
			do(x.t, other, put("old", "state"), &LeaseGrantRequest{ID: 77, TTL: 1})
			x.restore(other)
		}
		if x.bit(3) {
			x.compareAll()
		}
	}
	x.compareAll()
	x.replica()
	if err := x.s.Close(); err != nil {
		x.fatalf("close: %v", err)
	}
}

// replica: the same commands one at a time, without a crash or a restore, give
// the same state to the last byte.
func (x *twin) replica() {
	other := openMemory(x.t)
	for _, e := range x.entries {
		if err := other.Apply([]rsm.Entry{e}); err != nil {
			x.fatalf("Apply: %v", err)
		}
	}
	if !bytes.Equal(x.snapshot(other), x.snapshot(x.s)) {
		x.fatalf("a replica that applied the commands one at a time has another snapshot")
	}
}

// occurred fails unless every command was done and every refusal was met.
func occurred(t *testing.T, seen map[string]int) {
	t.Helper()
	for _, name := range []string{
		"PutRequest", "DeleteRangeRequest", "TxnRequest", "CompactRequest", "LeaseGrantRequest", "LeaseRevokeRequest",
		"LeaseCheckpointRequest", "LeaseRenewRequest", "AlarmRequest", "PublishRequest", "CheckRequest",
		"PutRequest: " + ErrLeaseNotFound.Error(), "PutRequest: " + ErrKeyNotFound.Error(), "PutRequest: " + ErrNoSpace.Error(),
		"PutRequest: " + ErrCorrupt.Error(), "DeleteRangeRequest: " + ErrCorrupt.Error(), "TxnRequest: " + ErrCorrupt.Error(),
		"TxnRequest: " + ErrNoSpace.Error(), "TxnRequest: " + ErrCompacted.Error(), "TxnRequest: " + ErrFutureRev.Error(),
		"TxnRequest: " + ErrLeaseNotFound.Error(), "TxnRequest: " + ErrKeyNotFound.Error(),
		"CompactRequest: " + ErrCompacted.Error(), "CompactRequest: " + ErrFutureRev.Error(), "CompactRequest: " + ErrCorrupt.Error(),
		"LeaseGrantRequest: " + ErrLeaseExist.Error(), "LeaseGrantRequest: " + ErrLeaseTTLTooLarge.Error(),
		"LeaseGrantRequest: " + ErrNoSpace.Error(), "LeaseGrantRequest: " + ErrCorrupt.Error(),
		"LeaseRevokeRequest: " + ErrLeaseNotFound.Error(), "LeaseRevokeRequest: " + ErrCorrupt.Error(), "LeaseRevokeRequest: " + ErrInvalid.Error(),
	} {
		if seen[name] == 0 {
			t.Errorf("never met: %s", name)
		}
	}
}

// TestTwin: the store answers as its model does, and after each crash is an exact
// prefix of what it was.
func TestTwin(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 15
	}
	if n, err := strconv.ParseUint(os.Getenv("TWIN_SEEDS"), 10, 64); err == nil {
		seeds = n
	}
	seen := map[string]int{}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			x := newTwin(t, seed, &memoryCrasher{})
			x.run(40)
			for name, n := range x.seen {
				seen[name] += n
			}
		})
	}
	occurred(t, seen)
}

// TestTwinOnPebble: the same on Pebble, whose file system keeps only what was
// synced and some of the rest.
func TestTwinOnPebble(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			newTwin(t, seed, &pebbleCrasher{t: t}).run(80)
		})
	}
}
