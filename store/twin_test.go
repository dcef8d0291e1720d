package store_test

import (
	"bytes"
	"cmp"
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
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/engine"
	"github.com/quorate/quorate/store/twin"
)

// A pair is a store and its twin, fed the same random commands.
type pair struct {
	t      *testing.T
	rng    *rand.Rand
	engine crasher
	s      *store.Store
	m      *twin.Twin
	// entries are all that were ever applied, want what the model answered.
	entries []rsm.Entry
	cmds    []store.Command
	want    []outcome
	term    uint64
	stamp   int64
	seen    map[string]int
}

type outcome struct {
	resp store.Response
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
		c.e = engine.NewMemory(store.Split)
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
	e, err := engine.OpenPebble("store", engine.PebbleOptions{Split: store.Split, FS: c.fs, MemTableBytes: 32 << 10, MemTables: 8, CacheBytes: 1 << 20})
	if err != nil {
		c.t.Fatal(err)
	}
	c.e = e
	return e
}

func (c *pebbleCrasher) crash(rng *rand.Rand) {
	c.fs = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 20, 50, 100}[rng.IntN(4)], RNG: rng})
}

func newPair(t *testing.T, seed uint64, c crasher) *pair {
	x := &pair{t: t, rng: rand.New(rand.NewPCG(seed, 0)), engine: c, m: twin.New(), term: 1, seen: map[string]int{}}
	x.reopen()
	return x
}

func (x *pair) reopen() {
	s, err := store.Open(x.engine.open(), nil)
	if err != nil {
		x.t.Fatal(err)
	}
	x.s = s
	// What makes it quicker must not make it another.
	s.Shrink([]int{1, 2 << 10, store.CacheBytes}[x.rng.IntN(3)], 1+x.rng.IntN(6), 1+x.rng.IntN(20))
}

func (x *pair) fatalf(format string, args ...any) {
	x.t.Helper()
	x.t.Fatalf("after %d commands: %s", len(x.entries), fmt.Sprintf(format, args...))
}

func (x *pair) key() []byte {
	keys := []string{"a", "ab", "abc", "b", "b\x00", "b\x00\x01", "b\x00\xff", "b\x01", "c", "d", "\xff", "\xff\xff", "\x00"}
	return []byte(keys[x.rng.IntN(len(keys))])
}

func (x *pair) bounds() (key, end []byte) {
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

func (x *pair) revision() int64 {
	switch x.rng.IntN(8) {
	case 0:
		return x.m.Revision - x.rng.Int64N(12)
	case 1:
		return x.m.Revision + x.rng.Int64N(2)
	case 2:
		return x.m.Compacted + x.rng.Int64N(3) - 1
	}
	return 0
}

func (x *pair) lease() int64 {
	if x.rng.IntN(2) == 0 {
		return 0
	}
	return []int64{1, 2, 3, 4, -5, 1 << 62}[x.rng.IntN(6)]
}

func (x *pair) bit(oneIn int) bool { return x.rng.IntN(oneIn) == 0 }

func (x *pair) put() *store.PutRequest {
	p := &store.PutRequest{Key: x.key(), PrevKV: x.bit(3)}
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

func (x *pair) ranged() *store.RangeRequest {
	q := &store.RangeRequest{
		Revision: x.revision(), KeysOnly: x.bit(4), CountOnly: x.bit(6), Limit: int64(max(0, x.rng.IntN(8)-4)),
		SortOrder: store.SortOrder(x.rng.IntN(3)), SortTarget: store.SortTarget(max(0, x.rng.IntN(9)-4)),
	}
	q.Key, q.RangeEnd = x.bounds()
	for _, p := range []*int64{&q.MinModRevision, &q.MaxModRevision, &q.MinCreateRevision, &q.MaxCreateRevision} {
		if x.bit(10) {
			*p = x.m.Revision - x.rng.Int64N(6)
		}
	}
	return q
}

func (x *pair) remove() *store.DeleteRangeRequest {
	d := &store.DeleteRangeRequest{PrevKV: x.bit(2)}
	d.Key, d.RangeEnd = x.bounds()
	return d
}

func (x *pair) compare() store.Compare {
	c := store.Compare{Result: store.CompareResult(x.rng.IntN(4)), Target: store.CompareTarget(x.rng.IntN(5))}
	c.Key, c.RangeEnd = x.bounds()
	c.Number = []int64{0, 1, 2, x.m.Revision, x.m.Revision - 3, x.lease()}[x.rng.IntN(6)]
	c.Value = x.put().Value
	return c
}

func (x *pair) ops(depth int) []store.RequestOp {
	var ops []store.RequestOp
	for range x.rng.IntN(4) {
		switch n := x.rng.IntN(8); {
		case n < 3:
			ops = append(ops, store.RequestOp{Put: x.put()})
		case n < 5:
			ops = append(ops, store.RequestOp{Range: x.ranged()})
		case n < 6 || depth == 0:
			ops = append(ops, store.RequestOp{DeleteRange: x.remove()})
		default:
			ops = append(ops, store.RequestOp{Txn: x.txn(depth - 1)})
		}
	}
	return ops
}

func (x *pair) txn(depth int) *store.TxnRequest {
	t := &store.TxnRequest{Success: x.ops(depth), Failure: x.ops(depth)}
	for range x.rng.IntN(3) {
		t.Compare = append(t.Compare, x.compare())
	}
	return t
}

func (x *pair) command() store.Command {
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
		return &store.CompactRequest{Revision: x.m.Revision - x.rng.Int64N(20) + 1}
	case n < 80:
		return &store.LeaseGrantRequest{ID: []int64{1, 2, 3, 4, -5, 1 << 62}[x.rng.IntN(6)], TTL: []int64{-1, 0, 5, 60, store.MaxLeaseTTL, store.MaxLeaseTTL + 1}[x.rng.IntN(6)]}
	case n < 84:
		return &store.LeaseRevokeRequest{ID: x.lease(), Term: []uint64{0, x.term, x.term, x.term + 7}[x.rng.IntN(4)]}
	case n < 86:
		return &store.LeaseCheckpointRequest{Checkpoints: []store.LeaseCheckpoint{{x.lease(), x.rng.Int64N(1e11) - 1e9}, {x.lease(), 5}}, Term: []uint64{0, x.term, x.term + 7}[x.rng.IntN(3)]}
	case n < 88:
		return &store.LeaseRenewRequest{IDs: []int64{x.lease(), x.lease()}}
	case n < 90:
		return &store.AlarmRequest{Action: store.AlarmActivate, Member: x.rng.Uint64N(2), Alarm: store.AlarmType(x.rng.IntN(3))}
	case n < 97:
		return &store.AlarmRequest{Action: store.AlarmDeactivate, Member: x.rng.Uint64N(2), Alarm: store.AlarmType(x.rng.IntN(3))}
	case n < 98:
		return &store.AlarmRequest{Member: 1, Alarm: store.AlarmType(x.rng.IntN(3))}
	case n < 99:
		return &store.CheckRequest{Sample: x.rng.Uint64N(2) * 7, Member: x.rng.Uint64N(2), Hash: x.rng.Uint64()}
	default:
		return &store.PublishRequest{Member: store.Member{ID: x.rng.Uint64N(3), Name: fmt.Sprint("n", x.rng.IntN(9)), ClientURLs: []string{"u"}}}
	}
}

// feed makes new commands and has the model answer them.
func (x *pair) feed(n int) {
	for range n {
		x.stamp += x.rng.Int64N(2e9)
		if x.bit(50) {
			x.term++
			x.stamp = x.rng.Int64N(1e12)
		}
		cmd := x.command()
		resp, err := x.m.Apply(uint64(2*len(x.entries)+1), x.term, x.stamp, cmd)
		x.entries = append(x.entries, rsm.Entry{
			Index: raft.Index(2*len(x.entries) + 1), Term: raft.Term(x.term), Timestamp: x.stamp, Command: store.AppendCommand(nil, cmd),
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
func (x *pair) apply() {
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
			resp, err := store.DecodeResult(cmd, e.Result)
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
func (x *pair) compareAll() {
	x.t.Helper()
	m, ctx := x.m, x.t.Context()
	st := x.s.Status()
	if st.Revision != m.Revision || st.Compacted != m.Compacted || st.Keys != m.Keys || st.Hash != m.Hash {
		x.fatalf("status is %+v, want revision %d, compacted %d, keys %d, hash %x", st, m.Revision, m.Compacted, m.Keys, m.Hash)
	}
	for r := max(m.Compacted, 1); r <= m.Revision; r += 1 + m.Revision/20 {
		q := &store.RangeRequest{RangeEnd: []byte{0}, Revision: r}
		x.compareRange(q)
	}
	for range 20 {
		x.compareRange(x.ranged())
	}
	for range 5 {
		t := &store.TxnRequest{Compare: []store.Compare{x.compare()}}
		for range x.rng.IntN(3) {
			t.Success = append(t.Success, store.RequestOp{Range: x.ranged()})
			t.Failure = append(t.Failure, store.RequestOp{Range: x.ranged()})
		}
		resp, err := x.s.ReadTxn(ctx, t)
		want, wantErr := m.ReadTxn(t)
		if !errors.Is(err, wantErr) || wantErr == nil && (err != nil || !equal(store.Response(resp), want)) {
			x.fatalf("%s:\n got %s, %v\nwant %s, %v", show(t), show(resp), err, show(want), wantErr)
		}
	}
	x.compareLeases()
	x.compareEvents(m.Revision - 30)
	x.compareEvents(m.Compacted + x.rng.Int64N(3) - 1)
	if got, want := x.s.Alarms(store.AlarmNone), m.Alarms(store.AlarmNone); !equal(got, want) {
		x.fatalf("alarms are %v, want %v", got, want)
	}
	if got, want := x.s.Members(), m.Members(); !equal(got, want) {
		x.fatalf("members are %v, want %v", got, want)
	}
}

func (x *pair) compareRange(q *store.RangeRequest) {
	x.t.Helper()
	resp, err := x.s.Range(x.t.Context(), q)
	want, wantErr := x.m.Range(q)
	if !errors.Is(err, wantErr) || wantErr == nil && (err != nil || !equal(resp, want)) {
		x.fatalf("%s:\n got %s, %v\nwant %s, %v", show(q), show(resp), err, show(want), wantErr)
	}
}

func (x *pair) compareLeases() {
	x.t.Helper()
	want := x.m.LeaseInfos()
	for _, l := range want {
		keys, err := x.s.LeaseKeys(l.ID)
		if err != nil || !equal(keys, x.m.LeaseKeys(l.ID)) {
			x.fatalf("lease %d has keys %q, %v, want %q", l.ID, keys, err, x.m.LeaseKeys(l.ID))
		}
		if info, ok := x.s.Lease(l.ID); !ok || info != l {
			x.fatalf("lease %d is %+v, %v, want %+v", l.ID, info, ok, l)
		}
	}
	got := x.s.Leases()
	slices.SortFunc(got, func(a, b store.LeaseInfo) int { return cmp.Compare(a.ID, b.ID) })
	if !equal(got, want) {
		x.fatalf("leases are %+v, want %+v", got, want)
	}
}

// compareEvents reads history in chunks of random size.
func (x *pair) compareEvents(from int64) {
	x.t.Helper()
	want, ok := x.m.History(max(from, 1), true)
	var got []store.Commit
	next := from
	for {
		h, err := x.s.Events(x.t.Context(), next, store.HistoryOptions{
			Prev: func([]byte) bool { return true }, Revisions: 1 + x.rng.IntN(5), Bytes: 1 + x.rng.IntN(200),
		})
		if !ok {
			if !errors.Is(err, store.ErrCompacted) || h.Compacted != x.m.Compacted {
				x.fatalf("events from %d: got %v, compacted %d, want ErrCompacted, %d", from, err, h.Compacted, x.m.Compacted)
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
func (x *pair) crash() {
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
func (x *pair) replay(n int) *twin.Twin {
	m := twin.New()
	for i, cmd := range x.cmds[:n] {
		e := &x.entries[i]
		_, _ = m.Apply(uint64(e.Index), uint64(e.Term), e.Timestamp, cmd)
	}
	return m
}

// snapshot gives the store's snapshot.
func (x *pair) snapshot(s *store.Store) []byte {
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
func (x *pair) restore(other *store.Store) {
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
	if x.m.Raised(store.AlarmCorrupt) || x.m.Raised(store.AlarmNoSpace) {
		return
	}
	// Nothing is left of what it had before, not even in memory.
	answer := store.Do(x.t, other, &store.PutRequest{Key: []byte("old"), PrevKV: true})[0]
	if p, ok := answer.Response.(*store.PutResponse); !ok || p.PrevKV != nil || p.Revision != x.m.Revision+1 {
		x.fatalf("a put of a key that was there before the restore: %s, %v", show(answer.Response), answer.Err)
	}
	kvs := store.Do(x.t, other, &store.TxnRequest{Success: []store.RequestOp{{Range: &store.RangeRequest{Key: []byte("old")}}}})[0]
	if kv := kvs.Response.(*store.TxnResponse).Responses[0].Range.KVs[0]; kv.Version != 1 || kv.CreateRevision != x.m.Revision+1 {
		x.fatalf("the key that was put after the restore is %+v", kv)
	}
}

func (x *pair) run(rounds int) {
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
			other := store.OpenMemory(x.t)
			store.Do(x.t, other, &store.PutRequest{Key: []byte("old"), Value: []byte("state")}, &store.LeaseGrantRequest{ID: 77, TTL: 1})
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
func (x *pair) replica() {
	other := store.OpenMemory(x.t)
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
		"PutRequest: " + store.ErrLeaseNotFound.Error(), "PutRequest: " + store.ErrKeyNotFound.Error(), "PutRequest: " + store.ErrNoSpace.Error(),
		"PutRequest: " + store.ErrCorrupt.Error(), "DeleteRangeRequest: " + store.ErrCorrupt.Error(), "TxnRequest: " + store.ErrCorrupt.Error(),
		"TxnRequest: " + store.ErrNoSpace.Error(), "TxnRequest: " + store.ErrCompacted.Error(), "TxnRequest: " + store.ErrFutureRev.Error(),
		"TxnRequest: " + store.ErrLeaseNotFound.Error(), "TxnRequest: " + store.ErrKeyNotFound.Error(),
		"CompactRequest: " + store.ErrCompacted.Error(), "CompactRequest: " + store.ErrFutureRev.Error(), "CompactRequest: " + store.ErrCorrupt.Error(),
		"LeaseGrantRequest: " + store.ErrLeaseExist.Error(), "LeaseGrantRequest: " + store.ErrLeaseTTLTooLarge.Error(),
		"LeaseGrantRequest: " + store.ErrNoSpace.Error(), "LeaseGrantRequest: " + store.ErrCorrupt.Error(),
		"LeaseRevokeRequest: " + store.ErrLeaseNotFound.Error(), "LeaseRevokeRequest: " + store.ErrCorrupt.Error(), "LeaseRevokeRequest: " + store.ErrInvalid.Error(),
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
			x := newPair(t, seed, &memoryCrasher{})
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
			newPair(t, seed, &pebbleCrasher{t: t}).run(80)
		})
	}
}
