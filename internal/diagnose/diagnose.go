// Package diagnose owns the verdict: it asks the stores about an incident, has locate say where and explain say why,
// and puts the answer together with what speaks for it, what was ruled out, and how far the telemetry can be trusted.
//
//	alarms -> scope (which operation, since when) -> ask (a dozen questions at once) -> locate -> ask (the suspects)
//	       -> explain.Judge -> verdict and its text
//
// It is deterministic: the same answers give the same verdict. It reads no clock, keeps nothing between calls, pulls no
// rows without a limit, and uses no language model. A Diagnoser is safe for concurrent use.
package diagnose

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"triage/internal/explain"
	"triage/internal/model"
	"triage/internal/store"
)

// Events is what verdicts ask of logs and spans.
type Events interface {
	store.Questions
	Traces(ctx context.Context, tenant string, ids []model.TraceID, w store.Window, limit int) ([]model.Span, error)
	Logs(ctx context.Context, q store.Query) (store.Page[model.LogRecord], error)
}

// Metrics is what verdicts ask of series.
type Metrics interface {
	ServiceSeries(ctx context.Context, tenant, service string, w store.Window, step time.Duration, limit int) ([]store.Line, error)
	RPCServers(ctx context.Context, tenant, rpcService string, w store.Window) ([]string, error)
}

// State is what verdicts ask of the recorded changes, and of incidents that are over.
type State interface {
	Changes(ctx context.Context, tenant string, w store.Window) ([]model.Change, error)
	Incidents(ctx context.Context, tenant string, status model.IncidentStatus, limit int) ([]model.Incident, error)
}

// Rows is what comparisons read: the newest spans and log lines of a window, up to a limit.
type Rows interface {
	Spans(ctx context.Context, q store.Query) (store.Page[model.Span], error)
	Logs(ctx context.Context, q store.Query) (store.Page[model.LogRecord], error)
}

// Templates are the log templates as they are now: a line keeps the one it was stored with, which may have become another.
type Templates interface {
	Templates(ctx context.Context, tenant string) ([]model.Template, error)
}

// Aggregates is what verdicts without spans rest on: PromQL over the series of span metrics and service graphs.
type Aggregates interface {
	QueryRange(ctx context.Context, tenant, promql string, w store.Window, step time.Duration) ([]store.Line, error)
}

// Options says what a Diagnoser asks. All but Events may be nil: then there are no series, no recorded changes, no
// comparisons, no verdicts without spans.
type Options struct {
	Events     Events
	Metrics    Metrics
	State      State
	Rows       Rows
	Templates  Templates
	Aggregates Aggregates
	Logger     *slog.Logger // nil for none
}

// Diagnoser makes verdicts.
type Diagnoser struct {
	events  Events
	metrics Metrics
	state   State
	rows    Rows
	forms   Templates
	sums    Aggregates
	log     *slog.Logger
}

// New makes a Diagnoser.
func New(o Options) *Diagnoser {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Diagnoser{o.Events, o.Metrics, o.State, o.Rows, o.Templates, o.Aggregates, o.Logger}
}

// Request says what to diagnose: an incident, or a service (and operation) in a time range, or, with nothing set, the
// last minutes of whatever is worst.
type Request struct {
	Tenant             string
	Incident           *model.Incident
	Service, Operation string
	From, To           time.Time

	// Normal are times in which all was well, before or after. Where they are given, From to To is compared with them as a
	// whole, all services at once, instead of with the minutes before it.
	Normal []store.Window
	// History is time of which nobody knows how well it was; what is rare in it counts for little. It may be empty.
	History store.Window
	// Step is how far apart the samples of metrics are from which a verdict without spans is made [1 min].
	Step time.Duration
}

// sure is the confidence below which no cause is named. Convicting the innocent is worse than naming nobody.
const sure = 0.35

// Diagnose makes the verdict as of at, with the answers it rests on as JSON. A question that cannot be answered is
// logged and leaves its evidence out; only a failure to learn what was slow or failing at all is an error.
func (d *Diagnoser) Diagnose(ctx context.Context, req Request, at time.Time) (model.Verdict, []byte, error) {
	req.Tenant = cmp.Or(req.Tenant, model.DefaultTenant)
	if req.Incident != nil && req.Incident.Tenant != "" {
		req.Tenant = req.Incident.Tenant
	}
	if req.Incident != nil {
		if troubled, ok := req.Incident.Troubled(); ok {
			req.Incident = &troubled
		}
	}
	ctx, missing := store.AllowPartial(ctx)
	if len(req.Normal) > 0 {
		return d.compare(ctx, req, at, missing)
	}
	s, err := d.scope(ctx, req, at)
	if err != nil {
		return model.Verdict{}, nil, fmt.Errorf("find the affected operation: %w", err)
	}
	a, err := d.ask(ctx, req.Tenant, s)
	if err != nil {
		return model.Verdict{}, nil, fmt.Errorf("ask about %s %s: %w", s.service, s.operation, err)
	}
	var cases []explain.Case
	if s.slow > 0 || s.failing > 0 || s.asked {
		cases = explain.Judge(&a.facts)
	}
	a.telemetry.Missing = missing.String()
	v, answers, err := verdict(req, s, a, cases, at)
	if err == nil && v.Why == nil && s.blind && d.sums != nil {
		// Without spans, and with nothing that ran out, it remains to ask which place the alarm comes from.
		if w, more, err := d.aggregate(ctx, req, at); err == nil && w.Why != nil {
			return w, more, nil
		}
	}
	return v, answers, err
}

// verdict puts the verdict together with the answers it rests on.
func verdict(req Request, s *scope, a *answers, cases []explain.Case, at time.Time) (model.Verdict, []byte, error) {
	v := conclude(req, s, a, cases, at)
	answers, err := json.Marshal(struct {
		Facts     *explain.Facts  `json:"facts"`
		Cases     []explain.Case  `json:"cases"`
		Telemetry model.Telemetry `json:"telemetry"`
		Impact    model.Impact    `json:"impact"`
	}{&a.facts, cases, a.telemetry, a.impact})
	if err != nil {
		return model.Verdict{}, nil, fmt.Errorf("write the answers of a verdict: %w", err)
	}
	return v, answers, nil
}

func verdictID(req Request, at time.Time) string {
	if req.Incident != nil {
		return "V-" + req.Incident.ID
	}
	return "V-" + strconv.FormatInt(at.UnixMilli(), 36)
}
