package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/quorate/quorate/check"
)

// Outcome is what a client knows of what it asked for.
type Outcome uint8

// The outcomes.
const (
	Done    Outcome = iota // it was answered
	Unknown                // it may have taken place, or may yet
	Refused                // it has not taken place and will not
)

// String names the outcome.
func (o Outcome) String() string { return [...]string{"done", "unknown", "refused"}[o%3] }

// outcome sorts errors by what they say about what was asked for.
func outcome(err error) Outcome {
	switch {
	case err == nil:
		return Done
	case errors.Is(err, rpctypes.ErrNoSpace), errors.Is(err, rpctypes.ErrTooManyRequests),
		errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrLeaseNotFound),
		errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev):
		return Refused
	}
	return Unknown
}

// An Op is what one client asked for, and what it was told. A transaction whose
// comparison failed is an Op that reads.
type Op struct {
	Client int
	Kind   string
	// Call and Return are on the recorder's clock.
	Call, Return time.Duration
	Outcome      Outcome
	// Revision is that of the answer.
	Revision int64
	// Stale reads are answered by one member as it is.
	Stale  bool
	Reads  []Read
	Writes []Write
	// Fence, if not empty, is a lock's key that must have been the holder's.
	Fence string
	// Register is the Op as a model of registers sees it; nil if it is of none.
	Register *check.RegisterOp
}

// A Read is what a range held at the answer's revision.
type Read struct {
	Key, End string
	KVs      []*mvccpb.KeyValue
}

// A Write is what was to be written at the answer's revision.
type Write struct {
	Key, Value string
	Delete     bool
	// HasPrev: the answer told what was before.
	HasPrev bool
	Prev    *mvccpb.KeyValue
}

// A Recorder collects what clients do. Its methods may be called by several
// goroutines.
type Recorder struct {
	began  time.Time
	prefix string

	mu     sync.Mutex
	ops    []Op
	errs   map[string]int
	values uint64
}

// NewRecorder begins a history whose keys have a prefix.
func NewRecorder(prefix string) *Recorder {
	return &Recorder{began: time.Now(), prefix: prefix, errs: make(map[string]int)}
}

// Began is when its clock was zero.
func (r *Recorder) Began() time.Time { return r.began }

// Now reads the clock.
func (r *Recorder) Now() time.Duration { return time.Since(r.began) }

// next gives a value that is written once.
func (r *Recorder) next() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values++
	return r.values
}

// do records an operation and what becomes of it.
func (r *Recorder) do(o Op, f func(o *Op) error) error {
	o.Call = r.Now()
	err := f(&o)
	o.Return, o.Outcome = r.Now(), outcome(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs[label(err)]++
	}
	r.ops = append(r.ops, o)
	return err
}

// label is an error's text, shortened to be counted.
func label(err error) string {
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		text = "the client's deadline"
	}
	if len(text) > 90 {
		text = text[:90] + "…"
	}
	return text
}

// Ops are the operations so far.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops[:len(r.ops):len(r.ops)]
}

// Errors counts the errors by their text.
func (r *Recorder) Errors() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.errs)
}

func (o *Op) String() string {
	what := ""
	for _, w := range o.Writes {
		what += fmt.Sprintf(" %s=%s", w.Key, w.Value)
	}
	for _, r := range o.Reads {
		what += fmt.Sprintf(" [%s,%s)", r.Key, r.End)
	}
	return fmt.Sprintf("client %d: %s%s, asked at %v", o.Client, o.Kind, what, o.Call.Round(time.Microsecond))
}
