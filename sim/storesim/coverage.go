package storesim

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/quorate/quorate/store"
)

// Coverage counts what occurred. Safe for concurrent use: any number of runs may
// share one.
type Coverage [counters]atomic.Int64

type counter int

const (
	countPut counter = iota
	countDelete
	countTxn
	countCompact
	countGrant
	countRevoke
	countExpiry
	countRenew
	countAlarm
	countPublish
	countCommandRefused

	countCompared
	countRecovered
	countRestored
	countFlushed
	countCommitsLost
	countReclaimed
	countEngineFailed
	countPublished
	countForwarded

	countWriteAnswered
	countWriteRefused
	countWriteUnknown
	countReadAnswered
	countStaleRead
	countReadRefused
	countReadTxn
	countConnectionLost
	countImpatient
	countOldRead
	countCompactedRead
	countKeepAlive
	countLeaseGone
	countTimeToLive
	countExpiredLate

	countWatchCreated
	countWatchRejected
	countWatchEvents
	countWatchManyRevisions
	countWatchPrev
	countWatchProgress
	countWatchCompacted
	countWatchCanceled
	countWatchResumed
	countWatchBehind

	counters = iota
)

var counterNames = [counters]string{
	countPut: "put committed", countDelete: "delete committed", countTxn: "transaction committed", countCompact: "compaction committed",
	countGrant: "lease granted", countRevoke: "lease revoked", countExpiry: "lease expired", countRenew: "leases renewed",
	countAlarm: "alarm raised, cleared or listed", countPublish: "member published", countCommandRefused: "command refused by the store",
	countCompared: "whole store compared", countRecovered: "store recovered by itself", countRestored: "store restored from a snapshot",
	countFlushed: "engine flushed", countCommitsLost: "unflushed commits lost", countReclaimed: "compacted history given back in parts",
	countEngineFailed: "engine failed", countPublished: "publishing answered", countForwarded: "proposal forwarded",
	countWriteAnswered: "write answered", countWriteRefused: "write certainly not done", countWriteUnknown: "write unknown",
	countReadAnswered: "read answered", countStaleRead: "serializable read answered", countReadRefused: "read not answered",
	countReadTxn: "reading transaction answered", countConnectionLost: "connection lost", countImpatient: "client gave up",
	countOldRead: "old revision read", countCompactedRead: "read of a compacted revision refused",
	countKeepAlive: "lease kept alive", countLeaseGone: "lease to keep alive was gone", countTimeToLive: "time to live answered",
	countExpiredLate:  "lease expired without a fault since it was due",
	countWatchCreated: "watcher made", countWatchRejected: "watcher rejected", countWatchEvents: "watcher told of events",
	countWatchManyRevisions: "watcher told of many revisions at once", countWatchPrev: "watcher told of a value before",
	countWatchProgress: "watcher told of progress", countWatchCompacted: "watcher ended by a compaction",
	countWatchCanceled: "watcher canceled", countWatchResumed: "watcher resumed elsewhere", countWatchBehind: "watcher reading history",
}

// Covered gives the names of what Coverage counts, in its order.
func Covered() []string { return append([]string(nil), counterNames[:]...) }

func (s *Service) count(c counter) { s.coverage[c].Add(1) }

// WriteTable writes the counts in two columns.
func (c *Coverage) WriteTable(w io.Writer) error {
	half := (counters + 1) / 2
	for i := range half {
		line := fmt.Sprintf("%12d  %-46s", c[i].Load(), counterNames[i])
		if j := i + half; j < counters {
			line += fmt.Sprintf("%12d  %s", c[j].Load(), counterNames[j])
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func commandCounter(cmd store.Command, err error) counter {
	if err != nil {
		return countCommandRefused
	}
	switch c := cmd.(type) {
	case *store.PutRequest:
		return countPut
	case *store.DeleteRangeRequest:
		return countDelete
	case *store.TxnRequest:
		return countTxn
	case *store.CompactRequest:
		return countCompact
	case *store.LeaseGrantRequest:
		return countGrant
	case *store.LeaseRevokeRequest:
		if c.Term != 0 {
			return countExpiry
		}
		return countRevoke
	case *store.LeaseRenewRequest:
		return countRenew
	case *store.PublishRequest:
		return countPublish
	}
	return countAlarm
}
