package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store/engine"
)

// listener writes down what an observer hears beside commits.
type listener struct{ heard []string }

func (l *listener) Wants() (events, prevs bool)      { return false, false }
func (l *listener) Committed(int64, int64, []Commit) {}
func (l *listener) Restored(int64, int64)            {}
func (l *listener) ClockMoved(term uint64)           { l.hear("clock %d", term) }
func (l *listener) Sampled(index, hash uint64)       { l.hear("sample %d %t", index, hash != 0) }
func (l *listener) Reported(sample, member, hash uint64) {
	l.hear("report %d %d %d", sample, member, hash)
}

func (l *listener) hear(format string, args ...any) {
	l.heard = append(l.heard, fmt.Sprintf(format, args...))
}

// TestObserversHear: of the log's clock while there are leases, and of checks, which
// change nothing.
func TestObserversHear(t *testing.T) {
	l := &listener{}
	s, err := Open(engine.NewMemory(Split), l)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	index := raft.Index(0)
	apply := func(want []string, terms []raft.Term, commands ...Command) {
		t.Helper()
		var entries []rsm.Entry
		for i, c := range commands {
			index++
			entries = append(entries, rsm.Entry{Index: index, Term: terms[i], Timestamp: int64(index), Command: AppendCommand(nil, c)})
		}
		l.heard = nil
		if err := s.Apply(entries); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(l.heard, want) {
			t.Errorf("heard %q, want %q", l.heard, want)
		}
	}
	put := &PutRequest{Key: []byte("k"), Value: []byte("v")}
	apply(nil, []raft.Term{1}, put) // no lease
	apply([]string{"clock 1"}, []raft.Term{1}, &LeaseGrantRequest{ID: 1, TTL: 9})
	apply([]string{"clock 2"}, []raft.Term{2}, put)
	apply([]string{"clock 3"}, []raft.Term{2, 3}, put, put)
	apply([]string{"clock 4"}, []raft.Term{3, 4, 4}, put, put, put)
	apply([]string{"clock 4"}, []raft.Term{4, 4}, put, put)

	before := s.Status()
	apply([]string{"clock 4", fmt.Sprintf("sample %d true", index+1), "report 7 2 5"}, []raft.Term{4, 4, 4},
		&CheckRequest{}, &CheckRequest{Sample: 7, Member: 2, Hash: 5}, &CheckRequest{Sample: 7})
	after := s.Status()
	before.Applied = after.Applied
	if before != after {
		t.Errorf("checks made %+v of %+v", after, before)
	}
}
