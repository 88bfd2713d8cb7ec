package compat

import (
	"context"
	"errors"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"triage/internal/model"
	"triage/internal/store/metrics"
)

type tenantKey struct{}

func tenantOf(ctx context.Context) string {
	if t, ok := ctx.Value(tenantKey{}).(string); ok {
		return t
	}
	return model.DefaultTenant
}

// byTenant is the data of whichever tenant the context of a call names. Prometheus opens queriers without a context, so
// each opens its tenant's when it is first asked.
type byTenant struct{ store *metrics.Store }

func (b byTenant) Querier(mint, maxt int64) (storage.Querier, error) {
	q := &lateQuerier{}
	q.opener = func(tenant string) (storage.LabelQuerier, error) {
		data, err := b.store.Queryable(tenant)
		if err != nil {
			return nil, err
		}
		return data.Querier(mint, maxt)
	}
	return q, nil
}

func (b byTenant) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	q := &lateChunkQuerier{}
	q.opener = func(tenant string) (storage.LabelQuerier, error) {
		data, err := b.store.Queryable(tenant)
		if err != nil {
			return nil, err
		}
		return data.ChunkQuerier(mint, maxt)
	}
	return q, nil
}

func (b byTenant) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	data, err := b.store.Queryable(tenantOf(ctx))
	if err != nil {
		return nil, err
	}
	exemplars, ok := data.(storage.ExemplarQueryable)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return exemplars.ExemplarQuerier(ctx)
}

// late is what both queriers share. Its inner querier is of the kind that opener makes.
type late struct {
	opener func(tenant string) (storage.LabelQuerier, error)

	mu    sync.Mutex // guards what follows
	inner storage.LabelQuerier
	err   error
}

func (l *late) open(ctx context.Context) (storage.LabelQuerier, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner == nil && l.err == nil {
		l.inner, l.err = l.opener(tenantOf(ctx))
	}
	return l.inner, l.err
}

func (l *late) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	q, err := l.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	return q.LabelValues(ctx, name, hints, ms...)
}

func (l *late) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	q, err := l.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	return q.LabelNames(ctx, hints, ms...)
}

func (l *late) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner == nil {
		return nil
	}
	return l.inner.Close()
}

type lateQuerier struct{ late }

func (q *lateQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	inner, err := q.open(ctx)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	return inner.(storage.Querier).Select(ctx, sorted, hints, ms...)
}

type lateChunkQuerier struct{ late }

func (q *lateChunkQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	inner, err := q.open(ctx)
	if err != nil {
		return storage.ErrChunkSeriesSet(err)
	}
	return inner.(storage.ChunkQuerier).Select(ctx, sorted, hints, ms...)
}
