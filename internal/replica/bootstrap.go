package replica

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/wal"
)

// bootstrap creates a group among its first members (MB-18). All of them must
// attest that they hold nothing of it; then the first of them, by id, writes
// entry 1, which records their incarnations, and the others take it over from
// whoever has it. One writer makes entry 1 unique even if a member loses its disk
// half-way: an attestation counts only for the incarnation of the founder that it
// was given to, and a member takes entry 1 over only if that founder wrote it, if it
// knows one.
type bootstrap struct {
	cfg        Config
	known      []attestation // of each voter, ordered by id
	generation uint64
	// writing is entry 1 while it is being made durable.
	writing *wal.GroupState
}

// attestation is what a member last said of itself.
type attestation struct {
	id          raft.NodeID
	incarnation raft.Incarnation // zero if it has not spoken
	empty       bool             // it attested so to this node's incarnation
}

// bootstrapTerm is the term of entry 1. No leader is ever elected in it: the
// first election is for the term after.
const bootstrapTerm raft.Term = 1

func newBootstrap(cfg Config) *bootstrap {
	b := &bootstrap{cfg: cfg}
	voters := slices.Clone(cfg.Voters)
	slices.Sort(voters)
	for _, id := range slices.Compact(voters) {
		a := attestation{id: id}
		if id == cfg.Raft.ID {
			a.incarnation, a.empty = cfg.Incarnation, true
		}
		b.known = append(b.known, a)
	}
	return b
}

func (b *bootstrap) start(out *Output) {
	b.announce(out)
	b.found(out)
}

// announce attests to every other member that this one is empty.
func (b *bootstrap) announce(out *Output) {
	for _, a := range b.known {
		if a.id != b.cfg.Raft.ID {
			b.attest(a, out)
		}
	}
	b.generation++
	out.Timers = append(out.Timers, raft.Timer{Kind: BootstrapTimer, Generation: b.generation})
}

func (b *bootstrap) attest(to attestation, out *Output) {
	out.Send = append(out.Send, transport.Envelope{
		Group:     b.cfg.Group,
		Message:   raft.Message{From: b.cfg.Raft.ID, To: to.id},
		Bootstrap: &transport.Bootstrap{Incarnation: b.cfg.Incarnation, Seen: to.incarnation, Empty: true},
	})
}

func (b *bootstrap) timerFired(generation uint64, out *Output) {
	if generation == b.generation && b.writing == nil {
		b.announce(out)
	}
}

// found writes entry 1, at the first member, once all have attested.
func (b *bootstrap) found(out *Output) {
	if b.writing != nil || b.known[0].id != b.cfg.Raft.ID {
		return
	}
	var c raft.Configuration
	for _, a := range b.known {
		if !a.empty {
			return
		}
		c.Members = append(c.Members, raft.Member{ID: a.id, Incarnation: a.incarnation, Role: raft.Voter})
	}
	b.write(c, out)
}

// write makes entry 1 durable. Its bytes are the same on every member.
func (b *bootstrap) write(c raft.Configuration, out *Output) {
	payload, err := entry.AppendConfiguration(nil, &c)
	if err != nil {
		out.fail(fmt.Errorf("group %d: the first configuration cannot be encoded: %w", b.cfg.Group, err))
		return
	}
	e := entry.Entry{Term: bootstrapTerm, Index: 1, Kind: entry.Configuration, Payload: payload}
	data, checksum := e.AppendTo(nil)
	runs := []raft.TermRun{{First: 1, Term: bootstrapTerm}}
	state := wal.GroupState{
		Group:          b.cfg.Group,
		HardState:      raft.HardState{CurrentTerm: bootstrapTerm},
		First:          1,
		Last:           1,
		Runs:           runs,
		Configurations: []raft.ConfigurationEntry{{ID: raft.EntryID{Term: bootstrapTerm, Index: 1}, Configuration: c}},
		LastChecksum:   checksum,
	}
	b.writing = &state
	out.Updates = append(out.Updates, Update{Update: wal.Update{
		Group: b.cfg.Group, HardState: state.HardState, HardStateChanged: true,
		First: 1, Last: 1, Runs: runs, Entries: [][]byte{data},
	}})
}

// bootstrapped begins the group, whose entry 1 is durable now.
func (r *Replica) bootstrapped(out *Output) {
	state := *r.boot.writing
	r.boot = nil
	r.lastChecksum = state.LastChecksum
	if err := r.begin(Restored{Log: state}); err != nil {
		out.fail(err)
		return
	}
	for _, m := range state.Configurations[0].Configuration.Members {
		if m.ID != r.cfg.Raft.ID {
			r.tellConfiguration(m.ID, out)
		}
	}
	r.Start(out)
}

// receiveBootstrap takes what another member says of itself.
func (r *Replica) receiveBootstrap(from raft.NodeID, m *transport.Bootstrap, out *Output) {
	if r.core != nil {
		if m.Empty {
			r.tellConfiguration(from, out)
		}
		return
	}
	b := r.boot
	if b == nil || b.writing != nil {
		return
	}
	i := slices.IndexFunc(b.known, func(a attestation) bool { return a.id == from })
	if i < 0 {
		return
	}
	a := &b.known[i]
	news := a.incarnation != m.Incarnation
	*a = attestation{id: from, incarnation: m.Incarnation, empty: m.Empty && m.Seen == b.cfg.Incarnation}
	if !m.Empty {
		b.adopt(r, from, m.Configuration, out)
		return
	}
	if news {
		b.attest(*a, out) // so that it has this attestation under its own incarnation
	}
	b.found(out)
}

// adopt takes over entry 1 from a member that has it. If the configuration has
// changed since, entry 1 comes with the rest of the log, from a leader.
func (b *bootstrap) adopt(r *Replica, from raft.NodeID, theirs raft.ConfigurationEntry, out *Output) {
	c := theirs.Configuration
	own, member := c.Member(b.cfg.Raft.ID)
	if !member {
		out.fail(fmt.Errorf("group %d exists without node %d: node %d knows its members; add this node to the group instead of listing it as a first member",
			b.cfg.Group, b.cfg.Raft.ID, from))
		return
	}
	if own.Incarnation != b.cfg.Incarnation {
		out.fail(fmt.Errorf("group %d knows node %d with another data directory (incarnation %016x, here %016x): its disk was lost or replaced, and it may have promised what it no longer remembers; remove node %d from the group and add this machine under a new node id",
			b.cfg.Group, b.cfg.Raft.ID, uint64(own.Incarnation), uint64(b.cfg.Incarnation), b.cfg.Raft.ID))
		return
	}
	founder := b.known[0]
	if m, ok := c.Member(founder.id); ok && founder.incarnation != 0 && m.Incarnation != founder.incarnation {
		return // a late message: the founder lost its disk since, and may write another
	}
	if theirs.ID.Index == 1 {
		b.write(c, out)
		return
	}
	r.boot = nil
	if err := r.begin(Restored{}); err != nil {
		out.fail(err)
		return
	}
	r.Start(out)
}

// tellConfiguration tells a member what the group began with.
func (r *Replica) tellConfiguration(to raft.NodeID, out *Output) {
	out.Send = append(out.Send, transport.Envelope{
		Group:   r.cfg.Group,
		Message: raft.Message{From: r.cfg.Raft.ID, To: to},
		Bootstrap: &transport.Bootstrap{
			Incarnation:   r.cfg.Incarnation,
			Configuration: r.core.Status().Configuration,
		},
	})
}
