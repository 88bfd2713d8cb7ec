package events

import (
	"context"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// What may take long returns as soon as its context ends.

// Spans returns spans newest first. See store.Events.
func (s *Store) Spans(ctx context.Context, q store.Query) (store.Page[model.Span], error) {
	return promptly(ctx, func() (store.Page[model.Span], error) {
		if search.HasRelation(q.Where) {
			return s.relatedSpans(ctx, q)
		}
		return newestRows(ctx, s, spans, "spans", q, s.fetchSpans, spanKey)
	})
}

// Logs returns log records newest first. See store.Events.
func (s *Store) Logs(ctx context.Context, q store.Query) (store.Page[model.LogRecord], error) {
	return promptly(ctx, func() (store.Page[model.LogRecord], error) {
		return newestRows(ctx, s, logs, "logs", q, s.fetchLogs, func(x model.LogRecord) (int64, uint64) { return x.Time, x.SpanID.Uint64() })
	})
}

// SpanCounts counts spans. See store.Events.
func (s *Store) SpanCounts(ctx context.Context, q store.CountQuery) ([]store.CountStat, error) {
	return promptly(ctx, func() ([]store.CountStat, error) { return s.countRows(ctx, spans, "span_counts", q) })
}

// LogCounts counts log records. See store.Events.
func (s *Store) LogCounts(ctx context.Context, q store.CountQuery) ([]store.CountStat, error) {
	return promptly(ctx, func() ([]store.CountStat, error) { return s.countRows(ctx, logs, "log_counts", q) })
}

// AttributeDifference compares how often attribute values occur in two selections. See store.Questions. Own attributes
// stand before the resource's; a resource's attribute counts only if its value varies.
func (s *Store) AttributeDifference(ctx context.Context, q store.DifferenceQuery) (store.Difference, error) {
	return promptly(ctx, func() (store.Difference, error) { return s.attributeDifference(ctx, q) })
}

// Exceptions groups exceptions. See store.Events.
func (s *Store) Exceptions(ctx context.Context, q store.ExceptionQuery) (store.Page[model.ExceptionGroup], error) {
	return promptly(ctx, func() (store.Page[model.ExceptionGroup], error) { return s.exceptions(ctx, q) })
}

// Trace returns the spans of one trace in order of start. See store.Events.
func (s *Store) Trace(ctx context.Context, tenant string, id model.TraceID) ([]model.Span, error) {
	return promptly(ctx, func() ([]model.Span, error) { return s.oneTrace(ctx, tenant, id) })
}

// Traces returns the spans of several traces. See store.Events.
func (s *Store) Traces(ctx context.Context, tenant string, ids []model.TraceID, w store.Window, limit int) ([]model.Span, error) {
	return promptly(ctx, func() ([]model.Span, error) { return s.manyTraces(ctx, tenant, ids, w, limit) })
}

// Operations sums up spans by service, operation and kind. See store.Questions.
func (s *Store) Operations(ctx context.Context, sel store.Selection, limit int) ([]store.OperationStat, error) {
	return promptly(ctx, func() ([]store.OperationStat, error) { return s.operations(ctx, sel, limit) })
}

// Timeline counts spans in steps of time. See store.Questions.
func (s *Store) Timeline(ctx context.Context, sel store.Selection, step time.Duration, limit int) ([]store.TimelineStat, error) {
	return promptly(ctx, func() ([]store.TimelineStat, error) { return s.timeline(ctx, sel, step, limit) })
}

// SampleTraces picks traces that have a span in the selection. See store.Questions.
func (s *Store) SampleTraces(ctx context.Context, sel store.Selection, order store.SampleOrder, limit int) ([]store.TraceRef, error) {
	return promptly(ctx, func() ([]store.TraceRef, error) { return s.sampleTraces(ctx, sel, order, limit) })
}

// Values lists the distinct values of an attribute. See store.Questions.
func (s *Store) Values(ctx context.Context, sel store.Selection, key string, limit int) ([]store.ValueStat, error) {
	return promptly(ctx, func() ([]store.ValueStat, error) { return s.values(ctx, sel, key, limit) })
}

// Impact counts the selected spans and the users in their traces. See store.Questions.
func (s *Store) Impact(ctx context.Context, sel store.Selection, userKeys []string) (model.Impact, error) {
	return promptly(ctx, func() (model.Impact, error) { return s.impact(ctx, sel, userKeys) })
}

// Health measures the telemetry itself in a window. See store.Questions.
func (s *Store) Health(ctx context.Context, tenant string, w store.Window) (model.Telemetry, error) {
	return promptly(ctx, func() (model.Telemetry, error) { return s.health(ctx, tenant, w) })
}

// TemplateCounts counts log lines by template and operation in two windows. See store.Questions.
func (s *Store) TemplateCounts(ctx context.Context, tenant string, a, b store.Window, limit int) ([]store.TemplateCount, error) {
	return promptly(ctx, func() ([]store.TemplateCount, error) { return s.templateCounts(ctx, tenant, a, b, limit) })
}

// Edges sums up who calls whom. See store.Questions.
func (s *Store) Edges(ctx context.Context, tenant string, w store.Window, limit int) ([]store.EdgeStat, error) {
	return promptly(ctx, func() ([]store.EdgeStat, error) { return s.edges(ctx, tenant, w, limit) })
}

// promptly runs a question and returns its answer, or the context's error as soon as the context ends. DuckDB looks for an
// interrupt only between vectors of rows, and a regular expression over 2,048 long lines may take seconds; such a question
// ends by itself behind the caller's back, holding its files until then.
func promptly[T any](ctx context.Context, question func() (T, error)) (T, error) {
	type answer struct {
		rows   T
		err    error
		failed any // what it panicked with
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			a.failed = recover()
			done <- a
		}()
		a.rows, a.err = question()
	}()
	select {
	case a := <-done:
		if a.failed != nil {
			panic(a.failed)
		}
		return a.rows, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
