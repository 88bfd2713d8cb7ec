// Package events is the embedded store of spans and logs: store.Events on local files, without another process.
//
// It owns a directory. A batch is appended to a write-ahead log and is durable when Append returns; until its segment
// of the log is written out as sorted Parquet blocks, its rows form the tail. DuckDB, in the process, answers questions
// from Parquet files only: blocks, and for the tail small files that are made when a question needs them and never
// synced. So one query text serves old and new rows.
//
//	Append -> wal/N.wal (fsync) -> tail (encoded, in memory) --question--> tail/*.parquet --+
//	                                 | slice closed                                         +-> snapshot -> DuckDB -> answer
//	                                 +-> blocks/TENANT/*.parquet -> MANIFEST -> drop N.wal --+
//	                                         ^------ merged in the background ------'
//
// The manifest decides: a block counts when it is named there, and a segment is replayed unless the manifest says it was
// flushed. A crash at any point therefore neither loses nor doubles an acknowledged row.
//
// The package refuses to interpret: it derives no metrics, knows no incidents, and never joins tenants. A Store is safe
// for concurrent use. Run does the background work (flushing, merging, retention); Close does the last flush itself.
package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"triage/internal/model"
	"triage/internal/store"
)

// Options say where and how a store works. Only Dir is required.
type Options struct {
	Dir string
	// Retention is how far back from the newest row rows are kept, MaxBytes how much the blocks may take; zero is no limit.
	Retention time.Duration
	MaxBytes  int64
	// MemoryLimit caps what DuckDB buffers (default 1 GiB), Threads what it runs at once (default 2).
	MemoryLimit int64
	Threads     int
	Registerer  prometheus.Registerer
	Logger      *slog.Logger
	// Now is the clock by which rows are accepted, remembered and written out (default time.Now).
	Now func() time.Time
	FS  FS

	// sliceBytes and sliceAge say when the open slice of the tail is closed and written out.
	sliceBytes int64
	sliceAge   time.Duration
	// sketchFrom is how many spans a block must have to get sketches: a smaller one is scanned as quickly. sketchRows is how
	// many spans sketches must know of before they answer instead of the spans themselves.
	sketchFrom, sketchRows int64
	// sampleAbove is how many spans of a difference's larger part are counted in full; of more, about sampleOf are.
	sampleAbove, sampleOf int64
	// filterMemory is how many bytes of filters are kept in memory.
	filterMemory int64
	// onlySQL leaves all searches to DuckDB.
	onlySQL bool
}

func (o *Options) setDefaults() {
	if o.MemoryLimit <= 0 {
		o.MemoryLimit = 1 << 30
	}
	if o.Threads <= 0 {
		o.Threads = 2
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FS == nil {
		o.FS = osFS{}
	}
	if o.sliceBytes <= 0 {
		o.sliceBytes = 16 << 20
	}
	if o.sliceAge <= 0 {
		o.sliceAge = 10 * time.Second
	}
	if o.sketchFrom <= 0 {
		o.sketchFrom = rowGroupRows
	}
	if o.sketchRows <= 0 {
		o.sketchRows = 1_000_000
	}
	if o.filterMemory <= 0 {
		o.filterMemory = 64 << 20
	}
	if o.sampleAbove <= 0 {
		o.sampleAbove = 1_000_000
	}
	if o.sampleOf <= 0 {
		o.sampleOf = 700_000
	}
}

const (
	// remember is how long a batch's ID is known.
	remember = 10 * time.Minute
	// maxTail is how many bytes may wait to be flushed; beyond it batches are refused.
	maxTail = 256 << 20
)

// Store is the embedded event store.
type Store struct {
	opts     Options
	disk     FS
	log      *slog.Logger
	metrics  *metrics
	engine   *engine
	wal      *wal
	lock     *dirLock
	work     chan struct{} // holds one: Run has something to look at
	sqlSlots chan struct{} // a place for each query of users' that may run at once; further ones wait

	// exporting is held while rows of the tail are written for a question; maintaining while blocks are made or dropped.
	// Order: maintaining or exporting, then mu.
	exporting, maintaining sync.Mutex
	// checking is held while a block is compared with its checksum; after maintaining, before mu.
	checking sync.Mutex

	mu      sync.Mutex // guards everything below
	catalog *catalog
	slices  []*slice // of the tail, oldest first
	ids     map[batchKey]int64
	idFiles []idFile
	chunk   uint64 // number of the tail's next file
	// quarantined are the files in quarantine, lostRows the times of rows that damaged WAL segments lost.
	quarantined []string
	lostRows    []lostRange
	// flushErr is why the last flush failed.
	flushErr error
	closed   bool
	queries  sync.WaitGroup
}

// batchKey identifies a request: the same bytes from two tenants are two requests.
type batchKey struct {
	tenant string
	id     [32]byte
}

// idFile is a file that remembers the IDs of a flushed segment.
type idFile struct {
	path   string
	newest int64
}

// slice is the part of the tail that one segment of the WAL holds.
type slice struct {
	segment uint64
	opened  time.Time
	sealed  bool // no more rows come
	damaged bool // a part of the segment could not be read: it is kept for inspection
	recs    []*record
	bytes   int64
	chunks  map[partition]*chunks
}

// chunks are the files made of a slice for questions, and how far into its records they reach.
type chunks struct {
	files    []*block
	exported int
	last     time.Time
}

var _ store.Events = (*Store)(nil)

// Open opens or creates a store. It reads the catalog and replays what is left of the WAL.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts.setDefaults()
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("open event store: %w", err)
	}
	opts.Dir = dir
	s := &Store{opts: opts, disk: opts.FS, log: opts.Logger, work: make(chan struct{}, 1),
		sqlSlots: make(chan struct{}, sqlChildren), ids: map[batchKey]int64{}}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("open event store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) dir(name string) string { return filepath.Join(s.opts.Dir, name) }

func (s *Store) open(ctx context.Context) (err error) {
	for _, d := range []string{"wal", "blocks", "tail", "tmp", "quarantine"} {
		if err := s.disk.MkdirAll(s.dir(d)); err != nil {
			return err
		}
	}
	if err := s.disk.SyncDir(s.opts.Dir); err != nil {
		return err
	}
	if s.lock, err = lockDir(s.opts.Dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.lock.unlock()
		}
	}()
	for _, d := range []string{"tail", "tmp"} { // what an earlier process left there is of no use
		entries, err := s.disk.ReadDir(s.dir(d))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(s.dir(d), e.Name())); err != nil {
				return err
			}
		}
	}
	s.catalog, err = loadCatalog(s.disk, s.opts.Dir, func(b *block, err error) {
		s.log.Error("block cannot be read, its rows are missing from every answer", "block", b.path, "error", err)
	})
	if err != nil {
		return err
	}
	s.catalog.filters.limit = s.opts.filterMemory
	if s.metrics, err = newMetrics(s.opts.Registerer, s); err != nil {
		return err
	}
	s.metrics.blocksLost.Add(float64(len(s.catalog.lost)))
	if err := s.openQuarantine(); err != nil {
		s.metrics.unregister()
		return err
	}
	next, err := s.replay()
	if err != nil {
		s.metrics.unregister()
		return err
	}
	s.engine = newEngine(s.opts, s.dir("tmp"))
	s.engine.failed = s.doubt
	s.wal = &wal{disk: s.disk, dir: s.dir("wal"), segment: next, limit: s.opts.sliceBytes,
		admit: s.admit, dup: s.duplicate, sealed: s.seal, synced: s.metrics.walSyncs.Inc,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.wal.run()
	if len(s.slices) > 0 {
		s.nudge()
	}
	return ctx.Err()
}

// replay reads what the WAL holds beyond the blocks, and returns the next segment's number.
func (s *Store) replay() (next uint64, err error) {
	entries, err := s.disk.ReadDir(s.dir("wal"))
	if err != nil {
		return 0, err
	}
	next = s.catalog.flushed + 1
	var segments []uint64
	oldest := s.opts.Now().Add(-remember).UnixNano()
	for _, e := range entries {
		path := filepath.Join(s.dir("wal"), e.Name())
		if n, ok := segmentNumber(e.Name(), idsSuffix); ok {
			next = max(next, n+1)
			if err := s.replayIDs(path, oldest); err != nil {
				return 0, err
			}
		}
		n, ok := segmentNumber(e.Name(), segmentSuffix)
		if !ok {
			continue
		}
		next = max(next, n+1)
		if n <= s.catalog.flushed {
			// Its rows are in blocks: only the removal was missing.
			if err := s.dropFlushed(path); err != nil {
				return 0, fmt.Errorf("remove flushed WAL segment: %w", err)
			}
			continue
		}
		segments = append(segments, n)
	}
	slices.Sort(segments)
	for i, n := range segments {
		sl, err := s.replaySegment(n, i == len(segments)-1, oldest)
		if err != nil {
			return 0, err
		}
		s.slices = append(s.slices, sl)
	}
	return next, nil
}

func (s *Store) replaySegment(n uint64, newest bool, oldest int64) (*slice, error) {
	path := segmentName(s.dir("wal"), n, segmentSuffix)
	content, err := s.disk.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("replay WAL: %w", err)
	}
	sl := &slice{segment: n, opened: s.opts.Now(), sealed: true, chunks: map[partition]*chunks{}}
	bad, err := readSegment(content, newest, func(payload []byte) error {
		d := decoder{b: payload}
		rec := d.header()
		if d.err != nil {
			return d.err
		}
		rec.payload = payload
		sl.add(&rec)
		if rec.id != ([32]byte{}) && rec.at >= oldest {
			s.ids[batchKey{rec.tenant, rec.id}] = rec.at
		}
		return nil
	})
	for _, b := range bad {
		if b.torn {
			s.metrics.walTorn.Add(float64(b.length))
			s.log.Info("cut off the unfinished end of the WAL", "segment", path, "offset", b.offset, "bytes", b.length)
			// Cut off for good: at another start the segment may not be the newest any more.
			if err := writeDurably(s.disk, path, content[:b.offset]); err != nil {
				s.log.Warn("cut off the unfinished end of the WAL; it is read as it is", "segment", path, "error", err)
			}
			continue
		}
		if !sl.damaged {
			s.lostRows = append(s.lostRows, rangeOfSegment(content))
		}
		sl.damaged = true
		s.metrics.walLost.Add(float64(b.length))
		s.log.Error("WAL is damaged, acknowledged rows are lost", "segment", path, "offset", b.offset, "bytes", b.length)
	}
	return sl, err
}

func (s *Store) replayIDs(path string, oldest int64) error {
	content, err := s.disk.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read batch IDs: %w", err)
	}
	f := idFile{path: path}
	good := []byte(walMagic)
	bad, err := readSegment(content, false, func(payload []byte) error {
		d := decoder{b: payload}
		rec := d.header()
		if d.err == nil {
			good = appendFrame(good, payload)
		}
		f.newest = max(f.newest, rec.at)
		if rec.at >= oldest {
			s.ids[batchKey{rec.tenant, rec.id}] = rec.at
		}
		return d.err
	})
	if len(bad) > 0 {
		if err := s.moveToQuarantine(path, filepath.Join(s.dir("quarantine"), filepath.Base(path)), errDamaged); err != nil {
			return err
		}
		if err := writeDurably(s.disk, path, good); err != nil {
			return diskError("keep batch IDs", err)
		}
	}
	for _, b := range bad {
		s.metrics.walLost.Add(float64(b.length))
		s.log.Warn("batch IDs are damaged, a retry may be stored twice", "file", path, "offset", b.offset, "bytes", b.length)
	}
	s.idFiles = append(s.idFiles, f)
	return err
}

// Append stores the batch's spans and logs. See store.Events.
func (s *Store) Append(ctx context.Context, b *model.Batch) (stored bool, err error) {
	tenant := b.Tenant
	if tenant == "" {
		tenant = model.DefaultTenant
	}
	if len(tenant) > maxTenant {
		return false, fmt.Errorf("tenant %.20q...: longer than %d bytes", tenant, maxTenant)
	}
	if len(b.Spans)+len(b.Logs) == 0 && b.ID == ([32]byte{}) {
		return true, nil // there is nothing to keep, not even that it was seen
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := s.room(); err != nil {
		s.metrics.refused.Inc()
		return false, err
	}
	p, err := s.wal.submit(encodeRecord(b, tenant, s.opts.Now().UnixNano()))
	if err != nil {
		if errors.Is(err, store.ErrOverloaded) {
			s.metrics.refused.Inc()
		}
		return false, err
	}
	select {
	case err = <-p.result:
	case <-ctx.Done():
		return false, ctx.Err() // it may be stored nevertheless
	}
	if err != nil {
		return false, err
	}
	if p.dup {
		s.metrics.duplicates.Inc()
		return false, nil
	}
	s.metrics.rows[spans].Add(float64(len(b.Spans)))
	s.metrics.rows[logs].Add(float64(len(b.Logs)))
	return true, nil
}

// room refuses batches while the tail is full because it can't be flushed.
func (s *Store) room() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	if s.tailBytes() < maxTail {
		return nil
	}
	if errors.Is(s.flushErr, store.ErrFull) {
		return s.flushErr
	}
	return store.ErrOverloaded
}

func (s *Store) tailBytes() (n int64) {
	for _, sl := range s.slices {
		n += sl.bytes
	}
	return n
}

// duplicate tells the committer whether a batch was stored within the last ten minutes.
func (s *Store) duplicate(rec *record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.ids[batchKey{rec.tenant, rec.id}]
	return ok && rec.at-at < int64(remember)
}

// admit takes durable records into the tail. The committer calls it.
func (s *Store) admit(segment uint64, recs []*record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sl *slice
	if n := len(s.slices); n > 0 && s.slices[n-1].segment == segment {
		sl = s.slices[n-1]
	} else {
		sl = &slice{segment: segment, opened: s.opts.Now(), chunks: map[partition]*chunks{}}
		s.slices = append(s.slices, sl)
		s.nudge()
	}
	for _, r := range recs {
		sl.add(r)
		if r.id != ([32]byte{}) {
			s.ids[batchKey{r.tenant, r.id}] = r.at
		}
	}
}

func (sl *slice) add(r *record) {
	sl.recs = append(sl.recs, r)
	sl.bytes += int64(len(r.payload))
}

// seal notes that a segment was closed.
func (s *Store) seal(segment uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.slices {
		if sl.segment == segment {
			sl.sealed = true
		}
	}
	s.nudge()
}

// nudge makes Run look at what there is to do.
func (s *Store) nudge() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// Stats says what is kept.
func (s *Store) Stats(ctx context.Context) (store.EventStats, error) {
	if err := ctx.Err(); err != nil {
		return store.EventStats{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.EventStats{}, store.ErrClosed
	}
	var st store.EventStats
	oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
	for _, b := range s.catalog.all() {
		st.Blocks++
		st.Bytes += b.Size
		if b.Signal == spans {
			st.Spans += b.layout.Rows
		} else {
			st.Logs += b.layout.Rows
		}
		oldest, newest = min(oldest, b.layout.MinTime), max(newest, b.layout.MaxTime)
	}
	st.Quarantined = slices.Clone(s.quarantined)
	for _, sl := range s.slices {
		st.Bytes += sl.bytes
		for _, r := range sl.recs {
			st.Spans += int64(r.spans)
			st.Logs += int64(r.logs)
			oldest, newest = min(oldest, r.min), max(newest, r.max)
		}
	}
	if newest >= oldest {
		st.Oldest, st.Newest = time.Unix(0, oldest).UTC(), time.Unix(0, newest).UTC()
	}
	return st, nil
}

// Close refuses further work, waits for questions in progress, writes out the tail and gives the directory free. What it
// cannot write out stays in the WAL.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	s.wal.close()
	s.queries.Wait()
	s.maintaining.Lock()
	defer s.maintaining.Unlock()
	err := s.flushSealed(context.Background())
	err = errors.Join(err, s.engine.close())
	s.metrics.unregister()
	s.lock.unlock()
	if err != nil {
		return fmt.Errorf("close event store: %w", err)
	}
	return nil
}
