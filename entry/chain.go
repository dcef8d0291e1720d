package entry

import (
	"fmt"
	"iter"

	"github.com/quorate/quorate/raft"
)

// All decodes entries that stand back to back in b. It ends after the last, or
// with one error.
func All(b []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for len(b) > 0 {
			e, n, err := Decode(b)
			if !yield(e, err) || err != nil {
				return
			}
			b = b[n:]
		}
	}
}

// Link is the end of a chain of entries: what the next entry must follow.
type Link struct {
	ID       raft.EntryID
	Checksum uint32
}

// VerifyChain decodes the entries that stand back to back in b and checks that
// each follows the one before it, the first of them after: the next index, a
// term that is not older, the predecessor's checksum. It gives the end of the
// chain. An entry that does not follow is ErrCorrupt.
func VerifyChain(after Link, b []byte) (Link, error) {
	for e, err := range All(b) {
		if err != nil {
			return after, fmt.Errorf("entry after %v: %w", after.ID, err)
		}
		switch {
		case e.Index != after.ID.Index+1:
			return after, fmt.Errorf("%w: index %d after %v", ErrCorrupt, e.Index, after.ID)
		case e.Term < after.ID.Term:
			return after, fmt.Errorf("%w: term falls from %v to %v", ErrCorrupt, after.ID, e.ID())
		case e.Prev != after.Checksum:
			return after, fmt.Errorf("%w: entry %v follows checksum %08x, its predecessor has %08x",
				ErrCorrupt, e.ID(), e.Prev, after.Checksum)
		}
		after = Link{ID: e.ID(), Checksum: e.Checksum}
	}
	return after, nil
}
