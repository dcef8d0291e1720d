package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

var (
	// ErrSuperseded: another transfer of the group, or RemoveGroup, came after
	// this one (SN-06).
	ErrSuperseded = errors.New("snapshot: another transfer has begun")
	// ErrEnded: the receiver was used after Commit, Abort or Discard.
	ErrEnded = errors.New("snapshot: transfer has ended")
)

// receiving is a group's place for a transfer. Its lock is taken before the
// Store's, and serialises a group's transfers, also the reading of what an
// earlier one left.
type receiving struct {
	mu      sync.Mutex
	current *Receiver
}

func (s *Store) slot(group raft.GroupID) *receiving {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receiving[group] == nil {
		s.receiving[group] = &receiving{}
	}
	return s.receiving[group]
}

// supersede ends the transfer that is running, if any, and leaves its file.
func (r *receiving) supersede() {
	if r.current != nil {
		r.current.park(ErrSuperseded)
	}
}

// Receiver takes in a snapshot from another node, in order. Whole parts are
// verified before they go into the file, so what an ended transfer leaves can be
// resumed, after a restart too. Safe for concurrent use.
type Receiver struct {
	store *Store
	slot  *receiving
	info  Info
	name  fileName // while it is being received
	// headerLength is what the header must be long.
	headerLength int

	// Guarded by slot.mu:
	f       vfs.File // nil if the snapshot is here already
	decoder decoder  // decoder.off bytes are in the file, verified
	pending []byte   // what came after them and is no whole part yet
	err     error    // a failure of the disk, or why it ended
}

// Receive begins a transfer of a snapshot of size bytes, or goes on with one that
// an earlier Receiver of the same snapshot left: see Offset. An unfinished
// transfer of another snapshot of the group is thrown away (SN-06). A snapshot
// that is here already is taken as received.
func (s *Store) Receive(group raft.GroupID, meta raft.SnapshotMeta, id, size uint64) (*Receiver, error) {
	r := &Receiver{store: s, slot: s.slot(group), info: Info{Group: group, Meta: meta, ID: id, Size: size}}
	r.name = r.info.name()
	r.name.suffix = receivingSuffix
	head, err := appendHeader(nil, &header{meta: meta})
	if err != nil {
		return nil, err
	}
	r.headerLength = len(head)
	if size < uint64(len(head)+footerBytes) || size > 1<<62 {
		return nil, fmt.Errorf("%w: size %d", ErrMismatch, size)
	}
	r.slot.mu.Lock()
	defer r.slot.mu.Unlock()
	r.slot.supersede()
	if here, err := r.here(); here || err != nil {
		return r, err
	}
	if err := r.claim(); err != nil {
		return nil, err
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	r.slot.current = r
	return r, nil
}

// here reports whether the snapshot is in the store, intact.
func (r *Receiver) here() (bool, error) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	st := r.store.find(r.info)
	if st == nil || st.bad != nil {
		return false, nil
	}
	h := header{meta: st.info.Meta}
	if err := h.matchesMeta(r.info.Meta); err != nil {
		return false, err
	}
	if st.info.Size != r.info.Size {
		return false, fmt.Errorf("%w: %d bytes are announced, %d are here", ErrMismatch, r.info.Size, st.info.Size)
	}
	return true, nil
}

// claim takes the group's unfinished files out of the list: ours to go on with,
// the others to be removed.
func (r *Receiver) claim() error {
	s := r.store
	s.mu.Lock()
	old := slices.DeleteFunc(s.partials[r.info.Group], func(base string) bool { return base == r.name.String() })
	delete(s.partials, r.info.Group)
	s.mu.Unlock()
	return s.removeFiles(old)
}

// open opens or makes the file and verifies what is in it.
func (r *Receiver) open() error {
	s := r.store
	r.decoder.expect = func(h *header) error {
		return errors.Join(h.matches(s.identity, r.info.name()), h.matchesMeta(r.info.Meta))
	}
	f, err := s.fs.Open(s.path(r.name))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.fs.Create(s.path(r.name))
	}
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	r.f = f
	if err := r.resume(); err != nil {
		return fmt.Errorf("snapshot: %w", errors.Join(err, r.park(ErrEnded)))
	}
	return nil
}

// resume finds how far the file is good and cuts the rest: a crash keeps what it
// likes of a file that was never synced.
func (r *Receiver) resume() error {
	size, err := r.f.Size()
	if err != nil {
		return err
	}
	p := r.store.newParts(r.f, min(size, int64(r.info.Size)), r.info, r.decoder.expect)
	for err == nil {
		_, err = p.next()
	}
	r.decoder = p.decoder // whatever stopped it: what is before is good
	if size != r.decoder.off {
		if err := r.f.Truncate(r.decoder.off); err != nil {
			return err
		}
	}
	free, err := r.store.fs.FreeBytes(r.store.dir)
	if need := r.info.Size - uint64(r.decoder.off); err == nil && free < need {
		err = fmt.Errorf("%w: %d bytes are free, the transfer needs %d more", vfs.ErrNoSpace, free, need)
	}
	return err
}

// Offset is how many bytes are stored: the sender goes on from there. It falls
// when a bad part is refused.
func (r *Receiver) Offset() uint64 {
	r.slot.mu.Lock()
	defer r.slot.mu.Unlock()
	return r.offset()
}

func (r *Receiver) offset() uint64 {
	if r.f == nil && r.err == nil {
		return r.info.Size
	}
	return uint64(r.decoder.off) + uint64(len(r.pending))
}

// Write takes the bytes at Offset. After an error that is ErrCorrupt the bad part
// is forgotten and the transfer can go on from Offset; any other error is final
// for this Receiver.
func (r *Receiver) Write(p []byte) (int, error) {
	r.slot.mu.Lock()
	defer r.slot.mu.Unlock()
	if err := r.ingest(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteChunk takes bytes of the file at some offset, from a sender whose messages
// may be lost, repeated and reordered: what is stored already is ignored, and a
// gap is answered by what is stored (SN-06). Errors are as for Write.
func (r *Receiver) WriteChunk(offset uint64, p []byte) (stored uint64, err error) {
	r.slot.mu.Lock()
	defer r.slot.mu.Unlock()
	at := r.offset()
	if offset <= at && at-offset < uint64(len(p)) {
		err = r.ingest(p[at-offset:])
	} else {
		err = r.err
	}
	return r.offset(), err
}

// ingest verifies and stores bytes.
func (r *Receiver) ingest(p []byte) error {
	if r.err != nil {
		return r.err
	}
	if uint64(len(p)) > r.info.Size-r.offset() {
		return r.refuse(fmt.Errorf("%w: more than the %d bytes announced", ErrTrailing, r.info.Size))
	}
	b := p
	if len(r.pending) > 0 {
		r.pending = append(r.pending, p...)
		b = r.pending
	}
	for len(b) > 0 {
		off := r.decoder.off
		n, _, err := r.decoder.next(b)
		if err == nil && off == 0 && n > headerPrefix && n != r.headerLength {
			err = fmt.Errorf("%w: header of %d bytes, want %d", ErrMismatch, n, r.headerLength)
		}
		if err != nil {
			return r.refuse(err)
		}
		if n > len(b) {
			break
		}
		if _, err := r.f.WriteAt(b[:n], off); err != nil {
			r.err = fmt.Errorf("snapshot: %w", err)
			return r.err
		}
		b = b[n:]
	}
	r.pending = append(r.pending[:0], b...)
	return nil
}

// refuse forgets the part that is not whole yet.
func (r *Receiver) refuse(err error) error {
	r.pending = r.pending[:0]
	return &Error{File: r.store.path(r.name), Offset: r.decoder.off, Group: r.info.Group, ID: r.info.Meta.ID, Err: err}
}

// Commit makes the received snapshot count, as Writer.Commit does. It is
// ErrTruncated, and the transfer can go on, if bytes are missing. After any other
// error what was received is gone.
func (r *Receiver) Commit() (Info, error) {
	r.slot.mu.Lock()
	defer r.slot.mu.Unlock()
	switch {
	case r.err != nil:
		return Info{}, r.err
	case r.f == nil:
		r.err = ErrEnded
		return r.info, nil
	case !r.decoder.done:
		return Info{}, fmt.Errorf("%w: %d of %d bytes", ErrTruncated, r.offset(), r.info.Size)
	}
	f := r.end(ErrEnded)
	return r.store.seal(f, r.name, r.info)
}

// end takes the receiver out of its place and gives its file, still open.
func (r *Receiver) end(why error) vfs.File {
	f := r.f
	r.f, r.err, r.pending = nil, why, nil
	if r.slot.current == r {
		r.slot.current = nil
	}
	return f
}

// park ends the receiver and leaves its file for another.
func (r *Receiver) park(why error) error {
	f := r.end(why)
	if f == nil {
		return nil
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.store.partials[r.info.Group] = append(r.store.partials[r.info.Group], r.name.String())
	return f.Close()
}

// Abort ends the transfer and keeps what was received, for a later Receive of the
// same snapshot. After Commit, Abort or Discard it does nothing.
func (r *Receiver) Abort() error {
	r.slot.mu.Lock()
	defer r.slot.mu.Unlock()
	if err := r.park(ErrEnded); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// Discard ends the transfer and removes what was received. After Commit, Abort or
// Discard it does nothing.
func (r *Receiver) Discard() error {
	r.slot.mu.Lock()
	defer r.slot.mu.Unlock()
	if f := r.end(ErrEnded); f != nil {
		return r.store.discard(f, r.name)
	}
	return nil
}
