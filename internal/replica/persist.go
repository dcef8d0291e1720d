package replica

import (
	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/internal/invariant"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/wal"
)

// persist turns a Persist of the core into an update of the write-ahead log, and
// keeps the tail in step with the log.
func (r *Replica) persist(p *raft.Persist, out *Output) {
	u := Update{Seq: p.Seq, Update: wal.Update{
		Group:            r.cfg.Group,
		HardState:        p.HardState,
		HardStateChanged: p.HardStateChanged,
		ResetLog:         p.ResetLog,
		KeepSuffix:       p.KeepSuffix,
		Compact:          p.Compact,
	}}
	if p.ResetLog {
		u.Reset = p.Reset
		if !p.KeepSuffix {
			r.tail.reset()
			r.lastChecksum = p.Reset.Checksum
		}
	} else if p.Compact != 0 {
		u.Reset = p.Reset
	}
	if p.First != 0 {
		r.tail.truncate(p.First)
		u.First, u.Last, u.Runs = p.First, p.Last, append([]raft.TermRun(nil), p.Runs...)
		var pieces []piece
		switch p.Source {
		case raft.FromProposal:
			pieces = []piece{r.encodeProposals(p)}
		case raft.NoOp:
			pieces = []piece{r.encodeNoOp(p)}
		case raft.FromMessage:
			pieces = r.incoming.take(p.First, p.Last)
			r.lastChecksum = r.incoming.checksumOf(p.Last)
		}
		next := p.First
		u.Entries = make([][]byte, 0, len(pieces))
		for _, piece := range pieces {
			u.Entries = append(u.Entries, piece.data)
			r.tail.append(next, next+raft.Index(piece.count)-1, piece.data)
			r.snap.appended(next, len(piece.data))
			next += raft.Index(piece.count)
		}
		if next != p.Last+1 {
			invariant.Failf("group %d: entries [%d, %d] to append, found up to %d", r.cfg.Group, p.First, p.Last, next-1)
		}
	}
	out.Updates = append(out.Updates, u)
}

// A piece is count entries, back to back.
type piece struct {
	count int
	data  []byte
}

// encodeProposals encodes the commands under the term and indexes that the core
// gave them: once, for every disk and wire that they will see.
func (r *Replica) encodeProposals(p *raft.Persist) piece {
	size := 0
	for _, proposal := range r.proposed {
		size += entry.Size(len(proposal.Command()))
	}
	buf := make([]byte, 0, size)
	e := entry.Entry{
		Term: p.Runs[0].Term, Index: p.First, Kind: entry.Command,
		Timestamp: r.stamp.Earliest, Uncertainty: r.stamp.Uncertainty, Prev: r.lastChecksum,
	}
	for _, proposal := range r.proposed {
		e.Payload = proposal.Command()
		buf, e.Prev = e.AppendTo(buf)
		r.waiting = append(r.waiting, waitingProposal{e.Index, proposal})
		e.Index++
	}
	r.lastChecksum = e.Prev
	return piece{len(r.proposed), buf}
}

// encodeNoOp encodes the entry that begins a leader's term.
func (r *Replica) encodeNoOp(p *raft.Persist) piece {
	e := entry.Entry{
		Term: p.Runs[0].Term, Index: p.First, Kind: entry.NoOp,
		Timestamp: r.stamp.Earliest, Uncertainty: r.stamp.Uncertainty, Prev: r.lastChecksum,
	}
	buf, checksum := e.AppendTo(nil)
	r.lastChecksum = checksum
	return piece{1, buf}
}
