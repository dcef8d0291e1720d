package storesim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/store"
)

// A client does one request after another at some node, goes elsewhere when its
// connection is lost, and gives up on a request when its patience ends.
type client struct {
	s    *Service
	id   int
	task *task
	at   raft.NodeID
	puts int
	idle bool
}

func (s *Service) startClient(id int) {
	c := &client{s: s, id: id}
	s.clients = append(s.clients, c)
	s.world.After(0, func() { c.task = s.start(c.run) })
}

func (c *client) run() {
	for !c.s.stopped {
		mean := c.s.world.Think()
		if c.s.world.Calm() {
			mean *= 4 // who has to catch up within a time must not be outrun by the load
		}
		c.idle = true
		c.s.sleep(min(time.Duration(c.rand().ExpFloat64()*float64(mean)), 8*mean))
		if c.s.stopped || c.s.world.Failed() {
			break
		}
		c.idle = false
		c.s.world.Began()
		c.request()
	}
	c.idle = true
}

func (c *client) rand() *rand.Rand { return c.s.world.Rand() }

// The ways in which a call ends without an answer.
var (
	// errNobody: nobody listens; certainly not done.
	errNobody = errors.New("storesim: nobody listens")
	// errLost: the connection was lost, or the client's patience.
	errLost = errors.New("storesim: no answer")
)

// A call is one request on its way.
type call struct {
	s        *Service
	client   *task
	handler  *task
	cancel   context.CancelFunc
	answered bool
	err      error
}

// call has f run in the process on the client's node. It parks until there is an
// answer, or none is to come.
func (c *client) call(f func(ctx context.Context, k *keyspace.Keyspace) error) error {
	s, w := c.s, c.s.world
	if c.at == raft.None || c.rand().IntN(32) == 0 {
		c.at = raft.NodeID(1 + c.rand().IntN(w.Nodes()))
	}
	x := &call{s: s, client: s.current}
	at := c.at
	w.After(w.Latency(), func() { x.arrive(at, f) })
	w.After(w.Patience(), func() {
		if x.answered {
			return
		}
		s.count(countImpatient)
		if x.cancel != nil {
			x.cancel()
			x.handler.wake()
		}
		x.answer(errLost)
	})
	for !x.answered {
		s.park()
	}
	if errors.Is(x.err, errNobody) || errors.Is(x.err, errLost) {
		c.at = raft.None
	}
	return x.err
}

// arrive runs the handler at the process that is there.
func (x *call) arrive(at raft.NodeID, f func(ctx context.Context, k *keyspace.Keyspace) error) {
	s := x.s
	p := s.processOf(s.world.Process(at))
	if p == nil {
		s.world.After(s.world.Latency(), func() { x.answer(errNobody) })
		return
	}
	p.calls = append(p.calls, x)
	p.soon(func() { // when it is not paused
		if x.answered {
			return // the client has left
		}
		ctx, cancel := context.WithCancel(context.Background())
		x.cancel = cancel
		x.handler = &task{ended: true}
		x.handler = p.run(func() {
			err := f(ctx, p.keys)
			s.world.After(s.world.Latency(), func() { x.answer(err) })
		})
	})
	if len(p.calls) > 32 {
		kept := p.calls[:0]
		for _, x := range p.calls {
			if !x.answered {
				kept = append(kept, x)
			}
		}
		p.calls = kept
	}
}

func (x *call) answer(err error) {
	if x.answered {
		return
	}
	x.answered, x.err = true, err
	x.client.wake()
}

// lost is that the process has ended.
func (x *call) lost() {
	if x.answered {
		return
	}
	x.s.count(countConnectionLost)
	x.s.world.After(x.s.world.Latency(), func() { x.answer(errLost) })
}

// certain reports whether an error says that nothing was done, and nothing will
// be.
func certain(err error) bool {
	var refused *store.Error
	switch {
	case errors.Is(err, node.ErrUnknownOutcome), errors.Is(err, errLost):
		return false
	case errors.As(err, &refused), errors.Is(err, errNobody), errors.Is(err, node.ErrNotLeader), errors.Is(err, node.ErrNotReady),
		errors.Is(err, node.ErrNotProposed), errors.Is(err, node.ErrOverloaded), errors.Is(err, node.ErrClosed), errors.Is(err, keyspace.ErrTooLarge):
		return true
	}
	return false
}

// propose has a command applied, and says what became of it.
func (c *client) propose(cmd store.Command) (store.Response, error) {
	s := c.s
	floor := s.twin.Revision
	values := putValues(nil, cmd)
	for _, v := range values {
		s.values[v] = &written{}
	}
	s.world.Tracef("client %d: proposes %T at node %d: %+v", c.id, cmd, c.at, cmd)
	var resp store.Response
	err := c.call(func(ctx context.Context, k *keyspace.Keyspace) (err error) {
		resp, err = k.Propose(ctx, cmd)
		return err
	})
	s.world.Note(uint64(c.id), uint64(s.twin.Revision))
	s.world.Tracef("client %d: is answered %+v, %v", c.id, resp, err)
	switch {
	case err == nil:
		s.count(countWriteAnswered)
		if r := revisionOf(resp); r < floor || r > s.twin.Revision {
			s.world.Seen(fmt.Errorf("%T was answered at revision %d; it was %d when it was asked, and is %d", cmd, r, floor, s.twin.Revision))
		}
	case certain(err):
		s.count(countWriteRefused)
		for _, v := range values {
			w := s.values[v]
			if w.refused = true; w.revisions > 0 {
				s.world.Seen(fmt.Errorf("a put of %q is committed, and was refused: %w", v, err))
			}
		}
	default:
		s.count(countWriteUnknown)
	}
	return resp, err
}

func revisionOf(resp store.Response) int64 {
	switch r := resp.(type) {
	case *store.PutResponse:
		return r.Revision
	case *store.DeleteRangeResponse:
		return r.Revision
	case *store.TxnResponse:
		return r.Revision
	case *store.CompactResponse:
		return r.Revision
	case *store.LeaseGrantResponse:
		return r.Revision
	case *store.LeaseRevokeResponse:
		return r.Revision
	case *store.AlarmResponse:
		return r.Revision
	}
	return 0
}

// putValues gives the values that a command may write.
func putValues(to []string, cmd store.Command) []string {
	switch c := cmd.(type) {
	case *store.PutRequest:
		if !c.IgnoreValue {
			to = append(to, string(c.Value))
		}
	case *store.TxnRequest:
		for _, ops := range [][]store.RequestOp{c.Success, c.Failure} {
			for _, op := range ops {
				switch {
				case op.Put != nil:
					to = putValues(to, op.Put)
				case op.Txn != nil:
					to = putValues(to, op.Txn)
				}
			}
		}
	}
	return to
}
