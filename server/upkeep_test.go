package server

import (
	"testing"
	"time"
)

// TestSpaceGuard: the alarm is raised while there is still a reserve, and cleared
// only when there is clearly more, so that it does not flutter.
func TestSpaceGuard(t *testing.T) {
	const reserve, quota = 100, 1000
	for _, c := range []struct {
		name        string
		quota       int64
		raised      bool
		free, used  int64
		wantsRaised bool
	}{
		{"plenty", 0, false, 1000, 5000, false},
		{"the reserve is whole", 0, false, 100, 5000, false},
		{"the reserve is touched", 0, false, 99, 5000, true},
		{"the disk is full", 0, false, 0, 5000, true},
		{"a little more than the reserve", 0, true, 110, 5000, true},
		{"a quarter more", 0, true, 125, 5000, false},
		{"below the quota", quota, false, 1000, 999, false},
		{"at the quota", quota, false, 1000, 1000, true},
		{"a little below the quota again", quota, true, 1000, 960, true},
		{"a twentieth below", quota, true, 1000, 949, false},
		{"below the quota, and no disk", quota, true, 10, 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := spaceGuard{reserve: reserve, quota: c.quota, raised: c.raised}
			if got := g.judge(c.free, c.used); got != c.wantsRaised {
				t.Errorf("the alarm stands: %v, want %v", got, c.wantsRaised)
			}
		})
	}
}

func TestEffectiveQuota(t *testing.T) {
	for _, c := range []struct{ quota, used, free, reserve, want int64 }{
		{1000, 10, 5000, 100, 1000},
		{0, 10, 5000, 100, 4910},
		{0, 10, 50, 100, 10},
	} {
		if got := effectiveQuota(c.quota, c.used, c.free, c.reserve); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

func TestCompactor(t *testing.T) {
	byNumber := compactor{revisions: 100}
	for _, c := range []struct{ revision, want int64 }{{50, 0}, {100, 0}, {150, 50}} {
		if got := byNumber.upTo(time.Time{}, c.revision); got != c.want {
			t.Errorf("at revision %d: compact to %d, want %d", c.revision, got, c.want)
		}
	}
	byAge, began := compactor{period: time.Hour}, time.Unix(0, 0)
	for _, c := range []struct {
		after          time.Duration
		revision, want int64
	}{
		{0, 10, 0}, {30 * time.Minute, 20, 0}, {time.Hour, 30, 10}, {90 * time.Minute, 40, 20}, {3 * time.Hour, 50, 40},
	} {
		if got := byAge.upTo(began.Add(c.after), c.revision); got != c.want {
			t.Errorf("after %v: compact to %d, want %d", c.after, got, c.want)
		}
	}
	if got := (&compactor{period: time.Second}).interval(); got != time.Second {
		t.Errorf("a short period is looked at every %v", got)
	}
}
