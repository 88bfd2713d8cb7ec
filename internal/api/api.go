// Package api is the HTTP edge: it translates requests into questions to the stores and judges, and their answers into
// JSON, text or Markdown, and serves the web page. It owns no data and decides nothing. Errors are RFC 9457 problem details; the routes are
// described by /openapi.json.
//
// Loopback is no wall, because any web page can make a browser send requests to it: every request passes a Host
// allow-list, and requests that a browser sends on behalf of another origin are refused.
package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"triage/internal/alarm"
	"triage/internal/dashboard"
	"triage/internal/diagnose"
	"triage/internal/incident"
	"triage/internal/ingest"
	"triage/internal/manifest"
	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/record"
	"triage/internal/runbook"
	"triage/internal/slo"
	"triage/internal/store"
	"triage/internal/store/events"
)

// Alarms is what the API needs of the alarm evaluator.
type Alarms interface {
	Alarms(tenant string) []model.Alarm
	Rules(tenant string) []alarm.RuleStatus
	SaveRule(ctx context.Context, tenant string, r alarm.Rule) error
	DeleteRule(ctx context.Context, tenant, name string) error
	Band(ctx context.Context, tenant, id string, w store.Window, step time.Duration) (alarm.Band, error)
}

// Options wires the API to the rest. All fields but the last three are required.
type Options struct {
	Events  store.Events
	Metrics store.Metrics
	State   store.State
	Alarms  Alarms
	// Incidents does what people do with incidents.
	Incidents Incidents
	SLOs      SLOs
	// Dashboards keeps what people look at.
	Dashboards Dashboards
	Manifests  Manifests
	Runbooks   Runbooks
	// Token is what requests must carry that act on the world or read files, as a bearer's.
	Token  string
	Notify Notifications
	// Record accepts a change as if it had been received.
	Record func(ctx context.Context, tenant string, c model.Change) error
	// Diagnose makes a verdict now, without storing it.
	Diagnose func(ctx context.Context, r diagnose.Request) (model.Verdict, error)
	SQL      func(ctx context.Context, tenant, query string) (events.SQLResult, error)
	// Tap gives recordings of what is received.
	Tap *record.Tap
	// Received counts what was received, by source.
	Received func() ingest.Status
	// Storage tells what is kept, and how much room it takes.
	Storage func() Storage
	// Config tells how the configuration was taken over last.
	Config  func() ConfigStatus
	Ready   func() bool
	Version string
	Started time.Time
	Now     func() time.Time
	Logger  *slog.Logger
	// Page is what the web page is made of: index.html and assets/, or placeholder.html.
	Page fs.FS

	// AllowedHosts are names by which the server may be addressed besides loopback's.
	AllowedHosts []string
	// Prometheus and Metrics answer below /prometheus and at /metrics.
	Prometheus  http.Handler
	SelfMetrics http.Handler
}

// ConfigStatus is how the configuration was taken over last. After an error the one before is still in force.
type ConfigStatus struct {
	At    time.Time `json:"at"`
	Error string    `json:"error,omitempty"`
}

// Storage is what is kept of each kind of data. Ages count back from the newest data.
type Storage struct {
	Events  Kept `json:"events"`
	Metrics Kept `json:"metrics"`
}

// Kept is what is kept of one kind of data, and how much room it takes and may take.
type Kept struct {
	Bytes    int64   `json:"bytes"`
	MaxBytes int64   `json:"max_bytes"`
	MaxAge   float64 `json:"max_age_s"`
	// Series is how many series of metrics were written in the last hours.
	Series uint64 `json:"series,omitempty"`
}

type server struct {
	Options
}

// New returns the handler of the web page, the API and everything else on the same port. It fails if the page's files
// hold neither a page nor its placeholder.
func New(o Options) (http.Handler, error) {
	page, err := newPage(o.Page)
	if err != nil {
		return nil, fmt.Errorf("read the web page: %w", err)
	}
	s := &server{o}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("triage", o.Version)
	config.DocsPath = "" // its page would load scripts from another host
	config.CreateHooks = nil
	s.routes(humago.New(mux, config))
	mux.HandleFunc("GET /api/v1/logs/tail", s.tail)
	mux.HandleFunc("GET /api/v1/record", s.record)
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("healthy\n")) })
	mux.HandleFunc("GET /-/ready", s.ready)
	mux.HandleFunc("GET /assets/{file...}", page.asset)
	mux.HandleFunc("/", page.document) // not "GET /", which conflicts with "/prometheus/"
	if o.Prometheus != nil {
		mux.Handle("/prometheus/", http.StripPrefix("/prometheus", o.Prometheus))
	}
	if o.SelfMetrics != nil {
		mux.Handle("GET /metrics", o.SelfMetrics)
	}
	return Guard(o.AllowedHosts, GuardTenant(mux)), nil
}

func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if !s.Ready() {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

// tenant is whose data a request is about.
func tenant(header string) string {
	if header == "" {
		return model.DefaultTenant
	}
	return header
}

// problem maps an error of the stores and judges to a status; nothing else in the package picks one for them.
func problem(err error) error {
	var bad *badRequest
	var query *events.SQLError
	var wrong manifest.Problems
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return huma.Error400BadRequest("the files cannot be applied", details(wrong)...)
	case errors.Is(err, errNoToken):
		return huma.Error401Unauthorized(err.Error())
	case errors.As(err, &bad), errors.As(err, &query), errors.Is(err, alarm.ErrInvalid),
		errors.Is(err, notify.ErrInvalid), errors.Is(err, incident.ErrInvalid), errors.Is(err, slo.ErrInvalid), errors.Is(err, runbook.ErrInvalid),
		errors.Is(err, dashboard.ErrInvalid):
		return huma.Error400BadRequest(err.Error())
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, incident.ErrConflict), errors.Is(err, runbook.ErrConflict), errors.Is(err, dashboard.ErrConflict):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, store.ErrOverloaded):
		return huma.Error429TooManyRequests(err.Error())
	case errors.Is(err, store.ErrFull):
		return huma.NewError(http.StatusInsufficientStorage, err.Error())
	case errors.Is(err, store.ErrClosed):
		return huma.Error503ServiceUnavailable(err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return huma.Error504GatewayTimeout("the query took too long; ask for a shorter time range")
	}
	return huma.Error500InternalServerError(err.Error())
}

// badRequest is an error that the caller has to mend.
type badRequest struct{ error }

func bad(err error) error { return &badRequest{err} }
