package explore

import (
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/raft"
)

// message is what travels between two replicas.
type message struct {
	from, to raft.NodeID
	body     raft.Body
	// image is, of an InstallSnapshot, the state that it carries: the entries
	// that were applied to it.
	image terms
}

// The kinds of bodies, as they are encoded.
const (
	preVote byte = 1 + iota
	preVoteResponse
	requestVote
	requestVoteResponse
	appendEntries
	appendEntriesResponse
	installSnapshot
	installSnapshotResponse
	timeoutNow
	readIndexRequest
	readIndexResponse
)

// append encodes m: equal bytes are equal messages. rename is as in
// raft.AppendStateRenamed.
func (m *message) append(dst []byte, rename func(raft.NodeID) raft.NodeID) []byte {
	number := func(values ...uint64) {
		for _, v := range values {
			dst = binary.AppendUvarint(dst, v)
		}
	}
	flag := func(set bool) uint64 {
		if set {
			return 1
		}
		return 0
	}
	number(uint64(rename(m.from)), uint64(rename(m.to)))
	switch b := m.body.(type) {
	case *raft.PreVote:
		dst = append(dst, preVote)
		number(uint64(b.Term), uint64(b.LastLog.Term), uint64(b.LastLog.Index))
	case *raft.PreVoteResponse:
		dst = append(dst, preVoteResponse)
		number(uint64(b.Term), flag(b.Granted))
	case *raft.RequestVote:
		dst = append(dst, requestVote)
		number(uint64(b.Term), uint64(b.LastLog.Term), uint64(b.LastLog.Index), flag(b.Transfer))
	case *raft.RequestVoteResponse:
		dst = append(dst, requestVoteResponse)
		number(uint64(b.Term), flag(b.Granted), uint64(b.LastLog.Term), uint64(b.LastLog.Index))
	case *raft.AppendEntries:
		dst = append(dst, appendEntries)
		number(uint64(b.Term), uint64(b.Prev.Term), uint64(b.Prev.Index), uint64(b.Last), uint64(b.Commit), b.Round)
		for _, run := range b.Runs {
			number(uint64(run.First), uint64(run.Term))
		}
	case *raft.AppendEntriesResponse:
		dst = append(dst, appendEntriesResponse)
		number(uint64(b.Term), flag(b.Success), uint64(b.Match), b.Round, uint64(b.Prev), uint64(b.Hint.Term), uint64(b.Hint.Index))
	case *raft.InstallSnapshot:
		dst = append(dst, installSnapshot)
		number(uint64(b.Term), uint64(b.Snapshot.ID.Term), uint64(b.Snapshot.ID.Index), b.Round,
			uint64(b.Snapshot.Configuration.ID.Term), uint64(b.Snapshot.Configuration.ID.Index), uint64(m.image))
	case *raft.InstallSnapshotResponse:
		dst = append(dst, installSnapshotResponse)
		number(uint64(b.Term), uint64(b.Match), b.Round)
	case *raft.TimeoutNow:
		dst = append(dst, timeoutNow)
		number(uint64(b.Term))
	case *raft.ReadIndexRequest:
		dst = append(dst, readIndexRequest)
		number(uint64(b.Term), uint64(b.Read))
	case *raft.ReadIndexResponse:
		dst = append(dst, readIndexResponse)
		number(uint64(b.Term), uint64(b.Read), uint64(b.Index))
	default:
		panic(fmt.Sprintf("explore: message %T is not known", m.body))
	}
	return dst
}

// answer tells the term of a message that says nothing to a replica beyond that
// term, and of which kind it is.
func (m *message) answer() (term raft.Term, isAnswer bool) {
	switch m.body.(type) {
	case *raft.PreVoteResponse, *raft.RequestVoteResponse, *raft.AppendEntriesResponse,
		*raft.InstallSnapshotResponse, *raft.ReadIndexResponse:
		return m.body.MessageTerm(), true
	}
	return 0, false
}

// String tells what m says.
func (m *message) String() string {
	grants := map[bool]string{true: "grant", false: "refusal"}
	what := ""
	switch b := m.body.(type) {
	case *raft.PreVote:
		what = fmt.Sprintf("PreVote for term %d, last entry %v", b.Term, b.LastLog)
	case *raft.PreVoteResponse:
		what = fmt.Sprintf("PreVote %s, term %d", grants[b.Granted], b.Term)
	case *raft.RequestVote:
		what = fmt.Sprintf("RequestVote of term %d, last entry %v", b.Term, b.LastLog)
	case *raft.RequestVoteResponse:
		what = fmt.Sprintf("vote %s, term %d", grants[b.Granted], b.Term)
	case *raft.AppendEntries:
		what = fmt.Sprintf("AppendEntries of term %d after %v", b.Term, b.Prev)
		if b.Last > b.Prev.Index {
			what += fmt.Sprintf(", entries up to %d of terms %v", b.Last, b.Runs)
		}
		what += fmt.Sprintf(", committed %d", b.Commit)
		if b.Round > 0 {
			what += fmt.Sprintf(", round %d", b.Round)
		}
	case *raft.AppendEntriesResponse:
		if b.Success {
			what = fmt.Sprintf("success of term %d, match %d after %d", b.Term, b.Match, b.Prev)
		} else {
			what = fmt.Sprintf("refusal of term %d, not after %d, hint %v", b.Term, b.Prev, b.Hint)
		}
		if b.Round > 0 {
			what += fmt.Sprintf(", round %d", b.Round)
		}
	case *raft.InstallSnapshot:
		what = fmt.Sprintf("InstallSnapshot of term %d, up to %v", b.Term, b.Snapshot.ID)
	case *raft.InstallSnapshotResponse:
		what = fmt.Sprintf("snapshot installed, term %d, match %d", b.Term, b.Match)
	case *raft.TimeoutNow:
		what = fmt.Sprintf("TimeoutNow of term %d", b.Term)
	case *raft.ReadIndexRequest:
		what = fmt.Sprintf("read %d asks for an index, term %d", b.Read, b.Term)
	case *raft.ReadIndexResponse:
		what = fmt.Sprintf("read %d may read at %d, term %d", b.Read, b.Index, b.Term)
	}
	return fmt.Sprintf("%d>%d %s", m.from, m.to, what)
}
