package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/vfs"
)

// A Subject is a replicated state machine under test, with what its clients do
// to it and what they may see.
type Subject struct {
	// New makes a replica's state machine, empty, whenever its process starts.
	// Replicas are compared by the hash of their states: one that implements
	// [check.Hasher] tells it cheaply, of any other a snapshot is hashed after
	// every command, so that equal states have to write equal snapshots.
	New func(where Place) (rsm.StateMachine, error)
	// Draw makes up what a client does next.
	Draw func(d *Draw) Op
	// Model, if not nil, is the specification that clients' histories are judged
	// by (B-20). Its inputs are those of Op; answers are what Read gave to a query
	// and the rsm.Result of a command.
	Model *check.Model
}

// Place is where a replica's state machine lives. What Node names as zero is a
// reference that the judges apply every committed command to, once.
type Place struct {
	Node  raft.NodeID
	Group raft.GroupID
	// Disk is the node's, as the last crash left it. It is nil for a reference. A
	// state machine keeps its files in a directory of its own.
	Disk vfs.FS
}

// Op is one operation of a client: a command, or if that is nil a query that is
// read linearizably.
type Op struct {
	Command []byte
	Query   any
	// Input is what the model is given; nil stands for the command or the query.
	Input any
}

// Draw is what an operation is drawn with.
type Draw struct {
	*rand.Rand
	// ID is the operation's, unique in the run, and never zero.
	ID     uint64
	Client int
	// Peek answers a query from the state after all that is committed, so that
	// operations which expect something are right more often than not.
	Peek func(query any) any
}

// A machine is a subject's state machine as the simulator runs it: commands bear
// the number of their operation, and the state has a hash.
//
//	operation u64 | the subject's command
type machine struct {
	rsm.StateMachine
	hasher  check.Hasher // nil: a snapshot is hashed
	bare    bool         // a service's, which numbers operations in its own way
	entries []rsm.Entry
}

const operationBytes = 8

func (w *world) newMachine(where Place) (*machine, error) {
	if w.service != nil {
		return bareMachine(w.service.Reference()), nil
	}
	inner, err := w.subject.New(where)
	if err != nil {
		return nil, fmt.Errorf("make a state machine: %w", err)
	}
	m := &machine{StateMachine: inner}
	m.hasher, _ = inner.(check.Hasher)
	return m, nil
}

func bareMachine(inner check.Hasher) *machine {
	return &machine{StateMachine: inner, hasher: inner, bare: true}
}

// frame puts an operation's number before its command.
func frame(operation uint64, command []byte) []byte {
	b := make([]byte, 0, operationBytes+len(command))
	return append(binary.LittleEndian.AppendUint64(b, operation), command...)
}

// Apply is rsm.StateMachine's.
func (m *machine) Apply(entries []rsm.Entry) error {
	if m.bare {
		return m.StateMachine.Apply(entries)
	}
	m.entries = append(m.entries[:0], entries...)
	for i := range m.entries {
		e := &m.entries[i]
		if len(e.Command) < operationBytes {
			return errors.New("a command without the number of its operation")
		}
		e.Command = e.Command[operationBytes:]
	}
	err := m.StateMachine.Apply(m.entries)
	for i := range entries {
		entries[i].Result = m.entries[i].Result
	}
	return err
}

// Hash is check.Hasher's.
func (m *machine) Hash() uint64 {
	if m.hasher != nil {
		return m.hasher.Hash()
	}
	h := fnv.New64a()
	view, err := m.Snapshot()
	if err == nil {
		err = errors.Join(view.WriteSnapshot(context.Background(), h), view.Close())
	}
	if err != nil {
		fmt.Fprint(h, err)
	}
	return h.Sum64()
}

// probes are what asks a service's cluster for progress; its own clients do
// everything else.
func probes(s Service) *Subject {
	return &Subject{Draw: func(d *Draw) Op {
		if d.IntN(2) == 0 {
			return Op{Query: "is anybody there?"}
		}
		return Op{Command: s.Probe(d.Rand)}
	}}
}

// registerSubject is what runs when the user brings nothing.
func registerSubject(p *profile) *Subject {
	attached := make([]byte, 0, 1024)
	model := check.Registers()
	model.Equal = func(got, want any) bool {
		if r, ok := got.(rsm.Result); ok {
			got = r.Value
		}
		return got == want
	}
	return &Subject{
		New: func(Place) (rsm.StateMachine, error) { return newRegisters(), nil },
		Draw: func(d *Draw) Op {
			op := &check.RegisterOp{Key: d.Uint64N(registerKeys), Argument: d.ID}
			if p.hot && op.Key >= registerKeys/2 {
				op.Key %= 2
			}
			switch x := d.Float64(); {
			case x < p.readShare:
				return Op{Query: op.Key, Input: op}
			case d.IntN(4) == 0:
				op.Kind = check.CompareAndSwap
				op.Expected = d.Peek(op.Key).(uint64)
			case d.IntN(3) == 0:
				op.Kind = check.AppendRegister
			default:
				op.Kind = check.WriteRegister
			}
			attached = append(attached[:0], bytes.Repeat([]byte{byte(d.ID)}, d.IntN(p.attachmentMax))...)
			return Op{Command: encodeRegisterOp(op, attached), Input: op}
		},
		Model: model,
	}
}
