package etcd

import (
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What is refused before anything is proposed or read. The order of the checks is
// etcd's: a request that is wrong in two ways gets the same answer.

func checkRange(r *etcdserverpb.RangeRequest) error {
	_, order := etcdserverpb.RangeRequest_SortOrder_name[int32(r.GetSortOrder())]
	_, target := etcdserverpb.RangeRequest_SortTarget_name[int32(r.GetSortTarget())]
	switch {
	case len(r.GetKey()) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case !order, !target:
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

// checkRangeStream: chunks follow the order of the keys, so nothing may depend on
// having seen all of them.
func checkRangeStream(r *etcdserverpb.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	ascending := r.SortTarget == etcdserverpb.RangeRequest_KEY && r.SortOrder == etcdserverpb.RangeRequest_ASCEND
	if r.SortOrder != etcdserverpb.RangeRequest_NONE && !ascending {
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	}
	if r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0 {
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	return nil
}

func checkPut(r *etcdserverpb.PutRequest) error {
	switch {
	case len(r.GetKey()) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDelete(r *etcdserverpb.DeleteRangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn bounds a transaction by its longest list, and what is nested in it by
// what that leaves, so that the nesting is bounded too.
func checkTxn(r *etcdserverpb.TxnRequest, maxOps int) error {
	ops := max(len(r.GetCompare()), len(r.GetSuccess()), len(r.GetFailure()))
	if ops > maxOps {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.GetCompare() {
		if len(c.GetKey()) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [][]*etcdserverpb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if err := checkOp(op, maxOps-ops); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *etcdserverpb.RequestOp, maxOps int) error {
	switch r := op.GetRequest().(type) {
	case *etcdserverpb.RequestOp_RequestRange:
		return checkRange(r.RequestRange)
	case *etcdserverpb.RequestOp_RequestPut:
		return checkPut(r.RequestPut)
	case *etcdserverpb.RequestOp_RequestDeleteRange:
		return checkDelete(r.RequestDeleteRange)
	case *etcdserverpb.RequestOp_RequestTxn:
		return checkTxn(r.RequestTxn, maxOps)
	}
	return rpctypes.ErrGRPCKeyNotFound // etcd's answer to an empty operation
}
