package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// result is what all judges said of a mutant.
type result struct {
	Name     string    `json:"name"`
	Bug      string    `json:"bug"`
	Row      string    `json:"row"`
	Origin   string    `json:"origin,omitempty"`
	Needed   []string  `json:"needed"` // judges that have to find it
	Verdicts []verdict `json:"verdicts"`
	Err      string    `json:"error,omitempty"`
}

// missed gives the judges that had to find the bug, were asked, and did not.
func (r *result) missed() []string {
	var missed []string
	for _, v := range r.Verdicts {
		if !v.Caught && slices.Contains(r.Needed, v.Judge) {
			missed = append(missed, v.Judge)
		}
	}
	return missed
}

// survived reports whether nobody found the bug, or not all who have to.
func (r *result) survived() bool {
	return r.Err != "" || len(r.missed()) > 0 || !slices.ContainsFunc(r.Verdicts, func(v verdict) bool { return v.Caught })
}

// first gives the judge that found it first, and what it and those before took.
func (r *result) first() (by *verdict, cpu float64) {
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		cpu += v.CPU
		if v.Caught {
			return v, cpu
		}
	}
	return nil, cpu
}

// of gives what a judge said, in a word.
func (r *result) of(judge string) string {
	for _, v := range r.Verdicts {
		switch {
		case v.Judge != judge:
		case v.Err != "":
			return "ERROR"
		case !v.Caught && slices.Contains(r.Needed, judge):
			return "MISSED"
		case !v.Caught:
			return "no"
		case judge == judgeTests:
			return strings.TrimPrefix(v.By, "Test")
		case v.States > 0:
			return fmt.Sprintf("%s, %d states", v.By, v.States)
		case v.Seeds > 0:
			return fmt.Sprintf("%s, seed %d", v.By, v.Seeds)
		default:
			return v.By
		}
	}
	return ""
}

func (r *result) line() string {
	var b strings.Builder
	fmt.Fprint(&b, r.Name)
	if r.Err != "" {
		fmt.Fprintf(&b, ": ERROR %s", r.Err)
	}
	for _, v := range r.Verdicts {
		fmt.Fprintf(&b, "; %s: %s (%.2f s)", v.Judge, r.of(v.Judge), v.CPU)
		if v.Err != "" {
			fmt.Fprintf(&b, " %s", strings.TrimSpace(v.Err))
		}
	}
	return b.String()
}

// table is the outcome.
type table struct {
	Results []result `json:"results"`
	Seeds   int      `json:"seeds"` // at most, for one bug
	Seconds float64  `json:"seconds"`
}

// read takes a table that was printed as JSON, with the judges that have to find
// each bug as the patches name them now.
func (t *table) read(name string, mutants []mutant) error {
	text, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(text, t)
	}
	for i := range t.Results {
		r := &t.Results[i]
		if k := slices.IndexFunc(mutants, func(m mutant) bool { return m.name == r.Name }); k >= 0 {
			r.Needed = mutants[k].needed
		}
	}
	return err
}

func (t *table) survivors() int {
	n := 0
	for i := range t.Results {
		if t.Results[i].survived() {
			n++
		}
	}
	return n
}

// summary tells how many were found, by whom, and how fast.
func (t *table) summary() []string {
	var cpu []float64
	found := map[string]int{}
	for i := range t.Results {
		r := &t.Results[i]
		if v, took := r.first(); v != nil {
			cpu = append(cpu, took)
		}
		for _, v := range r.Verdicts {
			if v.Caught {
				found[v.Judge]++
			}
		}
	}
	lines := []string{fmt.Sprintf("%d planted bugs, %d caught, %d survived.", len(t.Results), len(t.Results)-t.survivors(), t.survivors())}
	var by []string
	for _, judge := range allJudges {
		if n := found[judge]; n > 0 {
			by = append(by, fmt.Sprintf("%s %d", judge, n))
		}
	}
	lines = append(lines, "Caught by: "+strings.Join(by, ", ")+".")
	if len(cpu) > 0 {
		slices.Sort(cpu)
		lines = append(lines, fmt.Sprintf("CPU seconds until the first judge found it: median %.2f, worst %.2f.", cpu[len(cpu)/2], cpu[len(cpu)-1]))
	}
	for _, judge := range []string{judgeSim, judgeTrace, judgeClients} {
		var seeds []uint64
		for i := range t.Results {
			for _, v := range t.Results[i].Verdicts {
				if v.Judge == judge && v.Caught {
					seeds = append(seeds, v.Seeds)
				}
			}
		}
		if len(seeds) > 0 {
			slices.Sort(seeds)
			lines = append(lines, fmt.Sprintf("Seeds until %s found it: median %d, worst %d (at most %d were run).", judge, seeds[len(seeds)/2], seeds[len(seeds)-1], t.Seeds))
		}
	}
	for i := range t.Results {
		if r := &t.Results[i]; r.survived() {
			lines = append(lines, "SURVIVED: "+r.line())
		}
	}
	return lines
}

// columns are the judges that anybody was shown to.
func (t *table) columns() []string {
	var judges []string
	for _, judge := range allJudges {
		if slices.ContainsFunc(t.Results, func(r result) bool {
			return slices.ContainsFunc(r.Verdicts, func(v verdict) bool { return v.Judge == judge })
		}) {
			judges = append(judges, judge)
		}
	}
	return judges
}

func (t *table) text(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	judges := t.columns()
	fmt.Fprintf(tw, "BUG\tROW\t%s\tCPU s\n", strings.ToUpper(strings.Join(judges, "\t")))
	for i := range t.Results {
		r := &t.Results[i]
		fmt.Fprintf(tw, "%s\t%s\t", r.Name, r.Row)
		for _, judge := range judges {
			fmt.Fprintf(tw, "%s\t", r.of(judge))
		}
		_, cpu := r.first()
		fmt.Fprintf(tw, "%.2f\n", cpu)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\nTook %.0f s.\n", strings.Join(t.summary(), "\n"), t.Seconds)
	return err
}

// The marks between which write puts the table.
const (
	beginMark = "<!-- mutants: begin -->\n"
	endMark   = "<!-- mutants: end -->\n"
)

// write puts the table into a document.
func (t *table) write(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return fmt.Errorf("%s: no %q and %q", name, strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(beginMark)
	t.markdown(&b)
	b.WriteString(endMark)
	b.Write(after)
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// headings are the judges as the document names them.
var headings = map[string]string{
	judgeTests: "tests", judgeExplore: "model check", judgeSim: "simulator", judgeTrace: "traces", judgeClients: "clients alone",
}

func (t *table) markdown(b *bytes.Buffer) {
	for _, line := range t.summary() {
		fmt.Fprintf(b, "- %s\n", line)
	}
	judges := t.columns()
	fmt.Fprint(b, "\n| Bug | Row |")
	for _, judge := range judges {
		fmt.Fprintf(b, " %s |", headings[judge])
	}
	fmt.Fprint(b, " CPU s |\n|---|---|")
	fmt.Fprint(b, strings.Repeat("---|", len(judges)), "--:|\n")
	for i := range t.Results {
		r := &t.Results[i]
		fmt.Fprintf(b, "| `%s`: %s", r.Name, r.Bug)
		switch r.Origin {
		case "":
		case "own":
			fmt.Fprint(b, " (own)")
		default:
			fmt.Fprintf(b, " (had by %s)", r.Origin)
		}
		fmt.Fprintf(b, " | %s |", r.Row)
		for _, judge := range judges {
			fmt.Fprintf(b, " %s |", r.of(judge))
		}
		_, cpu := r.first()
		fmt.Fprintf(b, " %.2f |\n", cpu)
	}
}
