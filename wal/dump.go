package wal

import (
	"fmt"
	"io"
	"slices"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// Report is what Verify finds in a directory.
type Report struct {
	Identity Identity
	// Groups are as Open would give them, faults included, ordered by id.
	Groups []GroupState
	// Damages are all damaged places, also those that harm no group.
	Damages []Fault
	// Batches are kept, up to number Last; from Cut on, if it is not zero, they
	// were torn and never acknowledged, and Open would cut them.
	Batches   int
	Last, Cut uint64
}

// Verify reads the log in a directory as Open does, and changes nothing. The
// directory must not be in use: a log that is being written to looks torn. It
// reads every entry and checks each group's chain (SF-01, SF-09).
func Verify(fsys vfs.FS, dir string) (Report, error) {
	r, err := analyze(fsys, dir, nil)
	if err != nil {
		return Report{}, err
	}
	report := Report{Identity: r.identity, Batches: len(r.batches), Last: r.number, Cut: r.cut}
	for _, g := range r.groups {
		s := g.state()
		if len(s.Faults) == 0 {
			if i, err := g.verify(); err != nil {
				s.Faults = append(s.Faults, Fault{Offset: -1, Group: g.id, Index: i, Verdict: FaultyEntry, Detail: err.Error()})
			}
		}
		report.Groups = append(report.Groups, s)
	}
	slices.SortFunc(report.Groups, func(a, b GroupState) int {
		if a.Group < b.Group {
			return -1
		}
		return 1
	})
	report.Damages = r.damages
	return report, r.close()
}

// Dump writes, for people, what stands in the log of a directory: a line for
// each segment, batch and record. It changes nothing; the directory must not be
// in use.
func Dump(fsys vfs.FS, dir string, out io.Writer) (err error) {
	r, err := analyze(fsys, dir, nil)
	if err != nil {
		return err
	}
	p := printer{out: out}
	p.line("%v; oldest segment %d, last batch %d", r.identity, r.oldest, r.number)
	for _, seg := range r.files {
		h := seg.header
		p.line("segment %s: %d bytes, fresh %v, first batch %d, free sectors [%d, %d)", seg.name, h.Size, h.Fresh, h.FirstBatch, seg.front, seg.back)
		for _, f := range r.batches {
			if f.seg == seg {
				p.batch(f)
			}
		}
	}
	if r.cut != 0 {
		p.line("torn from batch %d on", r.cut)
	}
	for _, d := range r.damages {
		p.line("damage: %v", d)
	}
	for _, id := range sortedGroups(r.groups) {
		for _, f := range r.groups[id].faults {
			p.line("fault: %v", f)
		}
	}
	if err := r.close(); p.err == nil {
		p.err = err
	}
	return p.err
}

func sortedGroups(groups map[raft.GroupID]*group) []raft.GroupID {
	ids := make([]raft.GroupID, 0, len(groups))
	for id := range groups {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

type printer struct {
	out io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format+"\n", args...)
	}
}

func (p *printer) batch(f *found) {
	if f.unknown() {
		p.line("  batches %d to %d at sector %d: cannot be read", f.first, f.last, f.dataAt)
		return
	}
	p.line("  batch %d at sector %d, %d sectors, identity %d: data ok %v, identity ok %v, durable %d",
		f.first, f.dataAt, f.dataLen, f.idLen, f.dataOK, f.idOK, f.durable)
	for i := range f.records {
		r := &f.records[i]
		kind := "update"
		if r.kind == kindCopy {
			kind = "copy"
		}
		p.line("    group %d %s: term %d, vote %d, log [%d, %d] on snapshot %v, entries [%d, %d] terms %v",
			r.group, kind, r.head.hard.CurrentTerm, r.head.hard.VotedFor, r.head.first, r.head.last, r.head.snapshot, r.first, r.last, r.runs)
	}
}
