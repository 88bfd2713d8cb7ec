package client

import (
	"encoding/json"
	"time"

	"triage/internal/model"
)

// The types that the API's JSON is made of.
type (
	Incident       = model.Incident
	IncidentStatus = model.IncidentStatus
	Verdict        = model.Verdict
	Cause          = model.Cause
	Entity         = model.Entity
	Evidence       = model.Evidence
	Where          = model.Where
	RuledOut       = model.RuledOut
	Change         = model.Change
	Entry          = model.Entry
	Alarm          = model.Alarm
	AlarmState     = model.AlarmState
	Transition     = model.Transition
	Span           = model.Span
	LogRecord      = model.LogRecord
	ExceptionGroup = model.ExceptionGroup
	ExceptionCount = model.ExceptionCount
	TraceID        = model.TraceID
	SpanID         = model.SpanID
)

// The statuses of incidents and the states of alarms.
const (
	IncidentOpen      = model.IncidentOpen
	IncidentResolved  = model.IncidentResolved
	StateOK           = model.StateOK
	StateAlarm        = model.StateAlarm
	StateInsufficient = model.StateInsufficient
)

// IncidentsQuery picks incidents. Zero fields do not restrict; a zero Limit is the server's.
type IncidentsQuery struct {
	Status IncidentStatus
	Limit  int
}

// DiagnoseRequest says what to diagnose: an incident, or a service and a time. Everything may be left out: the server
// then looks at the worst of the last minutes.
type DiagnoseRequest struct {
	Service   string    `json:"service,omitempty"`
	Operation string    `json:"operation,omitempty"`
	From      time.Time `json:"from,omitzero"`
	To        time.Time `json:"to,omitzero"`
	Incident  string    `json:"incident,omitempty"`
}

// AlarmList is the alarms as they stand and the rules behind them. Rules are the JSON that PutRule takes.
type AlarmList struct {
	Alarms []Alarm           `json:"alarms"`
	Rules  []json.RawMessage `json:"rules"`
}

// HistoryQuery picks transitions of alarms. Zero fields do not restrict.
type HistoryQuery struct {
	Alarm    string // an alarm's ID
	From, To time.Time
	Limit    int
}

// ServiceMap is what services did in a time and who called whom.
type ServiceMap struct {
	Services []Service `json:"services"`
	Edges    []Edge    `json:"edges"`
	// Partial, if not empty, says why rows may be missing.
	Partial string `json:"partial"`
}

// Service is one service with what it offers.
type Service struct {
	Name       string      `json:"name"`
	Operations []Operation `json:"operations"`
}

// Operation is what spans of one name and kind did. Times are seconds.
type Operation struct {
	Operation string         `json:"operation"`
	Kind      model.SpanKind `json:"kind"`
	Count     int64          `json:"count"`
	Errors    int64          `json:"errors"`
	MeanS     float64        `json:"mean_s"`
	P50S      float64        `json:"p50_s"`
	P95S      float64        `json:"p95_s"`
	P99S      float64        `json:"p99_s"`
}

// Edge is what went from one service to another, or to a database, queue or remote host. Times are seconds; waits are
// what neither side accounts for.
type Edge struct {
	From        string  `json:"from"`
	To          string  `json:"to"`
	Kind        string  `json:"kind"` // call, message, database, queue or remote
	Count       int64   `json:"count"`
	Errors      int64   `json:"errors"`
	ClientMeanS float64 `json:"client_mean_s"`
	ClientP99S  float64 `json:"client_p99_s"`
	ServerMeanS float64 `json:"server_mean_s"`
	WaitP50S    float64 `json:"wait_p50_s"`
	WaitMeanS   float64 `json:"wait_mean_s"`
}

// Trace is everything known of one trace.
type Trace struct {
	TraceID TraceID     `json:"trace_id"`
	Spans   []Span      `json:"spans"`
	Logs    []LogRecord `json:"logs"`
	// Path is the critical path: the spans that the request waited for, with the time each took of its own.
	Path []PathStep `json:"path"`
}

// PathStep is one span of a critical path.
type PathStep struct {
	SpanID      SpanID `json:"span_id"`
	ExclusiveNS int64  `json:"exclusive_ns"`
}

// SearchQuery is a search over logs or spans. An empty Q matches everything; zero times and limits are the server's.
type SearchQuery struct {
	Q        string
	From, To time.Time
	Limit    int
	// Progress, if not nil, is told now and then how many rows of all in the time range were looked at or ruled out, while
	// the search takes long.
	Progress func(done, total int64)
}

// LogPage is the newest log records that match.
type LogPage struct {
	Logs []LogRecord `json:"logs"`
	// More tells that older records match as well.
	More bool `json:"more"`
	// Partial, if not empty, says why records may be missing.
	Partial string `json:"partial"`
}

// SpanPage is the newest spans that match.
type SpanPage struct {
	Spans   []Span `json:"spans"`
	More    bool   `json:"more"`
	Partial string `json:"partial"`
}

// ExceptionsQuery picks groups of exceptions. Zero fields do not restrict; zero times and limits are the server's.
type ExceptionsQuery struct {
	Service, Version string
	// Text is a part of the type, message or stack, in any case.
	Text     string
	From, To time.Time
	Limit    int
}

// ExceptionPage is the groups that were seen last. Histograms are of From to To.
type ExceptionPage struct {
	Errors  []ExceptionGroup `json:"errors"`
	From    time.Time        `json:"from"`
	To      time.Time        `json:"to"`
	More    bool             `json:"more"`
	Partial string           `json:"partial"`
}

// ExceptionDetail is one group with a stack.
type ExceptionDetail struct {
	Error   ExceptionGroup `json:"error"`
	From    time.Time      `json:"from"`
	To      time.Time      `json:"to"`
	Partial string         `json:"partial"`
}

// Table is the answer to an SQL query. Values are what encoding/json makes of the row: nil, bool, json.Number, string,
// slices and maps.
type Table struct {
	Columns []string `json:"columns"`
	Types   []string `json:"types"`
	Rows    [][]any  `json:"rows"`
	// Truncated tells that there were more rows than the server gives.
	Truncated bool `json:"truncated"`
}

// Status says what the server is and has.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Ready   bool      `json:"ready"`
	// Events is what the event store keeps, Storage how much room data takes and may take, Received what came in by format and
	// signal; they are for people to read, and grow with the server.
	Events   any `json:"events"`
	Storage  any `json:"storage,omitempty"`
	Received any `json:"received"`
}

// Receiver is one who can be told of incidents, and by what: "email[0]".
type Receiver struct {
	Name         string   `json:"name"`
	Integrations []string `json:"integrations"`
}

// TestResult is how an integration took a test message; Error is empty when it did.
type TestResult struct {
	Integration string  `json:"integration"`
	Error       string  `json:"error,omitempty"`
	Seconds     float64 `json:"seconds"`
}

// Notification is a message to a receiver. Done is zero while it waits; Error is that of the last attempt.
type Notification struct {
	ID          string    `json:"id"`
	Incident    string    `json:"incident,omitempty"`
	Receiver    string    `json:"receiver"`
	Integration string    `json:"integration"`
	Reason      string    `json:"reason"`
	Created     time.Time `json:"created"`
	Attempts    int       `json:"attempts"`
	Error       string    `json:"error,omitempty"`
	Next        time.Time `json:"next,omitzero"`
	Done        time.Time `json:"done,omitzero"`
}

// Silence keeps alarms that all its matchers match from being told, from Starts to Ends.
type Silence struct {
	ID       string    `json:"id,omitempty"`
	Matchers []string  `json:"matchers"`
	Starts   time.Time `json:"starts,omitzero"`
	Ends     time.Time `json:"ends"`
	By       string    `json:"by,omitempty"`
	Comment  string    `json:"comment,omitempty"`
}

// BacktestRequest asks what a rule would have done. A zero From is a week ago, a zero To now.
type BacktestRequest struct {
	Rule     json.RawMessage `json:"rule"`
	From, To time.Time       `json:"-"`
	// PerWeek asks for the threshold that gives at most so many pages a week.
	PerWeek *float64 `json:"per_week,omitempty"`
}

// Backtest is what a rule would have done.
type Backtest struct {
	Rule         string         `json:"rule"`
	From         time.Time      `json:"from"`
	To           time.Time      `json:"to"`
	Periods      int            `json:"periods"`
	Contributors int            `json:"contributors"`
	Datapoints   int            `json:"datapoints"`
	Pages        []BacktestPage `json:"pages"`
	PerWeek      float64        `json:"per_week"`
	Proposal     *struct {
		Threshold float64 `json:"threshold"`
		PerWeek   float64 `json:"per_week"`
	} `json:"proposal,omitempty"`
}

// BacktestPage is one time that a rule would have called someone; Lasts tells that it had not ended at To.
type BacktestPage struct {
	Alarm     string            `json:"alarm"`
	Labels    map[string]string `json:"labels,omitempty"`
	From      time.Time         `json:"from"`
	To        time.Time         `json:"to"`
	Lasts     bool              `json:"lasts,omitempty"`
	Seconds   float64           `json:"seconds"`
	Value     float64           `json:"value"`
	Threshold float64           `json:"threshold"`
}

// Moment is one line of an incident's timeline.
type Moment struct {
	At time.Time `json:"at"`
	// Kind is onset, alarm, verdict, change, notification or a kind of the journal's entries.
	Kind string `json:"kind"`
	By   string `json:"by,omitempty"`
	Text string `json:"text"`
	// Note is what somebody said about it.
	Note string `json:"note,omitempty"`
	// Ref is the ID of what it is about.
	Ref   string     `json:"ref,omitempty"`
	State AlarmState `json:"state,omitempty"`
}

// IncidentSilence says how to silence an incident, or some of its alarms in whatever incident they are.
type IncidentSilence struct {
	By      string   `json:"by"`
	For     string   `json:"for"` // 30m, 2h
	Alarms  []string `json:"alarms,omitempty"`
	Comment string   `json:"comment,omitempty"`
}

// JournalQuery picks entries of the journal. Zero fields do not restrict; zero times and limits are the server's.
type JournalQuery struct {
	Incident string
	From, To time.Time
	Limit    int
}

// SLO is how a service level objective stands.
type SLO struct {
	Name        string         `json:"name"`
	DisplayName string         `json:"display_name,omitempty"`
	Service     string         `json:"service"`
	Window      string         `json:"window"`
	Rolling     bool           `json:"rolling"`
	From        time.Time      `json:"from"`
	To          time.Time      `json:"to"`
	Objectives  []SLOObjective `json:"objectives"`
	// Error, if not empty, says why it could not be measured.
	Error string `json:"error,omitempty"`
}

// SLOObjective is how one objective stands, by label set.
type SLOObjective struct {
	Name   string      `json:"name"`
	Target float64     `json:"target"`
	Rules  []string    `json:"rules"`
	Series []SLOSeries `json:"series"`
}

// SLOSeries is how one objective stands for one label set. Remaining is the share of the budget that is left.
type SLOSeries struct {
	Labels    map[string]string `json:"labels,omitempty"`
	Good      float64           `json:"good"`
	Remaining float64           `json:"remaining"`
	Events    *float64          `json:"events,omitempty"`
	Bad       *float64          `json:"bad,omitempty"`
	Burn      []SLOBurn         `json:"burn"`
}

// SLOBurn is how many times faster than it may the budget is used up, over a window.
type SLOBurn struct {
	Window string  `json:"window"`
	Rate   float64 `json:"rate"`
}

// SLODetail is an SLO as it is stored, in OpenSLO's format, and how it stands.
type SLODetail struct {
	SLO    json.RawMessage `json:"slo"`
	Status SLO             `json:"status"`
}
