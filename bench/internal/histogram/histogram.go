// Package histogram counts latencies in buckets whose width grows with the
// value, so that recording one allocates nothing and costs a few instructions.
package histogram

import (
	"math/bits"
	"time"
)

// Each power of two is cut into 2^precision buckets: a quantile is off by less
// than 1 part in 2^precision.
const (
	precision = 6
	subs      = 1 << precision
	// Durations of 2^magnitudes ns and more, 68 s, share the last bucket.
	magnitudes = 36
	buckets    = (magnitudes - precision + 1) * subs
)

// Histogram is a histogram of durations. Its zero value is empty. Not safe for
// concurrent use: give each goroutine its own, and Add them up afterwards.
type Histogram struct {
	counts [buckets]uint32
	count  uint64
	max    time.Duration
}

// Record counts one duration; a negative one counts as zero.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.count++
	h.max = max(h.max, d)
}

// Add counts all that other has counted.
func (h *Histogram) Add(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.count += other.count
	h.max = max(h.max, other.max)
}

// Count is how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.count }

// Max is the largest duration that was recorded, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile gives the duration that a share q of all durations do not exceed, as
// the upper bound of its bucket and at most Max; zero if nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	// The rank of the wanted duration, from 1.
	rank := uint64(q * float64(h.count))
	if float64(rank) < q*float64(h.count) {
		rank++
	}
	rank = min(max(rank, 1), h.count)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += uint64(n); seen >= rank {
			return min(upperBound(i), h.max)
		}
	}
	return h.max
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < subs {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - precision
	return min((shift+1)*subs+int(v>>shift)-subs, buckets-1)
}

// upperBound is the largest duration of a bucket.
func upperBound(i int) time.Duration {
	if i < subs {
		return time.Duration(i)
	}
	shift := i/subs - 1
	return time.Duration(uint64(i%subs+subs+1)<<shift - 1)
}
