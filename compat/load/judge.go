package load

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/check"
)

// judgeWatch: every revision from first to last once, in order, with the right
// values before. All changes of the store are under the watch's prefix.
func judgeWatch(events []seen, first, last int64) error {
	now := make(map[string]*mvccpb.KeyValue)
	at := first - 1
	for i, ev := range events {
		kv := ev.Kv
		switch {
		case kv.ModRevision == at && i > 0:
			// A further event of the same revision: of another key.
			if bytes.Equal(kv.Key, events[i-1].Kv.Key) {
				return fmt.Errorf("revision %d tells twice of %q", at, kv.Key)
			}
		case kv.ModRevision != at+1:
			return fmt.Errorf("revision %d comes after %d", kv.ModRevision, at)
		}
		at = kv.ModRevision
		before := now[string(kv.Key)]
		if !proto.Equal(before, ev.PrevKv) {
			return fmt.Errorf("revision %d of %q tells of %v before, it was %v", at, kv.Key, ev.PrevKv, before)
		}
		if ev.Type == mvccpb.Event_DELETE {
			delete(now, string(kv.Key))
			continue
		}
		version, created := int64(1), at
		if before != nil {
			version, created = before.Version+1, before.CreateRevision
		}
		if kv.Version != version || kv.CreateRevision != created {
			return fmt.Errorf("revision %d: %v, want version %d, created %d", at, kv, version, created)
		}
		now[string(kv.Key)] = kv
	}
	if at != last {
		return fmt.Errorf("the watch ends at revision %d, the store at %d", at, last)
	}
	return nil
}

// judgeHistory holds what clients were told to the order of revisions: each
// acknowledged write stands in the log at its revision, each read saw the log as
// it was at its revision, and no answer is older than one that came before it was
// asked for. Then the same history, without revisions, must be linearizable.
func judgeHistory(ops []op, log []seen, key func(uint64) string, patience time.Duration) error {
	writtenAt := make(map[uint64]int64) // by value, which is written once
	for _, ev := range log {
		if ev.Type != mvccpb.Event_PUT || !bytes.HasPrefix(ev.Kv.Key, []byte(key(0)[:len(key(0))-1])) {
			continue
		}
		v, err := strconv.ParseUint(string(ev.Kv.Value), 10, 64)
		if err != nil {
			return err
		}
		if writtenAt[v] != 0 {
			return fmt.Errorf("value %d is written twice, at revisions %d and %d", v, writtenAt[v], ev.Kv.ModRevision)
		}
		writtenAt[v] = ev.Kv.ModRevision
	}
	var history []check.RegisterOp
	for _, o := range ops {
		wrote := o.Kind == check.WriteRegister || o.Kind == check.CompareAndSwap && o.Result == 1
		switch at := writtenAt[o.Argument]; {
		case o.Unknown && o.Kind == check.ReadRegister:
			continue // it tells nothing
		case o.Unknown && at == 0:
			continue // all is told by the log, and this is not in it
		case !o.Unknown && wrote && at != o.revision:
			return fmt.Errorf("%s of %d to %s was answered with revision %d and stands at %d", o.Kind, o.Argument, o.key, o.revision, at)
		case !o.Unknown && !wrote && o.Argument != 0 && at != 0:
			return fmt.Errorf("%s of %d to %s was answered as not done and stands at %d", o.Kind, o.Argument, o.key, at)
		case o.Unknown && o.Kind == check.CompareAndSwap:
			// It took place: the model must not choose.
			o.Kind, o.Unknown = check.CompareAndSwap, false
			o.Result, o.Return = 1, check.Never
		}
		history = append(history, o.RegisterOp)
	}
	if err := judgeOrder(ops); err != nil {
		return err
	}
	return check.Linearizable(history, patience)
}

// judgeOrder: an answer's revision is not below that of an answer which came
// before it was asked for.
func judgeOrder(ops []op) error {
	type moment struct {
		at      int64
		return_ bool
		op      *op
	}
	var moments []moment
	for i := range ops {
		if o := &ops[i]; !o.Unknown {
			moments = append(moments, moment{o.Call, false, o}, moment{o.Return, true, o})
		}
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return int(a.at - b.at) })
	highest := int64(0)
	floor := make(map[*op]int64)
	for _, m := range moments {
		if !m.return_ {
			floor[m.op] = highest
			continue
		}
		if m.op.revision < floor[m.op] {
			return fmt.Errorf("%s of %s was answered at revision %d, after %d had been told of", m.op.Kind, m.op.key, m.op.revision, floor[m.op])
		}
		highest = max(highest, m.op.revision)
	}
	return nil
}
