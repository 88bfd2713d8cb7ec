package model

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// The JSON of spans and log records, as the HTTP API speaks it. Times are RFC 3339 with nanoseconds in UTC, durations
// nanoseconds, IDs lower-case hex; "attributes" and "resource" are objects under original names. Reading gives back
// what was written, except what JSON cannot carry: attributes come back sorted by key, bytes as base64 text, and a
// double without a fraction as a whole number. Both directions are written out by hand-made shapes rather than tags on
// the types, because a row shares its Resource and Scope while its JSON stands alone.

type spanJSON struct {
	TraceID       TraceID         `json:"trace_id"`
	SpanID        SpanID          `json:"span_id"`
	ParentID      SpanID          `json:"parent_id,omitzero"`
	TraceState    string          `json:"trace_state,omitempty"`
	Flags         uint32          `json:"flags,omitempty"`
	Name          string          `json:"name"`
	Kind          SpanKind        `json:"kind"`
	Start         time.Time       `json:"start"`
	DurationNS    int64           `json:"duration_ns"`
	Status        StatusCode      `json:"status"`
	StatusMessage string          `json:"status_message,omitempty"`
	Service       string          `json:"service"`
	Attrs         Attrs           `json:"attributes"`
	Resource      Attrs           `json:"resource"`
	SchemaURL     string          `json:"schema_url,omitempty"`
	Scope         *scopeJSON      `json:"scope,omitempty"`
	Events        []spanEventJSON `json:"events,omitempty"`
	Links         []linkJSON      `json:"links,omitempty"`
	DroppedAttrs  uint32          `json:"dropped_attributes,omitempty"`
	DroppedEvents uint32          `json:"dropped_events,omitempty"`
	DroppedLinks  uint32          `json:"dropped_links,omitempty"`
}

type scopeJSON struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Attrs     Attrs  `json:"attributes,omitempty"`
	SchemaURL string `json:"schema_url,omitempty"`
}

type spanEventJSON struct {
	Time         time.Time `json:"time"`
	Name         string    `json:"name"`
	Attrs        Attrs     `json:"attributes"`
	DroppedAttrs uint32    `json:"dropped_attributes,omitempty"`
}

type linkJSON struct {
	TraceID      TraceID `json:"trace_id"`
	SpanID       SpanID  `json:"span_id"`
	TraceState   string  `json:"trace_state,omitempty"`
	Flags        uint32  `json:"flags,omitempty"`
	Attrs        Attrs   `json:"attributes"`
	DroppedAttrs uint32  `json:"dropped_attributes,omitempty"`
}

type logJSON struct {
	Time         time.Time  `json:"time"`
	Observed     time.Time  `json:"observed,omitzero"`
	TraceID      TraceID    `json:"trace_id,omitzero"`
	SpanID       SpanID     `json:"span_id,omitzero"`
	Flags        uint32     `json:"flags,omitempty"`
	Severity     Severity   `json:"severity"`
	Level        string     `json:"level,omitempty"`
	SeverityText string     `json:"severity_text,omitempty"`
	Service      string     `json:"service"`
	Body         Value      `json:"body"`
	EventName    string     `json:"event_name,omitempty"`
	Template     templateID `json:"template,omitzero"`
	Attrs        Attrs      `json:"attributes"`
	Resource     Attrs      `json:"resource"`
	SchemaURL    string     `json:"schema_url,omitempty"`
	Scope        *scopeJSON `json:"scope,omitempty"`
	DroppedAttrs uint32     `json:"dropped_attributes,omitempty"`
}

// templateID is a template's ID as 16 hex digits, because JSON's numbers cannot hold 64 bits.
type templateID uint64

func (t templateID) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(t)), nil }

func (t *templateID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*t = 0
		return nil
	}
	v, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("template ID %q: want up to 16 hex digits", b)
	}
	*t = templateID(v)
	return nil
}

// MarshalJSON writes the span as the API does.
func (s Span) MarshalJSON() ([]byte, error) {
	out := spanJSON{
		TraceID: s.TraceID, SpanID: s.SpanID, ParentID: s.ParentID, TraceState: s.TraceState, Flags: s.Flags,
		Name: s.Name, Kind: s.Kind, Start: fromNanos(s.Start), DurationNS: s.Duration,
		Status: s.Status, StatusMessage: s.StatusMessage, Attrs: s.Attrs, Scope: scopeToJSON(s.Scope),
		DroppedAttrs: s.DroppedAttrs, DroppedEvents: s.DroppedEvents, DroppedLinks: s.DroppedLinks,
	}
	if s.Resource != nil {
		out.Service, out.Resource, out.SchemaURL = s.Resource.Service, s.Resource.Attrs, s.Resource.SchemaURL
	}
	for _, e := range s.Events {
		out.Events = append(out.Events, spanEventJSON{fromNanos(e.Time), e.Name, e.Attrs, e.DroppedAttrs})
	}
	for _, l := range s.Links {
		out.Links = append(out.Links, linkJSON(l))
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes. The span gets a Resource of its own.
func (s *Span) UnmarshalJSON(b []byte) error {
	var in spanJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("span: %w", err)
	}
	*s = Span{
		TraceID: in.TraceID, SpanID: in.SpanID, ParentID: in.ParentID, TraceState: in.TraceState, Flags: in.Flags,
		Name: in.Name, Kind: in.Kind, Start: toNanos(in.Start), Duration: in.DurationNS,
		Status: in.Status, StatusMessage: in.StatusMessage, Attrs: in.Attrs, Scope: scopeFromJSON(in.Scope),
		DroppedAttrs: in.DroppedAttrs, DroppedEvents: in.DroppedEvents, DroppedLinks: in.DroppedLinks,
		Resource: &Resource{Service: in.Service, Attrs: in.Resource, SchemaURL: in.SchemaURL},
	}
	for _, e := range in.Events {
		s.Events = append(s.Events, SpanEvent{toNanos(e.Time), e.Name, e.Attrs, e.DroppedAttrs})
	}
	for _, l := range in.Links {
		s.Links = append(s.Links, Link(l))
	}
	return nil
}

// MarshalJSON writes the record as the API does.
func (r LogRecord) MarshalJSON() ([]byte, error) {
	out := logJSON{
		Time: fromNanos(r.Time), TraceID: r.TraceID, SpanID: r.SpanID, Flags: r.Flags,
		Severity: r.Severity, Level: r.Severity.String(), SeverityText: r.SeverityText,
		Body: r.Body, EventName: r.EventName, Template: templateID(r.Template),
		Attrs: r.Attrs, Scope: scopeToJSON(r.Scope), DroppedAttrs: r.DroppedAttrs,
	}
	if r.Observed != 0 {
		out.Observed = fromNanos(r.Observed)
	}
	if r.Resource != nil {
		out.Service, out.Resource, out.SchemaURL = r.Resource.Service, r.Resource.Attrs, r.Resource.SchemaURL
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes. The record gets a Resource of its own.
func (r *LogRecord) UnmarshalJSON(b []byte) error {
	var in logJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("log record: %w", err)
	}
	*r = LogRecord{
		Time: toNanos(in.Time), Observed: toNanos(in.Observed), TraceID: in.TraceID, SpanID: in.SpanID, Flags: in.Flags,
		Severity: in.Severity, SeverityText: in.SeverityText, EventName: in.EventName, Body: in.Body,
		Attrs: in.Attrs, DroppedAttrs: in.DroppedAttrs, Template: uint64(in.Template),
		Resource: &Resource{Service: in.Service, Attrs: in.Resource, SchemaURL: in.SchemaURL},
		Scope:    scopeFromJSON(in.Scope),
	}
	return nil
}

func scopeToJSON(s *Scope) *scopeJSON {
	if s == nil {
		return nil
	}
	j := scopeJSON(*s)
	return &j
}

func scopeFromJSON(j *scopeJSON) *Scope {
	if j == nil {
		return nil
	}
	s := Scope(*j)
	return &s
}

func fromNanos(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// toNanos is the inverse; a time that was left out is 0, not the year 1, which does not fit.
func toNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
