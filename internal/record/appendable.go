package record

import (
	"context"
	"errors"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"triage/internal/model"
)

// Appendable puts a Tap between code written for Prometheus, which makes no batches, and the store that it writes to.
// What a transaction committed is one batch.
func (t *Tap) Appendable(next storage.AppendableV2, tenant, source string) storage.AppendableV2 {
	return &appendable{tap: t, next: next, tenant: tenant, source: source}
}

type appendable struct {
	tap            *Tap
	next           storage.AppendableV2
	tenant, source string
}

func (a *appendable) AppenderV2(ctx context.Context) storage.AppenderV2 {
	next := a.next.AppenderV2(ctx)
	if a.tap.active.Load() == 0 {
		return next
	}
	return &appender{AppenderV2: next, tap: a.tap, batch: model.Batch{Tenant: a.tenant, Source: a.source}}
}

type appender struct {
	storage.AppenderV2
	tap   *Tap
	batch model.Batch
}

func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AppendV2Options) (storage.SeriesRef, error) {
	ref, err := a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if err != nil && !errors.Is(err, &storage.AppendPartialError{}) {
		return ref, err
	}
	s := model.Series{Labels: ls, Created: st, Type: string(opts.Metadata.Type), Unit: opts.Metadata.Unit, Help: opts.Metadata.Help,
		Exemplars: slices.Clone(opts.Exemplars)} // the caller uses its slice again
	switch {
	case fh != nil:
		s.Histograms = []model.HistogramSample{{T: t, Float: fh}}
	case h != nil:
		s.Histograms = []model.HistogramSample{{T: t, Int: h}}
	default:
		s.Samples = []model.Sample{{T: t, V: v}}
	}
	a.batch.Series = append(a.batch.Series, s)
	return ref, err
}

func (a *appender) Commit() error {
	err := a.AppenderV2.Commit()
	if err == nil {
		a.tap.Offer(&a.batch)
	}
	return err
}
