package raft

import (
	"encoding/binary"
	"slices"
)

// AppendState appends an encoding of the whole state to dst: equal bytes mean
// that equal inputs will have equal effects, up to the numbers of writes and the
// generations of timers, which are encoded relative to each other so that states
// reached by different ways meet.
func (r *Raft) AppendState(dst []byte) []byte { return r.AppendStateRenamed(dst, nil) }

// AppendStateRenamed is AppendState of the same replica in a group whose members
// have other ids: what stands under id stands under rename(id) there. rename gives
// different ids different names; nil leaves them.
func (r *Raft) AppendStateRenamed(dst []byte, rename func(NodeID) NodeID) []byte {
	e := stateEncoder{dst: dst, rename: rename}
	e.id(r.id)
	e.number(uint64(r.currentTerm), uint64(r.state))
	e.id(r.votedFor)
	e.id(r.leader)
	e.number(uint64(r.commitIndex), uint64(r.lastApplied))
	e.flags(r.leaderAlive)
	e.log(&r.log, r.persistedSeq)
	e.number(after(r.seq, r.persistedSeq), after(r.hardStateSeq, r.persistedSeq),
		after(r.resetSeq, r.persistedSeq), after(r.voteSeq, r.persistedSeq), uint64(r.promised))
	e.votes(r.votes)
	for _, t := range r.timers {
		e.flags(t.armed)
	}
	e.number(uint64(r.noop), r.round, uint64(r.uncommittedBytes), uint64(len(r.uncommitted)))
	for _, b := range r.uncommitted {
		e.number(uint64(b.last), uint64(b.bytes))
	}
	e.progress(r.progress)
	e.number(r.reads.confirmingRound, uint64(r.reads.index))
	e.reads(r.reads.confirming)
	e.reads(r.reads.waiting)
	return e.dst
}

// after numbers a write from the last durable one on. A write that is durable
// already is as good as any other.
func after(seq, persisted Seq) uint64 {
	if seq <= persisted {
		return 0
	}
	return uint64(seq - persisted)
}

// stateEncoder appends the parts of a state. What is ordered by id is encoded in
// the order of the new names.
type stateEncoder struct {
	dst    []byte
	rename func(NodeID) NodeID
}

func (e *stateEncoder) number(values ...uint64) {
	for _, v := range values {
		e.dst = binary.AppendUvarint(e.dst, v)
	}
}

func (e *stateEncoder) flags(values ...bool) {
	for _, v := range values {
		if v {
			e.dst = append(e.dst, 1)
		} else {
			e.dst = append(e.dst, 0)
		}
	}
}

// name gives the new name of id. Nobody stays nobody.
func (e *stateEncoder) name(id NodeID) NodeID {
	if id == None || e.rename == nil {
		return id
	}
	return e.rename(id)
}

func (e *stateEncoder) id(id NodeID) { e.number(uint64(e.name(id))) }

func (e *stateEncoder) log(l *raftLog, persisted Seq) {
	e.number(uint64(l.snapshot.ID.Term), uint64(l.snapshot.ID.Index), uint64(l.snapshot.MaxTimestamp))
	e.configuration(&l.snapshot.Configuration)
	e.number(uint64(l.first), uint64(l.last), uint64(l.prevTerm), uint64(l.durable), uint64(len(l.runs)))
	for _, run := range l.runs {
		e.number(uint64(run.First), uint64(run.Term))
	}
	e.number(uint64(len(l.configurations)))
	for i := range l.configurations {
		e.configuration(&l.configurations[i])
	}
	e.number(uint64(len(l.pending)))
	for _, w := range l.pending {
		e.number(after(w.seq, persisted), uint64(w.last))
	}
}

func (e *stateEncoder) configuration(c *ConfigurationEntry) {
	members := c.Configuration.Members
	outgoing := c.Configuration.Outgoing
	if e.rename != nil {
		members, outgoing = slices.Clone(members), slices.Clone(outgoing)
		slices.SortFunc(members, func(a, b Member) int { return compareIDs(e.name(a.ID), e.name(b.ID)) })
		slices.SortFunc(outgoing, func(a, b NodeID) int { return compareIDs(e.name(a), e.name(b)) })
	}
	e.number(uint64(c.ID.Term), uint64(c.ID.Index), uint64(len(members)))
	for i := range members {
		e.id(members[i].ID)
		e.number(uint64(members[i].Incarnation), uint64(members[i].Role))
	}
	e.number(uint64(len(outgoing)))
	for _, id := range outgoing {
		e.id(id)
	}
	e.flags(c.Configuration.AutoLeave)
}

func (e *stateEncoder) votes(votes []ballot) {
	votes = slices.Clone(votes)
	slices.SortFunc(votes, func(a, b ballot) int { return compareIDs(e.name(a.from), e.name(b.from)) })
	e.number(uint64(len(votes)))
	for _, b := range votes {
		e.id(b.from)
		e.flags(b.granted)
	}
}

func (e *stateEncoder) progress(peers []progress) {
	e.number(uint64(len(peers)))
	order := make([]*progress, len(peers))
	for i := range peers {
		order[i] = &peers[i]
	}
	slices.SortFunc(order, func(a, b *progress) int { return compareIDs(e.name(a.id), e.name(b.id)) })
	for _, p := range order {
		e.id(p.id)
		e.number(uint64(p.matchIndex), uint64(p.nextIndex), uint64(p.mode))
		e.flags(p.sending, p.paused, p.held, p.snapshotInFlight, p.active, p.contact)
		e.number(uint64(p.sendingPrev), uint64(p.sendingLast), uint64(p.snapshotIndex), p.round,
			uint64(p.commitTold), uint64(p.inFlight.count))
		for i := range p.inFlight.count {
			b := p.inFlight.ring[(p.inFlight.head+i)%len(p.inFlight.ring)]
			e.number(uint64(b.last), uint64(b.bytes))
		}
	}
}

func (e *stateEncoder) reads(reads []read) {
	e.number(uint64(len(reads)))
	for _, rd := range reads {
		e.number(uint64(rd.id))
		e.id(rd.from)
	}
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
