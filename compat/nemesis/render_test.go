package nemesis

import (
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/compat/load"
)

// TestReport: the report tells of every round and asks for nothing from elsewhere.
func TestReport(t *testing.T) {
	r := &Result{Nodes: 3, Seed: 7, Network: "network namespaces", Began: time.Unix(0, 0)}
	began := r.Began.Add(time.Second)
	ops := []load.Op{{Return: time.Second}, {Return: 1100 * time.Millisecond, Outcome: load.Unknown}, {Return: 1200 * time.Millisecond, Outcome: load.Refused}}
	round := &Round{
		Number: 1, From: 1, To: 12, Healed: 9, Recovery: 0.5, Operations: 3,
		Faults:     []Injected{{Kind: "kill leader", What: "kill -9 n2", Nodes: []int{1}, From: 3, To: 5}, {Kind: "lossy", What: "5% of packets are lost", From: 4, To: 8}},
		Reigns:     []Reign{{Node: 1, Term: 4, From: 0, To: 3}},
		Violations: []string{`a <script> is text`},
		Errors:     map[string]int{"no leader": 2},
		Bins:       r.bins(began, ops, 1, 10),
	}
	if b := round.Bins[4]; b.Done != 1 || b.Unknown != 1 || b.Refused != 1 {
		t.Errorf("the bin at one second is %+v, want one of each", b)
	}
	r.add(round)
	var b strings.Builder
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1 violations", "leads term 4", "kill -9 n2", "5% of packets", "a &lt;script&gt; is text", "no leader", `id="round1"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	for _, not := range []string{"http://", "https://", "<script", "src="} {
		if strings.Contains(b.String(), not) {
			t.Errorf("the report has %q", not)
		}
	}
	b.Reset()
	if err := r.WriteTable(&b); err != nil || !strings.Contains(b.String(), "1 VIOLATIONS\nround 1: a <script> is text") {
		t.Errorf("the table is %v\n%s", err, b.String())
	}
}

// TestScripts: every script names faults that exist.
func TestScripts(t *testing.T) {
	for name, script := range scripts {
		for _, s := range script {
			if kinds[s.kind] == nil {
				t.Errorf("script %q has a fault %q, which there is not", name, s.kind)
			}
		}
	}
	if err := (Config{Nodes: 2, Only: []string{"x"}, Script: "y"}).Validate(); err == nil ||
		!strings.Contains(err.Error(), "2 nodes") || !strings.Contains(err.Error(), `no fault "x"`) || !strings.Contains(err.Error(), `no script "y"`) {
		t.Errorf("a wrong configuration gives %v", err)
	}
}
