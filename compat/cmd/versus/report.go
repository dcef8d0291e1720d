package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// A report is all that was measured.
type report struct {
	o *options

	Date       string `json:"date"`
	Processors int    `json:"processors"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	Conditions string `json:"conditions"`

	Turns     []*turn    `json:"turns,omitempty"`
	Ratios    []ratio    `json:"ratios,omitempty"`
	Failovers []kill     `json:"failovers,omitempty"`
	Restarts  []restart  `json:"restarts,omitempty"`
	Targets   []*verdict `json:"targets,omitempty"`
}

// A ratio is the first server's figure divided by another's of the same round.
type ratio struct {
	Workload string    `json:"workload"`
	Against  string    `json:"against"`
	What     string    `json:"what"`
	Rounds   []float64 `json:"rounds"`
	Median   float64   `json:"median"`
}

// A verdict is what was to be reached and what was measured.
type verdict struct {
	What  string `json:"what"`
	Aim   string `json:"aim"`
	Found string `json:"found"`
	Holds bool   `json:"holds"`
}

func newReport(o *options) *report {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // empty where there is none
	return &report{
		o: o, Date: time.Now().UTC().Format(time.DateOnly), Processors: runtime.NumCPU(),
		Kernel: strings.TrimSpace(string(kernel)), Go: runtime.Version(),
		Conditions: fmt.Sprintf("3 processes each; %d clients on %d connections; values of %d B; %d keys; %v a turn after %v; %d rounds; fsync %v; election timeout %v",
			o.clients, o.connections, o.size, o.keySpace, o.duration, o.warmUp, o.rounds, !o.noFsync, o.election),
	}
}

func (r *report) add(t *turn) { r.Turns = append(r.Turns, t) }

// column gives one figure of each turn of a server's workload, in the order of the
// rounds.
func (r *report) column(workload string, server string, of func(*turn) float64) []float64 {
	var values []float64
	for _, t := range r.Turns {
		if t.Workload == workload && t.Server == server {
			values = append(values, of(t))
		}
	}
	return values
}

// compared are the figures that ratios are made of.
var compared = []struct {
	what string
	of   func(*turn) float64
}{
	{"rate", func(t *turn) float64 { return t.Rate }},
	{"server CPU per operation", func(t *turn) float64 { return t.CPU }},
	{"p50", func(t *turn) float64 { return t.P50 }},
	{"p99", func(t *turn) float64 { return t.P99 }},
}

// judge makes ratios, and holds what was measured against what was to be reached.
func (r *report) judge() {
	for _, w := range workloads {
		for _, figure := range compared {
			for _, other := range r.o.servers[1:] {
				ours, theirs := r.column(w.name, r.o.servers[0], figure.of), r.column(w.name, other, figure.of)
				if len(ours) == 0 || len(ours) != len(theirs) {
					continue
				}
				q := ratio{Workload: w.name, Against: other, What: figure.what}
				for i := range ours {
					q.Rounds = append(q.Rounds, ours[i]/theirs[i])
				}
				q.Median = median(q.Rounds)
				r.Ratios = append(r.Ratios, q)
			}
		}
	}
	// What was to be reached is meant for this load alone.
	meant := r.o.clients == 1024 && r.o.connections == 100 && r.o.size == 256 && !r.o.noFsync
	for _, q := range r.Ratios {
		switch found := spread(q.Rounds, "%.2f times etcd's"); {
		case !meant || q.Workload != "put" || q.Against != string(cluster.Etcd):
		case q.What == "rate":
			r.verdict("puts per second", "at least 2 times etcd's", found, q.Median >= 2)
		case q.What == "server CPU per operation":
			r.verdict("server CPU per put", "at most 0.5 times etcd's", found, q.Median <= 0.5)
		}
	}
	r.judgeFailovers()
	r.judgeRestarts()
}

func (r *report) verdict(what, aim, found string, holds bool) {
	r.Targets = append(r.Targets, &verdict{what, aim, found, holds})
}

// print says everything in text, in tables that a document can take over.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s; %d processors; Linux %s; %s\n%s\n", r.Date, r.Processors, r.Kernel, r.Go, r.Conditions)
	fmt.Fprintf(w, "Medians of the rounds, with the least and the greatest.\n")
	r.printTurns(w)
	r.printRatios(w)
	r.printFailovers(w)
	r.printRestarts(w)
	if len(r.Targets) == 0 {
		return
	}
	fmt.Fprint(w, "\n| | to reach | found | |\n|---|---|---|---|\n")
	for _, v := range r.Targets {
		holds := "holds"
		if !v.Holds {
			holds = "**not reached**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", v.What, v.Aim, v.Found, holds)
	}
}

func (r *report) printTurns(w io.Writer) {
	if len(r.Turns) == 0 {
		return
	}
	fmt.Fprint(w, "\n| | server | operations/s | p50 ms | p99 ms | server CPU s/100k | leader's part | log fsyncs/op | switches/op | resident MiB |\n")
	fmt.Fprintln(w, "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, load := range workloads {
		for _, server := range r.o.servers {
			if len(r.column(load.name, server, func(*turn) float64 { return 0 })) == 0 {
				continue
			}
			cell := func(format string, of func(*turn) float64) string {
				return spread(r.column(load.name, server, of), format)
			}
			middle := func(format string, of func(*turn) float64) string {
				return fmt.Sprintf(format, median(r.column(load.name, server, of)))
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", load.name, server,
				cell("%.0f", func(t *turn) float64 { return t.Rate }),
				cell("%.2f", func(t *turn) float64 { return t.P50 * 1e3 }),
				cell("%.1f", func(t *turn) float64 { return t.P99 * 1e3 }),
				cell("%.2f", func(t *turn) float64 { return t.CPU }),
				middle("%.2f", func(t *turn) float64 { return t.Leader }),
				middle("%.4f", func(t *turn) float64 { return t.Syncs }),
				middle("%.2f", func(t *turn) float64 { return t.Switches }),
				middle("%.0f", func(t *turn) float64 { return float64(t.Resident) / (1 << 20) }))
		}
	}
	for _, load := range workloads {
		if slices.Contains(r.o.what, load.name) {
			fmt.Fprintf(w, "\n%s: %s, counted in %s.", load.name, load.about, load.unit)
		}
	}
	fmt.Fprintln(w)
	other := make([]float64, 0, len(r.Turns))
	for _, t := range r.Turns {
		other = append(other, t.OtherCores+t.StolenCores)
	}
	fmt.Fprintf(w, "Other processes and the hypervisor took %s of %d cores.\n", spread(other, "%.2f"), r.Processors)
}

func (r *report) printRatios(w io.Writer) {
	for _, other := range r.o.servers[1:] {
		if !slices.ContainsFunc(r.Ratios, func(q ratio) bool { return q.Against == other }) {
			continue
		}
		fmt.Fprintf(w, "\n%s's figure divided by %s's of the same round:\n\n| |", r.o.servers[0], other)
		for _, figure := range compared {
			fmt.Fprintf(w, " %s |", figure.what)
		}
		fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(compared)))
		for _, load := range workloads {
			var cells strings.Builder
			for _, q := range r.Ratios {
				if q.Against == other && q.Workload == load.name {
					fmt.Fprintf(&cells, " %s |", spread(q.Rounds, "%.2f"))
				}
			}
			if cells.Len() > 0 {
				fmt.Fprintf(w, "| %s |%s\n", load.name, &cells)
			}
		}
	}
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// spread is the median of some measurements, with the least and the greatest if
// there are several.
func spread(values []float64, format string) string {
	switch len(values) {
	case 0:
		return "-"
	case 1:
		return fmt.Sprintf(format, values[0])
	}
	number, unit, _ := strings.Cut(format, " ")
	if unit != "" {
		unit = " " + unit
	}
	return fmt.Sprintf(number+" ("+number+"-"+number+")%s", median(values), slices.Min(values), slices.Max(values), unit)
}

func milliseconds(seconds float64) string { return fmt.Sprintf("%.1f ms", seconds*1e3) }
