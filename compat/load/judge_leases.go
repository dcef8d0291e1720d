package load

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// An Interval is a time in which the cluster was disturbed: from a fault until
// writes succeed.
type Interval struct {
	From, To time.Time
	What     string
	// All: no member ran for a part of it, so that nobody knew of the time that
	// passed.
	All bool
}

// LeaseVerdict sums up how leases ended.
type LeaseVerdict struct {
	Judged int
	// Worst is how late the latest ended after it was due, and Net that less the
	// time in which nobody could write.
	Worst, Net time.Duration
}

// JudgeLeases: none ended before its holder's last answered renewal ran out; none
// lived longer than late allows after its end was due. An end that is due while
// nobody can write is due when somebody can.
func JudgeLeases(tenures []Tenure, l *Log, disturbed []Interval, late time.Duration) (LeaseVerdict, error) {
	deleted := make(map[string]time.Time)
	put := make(map[string]bool)
	for _, ev := range l.Events {
		if ev.Type == mvccpb.Event_DELETE {
			deleted[string(ev.Kv.Key)] = ev.At
		} else {
			put[string(ev.Kv.Key)] = true
		}
	}
	var verdict LeaseVerdict
	var wrong []error
	for _, t := range tenures {
		if t.Wrong != nil {
			wrong = append(wrong, fmt.Errorf("the lease of %s for %v: %w", t.Key, t.TTL, t.Wrong))
		}
		if !put[t.Key] {
			continue
		}
		verdict.Judged++
		end, gone := deleted[t.Key]
		if gone && end.Before(t.Renewed.Add(t.TTL)) {
			wrong = append(wrong, fmt.Errorf("the lease of %s ended %v before its %v were over", t.Key, t.Renewed.Add(t.TTL).Sub(end), t.TTL))
		}
		plain := t.Abandoned.Add(t.TTL)
		due, met := excuse(t, plain, disturbed, late)
		switch over := end.Sub(due); {
		case !gone:
			wrong = append(wrong, fmt.Errorf("the lease of %s, due %v ago, has not ended; met %q", t.Key, time.Since(due), met))
		case over > late:
			wrong = append(wrong, fmt.Errorf("the lease of %s for %v ended %v late; met %q", t.Key, t.TTL, over, met))
		default:
			verdict.Net = max(verdict.Net, over)
			verdict.Worst = max(verdict.Worst, end.Sub(plain))
		}
	}
	return verdict, errors.Join(wrong...)
}

// excuse gives when a lease's end was due in view of the disturbances that it met.
func excuse(t Tenure, due time.Time, disturbed []Interval, late time.Duration) (time.Time, []string) {
	var met []string
	for _, d := range disturbed {
		if d.To.Before(t.Renewed) || d.From.After(due.Add(late)) {
			continue
		}
		met = append(met, d.What)
		switch {
		case d.All && d.From.Before(due):
			due = due.Add(d.To.Sub(d.From))
		case d.To.After(due):
			due = d.To
		}
	}
	return due, met
}
