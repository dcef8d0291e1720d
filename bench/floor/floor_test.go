package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/bench/internal/cluster"
)

// Every measure measures something, and the report holds all of it.
func TestEveryMeasureMeasures(t *testing.T) {
	o := options{
		clients: []int{1, 4}, window: 50 * time.Millisecond, rounds: 2, payload: 128, nodes: 3, groups: 2, reads: true,
	}
	dir := t.TempDir()
	measures, closeFloors, err := newFloors(dir, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeFloors(); err != nil {
			t.Error(err)
		}
	}()
	c, err := cluster.Start(t.Context(), cluster.Config{Dir: dir, Nodes: o.nodes, Groups: o.groups})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	measures = append(measures, newLibrary(c, &o)...)
	r := newReport(&o, dir, measures)
	for range o.rounds {
		for i, m := range measures {
			one, err := m.run(t.Context(), o.window)
			if err != nil {
				t.Fatalf("%s, %d clients: %v", m.name, m.clients, err)
			}
			if one.P50 <= 0 || one.P50 > one.P99 || one.P99 > one.P999 || one.P999 > one.Max || one.PerSecond <= 0 {
				t.Errorf("%s, %d clients: %+v", m.name, m.clients, one)
			}
			if m.name == writes && (one.WrittenBytes == 0 || one.Syncs == 0 || one.SyncP50 == 0 || one.SyncsPerBatch == 0) {
				t.Errorf("%s, %d clients: what went to the disk is not counted: %+v", m.name, m.clients, one)
			}
			r.add(i, one)
		}
	}

	var text, markdown, asJSON bytes.Buffer
	for format, w := range map[string]io.Writer{"": &text, "markdown": &markdown, "json": &asJSON} {
		if err := r.print(w, format); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range measures {
		if !strings.Contains(text.String(), m.name) || !strings.Contains(markdown.String(), "| "+m.name) {
			t.Errorf("%s is not in\n%s\n%s", m.name, text.String(), markdown.String())
		}
	}
	var back report
	if err := json.Unmarshal(asJSON.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Rows) != len(measures) || len(back.Rows[0].Rounds) != o.rounds || back.Commit == nil || back.Commit.Ratio <= 0 {
		t.Errorf("JSON lacks something: %s", asJSON.String())
	}
}

// Each column's median stands for itself, and the ratio is that of the rounds.
func TestSummary(t *testing.T) {
	r := &report{Rows: []row{
		{Name: secondOf3, Clients: 1, Rounds: []result{{P50: 90}, {P50: 190}, {P50: 290}}},
		{Name: roundTrip, Clients: 1, Rounds: []result{{P50: 10}, {P50: 10}, {P50: 10}}},
		{Name: writes, Clients: 1, Rounds: []result{{P50: 400, Errors: 3}, {P50: 300, Errors: 1}, {P50: 900, Errors: 2}}},
	}}
	r.summarize()
	if got, want := *r.Commit, (commit{FloorP50: 200, P50: 400, Ratio: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := r.Rows[2].Median.Errors; got != 2 {
		t.Errorf("median of 3, 1, 2 errors: %d", got)
	}
	if got := middle([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of 4, 1, 2, 3: %v", got)
	}
}
