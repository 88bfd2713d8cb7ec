// Package store is the contract between those who keep data and those who ask: what is stored, which questions can be
// asked, and what each answer promises. Engines live in the packages below it (metrics, events, state); every engine
// of a kind passes that kind's suite in storetest.
//
// All methods are safe for concurrent use, honour their context, and never return rows of another tenant. An answer
// without rows is an empty slice and no error, unless a method says otherwise.
package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/search"
)

// What callers branch on.
var (
	// ErrNotFound means that the one thing asked for does not exist.
	ErrNotFound = errors.New("not found")
	// ErrFull means that the disk or the configured size is exhausted; the same write may succeed later.
	ErrFull = errors.New("storage is full")
	// ErrOverloaded means that too much is in flight; the same call will succeed later.
	ErrOverloaded = errors.New("overloaded")
	// ErrPartial means that a part of the data asked about cannot be read, and the question has no way to say so. Callers
	// who have one say so by AllowPartial.
	ErrPartial = errors.New("the answer would be partial")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("store is closed")
)

// Window is the half-open time range [From, To).
type Window struct{ From, To time.Time }

// Contains tells whether t lies in the window.
func (w Window) Contains(t time.Time) bool { return !t.Before(w.From) && t.Before(w.To) }

// Len is the window's duration.
func (w Window) Len() time.Duration { return w.To.Sub(w.From) }

// Selection picks spans by when they started and what they are. Zero fields do not restrict.
type Selection struct {
	Tenant string
	Window
	Service, Operation string
	Kinds              []model.SpanKind
	// MinDuration is inclusive, MaxDuration exclusive.
	MinDuration, MaxDuration time.Duration
	Status                   *model.StatusCode
	// NotStatus excludes one status.
	NotStatus *model.StatusCode
	// Bad selects spans that failed or lasted at least BadDuration (if that is not zero); Good is its complement.
	Bad, Good   bool
	BadDuration time.Duration
	// Attrs must all be equal, own attributes before the resource's.
	Attrs []AttrMatch
}

// AttrMatch is an attribute with the text of its value.
type AttrMatch struct{ Key, Value string }

// Events keeps spans and logs.
type Events interface {
	// Append stores the batch's spans and logs. When it returns they are durable, and queries see them within one
	// second. It reports false when a batch with this ID was stored within the last ten minutes; then nothing is stored
	// again. The batch is read, not kept. Errors: ErrFull, ErrOverloaded, ErrClosed.
	Append(ctx context.Context, b *model.Batch) (stored bool, err error)

	// Trace returns the spans of one trace in order of start, wherever in time they are; ErrNotFound if there is none.
	Trace(ctx context.Context, tenant string, id model.TraceID) ([]model.Span, error)
	// Traces returns the spans of several traces that started within w, in order of trace ID and start. At most limit
	// spans: whole traces are left out past that.
	Traces(ctx context.Context, tenant string, ids []model.TraceID, w Window, limit int) ([]model.Span, error)
	// Spans returns spans newest first.
	Spans(ctx context.Context, q Query) (Page[model.Span], error)
	// Logs returns log records newest first.
	Logs(ctx context.Context, q Query) (Page[model.LogRecord], error)

	Questions

	// Exceptions groups exceptions of span events and log records, see model.Exception.Group; the groups seen last come
	// first. One happens at its event's time if that lies within its span, else at the span's start. A log record of a
	// span that tells of an exception of the same group itself is not counted again.
	Exceptions(ctx context.Context, q ExceptionQuery) (Page[model.ExceptionGroup], error)

	// SpanCounts and LogCounts count the rows that match a search, in steps of time and by attributes; in order of time,
	// then of the attributes' values. Rows that lack one of the attributes have "" for it. Relations between spans are not
	// counted: such a search is an error.
	SpanCounts(ctx context.Context, q CountQuery) ([]CountStat, error)
	LogCounts(ctx context.Context, q CountQuery) ([]CountStat, error)

	// Stats says what is kept.
	Stats(ctx context.Context) (EventStats, error)
}

// Query is a search over spans or logs.
type Query struct {
	Tenant string
	Window
	// Where is never nil; search.All{} for everything.
	Where search.Expr
	// Limit is at least 1.
	Limit int
}

// ExceptionQuery asks Exceptions. Zero fields do not restrict.
type ExceptionQuery struct {
	Tenant string
	Window
	// Group is the ID of the only group wanted.
	Group string
	// Service and Version are those an exception occurred in, Text a part of its type, message or stack in any case.
	Service, Version, Text string
	// Buckets is the number of parts of each group's histogram. There is none without both ends of the window.
	Buckets int
	// Limit is at least 1.
	Limit int
}

// CountQuery asks SpanCounts and LogCounts.
type CountQuery struct {
	Tenant string
	Window
	// Where is never nil; search.All{} for everything.
	Where search.Expr
	// By are attributes, by the names that the search language knows.
	By []string
	// Step begins at the start of the window. It is positive.
	Step time.Duration
	// Quantile, between 0 and 1, is that of durations to tell. Only spans have it.
	Quantile float64
	// Limit is how many rows there may be, at least 1. Past it, the last are left out.
	Limit int
}

// CountStat is one step of one group. Mean and Quantile are of spans' durations, in seconds.
type CountStat struct {
	At            time.Time // start of the step
	By            []string  // in the query's order
	Count, Errors int64     // Errors are spans that failed
	Mean          float64
	Quantile      float64
}

// Page is the newest rows that match.
type Page[T any] struct {
	Rows []T
	// More tells that older rows match as well.
	More bool
	// Partial, if not empty, says why rows may be missing (a block that cannot be read, a time limit).
	Partial string
}

// EventStats says what an event store keeps.
type EventStats struct {
	Spans, Logs int64 // rows, about
	Bytes       int64 // on disk
	Blocks      int
	Oldest      time.Time // zero when empty
	Newest      time.Time
	// Quarantined are damaged files that were moved out of the way.
	Quarantined []string
}

// Questions are what judges ask of spans and logs. Each is answered in about one scan of its windows; none returns more
// rows than its limit.
type Questions interface {
	// Operations sums up spans by service, operation and kind, most calls first. Of a million spans and more, quantiles may
	// be off by 1 % of their value; all else is exact.
	Operations(ctx context.Context, sel Selection, limit int) ([]OperationStat, error)
	// Edges sums up who calls whom, most calls first. Calls whose other side sent no span are edges to a database, queue
	// or remote host named by the caller's attributes.
	Edges(ctx context.Context, tenant string, w Window, limit int) ([]EdgeStat, error)
	// Timeline counts spans in steps of time by service, operation and kind, in order of time.
	Timeline(ctx context.Context, sel Selection, step time.Duration, limit int) ([]TimelineStat, error)
	// SampleTraces picks traces that have a span in the selection: the slowest such spans first or a random sample (the
	// same for the same data), one TraceRef a trace.
	SampleTraces(ctx context.Context, sel Selection, order SampleOrder, limit int) ([]TraceRef, error)
	// TemplateCounts counts log lines by template and by the operation (the entry span of the line's service in the
	// line's trace, "" if none) in two windows. Most frequent in a first.
	TemplateCounts(ctx context.Context, tenant string, a, b Window, limit int) ([]TemplateCount, error)
	// AttributeDifference compares how often, and for how long, each attribute value occurs in two selections. Keys whose
	// values are nearly all distinct are left out. Largest difference of share first.
	AttributeDifference(ctx context.Context, q DifferenceQuery) (Difference, error)
	// Values lists the distinct values of an attribute (own or the resource's) in a selection, most frequent first.
	Values(ctx context.Context, sel Selection, key string, limit int) ([]ValueStat, error)
	// Impact counts the selected spans, and the distinct values of the first of userKeys that occurs in their traces.
	Impact(ctx context.Context, sel Selection, userKeys []string) (model.Impact, error)
	// Health measures the telemetry itself in a window; LagS is left to the caller.
	Health(ctx context.Context, tenant string, w Window) (model.Telemetry, error)
}

// OperationStat is what spans of one service, operation and kind did.
type OperationStat struct {
	Service, Operation  string
	Kind                model.SpanKind
	Count, Errors       int64
	Mean, P50, P95, P99 float64 // seconds
}

// EdgeKind says what lies at the far end of an edge.
type EdgeKind string

// The kinds of edges. The far end of EdgeCall is a service, of the others what its name says.
const (
	EdgeCall     EdgeKind = "call"
	EdgeMessage  EdgeKind = "message"  // producer to consumer, both services
	EdgeDatabase EdgeKind = "database" // to db.namespace or the server's address
	EdgeQueue    EdgeKind = "queue"    // to messaging.destination.name
	EdgeRemote   EdgeKind = "remote"   // to server.address
)

// EdgeStat is what went from one entity to another. Times are seconds.
type EdgeStat struct {
	From, To      string // From is a service
	Kind          EdgeKind
	Count, Errors int64
	ClientMean    float64 // as the caller saw it
	ClientP99     float64
	ServerMean    float64 // as the callee saw it; 0 if it sent no span
	// WaitP50 is the median of what neither side accounts for: caller's time less callee's for calls (the network), end
	// of sending to start of receiving for messages (the queue).
	WaitP50, WaitMean float64
}

// TimelineStat is one step of one operation.
type TimelineStat struct {
	At                 time.Time // start of the step
	Service, Operation string
	Kind               model.SpanKind
	Count, Errors      int64
	Mean               float64 // seconds
}

// SampleOrder says which traces come first.
type SampleOrder uint8

// The orders of SampleTraces.
const (
	Slowest SampleOrder = iota
	Random
)

// TraceRef points at a trace by the span that was selected.
type TraceRef struct {
	ID       model.TraceID
	Span     model.SpanID
	Start    time.Time
	Duration time.Duration
	Error    bool
}

// TemplateCount is how often a template occurred in two windows.
type TemplateCount struct {
	Service, Operation string
	Template           uint64
	Severity           model.Severity // the most severe
	A, B               int64
	// First is the first occurrence within the two windows, FirstA within a.
	First, FirstA time.Time
	// Sample is the text of one line, from a if there is one, and SampleTrace its trace.
	Sample      string
	SampleTrace model.TraceID
}

// DifferenceQuery asks AttributeDifference.
type DifferenceQuery struct {
	A, B Selection
	// Keys restricts to these attributes; empty means the most frequent.
	Keys []string
	// FromTrace also counts the attributes of the entry spans in the same trace: user.id on the first service's span then
	// describes a query three services further down.
	FromTrace bool
	Limit     int
}

// Difference is the answer of AttributeDifference. Seconds are sums of durations.
type Difference struct {
	A, B               int64
	SecondsA, SecondsB float64
	// SampledB is how many of B's spans were looked at to estimate its values; 0 if they were counted. A's always are.
	SampledB int64
	Values   []DifferenceValue
}

// DifferenceValue is one attribute value in the two selections. A span that says it twice counts once.
type DifferenceValue struct {
	Key, Value         string
	A, B               int64
	SecondsA, SecondsB float64
	// ErrorB is how far B may be off, in nineteen of twenty cases; 0 where spans were counted.
	ErrorB float64
}

// ValueStat is one value of an attribute.
type ValueStat struct {
	Value       string
	Count       int64
	First, Last time.Time
}

// Metrics keeps series and answers PromQL.
type Metrics interface {
	// Append stores samples, histograms and exemplars. What cannot be stored (too old, out of bounds) is counted in the
	// result by reason and does not keep the rest from being stored.
	Append(ctx context.Context, tenant string, series []model.Series) (Rejected, error)
	// Query evaluates PromQL at one time. A scalar is one point without labels; native histograms are left out.
	Query(ctx context.Context, tenant, promql string, at time.Time) ([]Point, error)
	// QueryRange evaluates PromQL from w.From to w.To, both included.
	QueryRange(ctx context.Context, tenant, promql string, w Window, step time.Duration) ([]Line, error)
	// ServiceSeries is what a service says of itself and what hosts say of its processes: gauges as they are, counters as
	// rates, histograms as mean (suffix ":mean") and rate (":rate"), every step within w; derived series are left out.
	ServiceSeries(ctx context.Context, tenant, service string, w Window, step time.Duration, limit int) ([]Line, error)
	// RPCServers names the services whose own metrics say, within w, that they serve an RPC service: by OpenTelemetry's
	// rpc.service, or rpc.method ("service/method"), on metrics of rpc.server. In order.
	RPCServers(ctx context.Context, tenant, rpcService string, w Window) ([]string, error)
}

// Rejected counts samples that could not be stored, by reason: a word, after which may come a colon, a space and which
// part of the batch is meant ("series_limit: metric hits_total has ...").
type Rejected map[string]int

// Reasons sums up by the words alone, of which there are few.
func (r Rejected) Reasons() map[string]int {
	out := make(map[string]int, len(r))
	for reason, n := range r {
		word, _, _ := strings.Cut(reason, ":")
		out[word] += n
	}
	return out
}

// Total is the number of samples rejected.
func (r Rejected) Total() (n int) {
	for _, c := range r {
		n += c
	}
	return n
}

// Point is one value of one label set.
type Point struct {
	Labels map[string]string
	At     time.Time
	Value  float64
}

// Line is values of one label set over time, equally spaced; NaN where there is none.
type Line struct {
	// Name is the metric, Labels the rest.
	Name   string
	Labels map[string]string
	// Type is "gauge", "rate" or "mean".
	Type   string
	Start  time.Time
	Step   time.Duration
	Values []float64
}

// State keeps what is small and must not be lost.
type State interface {
	// AddChange stores a change under its ID; adding it again changes nothing.
	AddChange(ctx context.Context, tenant string, c model.Change) error
	// Changes lists those that took effect within w, oldest first.
	Changes(ctx context.Context, tenant string, w Window) ([]model.Change, error)

	// SaveAlarms stores the present state of alarms and, in the same transaction, transitions.
	SaveAlarms(ctx context.Context, tenant string, alarms []model.Alarm, transitions []model.Transition) error
	Alarms(ctx context.Context, tenant string) ([]model.Alarm, error)
	DeleteAlarms(ctx context.Context, tenant string, ids []string) error
	// Transitions lists those within w, oldest first; all alarms' where alarm is empty.
	Transitions(ctx context.Context, tenant, alarm string, w Window, limit int) ([]model.Transition, error)

	// NextIncident gives the next incident's ID.
	NextIncident(ctx context.Context, tenant string) (string, error)
	// SaveIncidents stores incidents without their verdicts and, in the same transaction, entries of the journal. An entry
	// whose ID is there already is not stored again.
	SaveIncidents(ctx context.Context, tenant string, incidents []model.Incident, entries []model.Entry) error
	// Incident returns one with its newest verdict; ErrNotFound.
	Incident(ctx context.Context, tenant, id string) (model.Incident, error)
	// Incidents lists newest first, each with its newest verdict; of every status where status is empty.
	Incidents(ctx context.Context, tenant string, status model.IncidentStatus, limit int) ([]model.Incident, error)

	// Journal lists entries within w, oldest first; of one incident, or of all where it is empty. Of more than limit, the
	// newest are given.
	Journal(ctx context.Context, tenant, incident string, w Window, limit int) ([]model.Entry, error)

	// SaveVerdict stores a revision with the answers it rests on (any JSON). Saving a revision again is an error.
	SaveVerdict(ctx context.Context, tenant string, v model.Verdict, answers []byte) error
	// Verdicts lists the revisions of an incident's verdict, first first.
	Verdicts(ctx context.Context, tenant, incident string) ([]model.Verdict, error)
	// Answers returns what a revision rests on; ErrNotFound.
	Answers(ctx context.Context, tenant, verdict string, revision int) ([]byte, error)

	// SaveDocuments stores documents under their kinds and names, all or none. One without a body is removed, if it is there.
	SaveDocuments(ctx context.Context, tenant string, docs []Document) error
	// Documents lists those of a kind, in order of name.
	Documents(ctx context.Context, tenant, kind string) ([]Document, error)

	// SaveTemplates stores new and changed templates, Templates lists all.
	SaveTemplates(ctx context.Context, tenant string, t []model.Template) error
	Templates(ctx context.Context, tenant string) ([]model.Template, error)
}

// Document is something small that its owner alone understands, as JSON.
type Document struct {
	Kind, Name string
	Body       []byte
}
