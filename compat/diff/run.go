package diff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// Patience is how long what is due may take, on a machine that does much else.
const Patience = 20 * time.Second

// A Divergence is the first difference between the two servers.
type Divergence struct {
	Step int // the operation after which it showed
	What string
	// Done are the operations as they were sent, revisions absolute, up to and
	// with that step.
	Done []Op
}

func (d *Divergence) Error() string { return fmt.Sprintf("operation %d: %s", d.Step, d.What) }

// differs is the error of a step that divides the two.
type differs struct{ what string }

func (d *differs) Error() string { return d.what }

func differf(format string, args ...any) error { return &differs{fmt.Sprintf(format, args...)} }

type run struct {
	ctx   context.Context
	sides [2]*side
	bases bases
	pairs [Streams]*streamPair
	// log is every event, in its order, as the reference told it.
	log      []*mvccpb.Event
	coverage *Coverage
	patience time.Duration
	done     []Op
}

// Run gives ops to both servers, which must be fresh, and returns the first
// difference: nil if there is none. Events that do not come within the patience
// are one. The error is of the tester, not of a server.
func Run(ctx context.Context, reference, subject Target, ops []Op, coverage *Coverage, patience time.Duration) (*Divergence, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &run{ctx: ctx, coverage: coverage, patience: patience}
	r.sides[0], r.sides[1] = &side{target: reference}, &side{target: subject}
	defer r.close(cancel)
	for _, s := range r.sides {
		var err error
		if s.keepAlive, err = pb.NewLeaseClient(s.target.Conn).LeaseKeepAlive(ctx); err != nil {
			return nil, fmt.Errorf("diff: %s: keep alive: %w", s.target.Name, err)
		}
	}
	// The Status tells each member's id before an operation needs it.
	if _, err := r.both(Status, &pb.StatusRequest{}); err != nil {
		return r.divergence(0, err)
	}
	if err := r.watchAll(); err != nil {
		return nil, err
	}
	for i, op := range ops {
		if err := r.step(op); err != nil {
			return r.divergence(i, err)
		}
	}
	return nil, nil
}

func (r *run) divergence(step int, err error) (*Divergence, error) {
	var d *differs
	if errors.As(err, &d) {
		return &Divergence{Step: step, What: d.what, Done: r.done}, nil
	}
	return nil, fmt.Errorf("diff: operation %d: %w", step, err)
}

func (r *run) close(cancel context.CancelFunc) {
	cancel()
	for _, s := range r.sides {
		for _, st := range append(s.streams[:], s.log) {
			if st != nil {
				st.close()
			}
		}
	}
}

// watchAll opens the watch of all events on the reference.
func (r *run) watchAll() error {
	s := r.sides[0]
	var err error
	if s.log, err = openStream(r.ctx, pb.NewWatchClient(s.target.Conn)); err != nil {
		return fmt.Errorf("diff: watching %s: %w", s.target.Name, err)
	}
	// Of the future, so that no compaction can overtake it.
	all := &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: 2}
	if err := s.log.client.Send(watchRequest(all)); err != nil {
		return fmt.Errorf("diff: watching %s: %w", s.target.Name, err)
	}
	return wait(r.ctx, s.log, r.patience, func() (bool, error) { return len(s.log.take()) > 0, nil })
}

func (r *run) step(op Op) error {
	msg := op.Msg
	if msg != nil {
		for _, s := range r.sides {
			r.bases.self = s.self
		}
		msg = resolve(msg, r.bases)
	}
	r.done = append(r.done, Op{op.Kind, msg, op.Stream})
	r.coverage.operation(op.Kind)
	switch op.Kind {
	case WatchCreate:
		return r.create(op.Stream, msg.(*pb.WatchCreateRequest))
	case WatchCancel:
		return r.cancel(op.Stream, msg.(*pb.WatchCancelRequest))
	case WatchProgress:
		return r.progress(op.Stream)
	case WatchClose:
		return r.closeStream(op.Stream)
	case Settle:
		return r.settleAll()
	case Compact:
		// What an old watch still gets depends on whether it was quicker.
		if err := r.settleAll(); err != nil {
			return err
		}
		if err := r.dropUnsynced(); err != nil {
			return err
		}
	}
	a, err := r.both(op.Kind, op.Msg)
	if err != nil {
		return err
	}
	r.coverage.answer(op.Kind, msg, a)
	if h := a.header(); h != nil && op.Kind != HashKV {
		r.bases.current = max(r.bases.current, h.Revision)
	}
	if c, ok := msg.(*pb.CompactionRequest); ok && a.msg != nil {
		r.bases.compacted = c.Revision
	}
	return nil
}

// both gives one exchange to both at once and compares the answers.
func (r *run) both(k Kind, msg proto.Message) (answer, error) {
	var answers [2]answer
	var wg sync.WaitGroup
	for i, s := range r.sides {
		wg.Go(func() {
			b := r.bases
			b.self = s.self
			answers[i] = s.call(r.ctx, k, resolve(msg, b))
		})
	}
	wg.Wait()
	if r.ctx.Err() != nil {
		return answer{}, r.ctx.Err()
	}
	if !answers[0].equal(answers[1]) {
		return answer{}, differf("%s %v\n  %s: %v\n  %s: %v", k, short(resolve(msg, r.bases)),
			r.sides[0].target.Name, short(answers[0]), r.sides[1].target.Name, short(answers[1]))
	}
	return answers[0], nil
}

func short(v any) string {
	s := fmt.Sprint(v)
	if len(s) > 3000 {
		s = s[:3000] + "..."
	}
	return s
}

func (r *run) open(i int) error {
	if r.pairs[i] != nil {
		return nil
	}
	for _, s := range r.sides {
		var err error
		if s.streams[i], err = openStream(r.ctx, pb.NewWatchClient(s.target.Conn)); err != nil {
			return fmt.Errorf("watching %s: %w", s.target.Name, err)
		}
	}
	r.pairs[i] = &streamPair{watchers: make(map[int64]*watcher)}
	return nil
}

// await waits until done holds of a side's stream.
func (r *run) await(i, side int, done func(p *streamPair) bool) error {
	p := r.pairs[i]
	err := wait(r.ctx, r.sides[side].streams[i], r.patience, func() (bool, error) {
		if err := p.deliver(side, r.sides[side].streams[i].take(), r.bases); err != nil {
			return false, differf("stream %d of %s: %v", i, r.sides[side].target.Name, err)
		}
		return done(p), nil
	})
	var d *differs
	if err == nil || errors.As(err, &d) || r.ctx.Err() != nil {
		return err
	}
	return differf("stream %d of %s: %v%s", i, r.sides[side].target.Name, err, r.lacking(i, side))
}

func (r *run) lacking(i, side int) string {
	var b strings.Builder
	for _, w := range r.pairs[i].watchers {
		if !w.complete(side, r.log) {
			fmt.Fprintf(&b, "\nwatch %d (%v) got\n%sand is due\n%s",
				w.id, w.req, list(w.got[side].events), list(w.due(r.log)))
		}
	}
	return b.String()
}

func (r *run) send(i int, msg proto.Message) error {
	for _, s := range r.sides {
		if err := s.streams[i].client.Send(watchRequest(msg)); err != nil {
			return differf("stream %d of %s takes no more: %v", i, s.target.Name, err)
		}
	}
	return nil
}

// reply waits for the answers to a request on a stream and compares them.
func (r *run) reply(i int) (*pb.WatchResponse, error) {
	var got [2]*pb.WatchResponse
	for side := range r.sides {
		if err := r.await(i, side, func(p *streamPair) bool { return len(p.replies[side]) > 0 }); err != nil {
			return nil, err
		}
		replies := &r.pairs[i].replies[side]
		got[side], *replies = withoutIDs((*replies)[0]), (*replies)[1:]
	}
	if !proto.Equal(got[0], got[1]) {
		return nil, differf("stream %d\n  %s: %v\n  %s: %v", i,
			r.sides[0].target.Name, got[0], r.sides[1].target.Name, got[1])
	}
	return got[0], nil
}

func (r *run) create(i int, req *pb.WatchCreateRequest) error {
	if err := r.open(i); err != nil {
		return err
	}
	r.pairs[i].pending = req
	if err := r.send(i, req); err != nil {
		return err
	}
	resp, err := r.reply(i)
	if err != nil {
		return err
	}
	r.coverage.watch(req, resp)
	return nil
}

func (r *run) cancel(i int, req *pb.WatchCancelRequest) error {
	if r.pairs[i] == nil {
		return nil
	}
	w := r.pairs[i].watchers[req.WatchId]
	if w != nil {
		// An event on its way could meet the next watch of this id.
		if err := r.settle(i); err != nil {
			return err
		}
	}
	if err := r.send(i, req); err != nil || w == nil {
		return err // no answer comes for one that does not exist
	}
	if _, err := r.reply(i); err != nil {
		return err
	}
	delete(r.pairs[i].watchers, req.WatchId)
	return nil
}

// dropUnsynced cancels the watches of the past to which nothing was due: whether
// etcd has found that out yet, or ends them with the next compaction, is chance.
func (r *run) dropUnsynced() error {
	for i, p := range r.pairs {
		if p == nil {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(p.watchers)) {
			w := p.watchers[id]
			if w.expired() || w.synced || len(w.got[0].events) > 0 {
				continue
			}
			if err := r.cancel(i, &pb.WatchCancelRequest{WatchId: id}); err != nil {
				return err
			}
		}
	}
	return nil
}

// progress asks until both tell of the present revision. etcd keeps silent while
// a watch of the stream lags, waits for the future or was ended by a compaction.
func (r *run) progress(i int) error {
	p := r.pairs[i]
	if p == nil {
		return nil
	}
	told := len(p.watchers) > 0
	for _, w := range p.watchers {
		told = told && !w.expired() && w.start <= r.bases.current+1 && w.req.StartRevision <= r.bases.current
	}
	if !told {
		return r.send(i, &pb.WatchProgressRequest{})
	}
	if err := r.settle(i); err != nil {
		return err
	}
	p.progress = [2]int64{}
	for side, s := range r.sides {
		st := s.streams[i]
		deadline := time.Now().Add(r.patience)
		for p.progress[side] != r.bases.current {
			if time.Now().After(deadline) {
				return differf("stream %d of %s: progress was asked for at %d, told last: %d",
					i, s.target.Name, r.bases.current, p.progress[side])
			}
			if err := st.client.Send(watchRequest(&pb.WatchProgressRequest{})); err != nil {
				return differf("stream %d of %s takes no more: %v", i, s.target.Name, err)
			}
			err := wait(r.ctx, st, 150*time.Millisecond, func() (bool, error) {
				err := p.deliver(side, st.take(), r.bases)
				return p.progress[side] == r.bases.current, err
			})
			if err != nil && !errors.Is(err, errPatience) {
				return differf("stream %d of %s: %v", i, s.target.Name, err)
			}
		}
	}
	for _, w := range p.watchers {
		w.synced = true
	}
	r.coverage.note("progress told")
	return nil
}

func (r *run) closeStream(i int) error {
	p := r.pairs[i]
	if p == nil {
		return nil
	}
	if err := r.readLog(); err != nil {
		return err
	}
	for side, s := range r.sides {
		s.streams[i].close()
		if err := p.deliver(side, s.streams[i].take(), r.bases); err != nil {
			return differf("stream %d of %s: %v", i, s.target.Name, err)
		}
		s.streams[i] = nil
	}
	r.pairs[i] = nil
	for _, w := range p.watchers {
		if err := w.compare(r.log, true); err != nil {
			return differf("stream %d, watch %d (%v): %v", i, w.id, w.req, err)
		}
	}
	return nil
}

// readLog waits until the log of all events reaches the present revision.
func (r *run) readLog() error {
	s := r.sides[0].log
	err := wait(r.ctx, s, r.patience, func() (bool, error) {
		for _, resp := range s.take() {
			r.log = append(r.log, resp.Events...)
		}
		n := len(r.log)
		return r.bases.current <= 1 || n > 0 && r.log[n-1].Kv.ModRevision >= r.bases.current, nil
	})
	if err != nil {
		return fmt.Errorf("the log of all events up to %d: %w", r.bases.current, err)
	}
	return nil
}

func (r *run) settleAll() error {
	for i := range r.pairs {
		if r.pairs[i] != nil {
			if err := r.settle(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle waits until all that is due on a stream came from both, and compares.
func (r *run) settle(i int) error {
	if err := r.readLog(); err != nil {
		return err
	}
	for side := range r.sides {
		err := r.await(i, side, func(p *streamPair) bool {
			for _, w := range p.watchers {
				if !w.complete(side, r.log) {
					return false
				}
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	for _, w := range r.pairs[i].watchers {
		if err := w.compare(r.log, false); err != nil {
			return differf("stream %d, watch %d (%v): %v", i, w.id, w.req, err)
		}
		r.coverage.events(w)
	}
	return nil
}
