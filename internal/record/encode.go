package record

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/model"
)

// A batch is encoded by itself, so that damage to one leaves the others whole, and field by field (all start times, then
// all durations, ...), because like stands beside like then and compresses to about two thirds. Strings, trace IDs, span
// IDs and the keys of attributes are written once a batch and referred to by number from then on.

// encoder appends the fields of a batch.
type encoder struct {
	b      []byte
	names  map[string]uint64
	shapes map[string]uint64
	traces map[model.TraceID]uint64
	spans  map[model.SpanID]uint64
}

func (e *encoder) byte(c byte)     { e.b = append(e.b, c) }
func (e *encoder) uint(u uint64)   { e.b = binary.AppendUvarint(e.b, u) }
func (e *encoder) int(i int64)     { e.b = binary.AppendVarint(e.b, i) }
func (e *encoder) fixed(u uint64)  { e.b = binary.LittleEndian.AppendUint64(e.b, u) }
func (e *encoder) string(s string) { e.uint(uint64(len(s))); e.b = append(e.b, s...) }

func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
	} else {
		e.byte(0)
	}
}

// name writes a string: 0 and the string the first time, its number from then on. The empty string is 1.
func (e *encoder) name(s string) {
	if s == "" {
		e.uint(1)
		return
	}
	if n, ok := e.names[s]; ok {
		e.uint(n)
		return
	}
	e.names[s] = uint64(len(e.names) + 2)
	e.uint(0)
	e.string(s)
}

// float writes whole numbers short, and everything else by its bits: NaN has more than one meaning.
func (e *encoder) float(v float64) {
	if i := int64(v); v > -1<<52 && v < 1<<52 && math.Float64bits(float64(i)) == math.Float64bits(v) {
		e.uint(uint64(i<<1^i>>63) + 1)
		return
	}
	e.uint(0)
	e.fixed(math.Float64bits(v))
}

func (e *encoder) trace(t model.TraceID) {
	if t.IsZero() {
		e.uint(1)
		return
	}
	if n, ok := e.traces[t]; ok {
		e.uint(n)
		return
	}
	e.traces[t] = uint64(len(e.traces) + 2)
	e.uint(0)
	e.b = append(e.b, t[:]...)
}

func (e *encoder) span(s model.SpanID) {
	if s.IsZero() {
		e.uint(1)
		return
	}
	if n, ok := e.spans[s]; ok {
		e.uint(n)
		return
	}
	e.spans[s] = uint64(len(e.spans) + 2)
	e.uint(0)
	e.b = append(e.b, s[:]...)
}

func (e *encoder) value(v model.Value) {
	switch v.Kind() {
	case model.KindString, model.KindBytes, model.KindList, model.KindMap:
		e.name(v.Str())
	case model.KindInt:
		e.int(v.Int())
	case model.KindDouble:
		e.float(v.Double())
	default:
		e.bool(v.Bool())
	}
}

// attrs writes the keys and kinds, which repeat, as one number, and then the values.
func (e *encoder) attrs(attrs model.Attrs) {
	if len(attrs) == 0 {
		e.uint(1)
		return
	}
	var key []byte
	for i := range attrs {
		key = binary.AppendUvarint(key, uint64(len(attrs[i].Key)))
		key = append(append(key, attrs[i].Key...), byte(attrs[i].Value.Kind()))
	}
	if n, ok := e.shapes[string(key)]; ok {
		e.uint(n)
	} else {
		e.shapes[string(key)] = uint64(len(e.shapes) + 2)
		e.uint(0)
		e.uint(uint64(len(attrs)))
		for i := range attrs {
			e.name(attrs[i].Key)
			e.byte(byte(attrs[i].Value.Kind()))
		}
	}
	for i := range attrs {
		e.value(attrs[i].Value)
	}
}

// encodeBatch encodes the rows of a batch, times relative to at.
func encodeBatch(b *model.Batch, at int64) ([]byte, error) {
	e := &encoder{b: make([]byte, 0, 256+96*len(b.Spans)+96*len(b.Logs)+48*len(b.Series)), names: map[string]uint64{},
		shapes: map[string]uint64{}, traces: map[model.TraceID]uint64{}, spans: map[model.SpanID]uint64{}}
	e.uint(uint64(len(b.Spans)))
	e.uint(uint64(len(b.Logs)))
	e.uint(uint64(len(b.Series)))
	e.uint(uint64(len(b.Changes)))
	e.rows(b, at)
	for i := range b.Series {
		e.series(&b.Series[i], at)
	}
	for i := range b.Changes {
		c, err := json.Marshal(&b.Changes[i])
		if err != nil {
			return nil, fmt.Errorf("record change %s: %w", b.Changes[i].ID, err)
		}
		e.string(string(c))
	}
	return e.b, nil
}

// rows writes spans and logs.
func (e *encoder) rows(b *model.Batch, at int64) {
	if len(b.Spans)+len(b.Logs) == 0 {
		return
	}
	resources, scopes := map[*model.Resource]uint64{}, map[*model.Scope]uint64{}
	var resourceList []*model.Resource
	var scopeList []*model.Scope
	note := func(r *model.Resource, s *model.Scope) {
		if _, ok := resources[r]; !ok {
			resources[r] = uint64(len(resourceList))
			resourceList = append(resourceList, r)
		}
		if _, ok := scopes[s]; !ok && s != nil {
			scopeList = append(scopeList, s)
			scopes[s] = uint64(len(scopeList)) // 0 means none
		}
	}
	for i := range b.Spans {
		note(b.Spans[i].Resource, b.Spans[i].Scope)
	}
	for i := range b.Logs {
		note(b.Logs[i].Resource, b.Logs[i].Scope)
	}
	e.uint(uint64(len(resourceList)))
	for _, r := range resourceList {
		if r == nil {
			r = &model.Resource{Service: "unknown_service"}
		}
		e.name(r.Service)
		e.name(r.SchemaURL)
		e.attrs(r.Attrs)
	}
	e.uint(uint64(len(scopeList)))
	for _, s := range scopeList {
		e.name(s.Name)
		e.name(s.Version)
		e.name(s.SchemaURL)
		e.attrs(s.Attrs)
	}
	e.spanColumns(b.Spans, at, func(s *model.Span) (uint64, uint64) { return resources[s.Resource], scopes[s.Scope] })
	e.logColumns(b.Logs, at, func(l *model.LogRecord) (uint64, uint64) { return resources[l.Resource], scopes[l.Scope] })
}

func (e *encoder) spanColumns(spans []model.Span, at int64, source func(*model.Span) (resource, scope uint64)) {
	column := func(put func(*model.Span)) {
		for i := range spans {
			put(&spans[i])
		}
	}
	column(func(s *model.Span) { r, _ := source(s); e.uint(r) })
	column(func(s *model.Span) { _, c := source(s); e.uint(c) })
	column(func(s *model.Span) { e.trace(s.TraceID) })
	column(func(s *model.Span) { e.span(s.SpanID) })
	column(func(s *model.Span) { e.span(s.ParentID) })
	column(func(s *model.Span) { e.name(s.Name) })
	column(func(s *model.Span) { e.byte(byte(s.Kind)) })
	last := at
	column(func(s *model.Span) { e.int(s.Start - last); last = s.Start })
	column(func(s *model.Span) { e.int(s.Duration) })
	column(func(s *model.Span) { e.byte(byte(s.Status)) })
	column(func(s *model.Span) { e.name(s.StatusMessage) })
	column(func(s *model.Span) { e.name(s.TraceState) })
	column(func(s *model.Span) { e.uint(uint64(s.Flags)) })
	column(func(s *model.Span) { e.attrs(s.Attrs) })
	column(func(s *model.Span) {
		e.uint(uint64(len(s.Events)))
		for j := range s.Events {
			ev := &s.Events[j]
			e.int(ev.Time - s.Start)
			e.name(ev.Name)
			e.attrs(ev.Attrs)
			e.uint(uint64(ev.DroppedAttrs))
		}
	})
	column(func(s *model.Span) {
		e.uint(uint64(len(s.Links)))
		for j := range s.Links {
			l := &s.Links[j]
			e.trace(l.TraceID)
			e.span(l.SpanID)
			e.name(l.TraceState)
			e.uint(uint64(l.Flags))
			e.attrs(l.Attrs)
			e.uint(uint64(l.DroppedAttrs))
		}
	})
	column(func(s *model.Span) { e.uint(uint64(s.DroppedAttrs)) })
	column(func(s *model.Span) { e.uint(uint64(s.DroppedEvents)) })
	column(func(s *model.Span) { e.uint(uint64(s.DroppedLinks)) })
}

func (e *encoder) logColumns(logs []model.LogRecord, at int64, source func(*model.LogRecord) (resource, scope uint64)) {
	column := func(put func(*model.LogRecord)) {
		for i := range logs {
			put(&logs[i])
		}
	}
	column(func(l *model.LogRecord) { r, _ := source(l); e.uint(r) })
	column(func(l *model.LogRecord) { _, c := source(l); e.uint(c) })
	column(func(l *model.LogRecord) { e.trace(l.TraceID) })
	column(func(l *model.LogRecord) { e.span(l.SpanID) })
	last := at
	column(func(l *model.LogRecord) { e.int(l.Time - last); last = l.Time })
	column(func(l *model.LogRecord) { e.int(l.Observed - l.Time) })
	column(func(l *model.LogRecord) { e.uint(uint64(l.Flags)) })
	column(func(l *model.LogRecord) { e.byte(byte(l.Severity)) })
	column(func(l *model.LogRecord) { e.name(l.SeverityText) })
	column(func(l *model.LogRecord) { e.name(l.EventName) })
	column(func(l *model.LogRecord) { e.byte(byte(l.Body.Kind())) })
	column(func(l *model.LogRecord) { e.value(l.Body) })
	column(func(l *model.LogRecord) { e.attrs(l.Attrs) })
	column(func(l *model.LogRecord) { e.uint(uint64(l.DroppedAttrs)) })
}

func (e *encoder) labels(ls labels.Labels) {
	e.uint(uint64(ls.Len()))
	ls.Range(func(l labels.Label) {
		e.name(l.Name)
		e.name(l.Value)
	})
}

// series writes one series; times are ms.
func (e *encoder) series(s *model.Series, at int64) {
	ms := at / 1e6
	e.labels(s.Labels)
	e.name(s.Type)
	e.name(s.Unit)
	e.name(s.Help)
	if s.Created == 0 { // unknown: it would look like a time long ago
		e.uint(0)
	} else {
		e.uint(1)
		e.int(s.Created - ms)
	}
	last := ms
	e.uint(uint64(len(s.Samples)))
	for _, p := range s.Samples {
		e.int(p.T - last)
		last = p.T
		e.float(p.V)
	}
	last = ms
	e.uint(uint64(len(s.Histograms)))
	for i := range s.Histograms {
		h := &s.Histograms[i]
		e.int(h.T - last)
		last = h.T
		switch {
		case h.Int != nil:
			e.byte(1)
			e.histogram(h.Int)
		case h.Float != nil:
			e.byte(2)
			e.floatHistogram(h.Float)
		default:
			e.byte(0)
		}
	}
	e.uint(uint64(len(s.Exemplars)))
	for i := range s.Exemplars {
		e.exemplar(&s.Exemplars[i], ms)
	}
}

func (e *encoder) exemplar(x *exemplar.Exemplar, ms int64) {
	e.labels(x.Labels)
	e.float(x.Value)
	e.int(x.Ts - ms)
	e.bool(x.HasTs)
}

func (e *encoder) histogram(h *histogram.Histogram) {
	e.byte(byte(h.CounterResetHint))
	e.int(int64(h.Schema))
	e.float(h.ZeroThreshold)
	e.uint(h.ZeroCount)
	e.uint(h.Count)
	e.float(h.Sum)
	e.bucketSpans(h.PositiveSpans)
	e.bucketSpans(h.NegativeSpans)
	for _, bs := range [][]int64{h.PositiveBuckets, h.NegativeBuckets} {
		e.uint(uint64(len(bs)))
		for _, b := range bs {
			e.int(b)
		}
	}
	e.floats(h.CustomValues)
}

func (e *encoder) floatHistogram(h *histogram.FloatHistogram) {
	e.byte(byte(h.CounterResetHint))
	e.int(int64(h.Schema))
	e.float(h.ZeroThreshold)
	e.float(h.ZeroCount)
	e.float(h.Count)
	e.float(h.Sum)
	e.bucketSpans(h.PositiveSpans)
	e.bucketSpans(h.NegativeSpans)
	e.floats(h.PositiveBuckets)
	e.floats(h.NegativeBuckets)
	e.floats(h.CustomValues)
}

func (e *encoder) bucketSpans(spans []histogram.Span) {
	e.uint(uint64(len(spans)))
	for _, s := range spans {
		e.int(int64(s.Offset))
		e.uint(uint64(s.Length))
	}
}

func (e *encoder) floats(vs []float64) {
	e.uint(uint64(len(vs)))
	for _, v := range vs {
		e.float(v)
	}
}
