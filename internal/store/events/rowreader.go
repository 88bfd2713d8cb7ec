package events

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"triage/internal/model"
)

// rowReader turns Arrow batches of blocks back into rows. Batches may come from blocks of different layouts. Strings are
// copied unless shared is set: then they live only as long as the batch.
type rowReader struct {
	shared bool

	resources map[string]*model.Resource
	scopes    map[string]*model.Scope
	key       []byte
}

// maxSources bounds the resources and scopes a rowReader remembers; beyond that it begins anew.
const maxSources = 4096

// batch gives access to one Arrow batch by names of columns.
type batch struct {
	arrow.RecordBatch
	byName map[string]arrow.Array
	attrs  [len(prefixes)][]namedColumn
	rest   *array.Map
}

type namedColumn struct {
	key string
	arrow.Array
}

func newBatch(rec arrow.RecordBatch) *batch {
	b := &batch{RecordBatch: rec, byName: make(map[string]arrow.Array, rec.NumCols())}
	for i, f := range rec.Schema().Fields() {
		col := rec.Column(i)
		if p, key, ok := splitName(f.Name); ok {
			b.attrs[p] = append(b.attrs[p], namedColumn{key, col})
			continue
		}
		b.byName[f.Name] = col
	}
	b.rest, _ = b.byName["rest"].(*array.Map)
	return b
}

func (b *batch) int64(name string, row int) int64 {
	if c, ok := b.byName[name].(*array.Int64); ok && c.IsValid(row) {
		return c.Value(row)
	}
	return 0
}

func (b *batch) uint64(name string, row int) uint64 {
	if c, ok := b.byName[name].(*array.Uint64); ok && c.IsValid(row) {
		return c.Value(row)
	}
	return 0
}

func (b *batch) uint32(name string, row int) uint32 {
	if c, ok := b.byName[name].(*array.Uint32); ok && c.IsValid(row) {
		return c.Value(row)
	}
	return 0
}

func (b *batch) uint8(name string, row int) uint8 {
	if c, ok := b.byName[name].(*array.Uint8); ok && c.IsValid(row) {
		return c.Value(row)
	}
	return 0
}

// text is a column's text as it is stored, not copied.
func (b *batch) text(name string, row int) (string, bool) {
	if c, ok := b.byName[name].(*array.String); ok && c.IsValid(row) {
		return c.Value(row), true
	}
	return "", false
}

func (r *rowReader) string(b *batch, name string, row int) string {
	s, _ := b.text(name, row)
	return r.own(s)
}

// own makes text the reader's caller's.
func (r *rowReader) own(s string) string {
	if strings.HasPrefix(s, notUTF8) {
		return unclean(s)
	}
	if r.shared {
		return s
	}
	return strings.Clone(s)
}

// spans decodes a batch.
func (r *rowReader) spans(rec arrow.RecordBatch) ([]model.Span, error) {
	b := newBatch(rec)
	out := make([]model.Span, rec.NumRows())
	attrs, err := r.attrs(b)
	if err != nil {
		return nil, err
	}
	for i := range out {
		s := &out[i]
		s.TraceID = model.TraceIDFrom(b.uint64("trace_hi", i), b.uint64("trace_lo", i))
		s.SpanID = model.SpanIDFrom(b.uint64("span_id", i))
		s.ParentID = model.SpanIDFrom(b.uint64("parent_id", i))
		s.TraceState = r.string(b, "trace_state", i)
		s.Flags = b.uint32("flags", i)
		s.Name = r.string(b, "name", i)
		s.Kind = model.SpanKind(b.uint8("kind", i))
		s.Start = b.int64("ts", i)
		s.Duration = b.int64("duration", i)
		s.Status = model.StatusCode(b.uint8("status", i))
		s.StatusMessage = r.string(b, "status_message", i)
		s.Attrs = attrs[i]
		s.DroppedAttrs = b.uint32("dropped_attributes", i)
		s.DroppedEvents = b.uint32("dropped_events", i)
		s.DroppedLinks = b.uint32("dropped_links", i)
		if text, ok := b.text("events", i); ok {
			if s.Events, err = parseEvents(text); err != nil {
				return nil, err
			}
		}
		if text, ok := b.text("links", i); ok {
			if s.Links, err = parseLinks(text); err != nil {
				return nil, err
			}
		}
		if s.Resource, s.Scope, err = r.source(b, i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// logs decodes a batch.
func (r *rowReader) logs(rec arrow.RecordBatch) ([]model.LogRecord, error) {
	b := newBatch(rec)
	out := make([]model.LogRecord, rec.NumRows())
	attrs, err := r.attrs(b)
	if err != nil {
		return nil, err
	}
	for i := range out {
		l := &out[i]
		l.Time, l.Observed = b.int64("ts", i), b.int64("observed", i)
		l.TraceID = model.TraceIDFrom(b.uint64("trace_hi", i), b.uint64("trace_lo", i))
		l.SpanID = model.SpanIDFrom(b.uint64("span_id", i))
		l.Flags = b.uint32("flags", i)
		l.Severity = model.Severity(b.uint8("severity", i))
		l.SeverityText = r.string(b, "severity_text", i)
		l.EventName = r.string(b, "event_name", i)
		l.Attrs = attrs[i]
		l.DroppedAttrs = b.uint32("dropped_attributes", i)
		l.Template = b.uint64("template", i)
		if typed, ok := b.restValue(i, fixedPrefix+"body"); ok {
			if l.Body, err = r.parse(typed); err != nil {
				return nil, err
			}
		} else if text, ok := b.text("body", i); ok {
			l.Body = model.String(r.own(text))
		}
		if l.Resource, l.Scope, err = r.source(b, i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// parse reads typed text into a value that is the caller's.
func (r *rowReader) parse(typed string) (model.Value, error) {
	if !r.shared {
		typed = strings.Clone(typed)
	}
	return parseTyped(typed)
}

// eachRest calls fn with the entries of a row's rest whose names begin with prefix.
func (b *batch) eachRest(row int, prefix string, fn func(name, typed string) error) error {
	if b.rest == nil || b.rest.IsNull(row) {
		return nil
	}
	keys, ok1 := b.rest.Keys().(*array.String)
	items, ok2 := b.rest.Items().(*array.String)
	if !ok1 || !ok2 {
		return fmt.Errorf("column rest is %s", b.rest.DataType())
	}
	from, to := b.rest.ValueOffsets(row)
	for i := int(from); i < int(to); i++ {
		if name, ok := strings.CutPrefix(keys.Value(i), prefix); ok {
			if err := fn(name, items.Value(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *batch) restValue(row int, name string) (typed string, found bool) {
	_ = b.eachRest(row, name, func(rest, t string) error {
		if rest == "" {
			typed, found = t, true
		}
		return nil
	})
	return typed, found
}

// value reads one cell of an attribute's column.
func (r *rowReader) value(col arrow.Array, row int) (model.Value, error) {
	switch c := col.(type) {
	case *array.String:
		return model.String(r.own(c.Value(row))), nil
	case *array.Int64:
		return model.Int(c.Value(row)), nil
	case *array.Float64:
		return model.Double(c.Value(row)), nil
	case *array.Boolean:
		return model.Bool(c.Value(row)), nil
	}
	return model.Value{}, fmt.Errorf("attribute column is %s", col.DataType())
}

// attrs decodes the own attributes of all rows, a column at a time.
func (r *rowReader) attrs(b *batch) ([]model.Attrs, error) {
	n := int(b.NumRows())
	out := make([]model.Attrs, n)
	sizes, total := make([]int, n), 0
	for _, c := range b.attrs[0] {
		for i := range n {
			if c.IsValid(i) {
				sizes[i]++
				total++
			}
		}
	}
	backing := make([]model.Attr, total)
	for i := range n {
		if sizes[i] > 0 {
			out[i], backing = backing[0:0:sizes[i]], backing[sizes[i]:]
		}
	}
	for _, c := range b.attrs[0] {
		for i := range n {
			if !c.IsValid(i) {
				continue
			}
			v, err := r.value(c.Array, i)
			if err != nil {
				return nil, fmt.Errorf("column %s%s: %w", ownPrefix, c.key, err)
			}
			out[i] = append(out[i], model.Attr{Key: c.key, Value: v})
		}
	}
	if b.rest == nil {
		return out, nil
	}
	for i := range n {
		err := b.eachRest(i, ownPrefix, func(key, typed string) error {
			v, err := r.parse(typed)
			out[i] = append(out[i], model.Attr{Key: r.own(key), Value: v})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// source decodes a row's resource and scope. Rows that share them share the result.
func (r *rowReader) source(b *batch, row int) (*model.Resource, *model.Scope, error) {
	if r.resources == nil || len(r.resources) > maxSources || len(r.scopes) > maxSources {
		r.resources, r.scopes = map[string]*model.Resource{}, map[string]*model.Scope{}
	}
	r.key = r.key[:0]
	r.keyText(b, "service", row)
	r.keyText(b, "resource_schema", row)
	if err := r.keyAttrs(b, 1, row); err != nil {
		return nil, nil, err
	}
	res := r.resources[string(r.key)]
	if res == nil {
		// The resource outlives the batch, so its strings are copied whether shared or not.
		own := rowReader{}
		attrs, err := own.sourceAttrs(b, 1, row)
		if err != nil {
			return nil, nil, err
		}
		res = &model.Resource{Service: own.string(b, "service", row), SchemaURL: own.string(b, "resource_schema", row), Attrs: attrs}
		r.resources[string(r.key)] = res
	}
	name, ok := b.text("scope_name", row)
	if !ok {
		return res, nil, nil
	}
	r.key = r.key[:0]
	r.keyString(name)
	r.keyText(b, "scope_version", row)
	r.keyText(b, "scope_schema", row)
	if err := r.keyAttrs(b, 2, row); err != nil {
		return nil, nil, err
	}
	scope := r.scopes[string(r.key)]
	if scope == nil {
		own := rowReader{}
		attrs, err := own.sourceAttrs(b, 2, row)
		if err != nil {
			return nil, nil, err
		}
		scope = &model.Scope{Name: own.own(name), Version: own.string(b, "scope_version", row),
			SchemaURL: own.string(b, "scope_schema", row), Attrs: attrs}
		r.scopes[string(r.key)] = scope
	}
	return res, scope, nil
}

// keyString appends text so that no two different sequences of texts make the same key.
func (r *rowReader) keyString(s string) {
	r.key = binary.AppendUvarint(r.key, uint64(len(s)))
	r.key = append(r.key, s...)
}

func (r *rowReader) keyText(b *batch, name string, row int) {
	s, _ := b.text(name, row)
	r.keyString(s)
}

func (r *rowReader) keyAttrs(b *batch, prefix, row int) error {
	for _, c := range b.attrs[prefix] {
		if !c.IsValid(row) {
			continue
		}
		r.keyString(c.key)
		switch col := c.Array.(type) {
		case *array.String:
			r.key = append(r.key, byte(typeText))
			r.keyString(col.Value(row))
		case *array.Int64:
			r.key = append(r.key, byte(typeInt))
			r.key = binary.LittleEndian.AppendUint64(r.key, uint64(col.Value(row)))
		case *array.Float64:
			r.key = append(r.key, byte(typeDouble))
			r.key = binary.LittleEndian.AppendUint64(r.key, math.Float64bits(col.Value(row)))
		case *array.Boolean:
			r.key = append(r.key, byte(typeBool))
			if col.Value(row) {
				r.key = append(r.key, 1)
			} else {
				r.key = append(r.key, 0)
			}
		}
	}
	return b.eachRest(row, prefixes[prefix], func(key, typed string) error {
		r.keyString(key)
		r.key = append(r.key, byte(typeNone))
		r.keyString(typed)
		return nil
	})
}

func (r *rowReader) sourceAttrs(b *batch, prefix, row int) (attrs model.Attrs, err error) {
	for _, c := range b.attrs[prefix] {
		if !c.IsValid(row) {
			continue
		}
		v, err := r.value(c.Array, row)
		if err != nil {
			return nil, fmt.Errorf("column %s%s: %w", prefixes[prefix], c.key, err)
		}
		attrs = append(attrs, model.Attr{Key: c.key, Value: v})
	}
	err = b.eachRest(row, prefixes[prefix], func(key, typed string) error {
		v, err := r.parse(typed)
		attrs = append(attrs, model.Attr{Key: r.own(key), Value: v})
		return err
	})
	return attrs, err
}
