package replica

import (
	"slices"

	"github.com/quorate/quorate/raft"
)

// reads are linearizable reads on their way (§6.4): first an index from the
// leader, then the wait until it is applied here.
type reads struct {
	next raft.ReadID
	// arrived wait to be asked for, asked for an index, confirmed for their index
	// to be applied; all in order of arrival.
	arrived   []Reader
	asked     []readBatch
	confirmed []readBatch
	// timer is the generation of the armed retry timer; zero if none runs.
	timer, timers uint64
}

// maxAsked is how many batches are asked for at a time. While one is confirmed by
// the leader's round the next waits there already; what arrives meanwhile shares
// the one after. More would be a message for each read, on its way to wait for the
// same rounds.
const maxAsked = 2

// A readBatch is the reads that share one read index.
type readBatch struct {
	id      raft.ReadID
	index   raft.Index
	readers []Reader
}

// Read lets readers wait for a linearizable read at this replica. They share one
// read index, asked for after all of them arrived (RD-04).
func (r *Replica) Read(readers []Reader, out *Output) {
	if len(readers) == 0 {
		return
	}
	if r.core == nil {
		for _, reader := range readers {
			reader.Ready(NotReady)
		}
		return
	}
	r.reads.arrived = append(r.reads.arrived, readers...)
	r.settle(out)
}

// askArrived asks for an index for what arrived, if it is time to.
func (r *Replica) askArrived(out *Output) {
	q := &r.reads
	for len(q.arrived) > 0 && len(q.asked) < maxAsked {
		readers := q.arrived
		q.arrived = nil
		r.ask(readers, out)
	}
}

func (r *Replica) ask(readers []Reader, out *Output) {
	q := &r.reads
	id := q.next
	q.next++
	q.asked = append(q.asked, readBatch{id: id, readers: readers})
	r.step(&raft.ReadIndex{Read: id}, out)
	q.setTimer(out)
}

// setTimer lets what is asked for be asked again if no answer comes.
func (q *reads) setTimer(out *Output) {
	if len(q.asked) > 0 && q.timer == 0 {
		q.timers++
		q.timer = q.timers
		out.Timers = append(out.Timers, raft.Timer{Kind: ReadRetryTimer, Generation: q.timer})
	}
}

// answerRead takes the core's answer. A refusal is not passed on: there may be a
// leader before the reader's patience ends, so it is asked again.
func (r *Replica) answerRead(answer raft.ReadState, _ *Output) {
	if answer.Refused != 0 {
		return
	}
	q := &r.reads
	for i := range q.asked {
		if q.asked[i].id != answer.Read {
			continue
		}
		batch := q.asked[i]
		q.asked = append(q.asked[:i], q.asked[i+1:]...)
		batch.index = answer.Index
		if r.handover.applied >= batch.index {
			batch.done(Applied)
		} else {
			q.confirmed = append(q.confirmed, batch)
		}
		return
	}
}

// retryReads asks again for everything that has no index yet: the request, the
// answer or the leader was lost, or is slow. A batch keeps its name, and takes
// whichever answer comes first: its readers had all arrived before it was asked for
// the first time (RD-04). Under another name it would not know an answer that is
// under way, and where that always takes longer than the timer, never have one.
func (r *Replica) retryReads(generation uint64, out *Output) {
	q := &r.reads
	if generation != q.timer {
		return
	}
	q.timer = 0
	q.dismiss()
	ids := make([]raft.ReadID, 0, maxAsked)
	for i := range q.asked {
		ids = append(ids, q.asked[i].id)
	}
	for _, id := range ids {
		r.step(&raft.ReadIndex{Read: id}, out)
	}
	q.setTimer(out)
}

// dismiss lets readers go that wait no more, and have no index yet.
func (q *reads) dismiss() {
	gone := func(reader Reader) bool {
		if !reader.Abandoned() {
			return false
		}
		reader.Ready(Unknown)
		return true
	}
	q.arrived = slices.DeleteFunc(q.arrived, gone)
	for i := range q.asked {
		q.asked[i].readers = slices.DeleteFunc(q.asked[i].readers, gone)
	}
	q.asked = slices.DeleteFunc(q.asked, func(batch readBatch) bool { return len(batch.readers) == 0 })
}

// applied lets the reads go whose index is applied.
func (q *reads) applied(index raft.Index) {
	kept := q.confirmed[:0]
	for _, batch := range q.confirmed {
		if batch.index <= index {
			batch.done(Applied)
		} else {
			kept = append(kept, batch)
		}
	}
	clear(q.confirmed[len(kept):])
	q.confirmed = kept
}

func (q *reads) failAll(outcome Outcome) {
	for _, batch := range q.asked {
		batch.done(outcome)
	}
	for _, batch := range q.confirmed {
		batch.done(outcome)
	}
	for _, reader := range q.arrived {
		reader.Ready(outcome)
	}
	q.asked, q.confirmed, q.arrived = nil, nil, nil
}

func (b *readBatch) done(outcome Outcome) {
	for _, reader := range b.readers {
		reader.Ready(outcome)
	}
}
