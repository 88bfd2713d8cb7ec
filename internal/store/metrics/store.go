// Package metrics keeps series in Prometheus' TSDB, one database a tenant, and answers PromQL over them. It is the
// embedded engine of store.Metrics.
//
//	DIR/TENANT/wal, wbl, chunks_head, 01H...   as Prometheus writes them; promtool reads them
//	DIR/TENANT/metadata.json                   type, unit and help of metric families
//
// It owns those directories, the PromQL engine with its limits, and what series answer to: a native histogram X also as
// X_bucket, X_sum and X_count, and underscored names also when asked for with dots. It refuses samples from the
// future, because a TSDB moves its head by the newest sample and would then refuse the present.
//
// Samples survive the process' death once Append returned; Run syncs the write-ahead log every second, so that a power
// failure costs at most that. Everything is safe for concurrent use.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"

	"triage/internal/model"
	"triage/internal/store"
)

// What Options leaves at zero.
const (
	DefaultRetention = 15 * 24 * time.Hour
	DefaultMaxSeries = 1_000_000
	// DefaultMaxSeriesByMetric leaves room for all that derive may make of one name.
	DefaultMaxSeriesByMetric = 100_000
	DefaultMaxTenants        = 64
	DefaultMaxExemplars      = 20_000
	// DefaultMaxSamples is a fifth of Prometheus': a query then holds at most 160 MB.
	DefaultMaxSamples   = 10_000_000
	DefaultQueryTimeout = 30 * time.Second
	DefaultConcurrency  = 8
)

// Options wires a Store. Only Dir is needed.
type Options struct {
	Dir string
	// Retention counts back from the newest block of a tenant, not from the clock.
	Retention time.Duration
	// MaxBytes caps the blocks of each tenant; 0 is no cap.
	MaxBytes int64
	// OutOfOrder is how much older than the newest sample of the tenant a sample may be; 0 leaves it to the TSDB, which
	// then takes about an hour, in order within each series.
	OutOfOrder time.Duration
	// MaxSeries caps the series of the last hours of each tenant; samples of further ones are rejected.
	MaxSeries int
	// MaxSeriesByMetric caps those of one metric name, so that a label with too many values does not take all the room.
	MaxSeriesByMetric int
	// MaxTenants caps the databases that are opened.
	MaxTenants int
	// MaxExemplars is how many exemplars each tenant keeps.
	MaxExemplars int
	// MaxSamples, QueryTimeout and Concurrency limit PromQL: samples in memory and time of one query, queries at a time.
	MaxSamples   int
	QueryTimeout time.Duration
	Concurrency  int
	// Now is the clock by which samples are from the future (default time.Now).
	Now func() time.Time
	// Registerer may be nil.
	Registerer prometheus.Registerer
	// Logger may be nil.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&o.MaxSeries, DefaultMaxSeries)
	set(&o.MaxSeriesByMetric, DefaultMaxSeriesByMetric)
	set(&o.MaxTenants, DefaultMaxTenants)
	set(&o.MaxExemplars, DefaultMaxExemplars)
	set(&o.MaxSamples, DefaultMaxSamples)
	set(&o.Concurrency, DefaultConcurrency)
	if o.Retention <= 0 {
		o.Retention = DefaultRetention
	}
	if o.QueryTimeout <= 0 {
		o.QueryTimeout = DefaultQueryTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Store implements store.Metrics.
type Store struct {
	opts   Options
	log    *slog.Logger
	engine *promql.Engine
	counts *counts

	mu      sync.Mutex // guards what follows, and is not held while a database opens
	tenants map[string]*tenant
	closed  bool
	// inUse counts calls and open queriers, so that Close unmaps nothing under them. Add is called with mu held.
	inUse sync.WaitGroup
}

var _ store.Metrics = (*Store)(nil)

// tenant is one database. db, meta and err are set before ready closes and not changed afterwards.
type tenant struct {
	name, dir string
	ready     chan struct{}
	db        *tsdb.DB
	meta      *metadataSet
	err       error
	// written is set by commits and cleared by the sync that follows.
	written atomic.Bool
	// synced is the name of the newest segment that was synced, by log directory; only Run reads and writes it.
	synced map[string]string
}

// Open opens the store and the tenants it has. A new directory is made.
func Open(o Options) (*Store, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("open metrics: %w", err)
	}
	s := &Store{
		opts:    o,
		log:     o.Logger,
		counts:  newCounts(o.Registerer),
		tenants: map[string]*tenant{},
	}
	s.engine = promql.NewEngine(promql.EngineOpts{
		Logger:               o.Logger,
		Reg:                  prefixed(o.Registerer),
		MaxSamples:           o.MaxSamples,
		Timeout:              o.QueryTimeout,
		ActiveQueryTracker:   newTurnstile(o.Concurrency),
		EnableAtModifier:     true,
		EnableNegativeOffset: true,
		Parser:               parser.NewParser(parser.Options{}),
		NoStepSubqueryIntervalFn: func(int64) int64 {
			return time.Minute.Milliseconds()
		},
	})
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open metrics: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || checkTenant(e.Name()) != nil {
			continue
		}
		_, release, err := s.use(e.Name(), true)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		release()
	}
	return s, nil
}

// prefixed puts triage_ before the names that Prometheus' packages register.
func prefixed(reg prometheus.Registerer) prometheus.Registerer {
	if reg == nil {
		return nil
	}
	return prometheus.WrapRegistererWithPrefix("triage_", reg)
}

// use gives the tenant's database until release is called. Without create a tenant that has no data is nil.
func (s *Store) use(name string, create bool) (t *tenant, release func(), err error) {
	if name == "" {
		name = model.DefaultTenant
	}
	if err := checkTenant(name); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, nil, fmt.Errorf("metrics of tenant %s: %w", name, store.ErrClosed)
	}
	t, ok := s.tenants[name]
	opener := !ok && create
	if opener {
		if len(s.tenants) >= s.opts.MaxTenants {
			s.mu.Unlock()
			return nil, nil, fmt.Errorf("open metrics of tenant %s: %d tenants are open, which is the limit: %w",
				name, s.opts.MaxTenants, store.ErrFull)
		}
		t = &tenant{name: name, dir: filepath.Join(s.opts.Dir, name), ready: make(chan struct{}), synced: map[string]string{}}
		s.tenants[name] = t
	}
	s.inUse.Add(1)
	s.mu.Unlock()
	release = sync.OnceFunc(s.inUse.Done)

	switch {
	case opener:
		if t.err = s.openTenant(t); t.err != nil {
			// The next call tries again: a full disk may have been cleared.
			s.mu.Lock()
			delete(s.tenants, name)
			s.mu.Unlock()
		}
		close(t.ready)
	case t == nil:
		return nil, release, nil
	default:
		<-t.ready
	}
	if t.err != nil {
		release()
		return nil, nil, t.err
	}
	return t, release, nil
}

func (s *Store) openTenant(t *tenant) error {
	const hour = time.Hour
	o := tsdb.DefaultOptions()
	o.RetentionDuration = s.opts.Retention.Milliseconds()
	o.MaxBlockDuration = min(s.opts.Retention/10, 31*24*hour).Milliseconds()
	o.MaxBytes = s.opts.MaxBytes
	o.OutOfOrderTimeWindow = s.opts.OutOfOrder.Milliseconds()
	o.EnableExemplarStorage = true
	o.MaxExemplars = int64(s.opts.MaxExemplars)
	o.EnableSTAsZeroSample = true
	o.WALCompression = compression.Snappy
	o.WALSegmentSize = 32 << 20
	// The defaults of both serve millions of series and cost some 10 MB for each tenant, used or not.
	o.StripeSize = 1024
	o.HeadChunksWriteBufferSize = 64 << 10

	limits := newLimiter(t.name, s.opts, s.counts.limited)
	o.SeriesLifecycleCallback = limits

	if err := os.MkdirAll(t.dir, 0o750); err != nil {
		return fmt.Errorf("open metrics of tenant %s: %w", t.name, err)
	}
	meta, err := openMetadata(filepath.Join(t.dir, metadataFile))
	if err != nil {
		return fmt.Errorf("open metrics of tenant %s: %w", t.name, err)
	}
	var reg prometheus.Registerer
	if s.opts.Registerer != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"tenant": t.name}, prefixed(s.opts.Registerer))
	}
	db, err := tsdb.Open(t.dir, s.log.With("tenant", t.name), reg, o, nil)
	if err != nil {
		return fmt.Errorf("open metrics of tenant %s: %w", t.name, err)
	}
	limits.replayed.Store(true)
	t.db, t.meta = db, meta
	return nil
}

// Names of tenants are names of directories. They are those that the edges let through.
var tenantName = regexp.MustCompile(`^[A-Za-z0-9!_.*'()-]{1,150}$`)

func checkTenant(name string) error {
	if !tenantName.MatchString(name) || name == "." || name == ".." {
		return fmt.Errorf("tenant %q: want 1 to 150 letters, digits or any of !-_.*'(), but not dots alone", name)
	}
	return nil
}

// Tenants lists the tenants that have data.
func (s *Store) Tenants() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.tenants))
	for name := range s.tenants {
		names = append(names, name)
	}
	return names
}

// opened lists the databases that are open.
func (s *Store) opened() []*tenant {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ts []*tenant
	for _, t := range s.tenants {
		select {
		case <-t.ready:
			if t.err == nil {
				ts = append(ts, t)
			}
		default:
		}
	}
	return ts
}

// Size is how many bytes all databases take on disk, and how many series were written in the last hours.
func (s *Store) Size() (bytes int64, series uint64) {
	for _, t := range s.opened() {
		for _, b := range t.db.Blocks() {
			bytes += b.Size()
		}
		bytes += t.db.Head().Size()
		series += t.db.Head().NumSeries()
	}
	return bytes, series
}

// closeWait bounds how long Close waits for queries that run.
const closeWait = 10 * time.Second

// Close refuses further calls, waits for those that run and closes the databases. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	idle := make(chan struct{})
	go func() { s.inUse.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-time.After(closeWait):
		s.log.Warn("metrics close while in use", "waited", closeWait)
	}
	var errs []error
	for _, t := range s.opened() {
		if err := t.meta.save(); err != nil {
			errs = append(errs, fmt.Errorf("close metrics of tenant %s: %w", t.name, err))
		}
		if err := t.db.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close metrics of tenant %s: %w", t.name, err))
		}
	}
	return errors.Join(errs...)
}

// Compact writes what blocks the heads are due and drops those past retention, as the TSDB also does by itself a minute
// later at most. Imports call it when they are done.
func (s *Store) Compact(ctx context.Context) error {
	for _, t := range s.opened() {
		if err := t.db.Compact(ctx); err != nil {
			return fmt.Errorf("compact metrics of tenant %s: %w", t.name, err)
		}
	}
	return nil
}

// Engine evaluates PromQL under the store's limits; it wants a Queryable.
func (s *Store) Engine() *promql.Engine { return s.engine }

// turnstile lets a number of queries through at a time; others wait as long as their context allows.
type turnstile chan struct{}

func newTurnstile(n int) turnstile { return make(turnstile, n) }

func (t turnstile) GetMaxConcurrent() int { return cap(t) }
func (t turnstile) Close() error          { return nil }
func (t turnstile) Delete(int)            { <-t }

func (t turnstile) Insert(ctx context.Context, _ string) (int, error) {
	select {
	case t <- struct{}{}:
		return 0, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

var _ storage.SampleAndChunkQueryable = (*Queryable)(nil)
