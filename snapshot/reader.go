package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"

	"github.com/quorate/quorate/vfs"
)

// parts reads a file part by part.
type parts struct {
	f       vfs.File
	size    int64
	info    Info   // names the file in errors
	file    string // its name
	decoder decoder
	buf     []byte
}

func (s *Store) newParts(f vfs.File, size int64, info Info, expect func(*header) error) *parts {
	return &parts{f: f, size: size, info: info, file: path.Join(s.dir, info.name().String()), decoder: decoder{expect: expect}}
}

// next reads and verifies one part and gives the state in it, valid until the
// next call. It is io.EOF after the footer at the end of the file.
func (p *parts) next() ([]byte, error) {
	off := p.decoder.off
	if p.decoder.done && off == p.size {
		return nil, io.EOF
	}
	for have := 0; ; {
		n, state, err := p.decoder.next(p.buf[:have])
		if err != nil {
			return nil, p.damage(off, err)
		}
		if n <= have {
			return state, nil
		}
		// Nothing is allocated for a length that the file does not have.
		if int64(n) > p.size-off {
			return nil, p.damage(off, fmt.Errorf("%w: %d bytes are left of a part of %d", ErrTruncated, p.size-off, n))
		}
		p.buf = slices.Grow(p.buf[:have], n-have)[:n]
		if _, err := p.f.ReadAt(p.buf[have:n], off+int64(have)); err != nil {
			if errors.Is(err, io.EOF) {
				err = ErrTruncated // io.EOF is the good end
			}
			return nil, p.damage(off, err)
		}
		have = n
	}
}

// damage says where an error is. It gives nil for nil.
func (p *parts) damage(off int64, err error) error {
	if err == nil {
		return nil
	}
	return &Error{File: p.file, Offset: off, Group: p.info.Group, ID: p.info.Meta.ID, Err: err}
}

// checkFooterAlone checks of a footer what can be checked without the parts
// before it.
func checkFooterAlone(b []byte, fileLength int64) error {
	if binary.LittleEndian.Uint32(b) != 0 || string(b[4:8]) != footerMagic {
		return fmt.Errorf("%w: %x", ErrFooterMagic, b[:8])
	}
	if n := binary.LittleEndian.Uint64(b[24:]); n != uint64(fileLength) {
		return fmt.Errorf("%w: file length %d, is %d", ErrFooterTotals, n, fileLength)
	}
	return nil
}

// pin keeps a snapshot's file until unpin.
func (s *Store) pin(info Info) (*stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.find(info)
	if st == nil {
		return nil, fmt.Errorf("%w: group %d, snapshot %v, id %x", ErrNotFound, info.Group, info.Meta.ID, info.ID)
	}
	if st.bad != nil {
		return nil, st.bad
	}
	st.pins++
	return st, nil
}

func (s *Store) unpin(st *stored) error {
	s.mu.Lock()
	st.pins--
	last := st.pins == 0 && st.remove
	if last {
		s.groups[st.info.Group] = slices.DeleteFunc(s.groups[st.info.Group], func(other *stored) bool { return other == st })
	}
	s.mu.Unlock()
	if last {
		return s.removeFiles([]string{st.info.name().String()})
	}
	return nil
}

// judge notes what a reader found: a damaged file is no longer listed.
func (s *Store) judge(st *stored, err error) {
	if err == nil || !errors.Is(err, ErrCorrupt) {
		return
	}
	var damage *Error
	if !errors.As(err, &damage) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.bad == nil {
		st.bad = damage
		s.log.Error("damaged snapshot", "error", damage)
	}
}

// pinned is an open file that stays while it is open (SN-05).
type pinned struct {
	store *Store
	st    *stored
	f     vfs.File
	once  sync.Once
	err   error
}

func (s *Store) openPinned(info Info) (*pinned, error) {
	st, err := s.pin(info)
	if err != nil {
		return nil, err
	}
	f, err := s.fs.OpenRead(path.Join(s.dir, info.name().String()))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", errors.Join(err, s.unpin(st)))
	}
	return &pinned{store: s, st: st, f: f}, nil
}

// Close closes the file, and removes it if that was waited for. Calls after the
// first do nothing.
func (p *pinned) Close() error {
	p.once.Do(func() { p.err = errors.Join(p.f.Close(), p.store.unpin(p.st)) })
	return p.err
}

// Reader reads a snapshot's state. Each chunk is verified before a byte of it is
// given, and the end of the file before io.EOF: what was read to io.EOF is the
// whole state, and an error before it means that nothing of it may be used. Not
// safe for concurrent use, but for Close.
type Reader struct {
	pinned
	parts *parts
	state []byte
	err   error
}

// Open opens a snapshot for reading. It is ErrNotFound if it was removed.
func (s *Store) Open(info Info) (*Reader, error) {
	p, err := s.openPinned(info)
	if err != nil {
		return nil, err
	}
	r := &Reader{pinned: pinned{store: p.store, st: p.st, f: p.f}}
	size, err := p.f.Size()
	if err == nil {
		r.parts = s.newParts(p.f, size, info, func(h *header) error { return h.matches(s.identity, info.name()) })
		_, err = r.parts.next()
	}
	if err != nil {
		s.judge(r.st, err)
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Read is io.Reader's.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.state) == 0 && r.err == nil {
		r.advance()
	}
	if len(r.state) == 0 {
		return 0, r.err
	}
	n := copy(p, r.state)
	r.state = r.state[n:]
	return n, nil
}

func (r *Reader) advance() {
	r.state, r.err = r.parts.next()
	r.store.judge(r.st, r.err)
}

// WriteTo is io.WriterTo's: it hands out whole chunks.
func (r *Reader) WriteTo(w io.Writer) (total int64, err error) {
	for r.err == nil || len(r.state) > 0 {
		n, err := w.Write(r.state)
		total += int64(n)
		r.state = r.state[n:]
		if err != nil {
			return total, err
		}
		if r.err == nil {
			r.advance()
		}
	}
	if r.err == io.EOF {
		return total, nil
	}
	return total, r.err
}

// Verify reads a whole snapshot and says what is wrong with it.
func (s *Store) Verify(info Info) error {
	r, err := s.Open(info)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// rawFile gives a file's bytes from an offset on, as they are.
type rawFile struct {
	*pinned
	*io.SectionReader
}

// OpenFile opens the bytes of a snapshot's file from an offset on, for a
// transfer. The receiver verifies them.
func (s *Store) OpenFile(info Info, offset uint64) (io.ReadCloser, error) {
	if offset > info.Size {
		return nil, fmt.Errorf("snapshot: offset %d in a file of %d bytes", offset, info.Size)
	}
	p, err := s.openPinned(info)
	if err != nil {
		return nil, err
	}
	return &rawFile{p, io.NewSectionReader(p.f, int64(offset), int64(info.Size-offset))}, nil
}
