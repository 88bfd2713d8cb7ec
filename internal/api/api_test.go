package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/alarm"
	"triage/internal/api"
	"triage/internal/dashboard"
	"triage/internal/diagnose"
	"triage/internal/incident"
	"triage/internal/ingest"
	"triage/internal/manifest"
	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/runbook"
	"triage/internal/slo"
	"triage/internal/store"
	"triage/internal/store/events"
	"triage/internal/store/state"
)

var update = flag.Bool("update", false, "rewrite the golden answers")

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// fakeEvents has one trace with one log line, and answers the questions that the API asks.
type fakeEvents struct{ store.Events }

var (
	traceID  = model.TraceID{1, 2, 3}
	resource = &model.Resource{Service: "cart", Attrs: model.Attrs{{Key: "service.name", Value: model.String("cart")}}}
	span     = model.Span{TraceID: traceID, SpanID: model.SpanID{9}, Name: "GET /cart", Kind: model.SpanServer,
		Start: now.Add(-time.Second).UnixNano(), Duration: 2e8, Resource: resource, Attrs: model.Attrs{{Key: "http.response.status_code", Value: model.Int(200)}}}
	line = model.LogRecord{Time: now.UnixNano(), TraceID: traceID, SpanID: model.SpanID{9}, Severity: 17,
		Body: model.String("no such item"), Template: 255, Resource: resource}
)

// skewedID is a trace of two services, of which the called one's clock is an hour behind.
var skewedID = model.TraceID{7}

func skewed() []model.Span {
	caller, called := span, span
	caller.TraceID, called.TraceID = skewedID, skewedID
	caller.Kind, caller.Name = model.SpanClient, "call"
	called.SpanID, called.ParentID, called.Duration = model.SpanID{10}, caller.SpanID, 1e8
	called.Start -= int64(time.Hour)
	called.Resource = &model.Resource{Service: "stock", Attrs: model.Attrs{{Key: "service.name", Value: model.String("stock")}}}
	return []model.Span{caller, called}
}

func (fakeEvents) Trace(_ context.Context, _ string, id model.TraceID) ([]model.Span, error) {
	if id == skewedID {
		return skewed(), nil
	}
	if id != traceID {
		return nil, store.ErrNotFound
	}
	return []model.Span{span}, nil
}

func (fakeEvents) Logs(_ context.Context, q store.Query) (store.Page[model.LogRecord], error) {
	if strings.Contains(q.Where.String(), "slow") {
		return store.Page[model.LogRecord]{}, context.DeadlineExceeded
	}
	return store.Page[model.LogRecord]{Rows: []model.LogRecord{line}, More: true}, nil
}

func (fakeEvents) LogCounts(_ context.Context, q store.CountQuery) ([]store.CountStat, error) {
	return []store.CountStat{{At: q.From, By: []string{"cart", "error"}, Count: 3}, {At: q.From.Add(q.Step), By: []string{"cart", "info"}, Count: 40}}, nil
}

func (fakeEvents) SpanCounts(_ context.Context, q store.CountQuery) ([]store.CountStat, error) {
	return []store.CountStat{{At: q.From, Count: 9, Errors: 1, Mean: 0.2, Quantile: q.Quantile}}, nil
}

func (fakeEvents) Spans(context.Context, store.Query) (store.Page[model.Span], error) {
	return store.Page[model.Span]{Rows: []model.Span{span}, Partial: "one block cannot be read"}, nil
}

func (fakeEvents) Operations(context.Context, store.Selection, int) ([]store.OperationStat, error) {
	return []store.OperationStat{{Service: "cart", Operation: "GET /cart", Kind: model.SpanServer, Count: 3, Errors: 1, Mean: 0.2, P50: 0.2, P95: 0.3, P99: 0.3}}, nil
}

func (fakeEvents) Edges(context.Context, string, store.Window, int) ([]store.EdgeStat, error) {
	return []store.EdgeStat{{From: "frontend", To: "cart", Kind: store.EdgeCall, Count: 3, ClientMean: 0.21, ClientP99: 0.3, ServerMean: 0.2, WaitP50: 0.01, WaitMean: 0.01}}, nil
}

func (fakeEvents) AttributeDifference(_ context.Context, q store.DifferenceQuery) (store.Difference, error) {
	if q.A.MinDuration != 100*time.Millisecond || q.B.MinDuration != 0 || q.B.Service != "cart" {
		return store.Difference{}, store.ErrNotFound
	}
	return store.Difference{A: 2, B: 5, Values: []store.DifferenceValue{{Key: "network.peer.port", Value: "54438", A: 2}, {Key: "user.id", Value: "u-1", A: 2, B: 3}}}, nil
}

func (fakeEvents) TemplateCounts(_ context.Context, _ string, a, b store.Window, _ int) ([]store.TemplateCount, error) {
	if a.From != b.To || a.Len() != b.Len() {
		return nil, store.ErrNotFound
	}
	return []store.TemplateCount{
		{Service: "cart", Operation: "GET /cart", Template: 255, Severity: 17, A: 3, First: now, Sample: "no such item", SampleTrace: traceID},
		{Service: "other", Template: 1, A: 1},
	}, nil
}

func (fakeEvents) Stats(context.Context) (store.EventStats, error) {
	return store.EventStats{Spans: 1, Logs: 1, Bytes: 100, Oldest: now, Newest: now}, nil
}

func (fakeEvents) Exceptions(_ context.Context, q store.ExceptionQuery) (store.Page[model.ExceptionGroup], error) {
	const id = "77fd20939cddeac3"
	if q.Group != "" && q.Group != id || q.Text == "nothing" {
		return store.Page[model.ExceptionGroup]{}, nil
	}
	g := model.ExceptionGroup{ID: id, Type: "KeyError", Message: "'sku-17'", Template: "'<*>'", Frames: []string{"total (app/cart.py)"}, Count: 3, Users: 2,
		Services:   []model.ExceptionCount{{Name: "cart", Count: 3}},
		Versions:   []model.ExceptionCount{{Service: "cart", Name: "2", Count: 2}, {Service: "cart", Name: "1", Count: 1}},
		Operations: []model.ExceptionCount{{Name: "GET /cart", Count: 3}}, First: now.Add(-time.Minute), Last: now, FirstService: "cart", FirstVersion: "1",
		New: true, Samples: []model.ExceptionSample{{At: now, Service: "cart", Version: "2", TraceID: traceID, SpanID: span.SpanID, Message: "'sku-17'"}},
		Histogram: make([]int64, q.Buckets)}
	g.Histogram[q.Buckets-1] = 3
	if q.Group != "" {
		g.Stack = "Traceback (most recent call last):\n  File \"/app/cart.py\", line 7, in total\n"
	}
	return store.Page[model.ExceptionGroup]{Rows: []model.ExceptionGroup{g}, More: q.Limit == 1 && q.Group == ""}, nil
}

var firing = model.Alarm{ID: "latency{cart}", Tenant: model.DefaultTenant, Rule: "latency", State: model.StateAlarm, Reason: "2 of 3 datapoints",
	Since: now, Updated: now, Onset: now.Add(-10 * time.Second), Signal: model.SignalDuration, Service: "cart", Value: 0.5, Usual: 0.2, Unit: "s"}

// fakeAlarms keeps rules.
type fakeAlarms map[string]alarm.Rule

func (fakeAlarms) Alarms(string) []model.Alarm { return []model.Alarm{firing} }

func (f fakeAlarms) Rules(string) (list []alarm.RuleStatus) {
	for _, r := range f {
		list = append(list, alarm.RuleStatus{Rule: r, Source: alarm.SourceAutomatic, Alarms: 1})
	}
	return list
}

func (f fakeAlarms) SaveRule(_ context.Context, _ string, r alarm.Rule) error {
	f[r.Name] = r
	return nil
}

func (f fakeAlarms) DeleteRule(_ context.Context, _, name string) error {
	if _, ok := f[name]; !ok {
		return store.ErrNotFound
	}
	delete(f, name)
	return nil
}

// fakeMetrics has a queue that is deep for ten minutes.
type fakeMetrics struct{ store.Metrics }

func (fakeMetrics) Query(_ context.Context, _, expr string, _ time.Time) ([]store.Point, error) {
	if strings.HasPrefix(expr, "increase(requests_total") {
		return []store.Point{{Labels: map[string]string{"region": "eu"}, Value: 1}}, nil
	}
	return []store.Point{{Labels: map[string]string{"region": "eu"}, Value: 0.002}}, nil
}

func (fakeMetrics) QueryRange(_ context.Context, _, expr string, w store.Window, step time.Duration) ([]store.Line, error) {
	if strings.HasPrefix(expr, "increase(") {
		return nil, nil // nothing happened but in this hour
	}
	l := store.Line{Labels: map[string]string{"queue": "orders"}, Start: w.From, Step: step}
	for at := w.From; !at.After(w.To); at = at.Add(step) {
		v := 1.0
		if m := at.Minute(); m >= 20 && m < 30 {
			v = 9
		}
		l.Values = append(l.Values, v)
	}
	return []store.Line{l}, nil
}

// fakeNotify knows one receiver and one silence.
type fakeNotify struct{}

var silence = notify.Silence{ID: "s1", Matchers: []string{`service="cart"`}, Starts: now, Ends: now.Add(time.Hour), By: "ann", Comment: "moving"}

func (fakeNotify) Receivers() []notify.Receiver {
	return []notify.Receiver{{Name: "ops", Integrations: []string{"email[0]"}}}
}

func (fakeNotify) Messages(context.Context, string, string) ([]notify.Message, error) {
	return []notify.Message{{ID: "m1", Incident: "INC-1", Receiver: "ops", Integration: "email[0]", Reason: notify.ReasonFirst, Key: "{}", Created: now,
		Attempts: 1, Done: now.Add(time.Second), Alerts: []notify.Alert{{Alarm: firing.ID, Labels: map[string]string{"service": "cart"}, Starts: now}}}}, nil
}

func (fakeNotify) Test(_ context.Context, name string) ([]notify.TestResult, error) {
	if name != "ops" {
		return nil, store.ErrNotFound
	}
	return []notify.TestResult{{Integration: "email[0]", Error: "connection refused", Seconds: 0.1}}, nil
}

func (fakeNotify) Silences(context.Context, string) ([]notify.Silence, error) {
	return []notify.Silence{silence}, nil
}

func (fakeNotify) SaveSilence(_ context.Context, _ string, s notify.Silence) (notify.Silence, error) {
	if s.Ends.IsZero() {
		return s, notify.ErrInvalid
	}
	s.ID = "s2"
	return s, nil
}

func (fakeNotify) SilenceIncident(_ context.Context, inc model.Incident, alarms []string, s notify.Silence) ([]notify.Silence, error) {
	s.ID, s.Matchers = "s3", append([]string{inc.ID}, alarms...)
	return []notify.Silence{s}, nil
}

// fakeRunbooks has one run, which waits.
type fakeRunbooks struct{}

var waiting = runbook.Run{ID: "r1", Runbook: "restart cart", Incident: "INC-1", State: runbook.Waiting, Why: "alarm latency{cart}", Does: "systemctl restart cart", Created: now}

func (fakeRunbooks) Runbooks(context.Context) ([]runbook.Runbook, error) {
	return []runbook.Runbook{{Name: "restart cart", When: runbook.When{Alarm: &runbook.OnAlarm{Rule: "latency"}}, Do: runbook.Action{RestartUnit: "cart"}}}, nil
}

func (fakeRunbooks) Runs(context.Context, string) ([]runbook.Run, error) {
	done := waiting
	done.ID, done.State, done.Output = "r2", runbook.Succeeded, "cart restarted\n"
	return []runbook.Run{waiting, done}, nil
}

func (fakeRunbooks) Approve(_ context.Context, id, by string) (runbook.Run, error) {
	if id != waiting.ID {
		return runbook.Run{}, store.ErrNotFound
	}
	r := waiting
	r.State, r.By, r.Started = runbook.Running, by, now
	return r, nil
}

func (fakeRunbooks) Refuse(_ context.Context, _, by string) (runbook.Run, error) {
	r := waiting
	r.State, r.By = runbook.Refused, by
	return r, nil
}

func (fakeRunbooks) Undo(context.Context, string, string) (runbook.Run, error) {
	return runbook.Run{}, runbook.ErrConflict
}

func (fakeNotify) EndSilence(_ context.Context, _, id string) error {
	if id != silence.ID {
		return store.ErrNotFound
	}
	return nil
}

func (fakeAlarms) Band(_ context.Context, _, id string, w store.Window, step time.Duration) (alarm.Band, error) {
	if id != firing.ID {
		return alarm.Band{}, store.ErrNotFound
	}
	value, usual, lower, upper := 0.5, 0.2, 0.1, 0.4
	return alarm.Band{Alarm: id, Unit: "s", Step: alarm.Duration(step), Points: []alarm.BandPoint{
		{At: w.From, Value: &value, Usual: &usual, Lower: &lower, Upper: &upper}, {At: w.To},
	}}, nil
}

func newServer(t *testing.T) *httptest.Server {
	t.Helper()
	st, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	a := firing
	inc := model.Incident{ID: "INC-1", Tenant: model.DefaultTenant, Status: model.IncidentOpen, Title: "cart is slow",
		OpenedAt: now, UpdatedAt: now, Onset: a.Onset, Alarms: []model.Alarm{a}}
	b := model.Alarm{ID: "errors{cart}", Rule: "errors", State: model.StateOK, Since: now.Add(-time.Minute), Onset: now.Add(-time.Hour), Service: "cart", Threshold: 5, Value: 9}
	earlier := model.Incident{ID: "INC-3", Tenant: model.DefaultTenant, Status: model.IncidentResolved, Title: "cart fails",
		OpenedAt: now.Add(-time.Hour), UpdatedAt: now.Add(-time.Minute), ResolvedAt: now.Add(-time.Minute), Onset: b.Onset, Alarms: []model.Alarm{b}}
	for range 3 { // whose numbers are taken
		if _, err := st.NextIncident(t.Context(), model.DefaultTenant); err != nil {
			t.Fatal(err)
		}
	}
	v := model.Verdict{ID: "INC-1.1", Incident: "INC-1", Revision: 1, At: now, What: model.What{Alarm: "latency", Service: "cart", Since: now},
		Why:  &model.Cause{Class: model.ClassSelf, Entity: "service:cart", Mechanism: model.SlowCode, Confidence: 0.8},
		Text: map[string]string{"en": "cart is slow by itself", "ko": "cart 자체가 느립니다"}}
	for _, err := range []error{
		st.SaveAlarms(t.Context(), model.DefaultTenant, []model.Alarm{a}, []model.Transition{{ID: "t1", From: model.StateOK, Alarm: a}}),
		st.SaveIncidents(t.Context(), inc.Tenant, []model.Incident{inc, earlier}, nil),
		st.SaveVerdict(t.Context(), model.DefaultTenant, v, []byte("{}")),
		st.AddChange(t.Context(), model.DefaultTenant, model.Change{ID: "c1", At: now.Add(-time.Minute), Kind: "deployment", Service: "cart", Version: "2"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h := newHandler(t, api.Options{
		Events: fakeEvents{}, Metrics: fakeMetrics{}, State: st, Alarms: fakeAlarms{}, Notify: fakeNotify{},
		Runbooks:   fakeRunbooks{},
		Dashboards: dashboard.New(dashboard.Options{State: st, Now: func() time.Time { return now }}),
		Manifests:  manifest.New(manifest.Options{State: st}), Token: "t0ken",
		SLOs:      slo.New(slo.Options{Metrics: fakeMetrics{}, State: st, Rules: func(string, []alarm.Rule) {}}),
		Incidents: incident.New(incident.Options{State: st}),
		Record:    func(ctx context.Context, tenant string, c model.Change) error { return st.AddChange(ctx, tenant, c) },
		Diagnose: func(_ context.Context, r diagnose.Request) (model.Verdict, error) {
			v := v
			v.What.Service = r.Service
			return v, nil
		},
		SQL: func(context.Context, string, string) (events.SQLResult, error) {
			return events.SQLResult{Columns: []string{"n"}, Types: []string{"BIGINT"}, Rows: [][]any{{1}}}, nil
		},
		Received: func() ingest.Status { return ingest.Status{} },
		Storage: func() api.Storage {
			return api.Storage{Events: api.Kept{Bytes: 3 << 20, MaxBytes: 20 << 30, MaxAge: 604800}, Metrics: api.Kept{Bytes: 1 << 20, MaxBytes: 10 << 30, MaxAge: 2592000, Series: 42}}
		},
		Config: func() api.ConfigStatus {
			return api.ConfigStatus{At: now, Error: "alarms.rules[0].for: 5s is shorter than every (10s)"}
		},
		Ready:   func() bool { return true },
		Version: "1.2.3", Started: now, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
		SelfMetrics: http.NotFoundHandler(),
	})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

// calls are the API's contract: each has its answer in testdata.
var calls = []struct {
	name, method, path, body string
	header                   string // Accept
	status                   int
}{
	{"incidents", "GET", "/api/v1/incidents?status=open", "", "", 200},
	{"incidents-of-an-unknown-status", "GET", "/api/v1/incidents?status=broken", "", "", 422},
	{"incident", "GET", "/api/v1/incidents/INC-1", "", "", 200},
	{"incident-missing", "GET", "/api/v1/incidents/INC-2", "", "", 404},
	{"verdict", "GET", "/api/v1/incidents/INC-1/verdict", "", "", 200},
	{"verdict-of-no-such-revision", "GET", "/api/v1/incidents/INC-1/verdict?revision=7", "", "", 404},
	{"verdicts", "GET", "/api/v1/incidents/INC-1/verdicts", "", "", 200},
	{"story", "GET", "/api/v1/incidents/INC-1/story?lang=ko", "", "", 200},
	{"story-missing", "GET", "/api/v1/incidents/INC-2/story", "", "", 404},
	{"diagnose", "POST", "/api/v1/diagnose", `{"service":"cart"}`, "", 200},
	{"diagnose-with-an-unknown-field", "POST", "/api/v1/diagnose", `{"servise":"cart"}`, "", 422},
	{"diagnose-with-a-bad-time", "POST", "/api/v1/diagnose", `{"from":"yesterday"}`, "", 400},
	{"changes", "GET", "/api/v1/changes", "", "", 200},
	{"change", "POST", "/api/v1/changes", `{"id":"c2","kind":"flag","key":"free-shipping","to":"on"}`, "", 201},
	{"change-of-nothing", "POST", "/api/v1/changes", `{"kind":"flag"}`, "", 400},
	{"alarms", "GET", "/api/v1/alarms?state=ALARM", "", "", 200},
	{"alarm-history", "GET", "/api/v1/alarms/history?alarm=latency%7Bcart%7D", "", "", 200},
	{"alarm-band", "GET", "/api/v1/alarms/band?alarm=latency%7Bcart%7D&from=2026-03-01T11:00:00Z&to=2026-03-01T12:00:00Z&step=1h", "", "", 200},
	{"alarm-band-missing", "GET", "/api/v1/alarms/band?alarm=none", "", "", 404},
	{"alarm-band-of-nothing", "GET", "/api/v1/alarms/band", "", "", 422},
	{"alarm-band-bad-step", "GET", "/api/v1/alarms/band?alarm=latency%7Bcart%7D&step=long", "", "", 400},
	{"rule", "POST", "/api/v1/alarms", `{"name":"deep-queue","expr":"queue_depth","compare":{"op":">","threshold":5}}`, "", 201},
	{"rule-unknown-field", "POST", "/api/v1/alarms", `{"name":"x","color":"red"}`, "", 400},
	{"rule-without-a-condition", "POST", "/api/v1/alarms", `{"name":"x","expr":"sum("}`, "", 400},
	{"rule-removed-missing", "DELETE", "/api/v1/alarms/none", "", "", 404},
	{"rule-removed", "DELETE", "/api/v1/alarms/deep-queue", "", "", 204},
	{"backtest", "POST", "/api/v1/alarms/backtest", `{"rule":{"name":"deep-queue","expr":"queue_depth","compare":{"op":">","threshold":5}},"from":"2026-03-01T11:00:00Z","to":"2026-03-01T12:00:00Z","per_week":1,"lines":2}`, "", 200},
	{"backtest-of-a-bad-rule", "POST", "/api/v1/alarms/backtest", `{"rule":{"name":"x"},"from":"2026-03-01T11:00:00Z"}`, "", 400},
	{"receivers", "GET", "/api/v1/receivers", "", "", 200},
	{"receiver-test", "POST", "/api/v1/receivers/ops/test", "", "", 200},
	{"receiver-test-missing", "POST", "/api/v1/receivers/nobody/test", "", "", 404},
	{"notifications", "GET", "/api/v1/notifications?incident=INC-1", "", "", 200},
	{"silences", "GET", "/api/v1/silences", "", "", 200},
	{"silence", "POST", "/api/v1/silences", `{"matchers":["service=\"cart\""],"ends":"2026-03-02T00:00:00Z"}`, "", 201},
	{"silence-of-everything", "POST", "/api/v1/silences", `{"matchers":[],"ends":"2026-03-02T00:00:00Z"}`, "", 422},
	{"silence-without-end", "POST", "/api/v1/silences", `{"matchers":["a=b"],"ends":"0001-01-01T00:00:00Z"}`, "", 400},
	{"silence-ended", "DELETE", "/api/v1/silences/s1", "", "", 204},
	{"silence-ended-missing", "DELETE", "/api/v1/silences/s9", "", "", 404},
	{"services", "GET", "/api/v1/services", "", "", 200},
	{"trace", "GET", "/api/v1/traces/" + traceID.String(), "", "", 200},
	{"trace-missing", "GET", "/api/v1/traces/000000000000000000000000000000ff", "", "", 404},
	{"trace-bad-id", "GET", "/api/v1/traces/xyz", "", "", 400},
	{"outline", "GET", "/api/v1/traces/" + traceID.String() + "/outline", "", "", 200},
	{"outline-skewed", "GET", "/api/v1/traces/" + skewedID.String() + "/outline", "", "", 200},
	{"outline-missing", "GET", "/api/v1/traces/000000000000000000000000000000ff/outline", "", "", 404},
	{"difference", "GET", "/api/v1/difference?service=cart&min=100ms", "", "", 200},
	{"difference-bad-duration", "GET", "/api/v1/difference?min=fast", "", "", 400},
	{"difference-outside", "GET", "/api/v1/difference?these_from=2020-01-01T00:00:00Z", "", "", 400},
	{"templates", "GET", "/api/v1/templates?service=cart", "", "", 200},
	{"templates-turned-around", "GET", "/api/v1/templates?before_from=2026-03-04T05:00:00Z&before_to=2026-03-04T04:00:00Z", "", "", 400},
	{"logs", "GET", "/api/v1/logs?q=item&limit=1", "", "", 200},
	{"log-counts", "GET", "/api/v1/logs/counts?q=item&by=service,level&from=2026-03-04T04:06:07Z&to=2026-03-04T05:06:07Z", "", "", 200},
	{"log-counts-by-too-much", "GET", "/api/v1/logs/counts?by=a,b,c,d,e", "", "", 400},
	{"log-counts-of-relations", "GET", "/api/v1/logs/counts?q=child(a,b)", "", "", 400},
	{"log-counts-too-fine", "GET", "/api/v1/logs/counts?step=1ms", "", "", 400},
	{"span-counts", "GET", "/api/v1/spans/counts?quantile=0.99&step=30m&from=2026-03-04T04:06:07Z&to=2026-03-04T05:06:07Z", "", "", 200},
	{"logs-bad-query", "GET", "/api/v1/logs?q=level%3A%5B1", "", "", 400},
	{"logs-too-slow", "GET", "/api/v1/logs?q=slow", "", "", 504},
	{"logs-turned-around", "GET", "/api/v1/logs?from=2026-03-04T00:00:00Z&to=2026-03-03T00:00:00Z", "", "", 400},
	{"spans", "GET", "/api/v1/spans?q=service:cart", "", "", 200},
	{"errors", "GET", "/api/v1/errors?service=cart&limit=1", "", "", 200},
	{"errors-none", "GET", "/api/v1/errors?q=nothing&version=2", "", "", 200},
	{"errors-too-many", "GET", "/api/v1/errors?limit=100000", "", "", 422},
	{"errors-bad-time", "GET", "/api/v1/errors?from=yesterday", "", "", 400},
	{"error", "GET", "/api/v1/errors/77fd20939cddeac3", "", "", 200},
	{"error-missing", "GET", "/api/v1/errors/0000000000000000", "", "", 404},
	{"incident-acknowledged", "POST", "/api/v1/incidents/INC-1/ack", `{"by":"ann","note":"on it"}`, "", 200},
	{"incident-acknowledged-by-nobody", "POST", "/api/v1/incidents/INC-1/ack", `{"by":" "}`, "", 400},
	{"incident-acknowledged-missing", "POST", "/api/v1/incidents/INC-9/ack", `{"by":"ann"}`, "", 404},
	{"incident-acknowledged-too-late", "POST", "/api/v1/incidents/INC-3/ack", `{"by":"ann"}`, "", 409},
	{"incident-assigned", "POST", "/api/v1/incidents/INC-1/assign", `{"by":"ann","to":"bob"}`, "", 200},
	{"incident-note", "POST", "/api/v1/incidents/INC-1/notes", `{"by":"bob","text":"the disk was <full>"}`, "", 201},
	{"incident-note-of-nothing", "POST", "/api/v1/incidents/INC-1/notes", `{"by":"bob","text":""}`, "", 422},
	{"incident-merged", "POST", "/api/v1/incidents/INC-1/merge", `{"by":"ann","other":"INC-3"}`, "", 200},
	{"incident-merged-twice", "POST", "/api/v1/incidents/INC-1/merge", `{"by":"ann","other":"INC-3"}`, "", 409},
	{"incident-merged-into-itself", "POST", "/api/v1/incidents/INC-1/merge", `{"by":"ann","other":"INC-1"}`, "", 400},
	{"incident-split", "POST", "/api/v1/incidents/INC-1/split", `{"by":"ann","alarms":["errors{cart}"],"note":"another trouble"}`, "", 201},
	{"incident-split-of-all", "POST", "/api/v1/incidents/INC-1/split", `{"by":"ann","alarms":["latency{cart}"]}`, "", 400},
	{"incident-silenced", "POST", "/api/v1/incidents/INC-1/silence", `{"by":"ann","for":"2h","alarms":["latency{cart}"],"comment":"known"}`, "", 201},
	{"incident-silenced-for-what", "POST", "/api/v1/incidents/INC-1/silence", `{"by":"ann","for":"long"}`, "", 400},
	{"timeline", "GET", "/api/v1/incidents/INC-1/timeline", "", "", 200},
	{"timeline-missing", "GET", "/api/v1/incidents/INC-9/timeline", "", "", 404},
	{"postmortem", "GET", "/api/v1/incidents/INC-1/postmortem", "", "", 200},
	{"postmortem-missing", "GET", "/api/v1/incidents/INC-9/postmortem", "", "", 404},
	{"journal", "GET", "/api/v1/journal", "", "", 200},
	{"slo", "POST", "/api/v1/slos", `{"apiVersion":"openslo/v1","kind":"SLO","metadata":{"name":"checkout"},"spec":{"service":"cart","indicator":{"spec":{"ratioMetric":{"counter":true,"bad":{"metricSource":{"spec":{"query":"failed_total"}}},"total":{"metricSource":{"spec":{"query":"requests_total"}}}}}},"timeWindow":[{"duration":"30d","isRolling":true}],"budgetingMethod":"Occurrences","objectives":[{"target":0.99}]}}`, "", 201},
	{"slo-of-nothing", "POST", "/api/v1/slos", `{"apiVersion":"openslo/v1","kind":"SLO"}`, "", 400},
	{"slos", "GET", "/api/v1/slos", "", "", 200},
	{"slo-status", "GET", "/api/v1/slos/checkout", "", "", 200},
	{"slo-missing", "GET", "/api/v1/slos/none", "", "", 404},
	{"slo-history", "GET", "/api/v1/slos/checkout/history?from=2026-03-01T11:00:00Z&to=2026-03-01T12:00:00Z&step=10m", "", "", 200},
	{"slo-history-of-no-objective", "GET", "/api/v1/slos/checkout/history?objective=2", "", "", 400},
	{"slo-removed", "DELETE", "/api/v1/slos/checkout", "", "", 204},
	{"slo-removed-missing", "DELETE", "/api/v1/slos/checkout", "", "", 404},
	{"dashboard-saved", "POST", "/api/v1/dashboards", `{"dashboard":{"name":"carts","title":"Carts","panels":[{"kind":"line","x":0,"y":0,"w":12,"h":6,"queries":[{"expr":"up"}]}]},"by":"ann","note":"first","of":0}`, "", 201},
	{"dashboard-saved-too-late", "POST", "/api/v1/dashboards", `{"dashboard":{"name":"carts","title":"Mine","panels":[]},"by":"bob","of":0}`, "", 409},
	{"dashboard-of-what-is-wrong", "POST", "/api/v1/dashboards", `{"dashboard":{"name":"carts","panels":[{"kind":"pie"},{"kind":"line","queries":[{"expr":"sum("}]}]}}`, "", 400},
	{"dashboards", "GET", "/api/v1/dashboards", "", "", 200},
	{"dashboard", "GET", "/api/v1/dashboards/carts", "", "", 200},
	{"dashboard-version-missing", "GET", "/api/v1/dashboards/carts?version=7", "", "", 404},
	{"dashboard-versions", "GET", "/api/v1/dashboards/carts/versions", "", "", 200},
	{"dashboard-imported", "POST", "/api/v1/dashboards/import", `{"text":"{\"title\":\"Carts\",\"panels\":[{\"type\":\"graph\",\"title\":\"Up\",\"targets\":[{\"expr\":\"up\"}]},{\"type\":\"worldmap\",\"title\":\"Where\"}]}"}`, "", 200},
	{"dashboard-imported-from-nothing", "POST", "/api/v1/dashboards/import", `{"text":"{}"}`, "", 400},
	{"dashboard-schema", "GET", "/api/v1/schema/dashboard", "", "", 200},
	{"dashboard-removed", "DELETE", "/api/v1/dashboards/carts", "", "", 204},
	{"dashboard-removed-missing", "DELETE", "/api/v1/dashboards/carts", "", "", 404},
	{"apply", "POST", "/api/v1/apply", `{"files":[{"name":"a.yml","text":"apiVersion: triage/v1\nkind: Alarm\nmetadata: {name: down}\nspec: {expr: up, compare: {op: '<', threshold: 1}}\n"}],"by":"ann"}`, "", 200},
	{"apply-what-is-wrong", "POST", "/api/v1/apply", `{"files":[{"name":"a.yml","text":"apiVersion: triage/v1\nkind: Alarm\nmetadata: {name: down}\nspec:\n  exp: up\n"}]}`, "", 400},
	{"export", "GET", "/api/v1/export?kind=Alarm", "", "", 200},
	{"export-of-no-revision", "GET", "/api/v1/export?revision=7", "", "", 404},
	{"revisions", "GET", "/api/v1/revisions", "", "", 200},
	{"runbooks", "GET", "/api/v1/runbooks", "", "", 200},
	{"runs", "GET", "/api/v1/runs?incident=INC-1", "", "", 200},
	{"run-approved", "POST", "/api/v1/runs/r1/approve", `{"by":"ann"}`, "", 200},
	{"run-approved-missing", "POST", "/api/v1/runs/r9/approve", `{"by":"ann"}`, "", 404},
	{"run-approved-by-nobody", "POST", "/api/v1/runs/r1/approve", `{}`, "", 422},
	{"run-refused", "POST", "/api/v1/runs/r1/refuse", `{"by":"ann"}`, "", 200},
	{"run-undone-too-early", "POST", "/api/v1/runs/r1/undo", `{"by":"ann"}`, "", 409},
	{"sql", "POST", "/api/v1/sql", `{"query":"select 1 as n"}`, "", 200},
	{"status", "GET", "/api/v1/status", "", "", 200},
}

func TestGoldenAnswers(t *testing.T) {
	srv := newServer(t)
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, srv.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.body != "" {
				req.Header.Set("Content-Type", "application/json")
			}
			req.Header.Set("Authorization", "Bearer t0ken")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			raw, _ := io.ReadAll(res.Body)
			if res.StatusCode != c.status {
				t.Errorf("status %d, want %d: %s", res.StatusCode, c.status, raw)
			}
			if want := "application/problem+json"; c.status >= 400 && res.Header.Get("Content-Type") != want {
				t.Errorf("content type %q, want %q", res.Header.Get("Content-Type"), want)
			}
			if c.status == http.StatusNoContent {
				return
			}
			var got bytes.Buffer
			golden := filepath.Join("testdata", c.name+".json")
			if ext, ok := map[string]string{"text/markdown; charset=utf-8": ".md", "application/yaml": ".yml"}[res.Header.Get("Content-Type")]; ok {
				golden = filepath.Join("testdata", c.name+ext)
				got.Write(raw)
			} else if err := json.Indent(&got, raw, "", "  "); err != nil {
				t.Fatalf("%v in %s", err, raw)
			}
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got.String(), string(want)); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
}

func TestEveryRouteHasAGoldenAnswer(t *testing.T) {
	srv := newServer(t)
	res, err := http.Get(srv.URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var spec struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.NewDecoder(res.Body).Decode(&spec); err != nil {
		t.Fatal(err)
	}
	if len(spec.Paths) == 0 {
		t.Fatal("no routes")
	}
	for path, methods := range spec.Paths {
		for method := range methods {
			found := false
			for _, c := range calls {
				found = found || strings.EqualFold(c.method, method) && matches(path, c.path)
			}
			if !found {
				t.Errorf("%s %s has no golden answer", strings.ToUpper(method), path)
			}
		}
	}
}

func matches(pattern, path string) bool {
	path, _, _ = strings.Cut(path, "?")
	p, q := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(p) != len(q) {
		return false
	}
	for i := range p {
		if p[i] != q[i] && !strings.HasPrefix(p[i], "{") {
			return false
		}
	}
	return true
}

func TestVerdictInTheFormAskedFor(t *testing.T) {
	srv := newServer(t)
	for accept, want := range map[string]string{"text/markdown": "text/markdown; charset=utf-8", "text/plain": "text/plain; charset=utf-8", "*/*": "application/json"} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/incidents/INC-1/verdict", nil)
		req.Header.Set("Accept", accept)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := res.Header.Get("Content-Type"); got != want {
			t.Errorf("Accept %s gives %s, want %s", accept, got, want)
		}
	}
}

func TestWhatActsOnTheWorldNeedsTheToken(t *testing.T) {
	srv := newServer(t)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/v1/apply", `{"files":[{"name":"a","text":""}]}`}, {"GET", "/api/v1/export", ""},
		{"GET", "/api/v1/runbooks", ""}, {"POST", "/api/v1/runs/r1/approve", `{"by":"ann"}`}, {"POST", "/api/v1/runs/r1/refuse", `{"by":"ann"}`},
	} {
		for authorization, want := range map[string]int{"": 401, "Bearer wrong": 401, "t0ken": 401, "Bearer ": 401, "Bearer t0ken": 200} {
			req, _ := http.NewRequestWithContext(t.Context(), c.method, srv.URL+c.path, strings.NewReader(c.body))
			req.Header.Set("Authorization", authorization)
			req.Header.Set("Content-Type", "application/json")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s %s with %q: status %d, want %d", c.method, c.path, authorization, res.StatusCode, want)
			}
		}
	}
}

func TestForeignHostsAndOriginsAreRefused(t *testing.T) {
	srv := newServer(t)
	for _, c := range []struct {
		name, host, origin string
		status             int
	}{
		{"loopback", "", "", 200},
		{"name that resolves to us", "evil.example", "", 403},
		{"own origin", "", srv.URL, 200},
		{"foreign origin", "", "https://evil.example", 403},
		{"no origin", "", "null", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/incidents", nil)
			if c.host != "" {
				req.Host = c.host
			}
			if c.origin != "" {
				req.Header.Set("Origin", c.origin)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != c.status {
				t.Errorf("status %d, want %d", res.StatusCode, c.status)
			}
		})
	}
}

func FuzzTimes(f *testing.F) {
	for _, s := range []string{"", "1", "-1.5", "2026-03-04T05:06:07Z", "1e300", "NaN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := api.ParseTime("from", s, now)
		if err == nil && (got.Year() < 1600 || got.Year() > 2300) && !strings.Contains(s, "T") {
			t.Errorf("%q is %s", s, got)
		}
	})
}

// Whoever may read incidents sees what was run; what it said needs the token.
func TestOutputsNeedTheToken(t *testing.T) {
	srv := newServer(t)
	for authorization, want := range map[string]string{"": `"output_withheld":true`, "Bearer wrong": `"output_withheld":true`, "Bearer t0ken": `"output":"cart restarted\n"`} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/runs", nil)
		req.Header.Set("Authorization", authorization)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if body := string(b); err != nil || res.StatusCode != 200 || !strings.Contains(body, want) || strings.Contains(body, "cart restarted") != strings.Contains(want, "cart restarted") {
			t.Errorf("%q: %d %s, want %s in it", authorization, res.StatusCode, body, want)
		}
	}
}

// TestLargeDocuments holds that what may be large is taken: exported dashboards and sets of files are.
func TestLargeDocuments(t *testing.T) {
	srv := newServer(t)
	filler := strings.Repeat("x", 3<<20)
	for path, body := range map[string]any{
		"/api/v1/dashboards/import": map[string]string{"text": `{"title":"t","panels":[],"about":"` + filler + `"}`},
		"/api/v1/apply":             map[string]any{"files": []manifest.File{{Name: "a.yml", Text: "# " + filler + "\n---\n"}}, "dry_run": true},
	} {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+path, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer t0ken")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", path, res.StatusCode, answer)
		}
	}
}
