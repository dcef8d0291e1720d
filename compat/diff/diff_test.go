package diff

import (
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// TestQuorateAnswersAsEtcd: the same operations, one after the other, to an etcd
// and to Quorate, both without fsync: every answer, refusal and event is equal.
func TestQuorateAnswersAsEtcd(t *testing.T) {
	cov := NewCoverage()
	for i := range uint64(*seeds) {
		seed := *first + i
		ops := slices.DeleteFunc(Generate(seed, *length), func(op Op) bool {
			return slices.Contains(strings.Split(*without, ","), string(op.Kind))
		})
		d := runOn(t.Context(), t, startEtcd, startQuorate, ops, cov)
		if d == nil {
			continue
		}
		short := shrunk(t.Context(), t, startEtcd, startQuorate, ops, d, *tries)
		t.Fatalf("seed %d (go test ./diff -run QuorateAnswers -first %d -seeds 1): %v\n\nshrunk: %v\n%s",
			seed, seed, d, short, Script(short.Done))
	}
	if *seeds < 5 || *length < 5000 || *without != "" {
		return // too few to reach everything
	}
	for _, what := range required() {
		if cov.Count(what) == 0 {
			t.Errorf("never reached: %s", what)
		}
	}
}

// required is what the sequences must have reached, or equality says too little.
func required() []string {
	var all []string
	for _, k := range Kinds {
		all = append(all, "operation "+string(k))
	}
	for _, k := range []Kind{
		Range, RangeStream, Put, DeleteRange, Txn, Compact, LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive,
		LeaseLeases, WatchCreate, Alarm, MemberList, Status, HashKV, Hash, Defragment,
	} {
		all = append(all, "answered "+string(k))
	}
	for _, err := range Refusals {
		all = append(all, "refused "+rpctypes.ErrorDesc(err))
	}
	return append(
		all,
		"watch refused "+rpctypes.ErrorDesc(rpctypes.ErrGRPCCompacted),
		"watch refused mvcc: duplicate watch ID provided on the WatchStream",
		"watch refused mvcc: watcher range is empty",
		"watch ended by compaction", "progress told", "event PUT", "event DELETE", "event with the value before",
	)
}

// TestEveryOptionIsDrawn: each field of the requests that the sequences send, and
// each value of its enumerations, is used in one that etcd accepts.
func TestEveryOptionIsDrawn(t *testing.T) {
	cov := NewCoverage()
	for seed := range uint64(3) {
		if d := runOn(t.Context(), t, startEtcd, startEtcd, Generate(seed, 2000), cov); d != nil {
			t.Fatal(d)
		}
	}
	for _, field := range Options() {
		if cov.Count("field "+field) == 0 {
			t.Errorf("no accepted request used %s", field)
		}
	}
}
