package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quorate/quorate/internal/replica"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport"
)

// A replica that does not lead forwards proposals to the one that does, if its
// group is configured so. The leader treats them as its own and answers each. An
// answer can be lost with the connection, so a forwarded proposal is answered
// here with an unknown outcome as soon as the leader or the way to it changes.
//
// A Forward, integers little-endian:
//
//	 0      1      2      10     18     22
//	+------+------+------+------+------+---------
//	| vers | kind | life | term | count| items ...
//	+------+------+------+------+------+---------
//
//	kind 1, proposals, per item: id u64 | length u32 | command
//	kind 2, answers,   per item: id u64 | outcome u8 | value u64 | length u32 | data
//
// life is a number drawn by the forwarder when it started the group; its ids rise
// from 1. The leader takes an id of a life once. It remembers the ids for as long
// as its process lives, so of what was meant for a leader of a term that it had
// seen when it started it takes nothing and says nothing: an earlier process on
// this node may have taken it.
const (
	forwardVersion  = 2
	forwardHeader   = 22
	forwardCount    = 18
	kindProposals   = 1
	kindAnswers     = 2
	proposalHeader  = 12
	answerHeader    = 21
	maxForwardLives = 16
)

// forwarding is a group's forwarded proposals. Used by the worker's goroutine
// alone.
type forwarding struct {
	life uint64
	next uint64
	// born is the term at which this process started the group.
	born raft.Term
	// to is the leadership that sent were forwarded under.
	to   replica.Leadership
	sent map[uint64]*proposal
	// taken is the newest id taken of each forwarder's recent lives.
	taken map[raft.NodeID][]forwardLife
}

type forwardLife struct{ life, last uint64 }

// forwardedAnswer is the outcome of a proposal that was forwarded to this node.
type forwardedAnswer struct {
	to      raft.NodeID
	life    uint64
	id      uint64
	outcome replica.Outcome
	result  rsm.Result
}

// remote is a proposal that another node forwarded.
type remote struct {
	group   *Group
	command []byte
	answer  forwardedAnswer
}

// Command gives the bytes to replicate.
func (p *remote) Command() []byte { return p.command }

// Done sends the outcome back.
func (p *remote) Done(outcome replica.Outcome, result rsm.Result) {
	g := p.group
	g.pendingBytes.Add(-proposalSize(p.command))
	p.answer.outcome, p.answer.result = outcome, result
	w := g.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if !g.released() {
		g.inbox.answers = append(g.inbox.answers, p.answer)
		w.enqueue(g)
	}
}

// forward sends proposals to the leader. They were taken from their callers, and
// are answered certainly not applied if there is nobody to send them to, or no
// connection: what is given to a transport without one may be sent later, or not.
func (g *Group) forward(batch []replica.Proposal) {
	f, l := &g.forwards, *g.leadership.Load()
	if _, lost := g.node.unreachable.Load(l.Leader); lost || l.Leader == raft.None || l.Leader == g.node.cfg.ID {
		for _, p := range batch {
			p.Done(replica.NotLeader, rsm.Result{})
		}
		return
	}
	f.to = l
	size := 0
	for _, p := range batch {
		size += proposalHeader + len(p.Command())
	}
	size = min(size, g.node.cfg.MaxBatchBytes)
	b := startForward(kindProposals, f.life, l.Term, size)
	count := 0
	flush := func() {
		if count > 0 {
			g.sendForward(l.Leader, b, count)
		}
	}
	for _, each := range batch {
		p := each.(*proposal)
		if len(b)+len(p.command) > g.node.cfg.MaxBatchBytes {
			flush()
			b, count = startForward(kindProposals, f.life, l.Term, size), 0
		}
		f.next++
		f.sent[f.next] = p
		b = binary.LittleEndian.AppendUint64(b, f.next)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p.command)))
		b = append(b, p.command...)
		count++
	}
	flush()
	appended(batch)
	g.armForwardTimer()
}

// startForward begins one that has room for items of so many bytes.
func startForward(kind byte, life uint64, term raft.Term, size int) []byte {
	b := append(make([]byte, 0, forwardHeader+size), forwardVersion, kind)
	b = binary.LittleEndian.AppendUint64(b, life)
	b = binary.LittleEndian.AppendUint64(b, uint64(term))
	return binary.LittleEndian.AppendUint32(b, 0)
}

func (g *Group) sendForward(to raft.NodeID, b []byte, count int) {
	binary.LittleEndian.PutUint32(b[forwardCount:], uint32(count))
	g.out.Send = append(g.out.Send, transport.Envelope{
		Group: g.cfg.ID, Message: raft.Message{From: g.node.cfg.ID, To: to}, Forward: b,
	})
}

// sendAnswers tells forwarders what became of their proposals.
func (g *Group) sendAnswers(answers []forwardedAnswer) {
	for len(answers) > 0 {
		to, life, count := answers[0].to, answers[0].life, 0
		b := startForward(kindAnswers, life, 0, min(len(answers)*(answerHeader+len(answers[0].result.Data)), g.node.cfg.MaxBatchBytes))
		for len(answers) > 0 && answers[0].to == to && answers[0].life == life && (count == 0 || len(b)+len(answers[0].result.Data) <= g.node.cfg.MaxBatchBytes) {
			a := &answers[0]
			b = binary.LittleEndian.AppendUint64(b, a.id)
			b = append(b, byte(a.outcome))
			b = binary.LittleEndian.AppendUint64(b, a.result.Value)
			b = binary.LittleEndian.AppendUint32(b, uint32(len(a.result.Data)))
			b = append(b, a.result.Data...)
			count++
			answers = answers[1:]
		}
		g.sendForward(to, b, count)
	}
}

// receiveForward takes forwarded proposals, or answers to those of this node.
func (g *Group) receiveForward(from raft.NodeID, b []byte) error {
	kind, life, term, items, err := decodeForward(b)
	if err != nil {
		return err
	}
	if kind == kindAnswers {
		g.takeAnswers(life, items)
		return nil
	}
	if term <= g.forwards.born {
		return nil // perhaps taken before; the forwarder is about to hear of a newer term
	}
	batch := make([]replica.Proposal, 0, len(items))
	remotes := make([]remote, len(items)) // one allocation for all
	for i, item := range items {
		if !g.forwards.first(from, life, item.id) {
			continue
		}
		p := &remotes[i]
		*p = remote{group: g, command: item.data, answer: forwardedAnswer{to: from, life: life, id: item.id}}
		if g.pendingBytes.Add(proposalSize(p.command)) > int64(g.node.cfg.MaxPendingBytes) || len(p.command) > g.node.cfg.MaxEntryBytes {
			p.Done(replica.Overloaded, rsm.Result{})
			continue
		}
		batch = append(batch, p)
	}
	g.replica.Propose(g.takeQuestions(batch), &g.out)
	return nil
}

// takeQuestions takes out, in place, what is to be answered and not appended.
func (g *Group) takeQuestions(all []replica.Proposal) []replica.Proposal {
	if g.cfg.Answer == nil {
		return all
	}
	kept := all[:0]
	for _, p := range all {
		answer := g.cfg.Answer(p.Command())
		if answer == nil {
			kept = append(kept, p)
			continue
		}
		if own, ok := p.(*proposal); ok {
			own.state.Store(encoded) // its caller may leave
		}
		answer(func(result rsm.Result, ok bool) {
			outcome := replica.Applied
			if !ok {
				outcome = replica.NotLeader
			}
			p.Done(outcome, result)
		})
	}
	clear(all[len(kept):])
	return kept
}

// first reports whether an id was not taken before. Ids of a life arrive in
// order; one that comes late is dropped, and its forwarder told nothing.
func (f *forwarding) first(from raft.NodeID, life, id uint64) bool {
	lives := f.taken[from]
	for i := range lives {
		if lives[i].life == life {
			if id <= lives[i].last {
				return false
			}
			lives[i].last = id
			return true
		}
	}
	if len(lives) == maxForwardLives {
		lives = lives[1:]
	}
	f.taken[from] = append(lives, forwardLife{life, id})
	return true
}

func (g *Group) takeAnswers(life uint64, items []forwardItem) {
	f := &g.forwards
	if life != f.life {
		return // to a life before this one
	}
	for _, item := range items {
		if p := f.sent[item.id]; p != nil {
			delete(f.sent, item.id)
			p.Done(item.outcome, rsm.Result{Value: item.value, Data: item.data})
		}
	}
}

// abandonForwards answers everything that was forwarded: the leader or the way to
// it is gone, and an answer may be lost with it.
func (g *Group) abandonForwards() {
	for id, p := range g.forwards.sent {
		delete(g.forwards.sent, id)
		p.Done(replica.Unknown, rsm.Result{})
	}
}

// armForwardTimer bounds the wait for answers that were lost without a sign.
func (g *Group) armForwardTimer() {
	if slot := &g.timers.slots[forwardSlot]; slot.deadline == 0 && len(g.forwards.sent) > 0 {
		slot.deadline = g.node.now() + forwardPatience*int64(g.node.cfg.ElectionTimeout)
		slot.generation = g.forwards.next
		g.worker.timers.fix(g)
	}
}

// forwardPatience is how many election timeouts an answer may take.
const forwardPatience = 10

// forwardsExpired answers what was forwarded before the timer was armed.
func (g *Group) forwardsExpired(upTo uint64) {
	for id, p := range g.forwards.sent {
		if id <= upTo {
			delete(g.forwards.sent, id)
			p.Done(replica.Unknown, rsm.Result{})
		}
	}
	g.armForwardTimer()
}

// forwardItem is a proposal or an answer.
type forwardItem struct {
	id      uint64
	outcome replica.Outcome
	value   uint64
	data    []byte
}

var errForward = errors.New("node: malformed forward")

// decodeForward reads a Forward. The items' data alias b.
func decodeForward(b []byte) (kind byte, life uint64, term raft.Term, items []forwardItem, err error) {
	if len(b) < forwardHeader {
		return 0, 0, 0, nil, fmt.Errorf("%w: %d bytes", errForward, len(b))
	}
	kind, life, term = b[1], binary.LittleEndian.Uint64(b[2:]), raft.Term(binary.LittleEndian.Uint64(b[10:]))
	if b[0] != forwardVersion || (kind != kindProposals && kind != kindAnswers) {
		return 0, 0, 0, nil, fmt.Errorf("%w: version %d, kind %d", errForward, b[0], kind)
	}
	count := int(binary.LittleEndian.Uint32(b[forwardCount:]))
	header := proposalHeader
	if kind == kindAnswers {
		header = answerHeader
	}
	b = b[forwardHeader:]
	if count > len(b)/header {
		return 0, 0, 0, nil, fmt.Errorf("%w: %d items in %d bytes", errForward, count, len(b))
	}
	items = make([]forwardItem, 0, count)
	for range count {
		if len(b) < header {
			return 0, 0, 0, nil, fmt.Errorf("%w: ends early", errForward)
		}
		item := forwardItem{id: binary.LittleEndian.Uint64(b)}
		if kind == kindAnswers {
			item.outcome = replica.Outcome(b[8])
			item.value = binary.LittleEndian.Uint64(b[9:])
			if item.outcome < replica.Applied || item.outcome > replica.Stopped {
				return 0, 0, 0, nil, fmt.Errorf("%w: outcome %d", errForward, item.outcome)
			}
		}
		n := binary.LittleEndian.Uint32(b[header-4:])
		b = b[header:]
		if uint64(n) > uint64(len(b)) {
			return 0, 0, 0, nil, fmt.Errorf("%w: item of %d bytes, %d are there", errForward, n, len(b))
		}
		item.data = b[:n:n]
		b = b[n:]
		items = append(items, item)
	}
	if len(b) > 0 {
		return 0, 0, 0, nil, fmt.Errorf("%w: %d bytes too many", errForward, len(b))
	}
	return kind, life, term, items, nil
}

// proposalSize is what a command counts toward MaxPendingBytes: its bytes and a
// little for what stands around it.
func proposalSize(command []byte) int64 { return int64(len(command)) + 64 }
