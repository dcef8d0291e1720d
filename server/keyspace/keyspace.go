package keyspace

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store"
	"github.com/quorate/quorate/store/watch"
)

// Errors of this package, beside those of node and store that pass through.
var (
	// ErrTooLarge: the request exceeds MaxRequestBytes.
	ErrTooLarge = errors.New("keyspace: request too large")
	// ErrTimeout: the server's patience ended before there was an answer. A write
	// may have been applied, or may yet be.
	ErrTimeout = errors.New("keyspace: request timed out")
	// ErrReadUnconfirmed: leadership changed while a read waited to be confirmed.
	ErrReadUnconfirmed = errors.New("keyspace: leader changed while a read was under way")
)

// A Group is the replicated log that the store is fed from; *node.Group is one.
type Group interface {
	Propose(ctx context.Context, command []byte) (rsm.Result, error)
	Read(ctx context.Context, query any) (any, error)
	ReadStale(ctx context.Context, query any) (any, error)
	Ready(ctx context.Context) error
	Leader() (raft.NodeID, raft.Term)
	Status(ctx context.Context) (node.GroupStatus, error)
}

// Config is how a keyspace behaves. All fields but the last two are required.
type Config struct {
	Group Group
	Store *store.Store
	// Hub tells watchers of the store's changes.
	Hub *watch.Hub
	// Keeper ends leases. It must be the store's lease observer, and answer the
	// group's questions. The keyspace has its runtime.
	Keeper *Keeper
	// Auditor compares states; nil if nothing is to be compared. It must be the
	// store's check observer.
	Auditor *Auditor
	// Self is this member.
	Self raft.NodeID
	// Authorizer is asked before anything else is done.
	Authorizer Authorizer
	// MaxRequestBytes bounds a command.
	MaxRequestBytes int
	// ElectionTimeout is the group's. A request that cannot be answered is given
	// up after Timeout, by default 5 s and two election timeouts, as in etcd.
	ElectionTimeout, Timeout time.Duration
	// Logger receives what operators should know. Default slog.Default.
	Logger *slog.Logger
}

// Keyspace is what protocols see of the store. All methods are safe for
// concurrent use; all but those that say otherwise ask the authorizer first.
type Keyspace struct {
	config   Config
	allowAll bool
	group    Group
	store    *store.Store
	runtime  Runtime

	proposalsPending, proposalsFailed atomic.Int64
	leasesExpired, leasesRenewed      atomic.Int64
	quota, audits                     atomic.Int64

	// buffers are of *[]byte. The runtime knows every pool that was used lately: one
	// within would keep all of a keyspace that nobody else knows any more.
	buffers *sync.Pool
}

// New makes a keyspace.
func New(config Config) *Keyspace {
	if config.Timeout == 0 {
		config.Timeout = 5*time.Second + 2*config.ElectionTimeout
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	k := &Keyspace{config: config, group: config.Group, store: config.Store, runtime: config.Keeper.runtime, buffers: new(sync.Pool)}
	_, k.allowAll = config.Authorizer.(AllowAll)
	return k
}

// Leader gives who leads, as far as this member knows, and the term; raft.None if
// nobody. It names no key, and nobody is asked.
func (k *Keyspace) Leader() (raft.NodeID, raft.Term) { return k.group.Leader() }

// Self is this member's id.
func (k *Keyspace) Self() raft.NodeID { return k.config.Self }

// Revision is that of the local store. It names no key, and nobody is asked.
func (k *Keyspace) Revision() int64 { return k.store.Revision() }

// within bounds what a request may take.
func (k *Keyspace) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return k.runtime.WithTimeout(ctx, k.config.Timeout, ErrTimeout)
}

// timedOut tells the server's patience from the client's.
func timedOut(bounded context.Context, err error) error {
	if err != nil && bounded.Err() != nil && errors.Is(context.Cause(bounded), ErrTimeout) {
		return errors.Join(ErrTimeout, err)
	}
	return err
}
