package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// PebbleOptions says how records are kept. Zero fields mean the default.
type PebbleOptions struct {
	// Split gives the prefix of a key. Needed.
	Split SplitFunc
	// FS is the file system; the operating system's by default.
	FS vfs.FS
	// Logger hears what Pebble has to say; nobody by default.
	Logger *slog.Logger
	// MemTableBytes is how much is collected in memory before it is written out,
	// 64 MiB by default. MemTables is how many such may wait for the disk before
	// commits do, 4 by default.
	MemTableBytes uint64
	MemTables     int
	// CacheBytes is for blocks read from disk, 256 MiB by default.
	CacheBytes int64
	// Compactions is how many may run at once; by default half the processors, and
	// at least one.
	Compactions int
}

// WithDefaults fills in the defaults.
func (o PebbleOptions) WithDefaults() PebbleOptions {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 64 << 20
	}
	if o.MemTables == 0 {
		o.MemTables = 4
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 256 << 20
	}
	if o.Compactions == 0 {
		o.Compactions = max(1, runtime.GOMAXPROCS(0)/2)
	}
	return o
}

// Pebble keeps records in a directory, with Pebble's own log off: a commit is in
// memory until Pebble writes it out, and a crash takes the newest commits. It
// never ends the process; what Pebble calls fatal makes the engine fail.
type Pebble struct {
	db    *pebble.DB
	cache *pebble.Cache
	opt   PebbleOptions
	gate  *gate
	log   *pebbleLog

	stalls           atomic.Int64
	backgroundErrors atomic.Int64
	pressure         pressure
}

// comparerName is kept in the files: a directory opens with no other order.
const comparerName = "quorate.store.v1"

// l0FileBytes keeps the number of files, and the cost of finding a key among
// them, low.
const l0FileBytes = 16 << 20

// l0Compaction is how many layers of tables there may be above the base level before
// they are merged into it, which rewrites it when keys are random: twice Pebble's
// number, for half as much of that. A lookup asks the filter of each layer, a scan
// merges them.
const l0Compaction = 8

// OpenPebble opens the engine in dir and makes it if there is none.
func OpenPebble(dir string, opt PebbleOptions) (*Pebble, error) {
	opt = opt.WithDefaults()
	p := &Pebble{
		opt: opt, gate: newGate(), cache: pebble.NewCache(opt.CacheBytes),
		log:      &pebbleLog{logger: opt.Logger, dead: make(chan struct{})},
		pressure: pressure{eased: make(chan struct{}), closing: make(chan struct{})},
	}
	type opened struct {
		db  *pebble.DB
		err error
	}
	// Pebble flushes and compacts while it opens. On a disk that fails it would try
	// for ever, or take away what its own goroutines are still using, and bring the
	// process down: then it is left where it is.
	answer := make(chan opened, 1)
	go func() {
		db, err := pebble.Open(dir, p.options())
		answer <- opened{db, err}
	}()
	select {
	case o := <-answer:
		if o.err != nil {
			p.cache.Unref()
			return nil, fmt.Errorf("engine: open %s: %w", dir, errors.Join(o.err, p.log.failed()))
		}
		p.db = o.db
		p.log.opened.Store(true)
		return p, nil
	case <-p.log.dead:
		return nil, fmt.Errorf("engine: open %s: %w", dir, p.log.failed())
	}
}

func (p *Pebble) options() *pebble.Options {
	o := &pebble.Options{
		FS:                 guardFS{FS: p.opt.FS, log: p.log},
		Cache:              p.cache,
		Comparer:           comparer(p.opt.Split),
		DisableWAL:         true,
		FormatMajorVersion: pebble.FormatValueSeparation,
		Logger:             p.log,
		MemTableSize:       p.opt.MemTableBytes,
		// Commits wait in room, where they can be called off.
		MemTableStopWritesThreshold: p.opt.MemTables + pressureSlack,
		L0StopWritesThreshold:       l0Sublevels + 1000,
		L0CompactionThreshold:       l0Compaction,
		CompactionConcurrencyRange:  func() (int, int) { return 1, p.opt.Compactions },
		EventListener: &pebble.EventListener{
			BackgroundError: p.backgroundError,
			FlushEnd:        func(info pebble.FlushInfo) { p.ended(info.Err) },
			CompactionEnd:   func(info pebble.CompactionInfo) { p.ended(info.Err) },
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				p.log.fail(fmt.Errorf("engine: corrupt file %s: %w", info.Path, info.Details))
			},
		},
	}
	o.TargetFileSizes[0] = l0FileBytes
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// comparer orders keys as bytes and knows their prefixes.
func comparer(split SplitFunc) *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = comparerName
	c.Split = func(k []byte) int { return split(k) }
	c.ImmediateSuccessor = func(dst, prefix []byte) []byte {
		n := len(prefix)
		dst = append(dst, prefix...)
		// All keys with this prefix begin with it, so if there are longer ones the
		// successor must not.
		if n > 0 && prefix[n-1] != 0xff && split(append(prefix[:n:n], 0)) == n {
			dst[len(dst)-1]++
			return dst
		}
		return append(dst, 0)
	}
	return &c
}

// pebbleLog is Pebble's logger. It keeps what Pebble would die of.
type pebbleLog struct {
	logger *slog.Logger
	mu     sync.Mutex
	err    error
	dead   chan struct{} // closed with err set
	opened atomic.Bool
}

// survivable gives back an error that Pebble takes without harm. With any other the
// engine has failed, and it never returns: with one that is vital, and with any at
// all while the engine is being opened.
func (l *pebbleLog) survivable(err error, vital bool) error {
	if err != nil && (vital || !l.opened.Load()) {
		l.fail(err)
		never()
	}
	return err
}

// never does not return. Nobody waits for a goroutine of Pebble that ends here: its
// engine has failed, and is left where it is.
func never() { select {} }

func (l *pebbleLog) Infof(format string, args ...any) {
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.logger.Debug(fmt.Sprintf(format, args...))
	}
}

func (l *pebbleLog) Errorf(format string, args ...any) {
	l.logger.Warn(fmt.Sprintf(format, args...))
}

// Fatalf is called where Pebble expects the process to end. Pebble then returns
// an error or goes on in a state that nobody should trust, which failed sees to.
func (l *pebbleLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf("engine: "+format, args...)
	l.fail(err)
	_ = l.survivable(err, false)
}

func (l *pebbleLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		close(l.dead)
		l.logger.Error("the store's engine has failed for good", "error", err)
	}
}

func (l *pebbleLog) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Err says why the engine failed.
func (p *Pebble) Err() error { return p.log.failed() }

// enter begins a use of the database.
func (p *Pebble) enter() error {
	if err := p.gate.enter(); err != nil {
		return err
	}
	if err := p.log.failed(); err != nil {
		p.gate.leave()
		return err
	}
	return nil
}

// Get appends the value of key.
func (p *Pebble) Get(dst, key []byte) ([]byte, bool, error) {
	if err := p.enter(); err != nil {
		return dst, false, err
	}
	defer p.gate.leave()
	return getPebble(p.db, dst, key)
}

func getPebble(r pebble.Reader, dst, key []byte) ([]byte, bool, error) {
	value, closer, err := r.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return dst, false, nil
	case err != nil:
		return dst, false, err
	}
	dst = append(dst, value...)
	return dst, true, closer.Close()
}

// GetDurable reads tables alone, which are synced before they are put in force.
func (p *Pebble) GetDurable(dst, key []byte) ([]byte, bool, error) {
	if err := p.enter(); err != nil {
		return dst, false, err
	}
	defer p.gate.leave()
	it, err := p.db.NewIter(&pebble.IterOptions{
		LowerBound: key, UpperBound: append(bytes.Clone(key), 0), OnlyReadGuaranteedDurable: true,
	})
	if err != nil {
		return dst, false, err
	}
	found := it.First()
	if found {
		dst = append(dst, it.Value()...)
	}
	return dst, found, it.Close()
}

// NewIterator walks over the records as they are now.
func (p *Pebble) NewIterator(lower, upper []byte) (Iterator, error) {
	return p.iterate(p.db, pebble.IterOptions{LowerBound: lower, UpperBound: upper})
}

// NewDurableIterator walks over tables alone.
func (p *Pebble) NewDurableIterator(lower, upper []byte) (Iterator, error) {
	return p.iterate(p.db, pebble.IterOptions{LowerBound: lower, UpperBound: upper, OnlyReadGuaranteedDurable: true})
}

func (p *Pebble) iterate(r pebble.Reader, opt pebble.IterOptions) (Iterator, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	// A key that is not there would else cost a block of the largest level, where
	// Pebble does not look at filters by itself.
	opt.UseL6Filters = true
	it, err := r.NewIter(&opt)
	if err != nil {
		p.gate.leave()
		return nil, err
	}
	return &pebbleIterator{Iterator: it, p: p}, nil
}

type pebbleIterator struct {
	*pebble.Iterator
	p *Pebble
}

func (i *pebbleIterator) Close() error {
	err := i.Iterator.Close()
	i.p.gate.leave()
	return err
}

// NewSnapshot keeps the records as they are now.
func (p *Pebble) NewSnapshot() (Snapshot, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	return &pebbleSnapshot{p: p, snapshot: p.db.NewSnapshot()}, nil
}

type pebbleSnapshot struct {
	p        *Pebble
	snapshot *pebble.Snapshot
}

func (s *pebbleSnapshot) Get(dst, key []byte) ([]byte, bool, error) {
	if err := s.p.log.failed(); err != nil {
		return dst, false, err
	}
	return getPebble(s.snapshot, dst, key)
}

func (s *pebbleSnapshot) NewIterator(lower, upper []byte) (Iterator, error) {
	return s.p.iterate(s.snapshot, pebble.IterOptions{LowerBound: lower, UpperBound: upper})
}

func (s *pebbleSnapshot) Close() error {
	defer s.p.gate.leave()
	return s.p.patient(s.snapshot.Close)
}

// Flush starts to write out what is in memory.
func (p *Pebble) Flush() error {
	if err := p.enter(); err != nil {
		return err
	}
	defer p.gate.leave()
	_, err := p.db.AsyncFlush()
	return err
}

// Sync writes out what is in memory.
func (p *Pebble) Sync() error {
	if err := p.enter(); err != nil {
		return err
	}
	defer p.gate.leave()
	return p.flush()
}

// flush waits for a flush. After a failure Pebble would have it wait for ever.
func (p *Pebble) flush() error {
	flushed, err := p.db.AsyncFlush()
	if err != nil || flushed == nil {
		return err
	}
	select {
	case <-flushed:
	case <-p.log.dead:
	}
	return p.log.failed()
}

// Checkpoint flushes first, since a checkpoint has no memory in it and there is
// no log to put it in.
func (p *Pebble) Checkpoint(dir string) error {
	if err := p.enter(); err != nil {
		return err
	}
	defer p.gate.leave()
	if err := p.flush(); err != nil {
		return err
	}
	return p.patient(func() error { return p.db.Checkpoint(dir) })
}

// Metrics asks Pebble, which takes some microseconds.
func (p *Pebble) Metrics() Metrics {
	if err := p.enter(); err != nil {
		return Metrics{}
	}
	defer p.gate.leave()
	m, err := p.metrics()
	if err != nil {
		return Metrics{}
	}
	total := m.Total()
	return Metrics{
		DiskBytes:           m.DiskSpaceUsage(),
		MemoryBytes:         m.MemTable.Size,
		Files:               total.TablesCount,
		Flushes:             m.Flush.Count,
		Compactions:         m.Compact.Count,
		CompactionDebtBytes: m.Compact.EstimatedDebt,
		WriteStalls:         p.stalls.Load(),
		ReadAmplification:   m.ReadAmp(),
		CacheHits:           m.BlockCache.Hits,
		CacheMisses:         m.BlockCache.Misses,
		BackgroundErrors:    p.backgroundErrors.Load(),
	}
}

func (p *Pebble) metrics() (*pebble.Metrics, error) {
	found := make(chan *pebble.Metrics, 1) // who is left alone may still answer
	if err := p.patient(func() error { found <- p.db.Metrics(); return nil }); err != nil {
		return nil, err
	}
	return <-found, nil
}

// patient makes a call that needs Pebble's lock for manifests, which is held for ever
// when one could not be written. The call is left alone when the engine fails.
func (p *Pebble) patient(call func() error) error {
	answer := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if p.log.failed() != nil {
				// Pebble may be in a state of which it says that it cannot be.
				_ = recover()
			}
			answer <- err
		}()
		err = call()
	}()
	select {
	case err := <-answer:
		return errors.Join(err, p.log.failed())
	case <-p.log.dead:
		return p.log.failed()
	}
}

// Close waits for iterators and snapshots. An engine that has failed is left where it
// is, its lock on the directory included, until the process ends: its goroutines may be
// waiting for ever.
func (p *Pebble) Close() error {
	p.pressure.close()
	if !p.gate.close() {
		return nil
	}
	if err := p.log.failed(); err != nil {
		return err
	}
	err := p.patient(p.db.Close)
	if p.log.failed() == nil {
		p.cache.Unref()
	}
	return err
}

// NewBatch collects changes. It must be closed before the engine.
func (p *Pebble) NewBatch() Batch { return &pebbleBatch{p: p} }

type pebbleBatch struct {
	p *Pebble
	b *pebble.Batch
	// err is of a call that Pebble refused; Commit returns it.
	err error
}

func (b *pebbleBatch) batch() *pebble.Batch {
	if b.b == nil {
		b.b = b.p.db.NewBatch()
	}
	return b.b
}

func (b *pebbleBatch) keep(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *pebbleBatch) Set(key, value []byte) { b.keep(b.batch().Set(key, value, nil)) }
func (b *pebbleBatch) Delete(key []byte)     { b.keep(b.batch().Delete(key, nil)) }

func (b *pebbleBatch) DeleteRange(from, to []byte) {
	if bytes.Compare(from, to) < 0 {
		b.keep(b.batch().DeleteRange(from, to, nil))
	}
}

func (b *pebbleBatch) Size() int {
	if b.b == nil {
		return 0
	}
	return b.b.Len()
}

// Commit does not sync: with its log off, Pebble refuses to.
func (b *pebbleBatch) Commit() error {
	if err := b.p.enter(); err != nil {
		return err
	}
	defer b.p.gate.leave()
	if b.err != nil || b.b == nil {
		return b.err
	}
	if err := b.p.room(b.b.Len()); err != nil {
		return err
	}
	if err := b.b.Commit(pebble.NoSync); err != nil {
		return err
	}
	b.b.Reset()
	return b.p.log.failed()
}

func (b *pebbleBatch) Close() {
	if b.b == nil {
		return
	}
	// A batch that was never committed has nothing that could fail to close.
	_ = b.b.Close()
	b.b = nil
}
