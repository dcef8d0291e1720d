package histogram

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Every duration lies in a bucket whose bounds hold it.
func TestBucketsHoldTheirDurations(t *testing.T) {
	for shift := range magnitudes {
		for _, v := range []time.Duration{1<<shift - 1, 1 << shift, 1<<shift + 1, 3 << shift >> 1} {
			i := bucketOf(v)
			lower := time.Duration(-1)
			if i > 0 {
				lower = upperBound(i - 1)
			}
			if v <= lower || v > upperBound(i) {
				t.Errorf("%d ns in bucket %d, which is (%d, %d]", v, i, lower, upperBound(i))
			}
			if v >= subs && float64(upperBound(i)-v) > float64(v)/subs {
				t.Errorf("%d ns: upper bound %d is off by more than 1 in %d", v, upperBound(i), subs)
			}
		}
	}
	if i := bucketOf(math.MaxInt64); i != buckets-1 {
		t.Errorf("the largest duration in bucket %d of %d", i, buckets)
	}
	if i := bucketOf(-1); i != 0 {
		t.Errorf("a negative duration in bucket %d", i)
	}
}

// Quantiles agree with those of the sorted durations.
func TestQuantilesOfSortedDurations(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	parts := make([]Histogram, 3)
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(math.Exp(rng.Float64() * 20))
		all = append(all, d)
		parts[i%len(parts)].Record(d)
	}
	var h Histogram
	for i := range parts {
		h.Add(&parts[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.001, 0.5, 0.99, 0.999, 1} {
		want := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
		got := h.Quantile(q)
		if got < want || float64(got-want) > float64(want)/subs {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	if h.Count() != uint64(len(all)) || h.Max() != all[len(all)-1] {
		t.Errorf("got %d durations up to %v, want %d up to %v", h.Count(), h.Max(), len(all), all[len(all)-1])
	}
}

func TestEmptyHistogramHasNoQuantiles(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("got %v", got)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	h := new(Histogram)
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
