// Package tracelog writes the typed trace of replicas as text, one JSON object a
// line (NDJSON), and keeps the newest of it in a ring of bounded size. It decides
// nothing: package raft says what happened, and check/trace, which shares no code
// with either, whether that is Raft. docs/trace-format.md describes the format.
package tracelog

import (
	"fmt"
	"io"
	"strconv"

	"github.com/quorate/quorate/raft"
)

// Version is the version of the format.
const Version = 1

// Record is one event with where and when it happened.
type Record struct {
	Node raft.NodeID
	// Boot tells the starts of a node apart: a later one has a greater number.
	Boot uint64
	// Seq counts the records of a start, from 1.
	Seq uint64
	// Time is in nanoseconds since the Unix epoch, or since a simulation began.
	Time  int64
	Group raft.GroupID
	Event raft.Event
}

// AppendHeader appends the first line of a file. Complete says that no record of
// any start of the nodes in it is missing, so that whatever happened has its cause
// in it.
func AppendHeader(dst []byte, complete bool) []byte {
	dst = append(dst, `{"format":"quorate-trace","version":`...)
	dst = strconv.AppendInt(dst, Version, 10)
	dst = append(dst, `,"complete":`...)
	dst = strconv.AppendBool(dst, complete)
	return append(dst, "}\n"...)
}

// AppendTo appends the line of a record. Fields that are zero are left out.
func (r *Record) AppendTo(dst []byte) []byte {
	e := &r.Event
	dst = append(dst, '{')
	number := func(name string, v uint64) {
		if v != 0 {
			dst = append(dst, name...)
			dst = strconv.AppendUint(dst, v, 10)
		}
	}
	id := func(name string, v raft.EntryID) {
		if v != (raft.EntryID{}) {
			dst = append(dst, name...)
			dst = append(dst, '"')
			dst = strconv.AppendUint(dst, uint64(v.Term), 10)
			dst = append(dst, '.')
			dst = strconv.AppendUint(dst, uint64(v.Index), 10)
			dst = append(dst, '"')
		}
	}
	text := func(name, v string) {
		dst = append(dst, name...)
		dst = append(dst, '"')
		dst = append(dst, v...) // of ours, without anything to escape
		dst = append(dst, '"')
	}
	ids := func(name string, v []raft.NodeID) {
		if len(v) == 0 {
			return
		}
		dst = append(dst, name...)
		dst = append(dst, '[')
		for i, id := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, uint64(id), 10)
		}
		dst = append(dst, ']')
	}
	number(`"node":`, uint64(r.Node))
	number(`,"boot":`, r.Boot)
	number(`,"seq":`, r.Seq)
	if r.Time != 0 {
		dst = append(dst, `,"time":`...)
		dst = strconv.AppendInt(dst, r.Time, 10)
	}
	number(`,"group":`, uint64(r.Group))
	text(`,"kind":`, e.Kind.String())
	if e.Reason != 0 {
		text(`,"reason":`, e.Reason.String())
	}
	number(`,"term":`, uint64(e.Term))
	text(`,"state":`, e.State.String())
	number(`,"peer":`, uint64(e.Peer))
	id(`,"id":`, e.ID)
	id(`,"own":`, e.Own)
	number(`,"index":`, uint64(e.Index))
	if e.Voters != nil {
		ids(`,"voters":`, e.Voters.Incoming)
		ids(`,"outgoing":`, e.Voters.Outgoing)
	}
	return append(dst, "}\n"...)
}

// A Writer writes records to a file as they happen, and so keeps all of them. Not
// safe for concurrent use.
type Writer struct {
	w   io.Writer
	buf []byte
	seq map[[2]uint64]uint64 // by node and boot
	err error
}

// NewWriter begins a file.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, buf: AppendHeader(nil, true), seq: map[[2]uint64]uint64{}}
}

// Add writes a record and gives it its Seq.
func (w *Writer) Add(r Record) {
	start := [2]uint64{uint64(r.Node), r.Boot}
	w.seq[start]++
	r.Seq = w.seq[start]
	w.buf = r.AppendTo(w.buf)
	if len(w.buf) >= 1<<16 {
		w.flush()
	}
}

func (w *Writer) flush() {
	if w.err == nil {
		_, w.err = w.w.Write(w.buf)
	}
	w.buf = w.buf[:0]
}

// Close writes what is left, and gives the first error that there was.
func (w *Writer) Close() error {
	w.flush()
	if w.err != nil {
		return fmt.Errorf("write trace: %w", w.err)
	}
	return nil
}
