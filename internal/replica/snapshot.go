package replica

import (
	"slices"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/wal"
)

// snapshots decides when one is due and how much of the log to keep behind it.
type snapshots struct {
	newest       raft.EntryID
	size         int64 // of the newest, in bytes
	receivedSize int64 // of the one being installed
	taking       bool

	// marks sample the log's growth, so that the index which lies TailBytes
	// before another can be found. Bounded: neighbours are merged.
	marks []mark
	total int64 // bytes appended since begin
	since int64 // total when the newest snapshot was taken

	// pins keep the log for followers that are being sent a snapshot.
	pins []pin

	// obsolete waits for seq to be durable before older files are removed.
	obsolete    raft.EntryID
	obsoleteSeq raft.Seq
}

// A pin keeps the log from an index on for a follower: what follows the snapshot
// that it is being sent. Without it the log may be compacted past the snapshot
// again and again while a transfer runs, and the follower never catches up.
type pin struct {
	peer  raft.NodeID
	from  raft.Index
	ended bool // the transfer did, and the follower goes on from the log
}

// pinnedFactor bounds what pins keep, in multiples of the log's growth at which a
// snapshot is due.
const pinnedFactor = 4

// A mark says that entries from first on were appended after bytes of log.
type mark struct {
	first raft.Index
	bytes int64
}

const maxMarks = 1024

func (s *snapshots) begin(newest raft.EntryID, size int64, log wal.GroupState) {
	s.newest, s.size = newest, size
	if log.Last >= log.First && log.First > 0 {
		s.marks = append(s.marks, mark{log.First, 0})
	}
}

// appended notes that entries from first on, so many bytes, joined the log.
func (s *snapshots) appended(first raft.Index, bytes int) {
	for len(s.marks) > 0 && s.marks[len(s.marks)-1].first >= first {
		s.marks = s.marks[:len(s.marks)-1] // truncated
	}
	s.marks = append(s.marks, mark{first, s.total})
	s.total += int64(bytes)
	if len(s.marks) > maxMarks {
		kept := s.marks[:0]
		for i, m := range s.marks {
			if i%2 == 0 {
				kept = append(kept, m)
			}
		}
		s.marks = kept
	}
}

// keepFrom is the first index of the log to keep behind a snapshot.
func (s *snapshots) keepFrom(snapshot raft.Index, tailBytes int64) raft.Index {
	end := s.total
	for _, m := range s.marks {
		if m.first > snapshot {
			end = m.bytes
			break
		}
	}
	for _, m := range s.marks {
		if m.first > snapshot {
			break
		}
		if m.bytes >= end-tailBytes {
			return m.first
		}
	}
	return snapshot + 1
}

// forget drops marks of entries that are no longer in the log.
func (s *snapshots) forget(first raft.Index) {
	n := 0
	for n+1 < len(s.marks) && s.marks[n+1].first <= first {
		n++
	}
	s.marks = s.marks[:copy(s.marks, s.marks[n:])]
}

func (s *snapshots) installed(meta raft.SnapshotMeta) {
	s.newest, s.size, s.since = meta.ID, s.receivedSize, s.total
	s.forget(meta.ID.Index + 1)
}

// persisted lets older files go once the log no longer rests on them (B-25).
func (s *snapshots) persisted(seq raft.Seq, out *Output) {
	if s.obsolete.Index != 0 && s.obsoleteSeq <= seq {
		out.Obsolete = s.obsolete
		s.obsolete = raft.EntryID{}
	}
}

// considerSnapshot asks for a snapshot when the log has grown by the configured
// size and by a multiple of the last snapshot since then (SN-11).
func (r *Replica) considerSnapshot(out *Output) {
	s := &r.snap
	due := max(r.cfg.SnapshotBytes, int64(r.cfg.SnapshotFactor)*s.size)
	if s.taking || s.total-s.since < due || r.handover.applied <= s.newest.Index {
		return
	}
	s.taking = true
	out.Apply = append(out.Apply, Task{Snapshot: true})
}

// SnapshotTaken reports a durable, verified snapshot of the own state machine
// (SN-01, SN-03).
func (r *Replica) SnapshotTaken(meta raft.SnapshotMeta, size int64, out *Output) {
	s := &r.snap
	s.taking = false
	if meta.ID.Index <= s.newest.Index {
		return // one was installed meanwhile
	}
	s.newest, s.size, s.since = meta.ID, size, s.total
	first := r.pinned(s.keepFrom(meta.ID.Index, r.cfg.TailBytes), size)
	first = max(r.core.FirstIndex(), first)
	s.forget(first)
	before := len(out.Updates)
	r.step(&raft.SnapshotTaken{Snapshot: meta, First: first}, out)
	if len(out.Updates) > before {
		s.obsolete, s.obsoleteSeq = meta.ID, out.Updates[len(out.Updates)-1].Seq
	}
	r.settle(out)
}

// DurableUpTo reports how far a state machine on disk is durable, so that the log
// before may be forgotten without a snapshot: one is made when a follower needs
// it. The log keeps its newest entry in any case, for the chain.
func (r *Replica) DurableUpTo(durable raft.Index, out *Output) {
	s := &r.snap
	s.taking = false
	durable = min(durable, r.handover.applied)
	first := min(r.pinned(s.keepFrom(durable, r.cfg.TailBytes), s.size), r.core.LastIndex())
	if durable <= s.newest.Index || first <= r.core.FirstIndex() {
		s.since = s.total - max(r.cfg.SnapshotBytes/2, 0) // look again soon
		return
	}
	term, ok := r.core.Term(durable)
	if !ok {
		return
	}
	meta := raft.SnapshotMeta{
		ID:            raft.EntryID{Term: term, Index: durable},
		Configuration: r.core.ConfigurationAt(durable),
	}
	s.newest, s.since = meta.ID, s.total
	s.forget(first)
	r.step(&raft.SnapshotTaken{Snapshot: meta, First: first}, out)
	r.settle(out)
}

// SnapshotFailed reports that no snapshot could be taken. It is tried again when
// the log has grown as much again.
func (r *Replica) SnapshotFailed() {
	r.snap.taking = false
	r.snap.since = r.snap.total
}

// pinned lowers the first index to keep to what followers need that are being
// sent a snapshot, within a bound.
func (r *Replica) pinned(first raft.Index, size int64) raft.Index {
	s := &r.snap
	if r.core.State() != raft.Leader {
		s.pins = nil
		return first
	}
	bound := pinnedFactor * max(r.cfg.SnapshotBytes, int64(r.cfg.SnapshotFactor)*size)
	peers := r.core.Status().Peers
	kept := s.pins[:0]
	for _, p := range s.pins {
		i := slices.IndexFunc(peers, func(peer raft.PeerStatus) bool { return peer.ID == p.peer })
		caughtUp := i < 0 || p.ended && peers[i].MatchIndex >= p.from
		if caughtUp || s.bytesFrom(p.from) > bound {
			continue
		}
		kept = append(kept, p)
		first = min(first, p.from)
	}
	s.pins = kept
	return first
}

// pin keeps the log behind the newest snapshot, which a peer is about to be sent.
func (s *snapshots) pin(peer raft.NodeID) {
	s.unpin(peer)
	s.pins = append(s.pins, pin{peer: peer, from: s.newest.Index + 1})
}

func (s *snapshots) unpin(peer raft.NodeID) {
	s.pins = slices.DeleteFunc(s.pins, func(p pin) bool { return p.peer == peer })
}

// bytesFrom is about how many bytes of log there are from an index on.
func (s *snapshots) bytesFrom(index raft.Index) int64 {
	for _, m := range s.marks {
		if m.first >= index {
			return s.total - m.bytes
		}
	}
	return 0
}

// SnapshotSent reports how a transfer to a peer ended.
func (r *Replica) SnapshotSent(peer raft.NodeID, ok bool, out *Output) {
	if !ok {
		r.snap.unpin(peer)
	}
	for i := range r.snap.pins {
		if r.snap.pins[i].peer == peer {
			r.snap.pins[i].ended = true
		}
	}
	r.step(&raft.SnapshotSent{Peer: peer, OK: ok}, out)
	r.settle(out)
}
