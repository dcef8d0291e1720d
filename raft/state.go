package raft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quorate/quorate/raft/quorum"
)

// Raft is one replica's protocol state. A Raft is not safe for concurrent use,
// starts no goroutine and reads no clock: the same inputs give the same effects.
type Raft struct {
	cfg Config
	id  NodeID

	// Persistent state (Figure 2): in force here as soon as a step changes it,
	// on disk once that step's Persist is.
	currentTerm Term
	votedFor    NodeID
	log         raftLog

	// Volatile state on all servers. log.snapshot <= commitIndex <= log.last,
	// lastApplied <= commitIndex.
	commitIndex Index
	lastApplied Index

	// Volatile state on leaders: nextIndex and matchIndex, ordered by id.
	progress []progress

	state State
	// leader is the leader of currentTerm, as soon as it was heard.
	leader NodeID
	// leaderAlive: a leader was heard within the least election timeout, so
	// that votes are withheld (EL-14, EL-15).
	leaderAlive bool
	// voters are those of the latest configuration in the log (MB-01).
	voters quorum.Voters[NodeID]

	// votes are the answers to a (pre-)candidate, in the order of arrival.
	votes []ballot
	// voteSeq makes a candidate's own vote durable (EL-09).
	voteSeq Seq

	// seq is the newest Persist issued, persistedSeq the newest that is durable.
	// hardStateSeq and resetSeq are the newest that changed the hard state, and
	// that installed a snapshot.
	seq, persistedSeq      Seq
	hardStateSeq, resetSeq Seq
	// hardWrites are the hard states that are on their way to the disk, for the
	// trace.
	hardWrites []hardWrite
	// promised is the greatest Match that was promised to the leader of this
	// term for when it is durable, so that it is promised once.
	promised Index

	timers [timerKinds]timerState

	// noop is where the own term of a leader begins.
	noop Index
	// uncommitted are the batches that this leader appended and that are not
	// committed, uncommittedBytes their size (FC-04).
	uncommitted      []batch
	uncommittedBytes int

	// round is the newest round of contact that this leader began (RD-02).
	round uint64
	reads reads

	effects Effects
	// runs is what Persist.Runs points to, shared what AppendEntries of one
	// step have in common.
	runs   []TermRun
	shared *AppendEntries
	// restartElectionTimer is set when a step must begin the wait anew (EL-04).
	restartElectionTimer bool
	before               before
}

// ballot is one answer to a (pre-)candidate.
type ballot struct {
	from    NodeID
	granted bool
}

// hardWrite is a hard state and the Persist that writes it.
type hardWrite struct {
	seq   Seq
	state HardState
}

// timerState is what is known of one timer.
type timerState struct {
	generation uint64
	armed      bool
}

// ErrRestored is wrapped by every error of New about what was found on disk.
var ErrRestored = errors.New("raft: restored state is not consistent")

// withDefaults gives c with its zero fields set.
func (c Config) withDefaults() Config {
	if c.MaxInFlightMessages == 0 {
		c.MaxInFlightMessages = 256
	}
	if c.MaxInFlightBytes == 0 {
		c.MaxInFlightBytes = 16 << 20
	}
	if c.MaxUncommittedBytes == 0 {
		c.MaxUncommittedBytes = 64 << 20
	}
	if c.MaxPendingReads == 0 {
		c.MaxPendingReads = 65536
	}
	return c
}

// Validate reports everything wrong with c, not only the first thing.
func (c Config) Validate() error {
	var errs []error
	if c.ID == None {
		errs = append(errs, errors.New("ID must not be zero"))
	}
	for _, bound := range []struct {
		name  string
		value int
	}{
		{"MaxInFlightMessages", c.MaxInFlightMessages},
		{"MaxInFlightBytes", c.MaxInFlightBytes},
		{"MaxUncommittedBytes", c.MaxUncommittedBytes},
		{"MaxPendingReads", c.MaxPendingReads},
	} {
		if bound.value < 0 {
			errs = append(errs, fmt.Errorf("%s (%d) must not be negative", bound.name, bound.value))
		}
	}
	return errors.Join(errs...)
}

// New makes a replica from what was found on its disk: a follower, whatever it
// was before (EL-01). It reports a configuration that makes no sense, and
// restored state that no Raft can have left behind, as errors. Start is called
// next, before the first Step.
func New(cfg Config, restored Restored) (*Raft, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("raft: configuration: %w", err)
	}
	if err := restored.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRestored, err)
	}
	r := &Raft{
		cfg:         cfg.withDefaults(),
		id:          cfg.ID,
		currentTerm: restored.HardState.CurrentTerm,
		votedFor:    restored.HardState.VotedFor,
	}
	l := &r.log
	l.snapshot = restored.Snapshot
	if restored.empty() {
		l.first, l.last = restored.Snapshot.ID.Index+1, restored.Snapshot.ID.Index
		l.prevTerm = restored.Snapshot.ID.Term
	} else {
		l.first, l.last = restored.First, restored.Last
		l.prevTerm = restored.PrevTerm
		l.runs = slices.Clone(restored.Runs)
		l.configurations = slices.Clone(restored.Configurations)
		l.rest(restored.Snapshot)
	}
	l.durable = l.last
	// The rest of the commitIndex is learned anew (CM-05).
	r.commitIndex = max(restored.Snapshot.ID.Index, restored.Applied)
	r.lastApplied = r.commitIndex
	r.adoptConfiguration()
	return r, nil
}

// Start arms the election timer, if this replica may stand for election.
func (r *Raft) Start() *Effects {
	r.begin()
	r.event(Event{
		Kind: Started, ID: r.log.lastID(), Index: r.commitIndex, Peer: r.votedFor,
		Own: r.log.configuration().ID, Voters: r.votersNow(),
	})
	return r.finish()
}

// empty reports whether there is no entry on disk.
func (s *Restored) empty() bool { return s.First == 0 || s.Last < s.First }

// validate reports what no Raft can have left behind.
func (s *Restored) validate() error {
	snapshot := s.Snapshot
	if snapshot.ID != (EntryID{}) {
		if err := snapshot.validate(); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	} else if initial := &snapshot.Configuration; len(initial.Configuration.Members) > 0 {
		if err := initial.Configuration.Validate(); err != nil {
			return fmt.Errorf("initial configuration: %w", err)
		}
	}
	last := snapshot.ID
	if s.empty() {
		if s.First != 0 && s.First != snapshot.ID.Index+1 {
			return fmt.Errorf("empty log begins at %d behind the snapshot %v", s.First, snapshot.ID)
		}
		if len(s.Runs) > 0 || len(s.Configurations) > 0 {
			return errors.New("empty log has terms or configurations")
		}
	} else {
		if s.First > snapshot.ID.Index+1 || s.Last < snapshot.ID.Index || s.Last > maxIndex {
			return fmt.Errorf("log [%d, %d] does not reach the snapshot %v", s.First, s.Last, snapshot.ID)
		}
		if s.First == 1 && s.PrevTerm != 0 {
			return fmt.Errorf("term %d before the first entry", s.PrevTerm)
		}
		if err := validateRuns(s.PrevTerm, s.First, s.Last, s.Runs); err != nil {
			return err
		}
		shape := raftLog{first: s.First, last: s.Last, prevTerm: s.PrevTerm, runs: s.Runs}
		if term, ok := shape.term(snapshot.ID.Index); ok && term != snapshot.ID.Term {
			return fmt.Errorf("entry %d has term %d, the snapshot %v", snapshot.ID.Index, term, snapshot.ID)
		}
		if err := validateConfigurations(&shape, s.Configurations); err != nil {
			return err
		}
		last = shape.lastID()
	}
	if s.HardState.CurrentTerm < last.Term {
		return fmt.Errorf("current term %d is older than the last entry %v", s.HardState.CurrentTerm, last)
	}
	if s.HardState.CurrentTerm > maxTerm {
		return fmt.Errorf("current term %d is out of range", s.HardState.CurrentTerm)
	}
	if s.Applied > last.Index {
		return fmt.Errorf("applied %d is beyond the last entry %v", s.Applied, last)
	}
	return nil
}

// ID gives this replica's id.
func (r *Raft) ID() NodeID { return r.id }

// State gives the state that this server is in.
func (r *Raft) State() State { return r.state }

// Leader gives the leader of the current term, None if it is not known.
func (r *Raft) Leader() NodeID { return r.leader }

// CurrentTerm gives the current term.
func (r *Raft) CurrentTerm() Term { return r.currentTerm }

// CommitIndex gives the greatest index known to be committed.
func (r *Raft) CommitIndex() Index { return r.commitIndex }

// FirstIndex gives the index at which the log begins.
func (r *Raft) FirstIndex() Index { return r.log.first }

// LastIndex gives the index of the last entry, durable or not.
func (r *Raft) LastIndex() Index { return r.log.last }

// DurableIndex gives the index up to which the log is durable.
func (r *Raft) DurableIndex() Index { return r.log.durable }

// Term gives the term of the entry at index, if the log still knows it. The entry
// before the first is known.
func (r *Raft) Term(index Index) (Term, bool) { return r.log.term(index) }

// Configuration gives the latest configuration in the log, committed or not.
func (r *Raft) Configuration() ConfigurationEntry { return *r.log.configuration() }

// ConfigurationAt gives the configuration in force at index, which must not be
// below the snapshot that the log rests on: what a snapshot up to index carries
// (MB-20).
func (r *Raft) ConfigurationAt(index Index) ConfigurationEntry {
	return *r.log.configurationAt(index)
}

// Status gives a view of the replica. It allocates; the accessors do not.
func (r *Raft) Status() Status {
	var s Status
	r.StatusInto(&s)
	return s
}

// StatusInto is Status in memory that is used again: that of s.Peers.
func (r *Raft) StatusInto(s *Status) {
	*s = Status{
		ID:            r.id,
		State:         r.state,
		HardState:     HardState{CurrentTerm: r.currentTerm, VotedFor: r.votedFor},
		Leader:        r.leader,
		FirstIndex:    r.log.first,
		LastLog:       r.log.lastID(),
		DurableIndex:  r.log.durable,
		CommitIndex:   r.commitIndex,
		AppliedIndex:  r.lastApplied,
		Snapshot:      r.log.snapshot.ID,
		Configuration: *r.log.configuration(),
		Peers:         s.Peers[:0],
	}
	for i := range r.progress {
		p := &r.progress[i]
		s.Peers = append(s.Peers, PeerStatus{
			ID:               p.id,
			MatchIndex:       p.matchIndex,
			NextIndex:        p.nextIndex,
			Replication:      p.mode.String(),
			InFlightBytes:    p.inFlight.bytes,
			InFlightMessages: p.inFlight.count,
			Active:           p.active,
		})
	}
}

// votersNow gives the voters in force, for the trace.
func (r *Raft) votersNow() *quorum.Voters[NodeID] {
	voters := r.voters
	return &voters
}

// adoptConfiguration puts the latest configuration of the log in force (MB-01).
func (r *Raft) adoptConfiguration() {
	configuration := &r.log.configuration().Configuration
	r.voters = quorum.Voters[NodeID]{
		Incoming: configuration.Voters(),
		Outgoing: configuration.Outgoing,
	}
}
