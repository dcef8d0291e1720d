package diff

import (
	"bytes"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// A watcher is one watch as both servers know it.
type watcher struct {
	id        int64
	req       *pb.WatchCreateRequest
	start     int64 // the first revision that it asks for
	compacted int64 // the last compaction when it was created
	got       [2]delivered
	// synced: etcd is known to have read all history for it, so that a compaction
	// does not end it.
	synced bool

	read     int             // how much of the log was looked at for due events
	asked    []*mvccpb.Event // those that are due
	compared int             // how many events were compared
	counted  int             // how many the coverage knows
}

// delivered is what one server sent to one watch.
type delivered struct {
	created  bool
	events   []*mvccpb.Event
	fragment bool              // the last message said that more of it follows
	ended    *pb.WatchResponse // the answer that ended it unasked
	claims   []claim
}

// A claim is a progress notification: all up to rev was sent, and count events
// had been.
type claim struct {
	rev   int64
	count int
}

// streamPair is a watch stream to both servers, and the watches on it.
type streamPair struct {
	watchers map[int64]*watcher
	pending  *pb.WatchCreateRequest // being created
	replies  [2][]*pb.WatchResponse // to requests, not yet taken
	progress [2]int64               // the revision told last
}

// deliver sorts what came from one side to its watches. The error is what is
// wrong with it whatever the other side says.
func (p *streamPair) deliver(side int, came []*pb.WatchResponse, now bases) error {
	for _, r := range came {
		w := p.watchers[r.WatchId]
		switch {
		case r.Created:
			if !r.Canceled {
				if w == nil {
					w = newWatcher(r, p.pending, now)
					p.watchers[r.WatchId] = w
				}
				w.got[side].created = true
			}
			p.replies[side] = append(p.replies[side], r)
		case r.Canceled && r.CompactRevision == 0:
			p.replies[side] = append(p.replies[side], r)
		case len(r.Events) == 0 && !r.Canceled && r.WatchId == -1:
			p.progress[side] = r.Header.Revision
			for _, w := range p.watchers {
				w.claim(side, r.Header.Revision)
			}
		case w == nil:
			return fmt.Errorf("a message for watch %d, which does not exist: %v", r.WatchId, r)
		default:
			if err := w.deliver(side, r); err != nil {
				return fmt.Errorf("watch %d: %w", w.id, err)
			}
		}
	}
	return nil
}

func newWatcher(created *pb.WatchResponse, req *pb.WatchCreateRequest, now bases) *watcher {
	w := &watcher{id: created.WatchId, req: req, start: req.StartRevision, compacted: now.compacted}
	if w.start == 0 {
		w.start = created.Header.Revision + 1
	}
	w.synced = w.start > created.Header.Revision
	return w
}

func (w *watcher) deliver(side int, r *pb.WatchResponse) error {
	d := &w.got[side]
	switch {
	case d.ended != nil:
		return fmt.Errorf("a message after the end: %v", r)
	case r.Canceled:
		d.ended = r
		return nil
	case len(r.Events) == 0:
		w.claim(side, r.Header.Revision)
		return nil
	}
	var last int64
	if n := len(d.events); n > 0 {
		last = d.events[n-1].Kv.ModRevision
		if r.Events[0].Kv.ModRevision == last && !d.fragment {
			return fmt.Errorf("revision %d is cut in two messages", last)
		}
	}
	for _, ev := range r.Events {
		if ev.Kv.ModRevision < last {
			return fmt.Errorf("revision %d comes after %d", ev.Kv.ModRevision, last)
		}
		last = ev.Kv.ModRevision
	}
	if r.Header.Revision < last {
		return fmt.Errorf("the header's revision is %d, the last event's %d", r.Header.Revision, last)
	}
	d.events = append(d.events, r.Events...)
	d.fragment = r.Fragment
	return nil
}

func (w *watcher) claim(side int, rev int64) {
	if d := &w.got[side]; d.created {
		d.claims = append(d.claims, claim{rev, len(d.events)})
	}
}

// expired: the watch asked for what was compacted away.
func (w *watcher) expired() bool { return w.start < w.compacted }

// asks says whether the watch asked for an event.
func (w *watcher) asks(ev *mvccpb.Event) bool {
	if w.expired() || ev.Kv.ModRevision < w.start {
		return false
	}
	for _, f := range w.req.Filters {
		if f == pb.WatchCreateRequest_NOPUT && ev.Type == mvccpb.Event_PUT ||
			f == pb.WatchCreateRequest_NODELETE && ev.Type == mvccpb.Event_DELETE {
			return false
		}
	}
	key, end := w.req.Key, w.req.RangeEnd
	if len(key) == 0 {
		key = []byte{0}
	}
	if len(end) == 0 {
		return bytes.Equal(ev.Kv.Key, key)
	}
	endless := len(end) == 1 && end[0] == 0
	return bytes.Compare(ev.Kv.Key, key) >= 0 && (endless || bytes.Compare(ev.Kv.Key, end) < 0)
}

// due returns the log's events that the watch must get. Of the revision of the
// last compaction before it not all need be left, so they are not among them.
func (w *watcher) due(log []*mvccpb.Event) []*mvccpb.Event {
	for ; w.read < len(log); w.read++ {
		if ev := log[w.read]; w.asks(ev) && ev.Kv.ModRevision > w.compacted {
			w.asked = append(w.asked, ev)
		}
	}
	return w.asked
}

// later are the events after the last compaction before the watch.
func (w *watcher) later(events []*mvccpb.Event) []*mvccpb.Event {
	for i, ev := range events {
		if ev.Kv.ModRevision > w.compacted {
			return events[i:]
		}
	}
	return nil
}

// complete says whether a side has sent all that is due.
func (w *watcher) complete(side int, log []*mvccpb.Event) bool {
	d := &w.got[side]
	if w.expired() {
		return d.ended != nil
	}
	return d.ended != nil || len(w.later(d.events)) >= len(w.due(log))
}

// compare says in what the two sides differ; partly: either may lag.
func (w *watcher) compare(log []*mvccpb.Event, partly bool) error {
	a, b := &w.got[0], &w.got[1]
	if !partly {
		switch {
		case (a.ended == nil) != (b.ended == nil):
			return fmt.Errorf("ended by one side only: %v, %v", a.ended, b.ended)
		case a.ended != nil && !proto.Equal(withoutIDs(a.ended), withoutIDs(b.ended)):
			return fmt.Errorf("ended with %v and with %v", a.ended, b.ended)
		case len(a.events) != len(b.events):
			return fmt.Errorf("%d events and %d:\n%s\n%s", len(a.events), len(b.events), list(a.events), list(b.events))
		}
	}
	common := min(len(a.events), len(b.events))
	for i := w.compared; i < common; i++ {
		if !proto.Equal(a.events[i], b.events[i]) {
			return fmt.Errorf("event %d is\n%v\nand\n%v", i, a.events[i], b.events[i])
		}
	}
	due := w.due(log)
	for side := range w.got {
		got := w.later(w.got[side].events)
		if len(got) > len(due) || !partly && w.got[side].ended == nil && len(got) != len(due) {
			return fmt.Errorf("%s sent %d events where %d are due:\n%s", sideNames[side], len(got), len(due), list(got))
		}
		for i := max(0, w.compared-(len(w.got[side].events)-len(got))); i < len(got); i++ {
			if ev := got[i]; ev.Kv.ModRevision != due[i].Kv.ModRevision || !bytes.Equal(ev.Kv.Key, due[i].Kv.Key) {
				return fmt.Errorf("%s sent %v where %v is due", sideNames[side], got[i], due[i])
			}
		}
		for _, c := range w.got[side].claims {
			if n := countUpTo(due, c.rev) + len(w.got[side].events) - len(got); n > c.count {
				return fmt.Errorf("%s told of progress up to %d after %d of %d events", sideNames[side], c.rev, c.count, n)
			}
		}
		w.got[side].claims = nil
	}
	w.compared = common
	return nil
}

var sideNames = [2]string{"the reference", "the subject"}

func countUpTo(events []*mvccpb.Event, rev int64) int {
	for i, ev := range events {
		if ev.Kv.ModRevision > rev {
			return i
		}
	}
	return len(events)
}

func list(events []*mvccpb.Event) string {
	var b bytes.Buffer
	for _, ev := range events {
		fmt.Fprintf(&b, "  %v %q mod %d prev %v\n", ev.Type, ev.Kv.Key, ev.Kv.ModRevision, ev.PrevKv)
	}
	return b.String()
}

func withoutIDs(r *pb.WatchResponse) *pb.WatchResponse {
	r = proto.Clone(r).(*pb.WatchResponse)
	if r.Header != nil {
		r.Header.ClusterId, r.Header.MemberId, r.Header.RaftTerm = 0, 0, 0
	}
	return r
}
