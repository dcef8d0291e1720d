package diff

import (
	"maps"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Coverage counts what the sequences reached, so that a test can refuse to have
// reached too little. It may be used by several goroutines.
type Coverage struct {
	mu     sync.Mutex
	counts map[string]int
}

// NewCoverage counts nothing yet.
func NewCoverage() *Coverage { return &Coverage{counts: make(map[string]int)} }

// Count tells how often something was reached: "operation Range", "answered
// Range", "refused etcdserver: no leader", "field RangeRequest.limit".
func (c *Coverage) Count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[what]
}

// All tells everything that was reached, in order.
func (c *Coverage) All() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.counts))
}

func (c *Coverage) note(what ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range what {
		c.counts[w]++
	}
}

func (c *Coverage) operation(k Kind) { c.note("operation " + string(k)) }

func (c *Coverage) answer(k Kind, req proto.Message, a answer) {
	if a.msg == nil {
		c.note("refused "+a.text, "refused "+a.code.String()+" "+string(k))
		return
	}
	c.note("answered " + string(k))
	c.fields(req.ProtoReflect())
}

// fields notes each option that an accepted request used.
func (c *Coverage) fields(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		c.note("field " + string(m.Descriptor().Name()) + "." + string(fd.Name()))
		switch {
		case fd.Kind() == protoreflect.EnumKind && !fd.IsList():
			if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil {
				c.note("value " + string(m.Descriptor().Name()) + "." + string(fd.Name()) + "=" + string(e.Name()))
			}
		case fd.Kind() != protoreflect.MessageKind:
		case fd.IsList():
			for i := range v.List().Len() {
				c.fields(v.List().Get(i).Message())
			}
		default:
			c.fields(v.Message())
		}
		return true
	})
}

func (c *Coverage) watch(req *pb.WatchCreateRequest, resp *pb.WatchResponse) {
	if resp.Canceled {
		c.note("watch refused " + resp.CancelReason)
		return
	}
	c.note("answered WatchCreate")
	c.fields(req.ProtoReflect())
}

func (c *Coverage) events(w *watcher) {
	if w.got[0].ended != nil {
		c.note("watch ended by compaction")
	}
	for ; w.counted < len(w.got[0].events); w.counted++ {
		ev := w.got[0].events[w.counted]
		c.note("event " + ev.Type.String())
		if ev.PrevKv != nil {
			c.note("event with the value before")
		}
	}
}
