package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/snapshot"
	"github.com/quorate/quorate/transport"
)

// takeSnapshot pictures the state as it is now and writes it out while applying
// goes on (SN-10). Runs on the goroutine that applies.
func (g *Group) takeSnapshot() {
	if disk, ok := g.machine.sm.(rsm.OnDisk); ok {
		// It keeps its own state; the log only has to know how far.
		disk.Flush()
		durable := disk.DurableIndex()
		g.call(func() { g.replica.DurableUpTo(durable, &g.out) })
		return
	}
	g.pictured(func(info snapshot.Info, err error) {
		if err != nil {
			g.logger.Error("no snapshot could be taken; the log grows meanwhile, and it will be tried again", "error", err)
			g.call(func() { g.replica.SnapshotFailed() })
			return
		}
		g.logger.Info("snapshot taken", "id", info.Meta.ID.String(), "bytes", info.Size)
		g.call(func() { g.replica.SnapshotTaken(info.Meta, int64(info.Size), &g.out) })
	})
}

// pictured takes a view now and stores it in the background.
func (g *Group) pictured(done func(snapshot.Info, error)) {
	meta := g.machine.applier.At()
	view, err := g.machine.sm.Snapshot()
	if err != nil {
		done(snapshot.Info{}, fmt.Errorf("state machine: snapshot: %w", err))
		return
	}
	started := g.node.spawn(func() {
		info, err := g.storeView(meta, view)
		done(info, errors.Join(err, view.Close()))
	})
	if !started {
		done(snapshot.Info{}, errors.Join(ErrClosed, view.Close()))
	}
}

func (g *Group) storeView(meta raft.SnapshotMeta, view rsm.View) (snapshot.Info, error) {
	w, err := g.node.store.Create(g.cfg.ID, meta, rand.Uint64())
	if err != nil {
		return snapshot.Info{}, err
	}
	ctx, cancel := g.node.context()
	defer cancel()
	if err := view.WriteSnapshot(ctx, w); err != nil {
		return snapshot.Info{}, errors.Join(fmt.Errorf("state machine: write snapshot: %w", err), w.Abort())
	}
	return w.Commit()
}

// findSnapshot gives the stored snapshot with an id.
func (g *Group) findSnapshot(id raft.EntryID) (snapshot.Info, bool) {
	for _, info := range g.node.store.List(g.cfg.ID) {
		if info.Meta.ID == id {
			return info, true
		}
	}
	return snapshot.Info{}, false
}

// removeSnapshots removes those that the log no longer needs.
func (g *Group) removeSnapshots(before raft.EntryID) {
	g.node.spawn(func() {
		if err := g.node.store.RemoveOlder(g.cfg.ID, before); err != nil {
			g.logger.Warn("old snapshots could not be removed", "error", err)
		}
	})
}

// sendSnapshot sends the newest snapshot to a peer, in the background.
func (g *Group) sendSnapshot(transfer raft.SendSnapshot) {
	first := g.replica.Core().FirstIndex()
	started := g.node.spawn(func() {
		err := g.transfer(transfer, first)
		if err != nil {
			g.logger.Warn("snapshot not sent; it will be tried again", "peer", uint64(transfer.Peer), "error", err)
		}
		g.call(func() { g.replica.SnapshotSent(transfer.Peer, err == nil, &g.out) })
	})
	if !started {
		g.replica.SnapshotSent(transfer.Peer, false, &g.out)
	}
}

func (g *Group) transfer(transfer raft.SendSnapshot, first raft.Index) error {
	ctx, cancel := g.node.context()
	defer cancel()
	info, err := g.snapshotCovering(ctx, first)
	if err != nil {
		return err
	}
	g.logger.Info("sending snapshot", "peer", uint64(transfer.Peer), "id", info.Meta.ID.String(), "bytes", info.Size)
	offer := transport.SnapshotOffer{
		From: g.node.cfg.ID, Group: g.cfg.ID, Term: transfer.Term, Round: transfer.Round,
		Meta: info.Meta, Size: info.Size, ID: info.ID,
	}
	begun := false
	err = g.node.cfg.Transport.SendSnapshot(ctx, transfer.Peer, offer, func(offset uint64) (io.ReadCloser, error) {
		begun = true
		return g.node.store.OpenFile(info, offset)
	})
	if begun && errors.Is(err, transport.ErrRefused) {
		// The peer may have found it damaged (SF-07). If it is, the store lists it no
		// more, and for the next transfer another one is made.
		if damage := g.node.store.Verify(info); errors.Is(damage, snapshot.ErrCorrupt) {
			err = fmt.Errorf("%w: %w", damage, err)
		}
	}
	return err
}

// snapshotCovering gives a snapshot after which the log, from first on, has every
// entry; it has one made if there is none, as for a state machine on disk, or if
// what there was is damaged.
func (g *Group) snapshotCovering(ctx context.Context, first raft.Index) (snapshot.Info, error) {
	if info, ok := g.node.store.Newest(g.cfg.ID); ok && info.Meta.ID.Index+1 >= first {
		return info, nil
	}
	type answer struct {
		info snapshot.Info
		err  error
	}
	answers := make(chan answer, 1)
	g.node.applies.addFunc(g.machine, func() {
		g.pictured(func(info snapshot.Info, err error) { answers <- answer{info, err} })
	}, func() { answers <- answer{err: ErrClosed} })
	select {
	case a := <-answers:
		return a.info, a.err
	case <-ctx.Done():
		return snapshot.Info{}, ctx.Err()
	}
}

// ReceiveSnapshot begins to store a snapshot that a peer sends.
func (h *handler) ReceiveSnapshot(_ context.Context, offer transport.SnapshotOffer) (transport.SnapshotSink, error) {
	n := (*Node)(h)
	g := n.group(offer.Group)
	if g == nil {
		return nil, fmt.Errorf("%w: %d was not started on node %d", ErrUnknownGroup, offer.Group, n.cfg.ID)
	}
	if !g.receiving.TryLock() {
		return nil, fmt.Errorf("node %d is receiving another snapshot of group %d", n.cfg.ID, offer.Group)
	}
	r, err := n.store.Receive(offer.Group, offer.Meta, offer.ID, offer.Size)
	if err != nil {
		g.receiving.Unlock()
		return nil, err
	}
	s := &snapshotSink{group: g, offer: offer, receiver: r}
	s.signOfLife()
	return s, nil
}

// snapshotSink stores a transfer. Every now and then the core hears that its
// leader is alive (SN-06).
type snapshotSink struct {
	group    *Group
	offer    transport.SnapshotOffer
	receiver *snapshot.Receiver
	lastSign int64
	end      sync.Once
}

// Offset is where the transfer goes on.
func (s *snapshotSink) Offset() uint64 { return s.receiver.Offset() }

// Write stores the next bytes.
func (s *snapshotSink) Write(p []byte) (int, error) {
	n, err := s.receiver.Write(p)
	if now := s.group.node.now(); now-s.lastSign >= int64(s.group.node.cfg.HeartbeatInterval) {
		s.signOfLife()
	}
	return n, err
}

func (s *snapshotSink) signOfLife() {
	s.lastSign = s.group.node.now()
	s.group.deliver(transport.Envelope{Group: s.offer.Group, Message: raft.Message{
		From: s.offer.From, To: s.group.node.cfg.ID,
		Body: &raft.InstallSnapshot{Term: s.offer.Term, Round: s.offer.Round, Snapshot: s.offer.Meta},
	}})
}

// Finish makes the snapshot durable and hands it to the core, which decides
// whether it is put in force.
func (s *snapshotSink) Finish(ctx context.Context) error {
	var err error
	s.end.Do(func() { err = s.finish(ctx) })
	return err
}

func (s *snapshotSink) finish(ctx context.Context) error {
	g := s.group
	defer g.receiving.Unlock()
	info, err := s.receiver.Commit()
	if err != nil {
		return err
	}
	g.logger.Info("snapshot received", "from", uint64(s.offer.From), "id", info.Meta.ID.String(), "bytes", info.Size)
	handled := make(chan struct{})
	if !g.call(func() {
		g.replica.SnapshotReceived(s.offer.From, s.offer.Term, s.offer.Round, info.Meta, int64(info.Size), &g.out)
		close(handled)
	}) {
		return g.ended()
	}
	select {
	case <-handled:
		return g.err()
	case <-g.halted:
		return g.ended()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Abort keeps what came for the next attempt.
func (s *snapshotSink) Abort(err error) {
	s.end.Do(func() {
		defer s.group.receiving.Unlock()
		if closing := s.receiver.Abort(); closing != nil {
			err = errors.Join(err, closing)
		}
		s.group.logger.Warn("snapshot transfer broke off",
			slog.Uint64("from", uint64(s.offer.From)), slog.Any("error", err), slog.Uint64("stored", s.receiver.Offset()))
	})
}

// context gives one that ends with the node.
func (n *Node) context() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(n.life, cancel)
	return ctx, func() { stop(); cancel() }
}
