package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/store"
)

// refusals is what each sort of error means to a client of etcd. The first that
// matches counts: an error may say both that a request ended and why.
var refusals = []struct {
	is     error
	answer error
}{
	{keyspace.ErrDenied, rpctypes.ErrGRPCPermissionDenied},
	{keyspace.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{keyspace.ErrReadUnconfirmed, rpctypes.ErrGRPCLeaderChanged},

	// The state machine's own refusals: final.
	{store.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{store.ErrFutureRev, rpctypes.ErrGRPCFutureRev},
	{store.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{store.ErrLeaseExist, rpctypes.ErrGRPCLeaseExist},
	{store.ErrLeaseTTLTooLarge, rpctypes.ErrGRPCLeaseTTLTooLarge},
	{store.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{store.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{store.ErrCorrupt, rpctypes.ErrGRPCCorrupt},
	{store.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
	{store.ErrInvalid, rpctypes.ErrGRPCKeyNotFound},
	{store.ErrClosed, rpctypes.ErrGRPCStopped},

	// This member's state is wrong, and others are to be asked.
	{keyspace.ErrDivergent, rpctypes.ErrGRPCCorrupt},

	// The server's patience ended, not the client's.
	{keyspace.ErrTimeout, rpctypes.ErrGRPCTimeout},

	// Outcome unknown: the write may have been applied, or may yet be. Clients do
	// not try it again by themselves.
	{node.ErrUnknownOutcome, rpctypes.ErrGRPCTimeoutDueToLeaderFail},

	// Certainly not applied.
	{node.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{node.ErrOverloaded, rpctypes.ErrGRPCRequestTooManyRequests},
	{node.ErrNotLeader, rpctypes.ErrGRPCNoLeader},
	{node.ErrNotReady, rpctypes.ErrGRPCNoLeader},
	{node.ErrClosed, rpctypes.ErrGRPCStopped},
	{node.ErrGroupStopped, rpctypes.ErrGRPCStopped},
}

// refusal is err as etcd's clients know it.
func refusal(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	// The client left or its deadline passed: whatever else happened.
	if cause := ctx.Err(); cause != nil {
		return status.FromContextError(cause).Err()
	}
	for _, r := range refusals {
		if errors.Is(err, r.is) {
			return r.answer
		}
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Unknown, err.Error())
}
