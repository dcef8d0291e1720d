package nemesis

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/compat/load"
)

type faultTracks = sync.WaitGroup

// judgePatience bounds the search for an order of operations.
const judgePatience = time.Minute

// judge holds all that was seen in a round against what is promised.
func (e *env) judge(ctx context.Context, r *Round, l *load.Load, log *load.Log, views []*load.View, parts []*load.Part, gaps []load.Interval) {
	check := func(err error) {
		if err != nil {
			e.violate("%v", err)
		}
	}
	merged := load.Merge(*log, views)
	for _, v := range views {
		check(load.JudgeView(v, merged))
		check(load.JudgeSame(views[0], v))
	}
	for _, p := range parts {
		check(load.JudgePart(p, merged))
	}
	check(load.JudgeHistory(l.Ops(), l.Began(), merged, judgePatience))
	var err error
	r.Leases, err = load.JudgeLeases(l.Leases.Tenures(), merged, gaps, lateness)
	check(err)
	// To judge takes as long as the machine lets it, which is no member's fault.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.config.Recovery)
	defer cancel()
	check(load.Equal(ctx, e.nodes, log.Last, func(i int) *clientv3.Client { return e.dial(i) }))
}

// finish counts what a round came to.
func (e *env) finish(r *Round, l *load.Load, views []*load.View, parts []*load.Part, began time.Time) {
	now := time.Now()
	r.To = e.result.since(now)
	ops := l.Ops()
	r.Operations, r.ByKind, r.Errors = len(ops), map[string]int{}, l.Errors()
	for i := range ops {
		o := &ops[i]
		r.ByKind[o.Kind]++
		switch o.Outcome {
		case load.Unknown:
			r.Unknown++
		case load.Refused:
			r.Refused++
		case load.Done:
			if o.Fence != "" {
				r.Fenced++
			}
			if len(o.Writes) > 0 {
				r.Revisions++
			}
		}
	}
	for i, v := range views {
		if i == 0 {
			r.Revisions = 0
			for j, ev := range v.Events {
				if j == 0 || ev.Kv.ModRevision != v.Events[j-1].Kv.ModRevision {
					r.Revisions++
				}
			}
		}
		r.Watched += len(v.Events)
		r.Bookmarks += v.Bookmarks
		r.Resumed += v.Resumed
	}
	for _, p := range parts {
		r.Watched += len(p.Events)
	}
	r.Parts = len(parts)
	r.Bins = e.result.bins(l.Began(), ops, r.From, r.Healed+r.Recovery+1)
	reigns, faults := e.observer.Take(began)
	for _, f := range faults {
		e.violate("%v", f)
	}
	for _, reign := range reigns {
		for i, n := range e.nodes {
			if n.Name == reign.Member {
				r.Reigns = append(r.Reigns, Reign{i, reign.Term, e.result.since(reign.From), e.result.since(reign.To)})
			}
		}
	}
	if l.Leases != nil && len(views) > 0 && (r.Operations < 100 || r.Leases.Judged == 0) {
		e.violate("%d operations and %d leases are too few to judge", r.Operations, r.Leases.Judged)
	}
	e.result.add(r)
	e.print(r)
}
