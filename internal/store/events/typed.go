package events

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"triage/internal/model"
)

// Typed text is how a value of any kind is written where there is no column of its type: a letter, a colon and the
// value. It is what the map column "rest" and the JSON columns "events" and "links" hold.
//
//	s:text   i:42   d:0x7ff8000000000001 or d:1.5   b:true   x:base64 of bytes   l:JSON list   m:JSON map   e: (empty)

// typedText writes a value as typed text.
func typedText(v model.Value) string {
	switch v.Kind() {
	case model.KindString:
		return "s:" + clean(v.Str())
	case model.KindBool:
		return "b:" + strconv.FormatBool(v.Bool())
	case model.KindInt:
		return "i:" + strconv.FormatInt(v.Int(), 10)
	case model.KindDouble:
		if d := v.Double(); math.IsNaN(d) {
			return "d:0x" + strconv.FormatUint(math.Float64bits(d), 16)
		}
		return "d:" + v.String()
	case model.KindBytes:
		return "x:" + base64.StdEncoding.EncodeToString([]byte(v.Str()))
	case model.KindList:
		return "l:" + clean(v.Str())
	case model.KindMap:
		return "m:" + clean(v.Str())
	}
	return "e:"
}

// parseTyped reads what typedText writes.
func parseTyped(s string) (model.Value, error) {
	if len(s) < 2 || s[1] != ':' {
		return model.Value{}, fmt.Errorf("typed text %.40q: no type", s)
	}
	text := s[2:]
	switch s[0] {
	case 's':
		return model.String(unclean(text)), nil
	case 'b':
		return model.Bool(text == "true"), nil
	case 'i':
		i, err := strconv.ParseInt(text, 10, 64)
		return model.Int(i), err
	case 'd':
		if bits, ok := strings.CutPrefix(text, "0x"); ok {
			u, err := strconv.ParseUint(bits, 16, 64)
			return model.Double(math.Float64frombits(u)), err
		}
		d, err := strconv.ParseFloat(text, 64)
		return model.Double(d), err
	case 'x':
		b, err := base64.StdEncoding.DecodeString(text)
		return model.Bytes(b), err
	case 'l':
		return model.List(unclean(text)), nil
	case 'm':
		return model.Map(unclean(text)), nil
	case 'e':
		return model.Value{}, nil
	}
	return model.Value{}, fmt.Errorf("typed text %.40q: unknown type", s)
}

// notUTF8 marks text that was not UTF-8, which Parquet and JSON cannot hold: U+FFFF and the base64 of its bytes.
const notUTF8 = "\uffff"

// clean makes any bytes UTF-8, so that unclean gives them back. Text that is UTF-8 already stays as it is.
func clean(s string) string {
	if utf8.ValidString(s) && !strings.HasPrefix(s, notUTF8) {
		return s
	}
	return notUTF8 + base64.StdEncoding.EncodeToString([]byte(s))
}

// unclean is the inverse of clean.
func unclean(s string) string {
	code, ok := strings.CutPrefix(s, notUTF8)
	if !ok {
		return s
	}
	b, err := base64.StdEncoding.DecodeString(code)
	if err != nil {
		return s
	}
	return string(b)
}

// typedAttrs writes attributes as an object of typed texts.
func typedAttrs(attrs model.Attrs) map[string]string {
	if len(attrs) == 0 {
		return nil
	}
	m := make(map[string]string, len(attrs))
	for i := range attrs {
		m[clean(attrs[i].Key)] = typedText(attrs[i].Value)
	}
	return m
}

// untypedAttrs is the inverse of typedAttrs, sorted by key.
func untypedAttrs(m map[string]string) (model.Attrs, error) {
	if len(m) == 0 {
		return nil, nil
	}
	attrs := make(model.Attrs, 0, len(m))
	for k, t := range m {
		v, err := parseTyped(t)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, model.Attr{Key: unclean(k), Value: v})
	}
	return attrs.Sorted(), nil
}

// eventJSON is one element of the column "events".
type eventJSON struct {
	Time    int64             `json:"time"` // ns since the epoch
	Name    string            `json:"name"`
	Attrs   map[string]string `json:"attributes,omitempty"`
	Dropped uint32            `json:"dropped,omitempty"`
}

// linkJSON is one element of the column "links".
type linkJSON struct {
	TraceID model.TraceID     `json:"trace_id"`
	SpanID  model.SpanID      `json:"span_id"`
	State   string            `json:"state,omitempty"`
	Flags   uint32            `json:"flags,omitempty"`
	Attrs   map[string]string `json:"attributes,omitempty"`
	Dropped uint32            `json:"dropped,omitempty"`
}

func eventsText(events []model.SpanEvent) (string, error) {
	out := make([]eventJSON, len(events))
	for i, e := range events {
		out[i] = eventJSON{e.Time, clean(e.Name), typedAttrs(e.Attrs), e.DroppedAttrs}
	}
	b, err := json.Marshal(out)
	return string(b), err
}

func parseEvents(text string) ([]model.SpanEvent, error) {
	var in []eventJSON
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, fmt.Errorf("decode span events: %w", err)
	}
	events := make([]model.SpanEvent, len(in))
	for i, e := range in {
		attrs, err := untypedAttrs(e.Attrs)
		if err != nil {
			return nil, fmt.Errorf("decode span events: %w", err)
		}
		events[i] = model.SpanEvent{Time: e.Time, Name: unclean(e.Name), Attrs: attrs, DroppedAttrs: e.Dropped}
	}
	return events, nil
}

func linksText(links []model.Link) (string, error) {
	out := make([]linkJSON, len(links))
	for i, l := range links {
		out[i] = linkJSON{l.TraceID, l.SpanID, clean(l.TraceState), l.Flags, typedAttrs(l.Attrs), l.DroppedAttrs}
	}
	b, err := json.Marshal(out)
	return string(b), err
}

func parseLinks(text string) ([]model.Link, error) {
	var in []linkJSON
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, fmt.Errorf("decode span links: %w", err)
	}
	links := make([]model.Link, len(in))
	for i, l := range in {
		attrs, err := untypedAttrs(l.Attrs)
		if err != nil {
			return nil, fmt.Errorf("decode span links: %w", err)
		}
		links[i] = model.Link{TraceID: l.TraceID, SpanID: l.SpanID, TraceState: unclean(l.State), Flags: l.Flags, Attrs: attrs,
			DroppedAttrs: l.Dropped}
	}
	return links, nil
}
