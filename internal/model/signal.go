// Package model holds the plain types that every other package speaks: what is received (spans, log records, series,
// changes), what is noticed (alarms, incidents) and what is concluded (verdicts). It decides nothing, stores nothing
// and imports nothing of ours.
//
// Times inside received data are int64 nanoseconds since the Unix epoch, because there are millions of them; times
// that people read are time.Time.
package model

import (
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// DefaultTenant owns whatever names no tenant.
const DefaultTenant = "default"

// Batch is what one request brought, whatever its format. All its rows belong to one tenant.
type Batch struct {
	Tenant string
	// Source is the format it came by ("otlp", "promwrite", "scrape", ...), for counters.
	Source string
	// ID identifies the request's bytes for de-duplication of retries; zero means "never a retry".
	ID      [32]byte
	Spans   []Span
	Logs    []LogRecord
	Series  []Series
	Changes []Change
	// Rejected counts rows that the edge refused and that are therefore not in the batch.
	Rejected []Rejection
}

// Rejection is rows of one signal ("spans", "logs", "samples") that were refused for one reason, a short word.
type Rejection struct {
	Signal, Reason string
	Count          int
}

// Len is the number of items in the batch.
func (b *Batch) Len() int { return len(b.Spans) + len(b.Logs) + len(b.Series) + len(b.Changes) }

// Resource is what produced a row. It is shared by many rows and never changed once made.
type Resource struct {
	// Service is service.name; "unknown_service" where the sender gave none.
	Service   string
	Attrs     Attrs
	SchemaURL string
}

// Scope is the instrumentation scope of a row, shared like Resource.
type Scope struct {
	Name, Version string
	Attrs         Attrs
	SchemaURL     string
}

// SpanKind is OpenTelemetry's span kind, with its numbers.
type SpanKind uint8

// The span kinds.
const (
	SpanUnspecified SpanKind = iota
	SpanInternal
	SpanServer
	SpanClient
	SpanProducer
	SpanConsumer
)

var spanKinds = [...]string{"unspecified", "internal", "server", "client", "producer", "consumer"}

// String is the kind in lower case.
func (k SpanKind) String() string {
	if int(k) < len(spanKinds) {
		return spanKinds[k]
	}
	return spanKinds[0]
}

// MarshalText writes String.
func (k SpanKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads String; anything else is SpanUnspecified.
func (k *SpanKind) UnmarshalText(b []byte) error { *k = ParseSpanKind(string(b)); return nil }

// ParseSpanKind reads what String writes; anything else is SpanUnspecified.
func ParseSpanKind(s string) SpanKind {
	for i, n := range spanKinds {
		if n == s {
			return SpanKind(i)
		}
	}
	return SpanUnspecified
}

// Entry tells whether spans of the kind receive work from elsewhere.
func (k SpanKind) Entry() bool { return k == SpanServer || k == SpanConsumer }

// StatusCode is OpenTelemetry's span status, with its numbers.
type StatusCode uint8

// The span statuses.
const (
	StatusUnset StatusCode = iota
	StatusOK
	StatusError
)

var statusCodes = [...]string{"unset", "ok", "error"}

// String is the status in lower case.
func (c StatusCode) String() string {
	if int(c) < len(statusCodes) {
		return statusCodes[c]
	}
	return statusCodes[0]
}

// MarshalText writes String.
func (c StatusCode) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads String; anything else is StatusUnset.
func (c *StatusCode) UnmarshalText(b []byte) error { *c = ParseStatusCode(string(b)); return nil }

// ParseStatusCode reads what String writes; anything else is StatusUnset.
func ParseStatusCode(s string) StatusCode {
	for i, n := range statusCodes {
		if n == s {
			return StatusCode(i)
		}
	}
	return StatusUnset
}

// Span is one span with everything OTLP says of it.
type Span struct {
	TraceID       TraceID
	SpanID        SpanID
	ParentID      SpanID // zero for a root
	TraceState    string
	Flags         uint32
	Name          string
	Kind          SpanKind
	Start         int64 // ns since the epoch
	Duration      int64 // ns, never negative
	Status        StatusCode
	StatusMessage string
	Attrs         Attrs
	Events        []SpanEvent
	Links         []Link
	// What the sender says it dropped.
	DroppedAttrs, DroppedEvents, DroppedLinks uint32
	Resource                                  *Resource // never nil in a Batch
	Scope                                     *Scope    // nil if none was given
}

// End is the end of the span in ns since the epoch.
func (s *Span) End() int64 { return s.Start + s.Duration }

// Service is the service that made the span.
func (s *Span) Service() string { return s.Resource.Service }

// SpanEvent is something that happened within a span.
type SpanEvent struct {
	Time         int64
	Name         string
	Attrs        Attrs
	DroppedAttrs uint32
}

// Link refers to a span of this or another trace.
type Link struct {
	TraceID      TraceID
	SpanID       SpanID
	TraceState   string
	Flags        uint32
	Attrs        Attrs
	DroppedAttrs uint32
}

// Severity is OpenTelemetry's severity number: 1-4 trace, 5-8 debug, 9-12 info, 13-16 warn, 17-20 error, 21-24 fatal,
// 0 unknown.
type Severity uint8

// String is the severity's range in lower case, "" if unknown.
func (s Severity) String() string {
	switch {
	case s == 0 || s > 24:
		return ""
	case s <= 4:
		return "trace"
	case s <= 8:
		return "debug"
	case s <= 12:
		return "info"
	case s <= 16:
		return "warn"
	case s <= 20:
		return "error"
	}
	return "fatal"
}

// LogRecord is one log line with everything OTLP says of it.
type LogRecord struct {
	Time         int64 // ns since the epoch; the observed time where the sender gave none
	Observed     int64
	TraceID      TraceID // also when found in the text or a field
	SpanID       SpanID
	Flags        uint32
	Severity     Severity
	SeverityText string
	EventName    string
	Body         Value
	Attrs        Attrs
	DroppedAttrs uint32
	// Template identifies the form of the body (derive sets it before the record is stored); 0 is none.
	Template uint64
	Resource *Resource // never nil in a Batch
	Scope    *Scope    // nil if none was given
}

// Service is the service that wrote the line.
func (r *LogRecord) Service() string { return r.Resource.Service }

// Sample is one float value of a series.
type Sample struct {
	T int64 // ms since the epoch, as in Prometheus
	V float64
}

// HistogramSample is one native histogram of a series; exactly one of the two is set.
type HistogramSample struct {
	T     int64 // ms since the epoch
	Int   *histogram.Histogram
	Float *histogram.FloatHistogram
}

// Series is samples of one Prometheus series, in order of time.
type Series struct {
	Labels     labels.Labels
	Samples    []Sample
	Histograms []HistogramSample
	Exemplars  []exemplar.Exemplar
	// Created is when a counter or histogram began, ms since the epoch; 0 if unknown.
	Created int64
	// Type, Unit and Help are metadata, empty if unknown. Type is Prometheus' ("counter", "gauge", ...).
	Type, Unit, Help string
}

// Change is something people or machines altered on purpose.
type Change struct {
	ID string `json:"id"`
	// At is when it took effect.
	At time.Time `json:"at"`
	// Kind is "deployment", "configuration", "flag", "scaling" or another word of the sender's.
	Kind string `json:"kind"`
	// Service is whom it touched; empty for a change to everything.
	Service string `json:"service,omitempty"`
	// Version is the version deployed, for deployments.
	Version string `json:"version,omitempty"`
	// Key is the flag or setting, for those.
	Key     string            `json:"key,omitempty"`
	From    string            `json:"from,omitempty"`
	To      string            `json:"to,omitempty"`
	By      string            `json:"by,omitempty"`
	Summary string            `json:"summary,omitempty"`
	Link    string            `json:"link,omitempty"`
	Attrs   map[string]string `json:"attributes,omitempty"`
	// Source is "api" for recorded changes and "telemetry" for those inferred from it (a new service.version).
	Source string `json:"source,omitempty"`
}

// Entity names the change as verdicts do: change:SERVICE@VERSION for deployments, change:KEY otherwise.
func (c *Change) Entity() Entity {
	switch {
	case c.Version != "" && c.Service != "":
		return Entity("change:" + c.Service + "@" + c.Version)
	case c.Key != "":
		return Entity("change:" + c.Key)
	case c.Service != "":
		return Entity("change:" + c.Service)
	}
	return Entity("change:" + c.ID)
}
