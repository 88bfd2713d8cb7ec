package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	promname "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"triage/internal/store"
)

// maxSteps bounds the length of a Line, as Prometheus' API does.
const maxSteps = 11_000

// Query implements store.Metrics.
func (s *Store) Query(ctx context.Context, tenant, expr string, at time.Time) ([]store.Point, error) {
	q, err := s.Queryable(tenant)
	if err != nil {
		return nil, err
	}
	query, err := s.engine.NewInstantQuery(ctx, q, nil, expr, at)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	defer query.Close()
	res := query.Exec(ctx)
	if res.Err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, classify(res.Err))
	}
	points := []store.Point{}
	switch v := res.Value.(type) {
	case promql.Scalar:
		points = append(points, store.Point{Labels: map[string]string{}, At: time.UnixMilli(v.T).UTC(), Value: v.V})
	case promql.Vector:
		for _, smp := range v {
			if smp.H == nil {
				points = append(points, store.Point{Labels: smp.Metric.Map(), At: time.UnixMilli(smp.T).UTC(), Value: smp.F})
			}
		}
	default:
		return nil, fmt.Errorf("query %s: the answer is a %s, want numbers at one time", expr, res.Value.Type())
	}
	return points, nil
}

// QueryRange implements store.Metrics. Lines are in order of labels.
func (s *Store) QueryRange(ctx context.Context, tenant, expr string, w store.Window, step time.Duration) ([]store.Line, error) {
	if err := checkRange(w, step); err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	q, err := s.Queryable(tenant)
	if err != nil {
		return nil, err
	}
	query, err := s.engine.NewRangeQuery(ctx, q, nil, expr, w.From, w.To, step)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	defer query.Close()
	res := query.Exec(ctx)
	matrix, err := res.Matrix()
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, classify(err))
	}
	from, n := w.From.UnixMilli(), int(w.Len()/step)+1
	lines := []store.Line{}
	for _, series := range matrix {
		if len(series.Floats) == 0 {
			continue
		}
		line := newLine(series.Metric, "gauge", w.From, step, n)
		for _, p := range series.Floats {
			if i := (p.T - from) / step.Milliseconds(); i >= 0 && i < int64(n) {
				line.Values[i] = p.F
			}
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func checkRange(w store.Window, step time.Duration) error {
	switch {
	case step < time.Millisecond:
		return fmt.Errorf("step %s is shorter than a millisecond", step)
	case w.To.Before(w.From):
		return fmt.Errorf("the window ends at %s, before its start at %s", w.To, w.From)
	case w.Len()/step > maxSteps:
		return fmt.Errorf("%s in steps of %s is more than %d values", w.Len(), step, maxSteps)
	}
	return nil
}

// newLine makes a line of nothing.
func newLine(ls labels.Labels, typ string, start time.Time, step time.Duration, n int) store.Line {
	line := store.Line{Name: ls.Get(promname.MetricNameLabel), Labels: ls.Map(), Type: typ, Start: start, Step: step, Values: make([]float64, n)}
	delete(line.Labels, promname.MetricNameLabel)
	for i := range line.Values {
		line.Values[i] = math.NaN()
	}
	return line
}

// classify tells overload from bad queries.
func classify(err error) error {
	if tooMany := promql.ErrTooManySamples(""); errors.As(err, &tooMany) {
		return fmt.Errorf("%w: %w", store.ErrOverloaded, err)
	}
	return err
}
