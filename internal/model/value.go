package model

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ValueKind says which of OpenTelemetry's attribute types a Value holds.
type ValueKind uint8

// The kinds of a Value. List and Map hold their elements as JSON text in OTLP's own AnyValue encoding, so that nested
// types survive.
const (
	KindEmpty ValueKind = iota
	KindString
	KindBool
	KindInt
	KindDouble
	KindBytes
	KindList
	KindMap
)

// Value is one attribute value. The zero Value is empty. Values are immutable and compare with ==.
type Value struct {
	kind ValueKind
	num  uint64
	str  string
}

// String makes a Value of text.
func String(s string) Value { return Value{kind: KindString, str: s} }

// Bool makes a Value of a truth value.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, num: 1}
	}
	return Value{kind: KindBool}
}

// Int makes a Value of a whole number.
func Int(i int64) Value { return Value{kind: KindInt, num: uint64(i)} }

// Double makes a Value of a floating-point number.
func Double(f float64) Value { return Value{kind: KindDouble, num: math.Float64bits(f)} }

// Bytes makes a Value of raw bytes, which it copies.
func Bytes(b []byte) Value { return Value{kind: KindBytes, str: string(b)} }

// List makes a Value of an OTLP ArrayValue in OTLP's JSON encoding.
func List(otlpJSON string) Value { return Value{kind: KindList, str: otlpJSON} }

// Map makes a Value of an OTLP KeyValueList in OTLP's JSON encoding.
func Map(otlpJSON string) Value { return Value{kind: KindMap, str: otlpJSON} }

// Kind says what the Value holds.
func (v Value) Kind() ValueKind { return v.kind }

// Str is the text of a string, the bytes of a bytes value, or the JSON of a list or map.
func (v Value) Str() string { return v.str }

// Int is the number of a KindInt value.
func (v Value) Int() int64 { return int64(v.num) }

// Double is the number of a KindDouble value.
func (v Value) Double() float64 { return math.Float64frombits(v.num) }

// Bool is the truth of a KindBool value.
func (v Value) Bool() bool { return v.num != 0 }

// Number is the value as a float, for any numeric kind and for text that is a number.
func (v Value) Number() (float64, bool) {
	switch v.kind {
	case KindInt:
		return float64(v.Int()), true
	case KindDouble:
		return v.Double(), true
	case KindString:
		f, err := strconv.ParseFloat(v.str, 64)
		return f, err == nil
	}
	return 0, false
}

// String is the value as a person reads it.
func (v Value) String() string {
	switch v.kind {
	case KindString, KindList, KindMap:
		return v.str
	case KindBool:
		return strconv.FormatBool(v.Bool())
	case KindInt:
		return strconv.FormatInt(v.Int(), 10)
	case KindDouble:
		return strconv.FormatFloat(v.Double(), 'g', -1, 64)
	case KindBytes:
		return base64.StdEncoding.EncodeToString([]byte(v.str))
	}
	return ""
}

// MarshalJSON writes the nearest JSON type; NaN and infinities become text.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.kind {
	case KindEmpty:
		return []byte("null"), nil
	case KindBool, KindInt:
		return []byte(v.String()), nil
	case KindDouble:
		if d := v.Double(); !math.IsNaN(d) && !math.IsInf(d, 0) {
			return json.Marshal(d)
		}
	case KindList, KindMap:
		return json.RawMessage(v.str), nil
	}
	return json.Marshal(v.String())
}

// UnmarshalJSON reads what MarshalJSON writes. Numbers without a point or exponent are ints; bytes come back as text.
func (v *Value) UnmarshalJSON(b []byte) error {
	s := strings.TrimSpace(string(b))
	switch {
	case s == "null":
		*v = Value{}
	case s == "true" || s == "false":
		*v = Bool(s == "true")
	case strings.HasPrefix(s, "["):
		*v = List(s)
	case strings.HasPrefix(s, "{"):
		*v = Map(s)
	case strings.HasPrefix(s, `"`):
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		*v = String(text)
	default:
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			*v = Int(i)
			return nil
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("attribute value %s: %w", s, err)
		}
		*v = Double(f)
	}
	return nil
}

// Attr is one attribute under its original name.
type Attr struct {
	Key   string
	Value Value
}

// Attrs are attributes in the order they were received. Keys are unique.
type Attrs []Attr

// Get finds an attribute; a missing one is the empty Value.
func (a Attrs) Get(key string) (Value, bool) {
	for i := range a {
		if a[i].Key == key {
			return a[i].Value, true
		}
	}
	return Value{}, false
}

// Str is the attribute as text, "" if missing.
func (a Attrs) Str(key string) string {
	v, _ := a.Get(key)
	return v.String()
}

// First is the text of the first of keys that is present and not empty.
func (a Attrs) First(keys ...string) string {
	for _, k := range keys {
		if s := a.Str(k); s != "" {
			return s
		}
	}
	return ""
}

// Set replaces or appends an attribute.
func (a Attrs) Set(key string, v Value) Attrs {
	for i := range a {
		if a[i].Key == key {
			a[i].Value = v
			return a
		}
	}
	return append(a, Attr{key, v})
}

// Sorted is a copy in order of keys.
func (a Attrs) Sorted() Attrs {
	c := slices.Clone(a)
	slices.SortFunc(c, func(x, y Attr) int { return strings.Compare(x.Key, y.Key) })
	return c
}

// MarshalJSON writes an object with keys in the order received.
func (a Attrs) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i := range a {
		if i > 0 {
			out = append(out, ',')
		}
		k, err := json.Marshal(a[i].Key)
		if err != nil {
			return nil, err
		}
		v, err := a[i].Value.MarshalJSON()
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, k...), ':'), v...)
	}
	return append(out, '}'), nil
}

// UnmarshalJSON reads an object; keys come back sorted.
func (a *Attrs) UnmarshalJSON(b []byte) error {
	var m map[string]Value
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*a = make(Attrs, 0, len(m))
	for k, v := range m {
		*a = append(*a, Attr{k, v})
	}
	*a = a.Sorted()
	return nil
}
