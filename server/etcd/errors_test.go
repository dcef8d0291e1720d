package etcd

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/server/keyspace"
	"github.com/quorate/quorate/store"
)

// TestRefusal: what clients are told of each sort of error, above all of those
// that a healthy cluster does not give.
func TestRefusal(t *testing.T) {
	ctx := t.Context()
	left, leave := context.WithCancel(ctx)
	leave()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want error
	}{
		{"nothing", ctx, nil, nil},
		{"too many at a time", ctx, fmt.Errorf("put: %w", node.ErrOverloaded), rpctypes.ErrGRPCRequestTooManyRequests},
		{"no leader", ctx, &node.NotLeaderError{}, rpctypes.ErrGRPCNoLeader},
		{"not caught up", ctx, node.ErrNotReady, rpctypes.ErrGRPCNoLeader},
		{"the leader was lost with it", ctx, node.ErrUnknownOutcome, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
		{"the server's patience ended, outcome unknown", ctx, fmt.Errorf("%w: %w", keyspace.ErrTimeout, node.ErrUnknownOutcome), rpctypes.ErrGRPCTimeout},
		{"a read that the old leader did not confirm", ctx, fmt.Errorf("%w: %w", keyspace.ErrReadUnconfirmed, node.ErrUnknownOutcome), rpctypes.ErrGRPCLeaderChanged},
		{"too large for an entry", ctx, node.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
		{"stopped", ctx, node.ErrGroupStopped, rpctypes.ErrGRPCStopped},
		{"denied", ctx, keyspace.ErrDenied, rpctypes.ErrGRPCPermissionDenied},
		{"no space", ctx, store.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
		{"the client left", left, node.ErrUnknownOutcome, status.Error(codes.Canceled, context.Canceled.Error())},
		{"already a status", ctx, status.Error(codes.Aborted, "so"), status.Error(codes.Aborted, "so")},
		{"anything else", ctx, errors.New("odd"), status.Error(codes.Unknown, "odd")},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := refusal(c.ctx, c.err)
			if status.Code(got) != status.Code(c.want) || fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
