package otlp

import (
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
		s.at = [3]int{i, -1, -1}
		res := s.resource(rs.Resource(), rs.SchemaUrl())
		for j, ss := range rs.ScopeSpans().All() {
			s.at = [3]int{i, j, -1}
			scope := s.scope(ss.Scope(), ss.SchemaUrl())
			// All attributes of a scope's spans lie in one piece of memory.
			n := 0
			for _, sp := range ss.Spans().All() {
				n += min(sp.Attributes().Len(), maxParts)
			}
			slab := make([]model.Attr, 0, n)
			for k, sp := range ss.Spans().All() {
				s.at[2] = k
				span := model.Span{Resource: res, Scope: scope}
				if s.span(&span, sp, &slab) {
					s.batch.Spans = append(s.batch.Spans, span)
				}
			}
		}
	}
}

// span converts one span and tells whether it can be stored.
func (s *sieve) span(out *model.Span, sp ptrace.Span, slab *[]model.Attr) bool {
	if !s.place(out, model.TraceID(sp.TraceID()), model.SpanID(sp.SpanID()), sp.StartTimestamp(), sp.EndTimestamp()) {
		return false
	}
	out.ParentID = model.SpanID(sp.ParentSpanID())
	out.TraceState = s.name(sp.TraceState().AsRaw())
	out.Flags = sp.Flags()
	out.Name = s.name(sp.Name())
	out.Kind = kindOf(int32(sp.Kind()))
	out.Status = statusOf(int32(sp.Status().Code()))
	out.StatusMessage = s.text(sp.Status().Message(), maxValue)
	out.Attrs = s.attrs(sp.Attributes(), slab)
	out.DroppedAttrs = sp.DroppedAttributesCount() + past(sp.Attributes().Len())
	out.DroppedEvents = sp.DroppedEventsCount()
	out.DroppedLinks = sp.DroppedLinksCount()

	if n := sp.Events().Len(); n > 0 {
		out.Events = make([]model.SpanEvent, 0, min(n, maxParts))
		if more := past(n); more > 0 {
			s.lose(tooMany, int(more))
			out.DroppedEvents += more
		}
		for _, e := range sp.Events().All() {
			if len(out.Events) == maxParts {
				break
			}
			out.Events = append(out.Events, model.SpanEvent{
				Time: s.eventTime(out, e.Timestamp()), Name: s.name(e.Name()), Attrs: s.attrs(e.Attributes(), nil), DroppedAttrs: e.DroppedAttributesCount(),
			})
		}
	}
	if n := sp.Links().Len(); n > 0 {
		out.Links = make([]model.Link, 0, min(n, maxParts))
		if more := past(n); more > 0 {
			s.lose(tooMany, int(more))
			out.DroppedLinks += more
		}
		for _, l := range sp.Links().All() {
			if len(out.Links) == maxParts {
				break
			}
			out.Links = append(out.Links, model.Link{
				TraceID: model.TraceID(l.TraceID()), SpanID: model.SpanID(l.SpanID()), TraceState: s.name(l.TraceState().AsRaw()),
				Flags: l.Flags(), Attrs: s.attrs(l.Attributes(), nil), DroppedAttrs: l.DroppedAttributesCount(),
			})
		}
	}
	return true
}

// place sets which span it is and when it was, and tells whether it can be stored.
func (s *sieve) place(out *model.Span, trace model.TraceID, id model.SpanID, start, end pcommon.Timestamp) bool {
	out.TraceID, out.SpanID = trace, id
	if out.TraceID.IsZero() || out.SpanID.IsZero() {
		s.reject(noID, 1, func() string { return s.where() + ": trace or span ID missing" })
		return false
	}
	switch {
	case start == 0 && end == 0:
		s.reject(noTime, 1, func() string { return s.where() + ": neither start nor end" })
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
		s.reject(inTheFuture, 1, func() string { return s.where() + ": starts at " + start.String() })
		return false
	}
	if _, ok := s.time(end); !ok {
		end = start // its start places it, and nobody knows how long it took
		s.lose(farEnd, 1)
	}
	out.Duration = int64(end - start)
	return true
}

// eventTime is when an event of a span happened.
func (s *sieve) eventTime(span *model.Span, at pcommon.Timestamp) int64 {
	ns, ok := s.time(at)
	if ns == 0 || !ok {
		s.repaired[noEventTime]++
		return span.Start
	}
	return ns
}

// kindOf is a span kind by its number; one that nobody knows is unspecified.
func kindOf(n int32) model.SpanKind {
	if n < 0 || n > int32(model.SpanConsumer) {
		return model.SpanUnspecified
	}
	return model.SpanKind(n)
}

// statusOf is a status by its number; one that nobody knows is unset.
func statusOf(n int32) model.StatusCode {
	if n < 0 || n > int32(model.StatusError) {
		return model.StatusUnset
	}
	return model.StatusCode(n)
}

// past is how many of n parts are past the limit.
func past(n int) uint32 { return uint32(max(0, n-maxParts)) }
