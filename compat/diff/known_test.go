package diff

import "testing"

// TestDifferences: each known difference is still one; what became equal is to be
// drawn like anything else.
func TestDifferences(t *testing.T) {
	for _, d := range Differences {
		t.Run(d.RPC, func(t *testing.T) {
			if d.EtcdPanics {
				if found := runOn(t.Context(), t, startQuorate, startQuorate, d.Ops, NewCoverage()); found != nil {
					t.Error(found)
				}
				return
			}
			found := runOn(t.Context(), t, startEtcd, startQuorate, d.Ops, NewCoverage())
			if found == nil {
				t.Errorf("there is no difference any more: %s", d.Says)
			} else {
				t.Log(found)
			}
		})
	}
}
