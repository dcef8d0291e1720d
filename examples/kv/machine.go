package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/quorate/quorate/rsm"
)

// Bounds of what the map takes. A command is refused before it is proposed, and
// again, by the same rule on every replica, when it is applied.
const (
	maxKeyBytes   = 1 << 10
	maxValueBytes = 1 << 20
)

// machine is the replicated state machine: a map whose values carry versions.
//
// Apply is called by one goroutine and builds the next state from the last one;
// Read is called by many and looks at whatever state is current. Between them
// stands one atomic pointer: states are never changed, only replaced.
type machine struct {
	current atomic.Pointer[state]
}

// state is what the machine holds after the entry at index.
type state struct {
	index uint64
	items tree
}

var _ rsm.StateMachine = (*machine)(nil)

func newMachine() *machine {
	m := &machine{}
	m.current.Store(&state{})
	return m
}

// Apply applies a batch of commands. The state that readers see changes once, at
// its end.
func (m *machine) Apply(entries []rsm.Entry) error {
	next := *m.current.Load()
	for i := range entries {
		e := &entries[i]
		next.index = uint64(e.Index)
		o := next.apply(e.Command)
		e.Result = rsm.Result{Value: o.version, Data: []byte{byte(o.code)}}
	}
	m.current.Store(&next)
	return nil
}

// apply changes s as one command asks. It depends on s and the command alone:
// no clock, no chance, no map order. What it refuses is an outcome like any other.
func (s *state) apply(encoded []byte) outcome {
	c, err := decodeCommand(encoded)
	if err != nil {
		return outcome{code: malformed}
	}
	old, exists := s.items.get(c.key)
	if !c.condition.holds(old, exists) {
		return outcome{code: conflict, version: old.version}
	}
	switch {
	case c.op == opPut:
		s.items = s.items.set(c.key, item{value: c.value, version: s.index})
	case exists:
		s.items = s.items.without(c.key)
	default:
		return outcome{code: notFound}
	}
	return outcome{code: done, version: s.index}
}

// outcome is what a command answers.
type outcome struct {
	code outcomeCode
	// version is what the command wrote, or on a conflict what it found; zero is
	// no such key.
	version uint64
}

type outcomeCode byte

const (
	done outcomeCode = iota + 1
	notFound
	conflict
	malformed
)

// decodeResult gives the outcome that Apply put into a result.
func decodeResult(r rsm.Result) (outcome, error) {
	if len(r.Data) != 1 {
		return outcome{}, fmt.Errorf("a command's result has %d bytes, not 1", len(r.Data))
	}
	return outcome{code: outcomeCode(r.Data[0]), version: r.Value}, nil
}

// The queries that Read answers, and its answers.
type (
	getQuery  struct{ key string }
	getAnswer struct {
		item
		found bool
		index uint64 // of the state that was read
	}

	// listQuery asks for the keys that begin with prefix and are greater than
	// after, at most limit.
	listQuery struct {
		prefix, after string
		limit         int
	}
	listAnswer struct {
		items []listItem
		more  bool
		index uint64
	}
	listItem struct {
		Key     string `json:"key"`
		Version uint64 `json:"version"`
		Bytes   int    `json:"bytes"`
	}
)

// Read answers a query from the state as it is.
func (m *machine) Read(_ context.Context, query any) (any, error) {
	s := m.current.Load()
	switch q := query.(type) {
	case getQuery:
		it, found := s.items.get(q.key)
		return getAnswer{item: it, found: found, index: s.index}, nil
	case listQuery:
		answer := listAnswer{index: s.index}
		s.items.from(max(q.prefix, q.after), func(key string, it item) bool {
			switch {
			case key == q.after && q.after != "":
				return true
			case !strings.HasPrefix(key, q.prefix):
				return false
			case len(answer.items) == q.limit:
				answer.more = true
				return false
			}
			answer.items = append(answer.items, listItem{Key: key, Version: it.version, Bytes: len(it.value)})
			return true
		})
		return answer, nil
	}
	return nil, fmt.Errorf("kv: unknown query %T", query)
}

// Snapshot takes a picture: the current state, which nobody changes (SN-10).
func (m *machine) Snapshot() (rsm.View, error) { return view{m.current.Load()}, nil }

// Close has nothing to release.
func (m *machine) Close() error { return nil }

// view is a state that is being written out while the machine goes on.
type view struct{ *state }

// A snapshot is, little-endian:
//
//	magic "QKV1" | index (8) | items (8) | items times:
//	  key length (4) | value length (4) | version (8) | key | value
//
// The items stand in the order of their keys, so that equal states are written as
// equal bytes. The library adds checksums.
const snapshotMagic = "QKV1"

// WriteSnapshot writes the picture.
func (v view) WriteSnapshot(ctx context.Context, w io.Writer) error {
	b := bufio.NewWriterSize(w, 64<<10)
	header := binary.LittleEndian.AppendUint64([]byte(snapshotMagic), v.index)
	header = binary.LittleEndian.AppendUint64(header, uint64(v.items.size))
	if _, err := b.Write(header); err != nil {
		return err
	}
	var err error
	var record []byte
	v.items.from("", func(key string, it item) bool {
		if err = ctx.Err(); err != nil {
			return false
		}
		record = binary.LittleEndian.AppendUint32(record[:0], uint32(len(key)))
		record = binary.LittleEndian.AppendUint32(record, uint32(len(it.value)))
		record = binary.LittleEndian.AppendUint64(record, it.version)
		record = append(append(record, key...), it.value...)
		_, err = b.Write(record)
		return err == nil
	})
	if err != nil {
		return err
	}
	return b.Flush()
}

// Close has nothing to release: the state is garbage when nobody holds it.
func (v view) Close() error { return nil }

// Restore replaces the state by one that WriteSnapshot wrote.
func (m *machine) Restore(r io.Reader) error {
	b := bufio.NewReaderSize(r, 64<<10)
	var header [20]byte
	if _, err := io.ReadFull(b, header[:]); err != nil {
		return fmt.Errorf("kv: snapshot header: %w", err)
	}
	if string(header[:4]) != snapshotMagic {
		return errors.New("kv: not a snapshot of this state machine")
	}
	s := &state{index: binary.LittleEndian.Uint64(header[4:])}
	last := ""
	for n := binary.LittleEndian.Uint64(header[12:]); n > 0; n-- {
		var record [16]byte
		if _, err := io.ReadFull(b, record[:]); err != nil {
			return fmt.Errorf("kv: snapshot item: %w", err)
		}
		keySize, valueSize := binary.LittleEndian.Uint32(record[:]), binary.LittleEndian.Uint32(record[4:])
		if keySize == 0 || keySize > maxKeyBytes || valueSize > maxValueBytes {
			return fmt.Errorf("kv: snapshot item with a key of %d and a value of %d bytes", keySize, valueSize)
		}
		data := make([]byte, keySize+valueSize)
		if _, err := io.ReadFull(b, data); err != nil {
			return fmt.Errorf("kv: snapshot item: %w", err)
		}
		key := string(data[:keySize])
		if key <= last {
			return fmt.Errorf("kv: snapshot holds key %q after %q", key, last)
		}
		last = key
		s.items = s.items.set(key, item{value: data[keySize:], version: binary.LittleEndian.Uint64(record[8:])})
	}
	m.current.Store(s)
	return nil
}
