package etcd

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/watch"
)

type watchServer struct {
	*Server
	etcdserverpb.UnsafeWatchServer
}

type watchGRPC = grpc.BidiStreamingServer[etcdserverpb.WatchRequest, etcdserverpb.WatchResponse]

// Watch serves any number of watchers on one stream.
func (s *watchServer) Watch(stream watchGRPC) error {
	watches, err := s.keys.Watches()
	if err != nil {
		return rpctypes.ErrGRPCStopped
	}
	ctx, cancel := context.WithCancel(stream.Context())
	w := &watchStream{
		Server: s.Server, stream: stream, watches: watches, ctx: ctx,
		wishes: map[int64]*wish{}, sent: make(chan struct{}, 1),
	}
	ended := make(chan error, 2)
	// Not waited for: Recv ends with the connection's stream, which does when this
	// returns, and grpc-go's server waits for that.
	go func() {
		if err := w.receive(); err != nil {
			ended <- err
		}
	}()
	var sending sync.WaitGroup
	sending.Go(func() { ended <- w.send() })
	sending.Go(w.notifyProgress)
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	cancel()
	watches.Close()
	sending.Wait()
	switch {
	case errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCWatchCanceled
	case errors.Is(err, watch.ErrClosed), errors.Is(err, store.ErrClosed):
		return rpctypes.ErrGRPCStopped
	}
	return err
}

// wish is what a client wants of a watcher beside events.
type wish struct {
	fragment bool
	progress bool
	// told: there were events since the last notice of progress was due, so none
	// is needed.
	told bool
}

// watchStream is one client's stream. One goroutine receives, one sends, one
// waits for notices to become due.
type watchStream struct {
	*Server
	stream  watchGRPC
	watches *keyspace.Watches
	ctx     context.Context
	// sent is signalled when a response has left.
	sent chan struct{}

	mu     sync.Mutex
	wishes map[int64]*wish
}

// waitingMax is how many responses may wait for a client that sends requests and
// does not read.
const waitingMax = 1024

func (w *watchStream) receive() error {
	for {
		r, err := w.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil // it sends no more; its watchers go on, as in etcd
		}
		if err != nil {
			if w.ctx.Err() == nil {
				w.streamFailed("receive", "watch")
			}
			return err
		}
		for w.watches.Waiting() > waitingMax {
			select {
			case <-w.sent:
			case <-w.ctx.Done():
				return w.ctx.Err()
			}
		}
		switch r := r.RequestUnion.(type) {
		case *etcdserverpb.WatchRequest_CreateRequest:
			w.create(r.CreateRequest)
		case *etcdserverpb.WatchRequest_CancelRequest:
			if w.watches.Cancel(r.CancelRequest.GetWatchId()) {
				w.forget(r.CancelRequest.GetWatchId())
			}
		case *etcdserverpb.WatchRequest_ProgressRequest:
			w.watches.RequestProgressAll()
		}
	}
}

func (w *watchStream) create(r *etcdserverpb.WatchCreateRequest) {
	if r == nil {
		return
	}
	if r.StartRevision < 0 {
		w.watches.Reject(rpctypes.ErrCompacted)
		return
	}
	request := watch.Watch{ID: r.WatchId, Key: r.Key, RangeEnd: r.RangeEnd, Start: r.StartRevision, Prev: r.PrevKv}
	if len(request.Key) == 0 {
		request.Key = []byte{0} // the first there can be
	}
	for _, f := range r.Filters {
		request.NoPut = request.NoPut || f == etcdserverpb.WatchCreateRequest_NOPUT
		request.NoDelete = request.NoDelete || f == etcdserverpb.WatchCreateRequest_NODELETE
	}
	// Held so that the watcher's wishes are known before its first response leaves.
	w.mu.Lock()
	defer w.mu.Unlock()
	id, err := w.watches.Watch(w.ctx, request)
	switch {
	case errors.Is(err, keyspace.ErrDenied):
		w.watches.Reject(rpctypes.ErrGRPCPermissionDenied)
	case err == nil && (r.Fragment || r.ProgressNotify):
		w.wishes[id] = &wish{fragment: r.Fragment, progress: r.ProgressNotify}
	}
}

func (w *watchStream) forget(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.wishes, id)
}

func (w *watchStream) send() error {
	for {
		r, err := w.watches.Next(w.ctx)
		if err != nil {
			return err
		}
		if err := w.sendOne(&r); err != nil {
			if w.ctx.Err() == nil {
				w.streamFailed("send", "watch")
			}
			return err
		}
		select {
		case w.sent <- struct{}{}:
		default:
		}
	}
}

func (w *watchStream) sendOne(r *watch.Response) error {
	out := &etcdserverpb.WatchResponse{Header: w.headerAt(r.Revision), WatchId: r.ID}
	switch r.Kind {
	case watch.Created:
		out.Created = true
	case watch.Rejected:
		out.Created, out.Canceled, out.CancelReason = true, true, r.Err.Error()
	case watch.Canceled:
		out.Canceled = true
	case watch.Compacted:
		out.Canceled, out.CompactRevision = true, r.CompactRevision
		w.forget(r.ID)
	case watch.Events:
		out.Events = events(r.Events)
		if w.told(r.ID) {
			return sendFragments(out, w.config.MaxRequestBytes+overheadBytes, w.stream.Send)
		}
	}
	return w.stream.Send(out)
}

// told notes that a watcher is sent events, and reports whether large responses
// are to be cut for it.
func (w *watchStream) told(id int64) (fragment bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wish := w.wishes[id]
	if wish == nil {
		return false
	}
	wish.told = true
	return wish.fragment
}

// notifyProgress has watchers that want it be told how far they are, when they
// were told nothing for an interval. Intervals differ a little, so that streams
// which began together do not all send together.
func (w *watchStream) notifyProgress() {
	interval := w.config.WatchProgressInterval
	ticker := time.NewTicker(interval + rand.N(interval/10+1))
	defer ticker.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-ticker.C:
		}
		for _, id := range w.dueProgress() {
			w.watches.RequestProgress(id)
		}
	}
}

func (w *watchStream) dueProgress() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due []int64
	for id, wish := range w.wishes {
		if wish.progress && !wish.told {
			due = append(due, id)
		}
		wish.told = false
	}
	return due
}

// headerAt is header for a revision that means itself, 0 too.
func (s *Server) headerAt(revision int64) *etcdserverpb.ResponseHeader {
	h := s.header(revision)
	h.Revision = revision
	return h
}

func events(all []store.Event) []*mvccpb.Event {
	messages := make([]mvccpb.Event, len(all))
	out := make([]*mvccpb.Event, len(all))
	for i := range all {
		e, m := &all[i], &messages[i]
		m.Kv, m.PrevKv = keyValue(&e.KV), keyValue(e.Prev)
		if e.Type == store.EventDelete {
			m.Type = mvccpb.Event_DELETE
		}
		out[i] = m
	}
	return out
}

// sendFragments sends a response in parts of less than limit bytes, where one
// event alone may be more.
func sendFragments(r *etcdserverpb.WatchResponse, limit int, send func(*etcdserverpb.WatchResponse) error) error {
	if proto.Size(r) < limit || len(r.Events) < 2 {
		return send(r)
	}
	rest := r.Events
	empty := proto.Size(&etcdserverpb.WatchResponse{Header: r.Header, WatchId: r.WatchId, Fragment: true})
	for len(rest) > 0 {
		size, n := empty, 0
		for n < len(rest) {
			// What it takes as a field: its bytes, their length and the tag.
			one := proto.Size(rest[n]) + 6
			if n > 0 && size+one >= limit {
				break
			}
			size += one
			n++
		}
		part := &etcdserverpb.WatchResponse{Header: r.Header, WatchId: r.WatchId, Events: rest[:n]}
		rest = rest[n:]
		part.Fragment = len(rest) > 0
		if err := send(part); err != nil {
			return err
		}
	}
	return nil
}
