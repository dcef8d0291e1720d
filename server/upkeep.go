package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/quorate/quorate/store"
)

const (
	reclaimInterval = time.Second
	// reclaimChanges bounds how long one step holds up what is applied.
	reclaimChanges = 2000
)

// every calls f at once and then again and again until the server stops.
func (s *Server) every(interval time.Duration, f func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		f()
		select {
		case <-s.life.Done():
			return
		case <-ticker.C:
		}
	}
}

// reclaim gives back what compactions made superfluous, also when nothing is
// written.
func (s *Server) reclaim() {
	failed := false
	s.every(reclaimInterval, func() {
		for more := !failed; more && s.life.Err() == nil; {
			var err error
			if more, err = s.store.Reclaim(reclaimChanges); err != nil {
				failed = true
				s.config.Logger.Error("space of compacted history is not given back", slog.Any("error", err))
			}
		}
	})
}

const (
	// spaceInterval is how often free space is looked at. What is written meanwhile
	// must fit into the reserve.
	spaceInterval = 500 * time.Millisecond
	// An alarm is cleared when there is a quarter more than what raised it.
	spaceSlack = 4
)

// A spaceGuard decides when this member's space is at an end, and when it is
// there again.
type spaceGuard struct {
	reserve, quota int64
	raised         bool
}

// judge says whether the alarm is to stand, with so many bytes free on the disk
// and used by the store.
func (g *spaceGuard) judge(free, used int64) bool {
	if g.raised {
		enough := free >= g.reserve+g.reserve/spaceSlack && (g.quota == 0 || used < g.quota-g.quota/20)
		g.raised = !enough
	} else {
		g.raised = free < g.reserve || g.quota != 0 && used >= g.quota
	}
	return g.raised
}

// guardSpace raises the alarm NOSPACE before the disk is full, so that there is
// room for what follows from what was acknowledged, and for deleting. It clears
// the alarm when space is there again.
func (s *Server) guardSpace() {
	guard := &spaceGuard{reserve: s.config.ReserveBytes, quota: s.config.QuotaBytes}
	s.every(spaceInterval, func() {
		free, err := s.fs().FreeBytes(s.config.DataDir)
		if err != nil {
			s.config.Logger.Warn("the disk's free space is not known", slog.Any("error", err))
			return
		}
		used := s.store.Status().Bytes
		s.keys.SetQuota(effectiveQuota(s.config.QuotaBytes, used, int64(min(free, 1<<62)), s.config.ReserveBytes))
		wanted := guard.judge(int64(min(free, 1<<62)), used)
		if wanted == s.alarmStands() {
			return
		}
		action, what := store.AlarmDeactivate, "space is there again: the alarm NOSPACE is cleared"
		if wanted {
			action, what = store.AlarmActivate, "space is at an end: only reads and deletes are served (alarm NOSPACE)"
		}
		if err := s.keys.Alarm(s.life, action, store.AlarmNoSpace); err != nil {
			return // tried again
		}
		s.config.Logger.Warn(what, slog.Uint64("free_bytes", free), slog.Int64("store_bytes", used),
			slog.Int64("reserve_bytes", s.config.ReserveBytes), slog.Int64("quota_bytes", s.config.QuotaBytes))
	})
}

// effectiveQuota is the size that the store can have: alerts compare it with the
// size that it has.
func effectiveQuota(quota, used, free, reserve int64) int64 {
	if quota != 0 {
		return quota
	}
	return used + max(free-reserve, 0)
}

// alarmStands reports whether this member has raised NOSPACE.
func (s *Server) alarmStands() bool {
	for _, a := range s.store.Alarms(store.AlarmNoSpace) {
		if a.Member == uint64(s.self.ID()) {
			return true
		}
	}
	return false
}

const (
	// How often old revisions are compacted away: by number, and by age at most and
	// at least.
	revisionInterval  = 5 * time.Minute
	periodIntervalMax = time.Hour
	periodIntervalMin = time.Second
)

// sample is the revision at one moment.
type sample struct {
	at       time.Time
	revision int64
}

// A compactor says up to where history may go. Every member follows the time, so
// that whoever leads can compact.
type compactor struct {
	period    time.Duration
	revisions int64
	samples   []sample
}

// interval is how often to ask.
func (c *compactor) interval() time.Duration {
	if c.period == 0 {
		return revisionInterval
	}
	return min(max(c.period/10, periodIntervalMin), periodIntervalMax)
}

// upTo gives the revision to compact to, 0 for none, where the store is at
// revision now.
func (c *compactor) upTo(now time.Time, revision int64) int64 {
	if c.period == 0 {
		return max(revision-c.revisions, 0)
	}
	c.samples = append(c.samples, sample{now, revision})
	var old int64
	for len(c.samples) > 0 && now.Sub(c.samples[0].at) >= c.period {
		old = c.samples[0].revision
		c.samples = c.samples[1:]
	}
	return old
}

// compact forgets history that is older than the configuration keeps, while this
// member leads.
func (s *Server) compact() {
	if s.config.CompactionPeriod == 0 && s.config.CompactionRevisions == 0 {
		return
	}
	c := &compactor{period: s.config.CompactionPeriod, revisions: s.config.CompactionRevisions}
	s.every(c.interval(), func() {
		revision := c.upTo(time.Now(), s.keys.Revision())
		leader, _ := s.keys.Leader()
		if revision <= max(s.store.Status().Compacted, 1) || leader != s.self.ID() {
			return
		}
		switch err := s.keys.Compact(s.life, revision); {
		case err == nil:
			s.config.Logger.Info("history was compacted", slog.Int64("revision", revision))
		case !errors.Is(err, store.ErrCompacted) && !errors.Is(err, context.Canceled):
			s.config.Logger.Warn("history could not be compacted; trying again later", slog.Int64("revision", revision), slog.Any("error", err))
		}
	})
}
