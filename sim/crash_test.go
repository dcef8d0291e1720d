package sim

import (
	"testing"
	"time"

	"github.com/quorate/quorate/vfs"
)

// A node loses power before each of its writes, syncs and renames in turn, with
// nothing, everything, a prefix or any sectors kept of what was not synced:
// nothing that was acknowledged is lost (PS-02, PS-04).
func TestPowerLossAtEveryCall(t *testing.T) {
	stride, most := 1, 100 // calls, of about 120
	if testing.Short() {
		stride = 10
	}
	for offset, keep := range []vfs.Keep{vfs.KeepNone, vfs.KeepAll, vfs.KeepPrefix, vfs.KeepSectors} {
		calls, crashed := 1+offset%stride, 0
		for ; calls < most; calls += stride {
			s := Script{Seed: 3, Nodes: 3, Groups: 1, Clients: 2, Steps: []Fault{
				{Kind: PowerLossMidCall, Node: 1, Count: calls, Data: keep, Entries: keep, Back: 40 * time.Millisecond, Draw: uint64(calls)},
			}}
			r := s.Run(Config{})
			if r.Err != nil {
				t.Fatalf("power lost before call %d, kept %v: %v\n%v", calls, keep, r.Err, &s)
			}
			if r.Coverage[countRestart] == s.Nodes {
				break // there are not so many calls
			}
			crashed++
		}
		if crashed < most/stride/2 {
			t.Errorf("kept %v: only %d crashes in %d calls", keep, crashed, calls)
		}
		t.Logf("kept %v: %d crashes up to call %d", keep, crashed, calls)
	}
}
