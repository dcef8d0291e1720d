package replica

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// LogRead is a read of the write-ahead log: entries from First on, at most up to
// Last and about MaxBytes, at least one.
type LogRead struct {
	// Peer is whom the entries are for; raft.None if they are to be applied.
	Peer        raft.NodeID
	Term        raft.Term
	First, Last raft.Index
	MaxBytes    int
}

// ErrCompacted is what a LogRead is answered with if First is no longer in the
// log.
var ErrCompacted = errors.New("replica: entries are compacted")

// attach gives an AppendEntries its bytes, or asks for them, and reports to the
// core what became of it.
func (r *Replica) attach(a appendToPeer, out *Output) {
	first := a.body.Prev.Index + 1
	pieces, last, bytes, ok := r.tail.slice(nil, first, a.body.Last, r.cfg.MaxBatchBytes)
	switch {
	case ok:
		r.sendEntries(a, pieces, last, bytes, out)
	case first < r.core.FirstIndex():
		r.step(&raft.Compacted{Peer: a.peer}, out)
	default:
		r.reading = append(r.reading, a)
		out.LogReads = append(out.LogReads, LogRead{
			Peer: a.peer, Term: a.body.Term, First: first, Last: r.tail.before(a.body.Last), MaxBytes: r.cfg.MaxBatchBytes,
		})
	}
}

func (r *Replica) sendEntries(a appendToPeer, pieces [][]byte, last raft.Index, bytes int, out *Output) {
	body := a.body
	if last < body.Last {
		shorter := *body
		shorter.Last = last
		for len(shorter.Runs) > 0 && shorter.Runs[len(shorter.Runs)-1].First > last {
			shorter.Runs = shorter.Runs[:len(shorter.Runs)-1]
		}
		body = &shorter
	}
	out.Send = append(out.Send, transport.Envelope{
		Group:   r.cfg.Group,
		Message: raft.Message{From: r.cfg.Raft.ID, To: a.peer, Body: body},
		Entries: pieces,
	})
	r.step(&raft.Sent{Peer: a.peer, Last: last, Bytes: bytes}, out)
}

// LogRead brings the answer to an Output.LogReads: data holds whole entries from
// the request's First on, verified by their checksums.
func (r *Replica) LogRead(request LogRead, data []byte, err error, out *Output) {
	if r.core == nil {
		return
	}
	if request.Peer == raft.None {
		r.handover.read(r, request, data, err, out)
	} else {
		r.peerRead(request, data, err, out)
	}
	r.settle(out)
}

func (r *Replica) peerRead(request LogRead, data []byte, err error, out *Output) {
	var a appendToPeer
	for i := range r.reading {
		if r.reading[i].peer == request.Peer && r.reading[i].body.Prev.Index+1 == request.First && r.reading[i].body.Term == request.Term {
			a = r.reading[i]
			r.reading = append(r.reading[:i], r.reading[i+1:]...)
			break
		}
	}
	if a.body == nil || r.core.State() != raft.Leader || r.core.CurrentTerm() != request.Term {
		return // for a leadership that is over
	}
	switch {
	case errors.Is(err, ErrCompacted), request.First < r.core.FirstIndex():
		// Also if they were read just before the log was compacted: what is not in
		// the log cannot be checked against it.
		r.step(&raft.Compacted{Peer: a.peer}, out)
		return
	case err != nil:
		r.step(&raft.Unreadable{Index: request.First}, out)
		return
	}
	// A leader only appends (Leader Append-Only), so the bytes are those of the
	// header unless the log was damaged or misread.
	count, err := r.checkRead(request.First, data)
	if err != nil {
		out.fail(fmt.Errorf("group %d: read back from the log: %w", r.cfg.Group, err))
		return
	}
	r.sendEntries(a, [][]byte{data}, request.First+raft.Index(count)-1, len(data), out)
}

// checkRead holds entries read back from the log against what the core knows of
// its shape.
func (r *Replica) checkRead(first raft.Index, data []byte) (count int, err error) {
	next := first
	for len(data) > 0 {
		h, err := entry.Peek(data)
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", next, err)
		}
		if term, ok := r.core.Term(next); h.ID != (raft.EntryID{Term: term, Index: next}) || !ok {
			return 0, fmt.Errorf("found entry %v at index %d", h.ID, next)
		}
		data = data[h.Size:]
		next++
	}
	return int(next - first), nil
}
