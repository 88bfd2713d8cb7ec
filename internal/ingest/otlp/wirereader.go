package otlp

import (
	"encoding/base64"
	"math"
	"strconv"

	"github.com/VictoriaMetrics/easyproto"

	"triage/internal/model"
)

// wireDecoder reads the protobuf of spans and log records without a data model in between, which is most of what decoding
// costs. pdata reads everything else: JSON, metrics, and what hardly any sender writes (wireReader.rare).
//
// Strings of what it makes are parts of the request's bytes: whoever keeps one beyond the batch clones it.
type wireDecoder struct{ *pdataDecoder }

func (d wireDecoder) traces(data []byte, enc encoding, into *sieve) error {
	if enc == protobuf {
		if r := (wireReader{sieve: into}); r.traces(data) {
			return nil
		}
		into.reset()
	}
	return d.pdataDecoder.traces(data, enc, into)
}

func (d wireDecoder) logs(data []byte, enc encoding, into *sieve) error {
	if enc == protobuf {
		if r := (wireReader{sieve: into}); r.logs(data) {
			return nil
		}
		into.reset()
	}
	return d.pdataDecoder.logs(data, enc, into)
}

// wireReader takes the rows of one request into a sieve. The request has passed check, so that wire types are right.
type wireReader struct {
	*sieve
	slab []model.Attr // the free part is where the next attributes go
	// rare tells that there is something that pdata has to read: groups, parts that come twice where one is meant and that
	// protobuf merges, and what senders of 2021 called scopes.
	rare bool
}

// slabAttrs is how many attributes share one piece of memory.
const slabAttrs = 1024

// next reads the next field of rest into f, and is false at the end.
func (r *wireReader) next(f *easyproto.FieldContext, rest *[]byte) bool {
	if len(*rest) == 0 {
		return false
	}
	var err error
	if *rest, err = f.NextField(*rest); err != nil {
		r.rare = true
		return false
	}
	return true
}

// each calls fn with the messages of one field, and their index.
func (r *wireReader) each(data []byte, field uint32, fn func(i int, message []byte)) {
	var f easyproto.FieldContext
	for i := 0; r.next(&f, &data); {
		if f.FieldNum == field {
			fn(i, bytesOf(&f))
			i++
		}
	}
}

// count is how many messages a field has.
func (r *wireReader) count(data []byte, field uint32) (n int) {
	var f easyproto.FieldContext
	for r.next(&f, &data) {
		if f.FieldNum == field {
			n++
		}
	}
	return n
}

// once notes how often a part came that there should be one of.
func (r *wireReader) once(n int) {
	if n > 1 {
		r.rare = true
	}
}

// What a field holds; zero where it is of another type, which check has ruled out.

func bytesOf(f *easyproto.FieldContext) []byte {
	b, _ := f.MessageData()
	return b
}

func textOf(f *easyproto.FieldContext) string {
	t, _ := f.String()
	return t
}

func varintOf(f *easyproto.FieldContext) uint64 {
	u, _ := f.Uint64()
	return u
}

func fixedOf(f *easyproto.FieldContext) uint64 {
	u, _ := f.Fixed64()
	return u
}

// source reads what ResourceSpans and ScopeSpans, and their siblings of logs, begin with.
func (r *wireReader) source(data []byte) (message []byte, schemaURL string) {
	var f easyproto.FieldContext
	n := 0
	for r.next(&f, &data) {
		switch f.FieldNum {
		case 1:
			message = bytesOf(&f)
			n++
		case 3:
			schemaURL = textOf(&f)
		case 1000:
			r.rare = true
		}
	}
	r.once(n)
	return message, schemaURL
}

// resource makes the one Resource that all rows of an OTLP resource share.
func (r *wireReader) resource(data []byte) *model.Resource {
	message, schemaURL := r.source(data)
	return r.newResource(r.attrs(message, 1, r.count(message, 1)), schemaURL)
}

// scope makes the one Scope that all rows of an OTLP scope share, nil if it says nothing.
func (r *wireReader) scope(data []byte) *model.Scope {
	message, schemaURL := r.source(data)
	var f easyproto.FieldContext
	var name, version string
	attrs := 0
	for rest := message; r.next(&f, &rest); {
		switch f.FieldNum {
		case 1:
			name = textOf(&f)
		case 2:
			version = textOf(&f)
		case 3:
			attrs++
		}
	}
	if name == "" && version == "" && attrs == 0 && schemaURL == "" {
		return nil
	}
	return &model.Scope{Name: r.name(name), Version: r.name(version), Attrs: r.attrs(message, 3, attrs), SchemaURL: r.name(schemaURL)}
}

// attrs reads the attributes that stand in a field of a message, sent of them.
func (r *wireReader) attrs(message []byte, field uint32, sent int) model.Attrs {
	n := min(sent, maxParts)
	if n == 0 {
		return nil
	}
	if sent > n {
		r.lose(tooMany, sent-n)
	}
	if cap(r.slab)-len(r.slab) < n {
		r.slab = make([]model.Attr, 0, max(n, slabAttrs))
	}
	l := len(r.slab)
	set := attrSet{out: r.slab[l : l : l+n]}
	var f, part easyproto.FieldContext
	for len(set.out) < n && r.next(&f, &message) {
		if f.FieldNum != field {
			continue
		}
		var key string
		var v anyValue
		for rest := bytesOf(&f); r.next(&part, &rest); {
			switch part.FieldNum {
			case 1:
				key = textOf(&part)
			case 2:
				r.any(bytesOf(&part), &v)
			}
		}
		set.add(r.name(key), r.value(&v))
	}
	r.slab = r.slab[:l+len(set.out)]
	return set.out
}

// anyValue is an AnyValue whose parts are not read yet.
type anyValue struct {
	kind model.ValueKind
	num  uint64
	text string
	data []byte
}

// any reads an AnyValue. Of several values the last counts.
func (r *wireReader) any(data []byte, v *anyValue) {
	var f easyproto.FieldContext
	for r.next(&f, &data) {
		switch f.FieldNum {
		case 1:
			*v = anyValue{kind: model.KindString, text: textOf(&f)}
		case 2:
			*v = anyValue{kind: model.KindBool, num: varintOf(&f)}
		case 3:
			*v = anyValue{kind: model.KindInt, num: varintOf(&f)}
		case 4:
			*v = anyValue{kind: model.KindDouble, num: fixedOf(&f)}
		case 5:
			*v = anyValue{kind: model.KindList, data: bytesOf(&f)}
		case 6:
			*v = anyValue{kind: model.KindMap, data: bytesOf(&f)}
		case 7:
			*v = anyValue{kind: model.KindBytes, data: bytesOf(&f)}
		case 8:
			*v = anyValue{}
		}
	}
}

// value converts an attribute value or log body, as sieve.value does.
func (r *wireReader) value(v *anyValue) model.Value {
	switch v.kind {
	case model.KindString:
		return model.String(r.text(v.text, maxValue))
	case model.KindBool:
		return model.Bool(v.num != 0)
	case model.KindInt:
		return model.Int(int64(v.num))
	case model.KindDouble:
		return model.Double(math.Float64frombits(v.num))
	case model.KindBytes:
		if len(v.data) <= maxValue {
			return model.Bytes(v.data)
		}
		r.lose(tooLong, 1)
		return model.Bytes(v.data[:maxValue])
	case model.KindList:
		return r.whole(model.List, r.appendList(nil, v.data))
	case model.KindMap:
		return r.whole(model.Map, r.appendMap(nil, v.data))
	}
	return model.Value{}
}

func (r *wireReader) appendList(b, list []byte) []byte {
	b = append(b, '[')
	r.each(list, 1, func(i int, data []byte) {
		if i > 0 {
			b = append(b, ',')
		}
		var v anyValue
		r.any(data, &v)
		b = r.appendAny(b, &v)
	})
	return append(b, ']')
}

func (r *wireReader) appendMap(b, m []byte) []byte {
	b = append(b, `{"values":[`...)
	r.each(m, 1, func(i int, data []byte) {
		if i > 0 {
			b = append(b, ',')
		}
		var part easyproto.FieldContext
		var key string
		var v anyValue
		for r.next(&part, &data) {
			switch part.FieldNum {
			case 1:
				key = textOf(&part)
			case 2:
				r.any(bytesOf(&part), &v)
			}
		}
		b = append(b, `{"key":`...)
		b = appendString(b, r.name(key))
		b = append(b, `,"value":`...)
		b = r.appendAny(b, &v)
		b = append(b, '}')
	})
	return append(b, `]}`...)
}

func (r *wireReader) appendAny(b []byte, v *anyValue) []byte {
	switch v.kind {
	case model.KindString:
		b = appendString(append(b, `{"stringValue":`...), r.text(v.text, maxValue))
	case model.KindBool:
		b = strconv.AppendBool(append(b, `{"boolValue":`...), v.num != 0)
	case model.KindInt:
		b = append(strconv.AppendInt(append(b, `{"intValue":"`...), int64(v.num), 10), '"')
	case model.KindDouble:
		b = appendDouble(append(b, `{"doubleValue":`...), math.Float64frombits(v.num))
	case model.KindBytes:
		b = base64.StdEncoding.AppendEncode(append(b, `{"bytesValue":"`...), v.data)
		b = append(b, '"')
	case model.KindList:
		b = append(r.appendList(append(b, `{"arrayValue":{"values":`...), v.data), '}')
	case model.KindMap:
		b = r.appendMap(append(b, `{"kvlistValue":`...), v.data)
	default:
		b = append(b, '{')
	}
	return append(b, '}')
}
