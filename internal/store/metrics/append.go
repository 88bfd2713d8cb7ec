package metrics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	commonmodel "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"triage/internal/model"
	"triage/internal/store"
)

// The reasons for which samples are rejected.
const (
	OutOfOrder       = "out_of_order"
	TooOld           = "too_old"
	Duplicate        = "duplicate" // another value for the same time
	InFuture         = "in_future"
	InvalidLabels    = "invalid_labels"
	InvalidHistogram = "invalid_histogram"
	SeriesLimit      = "series_limit"
)

// maxAhead is how far ahead of this machine's clock a sample may be, as in Prometheus.
const maxAhead = 10 * time.Minute

// maxCreatedAge is how old the beginning of a series may be to be stored as a zero: before that it adds nothing that a
// usual window would see.
const maxCreatedAge = 30 * time.Minute

type counts struct {
	appended, exemplars prometheus.Counter
	rejected            *prometheus.CounterVec
	exemplarsRejected   prometheus.Counter
	limited             *prometheus.CounterVec
	syncs, syncFailures prometheus.Counter
}

func newCounts(reg prometheus.Registerer) *counts {
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	c := &counts{
		appended:          one("triage_metrics_appended_samples_total", "Samples and histograms stored."),
		exemplars:         one("triage_metrics_appended_exemplars_total", "Exemplars handed to the store."),
		exemplarsRejected: one("triage_metrics_rejected_exemplars_total", "Exemplars not stored: out of order or too long."),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "triage_metrics_rejected_samples_total", Help: "Samples and histograms not stored, by reason.",
		}, []string{"reason"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "triage_metrics_series_limited_total",
			Help: "Times that a series was not made because of a limit, by the metric with too many.",
		}, []string{"tenant", "metric"}),
		syncs:        one("triage_metrics_wal_syncs_total", "Times that a tenant's write-ahead log was synced."),
		syncFailures: one("triage_metrics_wal_sync_failures_total", "Times that syncing a write-ahead log went wrong."),
	}
	if reg != nil {
		reg.MustRegister(c.appended, c.exemplars, c.exemplarsRejected, c.rejected, c.limited, c.syncs, c.syncFailures)
	}
	return c
}

// reasonOf names why the TSDB refused a sample; ok is false for errors that are not the sample's fault.
func reasonOf(err error) (reason string, ok bool) {
	var bad histogram.Error
	switch {
	case errors.Is(err, storage.ErrOutOfOrderSample):
		return OutOfOrder, true
	case errors.Is(err, storage.ErrTooOldSample), errors.Is(err, storage.ErrOutOfBounds):
		return TooOld, true
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		return Duplicate, true
	case errors.As(err, &bad):
		return InvalidHistogram, true
	}
	return "", false
}

// Append implements store.Metrics. The whole call is one transaction of the TSDB: queries see all of it or nothing.
func (s *Store) Append(ctx context.Context, tenant string, series []model.Series) (store.Rejected, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t, release, err := s.use(tenant, true)
	if err != nil {
		return nil, err
	}
	defer release()

	b := batch{
		Store:    s,
		tenant:   t,
		app:      t.db.AppenderV2(ctx),
		latest:   s.opts.Now().Add(maxAhead).UnixMilli(),
		rejected: store.Rejected{},
	}
	for i := range series {
		if err := b.add(&series[i]); err != nil {
			return nil, errors.Join(fmt.Errorf("append to series %s: %w", series[i].Labels, err), b.app.Rollback())
		}
	}
	if err := b.app.Commit(); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("%w: %w", store.ErrFull, err)
		}
		return nil, fmt.Errorf("commit %d series of tenant %s: %w", len(series), t.name, err)
	}
	t.written.Store(true)
	s.appendLoose(ctx, t, b.loose)

	s.counts.appended.Add(float64(b.appended))
	for reason, n := range b.rejected.Reasons() {
		s.counts.rejected.WithLabelValues(reason).Add(float64(n))
	}
	return b.rejected, nil
}

// batch is one Append under way.
type batch struct {
	*Store
	tenant   *tenant
	app      storage.AppenderV2
	latest   int64 // ms; later samples are in the future
	appended int
	rejected store.Rejected
	// loose are series that bring exemplars and no samples.
	loose []*model.Series
}

func (b *batch) add(ser *model.Series) error {
	name := ser.Labels.Get(commonmodel.MetricNameLabel)
	b.tenant.meta.learn(name, Metadata{Type: ser.Type, Unit: ser.Unit, Help: ser.Help})
	n := len(ser.Samples) + len(ser.Histograms)
	if n == 0 {
		if len(ser.Exemplars) > 0 {
			b.loose = append(b.loose, ser)
		}
		return nil
	}
	if !validLabels(ser.Labels) {
		b.rejected[InvalidLabels] += n
		return nil
	}
	created := ser.Created
	exemplars := ser.Exemplars
	if !slices.IsSortedFunc(exemplars, byTime) {
		exemplars = slices.Clone(exemplars)
		slices.SortStableFunc(exemplars, byTime)
	}
	var ref storage.SeriesRef
	put := func(at int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, last bool) error {
		if at > b.latest {
			b.rejected[InFuture]++
			return nil
		}
		var opts storage.AppendV2Options
		if last {
			opts.Exemplars = exemplars
			b.counts.exemplars.Add(float64(len(exemplars)))
		}
		st := created
		created = 0 // the TSDB stores the zero once
		if at-st > maxCreatedAge.Milliseconds() {
			st = 0
		}
		got, err := b.app.Append(ref, ser.Labels, st, at, v, h, fh, opts)
		if errors.Is(err, &storage.AppendPartialError{}) {
			b.counts.exemplarsRejected.Inc()
			err = nil
		}
		if err == nil {
			ref = got
			b.appended++
			return nil
		}
		if place, ok := limitOf(err); ok {
			b.limited(place)
			return nil
		}
		if reason, ok := reasonOf(err); ok {
			b.rejected[reason]++
			return nil
		}
		return err
	}
	for i, smp := range ser.Samples {
		// Within a transaction the TSDB keeps the first of two and says nothing.
		if i > 0 && smp.T == ser.Samples[i-1].T {
			if smp.V != ser.Samples[i-1].V {
				b.rejected[Duplicate]++
			}
			continue
		}
		if err := put(smp.T, smp.V, nil, nil, i == len(ser.Samples)-1); err != nil {
			return err
		}
	}
	for i, smp := range ser.Histograms {
		if i > 0 && smp.T == ser.Histograms[i-1].T {
			b.rejected[Duplicate]++
			continue
		}
		if smp.Int == nil && smp.Float == nil {
			b.rejected[InvalidHistogram]++
			continue
		}
		h, fh := own(smp)
		if err := put(smp.T, 0, h, fh, i == len(ser.Histograms)-1 && len(ser.Samples) == 0); err != nil {
			return err
		}
	}
	return nil
}

// maxPlaces bounds what one answer names.
const maxPlaces = 10

// limited counts a sample of a series that was not made.
func (b *batch) limited(place string) {
	key := SeriesLimit + ": " + place
	if _, named := b.rejected[key]; !named && len(b.rejected) >= maxPlaces {
		key = SeriesLimit
	}
	b.rejected[key]++
}

// own copies a histogram, because the TSDB keeps the pointer of the last one, at a resolution that it takes.
func own(smp model.HistogramSample) (*histogram.Histogram, *histogram.FloatHistogram) {
	tooFine := func(schema int32) bool {
		return histogram.IsExponentialSchemaReserved(schema) && schema > histogram.ExponentialSchemaMax
	}
	// What cannot be reduced is left as it is, for the TSDB to refuse.
	if smp.Float != nil {
		fh := smp.Float.Copy()
		if tooFine(fh.Schema) {
			_ = fh.ReduceResolution(histogram.ExponentialSchemaMax)
		}
		return nil, fh
	}
	h := smp.Int.Copy()
	if tooFine(h.Schema) {
		_ = h.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	return h, nil
}

func byTime(a, b exemplar.Exemplar) int { return int(min(max(a.Ts-b.Ts, -1), 1)) }

func validLabels(ls labels.Labels) bool {
	if ls.Get(commonmodel.MetricNameLabel) == "" || !ls.IsValid(commonmodel.UTF8Validation) {
		return false
	}
	_, twice := ls.HasDuplicateLabelNames()
	return !twice
}

// appendLoose stores exemplars that come without a sample, as Prometheus' remote write 1.0 sends them. Their series must
// exist. Only the older kind of appender takes them.
func (s *Store) appendLoose(ctx context.Context, t *tenant, loose []*model.Series) {
	if len(loose) == 0 {
		return
	}
	app := t.db.Appender(ctx)
	for _, ser := range loose {
		for _, e := range ser.Exemplars {
			s.counts.exemplars.Inc()
			if _, err := app.AppendExemplar(0, ser.Labels, e); err != nil {
				s.counts.exemplarsRejected.Inc()
			}
		}
	}
	if err := app.Commit(); err != nil {
		s.counts.exemplarsRejected.Add(float64(len(loose)))
	}
}

// Appendable is where a tenant's samples go from code written for Prometheus (scraping, recording rules).
type Appendable struct {
	store  *Store
	tenant *tenant
}

var (
	_ storage.Appendable   = (*Appendable)(nil)
	_ storage.AppendableV2 = (*Appendable)(nil)
)

// Appendable gives the tenant's, opening its database. It is good until the store closes.
func (s *Store) Appendable(tenant string) (*Appendable, error) {
	t, release, err := s.use(tenant, true)
	if err != nil {
		return nil, err
	}
	release()
	return &Appendable{store: s, tenant: t}, nil
}

// Appender starts a transaction.
func (a *Appendable) Appender(ctx context.Context) storage.Appender {
	return &appender{Appender: a.tenant.db.Appender(ctx), tenant: a.tenant, latest: a.store.opts.Now().Add(maxAhead).UnixMilli()}
}

// AppenderV2 starts a transaction.
func (a *Appendable) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &appenderV2{AppenderV2: a.tenant.db.AppenderV2(ctx), tenant: a.tenant, latest: a.store.opts.Now().Add(maxAhead).UnixMilli()}
}

type appender struct {
	storage.Appender
	tenant *tenant
	latest int64
}

func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	if t > a.latest {
		return 0, errFuture
	}
	return a.Appender.Append(ref, ls, t, v)
}

func (a *appender) Commit() error {
	err := a.Appender.Commit()
	a.tenant.written.Store(true)
	return err
}

type appenderV2 struct {
	storage.AppenderV2
	tenant *tenant
	latest int64
}

var errFuture = fmt.Errorf("%w: the sample is too far in the future", storage.ErrOutOfBounds)

func (a *appenderV2) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AppendV2Options) (storage.SeriesRef, error) {
	if t > a.latest {
		return 0, errFuture
	}
	if !opts.Metadata.IsEmpty() {
		name := opts.MetricFamilyName
		if name == "" {
			name = ls.Get(commonmodel.MetricNameLabel)
		}
		a.tenant.meta.learn(name, Metadata{Type: string(opts.Metadata.Type), Unit: opts.Metadata.Unit, Help: opts.Metadata.Help})
	}
	ref, err := a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if _, limited := limitOf(err); limited {
		// A scrape goes on after this error; for one it doesn't know it gives up on all other samples of the target.
		err = fmt.Errorf("%w: %w", storage.ErrOutOfBounds, err)
	}
	return ref, err
}

func (a *appenderV2) Commit() error {
	err := a.AppenderV2.Commit()
	a.tenant.written.Store(true)
	return err
}
