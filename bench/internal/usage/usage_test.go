package usage

import "testing"

var sink []byte

func TestAllocationsAreCounted(t *testing.T) {
	before := Now()
	for range 1000 {
		sink = make([]byte, 1024)
	}
	used := Now().Sub(before)
	if used.Allocs < 1000 || used.AllocBytes < 1000*1024 {
		t.Errorf("counted %d allocations of %d bytes, made at least 1000 of 1024", used.Allocs, used.AllocBytes)
	}
}
