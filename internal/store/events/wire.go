package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"unsafe"

	"triage/internal/model"
)

// A record is one batch on its way into the WAL; docs/format/wal.md describes its bytes. The tail keeps records encoded
// as they are, which takes about a fifth of the memory of decoded rows, and decodes them when they are written out.

// recordVersion is the first byte of a record's payload.
const recordVersion = 1

// record is an encoded batch with what the store needs to know of it.
type record struct {
	payload     []byte // without the record's header
	tenant      string
	id          [32]byte
	at          int64 // when it was accepted, ns
	min, max    int64 // times of its rows, ns
	spans, logs int
}

// newRecord notes what the header of a batch's record says.
func newRecord(b *model.Batch, tenant string, at int64) *record {
	r := &record{tenant: tenant, id: b.ID, at: at, spans: len(b.Spans), logs: len(b.Logs), min: math.MaxInt64, max: math.MinInt64}
	for i := range b.Spans {
		r.min, r.max = min(r.min, b.Spans[i].Start), max(r.max, b.Spans[i].Start)
	}
	for i := range b.Logs {
		r.min, r.max = min(r.min, b.Logs[i].Time), max(r.max, b.Logs[i].Time)
	}
	return r
}

// rows are a record's decoded rows. Their strings point into the record's payload, which is never changed.
type rows struct {
	spans []model.Span
	logs  []model.LogRecord
}

// encoder appends the fields of a record.
type encoder struct {
	b     []byte
	names map[string]uint64 // strings that repeat, by their number in order of first use
}

// encoders are for encodeRecord; one that grew past maxScratch bytes gives its memory back.
var encoders = sync.Pool{New: func() any { return &encoder{names: map[string]uint64{}} }}

const maxScratch = 4 << 20

func (e *encoder) byte(c byte)     { e.b = append(e.b, c) }
func (e *encoder) uint(u uint64)   { e.b = binary.AppendUvarint(e.b, u) }
func (e *encoder) int(i int64)     { e.b = binary.AppendVarint(e.b, i) }
func (e *encoder) fixed(u uint64)  { e.b = binary.LittleEndian.AppendUint64(e.b, u) }
func (e *encoder) bytes(b []byte)  { e.b = append(e.b, b...) }
func (e *encoder) string(s string) { e.uint(uint64(len(s))); e.b = append(e.b, s...) }

// name writes a string that is likely to repeat: 0 and the string the first time, its number from then on.
func (e *encoder) name(s string) {
	if n, ok := e.names[s]; ok {
		e.uint(n)
		return
	}
	e.names[s] = uint64(len(e.names) + 1)
	e.uint(0)
	e.string(s)
}

func (e *encoder) value(v model.Value) {
	e.byte(byte(v.Kind()))
	switch v.Kind() {
	case model.KindString, model.KindBytes, model.KindList, model.KindMap:
		e.string(v.Str())
	case model.KindBool:
		if v.Bool() {
			e.byte(1)
		} else {
			e.byte(0)
		}
	case model.KindInt:
		e.int(v.Int())
	case model.KindDouble:
		e.fixed(math.Float64bits(v.Double()))
	}
}

func (e *encoder) attrs(attrs model.Attrs) {
	e.uint(uint64(len(attrs)))
	for i := range attrs {
		e.name(attrs[i].Key)
		e.value(attrs[i].Value)
	}
}

// header writes what stands before the rows.
func (e *encoder) header(r *record) {
	e.byte(recordVersion)
	e.fixed(uint64(r.at))
	e.bytes(r.id[:])
	e.string(r.tenant)
	e.fixed(uint64(r.min))
	e.fixed(uint64(r.max))
	e.uint(uint64(r.spans))
	e.uint(uint64(r.logs))
}

// encodeID encodes a record that remembers only that a batch was stored.
func encodeID(tenant string, id [32]byte, at int64) []byte {
	e := encoder{}
	e.header(&record{tenant: tenant, id: id, at: at, min: math.MaxInt64, max: math.MinInt64})
	return e.b
}

// encodeRecord encodes the spans and logs of a batch.
func encodeRecord(b *model.Batch, tenant string, at int64) *record {
	r := newRecord(b, tenant, at)
	e := encoders.Get().(*encoder)
	// The tail keeps payloads, so they are no larger than they must be.
	defer func() {
		r.payload = bytes.Clone(e.b)
		if cap(e.b) > maxScratch {
			e.b = nil
		}
		e.b = e.b[:0]
		clear(e.names) // whose keys may be parts of a whole request
		encoders.Put(e)
	}()
	e.header(r)
	if r.spans+r.logs == 0 {
		return r
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
		e.string(r.SchemaURL)
		e.attrs(r.Attrs)
	}
	e.uint(uint64(len(scopeList)))
	for _, s := range scopeList {
		e.string(s.Name)
		e.string(s.Version)
		e.string(s.SchemaURL)
		e.attrs(s.Attrs)
	}
	for i := range b.Spans {
		s := &b.Spans[i]
		e.bytes(s.TraceID[:])
		e.bytes(s.SpanID[:])
		e.bytes(s.ParentID[:])
		e.string(s.TraceState)
		e.uint(uint64(s.Flags))
		e.name(s.Name)
		e.byte(byte(s.Kind))
		e.fixed(uint64(s.Start))
		e.int(s.Duration)
		e.byte(byte(s.Status))
		e.string(s.StatusMessage)
		e.attrs(s.Attrs)
		e.uint(uint64(len(s.Events)))
		for j := range s.Events {
			ev := &s.Events[j]
			e.fixed(uint64(ev.Time))
			e.name(ev.Name)
			e.attrs(ev.Attrs)
			e.uint(uint64(ev.DroppedAttrs))
		}
		e.uint(uint64(len(s.Links)))
		for j := range s.Links {
			l := &s.Links[j]
			e.bytes(l.TraceID[:])
			e.bytes(l.SpanID[:])
			e.string(l.TraceState)
			e.uint(uint64(l.Flags))
			e.attrs(l.Attrs)
			e.uint(uint64(l.DroppedAttrs))
		}
		e.uint(uint64(s.DroppedAttrs))
		e.uint(uint64(s.DroppedEvents))
		e.uint(uint64(s.DroppedLinks))
		e.uint(resources[s.Resource])
		e.uint(scopes[s.Scope])
	}
	for i := range b.Logs {
		l := &b.Logs[i]
		e.fixed(uint64(l.Time))
		e.fixed(uint64(l.Observed))
		e.bytes(l.TraceID[:])
		e.bytes(l.SpanID[:])
		e.uint(uint64(l.Flags))
		e.byte(byte(l.Severity))
		e.name(l.SeverityText)
		e.name(l.EventName)
		e.value(l.Body)
		e.attrs(l.Attrs)
		e.uint(uint64(l.DroppedAttrs))
		e.fixed(l.Template)
		e.uint(resources[l.Resource])
		e.uint(scopes[l.Scope])
	}
	return r
}

// errRecord is what a decoder says of bytes that are no record.
var errRecord = errors.New("malformed record")

// decoder reads the fields of a record. After the first error all fields are zero.
type decoder struct {
	b     []byte
	names []string
	attr  []model.Attr // backing of attributes, so that not each span allocates its own
	err   error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = errRecord
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) < 1 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint() uint64 {
	u, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return u
}

func (d *decoder) uint32() uint32 {
	u := d.uint()
	if u > math.MaxUint32 {
		d.fail()
	}
	return uint32(u)
}

func (d *decoder) int() int64 {
	i, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return i
}

func (d *decoder) fixed() uint64 {
	if len(d.b) < 8 {
		d.fail()
		return 0
	}
	u := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return u
}

func (d *decoder) bytes(to []byte) {
	if len(d.b) < len(to) {
		d.fail()
		return
	}
	copy(to, d.b)
	d.b = d.b[len(to):]
}

// string reads a string that shares the record's memory.
func (d *decoder) string() string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	if n == 0 {
		return ""
	}
	s := unsafe.String(&d.b[0], int(n))
	d.b = d.b[n:]
	return s
}

func (d *decoder) name() string {
	n := d.uint()
	if n == 0 {
		s := d.string()
		d.names = append(d.names, s)
		return s
	}
	if n > uint64(len(d.names)) {
		d.fail()
		return ""
	}
	return d.names[n-1]
}

// count reads the length of a list whose elements take at least size bytes each, so that no length makes us allocate
// more than the record's own size.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) value() model.Value {
	switch model.ValueKind(d.byte()) {
	case model.KindEmpty:
		return model.Value{}
	case model.KindString:
		return model.String(d.string())
	case model.KindBool:
		return model.Bool(d.byte() != 0)
	case model.KindInt:
		return model.Int(d.int())
	case model.KindDouble:
		return model.Double(math.Float64frombits(d.fixed()))
	case model.KindBytes:
		return model.Bytes([]byte(d.string()))
	case model.KindList:
		return model.List(d.string())
	case model.KindMap:
		return model.Map(d.string())
	}
	d.fail()
	return model.Value{}
}

func (d *decoder) attrs() model.Attrs {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	if cap(d.attr)-len(d.attr) < n {
		d.attr = make([]model.Attr, 0, max(n, 1024))
	}
	from := len(d.attr)
	for range n {
		d.attr = append(d.attr, model.Attr{Key: d.name(), Value: d.value()})
	}
	return d.attr[from:len(d.attr):len(d.attr)]
}

// header reads what stands before the rows.
func (d *decoder) header() (r record) {
	if v := d.byte(); v != recordVersion && d.err == nil {
		d.err = fmt.Errorf("record version %d: %w", v, errRecord)
	}
	r.at = int64(d.fixed())
	d.bytes(r.id[:])
	r.tenant = d.string()
	r.min, r.max = int64(d.fixed()), int64(d.fixed())
	r.spans, r.logs = d.count(minSpanSize), d.count(minLogSize)
	return r
}

// The least that a span and a log record take.
const (
	minSpanSize = 52
	minLogSize  = 54
)

// decodeRecord reads a record and its rows back from a payload.
func decodeRecord(payload []byte) (record, rows, error) {
	d := decoder{b: payload}
	r := d.header()
	r.payload = payload
	if r.spans+r.logs == 0 {
		if len(d.b) != 0 {
			d.fail()
		}
		return r, rows{}, d.err
	}
	resources := make([]*model.Resource, d.count(3))
	for i := range resources {
		resources[i] = &model.Resource{Service: d.name(), SchemaURL: d.string(), Attrs: d.attrs()}
	}
	scopes := make([]*model.Scope, d.count(4)+1)
	for i := range scopes[1:] {
		scopes[i+1] = &model.Scope{Name: d.string(), Version: d.string(), SchemaURL: d.string(), Attrs: d.attrs()}
	}
	source := func() (*model.Resource, *model.Scope) {
		ri, si := d.uint(), d.uint()
		if ri >= uint64(len(resources)) || si >= uint64(len(scopes)) {
			d.fail()
			return nil, nil
		}
		return resources[ri], scopes[si]
	}
	var out rows
	out.spans = make([]model.Span, r.spans)
	for i := range out.spans {
		s := &out.spans[i]
		d.bytes(s.TraceID[:])
		d.bytes(s.SpanID[:])
		d.bytes(s.ParentID[:])
		s.TraceState = d.string()
		s.Flags = d.uint32()
		s.Name = d.name()
		s.Kind = model.SpanKind(d.byte())
		s.Start = int64(d.fixed())
		s.Duration = d.int()
		s.Status = model.StatusCode(d.byte())
		s.StatusMessage = d.string()
		s.Attrs = d.attrs()
		if n := d.count(11); n > 0 {
			s.Events = make([]model.SpanEvent, n)
		}
		for j := range s.Events {
			s.Events[j] = model.SpanEvent{Time: int64(d.fixed()), Name: d.name(), Attrs: d.attrs(), DroppedAttrs: d.uint32()}
		}
		if n := d.count(28); n > 0 {
			s.Links = make([]model.Link, n)
		}
		for j := range s.Links {
			l := &s.Links[j]
			d.bytes(l.TraceID[:])
			d.bytes(l.SpanID[:])
			l.TraceState, l.Flags, l.Attrs, l.DroppedAttrs = d.string(), d.uint32(), d.attrs(), d.uint32()
		}
		s.DroppedAttrs, s.DroppedEvents, s.DroppedLinks = d.uint32(), d.uint32(), d.uint32()
		s.Resource, s.Scope = source()
		if d.err != nil {
			return record{}, rows{}, d.err
		}
	}
	out.logs = make([]model.LogRecord, r.logs)
	for i := range out.logs {
		l := &out.logs[i]
		l.Time, l.Observed = int64(d.fixed()), int64(d.fixed())
		d.bytes(l.TraceID[:])
		d.bytes(l.SpanID[:])
		l.Flags = d.uint32()
		l.Severity = model.Severity(d.byte())
		l.SeverityText, l.EventName = d.name(), d.name()
		l.Body = d.value()
		l.Attrs = d.attrs()
		l.DroppedAttrs = d.uint32()
		l.Template = d.fixed()
		l.Resource, l.Scope = source()
		if d.err != nil {
			return record{}, rows{}, d.err
		}
	}
	if d.err == nil && len(d.b) != 0 {
		d.fail()
	}
	if d.err != nil {
		return record{}, rows{}, d.err
	}
	return r, out, nil
}
