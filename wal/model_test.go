package wal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

var testIdentity = Identity{Cluster: [16]byte{1, 2, 3}, Node: 4, Incarnation: 5}

const testSegment = 16 << 10

func testOptions(fsys vfs.FS) Options {
	return Options{FS: fsys, Dir: "wal", Identity: testIdentity, SegmentSizeBytes: testSegment}
}

func mustOpen(t testing.TB, o Options) *WAL {
	t.Helper()
	w, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// model is the map-based twin: what a group's log must be.
type model struct {
	hard       raft.HardState
	snapshot   raft.SnapshotMeta
	generation uint64
	first      raft.Index
	prevTerm   raft.Term
	lastSum    uint32
	entries    [][]byte // of first and on
}

type models map[raft.GroupID]*model

func (m models) clone() models {
	c := models{}
	for id, g := range m {
		own := *g
		own.entries = slices.Clone(g.entries)
		c[id] = &own
	}
	return c
}

func (m *model) last() raft.Index { return m.first + raft.Index(len(m.entries)) - 1 }

func (m *model) term(i raft.Index) raft.Term {
	if i < m.first {
		return m.prevTerm
	}
	h, err := entry.Peek(m.entries[i-m.first])
	if err != nil {
		panic(err)
	}
	return h.ID.Term
}

func (m *model) sum(i raft.Index) uint32 {
	h, err := entry.Peek(m.entries[i-m.first])
	if err != nil {
		panic(err)
	}
	return h.Checksum
}

func (ms models) apply(u *Update) {
	m := ms[u.Group]
	if m == nil {
		m = &model{first: 1}
		ms[u.Group] = m
	}
	if u.HardStateChanged {
		m.hard = u.HardState
	}
	if u.ResetLog {
		id := u.Reset.ID
		if u.KeepSuffix && m.last() >= id.Index {
			m.entries = m.entries[id.Index+1-m.first:]
		} else {
			m.entries, m.lastSum = nil, u.Reset.Checksum
		}
		m.first, m.prevTerm, m.generation, m.snapshot = id.Index+1, id.Term, u.Generation, u.Reset
	}
	if u.Compact > m.first {
		m.prevTerm = m.term(u.Compact - 1)
		m.entries = m.entries[u.Compact-m.first:]
		m.first = u.Compact
	}
	if u.Compact != 0 {
		m.snapshot = u.Reset
	}
	if u.First != 0 {
		m.entries = slices.Clone(m.entries[:u.First-m.first])
		for _, piece := range u.Entries {
			for len(piece) > 0 {
				h, err := entry.Peek(piece)
				if err != nil {
					panic(err)
				}
				m.entries = append(m.entries, bytes.Clone(piece[:h.Size]))
				piece = piece[h.Size:]
			}
		}
		m.lastSum = m.sum(m.last())
	}
}

func (m *model) runs() []raft.TermRun {
	var runs []raft.TermRun
	for i := m.first; i <= m.last(); i++ {
		if t := m.term(i); len(runs) == 0 || runs[len(runs)-1].Term != t {
			runs = append(runs, raft.TermRun{First: i, Term: t})
		}
	}
	return runs
}

func (m *model) configurations() []raft.ConfigurationEntry {
	var all []raft.ConfigurationEntry
	for _, b := range m.entries {
		e, _, err := entry.Decode(b)
		if err != nil {
			panic(err)
		}
		if e.Kind == entry.Configuration {
			c, err := entry.DecodeConfiguration(e.Payload)
			if err != nil {
				panic(err)
			}
			all = append(all, raft.ConfigurationEntry{ID: e.ID(), Configuration: c})
		}
	}
	return all
}

// diff says how a WAL differs from the twin; empty if it does not.
func (ms models) diff(w *WAL) string {
	states := w.Groups()
	if len(states) != len(ms) {
		return fmt.Sprintf("%d groups, want %d", len(states), len(ms))
	}
	for i := range states {
		s := &states[i]
		m := ms[s.Group]
		if m == nil {
			return fmt.Sprintf("unknown group %d", s.Group)
		}
		if d := m.diff(w, s); d != "" {
			return fmt.Sprintf("group %d: %s", s.Group, d)
		}
	}
	return ""
}

func (m *model) diff(w *WAL, s *GroupState) string {
	if len(s.Faults) > 0 {
		return fmt.Sprintf("faults %v", s.Faults)
	}
	if s.HardState != m.hard || s.Generation != m.generation || s.First != m.first || s.Last != m.last() ||
		s.PrevTerm != m.prevTerm || s.LastChecksum != m.lastSum {
		return fmt.Sprintf("state %+v, want %+v", s, m)
	}
	if !reflect.DeepEqual(s.Snapshot, m.snapshot) {
		return fmt.Sprintf("snapshot %+v, want %+v", s.Snapshot, m.snapshot)
	}
	if want := m.runs(); !slices.Equal(s.Runs, want) {
		return fmt.Sprintf("runs %v, want %v", s.Runs, want)
	}
	if want := m.configurations(); len(want)+len(s.Configurations) > 0 && !reflect.DeepEqual(s.Configurations, want) {
		return fmt.Sprintf("configurations %v, want %v", s.Configurations, want)
	}
	for next := m.first; next <= m.last(); {
		got, last, err := w.Read(s.Group, next, m.last(), 2000, nil)
		if err != nil {
			return fmt.Sprintf("read from %d: %v", next, err)
		}
		if want := slices.Concat(m.entries[next-m.first : last+1-m.first]...); !bytes.Equal(got, want) || last < next {
			return fmt.Sprintf("entries [%d, %d] are not what was written", next, last)
		}
		next = last + 1
	}
	return ""
}

// script makes random updates that a Raft could make.
type script struct {
	rng        *rand.Rand
	groups     int
	payloadMax int
}

func (s *script) update(ms models, id raft.GroupID) Update {
	m := ms[id]
	if m == nil {
		m = &model{first: 1}
	}
	u := Update{Group: id}
	term := max(m.hard.CurrentTerm, 1)
	if s.rng.IntN(4) == 0 || m.hard.CurrentTerm == 0 {
		term += raft.Term(s.rng.IntN(3))
		u.HardState, u.HardStateChanged = raft.HardState{CurrentTerm: term, VotedFor: raft.NodeID(s.rng.IntN(4))}, true
	}
	first, last, prevTerm, prevSum := m.first, m.last(), m.prevTerm, m.lastSum
	switch s.rng.IntN(12) {
	case 0: // install a snapshot
		at := last + raft.Index(1+s.rng.IntN(5))
		u.ResetLog, u.Generation = true, s.rng.Uint64()
		if last >= first && s.rng.IntN(2) == 0 {
			at, u.KeepSuffix = first+raft.Index(s.rng.IntN(int(last-first)+1)), true
			u.Reset = s.meta(raft.EntryID{Term: m.term(at), Index: at})
			first, prevTerm = at+1, m.term(at)
		} else {
			u.Reset = s.meta(raft.EntryID{Term: term, Index: at})
			first, last, prevTerm, prevSum = at+1, at, term, u.Reset.Checksum
		}
	case 1, 2: // compact
		if last >= first {
			at := first + raft.Index(s.rng.IntN(int(last-first)+1))
			u.Reset = s.meta(raft.EntryID{Term: m.term(at), Index: at})
			u.Compact = max(first, at+1-raft.Index(s.rng.IntN(3)))
			first = u.Compact
			if first > m.first {
				prevTerm = m.term(first - 1)
			}
		}
	}
	if s.rng.IntN(8) == 0 {
		return u
	}
	u.First = last + 1
	if last >= first && s.rng.IntN(4) == 0 { // overwrite
		u.First = first + raft.Index(s.rng.IntN(int(last-first)+1))
	}
	switch at := u.First - 1; {
	case at >= first:
		prevTerm, prevSum = m.term(at), m.sum(at)
	case at >= m.first && at <= m.last() && (!u.ResetLog || u.KeepSuffix):
		prevSum = m.sum(at)
	}
	u.Last = u.First - 1
	entryTerm := max(prevTerm, 1)
	for range 1 + s.rng.IntN(6) {
		u.Last++
		entryTerm = max(entryTerm, min(term, entryTerm+raft.Term(s.rng.IntN(2))))
		e := entry.Entry{Term: entryTerm, Index: u.Last, Kind: entry.Command, Prev: prevSum, Timestamp: s.rng.Int64()}
		if s.rng.IntN(10) == 0 {
			e.Kind = entry.Configuration
			c := s.configuration()
			e.Payload, _ = entry.AppendConfiguration(nil, &c)
		} else {
			e.Payload = make([]byte, s.rng.IntN(s.payloadMax))
			for i := range e.Payload {
				e.Payload[i] = byte(s.rng.Uint32())
			}
		}
		var b []byte
		b, prevSum = e.AppendTo(nil)
		u.Entries = append(u.Entries, b)
	}
	return u
}

func (s *script) configuration() raft.Configuration {
	c := raft.Configuration{}
	for id := range 1 + s.rng.IntN(3) {
		c.Members = append(c.Members, raft.Member{ID: raft.NodeID(id + 1), Role: raft.Voter, Addresses: []string{"h:1"}})
	}
	return c
}

func (s *script) meta(id raft.EntryID) raft.SnapshotMeta {
	return raft.SnapshotMeta{
		ID: id, MaxTimestamp: s.rng.Int64(), Checksum: s.rng.Uint32(),
		Configuration: raft.ConfigurationEntry{ID: raft.EntryID{Term: 1, Index: 1}, Configuration: s.configuration()},
	}
}

// batch makes updates for a few groups, applied to ms.
func (s *script) batch(ms models) []Update {
	var updates []Update
	for range 1 + s.rng.IntN(3) {
		u := s.update(ms, raft.GroupID(1+s.rng.IntN(s.groups)))
		ms.apply(&u)
		updates = append(updates, u)
	}
	return updates
}

func newScript(seed uint64) *script {
	return &script{rng: rand.New(rand.NewPCG(seed, 7)), groups: 5, payloadMax: 400}
}

// The semantics of Update against the twin, reopened at random (RP-04, PS-06,
// SN-07).
func TestUpdatesAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		s := newScript(seed)
		if seed%4 == 0 {
			s.payloadMax = 12 << 10 // batches above a segment's size
		}
		disk := vfs.NewMem()
		w := mustOpen(t, testOptions(disk))
		ms := models{}
		for step := range 300 {
			if err := w.Write(s.batch(ms)); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if s.rng.IntN(3) != 0 {
				if err := w.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			for n := 0; s.rng.IntN(2) == 0 && n < 10; n++ {
				more, err := w.Maintain(1 + s.rng.IntN(4000))
				if err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
				if !more {
					break
				}
			}
			if s.rng.IntN(10) == 0 {
				if err := w.Prepare(); err != nil {
					t.Fatal(err)
				}
			}
			if s.rng.IntN(20) == 0 {
				if d := ms.diff(w); d != "" {
					t.Fatalf("seed %d step %d: %s", seed, step, d)
				}
			}
			if s.rng.IntN(15) == 0 {
				if s.rng.IntN(2) == 0 {
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
				} else {
					disk = disk.Crash(vfs.CrashOptions{Data: vfs.KeepAll, Entries: vfs.KeepAll})
				}
				w = mustOpen(t, testOptions(disk))
				if d := ms.diff(w); d != "" {
					t.Fatalf("seed %d step %d: reopened: %s", seed, step, d)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
