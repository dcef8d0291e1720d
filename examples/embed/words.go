package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"sync"

	"github.com/quorate/quorate/rsm"
)

// words is a replicated state machine: it counts words. A command is a word, and
// its result how often the word was counted.
type words struct {
	mu     sync.RWMutex // Read runs beside Apply
	counts map[string]uint64
}

func newWords() *words { return &words{counts: map[string]uint64{}} }

// Apply counts words.
func (w *words) Apply(entries []rsm.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range entries {
		e := &entries[i]
		w.counts[string(e.Command)]++
		e.Result.Value = w.counts[string(e.Command)]
	}
	return nil
}

// Read answers how often a word was counted.
func (w *words) Read(_ context.Context, query any) (any, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.counts[query.(string)], nil
}

// Snapshot copies the counts, which is cheap while there are few; examples/kv
// shows what to do when there are many.
func (w *words) Snapshot() (rsm.View, error) { return view(maps.Clone(w.counts)), nil }

// Restore replaces the counts.
func (w *words) Restore(r io.Reader) error {
	counts := map[string]uint64{}
	if err := json.NewDecoder(r).Decode(&counts); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts = counts
	return nil
}

// Close has nothing to release.
func (w *words) Close() error { return nil }

// view is the counts of one moment.
type view map[string]uint64

// WriteSnapshot writes the counts, ordered by word: package json sees to that.
func (v view) WriteSnapshot(_ context.Context, w io.Writer) error {
	return json.NewEncoder(w).Encode(v)
}

// Close has nothing to release.
func (v view) Close() error { return nil }
