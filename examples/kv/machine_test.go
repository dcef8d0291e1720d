package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
)

// apply applies commands, the first at index, in one batch.
func apply(t *testing.T, m *machine, index raft.Index, commands ...command) []outcome {
	t.Helper()
	entries := make([]rsm.Entry, len(commands))
	for i, c := range commands {
		entries[i] = rsm.Entry{Index: index + raft.Index(i), Command: c.encode()}
	}
	if err := m.Apply(entries); err != nil {
		t.Fatalf("Apply: %v", err)
	}
	outcomes := make([]outcome, len(entries))
	for i := range entries {
		var err error
		if outcomes[i], err = decodeResult(entries[i].Result); err != nil {
			t.Fatal(err)
		}
	}
	return outcomes
}

func get(t *testing.T, m *machine, key string) getAnswer {
	t.Helper()
	answer, err := m.Read(t.Context(), getQuery{key})
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return answer.(getAnswer)
}

func put(key, value string) command { return command{op: opPut, key: key, value: []byte(value)} }

// TestApply: one row per reason to answer so.
func TestApply(t *testing.T) {
	m := newMachine()
	if got, want := apply(t, m, 5, put("a", "one"), put("b", "two")), []outcome{{done, 5}, {done, 6}}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	tests := []struct {
		name    string
		command command
		want    outcomeCode
		version uint64 // of the outcome; 0: the command's own index
	}{
		{"put", put("c", "x"), done, 0},
		{"put again", put("c", "y"), done, 0},
		{"put at its version", command{op: opPut, condition: condition{ifVersion, 5}, key: "a", value: []byte("x")}, done, 0},
		{"put at an old version", command{op: opPut, condition: condition{ifVersion, 5}, key: "a"}, conflict, 12},
		{"put at a version, no such key", command{op: opPut, condition: condition{ifVersion, 5}, key: "z"}, conflict, 0},
		{"put if absent, and it is", command{op: opPut, condition: condition{kind: ifAbsent}, key: "d"}, done, 0},
		{"put if absent, and it is not", command{op: opPut, condition: condition{kind: ifAbsent}, key: "d"}, conflict, 15},
		{"put if it exists, and it does", command{op: opPut, condition: condition{kind: ifExists}, key: "d"}, done, 0},
		{"put if it exists, and it does not", command{op: opPut, condition: condition{kind: ifExists}, key: "z"}, conflict, 0},
		{"delete", command{op: opDelete, key: "b"}, done, 0},
		{"delete again", command{op: opDelete, key: "b"}, notFound, 0},
		{"delete at an old version", command{op: opDelete, condition: condition{ifVersion, 5}, key: "c"}, conflict, 11},
		{"delete at its version", command{op: opDelete, condition: condition{ifVersion, 11}, key: "c"}, done, 0},
		{"a key of no bytes", put("", "x"), malformed, 0},
	}
	for i, test := range tests {
		index := raft.Index(10 + i)
		want := outcome{test.want, test.version}
		if test.want == done {
			want.version = uint64(index)
		}
		if got := apply(t, m, index, test.command)[0]; got != want {
			t.Errorf("%s: got %v, want %v", test.name, got, want)
		}
	}
	if got := get(t, m, "a"); string(got.value) != "x" || got.version != 12 || got.index != 23 {
		t.Errorf("a is %+v, want value x of version 12 at index 23", got)
	}
	if got := get(t, m, "b"); got.found {
		t.Errorf("b is %+v, want nothing", got)
	}
}

// TestTree compares the tree with a plain map, and keeps old trees to see that
// they do not change.
func TestTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	type moment struct {
		tree tree
		want map[string]uint64
	}
	var now tree
	twin := map[string]uint64{}
	var moments []moment
	for step := range uint64(5000) {
		key := fmt.Sprint(rng.IntN(300))
		if rng.IntN(3) == 0 {
			now = now.without(key)
			delete(twin, key)
		} else {
			now = now.set(key, item{version: step})
			twin[key] = step
		}
		if step%500 == 0 {
			moments = append(moments, moment{now, maps.Clone(twin)})
		}
	}
	moments = append(moments, moment{now, twin})
	for i, m := range moments {
		var keys []string
		m.tree.from("", func(key string, it item) bool {
			keys = append(keys, key)
			if m.want[key] != it.version {
				t.Errorf("moment %d: %s has version %d, want %d", i, key, it.version, m.want[key])
			}
			return true
		})
		if want := slices.Sorted(maps.Keys(m.want)); !slices.Equal(keys, want) || m.tree.size != len(want) {
			t.Errorf("moment %d: size %d, keys %v, want %v", i, m.tree.size, keys, want)
		}
	}
}

func TestList(t *testing.T) {
	m := newMachine()
	apply(t, m, 1, put("a", ""), put("b/1", "x"), put("b/2", "xy"), put("b/3", ""), put("c", ""))
	tests := []struct {
		query listQuery
		want  string
		more  bool
	}{
		{listQuery{limit: 10}, "a b/1 b/2 b/3 c", false},
		{listQuery{prefix: "b/", limit: 10}, "b/1 b/2 b/3", false},
		{listQuery{prefix: "b/", limit: 3}, "b/1 b/2 b/3", false},
		{listQuery{prefix: "b/", limit: 2}, "b/1 b/2", true},
		{listQuery{prefix: "b/", after: "b/2", limit: 2}, "b/3", false},
		{listQuery{prefix: "b/", after: "b/11", limit: 1}, "b/2", true},
		{listQuery{prefix: "b/", after: "a", limit: 1}, "b/1", true},
		{listQuery{prefix: "b/", after: "c", limit: 1}, "", false},
		{listQuery{prefix: "d", limit: 1}, "", false},
	}
	for _, test := range tests {
		answer, err := m.Read(t.Context(), test.query)
		if err != nil {
			t.Fatal(err)
		}
		got := answer.(listAnswer)
		var keys []string
		for _, it := range got.items {
			keys = append(keys, it.Key)
		}
		if strings.Join(keys, " ") != test.want || got.more != test.more || got.index != 5 {
			t.Errorf("%+v: got %v, more %v, index %d; want %s, more %v, index 5", test.query, keys, got.more, got.index, test.want, test.more)
		}
	}
}

func snapshotOf(t *testing.T, v rsm.View) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := v.WriteSnapshot(t.Context(), &b); err != nil {
		t.Fatalf("WriteSnapshot: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSnapshot: a picture is of the moment at which it was taken, although it is
// written out while commands are applied; equal states are written as equal bytes
// whatever their history; and what is restored is what was written.
func TestSnapshot(t *testing.T) {
	m, twin := newMachine(), newMachine()
	for i := range raft.Index(500) {
		c := put(fmt.Sprint("key", i%97), fmt.Sprint("value", i))
		apply(t, m, i+1, c)
		apply(t, twin, i+1, c)
	}
	v, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	applied := make(chan struct{})
	go func() {
		defer close(applied)
		for i := range raft.Index(500) {
			m.Apply([]rsm.Entry{{Index: 501 + i, Command: put(fmt.Sprint("key", i), "later").encode()}})
		}
	}()
	first := snapshotOf(t, v)
	<-applied
	if got := get(t, m, "key499"); string(got.value) != "later" {
		t.Errorf("key499 is %q, want the value that was written beside the snapshot", got.value)
	}

	other, err := twin.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, snapshotOf(t, other)) {
		t.Error("two machines that applied the same commands wrote different snapshots")
	}
	restored := newMachine()
	apply(t, restored, 1, put("gone", "x"))
	if err := restored.Restore(bytes.NewReader(first)); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	if got := get(t, restored, "key5"); string(got.value) != "value490" || got.version != 491 || got.index != 500 {
		t.Errorf("key5 is %+v, want value490 of version 491 at index 500", got)
	}
	if get(t, restored, "gone").found {
		t.Error("a key from before the restore is still there")
	}
	again, err := restored.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, snapshotOf(t, again)) {
		t.Error("a restored machine wrote another snapshot than it was restored from")
	}
}

func TestSnapshotEndsEarly(t *testing.T) {
	m := newMachine()
	apply(t, m, 1, put("a", "x"))
	v, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.WriteSnapshot(ctx, new(bytes.Buffer)); err == nil {
		t.Error("a snapshot was written although its context had ended")
	}
}

// FuzzCommand: any bytes are a command that encodes back to them, or refused.
func FuzzCommand(f *testing.F) {
	f.Add(put("key", "value").encode())
	f.Add(command{op: opDelete, condition: condition{ifVersion, 7}, key: "key"}.encode())
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 'k'})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommand(b)
		if err != nil {
			return
		}
		if got := c.encode(); !bytes.Equal(got, b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, c, got)
		}
	})
}

// FuzzRestore: any bytes are a snapshot that is written back as they are, up to
// what follows its end, or refused.
func FuzzRestore(f *testing.F) {
	m := newMachine()
	m.Apply([]rsm.Entry{{Index: 1, Command: put("a", "x").encode()}, {Index: 2, Command: put("b", "").encode()}})
	var b bytes.Buffer
	v, _ := m.Snapshot()
	if err := v.WriteSnapshot(f.Context(), &b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMachine()
		if m.Restore(bytes.NewReader(b)) != nil {
			return
		}
		v, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if got := snapshotOf(t, v); !bytes.HasPrefix(b, got) {
			t.Errorf("restored from %x, wrote %x", b, got)
		}
	})
}
