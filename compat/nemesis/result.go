package nemesis

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/compat/load"
)

// Result is what a run came to. Durations are in seconds, offsets from Began.
type Result struct {
	Nodes   int       `json:"nodes"`
	Seed    uint64    `json:"seed"`
	Network string    `json:"network"`
	Disk    string    `json:"disk"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Version string    `json:"version"`
	Totals  Totals    `json:"totals"`
	Rounds  []*Round  `json:"rounds"`
}

// Totals are sums over rounds.
type Totals struct {
	Rounds       int            `json:"rounds"`
	Operations   int            `json:"operations"`
	Unknown      int            `json:"unknown"`
	Refused      int            `json:"refused"`
	Revisions    int64          `json:"revisions"`
	WatchEvents  int            `json:"watch_events"`
	Bookmarks    int            `json:"bookmarks"`
	Resumed      int            `json:"watches_resumed"`
	Parts        int            `json:"watches_of_parts"`
	Fenced       int            `json:"fenced_writes"`
	Leases       int            `json:"leases"`
	Compactions  int            `json:"compactions"`
	Terms        int            `json:"terms_with_leader"`
	Faults       map[string]int `json:"faults"`
	PacketsLost  int64          `json:"packets_lost"`
	Packets      int64          `json:"packets"`
	Violations   int            `json:"violations"`
	WorstOutage  float64        `json:"worst_outage_seconds"`
	WorstRecover float64        `json:"worst_recovery_seconds"`
	LeaseLate    float64        `json:"worst_lease_lateness_seconds"`
}

// Round is one round.
type Round struct {
	Number     int               `json:"number"`
	Script     string            `json:"script"`
	From       float64           `json:"from"`
	To         float64           `json:"to"`
	Healed     float64           `json:"healed"`   // when the faults ended
	Recovery   float64           `json:"recovery"` // from then until writes succeeded and all answered
	Outage     float64           `json:"outage"`   // the longest time without a write that succeeded
	Operations int               `json:"operations"`
	ByKind     map[string]int    `json:"by_kind"`
	Unknown    int               `json:"unknown"`
	Refused    int               `json:"refused"`
	Errors     map[string]int    `json:"errors,omitempty"`
	Revisions  int64             `json:"revisions"`
	Watched    int               `json:"watch_events"`
	Bookmarks  int               `json:"bookmarks"`
	Resumed    int               `json:"watches_resumed"`
	Parts      int               `json:"watches_of_parts"`
	Fenced     int               `json:"fenced_writes"`
	Leases     load.LeaseVerdict `json:"leases"`
	Compacted  int               `json:"compactions"`
	Faults     []Injected        `json:"faults"`
	Reigns     []Reign           `json:"reigns"`
	Bins       []Bin             `json:"bins"`
	Notes      []string          `json:"notes,omitempty"`
	Violations []string          `json:"violations,omitempty"`
}

// Injected is one fault.
type Injected struct {
	Kind  string  `json:"kind"`
	What  string  `json:"what"`
	Nodes []int   `json:"nodes"` // whom it hits; none is all
	From  float64 `json:"from"`
	To    float64 `json:"to"`
}

// Reign is a time in which a member said that it leads.
type Reign struct {
	Node int     `json:"node"`
	Term uint64  `json:"term"`
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// Bin is what was answered in a quarter of a second.
type Bin struct {
	At      float64 `json:"at"`
	Done    int     `json:"done"`
	Unknown int     `json:"unknown"`
	Refused int     `json:"refused"`
	// P50 and Max are of the time that answers took, in milliseconds.
	P50 float64 `json:"p50_ms"`
	Max float64 `json:"max_ms"`
}

const binSeconds = 0.25

func (r *Result) since(t time.Time) float64 { return t.Sub(r.Began).Seconds() }

// bins sorts operations by when they ended.
func (r *Result) bins(began time.Time, ops []load.Op, from, to float64) []Bin {
	n := int((to-from)/binSeconds) + 1
	bins := make([]Bin, n)
	took := make([][]float64, n)
	for i := range bins {
		bins[i].At = from + float64(i)*binSeconds
	}
	for i := range ops {
		o := &ops[i]
		b := int((r.since(began.Add(o.Return)) - from) / binSeconds)
		if b < 0 || b >= n {
			continue
		}
		switch o.Outcome {
		case load.Done:
			bins[b].Done++
		case load.Unknown:
			bins[b].Unknown++
		default:
			bins[b].Refused++
		}
		took[b] = append(took[b], float64(o.Return-o.Call)/1e6)
	}
	for i, t := range took {
		if len(t) > 0 {
			slices.Sort(t)
			bins[i].P50, bins[i].Max = t[len(t)/2], t[len(t)-1]
		}
	}
	return bins
}

// add sums a round up.
func (r *Result) add(round *Round) {
	r.Rounds = append(r.Rounds, round)
	t := &r.Totals
	if t.Faults == nil {
		t.Faults = map[string]int{}
	}
	t.Rounds++
	t.Operations += round.Operations
	t.Unknown += round.Unknown
	t.Refused += round.Refused
	t.Revisions += round.Revisions
	t.WatchEvents += round.Watched
	t.Bookmarks += round.Bookmarks
	t.Resumed += round.Resumed
	t.Parts += round.Parts
	t.Fenced += round.Fenced
	t.Leases += round.Leases.Judged
	t.Compactions += round.Compacted
	t.Terms += len(round.Reigns)
	for _, f := range round.Faults {
		t.Faults[f.Kind]++
	}
	t.Violations += len(round.Violations)
	t.WorstOutage = max(t.WorstOutage, round.Outage)
	t.WorstRecover = max(t.WorstRecover, round.Recovery)
	t.LeaseLate = max(t.LeaseLate, round.Leases.Net.Seconds())
}

// WriteJSON writes everything but the bins' detail that nobody compares.
func (r *Result) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r)
}

// WriteTable writes the summary.
func (r *Result) WriteTable(w io.Writer) error {
	t := r.Totals
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("cluster", "%d members, %s, %s", r.Nodes, r.Network, r.Disk)
	row("seed", "%d", r.Seed)
	row("time", "%v, %d rounds", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), t.Rounds)
	row("operations", "%d; %d without an answer, %d refused", t.Operations, t.Unknown, t.Refused)
	row("revisions", "%d, %d compactions", t.Revisions, t.Compactions)
	row("watches", "%d events, %d bookmarks, taken up again %d times; %d watches of parts", t.WatchEvents, t.Bookmarks, t.Resumed, t.Parts)
	row("locks", "%d writes with a fence", t.Fenced)
	row("leases", "%d; the latest ended %.2f s late", t.Leases, t.LeaseLate)
	row("leaders", "%d terms", t.Terms)
	row("outages", "the longest %.2f s; all well %.2f s after the last fault at worst", t.WorstOutage, t.WorstRecover)
	if t.Packets > 0 {
		row("packets", "%d carried, %d lost on purpose", t.Packets, t.PacketsLost)
	}
	total := 0
	for _, n := range t.Faults {
		total += n
	}
	row("faults", "%d", total)
	if err := tw.Flush(); err != nil {
		return err
	}
	var kinds []string
	for kind := range t.Faults {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	tw = tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for i := 0; i < len(kinds); i += 3 {
		var cells []string
		for _, k := range kinds[i:min(i+3, len(kinds))] {
			cells = append(cells, fmt.Sprintf("%6d %s", t.Faults[k], k))
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if t.Violations == 0 {
		_, err := fmt.Fprintln(w, "\n0 violations")
		return err
	}
	fmt.Fprintf(w, "\n%d VIOLATIONS\n", t.Violations)
	for _, round := range r.Rounds {
		for _, v := range round.Violations {
			fmt.Fprintf(w, "round %d: %s\n", round.Number, v)
		}
	}
	return nil
}
