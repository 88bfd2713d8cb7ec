package otlp

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"triage/internal/model"
)

// value converts an attribute value or log body. Lists become a JSON array of AnyValue, maps a JSON KeyValueList, both in
// OTLP's own encoding, so that the types inside survive.
func (s *sieve) value(v pcommon.Value) model.Value {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return model.String(s.text(v.Str(), maxValue))
	case pcommon.ValueTypeBool:
		return model.Bool(v.Bool())
	case pcommon.ValueTypeInt:
		return model.Int(v.Int())
	case pcommon.ValueTypeDouble:
		return model.Double(v.Double())
	case pcommon.ValueTypeBytes:
		raw := v.Bytes()
		if raw.Len() <= maxValue {
			return model.Bytes(raw.AsRaw())
		}
		s.lose(tooLong, 1)
		return model.Bytes(raw.AsRaw()[:maxValue])
	case pcommon.ValueTypeSlice:
		return s.whole(model.List, s.appendList(nil, v.Slice()))
	case pcommon.ValueTypeMap:
		return s.whole(model.Map, s.appendMap(nil, v.Map()))
	}
	return model.Value{}
}

// whole makes a list or map of its JSON. What is too long becomes text, because a part of JSON is none.
func (s *sieve) whole(of func(string) model.Value, b []byte) model.Value {
	if len(b) <= maxValue {
		return of(string(b))
	}
	return model.String(s.text(string(b), maxValue))
}

func (s *sieve) appendList(b []byte, l pcommon.Slice) []byte {
	b = append(b, '[')
	for i, v := range l.All() {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.appendAny(b, v)
	}
	return append(b, ']')
}

func (s *sieve) appendMap(b []byte, m pcommon.Map) []byte {
	b = append(b, `{"values":[`...)
	first := true
	for k, v := range m.All() {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, `{"key":`...)
		b = appendString(b, s.name(k))
		b = append(b, `,"value":`...)
		b = s.appendAny(b, v)
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

func (s *sieve) appendAny(b []byte, v pcommon.Value) []byte {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		b = appendString(append(b, `{"stringValue":`...), s.text(v.Str(), maxValue))
	case pcommon.ValueTypeBool:
		b = strconv.AppendBool(append(b, `{"boolValue":`...), v.Bool())
	case pcommon.ValueTypeInt:
		// 64-bit numbers are strings in protobuf's JSON.
		b = append(strconv.AppendInt(append(b, `{"intValue":"`...), v.Int(), 10), '"')
	case pcommon.ValueTypeDouble:
		b = appendDouble(append(b, `{"doubleValue":`...), v.Double())
	case pcommon.ValueTypeBytes:
		b = base64.StdEncoding.AppendEncode(append(b, `{"bytesValue":"`...), v.Bytes().AsRaw())
		b = append(b, '"')
	case pcommon.ValueTypeSlice:
		b = append(s.appendList(append(b, `{"arrayValue":{"values":`...), v.Slice()), '}')
	case pcommon.ValueTypeMap:
		b = s.appendMap(append(b, `{"kvlistValue":`...), v.Map())
	default:
		b = append(b, '{')
	}
	return append(b, '}')
}

func appendDouble(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

func appendString(b []byte, t string) []byte {
	for i := range len(t) {
		if c := t[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			j, _ := json.Marshal(t) // a string always has a JSON form
			return append(b, j...)
		}
	}
	return append(append(append(b, '"'), t...), '"')
}
