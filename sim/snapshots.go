package sim

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/snapshot"
	"github.com/quorate/quorate/transport"
)

// takeSnapshot has the state as it is now written out while applying goes on. A
// state machine on disk keeps its own state; the log only has to know how far.
func (g *group) takeSnapshot() {
	if g.disk != nil {
		g.disk.Flush()
		durable := g.disk.DurableIndex()
		g.call(func() { g.replica.DurableUpTo(durable, &g.out) })
		return
	}
	g.picture(func(info snapshot.Info, err error) {
		if err != nil {
			g.replica.SnapshotFailed()
			return
		}
		g.replica.SnapshotTaken(info.Meta, int64(info.Size), &g.out)
	})
}

// picture takes a view now: a file is begun, filled, and committed at moments
// apart. Done is called as a step of the replica.
func (g *group) picture(done func(snapshot.Info, error)) {
	meta := g.applier.At()
	view, err := g.machine.Snapshot()
	if err != nil {
		g.snapshotFailed(fmt.Errorf("state machine: %w", err), done)
		return
	}
	id := g.w.nodeRand.Uint64()
	g.n.after(g.n.spread(g.w.p.syncTime), snapshotEvent, func() { g.writeSnapshot(meta, view, id, done) })
}

func (g *group) writeSnapshot(meta raft.SnapshotMeta, view rsm.View, id uint64, done func(snapshot.Info, error)) {
	w, err := g.n.store.Create(g.id, meta, id)
	if err == nil {
		if err = view.WriteSnapshot(context.Background(), w); err != nil {
			err = errors.Join(err, w.Abort())
		}
	}
	err = errors.Join(err, view.Close())
	if err != nil {
		g.snapshotFailed(err, done)
		return
	}
	g.n.after(g.n.spread(4*g.w.p.syncTime)+g.n.fault.syncDelay(g.n), snapshotEvent, func() {
		info, err := w.Commit()
		if err != nil {
			g.snapshotFailed(err, done)
			return
		}
		g.w.count(countSnapshotTaken)
		g.w.tracef("node %d, group %d: snapshot %v stored", g.n.id, g.id, info.Meta.ID)
		g.judge.SnapshotStored(g.n.id, info.Meta)
		g.w.arrived(g.n, SnapshotStored)
		g.call(func() { done(info, nil) })
	})
}

func (g *group) snapshotFailed(err error, done func(snapshot.Info, error)) {
	g.n.checkPower(err)
	g.w.count(countSnapshotFailed)
	g.w.tracef("node %d, group %d: no snapshot: %v", g.n.id, g.id, err)
	if !g.n.hurt {
		g.w.fail(fmt.Errorf("node %d: snapshot: %w", g.n.id, err))
	}
	g.call(func() { done(snapshot.Info{}, err) })
}

func (g *group) removeSnapshots(before raft.EntryID) {
	g.n.after(g.n.spread(g.w.p.syncTime), snapshotEvent, func() {
		if err := g.n.store.RemoveOlder(g.id, before); err != nil {
			g.n.checkPower(err)
			g.w.tracef("node %d, group %d: old snapshots stay: %v", g.n.id, g.id, err)
			if !g.n.hurt && !errors.Is(err, snapshot.ErrNoNewer) {
				g.w.fail(fmt.Errorf("node %d: remove old snapshots: %w", g.n.id, err))
			}
		}
	})
}

// A sender is one transfer of a snapshot, as its sender sees it. It goes on from
// where the receiver says it is, says everything again that is not answered, and
// gives up after a while.
type sender struct {
	g       *group
	peer    raft.NodeID
	session uint64
	offer   transport.SnapshotOffer
	info    snapshot.Info
	file    io.Closer // open, so that the file stays while it is sent (SN-05)
	data    []byte
	stored  uint64 // at the receiver, as it last said
	sent    uint64
	moved   instant // when the receiver last said something new
	ended   bool
}

const (
	chunkBytes  = 700 // does not divide a chunk of the format
	windowBytes = 4 * chunkBytes
)

func (g *group) sendSnapshot(transfer raft.SendSnapshot) {
	s := &sender{g: g, peer: transfer.Peer, session: g.w.nodeRand.Uint64(), moved: g.w.now}
	g.sending = append(g.sending, s)
	info, ok := g.n.store.Newest(g.id)
	switch covers := ok && info.Meta.ID.Index+1 >= g.replica.Core().FirstIndex(); {
	case covers:
		s.begin(transfer, info)
	case g.disk != nil, len(g.n.store.Damaged(g.id)) > 0:
		// There is none until a follower needs one, or none that is whole.
		g.picture(func(info snapshot.Info, err error) {
			if err != nil {
				s.end(false)
				return
			}
			s.begin(transfer, info)
		})
	default:
		if !g.n.hurt {
			g.w.fail(fmt.Errorf("node %d, group %d: no snapshot covers the log from %d on (B-25)", g.n.id, g.id, g.replica.Core().FirstIndex()))
		}
		s.end(false)
	}
}

func (s *sender) begin(transfer raft.SendSnapshot, info snapshot.Info) {
	g := s.g
	if s.ended {
		return
	}
	s.info, s.moved = info, g.w.now
	offer, err := g.w.net.codec.Offer(transport.SnapshotOffer{
		From: g.n.id, Group: g.id, Term: transfer.Term, Round: transfer.Round, Meta: s.info.Meta, Size: s.info.Size, ID: s.info.ID,
	})
	if err != nil {
		g.w.fail(fmt.Errorf("snapshot offer: %w", err))
		return
	}
	s.offer = offer
	if err := s.open(); err != nil {
		g.n.checkPower(err)
		if !g.n.hurt {
			g.w.fail(fmt.Errorf("node %d: read snapshot %v to send it: %w", g.n.id, s.info.Meta.ID, err))
		}
		s.end(false)
		return
	}
	s.again()
}

func (s *sender) open() error {
	f, err := s.g.n.store.OpenFile(s.info, 0)
	if err != nil {
		return err
	}
	s.file = f
	s.data, err = io.ReadAll(f)
	return err
}

// again offers, and offers again while nothing moves.
func (s *sender) again() {
	if s.ended || s.g.gone {
		return
	}
	if s.g.w.now > s.moved.after(4*s.g.w.p.election) {
		s.g.w.count(countSnapshotBroken)
		s.end(false)
		return
	}
	offer, session := s.offer, s.session
	s.g.w.net.carry(s.g.n, s.peer, func(to *node) {
		if g := to.group(offer.Group); g != nil {
			g.offered(offer, session)
		}
	})
	s.sent = s.stored
	s.chunks()
	s.g.n.after(s.g.w.p.heartbeat+4*s.g.w.p.latency, snapshotEvent, s.again)
}

// answered: the receiver has so many bytes, or is done.
func (s *sender) answered(stored uint64, done, refused bool) {
	switch {
	case s.ended:
	case refused:
		s.verify()
		s.end(false)
	case done:
		s.end(true)
	case stored != s.stored:
		s.stored, s.moved = stored, s.g.w.now
		s.chunks()
	}
}

// verify looks whether the receiver refused what is damaged (SF-07). It is not sent
// again then.
func (s *sender) verify() {
	if s.sent == 0 {
		return // nothing was sent that could be
	}
	if err := s.g.n.store.Verify(s.info); err != nil {
		s.g.n.checkPower(err)
		s.g.w.tracef("node %d, group %d: snapshot %v was refused: %v", s.g.n.id, s.g.id, s.info.Meta.ID, err)
	}
}

// chunks sends what the window allows.
func (s *sender) chunks() {
	g := s.g
	s.sent = max(s.sent, s.stored)
	for s.sent < s.info.Size && s.sent < s.stored+windowBytes {
		data := s.data[s.sent:min(s.sent+chunkBytes, s.info.Size)]
		offset, session, id := s.sent, s.session, g.id
		s.sent += uint64(len(data))
		g.w.net.carry(g.n, s.peer, func(to *node) {
			if g := to.group(id); g != nil && g.receiving != nil && g.receiving.session == session {
				g.receiving.chunk(offset, data)
			}
		})
	}
}

func (s *sender) end(ok bool) {
	if s.ended {
		return
	}
	s.close()
	g := s.g
	for i := range g.sending {
		if g.sending[i] == s {
			g.sending = append(g.sending[:i], g.sending[i+1:]...)
			break
		}
	}
	if ok {
		g.w.count(countSnapshotSent)
	}
	g.call(func() { g.replica.SnapshotSent(s.peer, ok, &g.out) })
}

func (s *sender) close() {
	s.ended = true
	if s.file == nil {
		return
	}
	if err := s.file.Close(); err != nil {
		s.g.n.checkPower(err)
		if !s.g.n.hurt {
			s.g.w.fail(fmt.Errorf("node %d: close snapshot %v: %w", s.g.n.id, s.info.Meta.ID, err))
		}
	}
}

func (g *group) endTransfers() {
	for _, s := range g.sending {
		s.close()
	}
	g.sending = nil
	if r := g.receiving; r != nil {
		r.abort()
	}
}

// A receiver is one transfer, as its receiver sees it.
type receiver struct {
	g       *group
	session uint64
	offer   transport.SnapshotOffer
	r       *snapshot.Receiver
	heard   instant
	signed  instant
	sealing bool
	done    bool
}

// offered begins to receive, unless another transfer is under way.
func (g *group) offered(offer transport.SnapshotOffer, session uint64) {
	if g.gone {
		return
	}
	if r := g.receiving; r != nil {
		if r.session == session {
			r.heard = g.w.now
			r.answer()
			return
		}
		if !r.done && g.w.now < r.heard.after(g.w.p.election) {
			r.refuse(offer, session)
			return
		}
		r.abort()
	}
	r := &receiver{g: g, session: session, offer: offer, heard: g.w.now}
	var err error
	if r.r, err = g.n.store.Receive(offer.Group, offer.Meta, offer.ID, offer.Size); err != nil {
		g.n.checkPower(err)
		g.w.tracef("node %d, group %d: refuses snapshot %v: %v", g.n.id, g.id, offer.Meta.ID, err)
		if !g.n.hurt {
			g.w.fail(fmt.Errorf("node %d: receive snapshot %v: %w", g.n.id, offer.Meta.ID, err))
		}
		r.refuse(offer, session)
		return
	}
	if r.r.Offset() > 0 {
		g.w.count(countSnapshotResumed)
	}
	g.receiving = r
	r.signOfLife()
	r.answer()
	r.ifWhole()
}

func (r *receiver) refuse(offer transport.SnapshotOffer, session uint64) {
	r.g.w.net.carry(r.g.n, offer.From, func(to *node) { to.transferAnswer(offer.Group, session, 0, false, true) })
}

func (r *receiver) answer() {
	stored, done, session, id := uint64(0), r.done, r.session, r.g.id
	if !r.sealing && !r.done {
		stored = r.r.Offset()
	}
	r.g.w.net.carry(r.g.n, r.offer.From, func(to *node) { to.transferAnswer(id, session, stored, done, false) })
}

func (n *node) transferAnswer(id raft.GroupID, session, stored uint64, done, refused bool) {
	g := n.group(id)
	if g == nil {
		return
	}
	for _, s := range g.sending {
		if s.session == session {
			s.answered(stored, done, refused)
			return
		}
	}
}

func (r *receiver) chunk(offset uint64, data []byte) {
	if r.sealing || r.done {
		return
	}
	r.heard = r.g.w.now
	_, err := r.r.WriteChunk(offset, data)
	if err != nil {
		r.g.n.checkPower(err)
		if errors.Is(err, snapshot.ErrCorrupt) && r.g.w.nodes[r.offer.From-1].sick {
			r.g.w.count(countRottenChunk)
		} else if !r.g.n.hurt {
			r.g.w.fail(fmt.Errorf("node %d: an intact chunk of snapshot %v is refused: %w", r.g.n.id, r.offer.Meta.ID, err))
		}
		session := r.session
		r.refuse(r.offer, session)
		r.abort()
		return
	}
	if r.g.w.now >= r.signed.after(r.g.w.p.heartbeat) {
		r.signOfLife()
	}
	r.answer()
	r.ifWhole()
}

// ifWhole makes a snapshot that is there whole durable, in a while.
func (r *receiver) ifWhole() {
	if r.sealing || r.r.Offset() < r.offer.Size {
		return
	}
	r.sealing = true
	g := r.g
	g.n.after(g.n.spread(4*g.w.p.syncTime)+g.n.fault.syncDelay(g.n), snapshotEvent, func() {
		if g.gone || g.receiving != r {
			return
		}
		info, err := r.r.Commit()
		if err != nil {
			g.n.checkPower(err)
			if !g.n.hurt {
				g.w.fail(fmt.Errorf("node %d: store received snapshot %v: %w", g.n.id, r.offer.Meta.ID, err))
			}
			g.receiving = nil
			r.refuse(r.offer, r.session)
			return
		}
		g.judge.SnapshotStored(g.n.id, info.Meta)
		g.w.arrived(g.n, SnapshotStored)
		g.call(func() {
			g.replica.SnapshotReceived(r.offer.From, r.offer.Term, r.offer.Round, info.Meta, int64(info.Size), &g.out)
			r.done = true
			r.answer()
		})
	})
}

// signOfLife lets the core hear that its leader is alive (SN-06).
func (r *receiver) signOfLife() {
	r.signed = r.g.w.now
	r.g.deliver(transport.Envelope{Group: r.g.id, Message: raft.Message{
		From: r.offer.From, To: r.g.n.id,
		Body: &raft.InstallSnapshot{Term: r.offer.Term, Round: r.offer.Round, Snapshot: r.offer.Meta},
	}})
}

// abort keeps what came for the next attempt.
func (r *receiver) abort() {
	if r.g.receiving == r {
		r.g.receiving = nil
	}
	if r.done {
		return
	}
	if err := r.r.Abort(); err != nil {
		r.g.n.checkPower(err)
		if !r.g.n.hurt {
			r.g.w.fail(fmt.Errorf("node %d: put off snapshot %v: %w", r.g.n.id, r.offer.Meta.ID, err))
		}
	}
}
