package main

import (
	"encoding/binary"
	"errors"
)

// command is what a client wants changed, as it stands in the log:
//
//	op (1) | condition kind (1) | condition version (8) | key length (4) | key | value
//
// Little-endian. The log lasts longer than a build of this program, so an op or
// a kind keeps its number for ever.
type command struct {
	op        op
	condition condition
	key       string
	value     []byte // of a put
}

type op byte

const (
	opPut    op = 1
	opDelete op = 2
)

// condition makes a command compare-and-swap: it must hold, or nothing changes.
type condition struct {
	kind    conditionKind
	version uint64 // of ifVersion
}

type conditionKind byte

const (
	always    conditionKind = 0
	ifVersion conditionKind = 1 // the key has exactly this version
	ifExists  conditionKind = 2
	ifAbsent  conditionKind = 3
)

func (c condition) holds(found item, exists bool) bool {
	switch c.kind {
	case ifVersion:
		return exists && found.version == c.version
	case ifExists:
		return exists
	case ifAbsent:
		return !exists
	}
	return true
}

const commandHeaderBytes = 14

func (c command) encode() []byte {
	b := make([]byte, 0, commandHeaderBytes+len(c.key)+len(c.value))
	b = append(b, byte(c.op), byte(c.condition.kind))
	b = binary.LittleEndian.AppendUint64(b, c.condition.version)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.key)))
	b = append(b, c.key...)
	return append(b, c.value...)
}

// decodeCommand reads a command and copies what it keeps of b.
func decodeCommand(b []byte) (command, error) {
	if len(b) < commandHeaderBytes {
		return command{}, errors.New("kv: a command is cut short")
	}
	c := command{
		op:        op(b[0]),
		condition: condition{kind: conditionKind(b[1]), version: binary.LittleEndian.Uint64(b[2:])},
	}
	keySize := binary.LittleEndian.Uint32(b[10:])
	rest := b[commandHeaderBytes:]
	switch {
	case c.op != opPut && c.op != opDelete:
		return command{}, errors.New("kv: unknown operation")
	case c.condition.kind > ifAbsent:
		return command{}, errors.New("kv: unknown condition")
	case c.condition.kind != ifVersion && c.condition.version != 0:
		return command{}, errors.New("kv: a version without its condition")
	case keySize == 0 || keySize > maxKeyBytes || uint64(keySize) > uint64(len(rest)):
		return command{}, errors.New("kv: bad key length")
	case len(rest)-int(keySize) > maxValueBytes:
		return command{}, errors.New("kv: value too large")
	case c.op == opDelete && len(rest) != int(keySize):
		return command{}, errors.New("kv: a delete with a value")
	}
	c.key = string(rest[:keySize])
	c.value = append([]byte(nil), rest[keySize:]...)
	return c, nil
}
