package otlp

import (
	"fmt"
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"triage/internal/model"
)

// traces takes spans in.
func (s *sieve) traces(td ptrace.Traces) {
	if n := td.SpanCount(); n > 0 {
		s.batch.Spans = make([]model.Span, 0, n)
	}
	for i, rs := range td.ResourceSpans().All() {
		res := s.resource(rs.Resource(), rs.SchemaUrl())
		for j, ss := range rs.ScopeSpans().All() {
			scope := s.scope(ss.Scope(), ss.SchemaUrl())
			// All attributes of a scope's spans lie in one piece of memory.
			n := 0
			for _, sp := range ss.Spans().All() {
				n += sp.Attributes().Len()
			}
			slab := make([]model.Attr, 0, n)
			for k, sp := range ss.Spans().All() {
				where := func() string { return fmt.Sprintf("resource_spans[%d].scope_spans[%d].spans[%d]", i, j, k) }
				span := model.Span{Resource: res, Scope: scope}
				if s.span(&span, sp, &slab, where) {
					s.batch.Spans = append(s.batch.Spans, span)
				}
			}
		}
	}
}

// span converts one span and tells whether it can be stored.
func (s *sieve) span(out *model.Span, sp ptrace.Span, slab *[]model.Attr, where func() string) bool {
	out.TraceID, out.SpanID = model.TraceID(sp.TraceID()), model.SpanID(sp.SpanID())
	if out.TraceID.IsZero() || out.SpanID.IsZero() {
		s.reject(noID, 1, func() string { return where() + ": trace or span ID missing" })
		return false
	}
	start, end := sp.StartTimestamp(), sp.EndTimestamp()
	switch {
	case start == 0 && end == 0:
		s.reject(noTime, 1, func() string { return where() + ": neither start nor end" })
		return false
	case start == 0:
		start = end
		s.repaired[noStart]++
	case end < start:
		end = start
		s.repaired[endBeforeBeg]++
	}
	var ok bool
	if out.Start, ok = s.time(start); !ok {
		s.reject(inTheFuture, 1, func() string { return where() + ": starts at " + start.String() })
		return false
	}
	// A span may still end in a far future by mistake; its start is what places it.
	out.Duration = int64(min(end-start, math.MaxInt64-pcommon.Timestamp(out.Start)))

	out.ParentID = model.SpanID(sp.ParentSpanID())
	out.TraceState = s.text(sp.TraceState().AsRaw())
	out.Flags = sp.Flags()
	out.Name = s.text(sp.Name())
	if k := sp.Kind(); k >= 0 && k <= ptrace.SpanKindConsumer {
		out.Kind = model.SpanKind(k)
	}
	if c := sp.Status().Code(); c >= 0 && c <= ptrace.StatusCodeError {
		out.Status = model.StatusCode(c)
	}
	out.StatusMessage = s.text(sp.Status().Message())
	out.Attrs = s.attrs(sp.Attributes(), slab)
	out.DroppedAttrs = sp.DroppedAttributesCount()
	out.DroppedEvents = sp.DroppedEventsCount()
	out.DroppedLinks = sp.DroppedLinksCount()

	if n := sp.Events().Len(); n > 0 {
		out.Events = make([]model.SpanEvent, 0, n)
		for _, e := range sp.Events().All() {
			at, ok := s.time(e.Timestamp())
			if at == 0 || !ok {
				at = out.Start
				s.repaired[noEventTime]++
			}
			out.Events = append(out.Events, model.SpanEvent{
				Time: at, Name: s.text(e.Name()), Attrs: s.attrs(e.Attributes(), nil), DroppedAttrs: e.DroppedAttributesCount(),
			})
		}
	}
	if n := sp.Links().Len(); n > 0 {
		out.Links = make([]model.Link, 0, n)
		for _, l := range sp.Links().All() {
			out.Links = append(out.Links, model.Link{
				TraceID: model.TraceID(l.TraceID()), SpanID: model.SpanID(l.SpanID()), TraceState: s.text(l.TraceState().AsRaw()),
				Flags: l.Flags(), Attrs: s.attrs(l.Attributes(), nil), DroppedAttrs: l.DroppedAttributesCount(),
			})
		}
	}
	return true
}
