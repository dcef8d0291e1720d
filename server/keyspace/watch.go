package keyspace

import (
	"context"

	"github.com/quorate/quorate/store/watch"
)

// Watches are any number of watchers whose responses come in one sequence. It
// must be closed.
type Watches struct {
	keys   *Keyspace
	stream *watch.Stream
}

// Watches gives a sequence without watchers.
func (k *Keyspace) Watches() (*Watches, error) {
	stream, err := k.config.Hub.NewStream()
	if err != nil {
		return nil, err
	}
	return &Watches{k, stream}, nil
}

// Watch makes a watcher. That it did, or why not, is a response; the error is for
// the caller alone. An ErrDenied is not a response: the caller says so with
// Reject.
func (w *Watches) Watch(ctx context.Context, r watch.Watch) (id int64, err error) {
	if !w.keys.allowAll {
		if err := w.keys.authorize(ctx, []Access{{Kind: Read, Key: r.Key, RangeEnd: r.RangeEnd}}); err != nil {
			return watch.NoID, err
		}
	}
	return w.stream.Watch(r)
}

// Reject has the sequence say that a watcher was not made.
func (w *Watches) Reject(err error) { w.stream.Reject(err) }

// Cancel ends a watcher, and reports whether there was one.
func (w *Watches) Cancel(id int64) bool { return w.stream.Cancel(id) }

// RequestProgress and RequestProgressAll have the sequence say how far one
// watcher, or all, were told.
func (w *Watches) RequestProgress(id int64) bool { return w.stream.RequestProgress(id) }

// RequestProgressAll is RequestProgress for all watchers at once.
func (w *Watches) RequestProgressAll() { w.stream.RequestProgressAll() }

// Next waits for the next response. One goroutine at a time may call it.
func (w *Watches) Next(ctx context.Context) (watch.Response, error) { return w.stream.Next(ctx) }

// TryNext is Next that does not wait: it reports whether there was a response.
func (w *Watches) TryNext(ctx context.Context) (watch.Response, bool, error) {
	return w.stream.TryNext(ctx)
}

// Waiting counts the responses that nobody took yet.
func (w *Watches) Waiting() int { return w.stream.Waiting() }

// Close ends all watchers.
func (w *Watches) Close() { w.stream.Close() }
