package replica

import (
	"fmt"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/internal/invariant"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// Receive takes a message of another replica. An error says that it was
// malformed and was dropped; that is the sender's or the wire's fault, and
// changes nothing here.
func (r *Replica) Receive(env transport.Envelope, out *Output) error {
	if env.Bootstrap != nil {
		r.receiveBootstrap(env.Message.From, env.Bootstrap, out)
		r.settle(out)
		return nil
	}
	if r.core == nil {
		// Not created yet: whoever sends has a group that will tell this node
		// about itself when it is asked.
		return nil
	}
	m := env.Message
	switch body := m.Body.(type) {
	case nil:
		return fmt.Errorf("group %d: message without a body from node %d", r.cfg.Group, m.From)
	case *raft.AppendEntries:
		checked, err := r.incoming.read(body, env.Entries)
		if err != nil {
			return fmt.Errorf("group %d: AppendEntries from node %d: %w", r.cfg.Group, m.From, err)
		}
		r.checkChain(m.From, body)
		m.Body = checked
	case *raft.InstallSnapshot:
		if body.Done {
			// Only this node's own runtime knows that; see SnapshotReceived.
			return fmt.Errorf("group %d: node %d claims to have stored a snapshot here", r.cfg.Group, m.From)
		}
	}
	r.receive.Message = m
	r.step(&r.receive, out)
	r.incoming.reset()
	r.settle(out)
	return nil
}

// SnapshotReceived reports that a snapshot is stored here, verified and durable,
// which from sent in a term.
func (r *Replica) SnapshotReceived(from raft.NodeID, term raft.Term, round uint64, meta raft.SnapshotMeta, size int64, out *Output) {
	if r.core == nil {
		return
	}
	r.snap.receivedSize = size
	r.receive.Message = raft.Message{From: from, To: r.cfg.Raft.ID, Body: &raft.InstallSnapshot{
		Term: term, Round: round, Snapshot: meta, Done: true,
	}}
	r.step(&r.receive, out)
	r.settle(out)
}

// checkChain compares the checksum that an incoming entry names for its
// predecessor with the one that this log ends in, when they are neighbours. By
// Log Matching they must agree if their ids do; if not, one of the two logs is
// damaged, and neither may build on the other.
func (r *Replica) checkChain(from raft.NodeID, ae *raft.AppendEntries) {
	if len(r.incoming.pieces) == 0 || r.lastChecksum == 0 || ae.Prev.Index != r.core.LastIndex() {
		return
	}
	if term, ok := r.core.Term(ae.Prev.Index); !ok || term != ae.Prev.Term {
		return
	}
	if r.incoming.prev != r.lastChecksum {
		invariant.Failf("group %d: entry %v has checksum %08x here and %08x at node %d",
			r.cfg.Group, ae.Prev, r.lastChecksum, r.incoming.prev, from)
	}
}

// incoming is the entries of the AppendEntries that is being received.
type incoming struct {
	first     raft.Index
	prev      uint32 // checksum that the first entry names for its predecessor
	pieces    []piece
	checksums []uint32 // of each entry, from first on
}

func (in *incoming) reset() {
	clear(in.pieces)
	in.pieces, in.checksums = in.pieces[:0], in.checksums[:0]
}

// read verifies every entry that a message carries: whole, contiguous, of the
// term that the header names, chained. It gives the message with its
// configurations decoded.
func (in *incoming) read(ae *raft.AppendEntries, data [][]byte) (*raft.AppendEntries, error) {
	in.reset()
	in.first = ae.Prev.Index + 1
	next, run := in.first, 0
	prev := uint32(0)
	var configurations []raft.ConfigurationEntry
	for _, rest := range data {
		p := piece{data: rest}
		for len(rest) > 0 {
			e, n, err := entry.Decode(rest)
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", next, err)
			}
			rest = rest[n:]
			for run+1 < len(ae.Runs) && ae.Runs[run+1].First <= next {
				run++
			}
			if e.Index != next || next > ae.Last || len(ae.Runs) == 0 || e.Term != ae.Runs[run].Term {
				return nil, fmt.Errorf("entry %d.%d where the header names entry %d of [%d, %d]", e.Term, e.Index, next, in.first, ae.Last)
			}
			if next == in.first {
				in.prev = e.Prev
			} else if e.Prev != prev {
				return nil, fmt.Errorf("entry %d.%d is not chained to its predecessor", e.Term, e.Index)
			}
			prev = e.Checksum
			if e.Kind == entry.Configuration {
				c, err := entry.DecodeConfiguration(e.Payload)
				if err != nil {
					return nil, fmt.Errorf("configuration entry %d: %w", next, err)
				}
				configurations = append(configurations, raft.ConfigurationEntry{ID: raft.EntryID{Term: e.Term, Index: e.Index}, Configuration: c})
			}
			in.checksums = append(in.checksums, e.Checksum)
			p.count++
			next++
		}
		in.pieces = append(in.pieces, p)
	}
	if next != ae.Last+1 {
		return nil, fmt.Errorf("entries up to %d where the header names [%d, %d]", next-1, in.first, ae.Last)
	}
	if len(configurations) > 0 {
		own := *ae
		own.Configurations = configurations
		return &own, nil
	}
	return ae, nil
}

// take gives the entries [first, last] of the message, without those before.
func (in *incoming) take(first, last raft.Index) []piece {
	if n := len(in.pieces); first == in.first && last == in.first+raft.Index(len(in.checksums))-1 {
		return in.pieces[:n]
	}
	var taken []piece
	at := in.first
	for _, p := range in.pieces {
		end := at + raft.Index(p.count) // after the piece
		from, to := max(first, at), min(last+1, end)
		if from < to {
			skip := prefixLen(p.data, int(from-at))
			data := p.data[skip:]
			data = data[:prefixLen(data, int(to-from))]
			taken = append(taken, piece{int(to - from), data})
		}
		at = end
	}
	return taken
}

// checksumOf gives the checksum of an entry of the message.
func (in *incoming) checksumOf(i raft.Index) uint32 { return in.checksums[i-in.first] }
