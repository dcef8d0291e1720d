package nemesis

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

//go:embed report.html
var reportText string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"chart": chart, "faultCounts": faultCounts, "duration": func(s float64) string {
		return time.Duration(s * float64(time.Second)).Round(time.Second).String()
	},
	"member": member, "sorted": sortedErrors, "trackOf": trackOf, "legend": legend,
	"seconds": func(s float64) string { return fmt.Sprintf("%.2f s", s) },
	"sub":     func(a, b float64) string { return fmt.Sprintf("%.1f", a-b) },
	"percent": func(n, of int) string {
		if of == 0 {
			return "0"
		}
		return fmt.Sprintf("%.1f", 100*float64(n)/float64(of))
	},
}).Parse(reportText))

// WriteHTML writes a report that needs nothing but itself.
func (r *Result) WriteHTML(w io.Writer) error { return reportTemplate.Execute(w, r) }

type count struct {
	Name  string
	N     int
	Width int // percent of the most
	Track string
}

func faultCounts(faults map[string]int) []count {
	most := 1
	for _, n := range faults {
		most = max(most, n)
	}
	var all []count
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		all = append(all, count{name, faults[name], 100 * faults[name] / most, trackOf(name)})
	}
	slices.SortStableFunc(all, func(a, b count) int { return strings.Compare(a.Track, b.Track) })
	return all
}

func sortedErrors(errs map[string]int) []count {
	var all []count
	for name, n := range errs {
		all = append(all, count{Name: name, N: n})
	}
	slices.SortFunc(all, func(a, b count) int { return b.N - a.N })
	return all
}

func trackOf(kind string) string {
	if k := kinds[kind]; k != nil {
		return k.track
	}
	return ""
}

// The chart of a round, in pixels.
const (
	chartWidth = 1120
	chartLeft  = 92
	opsHeight  = 96
	tookHeight = 72
	laneHeight = 44
	chartGap   = 18
)

// A drawing is SVG under construction.
type drawing struct {
	strings.Builder
	from, to float64
}

func (d *drawing) x(at float64) float64 {
	at = min(max(at, d.from), d.to)
	return chartLeft + (at-d.from)/(d.to-d.from)*(chartWidth-chartLeft-8)
}

func (d *drawing) f(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func (d *drawing) text(x, y float64, class, s string) {
	d.f(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, template.HTMLEscapeString(s))
}

// box draws a stretch of time, with what it is on it where there is room.
func (d *drawing) box(from, to, y, height float64, class, label, title string) {
	x, width := d.x(from), max(d.x(to)-d.x(from), 1.5)
	d.f(`<g><title>%s</title><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2" class="%s"/>`, template.HTMLEscapeString(title), x, y, width, height, class)
	if room := int((width - 6) / 5.6); room >= len(label) {
		d.text(x+4, y+height/2+3.5, "on "+class+"-on", label)
	}
	d.f(`</g>`)
}

// chart draws a round: what was answered, how long it took, who led, what was
// broken.
func chart(r *Result, round *Round) template.HTML {
	d := &drawing{from: round.From, to: max(round.Healed+round.Recovery+1, round.From+1)}
	lanes := r.Nodes + 1
	height := 20 + opsHeight + chartGap + tookHeight + chartGap + lanes*laneHeight + 26
	d.f(`<svg viewBox="0 0 %d %d" role="img" aria-label="round %d">`, chartWidth, height, round.Number)
	for at := 0.0; at <= d.to-d.from; at += 5 {
		x := d.x(d.from + at)
		d.f(`<line x1="%.1f" x2="%.1f" y1="14" y2="%d" class="grid"/>`, x, x, height-22)
		d.text(x, float64(height-8), "tick", fmt.Sprintf("%.0f s", at))
	}
	y := d.operations(round, 20) + chartGap
	y = d.latency(round, y) + chartGap
	d.lanes(r, round, y)
	x := d.x(round.Healed)
	d.f(`<line x1="%.1f" x2="%.1f" y1="14" y2="%d" class="healed"/>`, x, x, height-22)
	d.text(x-4, 12, "mark", "faults end")
	d.f(`</svg>`)
	return template.HTML(d.String())
}

func (d *drawing) operations(round *Round, y float64) float64 {
	most := 1
	for _, b := range round.Bins {
		most = max(most, b.Done+b.Unknown+b.Refused)
	}
	base := y + opsHeight
	d.text(chartLeft-8, y+9, "label", "operations/s")
	d.text(chartLeft-8, y+22, "dim", fmt.Sprintf("most %.0f", float64(most)/binSeconds))
	d.f(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="axis"/>`, chartLeft, chartWidth-8, base, base)
	width := max(d.x(d.from+binSeconds)-d.x(d.from)-0.6, 0.8)
	for _, b := range round.Bins {
		top := base
		for _, part := range []struct {
			n     int
			class string
		}{{b.Done, "done"}, {b.Unknown, "unknown"}, {b.Refused, "refused"}} {
			if part.n == 0 {
				continue
			}
			h := float64(part.n) / float64(most) * opsHeight
			top -= h
			d.f(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="%s"/>`, d.x(b.At), top, width, h, part.class)
		}
	}
	return base
}

// latency is drawn from 1 ms to 10 s, each decade as high as the next.
func (d *drawing) latency(round *Round, y float64) float64 {
	base := y + tookHeight
	level := func(ms float64) float64 {
		decades := 0.0
		for v := 1.0; v < ms && decades < 4; v *= 1.2589254 { // a tenth of a decade
			decades += 0.1
		}
		return base - decades/4*tookHeight
	}
	d.text(chartLeft-8, y+9, "label", "answered in")
	for _, l := range []struct {
		ms   float64
		name string
	}{{1, "1 ms"}, {100, "100 ms"}, {10000, "10 s"}} {
		d.f(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="grid"/>`, chartLeft, chartWidth-8, level(l.ms), level(l.ms))
		if l.ms < 10000 {
			d.text(chartLeft-8, level(l.ms)+3, "dim", l.name)
		}
	}
	for _, line := range []struct {
		class string
		of    func(b Bin) float64
	}{{"max", func(b Bin) float64 { return b.Max }}, {"p50", func(b Bin) float64 { return b.P50 }}} {
		var path strings.Builder
		open := false
		for _, b := range round.Bins {
			v := line.of(b)
			if v == 0 {
				open = false
				continue
			}
			step := "L"
			if !open {
				step = "M"
			}
			open = true
			fmt.Fprintf(&path, "%s%.1f %.1f", step, d.x(b.At+binSeconds/2), level(v))
		}
		d.f(`<path d="%s" class="%s"/>`, path.String(), line.class)
	}
	return base
}

// lanes shows each member: above when it led, below what was done to it; and in a
// lane of their own the faults that hit all.
func (d *drawing) lanes(r *Result, round *Round, y float64) {
	for i := range r.Nodes {
		top := y + float64(i*laneHeight)
		d.f(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="grid"/>`, chartLeft, chartWidth-8, top-2, top-2)
		d.text(chartLeft-8, top+20, "label", member(i))
		for _, reign := range round.Reigns {
			if reign.Node == i && reign.To > d.from && reign.From < d.to {
				d.box(reign.From, reign.To, top, 11, "leader", fmt.Sprintf("leads term %d", reign.Term),
					fmt.Sprintf("%s leads in term %d, %.1f to %.1f s", member(i), reign.Term, reign.From-d.from, reign.To-d.from))
			}
		}
		for _, f := range round.Faults {
			if slices.Contains(f.Nodes, i) {
				d.fault(f, top)
			}
		}
	}
	top := y + float64(r.Nodes*laneHeight)
	d.f(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="grid"/>`, chartLeft, chartWidth-8, top-2, top-2)
	d.text(chartLeft-8, top+20, "label", "all links")
	for _, f := range round.Faults {
		if len(f.Nodes) == 0 {
			d.fault(f, top)
		}
	}
}

// fault draws one, the three tracks beneath each other.
func (d *drawing) fault(f Injected, top float64) {
	row, track := 13.0, trackOf(f.Kind)
	switch track {
	case links:
		row = 22.5
	case disks:
		row = 32
	}
	d.box(f.From, f.To, top+row, 9, track, f.Kind, fmt.Sprintf("%s: %s, %.1f to %.1f s", f.Kind, f.What, f.From-d.from, f.To-d.from))
}

type key struct{ Class, Name string }

func legend() []key {
	return []key{
		{"done", "answered"},
		{"unknown", "without an answer"},
		{"refused", "refused"},
		{"leader", "leads"},
		{processes, "killed, stopped or paused"},
		{links, "links cut, slow or lossy"},
		{disks, "disk full"},
	}
}
