package keyspace

import (
	"context"
	"errors"

	"github.com/quorate/quorate/store"
)

// ErrDenied: the authorizer said no.
var ErrDenied = errors.New("keyspace: permission denied")

// Kind says what is done with what an Access names.
type Kind uint8

// The kinds of access.
const (
	// Read looks at the keys of a range: their values, that they exist, how many
	// there are, or that they changed.
	Read Kind = 1 + iota
	// Write changes keys of a range or deletes them.
	Write
	// LeaseAttach ties a key to Lease: the lease's end deletes the key, and
	// whoever ends the lease deletes the keys of others.
	LeaseAttach
	// LeaseGrant makes a lease, LeaseRevoke ends one with all its keys, LeaseRenew
	// keeps one with all its keys, LeaseRead looks at its time, LeaseKeys at the
	// names of its keys, LeaseList at the ids of all leases.
	LeaseGrant
	LeaseRevoke
	LeaseRenew
	LeaseRead
	LeaseKeys
	LeaseList
	// Operate is an operator's business that touches all keys at once: compaction,
	// hashes, alarms, defragmentation.
	Operate
	// Inspect looks at the state of the server and its members, and at no key.
	Inspect
)

// Access is one thing that a request wants to do. Key and RangeEnd are a range as
// in etcd, set for Read, Write and LeaseAttach; Lease is set for those that name a
// lease.
type Access struct {
	Kind          Kind
	Key, RangeEnd []byte
	Lease         int64
}

// An Authorizer decides whether the client that ctx belongs to may do all of what
// a request wants. It is asked once per request, for everything that the request
// names, in every branch and at every depth of a transaction, whichever branch
// will be taken. An error other than nil refuses; it is best wrapped around
// ErrDenied.
type Authorizer interface {
	Authorize(ctx context.Context, wants []Access) error
}

// AllowAll authorizes everything.
type AllowAll struct{}

// Authorize says yes.
func (AllowAll) Authorize(context.Context, []Access) error { return nil }

// The wants functions name all that a request touches. There is one for each
// request, and the methods of Keyspace call no other code before.

func wantsRange(to []Access, r *store.RangeRequest) []Access {
	return append(to, Access{Kind: Read, Key: r.Key, RangeEnd: r.RangeEnd})
}

func wantsPut(to []Access, r *store.PutRequest) []Access {
	to = append(to, Access{Kind: Write, Key: r.Key})
	// What was there is answered, or decides whether the write is refused.
	if r.PrevKV || r.IgnoreValue || r.IgnoreLease {
		to = append(to, Access{Kind: Read, Key: r.Key})
	}
	if r.Lease != 0 {
		to = append(to, Access{Kind: LeaseAttach, Key: r.Key, Lease: r.Lease})
	}
	return to
}

func wantsDelete(to []Access, r *store.DeleteRangeRequest) []Access {
	to = append(to, Access{Kind: Write, Key: r.Key, RangeEnd: r.RangeEnd})
	if r.PrevKV {
		to = append(to, Access{Kind: Read, Key: r.Key, RangeEnd: r.RangeEnd})
	}
	return to
}

func wantsTxn(to []Access, t *store.TxnRequest) []Access {
	for i := range t.Compare {
		to = append(to, Access{Kind: Read, Key: t.Compare[i].Key, RangeEnd: t.Compare[i].RangeEnd})
	}
	for _, branch := range [][]store.RequestOp{t.Success, t.Failure} {
		for i := range branch {
			switch op := &branch[i]; {
			case op.Range != nil:
				to = wantsRange(to, op.Range)
			case op.Put != nil:
				to = wantsPut(to, op.Put)
			case op.DeleteRange != nil:
				to = wantsDelete(to, op.DeleteRange)
			case op.Txn != nil:
				to = wantsTxn(to, op.Txn)
			}
		}
	}
	return to
}

// wantsCommand names what a command touches. An unknown command is an operator's
// business: a new one is refused to everybody else until its place is decided.
func wantsCommand(to []Access, command store.Command) []Access {
	switch c := command.(type) {
	case *store.PutRequest:
		return wantsPut(to, c)
	case *store.DeleteRangeRequest:
		return wantsDelete(to, c)
	case *store.TxnRequest:
		return wantsTxn(to, c)
	case *store.LeaseGrantRequest:
		return append(to, Access{Kind: LeaseGrant, Lease: c.ID})
	case *store.LeaseRevokeRequest:
		return append(to, Access{Kind: LeaseRevoke, Lease: c.ID})
	default:
		return append(to, Access{Kind: Operate})
	}
}

// authorize is the choke point.
func (k *Keyspace) authorize(ctx context.Context, wants []Access) error {
	if k.allowAll {
		return nil
	}
	return k.config.Authorizer.Authorize(ctx, wants)
}
