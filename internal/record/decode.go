package record

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/model"
)

// decoder reads the fields of a frame. Strings share the frame's memory. After the first error all fields are zero.
type decoder struct {
	s      string
	names  []string
	shapes [][]model.Attr // keys, with empty values of their kinds
	traces []model.TraceID
	spans  []model.SpanID
	label  labels.ScratchBuilder
	err    error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: %w", what, ErrFormat)
	}
	d.s = ""
}

func (d *decoder) byte() byte {
	if len(d.s) == 0 {
		d.fail("the frame ends too early")
		return 0
	}
	c := d.s[0]
	d.s = d.s[1:]
	return c
}

func (d *decoder) bool() bool { return d.byte() != 0 }

func (d *decoder) uint() uint64 {
	var v uint64
	for i := 0; i < len(d.s) && i < 10; i++ {
		c := d.s[i]
		if c < 0x80 {
			if i == 9 && c > 1 {
				break
			}
			d.s = d.s[i+1:]
			return v | uint64(c)<<(7*i)
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	d.fail("a number is malformed")
	return 0
}

func (d *decoder) uint32() uint32 {
	u := d.uint()
	if u > math.MaxUint32 {
		d.fail("a number is too large")
	}
	return uint32(u)
}

func (d *decoder) int() int64 {
	u := d.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) int32() int32 {
	i := d.int()
	if i != int64(int32(i)) {
		d.fail("a number is too large")
	}
	return int32(i)
}

func (d *decoder) fixed() (u uint64) {
	b := d.take(8)
	for i := range len(b) {
		u |= uint64(b[i]) << (8 * i)
	}
	return u
}

// take reads n bytes, or fails and reads none.
func (d *decoder) take(n uint64) string {
	if n > uint64(len(d.s)) {
		d.fail("the frame ends too early")
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

func (d *decoder) string() string { return d.take(d.uint()) }

func (d *decoder) name() string {
	switch n := d.uint(); {
	case n == 0:
		s := d.string()
		d.names = append(d.names, s)
		return s
	case n == 1:
		return ""
	case n-2 < uint64(len(d.names)):
		return d.names[n-2]
	}
	d.fail("a string is referred to that was not there")
	return ""
}

func (d *decoder) float() float64 {
	u := d.uint()
	if u == 0 {
		return math.Float64frombits(d.fixed())
	}
	u--
	return float64(int64(u>>1) ^ -int64(u&1))
}

func (d *decoder) trace() (t model.TraceID) {
	switch n := d.uint(); {
	case n == 0:
		copy(t[:], d.take(16))
		d.traces = append(d.traces, t)
	case n == 1:
	case n-2 < uint64(len(d.traces)):
		t = d.traces[n-2]
	default:
		d.fail("a trace is referred to that was not there")
	}
	return t
}

func (d *decoder) span() (s model.SpanID) {
	switch n := d.uint(); {
	case n == 0:
		copy(s[:], d.take(8))
		d.spans = append(d.spans, s)
	case n == 1:
	case n-2 < uint64(len(d.spans)):
		s = d.spans[n-2]
	default:
		d.fail("a span is referred to that was not there")
	}
	return s
}

// count reads the length of a list whose elements take at least size bytes each, so that no length makes us allocate
// more than a multiple of the frame's own size.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.s)/size) {
		d.fail("a list is longer than the frame")
		return 0
	}
	return int(n)
}

func (d *decoder) value(kind model.ValueKind) model.Value {
	switch kind {
	case model.KindEmpty:
		d.byte()
		return model.Value{}
	case model.KindString:
		return model.String(d.name())
	case model.KindBool:
		return model.Bool(d.bool())
	case model.KindInt:
		return model.Int(d.int())
	case model.KindDouble:
		return model.Double(d.float())
	case model.KindBytes:
		return model.Bytes([]byte(d.name()))
	case model.KindList:
		return model.List(d.name())
	case model.KindMap:
		return model.Map(d.name())
	}
	d.fail("a value is of an unknown kind")
	return model.Value{}
}

// kinds has an empty value of each kind.
var kinds = [...]model.Value{{}, model.String(""), model.Bool(false), model.Int(0), model.Double(0), model.Bytes(nil), model.List(""), model.Map("")}

func (d *decoder) attrs() model.Attrs {
	var shape []model.Attr
	switch n := d.uint(); {
	case n == 0:
		shape = make([]model.Attr, d.count(2))
		for i := range shape {
			shape[i].Key = d.name()
			k := d.byte()
			if int(k) >= len(kinds) {
				d.fail("a value is of an unknown kind")
				return nil
			}
			shape[i].Value = kinds[k]
		}
		d.shapes = append(d.shapes, shape)
	case n == 1:
		return nil
	case n-2 < uint64(len(d.shapes)):
		shape = d.shapes[n-2]
	default:
		d.fail("keys are referred to that were not there")
	}
	if len(shape) > len(d.s) { // each value takes a byte at least
		d.fail("the frame ends too early")
	}
	if d.err != nil {
		return nil
	}
	out := make(model.Attrs, len(shape))
	for i := range out {
		out[i] = model.Attr{Key: shape[i].Key, Value: d.value(shape[i].Value.Kind())}
	}
	return out
}

// What a row takes at least.
const (
	minSpan   = 19
	minLog    = 14
	minSeries = 8
)

// decodeBatch reads what encodeBatch writes.
func decodeBatch(payload string, at int64) (*model.Batch, error) {
	d := &decoder{s: payload}
	b := &model.Batch{}
	spans, logs, series, changes := d.count(minSpan), d.count(minLog), d.count(minSeries), d.count(1)
	d.rows(b, spans, logs, at)
	if series > 0 && d.err == nil {
		b.Series = make([]model.Series, series)
	}
	for i := range b.Series {
		if d.series(&b.Series[i], at); d.err != nil {
			return nil, d.err
		}
	}
	if changes > 0 && d.err == nil {
		b.Changes = make([]model.Change, changes)
	}
	for i := range b.Changes {
		text := d.string()
		if d.err == nil {
			if err := json.Unmarshal([]byte(text), &b.Changes[i]); err != nil {
				return nil, fmt.Errorf("change: %w: %w", err, ErrFormat)
			}
		}
	}
	if d.err == nil && d.s != "" {
		d.fail("bytes are left over")
	}
	return b, d.err
}

func (d *decoder) rows(b *model.Batch, spans, logs int, at int64) {
	if spans+logs == 0 || d.err != nil {
		return
	}
	resources := make([]*model.Resource, d.count(3))
	for i := range resources {
		resources[i] = &model.Resource{Service: d.name(), SchemaURL: d.name(), Attrs: d.attrs()}
	}
	scopes := make([]*model.Scope, d.count(4)+1)
	for i := range scopes[1:] {
		scopes[i+1] = &model.Scope{Name: d.name(), Version: d.name(), SchemaURL: d.name(), Attrs: d.attrs()}
	}
	resource := func() *model.Resource {
		if n := d.uint(); n < uint64(len(resources)) {
			return resources[n]
		}
		d.fail("a resource is referred to that was not there")
		return nil
	}
	scope := func() *model.Scope {
		if n := d.uint(); n < uint64(len(scopes)) {
			return scopes[n]
		}
		d.fail("a scope is referred to that was not there")
		return nil
	}
	if spans > 0 && d.err == nil {
		b.Spans = make([]model.Span, spans)
		d.spanColumns(b.Spans, at, resource, scope)
	}
	if logs > 0 && d.err == nil {
		b.Logs = make([]model.LogRecord, logs)
		d.logColumns(b.Logs, at, resource, scope)
	}
}

func (d *decoder) spanColumns(spans []model.Span, at int64, resource func() *model.Resource, scope func() *model.Scope) {
	column := func(get func(*model.Span)) {
		for i := range spans {
			if d.err != nil {
				return
			}
			get(&spans[i])
		}
	}
	column(func(s *model.Span) { s.Resource = resource() })
	column(func(s *model.Span) { s.Scope = scope() })
	column(func(s *model.Span) { s.TraceID = d.trace() })
	column(func(s *model.Span) { s.SpanID = d.span() })
	column(func(s *model.Span) { s.ParentID = d.span() })
	column(func(s *model.Span) { s.Name = d.name() })
	column(func(s *model.Span) { s.Kind = model.SpanKind(d.byte()) })
	last := at
	column(func(s *model.Span) { s.Start = last + d.int(); last = s.Start })
	column(func(s *model.Span) { s.Duration = d.int() })
	column(func(s *model.Span) { s.Status = model.StatusCode(d.byte()) })
	column(func(s *model.Span) { s.StatusMessage = d.name() })
	column(func(s *model.Span) { s.TraceState = d.name() })
	column(func(s *model.Span) { s.Flags = d.uint32() })
	column(func(s *model.Span) { s.Attrs = d.attrs() })
	column(func(s *model.Span) {
		if n := d.count(4); n > 0 {
			s.Events = make([]model.SpanEvent, n)
		}
		for j := range s.Events {
			s.Events[j] = model.SpanEvent{Time: s.Start + d.int(), Name: d.name(), Attrs: d.attrs(), DroppedAttrs: d.uint32()}
		}
	})
	column(func(s *model.Span) {
		if n := d.count(6); n > 0 {
			s.Links = make([]model.Link, n)
		}
		for j := range s.Links {
			s.Links[j] = model.Link{TraceID: d.trace(), SpanID: d.span(), TraceState: d.name(), Flags: d.uint32(), Attrs: d.attrs(), DroppedAttrs: d.uint32()}
		}
	})
	column(func(s *model.Span) { s.DroppedAttrs = d.uint32() })
	column(func(s *model.Span) { s.DroppedEvents = d.uint32() })
	column(func(s *model.Span) { s.DroppedLinks = d.uint32() })
}

func (d *decoder) logColumns(logs []model.LogRecord, at int64, resource func() *model.Resource, scope func() *model.Scope) {
	column := func(get func(*model.LogRecord)) {
		for i := range logs {
			if d.err != nil {
				return
			}
			get(&logs[i])
		}
	}
	column(func(l *model.LogRecord) { l.Resource = resource() })
	column(func(l *model.LogRecord) { l.Scope = scope() })
	column(func(l *model.LogRecord) { l.TraceID = d.trace() })
	column(func(l *model.LogRecord) { l.SpanID = d.span() })
	last := at
	column(func(l *model.LogRecord) { l.Time = last + d.int(); last = l.Time })
	column(func(l *model.LogRecord) { l.Observed = l.Time + d.int() })
	column(func(l *model.LogRecord) { l.Flags = d.uint32() })
	column(func(l *model.LogRecord) { l.Severity = model.Severity(d.byte()) })
	column(func(l *model.LogRecord) { l.SeverityText = d.name() })
	column(func(l *model.LogRecord) { l.EventName = d.name() })
	bodies := make([]model.ValueKind, 0, len(logs))
	column(func(*model.LogRecord) { bodies = append(bodies, model.ValueKind(d.byte())) })
	column(func(l *model.LogRecord) { l.Body = d.value(bodies[0]); bodies = bodies[1:] })
	column(func(l *model.LogRecord) { l.Attrs = d.attrs() })
	column(func(l *model.LogRecord) { l.DroppedAttrs = d.uint32() })
}

func (d *decoder) labels() labels.Labels {
	n := d.count(2)
	d.label.Reset()
	for range n {
		d.label.Add(d.name(), d.name())
	}
	if d.err != nil {
		return labels.EmptyLabels()
	}
	return d.label.Labels() // in the order in which they came, which is the sender's business
}

func (d *decoder) series(s *model.Series, at int64) {
	ms := at / 1e6
	s.Labels = d.labels()
	s.Type, s.Unit, s.Help = d.name(), d.name(), d.name()
	if d.uint() != 0 {
		s.Created = ms + d.int()
	}
	last := ms
	if n := d.count(2); n > 0 {
		s.Samples = make([]model.Sample, n)
	}
	for i := range s.Samples {
		last += d.int()
		s.Samples[i] = model.Sample{T: last, V: d.float()}
	}
	last = ms
	if n := d.count(2); n > 0 {
		s.Histograms = make([]model.HistogramSample, n)
	}
	for i := range s.Histograms {
		h := &s.Histograms[i]
		last += d.int()
		h.T = last
		switch d.byte() {
		case 0:
		case 1:
			h.Int = d.histogram()
		case 2:
			h.Float = d.floatHistogram()
		default:
			d.fail("a histogram is of an unknown kind")
		}
	}
	if n := d.count(4); n > 0 {
		s.Exemplars = make([]exemplar.Exemplar, n)
	}
	for i := range s.Exemplars {
		s.Exemplars[i] = exemplar.Exemplar{Labels: d.labels(), Value: d.float(), Ts: ms + d.int(), HasTs: d.bool()}
	}
}

func (d *decoder) histogram() *histogram.Histogram {
	h := &histogram.Histogram{
		CounterResetHint: histogram.CounterResetHint(d.byte()), Schema: d.int32(), ZeroThreshold: d.float(),
		ZeroCount: d.uint(), Count: d.uint(), Sum: d.float(), PositiveSpans: d.bucketSpans(), NegativeSpans: d.bucketSpans(),
	}
	for _, bs := range []*[]int64{&h.PositiveBuckets, &h.NegativeBuckets} {
		if n := d.count(1); n > 0 {
			*bs = make([]int64, n)
		}
		for i := range *bs {
			(*bs)[i] = d.int()
		}
	}
	h.CustomValues = d.floats()
	return h
}

func (d *decoder) floatHistogram() *histogram.FloatHistogram {
	return &histogram.FloatHistogram{
		CounterResetHint: histogram.CounterResetHint(d.byte()), Schema: d.int32(), ZeroThreshold: d.float(),
		ZeroCount: d.float(), Count: d.float(), Sum: d.float(), PositiveSpans: d.bucketSpans(), NegativeSpans: d.bucketSpans(),
		PositiveBuckets: d.floats(), NegativeBuckets: d.floats(), CustomValues: d.floats(),
	}
}

func (d *decoder) bucketSpans() []histogram.Span {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	out := make([]histogram.Span, n)
	for i := range out {
		out[i] = histogram.Span{Offset: d.int32(), Length: d.uint32()}
	}
	return out
}

func (d *decoder) floats() []float64 {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = d.float()
	}
	return out
}
