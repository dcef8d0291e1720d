package raft

import "slices"

// progress is what a leader knows of one other member, voter or learner: Figure
// 2's nextIndex and matchIndex, and how it is being sent to.
type progress struct {
	id NodeID
	// matchIndex < nextIndex <= last+1. matchIndex never falls (RP-09).
	matchIndex, nextIndex Index
	mode                  replication
	// sending: an AppendEntries with the entries (sendingPrev, sendingLast] was
	// handed to the runtime, which has not said yet what became of it.
	sending                  bool
	sendingPrev, sendingLast Index
	// paused: a probe is out, or nothing is to be tried until the next
	// heartbeat or answer.
	paused bool
	// held: the runtime could not send the last entries handed to it; more are not
	// handed to it before the next heartbeat or answer.
	held bool
	// snapshotInFlight: a transfer was begun and not yet answered (FC-06).
	snapshotInFlight bool
	// snapshotIndex is the snapshot that the log rested on when it began.
	snapshotIndex Index
	// active: the peer answered since the last quorum contact check. contact:
	// it did since the one before; without contact it gets only heartbeats
	// (FC-07).
	active, contact bool
	// round is the newest round that the peer has echoed (RD-02).
	round uint64
	// commitTold is the commitIndex that the peer reaches once it has received
	// all that was sent to it.
	commitTold Index
	inFlight   inFlight
}

// replication is how a leader sends to a follower.
type replication uint8

const (
	// probe: where the logs agree is not known; one AppendEntries at a time,
	// without entries (RP-10).
	probe replication = iota
	// replicate: they agree up to nextIndex-1 if nothing is lost on the way;
	// entries are sent ahead of the answers (FC-01).
	replicate
	// installing: the peer needs entries that are gone and is being sent a
	// snapshot.
	installing
)

// String gives the mode's name as PeerStatus documents it.
func (m replication) String() string {
	switch m {
	case probe:
		return "probe"
	case replicate:
		return "replicate"
	case installing:
		return "snapshot"
	}
	return "unknown mode"
}

// matched: the peer's durable log equals the leader's up to index.
func (p *progress) matched(index Index) {
	p.matchIndex = max(p.matchIndex, index)
	p.nextIndex = max(p.nextIndex, index+1)
	p.inFlight.answered(p.matchIndex)
}

// becomeReplicate: the peer is known to hold the entries before next.
func (p *progress) becomeReplicate(next Index) {
	p.mode = replicate
	p.nextIndex = max(next, p.matchIndex+1)
	p.inFlight.clear()
	p.paused = false
	p.commitTold = 0
}

// becomeProbe: ask whether the peer holds the entry before next.
func (p *progress) becomeProbe(next Index) {
	p.mode = probe
	p.nextIndex = max(next, p.matchIndex+1)
	p.inFlight.clear()
	p.paused = false
	p.commitTold = 0
}

// inFlight is the window of what was sent and not yet answered (FC-02): a ring
// of batches, oldest at head.
type inFlight struct {
	ring  []batch
	head  int
	count int
	bytes int
}

// batch is one AppendEntries on its way: its last entry and its size.
type batch struct {
	last  Index
	bytes int
}

// add puts a batch into the window.
func (f *inFlight) add(b batch) {
	if f.count == len(f.ring) {
		ring := make([]batch, max(8, 2*len(f.ring)))
		for i := range f.count {
			ring[i] = f.ring[(f.head+i)%len(f.ring)]
		}
		f.ring, f.head = ring, 0
	}
	f.ring[(f.head+f.count)%len(f.ring)] = b
	f.count++
	f.bytes += b.bytes
}

// answered removes the batches that end at or below match.
func (f *inFlight) answered(match Index) {
	for f.count > 0 && f.ring[f.head].last <= match {
		f.bytes -= f.ring[f.head].bytes
		f.head = (f.head + 1) % len(f.ring)
		f.count--
	}
}

// clear empties the window.
func (f *inFlight) clear() { f.head, f.count, f.bytes = 0, 0, 0 }

// full reports whether nothing more may be sent.
func (f *inFlight) full(cfg *Config) bool {
	return f.count >= cfg.MaxInFlightMessages || f.bytes >= cfg.MaxInFlightBytes
}

// peer gives the progress of id, or nil if it is not a member.
func (r *Raft) peer(id NodeID) *progress {
	for i := range r.progress {
		if r.progress[i].id == id {
			return &r.progress[i]
		}
	}
	return nil
}

// resetProgress sets nextIndex and matchIndex for every other member of the
// latest configuration, as a new leader does before it appends anything (EL-13).
func (r *Raft) resetProgress() {
	r.progress = r.progress[:0]
	configuration := &r.log.configuration().Configuration
	add := func(id NodeID) {
		if id == r.id || r.peer(id) != nil {
			return
		}
		r.progress = append(r.progress, progress{
			id:        id,
			nextIndex: r.log.last + 1,
			contact:   true,
		})
	}
	for i := range configuration.Members {
		add(configuration.Members[i].ID)
	}
	for _, id := range configuration.Outgoing {
		add(id)
	}
	slices.SortFunc(r.progress, func(a, b progress) int { return compareIDs(a.id, b.id) })
}
