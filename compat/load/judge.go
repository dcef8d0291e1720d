package load

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/check"
)

// A Log is every change between two revisions, as a watch of everything told it.
type Log struct {
	// After is the revision before the first change, and Before the state then.
	After  int64
	Before []*mvccpb.KeyValue
	// Last is that of the last change.
	Last   int64
	Events []Seen
}

// at gives the events of a revision.
func (l *Log) at(revision int64) []Seen {
	first, found := slices.BinarySearchFunc(l.Events, revision, func(s Seen, r int64) int { return int(s.Kv.ModRevision - r) })
	if !found {
		return nil
	}
	end := first
	for end < len(l.Events) && l.Events[end].Kv.ModRevision == revision {
		end++
	}
	return l.Events[first:end]
}

// A keyspace is the state at one revision.
type keyspace map[string]*mvccpb.KeyValue

func (l *Log) begin() keyspace {
	now := make(keyspace)
	for _, kv := range l.Before {
		now[string(kv.Key)] = kv
	}
	return now
}

func (k keyspace) apply(ev *mvccpb.Event) {
	if ev.Type == mvccpb.Event_DELETE {
		delete(k, string(ev.Kv.Key))
	} else {
		k[string(ev.Kv.Key)] = ev.Kv
	}
}

// in gives the keys of a range in their order; an end of "" is one key.
func (k keyspace) in(key, end string) []*mvccpb.KeyValue {
	if end == "" {
		if kv := k[key]; kv != nil {
			return []*mvccpb.KeyValue{kv}
		}
		return nil
	}
	var all []*mvccpb.KeyValue
	for name, kv := range k {
		if name >= key && name < end {
			all = append(all, kv)
		}
	}
	slices.SortFunc(all, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return all
}

// JudgeView holds a watch of everything to what a watch promises: every revision
// once, in order, with the values before and the right versions.
func JudgeView(v *View, l *Log) error {
	if len(v.Faults) > 0 {
		return fmt.Errorf("%s: %w", v.Name, v.Faults[0])
	}
	now, at := l.begin(), l.After
	var of map[string]bool // keys of this revision
	for _, ev := range v.Events {
		kv := ev.Kv
		switch {
		case kv.ModRevision == at+1:
			of = map[string]bool{}
		case kv.ModRevision != at || of == nil:
			return fmt.Errorf("%s: revision %d comes after %d", v.Name, kv.ModRevision, at)
		}
		at = kv.ModRevision
		if of[string(kv.Key)] {
			return fmt.Errorf("%s: revision %d tells twice of %q", v.Name, at, kv.Key)
		}
		of[string(kv.Key)] = true
		before := now[string(kv.Key)]
		if !proto.Equal(before, ev.PrevKv) {
			return fmt.Errorf("%s: revision %d of %q tells of %v before, it was %v", v.Name, at, kv.Key, ev.PrevKv, before)
		}
		if ev.Type == mvccpb.Event_PUT {
			version, created := int64(1), at
			if before != nil {
				version, created = before.Version+1, before.CreateRevision
			}
			if kv.Version != version || kv.CreateRevision != created {
				return fmt.Errorf("%s: revision %d: %v, want version %d, created %d", v.Name, at, kv, version, created)
			}
		} else if before == nil {
			return fmt.Errorf("%s: revision %d deletes %q, which was not there", v.Name, at, kv.Key)
		}
		now.apply(ev.Event)
	}
	if at != l.Last {
		return fmt.Errorf("%s: the watch ends at revision %d, the store at %d", v.Name, at, l.Last)
	}
	return nil
}

// JudgeSame holds two watches of everything against each other: each told the same
// of every revision.
func JudgeSame(a, b *View) error {
	for i := range min(len(a.Events), len(b.Events)) {
		if !proto.Equal(a.Events[i].Event, b.Events[i].Event) {
			return fmt.Errorf("%s tells %v, %s tells %v", a.Name, a.Events[i].Event, b.Name, b.Events[i].Event)
		}
	}
	if len(a.Events) != len(b.Events) {
		return fmt.Errorf("%s tells of %d events, %s of %d", a.Name, len(a.Events), b.Name, len(b.Events))
	}
	return nil
}

// Merge gives one log out of views that are the same: each event with the time at
// which the first of them told of it.
func Merge(l Log, views []*View) *Log {
	l.Events = slices.Clone(views[0].Events)
	for _, v := range views[1:] {
		for i := range min(len(l.Events), len(v.Events)) {
			if v.Events[i].At.Before(l.Events[i].At) {
				l.Events[i].At = v.Events[i].At
			}
		}
	}
	return &l
}

// JudgePart holds a watch of a part against the log: exactly what concerns it,
// from where it began to where it was told that it is.
func JudgePart(p *Part, l *Log) error {
	name := fmt.Sprintf("the watch of [%q,%q) from %d to %d", p.Key, p.End, p.First, p.Last)
	if len(p.Faults) > 0 {
		return fmt.Errorf("%s: %w", name, p.Faults[0])
	}
	i := 0
	for _, ev := range l.Events {
		key := string(ev.Kv.Key)
		switch {
		case ev.Kv.ModRevision < p.First || ev.Kv.ModRevision > p.Last,
			p.End == "" && key != p.Key, p.End != "" && (key < p.Key || key >= p.End),
			p.NoPut && ev.Type == mvccpb.Event_PUT, p.NoDelete && ev.Type == mvccpb.Event_DELETE:
			continue
		case i == len(p.Events):
			return fmt.Errorf("%s misses %v", name, ev.Event)
		case !proto.Equal(p.Events[i], ev.Event):
			return fmt.Errorf("%s tells %v, the log has %v", name, p.Events[i], ev.Event)
		}
		i++
	}
	if i < len(p.Events) && p.Events[i].Kv.ModRevision <= l.Last {
		return fmt.Errorf("%s tells %v, which the log has not", name, p.Events[i])
	}
	return nil
}

// JudgeHistory holds what clients were told, on a clock that began then, against
// the log; see the package. Patience bounds the search for an order.
func JudgeHistory(ops []Op, began time.Time, l *Log, patience time.Duration) error {
	if err := judgeWrites(ops, l); err != nil {
		return err
	}
	if err := judgeReads(ops, l); err != nil {
		return err
	}
	if err := judgeOrder(ops); err != nil {
		return err
	}
	if err := judgeFences(ops, l); err != nil {
		return err
	}
	return check.Linearizable(model(ops, began, l), patience)
}

// judgeWrites: what was acknowledged stands in the log, whole, at its revision;
// what was refused nowhere; what was not answered at most once. It notes the
// revision of those, so that the other judges know it.
func judgeWrites(ops []Op, l *Log) error {
	type place struct{ key, value string }
	stands := make(map[place]int64)
	for _, ev := range l.Events {
		if ev.Type != mvccpb.Event_PUT {
			continue
		}
		p := place{string(ev.Kv.Key), string(ev.Kv.Value)}
		// Locks' keys are all written with the same value, and no Op is about them.
		if was := stands[p]; was != 0 && !strings.Contains(p.key, "/lock/") {
			return fmt.Errorf("%q=%q is written twice, at revisions %d and %d", p.key, p.value, was, ev.Kv.ModRevision)
		}
		stands[p] = ev.Kv.ModRevision
	}
	for i := range ops {
		o := &ops[i]
		for j, w := range o.Writes {
			at := stands[place{w.Key, w.Value}]
			switch {
			case w.Delete && o.Outcome != Done:
				continue // deletions of unknown outcome look like any other
			case w.Delete:
				at = o.Revision
			case o.Outcome == Refused && at != 0:
				return fmt.Errorf("%v: was refused and stands at revision %d", o, at)
			case o.Outcome == Done && at != o.Revision:
				return fmt.Errorf("%v: was answered with revision %d and stands at %d", o, o.Revision, at)
			case o.Outcome == Unknown && j > 0 && at != o.Revision:
				return fmt.Errorf("%v: only a part of it stands at revision %d", o, max(at, o.Revision))
			case o.Outcome == Unknown:
				o.Revision = at // 0 if it did not take place
			}
			if at == 0 {
				continue
			}
			events := l.at(at)
			k := slices.IndexFunc(events, func(s Seen) bool { return string(s.Kv.Key) == w.Key })
			switch {
			case len(events) != len(o.Writes):
				return fmt.Errorf("%v: revision %d has %d changes, want %d", o, at, len(events), len(o.Writes))
			case k < 0 || w.Delete != (events[k].Type == mvccpb.Event_DELETE):
				return fmt.Errorf("%v: revision %d does not change %q so", o, at, w.Key)
			case w.HasPrev && !proto.Equal(w.Prev, events[k].PrevKv):
				return fmt.Errorf("%v: was told of %v before, it was %v", o, w.Prev, events[k].PrevKv)
			}
		}
	}
	return nil
}

// judgeReads: a read saw the state of its revision.
func judgeReads(ops []Op, l *Log) error {
	var reads []*Op
	for i := range ops {
		if o := &ops[i]; o.Outcome == Done && len(o.Reads) > 0 {
			reads = append(reads, o)
		}
	}
	slices.SortStableFunc(reads, func(a, b *Op) int { return int(a.Revision - b.Revision) })
	now, next := l.begin(), 0
	for _, o := range reads {
		if o.Revision > l.Last {
			return fmt.Errorf("%v: was answered with revision %d, the last is %d", o, o.Revision, l.Last)
		}
		if o.Revision < l.After {
			if o.Stale {
				continue // of a member that was behind when it all began
			}
			return fmt.Errorf("%v: was answered with revision %d, before it all began at %d", o, o.Revision, l.After)
		}
		for next < len(l.Events) && l.Events[next].Kv.ModRevision <= o.Revision {
			now.apply(l.Events[next].Event)
			next++
		}
		for _, r := range o.Reads {
			want := now.in(r.Key, r.End)
			if !slices.EqualFunc(r.KVs, want, func(a, b *mvccpb.KeyValue) bool { return proto.Equal(a, b) }) {
				return fmt.Errorf("%v: saw %v at revision %d, where the log has %v", o, r.KVs, o.Revision, want)
			}
		}
	}
	return nil
}

// judgeOrder: an answer's revision is not below that of one that came before it was
// asked for, and that of a write is above, also if nobody told the client of it.
func judgeOrder(ops []Op) error {
	type moment struct {
		at     time.Duration
		answer bool
		op     *Op
	}
	var moments []moment
	for i := range ops {
		o := &ops[i]
		if o.Revision == 0 || o.Stale {
			continue
		}
		moments = append(moments, moment{o.Call, false, o})
		if o.Outcome == Done {
			moments = append(moments, moment{o.Return, true, o})
		}
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return int(a.at - b.at) })
	highest := int64(0)
	for _, m := range moments {
		if m.answer {
			highest = max(highest, m.op.Revision)
			continue
		}
		if m.op.Revision < highest || len(m.op.Writes) > 0 && m.op.Revision == highest {
			return fmt.Errorf("%v: took place at revision %d, after %d had been told of", m.op, m.op.Revision, highest)
		}
	}
	return nil
}

// judgeFences: who wrote under a lock held it: its key was there, and the oldest.
func judgeFences(ops []Op, l *Log) error {
	fenced := make(map[int64]*Op)
	for i := range ops {
		if o := &ops[i]; o.Fence != "" && o.Revision != 0 {
			fenced[o.Revision] = o
		}
	}
	now, last := l.begin(), int64(0)
	for _, ev := range l.Events {
		if o := fenced[ev.Kv.ModRevision]; o != nil {
			held := now[o.Fence]
			if held == nil {
				return fmt.Errorf("%v: wrote at revision %d, when %q was gone", o, ev.Kv.ModRevision, o.Fence)
			}
			lock := o.Fence[:strings.LastIndex(o.Fence, "/")+1]
			for name, kv := range now {
				if strings.HasPrefix(name, lock) && kv.CreateRevision < held.CreateRevision {
					return fmt.Errorf("%v: wrote at revision %d, when %q held the lock", o, ev.Kv.ModRevision, name)
				}
			}
			if held.CreateRevision < last {
				return fmt.Errorf("%v: wrote with the fence %d after one with %d", o, held.CreateRevision, last)
			}
			last = held.CreateRevision
		}
		now.apply(ev.Event)
	}
	return nil
}

// model gives what is of registers, for porcupine.
func model(ops []Op, began time.Time, l *Log) []check.RegisterOp {
	var history []check.RegisterOp
	for i := range ops {
		o := &ops[i]
		if o.Register == nil || o.Outcome == Refused || o.Outcome == Unknown && o.Revision == 0 {
			continue // it did not take place, or tells nothing
		}
		m := *o.Register
		m.Call, m.Return = int64(o.Call), int64(o.Return)
		if o.Outcome == Unknown {
			// It took place, which the model must not choose, and before it was told of.
			m.Return = max(m.Call, int64(l.at(o.Revision)[0].At.Sub(began)))
			m.Unknown = m.Kind != check.CompareAndSwap
			if m.Kind == check.CompareAndSwap {
				m.Result = 1
			}
		}
		history = append(history, m)
	}
	return history
}
