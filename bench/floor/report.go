package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what all rounds gave.
type report struct {
	Conditions conditions `json:"conditions"`
	Rows       []row      `json:"rows"`
	Commit     *commit    `json:"commit,omitempty"`
}

type conditions struct {
	Time       time.Time `json:"time"`
	Go         string    `json:"go"`
	Platform   string    `json:"platform"`
	CPUs       int       `json:"cpus"`
	GOMAXPROCS int       `json:"gomaxprocs"`
	Load       string    `json:"load_average,omitempty"`
	Directory  string    `json:"directory"`
	Nodes      int       `json:"nodes"`
	Groups     int       `json:"groups"`
	Payload    int       `json:"payload_bytes"`
	Seconds    float64   `json:"seconds"`
	Rounds     int       `json:"rounds"`
	NoSync     bool      `json:"no_sync"`
}

// row is one measure in every round.
type row struct {
	Name    string   `json:"name"`
	Clients int      `json:"clients"`
	Median  result   `json:"median"`
	Rounds  []result `json:"rounds"`
}

// commit compares one client's commits with the floor of the same round.
type commit struct {
	// FloorP50 is the p50 of the second fastest of three syncs and that of a
	// round trip, added; P50 that of one client's proposals.
	FloorP50 float64 `json:"floor_p50_us"`
	P50      float64 `json:"p50_us"`
	// Ratio is the median of the rounds' ratios.
	Ratio float64 `json:"ratio"`
}

func newReport(o *options, dir string, measures []measure) *report {
	r := &report{Conditions: conditions{
		Time: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		CPUs: runtime.NumCPU(), GOMAXPROCS: runtime.GOMAXPROCS(0), Load: loadAverage(), Directory: dir,
		Nodes: o.nodes, Groups: o.groups, Payload: o.payload, Seconds: o.window.Seconds(), Rounds: o.rounds, NoSync: o.noSync,
	}}
	for _, m := range measures {
		r.Rows = append(r.Rows, row{Name: m.name, Clients: m.clients})
	}
	return r
}

// loadAverage tells how busy the machine is with other things.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(b))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

func (r *report) add(i int, one result) { r.Rows[i].Rounds = append(r.Rows[i].Rounds, one) }

// summarize computes medians, column by column.
func (r *report) summarize() {
	for i := range r.Rows {
		r.Rows[i].Median = median(r.Rows[i].Rounds)
	}
	second, trip, write := r.find(secondOf3, 1), r.find(roundTrip, 1), r.find(writes, 1)
	if second == nil || trip == nil || write == nil {
		return
	}
	var floors, ratios []float64
	for k := range write.Rounds {
		floor := second.Rounds[k].P50 + trip.Rounds[k].P50
		floors = append(floors, floor)
		ratios = append(ratios, write.Rounds[k].P50/floor)
	}
	r.Commit = &commit{FloorP50: middle(floors), P50: write.Median.P50, Ratio: middle(ratios)}
}

func (r *report) find(name string, clients int) *row {
	i := slices.IndexFunc(r.Rows, func(row row) bool { return row.Name == name && row.Clients == clients })
	if i < 0 {
		return nil
	}
	return &r.Rows[i]
}

// median takes the median of each field by itself.
func median(rounds []result) result {
	var m result
	to := reflect.ValueOf(&m).Elem()
	for f := range to.NumField() {
		var values []float64
		for i := range rounds {
			field := reflect.ValueOf(rounds[i]).Field(f)
			if field.CanUint() {
				values = append(values, float64(field.Uint()))
			} else {
				values = append(values, field.Float())
			}
		}
		if to.Field(f).CanUint() {
			to.Field(f).SetUint(uint64(middle(values)))
		} else {
			to.Field(f).SetFloat(middle(values))
		}
	}
	return m
}

func middle(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (r *report) print(w io.Writer, format string) error {
	r.summarize()
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case "markdown":
		return r.table(w, "| ", " | ", " |", true)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i := range r.Rows { // its column alone is aligned to the left
		r.Rows[i].Name = fmt.Sprintf("%-*s", len(twoPlaces)+2, r.Rows[i].Name)
	}
	if err := r.table(tw, "", "\t", "\t", false); err != nil {
		return err
	}
	return tw.Flush()
}

// columns are those of the table.
var columns = []struct {
	title string
	value func(name string, clients int, r *result) string
}{
	{"", func(name string, _ int, _ *result) string { return name }},
	{"clients", func(_ string, clients int, _ *result) string { return fmt.Sprint(clients) }},
	{"ops/s", func(_ string, _ int, r *result) string { return fmt.Sprintf("%.0f", r.PerSecond) }},
	{"p50 µs", func(_ string, _ int, r *result) string { return short(r.P50) }},
	{"p99 µs", func(_ string, _ int, r *result) string { return short(r.P99) }},
	{"p999 µs", func(_ string, _ int, r *result) string { return short(r.P999) }},
	{"CPU s/100k", func(_ string, _ int, r *result) string { return short(r.CPU) }},
	{"cores", func(_ string, _ int, r *result) string { return fmt.Sprintf("%.2f", r.Cores) }},
	{"allocs/op", func(_ string, _ int, r *result) string { return short(r.Allocs) }},
	{"B/op", func(_ string, _ int, r *result) string { return fmt.Sprintf("%.0f", r.AllocBytes) }},
	{"switches/op", func(_ string, _ int, r *result) string { return short(r.ContextSwitches) }},
	{"fsyncs/op", func(_ string, _ int, r *result) string { return some(r.Syncs) }},
	{"fsyncs/batch", func(_ string, _ int, r *result) string { return some(r.SyncsPerBatch) }},
	{"disk B/op", func(_ string, _ int, r *result) string { return some(r.WrittenBytes) }},
	{"log sync p50 µs", func(_ string, _ int, r *result) string { return some(r.SyncP50) }},
	{"errors", func(_ string, _ int, r *result) string { return some(float64(r.Errors)) }},
}

// some leaves out what is nothing, short gives three digits.
func some(v float64) string {
	if v == 0 {
		return ""
	}
	return short(v)
}

func short(v float64) string {
	switch {
	case v < 0.995:
		return fmt.Sprintf("%.3f", v)
	case v < 9.95:
		return fmt.Sprintf("%.2f", v)
	case v < 99.5:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func (r *report) table(w io.Writer, open, between, end string, ruled bool) error {
	var b strings.Builder
	c := &r.Conditions
	fmt.Fprintf(&b, "%d nodes, %d group(s), %d B proposals; %d rounds of %g s, medians; %s %s, %d CPUs, GOMAXPROCS %d; load before %s; in %s\n",
		c.Nodes, c.Groups, c.Payload, c.Rounds, c.Seconds, c.Go, c.Platform, c.CPUs, c.GOMAXPROCS, c.Load, c.Directory)
	if c.NoSync {
		b.WriteString("WITHOUT SYNCS in the library: nothing was durable\n")
	}
	b.WriteString("\n")
	line := func(cell func(i int) string) {
		b.WriteString(open)
		for i := range columns {
			if i > 0 {
				b.WriteString(between)
			}
			b.WriteString(cell(i))
		}
		b.WriteString(end + "\n")
	}
	line(func(i int) string { return columns[i].title })
	if ruled {
		line(func(i int) string {
			if i == 0 {
				return "---"
			}
			return "---:"
		})
	}
	for k := range r.Rows {
		row := &r.Rows[k]
		line(func(i int) string { return columns[i].value(row.Name, row.Clients, &row.Median) })
	}
	if r.Commit != nil {
		fmt.Fprintf(&b, "\nFloor of a commit, p50: %.0f µs. One client, p50: %.0f µs, %.2f times the floor (median of the rounds' ratios).\n",
			r.Commit.FloorP50, r.Commit.P50, r.Commit.Ratio)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
