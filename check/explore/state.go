package explore

import (
	"encoding/binary"

	"github.com/quorate/quorate/raft"
)

// state is a state of the group: of its replicas, by number, of the network, and
// of what the judges have to remember.
type state struct {
	locals [maxReplicas]uint32
	// messages are under way, ordered by number.
	messages []uint32
	// used counts what the scope bounds, four bits each.
	used uint64
	// leaders has the leader of each term, four bits each, while another could
	// still be elected in that term.
	leaders uint64
	// committed is what was ever committed, by the terms of the leaders that
	// committed each entry while those terms could still have a leader elected.
	committed, by terms
	// floors has, for each read that waits, what was committed when it began.
	floors uint64
}

func nibble(word uint64, i int) uint64 { return word >> (4 * i) & 15 }

func (s *state) copyFrom(o *state) {
	messages := append(s.messages[:0], o.messages...)
	*s = *o
	s.messages = messages
}

// hasMessage reports whether the message is under way.
func (s *state) hasMessage(id uint32) bool { return contains(s.messages, id) }

// addMessage puts a message on its way.
func (s *state) addMessage(id uint32) {
	i := len(s.messages)
	s.messages = append(s.messages, id)
	for i > 0 && s.messages[i-1] > id {
		s.messages[i] = s.messages[i-1]
		i--
	}
	s.messages[i] = id
}

// removeMessage takes one from its way.
func (s *state) removeMessage(id uint32) {
	for i, other := range s.messages {
		if other == id {
			s.messages = append(s.messages[:i], s.messages[i+1:]...)
			return
		}
	}
}

// asked notes what was committed, or answered, before a read began.
func (s *state) asked(in input) {
	s.floors |= uint64(s.committed.last()) << (4 * in.argument())
}

// ended forgets it for reads that do not wait any more.
func (s *state) ended(reads uint16) {
	for id := range 16 {
		if reads>>id&1 != 0 {
			s.floors &^= 15 << (4 * id)
		}
	}
}

// append encodes s for the queue: about forty bytes.
func (s *state) append(dst []byte, replicas int) []byte {
	for i := range replicas {
		dst = binary.AppendUvarint(dst, uint64(s.locals[i]))
	}
	dst = binary.AppendUvarint(dst, s.used)
	dst = binary.AppendUvarint(dst, s.leaders)
	dst = binary.AppendUvarint(dst, uint64(s.committed))
	dst = binary.AppendUvarint(dst, uint64(s.by))
	dst = binary.AppendUvarint(dst, s.floors)
	dst = binary.AppendUvarint(dst, uint64(len(s.messages)))
	before := uint32(0)
	for _, m := range s.messages {
		dst = binary.AppendUvarint(dst, uint64(m-before))
		before = m
	}
	return dst
}

// decode is the inverse of append. It gives the rest of src.
func (s *state) decode(src []byte, replicas int) []byte {
	next := func() uint64 {
		v, n := binary.Uvarint(src)
		src = src[n:]
		return v
	}
	for i := range replicas {
		s.locals[i] = uint32(next())
	}
	s.used, s.leaders = next(), next()
	s.committed, s.by = terms(next()), terms(next())
	s.floors = next()
	n := next()
	s.messages = s.messages[:0]
	before := uint32(0)
	for range n {
		before += uint32(next())
		s.messages = append(s.messages, before)
	}
	return src
}

// fingerprint gives 64 bits for s and every state that differs from it in the
// names of exchangeable members only. By each renaming the hashes of the parts are
// added up, each part's own being as good as random, and the least sum counts.
func (w *world) fingerprint(s *state) uint64 {
	least := ^uint64(0)
	common := scramble(uint64(s.committed)+0x9e3779b97f4a7c15) +
		scramble(uint64(s.by)+scramble(s.used+scramble(s.floors+1)))
	var parts [64][]uint64
	hashes := parts[:0]
	for i := range w.scope.members() {
		hashes = append(hashes, w.locals.at(s.locals[i]).hashes)
	}
	for _, m := range s.messages {
		hashes = append(hashes, w.messages.at(m).hashes)
	}
	for p := range w.renamings {
		sum := common + scramble(w.renamings[p].leaders(s.leaders)+0x632be59bd9b4e019)
		for _, h := range hashes {
			sum += h[p]
		}
		least = min(least, sum)
	}
	return least
}

// leaders renames the leaders of each term.
func (p *renaming) leaders(leaders uint64) uint64 {
	out := uint64(0)
	for shift := 0; leaders>>shift != 0; shift += 4 {
		out |= uint64(p[leaders>>shift&15]) << shift
	}
	return out
}

// forget drops what nothing can ask for any more, since every disk has a newer
// term: who led the terms before, and which of them committed what. (The term in
// memory is never older, so nobody stands for an older one again.) It also drops
// answers that the replica at which something has happened ignores from now on.
func (w *world) forget(s *state, at int, settled bool) {
	least := raft.Term(maxTerms)
	for i := range w.scope.members() {
		least = min(least, w.locals.at(s.locals[i]).diskTerm)
	}
	for term := raft.Term(1); term < least; term++ {
		s.leaders &^= 15 << (4 * term)
	}
	for index := raft.Index(1); index <= s.by.last(); index++ {
		if by := s.by.at(index); by < least && by > 1 {
			s.by = s.by&^(maxTerms<<(termBits*(index-1))) | 1<<(termBits*(index-1))
		}
	}
	if !settled {
		return
	}
	l := w.locals.at(s.locals[at])
	kept := s.messages[:0]
	for _, id := range s.messages {
		if m := w.messages.at(id); int(m.to) != at+1 || !l.ignores(m) {
			kept = append(kept, id)
		}
	}
	s.messages = kept
}

// ignores reports whether a replica in this state, and in every later one, also
// after any crash, ignores a message: an answer to a term that its disk has left,
// or that it cannot stand for or lead any more, since it takes a newer term to
// stand again.
func (l *local) ignores(m *interned) bool {
	if !m.answer || m.term != l.diskTerm {
		return m.answer && m.term < l.diskTerm
	}
	stands := l.term == l.diskTerm && l.state == raft.Candidate
	leads := l.term == l.diskTerm && l.state == raft.Leader
	switch m.body.(type) {
	case *raft.RequestVoteResponse:
		return !stands
	case *raft.AppendEntriesResponse, *raft.InstallSnapshotResponse:
		return !stands && !leads
	}
	return false
}

// leader gives the leader of a term, if it is remembered.
func (s *state) leader(term raft.Term) raft.NodeID {
	return raft.NodeID(nibble(s.leaders, int(term)))
}
