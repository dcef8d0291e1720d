package diff

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
)

// TestGenerateIsDeterministic: a seed is enough to repeat a sequence.
func TestGenerateIsDeterministic(t *testing.T) {
	a, b, other := Generate(7, 500), Generate(7, 500), Generate(8, 500)
	same := func(x, y Op) bool {
		return x.Kind == y.Kind && x.Stream == y.Stream && (x.Msg == nil) == (y.Msg == nil) &&
			(x.Msg == nil || proto.Equal(x.Msg, y.Msg))
	}
	if !slices.EqualFunc(a, b, same) {
		t.Error("the same seed gives two sequences")
	}
	if slices.EqualFunc(a, other, same) {
		t.Error("two seeds give the same sequence")
	}
}

// TestEtcdEqualsItself: what the comparison allows for is enough that a right
// server passes.
func TestEtcdEqualsItself(t *testing.T) {
	cov := NewCoverage()
	ops := Generate(1, 2000)
	if d := runOn(t.Context(), t, startEtcd, startEtcd, ops, cov); d != nil {
		t.Fatalf("%v\n%s", d, Script(d.Done[max(0, len(d.Done)-5):]))
	}
	for _, what := range cov.All() {
		t.Logf("%6d %s", cov.Count(what), what)
	}
}
