package explore

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/raft"
)

// input is one thing that may happen to a replica: below firstMessage an
// operation, its kind in the upper four bits and its argument in the lower; from
// there on the delivery of the message of that number.
type input uint32

const firstMessage input = 256

// The kinds of operations.
const (
	opTimer           = iota // argument: which
	opSync                   // how many writes become durable
	opCrash                  // how many writes are kept of those that were not durable
	opPropose                //
	opRead                   // its number
	opSnapshot               //
	opTransferDone           // to whom
	opTransferFailed         // to whom
	opPeerUnreachable        // who
)

func operation(kind, argument int) input { return input(kind<<4 | argument) }

func (in input) kind() int     { return int(in >> 4) }
func (in input) argument() int { return int(in & 15) }

// budget is what in uses up.
func (in input) budget() budget {
	switch in.kind() {
	case opTimer:
		switch raft.TimerKind(in.argument()) {
		case raft.ElectionTimer:
			return elections
		case raft.HeartbeatTimer:
			return heartbeats
		case raft.QuorumContactTimer:
			return contacts
		}
	case opCrash:
		return crashes
	case opPropose:
		return proposals
	case opRead:
		return reads
	case opSnapshot:
		return snapshots
	case opPeerUnreachable:
		return disconnects
	}
	return unbounded
}

// operations gives what may happen to r beside messages, as far as r is concerned.
// A read's number is filled in by the group.
func (r *replica) operations() []input {
	var ops []input
	for kind, generation := range r.timers {
		if generation == 0 {
			continue
		}
		if raft.TimerKind(kind) == raft.ElectionTimer && r.core.CurrentTerm() >= r.scope.Terms {
			continue
		}
		ops = append(ops, operation(opTimer, kind))
	}
	for n := 1; n <= len(r.queue); n++ {
		ops = append(ops, operation(opSync, n))
	}
	for n := 0; n <= len(r.queue); n++ {
		ops = append(ops, operation(opCrash, n))
	}
	if r.core.State() == raft.Leader {
		ops = append(ops, operation(opPropose, 0))
		for id := raft.NodeID(1); int(id) <= r.scope.members(); id++ {
			if id != r.id {
				ops = append(ops, operation(opPeerUnreachable, int(id)))
			}
		}
	}
	ops = append(ops, operation(opRead, 0))
	if r.installing == 0 && r.applied > r.live().snapshot.ID.Index {
		ops = append(ops, operation(opSnapshot, 0))
	}
	for id := raft.NodeID(1); r.transfers>>id != 0; id++ {
		if r.transfers>>id&1 != 0 {
			ops = append(ops, operation(opTransferDone, int(id)), operation(opTransferFailed, int(id)))
		}
	}
	return ops
}

// perform lets in happen to r, which is changed, or replaced if it crashes.
func (r *replica) perform(in input, m *message, e *effect) (*replica, error) {
	switch in.kind() {
	case opTimer:
		r.fire(raft.TimerKind(in.argument()), e)
	case opSync:
		r.sync(in.argument(), e)
	case opCrash:
		disk := r.disk
		if kept := in.argument(); kept > 0 {
			disk = r.queue[kept-1]
		}
		restarted, err := newReplica(r.scope, r.id, disk, e)
		if err != nil {
			return r, err
		}
		r = restarted
	case opPropose:
		r.step(&raft.Propose{Count: 1}, nil, e)
	case opRead:
		r.waiting |= 1 << in.argument()
		r.step(&raft.ReadIndex{Read: raft.ReadID(in.argument())}, nil, e)
	case opSnapshot:
		r.takeSnapshot(e)
	case opTransferDone, opTransferFailed:
		r.transfers &^= 1 << in.argument()
		r.step(&raft.SnapshotSent{Peer: raft.NodeID(in.argument()), OK: in.kind() == opTransferDone}, nil, e)
	case opPeerUnreachable:
		r.step(&raft.PeerUnreachable{Peer: raft.NodeID(in.argument())}, nil, e)
	default:
		r.step(&raft.Receive{Message: raft.Message{From: m.from, To: m.to, Body: m.body}}, m, e)
	}
	r.settle(e)
	return r, nil
}

// timerLetters name the timers in a token.
const timerLetters = "EVCH"

// token writes an operation as a step of a schedule, behind the replica's id.
func (in input) token() string {
	arg := in.argument()
	switch in.kind() {
	case opTimer:
		return timerLetters[arg : arg+1]
	case opSync:
		return fmt.Sprintf("S%d", arg)
	case opCrash:
		return fmt.Sprintf("X%d", arg)
	case opPropose:
		return "P"
	case opRead:
		return fmt.Sprintf("R%d", arg)
	case opSnapshot:
		return "N"
	case opTransferDone:
		return fmt.Sprintf("T%d", arg)
	case opTransferFailed:
		return fmt.Sprintf("F%d", arg)
	case opPeerUnreachable:
		return fmt.Sprintf("U%d", arg)
	}
	return "?"
}

// describe tells an operation in words.
func (in input) describe(r *replica) string {
	arg := in.argument()
	switch in.kind() {
	case opTimer:
		return fmt.Sprintf("its %v timer runs out", raft.TimerKind(arg))
	case opSync:
		return fmt.Sprintf("%d of its %d writes become durable", arg, len(r.queue))
	case opCrash:
		if lost := len(r.queue) - arg; lost > 0 {
			return fmt.Sprintf("crashes, loses %d writes, and starts again", lost)
		}
		return "crashes, loses nothing, and starts again"
	case opPropose:
		return "is proposed an entry"
	case opRead:
		return fmt.Sprintf("is asked for read %d", arg)
	case opSnapshot:
		return fmt.Sprintf("takes a snapshot up to %d", r.applied)
	case opTransferDone:
		return fmt.Sprintf("takes its snapshot for received by %d", arg)
	case opTransferFailed:
		return fmt.Sprintf("takes its snapshot for lost on the way to %d", arg)
	case opPeerUnreachable:
		return fmt.Sprintf("is told that the connection to %d is lost", arg)
	}
	return "nothing"
}

// splitToken divides "2S1" into the replica and the rest.
func splitToken(token string) (id int, rest string, ok bool) {
	if len(token) < 2 || token[0] < '1' || token[0] > '0'+maxReplicas {
		return 0, "", false
	}
	return int(token[0] - '0'), strings.TrimSpace(token[1:]), true
}
