package snapshot

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/raft"
)

// A file's name says which snapshot it is and how far it got:
//
//	<group>-<index>-<term>-<id>.snapshot    counts
//	                           .writing     is being taken; removed by Open
//	                           .receiving   is coming in; kept by Open
//
// each number as 16 hexadecimal digits, so that names sort by group and age.
const (
	snapshotSuffix  = ".snapshot"
	writingSuffix   = ".writing"
	receivingSuffix = ".receiving"
)

type fileName struct {
	group  raft.GroupID
	entry  raft.EntryID
	id     uint64
	suffix string
}

// String gives the name without its directory.
func (n fileName) String() string {
	return fmt.Sprintf("%016x-%016x-%016x-%016x%s", uint64(n.group), uint64(n.entry.Index), uint64(n.entry.Term), n.id, n.suffix)
}

func parseName(base string) (n fileName, ok bool) {
	stem, suffix, _ := strings.Cut(base, ".")
	n.suffix = "." + suffix
	switch n.suffix {
	case snapshotSuffix, writingSuffix, receivingSuffix:
	default:
		return n, false
	}
	_, err := fmt.Sscanf(stem, "%016x-%016x-%016x-%016x", (*uint64)(&n.group), (*uint64)(&n.entry.Index), (*uint64)(&n.entry.Term), &n.id)
	return n, err == nil && n.String() == base
}

func isSnapshotName(base string) bool {
	n, ok := parseName(base)
	return ok && n.suffix == snapshotSuffix
}

func (i Info) name() fileName {
	return fileName{group: i.Group, entry: i.Meta.ID, id: i.ID, suffix: snapshotSuffix}
}
