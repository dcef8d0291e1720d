package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/store/engine"
)

// batchBytesMax is the size at which a part of a batch of commands is committed
// on its own: with the index of its last command, it is a prefix like any other.
const batchBytesMax = 4 << 20

// A change is one put or deletion of the transaction at hand.
type change struct {
	key     []byte
	version version
	// lease is what the key was attached to before, existed whether it was there.
	lease   int64
	existed bool
	// prev is the version before the transaction, if the observer wants it.
	prev *KeyValue
}

// An applier applies commands to one engine batch. What the batch will write is
// seen through pending, all else through an iterator that was made before.
type applier struct {
	s     *Store
	state state
	batch engine.Batch
	it    engine.Iterator
	cur   cursor

	// pending are the versions that the batch adds, by key, the oldest first.
	pending map[string][]version
	cache   cache
	recent  recent
	// order are the keys of pending, of which the first sorted are in order.
	order  []string
	sorted int

	changes []change
	index   indexWriter
	at      uint64 // the index of the command at hand
	commits []Commit
	// leases are those granted and, with a TTL of 0, revoked, for who observes them.
	leases  []lease
	checks  []CheckRequest // to be told of at the next commit
	since   int            // counts the commands since the last commit
	keys    arena
	scratch []byte
	value   []byte
	put1    PutRequest
	// wants and wantsPrevs are what the observer wants.
	wants, wantsPrevs bool
}

func newApplier(s *Store) *applier {
	return &applier{s: s, batch: s.engine.NewBatch(), pending: make(map[string][]version), cache: newCache(cacheBytes), recent: newRecent(s.engine)}
}

// begin takes up the state as it was published.
func (a *applier) begin() {
	a.state = *a.s.published.Load()
	a.ask()
}

// ask hears from the observer what it wants of the commits to come.
func (a *applier) ask() {
	if a.s.observer != nil {
		a.wants, a.wantsPrevs = a.s.observer.Wants()
	}
}

// entry applies one command.
func (a *applier) entry(e *rsm.Entry) error {
	if uint64(e.Index) <= a.state.applied {
		return fmt.Errorf("store: entry %d was applied already, up to %d", e.Index, a.state.applied)
	}
	var data []byte
	cmd, err := a.decode(e.Command)
	if _, revokes := cmd.(*LeaseRevokeRequest); revokes && len(a.pending) > 0 {
		// Which keys are attached is read from the engine, so what is pending goes
		// there first.
		if err := a.commit(); err != nil {
			return err
		}
	}
	a.at = uint64(e.Index)
	a.since++
	a.state.observe(uint64(e.Term), e.Timestamp)
	switch {
	case errors.Is(err, ErrUnknownVersion):
		return err
	case err != nil:
		data = refusal(CodeInvalid)
	default:
		data, err = a.command(cmd)
		var refused *Error
		if errors.As(err, &refused) {
			a.rollback()
			data, err = refusal(refused.Code), nil
		}
		if err != nil {
			return err
		}
	}
	a.state.applied = a.at
	e.Result = rsm.Result{Value: uint64(a.state.revision), Data: data}
	if a.batch.Size() >= batchBytesMax {
		return a.commit()
	}
	return nil
}

// decode spares the commonest command an allocation.
func (a *applier) decode(b []byte) (Command, error) {
	if len(b) > 2 && b[0] == commandVersion && kind(b[1]) == kindPut {
		r := reader{b: b[2:]}
		r.put(&a.put1)
		if !r.done() {
			return nil, ErrBadCommand
		}
		return &a.put1, nil
	}
	return DecodeCommand(b)
}

func (a *applier) executor() executor {
	return executor{answerer: answerer{src: a, current: a.state.revision, compacted: a.state.compacted}, w: a}
}

// command does a command and gives its result's data. An *Error leaves changes to
// be rolled back and nothing else.
func (a *applier) command(cmd Command) ([]byte, error) {
	if err := a.alarmed(cmd); err != nil {
		return nil, err
	}
	x := a.executor()
	switch c := cmd.(type) {
	case *PutRequest:
		if err := x.checkPut(c); err != nil {
			return nil, err
		}
		if !c.PrevKV && !c.IgnoreValue && !c.IgnoreLease {
			if err := a.put(c.Key, c.Value, c.Lease); err != nil {
				return nil, err
			}
			return nil, a.end()
		}
		resp, err := x.put(c)
		if err != nil {
			return nil, err
		}
		return resp.appendData(nil), a.end()
	case *DeleteRangeRequest:
		resp, err := x.deleteRange(c)
		if err != nil {
			return nil, err
		}
		return resp.appendData(nil), a.end()
	case *TxnRequest:
		resp, err := x.txn(c)
		if err != nil {
			return nil, err
		}
		return resp.appendData(nil), a.end()
	case *CompactRequest:
		return nil, a.compact(c)
	case *LeaseGrantRequest:
		resp, err := a.grant(c)
		if err != nil {
			return nil, err
		}
		return resp.appendData(nil), nil
	case *LeaseRevokeRequest:
		if c.Term != 0 && c.Term != a.state.term {
			return nil, ErrInvalid
		}
		return nil, a.revoke(c.ID)
	case *LeaseCheckpointRequest:
		if c.Term != 0 && c.Term != a.state.term {
			return nil, ErrInvalid
		}
		a.checkpoint(c)
		return nil, nil
	case *LeaseRenewRequest:
		a.renew(c)
		return nil, nil
	case *AlarmRequest:
		return a.alarm(c).appendData(nil), nil
	case *PublishRequest:
		a.publish(&c.Member)
		return nil, nil
	case *CheckRequest:
		a.check(c)
		return nil, nil
	}
	return nil, ErrInvalid
}

// compact takes effect with the next read; what it supersedes is deleted from
// the engine later, see reclaim.go.
func (a *applier) compact(c *CompactRequest) error {
	switch {
	case c.Revision <= a.state.compacted:
		return ErrCompacted
	case c.Revision > a.state.revision:
		return ErrFutureRev
	}
	a.state.compacted = c.Revision
	a.hash('c', uint64(c.Revision))
	return nil
}

// hash adds an effect other than a key's change to the chain.
func (a *applier) hash(what byte, words ...uint64) {
	h := hashWord(a.state.hash, uint64(what))
	for _, w := range words {
		h = hashWord(h, w)
	}
	a.state.hash = h
}

// end ends a transaction whose changes, if there are any, are one revision.
func (a *applier) end() error {
	if len(a.changes) == 0 {
		return nil
	}
	if a.state.revision == maxRevision {
		return errors.New("store: there are no more revisions")
	}
	a.state.revision++
	for i := range a.changes {
		a.write(&a.changes[i])
	}
	a.index.revision(a.state.revision, a.at, a.changes)
	if len(a.index.buf) >= indexRecordBytes {
		a.writeIndex()
	}
	if a.wants {
		a.record()
	}
	a.changes = a.changes[:0]
	return nil
}

// write puts a change into the batch.
func (a *applier) write(c *change) {
	v := &c.version
	a.state.hash = hashVersion(a.state.hash, c.key, v)
	a.scratch = appendVersionKey(a.scratch[:0], c.key, v.main, v.sub)
	a.value = appendVersion(a.value[:0], v)
	a.batch.Set(a.scratch, a.value)
	a.state.bytes += v.size(c.key)
	switch {
	case v.deleted:
		a.state.keys--
	case !c.existed:
		a.state.keys++
	}
	if c.lease == v.lease {
		return
	}
	if c.lease != 0 {
		a.scratch = appendLeaseKeyKey(a.scratch[:0], c.lease, c.key)
		a.batch.Delete(a.scratch)
	}
	if v.lease != 0 {
		a.scratch = appendLeaseKeyKey(a.scratch[:0], v.lease, c.key)
		a.batch.Set(a.scratch, nil)
	}
}

func (a *applier) writeIndex() {
	if a.index.empty() {
		return
	}
	a.scratch = appendRevisionKey(a.scratch[:0], a.index.last)
	a.batch.Set(a.scratch, a.index.buf)
	a.index.close()
}

// record keeps the transaction's events for the observer. Commands do not
// outlive Apply, so keys and values are copied.
func (a *applier) record() {
	events := make([]Event, len(a.changes))
	var copies arena
	for i := range a.changes {
		c := &a.changes[i]
		if c.version.deleted {
			events[i] = Event{Type: EventDelete, KV: KeyValue{Key: copies.copy(c.key), ModRevision: c.version.main}, Prev: c.prev}
			continue
		}
		kv := c.version.keyValue(copies.copy(c.key))
		kv.Value = copies.copy(kv.Value)
		events[i] = Event{KV: kv}
		if kv.CreateRevision != kv.ModRevision {
			events[i].Prev = c.prev
		}
	}
	a.commits = append(a.commits, Commit{Revision: a.state.revision, Events: events, Prevs: a.wantsPrevs})
}

// rollback takes the changes of a refused transaction back.
func (a *applier) rollback() {
	for i := len(a.changes) - 1; i >= 0; i-- {
		key := string(a.changes[i].key)
		// An empty list is as good as none.
		a.pending[key] = a.pending[key][:len(a.pending[key])-1]
	}
	a.changes = a.changes[:0]
}

// commit commits the batch and publishes it.
func (a *applier) commit() error {
	a.writeIndex()
	a.value = a.state.appendTo(a.value[:0])
	a.batch.Set(stateKey, a.value)
	if err := a.batch.Commit(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	st := a.state
	if a.s.clocks != nil && a.since > 0 && len(a.s.side.leases) > 0 {
		a.s.clocks.ClockMoved(st.term)
	}
	a.since = 0
	a.s.published.Store(&st)
	for _, l := range a.leases {
		if l.ttl > 0 {
			a.s.leases.LeaseGranted(l.id, l.ttl)
		} else {
			a.s.leases.LeaseRevoked(l.id)
		}
	}
	a.leases = a.leases[:0]
	for _, c := range a.checks {
		if c.Member == 0 {
			a.s.checks.Sampled(c.Sample, c.Hash)
		} else {
			a.s.checks.Reported(c.Sample, c.Member, c.Hash)
		}
	}
	a.checks = a.checks[:0]
	if a.s.observer != nil {
		a.s.observer.Committed(st.revision, st.compacted, a.commits)
		a.ask()
	}
	a.commits = nil
	for key, versions := range a.pending {
		if n := len(versions); n > 0 {
			a.scratch = append(a.scratch[:0], key...)
			a.cache.put(a.scratch, versions[n-1].known())
			a.recent.add(a.scratch, st.applied)
		}
	}
	clear(a.pending)
	a.order, a.sorted = a.order[:0], 0
	a.keys = arena{}
	return errors.Join(a.release(), a.recent.committed())
}

// forget drops all that the applier remembers of the store.
func (a *applier) forget() error {
	a.cache = newCache(2 * a.cache.limit)
	return a.recent.forget()
}

// release gives the iterator up.
func (a *applier) release() error {
	if a.it == nil {
		return nil
	}
	err := a.it.Close()
	a.it, a.cur.it = nil, nil
	return err
}

func (a *applier) open() error {
	if a.it != nil {
		return nil
	}
	lower, upper := everything.bounds()
	it, err := a.s.engine.NewIterator(lower, upper)
	if err != nil {
		return err
	}
	a.it, a.cur.it = it, it
	return nil
}

// newest gives the last of the versions that is not newer than revision.
func newest(versions []version, revision int64) (version, bool) {
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].main <= revision {
			return versions[i], true
		}
	}
	return version{}, false
}

func (a *applier) get(key []byte, revision int64) (version, bool, error) {
	if v, ok := newest(a.pending[string(key)], revision); ok {
		return v, !v.deleted, nil
	}
	if err := a.open(); err != nil {
		return version{}, false, err
	}
	return a.cur.get(key, revision)
}

// getMeta is answered from the cache. Nothing is written yet by the transaction.
func (a *applier) getMeta(key []byte, _ int64) (version, bool, error) {
	k, ok, err := a.latest(key)
	return version{main: k.main, create: k.create, version: k.version, lease: k.lease}, ok, err
}

func (a *applier) scan(r keyRange, revision int64, visit func(key []byte, v *version) bool) error {
	if r.empty() {
		return nil
	}
	if err := a.open(); err != nil {
		return err
	}
	key, v, ok, err := a.cur.first(r, revision)
	ok = ok && r.contains(key)
	for _, pending := range a.pendingIn(r) {
		p, added := newest(a.pending[pending], revision)
		if !added {
			continue
		}
		for ok && string(key) < pending {
			if !visit(key, &v) {
				return nil
			}
			key, v, ok, err = a.cur.next(revision)
			ok = ok && r.contains(key)
		}
		if ok && string(key) == pending {
			key, v, ok, err = a.cur.next(revision)
			ok = ok && r.contains(key)
		}
		if err != nil {
			return err
		}
		if !p.deleted && !visit([]byte(pending), &p) {
			return nil
		}
	}
	for ok && visit(key, &v) {
		key, v, ok, err = a.cur.next(revision)
		ok = ok && r.contains(key)
	}
	return err
}

// pendingIn gives the keys of pending within r, in order.
func (a *applier) pendingIn(r keyRange) []string {
	if a.sorted < len(a.order) {
		slices.Sort(a.order)
		a.sorted = len(a.order)
	}
	from, _ := slices.BinarySearch(a.order, string(r.key))
	to := len(a.order)
	if !r.open() {
		to, _ = slices.BinarySearch(a.order, string(r.end))
	}
	return a.order[from:max(from, to)]
}

func (a *applier) changed() int { return len(a.changes) }

// add makes a change. The key is kept as it is until Apply returns.
func (a *applier) add(c change) {
	c.version.main = a.state.revision + 1
	c.version.sub = uint32(len(a.changes))
	a.changes = append(a.changes, c)
	versions, ok := a.pending[string(c.key)]
	if !ok {
		key := string(c.key)
		a.order = append(a.order, key)
		a.pending[key] = append(make([]version, 0, 1), c.version)
		return
	}
	a.pending[string(c.key)] = append(versions, c.version)
}

func (a *applier) put(key, value []byte, lease int64) error {
	old, existed, err := a.latest(key)
	if err != nil {
		return err
	}
	c := change{key: key, version: version{create: a.state.revision + 1, version: 1, lease: lease, value: value}}
	if existed {
		c.existed, c.lease = true, old.lease
		c.version.create, c.version.version = old.create, old.version+1
		if c.prev, err = a.prev(key); err != nil {
			return err
		}
	}
	a.add(c)
	return nil
}

// prev copies, if it is wanted, the version that key had before the transaction.
func (a *applier) prev(key []byte) (*KeyValue, error) {
	if !a.wantsPrevs {
		return nil, nil
	}
	v, ok, err := a.get(key, a.state.revision)
	if !ok || err != nil {
		return nil, err
	}
	kv := v.keyValue(bytes.Clone(key))
	kv.Value = bytes.Clone(kv.Value)
	return &kv, nil
}

func (a *applier) remove(key []byte) error {
	old, existed, err := a.latest(key)
	if err != nil || !existed {
		return err
	}
	c := change{key: key, version: version{deleted: true}, existed: true, lease: old.lease}
	if c.prev, err = a.prev(key); err != nil {
		return err
	}
	a.add(c)
	return nil
}

// alarmed refuses what may not be done while an alarm is raised.
func (a *applier) alarmed(cmd Command) error {
	if a.s.side.corrupt > 0 {
		switch cmd.(type) {
		case *PutRequest, *DeleteRangeRequest, *TxnRequest, *CompactRequest, *LeaseGrantRequest, *LeaseRevokeRequest:
			return ErrCorrupt
		}
	}
	if a.s.side.noSpace > 0 {
		switch c := cmd.(type) {
		case *PutRequest, *LeaseGrantRequest:
			return ErrNoSpace
		case *TxnRequest:
			if c.puts() {
				return ErrNoSpace
			}
		}
	}
	return nil
}

func (a *applier) alarm(c *AlarmRequest) *AlarmResponse {
	side := &a.s.side
	resp := &AlarmResponse{}
	al := Alarm{Member: c.Member, Type: c.Alarm}
	switch c.Action {
	case AlarmGet:
		resp.Alarms = side.listAlarms(c.Alarm)
	case AlarmActivate:
		if c.Alarm == AlarmNone {
			break
		}
		if side.setAlarm(al, true) {
			a.batch.Set(appendAlarmKey(nil, al), nil)
			a.hash('A', al.Member, uint64(al.Type))
		}
		resp.Alarms = []Alarm{al}
	case AlarmDeactivate:
		if side.setAlarm(al, false) {
			a.batch.Delete(appendAlarmKey(nil, al))
			a.hash('D', al.Member, uint64(al.Type))
			resp.Alarms = []Alarm{al}
		}
	}
	return resp
}

func (a *applier) publish(m *Member) {
	own := Member{ID: m.ID, Name: strings.Clone(m.Name), ClientURLs: slices.Clone(m.ClientURLs)}
	record := own.appendTo([]byte{recordVersion})
	a.s.side.setMember(own)
	a.batch.Set(appendMemberKey(nil, m.ID), record)
	a.state.hash = hashBytes(hashWord(a.state.hash, 'p'), bytes.Clone(record))
}

// check notes what is to be told of once it is committed: a sample as one without a
// member.
func (a *applier) check(c *CheckRequest) {
	switch {
	case a.s.checks == nil:
	case c.Sample == 0:
		a.checks = append(a.checks, CheckRequest{Sample: a.at, Hash: a.state.hash})
	case c.Member != 0:
		a.checks = append(a.checks, *c)
	}
}
