package nemesis

import (
	"fmt"
	"time"
)

// print tells of a round in one line.
func (e *env) print(r *Round) {
	script := r.Script
	if script == "" {
		script = "random mix"
	}
	verdict := "ok"
	if len(r.Violations) > 0 {
		verdict = fmt.Sprintf("%d VIOLATIONS", len(r.Violations))
	}
	fmt.Fprintf(e.config.Out, "%8v  round %3d  %-34s %3d faults %6d ops (%d unknown) %6d revisions %3d leases %2d terms  outage %5.2fs  well after %5.2fs  %s\n",
		time.Since(e.result.Began).Round(time.Second), r.Number, script, len(r.Faults), r.Operations, r.Unknown, r.Revisions,
		r.Leases.Judged, len(r.Reigns), r.Outage, r.Recovery, verdict)
	for _, n := range r.Notes {
		fmt.Fprintf(e.config.Out, "          %s\n", n)
	}
}
