package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A history is what clients asked of the members and what they were told, with
// times from one clock.
type history struct {
	start time.Time
	mu    sync.Mutex
	ops   []operation
	// acked counts the writes that were acknowledged, by whichever client.
	acked int
}

type operation struct {
	client    int
	in        request
	out       response
	call, ret time.Duration
}

type request struct {
	method string // GET, PUT or DELETE
	key    string
	value  string
	// expect, if not zero, makes it compare-and-swap.
	expect uint64
}

type response struct {
	unknown bool // nobody knows whether it was applied
	status  int
	value   string
	version uint64
}

// now is the time on the history's clock.
func (h *history) now() time.Duration { return time.Since(h.start) }

func (h *history) add(op operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	if op.acknowledged() {
		h.acked++
	}
}

func (op operation) acknowledged() bool {
	return op.in.method != http.MethodGet && !op.out.unknown && op.out.status == http.StatusOK
}

func (h *history) acknowledged() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked
}

// mark is a moment in a history.
type mark struct {
	at  time.Duration
	ops int
}

func (h *history) mark() mark {
	h.mu.Lock()
	defer h.mu.Unlock()
	return mark{h.now(), len(h.ops)}
}

// resumed gives the first acknowledgement of a write that was asked for after m.
func (h *history) resumed(m mark) (first time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first = math.MaxInt64
	for _, op := range h.ops[m.ops:] {
		if op.acknowledged() && op.call >= m.at {
			first, ok = min(first, op.ret), true
		}
	}
	return first, ok
}

// do sends one request and records it, unless it certainly did nothing. It reports
// whether an answer was got.
func (h *history) do(ctx context.Context, c *client, id int, member string, in request) (response, bool) {
	var header []string
	if in.expect != 0 {
		header = []string{"If-Match", fmt.Sprintf("%q", fmt.Sprint(in.expect))}
	}
	call := h.now()
	a, err := c.do(ctx, in.method, keyURL(member, in.key), []byte(in.value), header...)
	op := operation{client: id, in: in, call: call, ret: h.now()}
	switch {
	case err == nil:
		op.out = response{status: a.status, version: a.version}
		if in.method == http.MethodGet && a.status == http.StatusOK {
			op.out.value = string(a.body)
		}
	case in.method == http.MethodGet || errors.Is(err, errNotApplied):
		return response{}, false
	default:
		op.out.unknown = true
	}
	h.add(op)
	return op.out, !op.out.unknown
}

// client asks random members for random things until ctx ends: writes,
// compare-and-swaps from what it has seen, deletes, and linearizable reads at
// every member. Each value is written once, so that a read says which write it saw.
func (h *history) client(ctx context.Context, c *client, id int, members []string, keys *keyring) {
	rng := rand.New(rand.NewPCG(uint64(id), 0))
	seen := map[string]uint64{}
	ticker := time.NewTicker(3 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		in := request{method: http.MethodGet, key: keys.pick(rng)}
		switch r := rng.IntN(20); {
		case r < 6:
			in.method = http.MethodPut
		case r < 11:
			in.method, in.expect = http.MethodPut, seen[in.key]
		case r < 12:
			in.method = http.MethodDelete
		}
		if in.method == http.MethodPut {
			in.value = fmt.Sprintf("%d.%d", id, n)
		}
		out, ok := h.do(ctx, c, id, members[rng.IntN(len(members))], in)
		if ok && in.method != http.MethodDelete && out.version != 0 {
			seen[in.key] = out.version
		}
	}
}

// keyring hands out keys: mostly the newest few, which are replaced after a number
// of requests, and now and then an old one. So each key's history stays short
// enough to be judged, and some of them last.
type keyring struct {
	mu   sync.Mutex
	used int
}

const (
	hotKeys      = 4
	usesPerBatch = 1600
)

func (k *keyring) pick(rng *rand.Rand) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used++
	batch := k.used / usesPerBatch
	if rng.IntN(20) == 0 {
		batch = rng.IntN(batch + 1)
	}
	return fmt.Sprintf("key/%d/%d", batch, rng.IntN(hotKeys))
}

func (k *keyring) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var keys []string
	for batch := range k.used/usesPerBatch + 1 {
		for i := range hotKeys {
			keys = append(keys, fmt.Sprintf("key/%d/%d", batch, i))
		}
	}
	return keys
}

// register is what the map holds of one key, and the newest version that it is
// known to have given.
type register struct {
	exists  bool
	value   string
	version uint64 // of value; 0: nobody was told yet
	newest  uint64
}

// registerModel is the map as clients may expect it, key by key: every answer fits
// one order of all requests, in which none stands before one that was answered
// before it was asked. versions tells which version a value was seen with: it
// stands in for the answer that a client did not get.
func registerModel(versions map[string]uint64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return register{} },
		Step: func(state, in, out any) (bool, any) {
			return state.(register).step(in.(request), out.(response), versions)
		},
	}
}

func (r register) step(in request, out response, versions map[string]uint64) (bool, register) {
	if in.method == http.MethodGet {
		if out.status == http.StatusNotFound {
			return !r.exists, r
		}
		return r.exists && r.value == out.value && r.version == out.version, r
	}
	next := register{newest: r.newest}
	if in.method == http.MethodPut {
		next = register{exists: true, value: in.value, version: versions[in.value], newest: max(r.newest, versions[in.value])}
	}
	may := in.expect == 0 || r.exists && r.version == in.expect
	switch {
	case out.unknown && (!may || in.method == http.MethodDelete && !r.exists):
		return true, r // applied without effect
	case out.unknown:
		return next.version == 0 || next.version > r.newest, next
	case out.status == http.StatusPreconditionFailed:
		if out.version == 0 {
			return !may && !r.exists, r
		}
		if r.exists && r.version == 0 && out.version > r.newest {
			// The value was written without an answer and nobody ever read it:
			// its version is known from here on, by this refusal.
			r.version, r.newest = out.version, out.version
		}
		return !may && r.exists && r.version == out.version, r
	case out.status == http.StatusNotFound: // of a delete
		return !r.exists, r
	}
	if in.method == http.MethodDelete {
		next.newest = out.version
		return r.exists && out.version > r.newest, next
	}
	next.version, next.newest = out.version, out.version
	return may && out.version > r.newest, next
}

// judge checks the whole history and reports the keys that are not linearizable.
// It gives the number of keys.
func (h *history) judge(t *testing.T) int {
	t.Helper()
	versions := map[string]uint64{}
	byKey := map[string][]porcupine.Operation{}
	for _, op := range h.ops {
		o := porcupine.Operation{ClientId: op.client, Input: op.in, Output: op.out, Call: int64(op.call), Return: int64(op.ret)}
		switch {
		case op.out.unknown:
			o.Return = math.MaxInt64 // it may be applied at any later time, or never
		case op.in.method != http.MethodDelete && op.out.status == http.StatusOK:
			value := op.in.value
			if op.in.method == http.MethodGet {
				value = op.out.value
			}
			if v, ok := versions[value]; ok && v != op.out.version {
				t.Errorf("value %q of %s was given version %d and version %d", value, op.in.key, v, op.out.version)
			}
			versions[value] = op.out.version
		}
		byKey[op.in.key] = append(byKey[op.in.key], o)
	}
	model := registerModel(versions)
	for key, ops := range byKey {
		if got := porcupine.CheckOperationsTimeout(model, ops, time.Minute); got != porcupine.Ok {
			t.Errorf("the history of %s is not linearizable (%v):\n%s", key, got, describeOperations(ops))
		}
	}
	return len(byKey)
}

func describeOperations(ops []porcupine.Operation) string {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var text []byte
	for _, op := range ops {
		text = fmt.Appendf(text, "  %12v %12v  client %d  %+v -> %+v\n", time.Duration(op.Call), time.Duration(op.Return), op.ClientId, op.Input, op.Output)
	}
	return string(text)
}

// TestJudge plants one wrong answer at a time: a judge that finds nothing must be
// able to find something.
func TestJudge(t *testing.T) {
	put := func(value string, version uint64, call, ret time.Duration) operation {
		return operation{in: request{method: http.MethodPut, key: "k", value: value}, out: response{status: 200, version: version}, call: call, ret: ret}
	}
	get := func(value string, version uint64, call, ret time.Duration) operation {
		return operation{client: 1, in: request{method: http.MethodGet, key: "k"}, out: response{status: 200, value: value, version: version}, call: call, ret: ret}
	}
	none := func(call, ret time.Duration) operation {
		return operation{client: 1, in: request{method: http.MethodGet, key: "k"}, out: response{status: 404}, call: call, ret: ret}
	}
	cas := func(expect uint64, value string, status int, version uint64, call, ret time.Duration) operation {
		return operation{client: 2, in: request{method: http.MethodPut, key: "k", value: value, expect: expect}, out: response{status: status, version: version}, call: call, ret: ret}
	}
	remove := func(status int, version uint64, call, ret time.Duration) operation {
		return operation{client: 2, in: request{method: http.MethodDelete, key: "k"}, out: response{status: status, version: version}, call: call, ret: ret}
	}
	lost := func(op operation) operation {
		op.out = response{unknown: true}
		return op
	}
	tests := []struct {
		name string
		good bool
		ops  []operation
	}{
		{"in order", true, []operation{put("a", 1, 0, 1), get("a", 1, 2, 3), put("b", 2, 4, 5), get("b", 2, 6, 7)}},
		{"a stale read", false, []operation{put("a", 1, 0, 1), put("b", 2, 4, 5), get("a", 1, 6, 7)}},
		{"an old value beside the write", true, []operation{put("a", 1, 0, 1), put("b", 2, 4, 8), get("a", 1, 5, 6)}},
		{"back to the old value", false, []operation{put("a", 1, 0, 1), put("b", 2, 4, 20), get("b", 2, 5, 6), get("a", 1, 7, 8)}},
		{"a lost write", false, []operation{put("a", 1, 0, 1), none(2, 3)}},
		{"a write without an answer that is seen", true, []operation{lost(put("a", 0, 0, 1)), none(2, 3), get("a", 1, 4, 5)}},
		{"a write without an answer that comes and goes", false, []operation{lost(put("a", 0, 0, 1)), get("a", 1, 2, 3), none(4, 5)}},
		{"a swap", true, []operation{put("a", 1, 0, 1), cas(1, "b", 200, 2, 2, 3), cas(1, "c", 412, 2, 4, 5)}},
		{"a swap that should have been refused", false, []operation{put("a", 1, 0, 1), put("b", 2, 2, 3), cas(1, "c", 200, 3, 4, 5)}},
		{"a swap that should not have been refused", false, []operation{put("a", 1, 0, 1), cas(1, "c", 412, 1, 4, 5)}},
		{"a version known by a refusal alone", true, []operation{put("a", 1, 0, 1), lost(put("b", 0, 2, 3)), cas(1, "c", 412, 2, 4, 5), cas(2, "d", 200, 3, 6, 7)}},
		{"two refusals that contradict each other", false, []operation{put("a", 1, 0, 1), lost(put("b", 0, 2, 3)), cas(1, "c", 412, 2, 4, 5), cas(1, "c", 412, 3, 6, 7)}},
		{"a swap from a version that nobody gave", false, []operation{put("a", 1, 0, 1), lost(put("b", 0, 2, 3)), cas(1, "c", 412, 2, 4, 5), cas(3, "d", 200, 4, 6, 7)}},
		{"a swap applied twice", false, []operation{put("a", 1, 0, 1), cas(1, "b", 200, 2, 2, 3), cas(1, "c", 200, 3, 2, 3)}},
		{"a delete", true, []operation{put("a", 1, 0, 1), remove(200, 2, 2, 3), none(4, 5), remove(404, 0, 6, 7)}},
		{"a delete that is undone", false, []operation{put("a", 1, 0, 1), remove(200, 2, 2, 3), get("a", 1, 4, 5)}},
		{"a version that falls", false, []operation{put("a", 5, 0, 1), remove(200, 6, 2, 3), put("b", 4, 4, 5)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			versions := map[string]uint64{}
			var ops []porcupine.Operation
			for _, op := range test.ops {
				o := porcupine.Operation{ClientId: op.client, Input: op.in, Output: op.out, Call: int64(op.call), Return: int64(op.ret)}
				if op.out.unknown {
					o.Return = math.MaxInt64
				}
				versions[op.out.value+op.in.value] = op.out.version
				ops = append(ops, o)
			}
			if got := porcupine.CheckOperations(registerModel(versions), ops); got != test.good {
				t.Errorf("linearizable: %v, want %v", got, test.good)
			}
		})
	}
}
