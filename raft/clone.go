package raft

import (
	"encoding/binary"
	"slices"

	"github.com/quorate/quorate/raft/quorum"
)

// Clone is a deep copy, which shares only what is immutable: configurations. Its
// Effects are its own and empty.
func (r *Raft) Clone() *Raft {
	c := *r
	c.log = r.log.clone()
	c.progress = slices.Clone(r.progress)
	for i := range c.progress {
		c.progress[i].inFlight.ring = slices.Clone(c.progress[i].inFlight.ring)
	}
	c.voters = quorum.Voters[NodeID]{
		Incoming: slices.Clone(r.voters.Incoming),
		Outgoing: slices.Clone(r.voters.Outgoing),
	}
	c.votes = slices.Clone(r.votes)
	c.uncommitted = slices.Clone(r.uncommitted)
	c.reads.waiting = slices.Clone(r.reads.waiting)
	c.reads.confirming = slices.Clone(r.reads.confirming)
	c.effects = Effects{}
	c.runs = nil
	c.shared = nil
	return &c
}

// AppendState appends an encoding of the whole state to dst: equal bytes mean
// that equal inputs will have equal effects, up to the numbers of writes and the
// generations of timers, which are encoded relative to each other so that states
// reached by different ways meet.
func (r *Raft) AppendState(dst []byte) []byte {
	number := func(values ...uint64) {
		for _, v := range values {
			dst = binary.AppendUvarint(dst, v)
		}
	}
	flags := func(values ...bool) {
		for _, v := range values {
			if v {
				dst = append(dst, 1)
			} else {
				dst = append(dst, 0)
			}
		}
	}
	// A write that is durable already is as good as any other.
	after := func(seq Seq) uint64 {
		if seq <= r.persistedSeq {
			return 0
		}
		return uint64(seq - r.persistedSeq)
	}
	configuration := func(c *ConfigurationEntry) {
		number(uint64(c.ID.Term), uint64(c.ID.Index), uint64(len(c.Configuration.Members)))
		for i := range c.Configuration.Members {
			m := &c.Configuration.Members[i]
			number(uint64(m.ID), uint64(m.Incarnation), uint64(m.Role))
		}
		number(uint64(len(c.Configuration.Outgoing)))
		for _, id := range c.Configuration.Outgoing {
			number(uint64(id))
		}
		flags(c.Configuration.AutoLeave)
	}

	number(uint64(r.id), uint64(r.currentTerm), uint64(r.votedFor), uint64(r.state), uint64(r.leader))
	number(uint64(r.commitIndex), uint64(r.lastApplied))
	flags(r.leaderAlive)

	l := &r.log
	number(uint64(l.snapshot.ID.Term), uint64(l.snapshot.ID.Index), uint64(l.snapshot.MaxTimestamp))
	configuration(&l.snapshot.Configuration)
	number(uint64(l.first), uint64(l.last), uint64(l.prevTerm), uint64(l.durable), uint64(len(l.runs)))
	for _, run := range l.runs {
		number(uint64(run.First), uint64(run.Term))
	}
	number(uint64(len(l.configurations)))
	for i := range l.configurations {
		configuration(&l.configurations[i])
	}
	number(uint64(len(l.pending)))
	for _, w := range l.pending {
		number(after(w.seq), uint64(w.last))
	}
	number(after(r.seq), after(r.hardStateSeq), after(r.resetSeq), after(r.voteSeq), uint64(r.promised))

	votes := slices.Clone(r.votes)
	slices.SortFunc(votes, func(a, b ballot) int { return compareIDs(a.from, b.from) })
	number(uint64(len(votes)))
	for _, b := range votes {
		number(uint64(b.from))
		flags(b.granted)
	}
	for _, t := range r.timers {
		flags(t.armed)
	}

	number(uint64(r.noop), r.round, uint64(r.uncommittedBytes), uint64(len(r.uncommitted)))
	for _, b := range r.uncommitted {
		number(uint64(b.last), uint64(b.bytes))
	}
	number(uint64(len(r.progress)))
	for i := range r.progress {
		p := &r.progress[i]
		number(uint64(p.id), uint64(p.matchIndex), uint64(p.nextIndex), uint64(p.mode))
		flags(p.sending, p.paused, p.held, p.snapshotInFlight, p.active, p.contact)
		number(uint64(p.sendingPrev), uint64(p.sendingLast), uint64(p.snapshotIndex), p.round,
			uint64(p.commitTold), uint64(p.inFlight.count))
		for j := range p.inFlight.count {
			b := p.inFlight.ring[(p.inFlight.head+j)%len(p.inFlight.ring)]
			number(uint64(b.last), uint64(b.bytes))
		}
	}
	number(r.reads.confirmingRound, uint64(r.reads.index), uint64(len(r.reads.confirming)), uint64(len(r.reads.waiting)))
	for _, rd := range r.reads.confirming {
		number(uint64(rd.id), uint64(rd.from))
	}
	for _, rd := range r.reads.waiting {
		number(uint64(rd.id), uint64(rd.from))
	}
	return dst
}

// compareIDs orders ids.
func compareIDs(a, b NodeID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
