package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/rsm"
)

// registers is the state machine that clients use when the user brings none: a
// few registers, each with what was last attached to it, so that the state has
// some size.
//
// A command, integers little-endian, is
//
//	key u8 | kind u8 | argument u64 | expected u64 | attachment
type registers struct {
	keys    []register
	history uint64 // of all commands, in order
	applied uint64
	sum     uint64 // over keys, of what mix makes of each
}

type register struct {
	value      uint64
	attachment []byte
}

const (
	registerKeys  = 8
	commandHeader = 1 + 1 + 8 + 8
)

func newRegisters() *registers { return &registers{keys: make([]register, registerKeys)} }

func encodeRegisterOp(op *check.RegisterOp, attachment []byte) []byte {
	b := make([]byte, 0, commandHeader+len(attachment))
	b = append(b, byte(op.Key), byte(op.Kind))
	b = binary.LittleEndian.AppendUint64(b, op.Argument)
	b = binary.LittleEndian.AppendUint64(b, op.Expected)
	return append(b, attachment...)
}

func decodeRegisterOp(b []byte) (op check.RegisterOp, attachment []byte, err error) {
	if len(b) < commandHeader || b[0] >= registerKeys || b[1] > byte(check.AppendRegister) {
		return op, nil, fmt.Errorf("command of %d bytes is not one of ours", len(b))
	}
	return check.RegisterOp{
		Key: uint64(b[0]), Kind: check.RegisterKind(b[1]),
		Argument: binary.LittleEndian.Uint64(b[2:]), Expected: binary.LittleEndian.Uint64(b[10:]),
	}, b[commandHeader:], nil
}

func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func (r *registers) share(key int) uint64 {
	return mix(uint64(key+1)*0x9e3779b97f4a7c15 ^ r.keys[key].value ^ uint64(len(r.keys[key].attachment))<<48)
}

// Apply is rsm.StateMachine's.
func (r *registers) Apply(entries []rsm.Entry) error {
	for i := range entries {
		e := &entries[i]
		op, attachment, err := decodeRegisterOp(e.Command)
		if err != nil {
			return err
		}
		key := int(op.Key)
		r.sum -= r.share(key)
		value, result := op.Step(r.keys[key].value)
		// A view may share the old attachment.
		r.keys[key] = register{value: value, attachment: append([]byte(nil), attachment...)}
		r.sum += r.share(key)
		r.history = mix(r.history ^ op.Argument ^ result<<1 ^ uint64(e.Index)<<32)
		r.applied++
		e.Result = rsm.Result{Value: result}
	}
	return nil
}

// Hash is check.Hasher's.
func (r *registers) Hash() uint64 { return mix(r.history ^ r.sum ^ r.applied) }

// Read is rsm.StateMachine's: the query is a key, the answer its value.
func (r *registers) Read(_ context.Context, query any) (any, error) {
	return r.keys[query.(uint64)].value, nil
}

// Snapshot is rsm.StateMachine's.
func (r *registers) Snapshot() (rsm.View, error) {
	v := *r
	v.keys = append([]register(nil), r.keys...)
	return &registersView{v}, nil
}

type registersView struct{ registers }

// WriteSnapshot is rsm.View's.
func (v *registersView) WriteSnapshot(_ context.Context, w io.Writer) error {
	b := binary.LittleEndian.AppendUint64(nil, v.history)
	b = binary.LittleEndian.AppendUint64(b, v.applied)
	for i := range v.keys {
		b = binary.LittleEndian.AppendUint64(b, v.keys[i].value)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(v.keys[i].attachment)))
		b = append(b, v.keys[i].attachment...)
	}
	_, err := w.Write(b)
	return err
}

// Close is rsm.View's.
func (v *registersView) Close() error { return nil }

// Restore is rsm.StateMachine's.
func (r *registers) Restore(from io.Reader) error {
	b, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	in := bytes.NewReader(b)
	number := func() uint64 {
		var v [8]byte
		_, e := io.ReadFull(in, v[:])
		err = errors.Join(err, e)
		return binary.LittleEndian.Uint64(v[:])
	}
	restored := newRegisters()
	restored.history, restored.applied = number(), number()
	for i := range restored.keys {
		k := &restored.keys[i]
		k.value = number()
		var n [4]byte
		_, e := io.ReadFull(in, n[:])
		err = errors.Join(err, e)
		k.attachment = make([]byte, min(int(binary.LittleEndian.Uint32(n[:])), in.Len()))
		_, e = io.ReadFull(in, k.attachment)
		err = errors.Join(err, e)
		if err != nil {
			return fmt.Errorf("registers: %w", err)
		}
		restored.sum += restored.share(i)
	}
	// What is the same in every state cancels out of the sum of changes.
	for i := range restored.keys {
		restored.sum -= (&registers{keys: make([]register, registerKeys)}).share(i)
	}
	if in.Len() > 0 {
		return fmt.Errorf("registers: %d bytes too many", in.Len())
	}
	*r = *restored
	return nil
}

// Close is rsm.StateMachine's.
func (r *registers) Close() error { return nil }
