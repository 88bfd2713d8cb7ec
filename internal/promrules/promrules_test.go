package promrules_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/promrules"
	"triage/internal/store"
	"triage/internal/store/metrics"
	"triage/internal/store/state"
)

const file = `
groups:
- name: shop
  interval: 100ms
  rules:
  - record: job:up:min
    expr: min by (job) (up)
  - alert: Down
    expr: job:up:min == 0
    labels: {severity: page, service: '{{ $labels.job }}'}
    annotations: {summary: '{{ $labels.job }} is down'}
  - alert: Slow
    expr: up > 1
    for: 1h
`

// A rule file is evaluated as it is; its alerts become alarms in the one history, and end there too.
func TestRuleFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.yml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := metrics.Open(metrics.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	up := func(v float64) {
		t.Helper()
		_, err := m.Append(t.Context(), model.DefaultTenant, []model.Series{{
			Labels: labels.FromStrings("__name__", "up", "job", "cart"), Samples: []model.Sample{{T: time.Now().UnixMilli(), V: v}}, Type: "gauge",
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	up(0)
	e, err := alarm.New(alarm.Options{Metrics: m, State: s, Delay: -1})
	if err != nil {
		t.Fatal(err)
	}
	queryable, err := m.Queryable(model.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	appendable, err := m.Appendable(model.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	reported := make(chan struct{}, 1000)
	p := promrules.New(promrules.Options{
		Engine: m.Engine(), Queryable: queryable, Appendable: appendable,
		Report: func(list []alarm.Reported) {
			e.Report(model.DefaultTenant, list)
			reported <- struct{}{}
		},
	})
	if err := p.Load([]string{filepath.Join(dir, "*.yml")}, time.Minute); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	await := func(what string) {
		t.Helper()
		select {
		case <-reported:
		case <-time.After(time.Minute):
			t.Fatalf("%s was not reported", what)
		}
	}
	evaluate := func() []model.Transition {
		t.Helper()
		out, err := e.Evaluate(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	await("Down")
	got := evaluate()
	if len(got) != 1 || got[0].Alarm.ID != `Down{job="cart",service="cart",severity="page"}` || got[0].Alarm.State != model.StateAlarm ||
		got[0].Alarm.Reason != "cart is down" || got[0].Alarm.Service != "cart" || got[0].Alarm.Source != alarm.SourcePrometheus {
		t.Errorf("transitions: %+v", got)
	}
	if groups := p.RuleGroups(); len(groups) != 1 || len(groups[0].Rules()) != 3 || len(p.AlertingRules()) != 2 {
		t.Errorf("groups: %v", groups)
	}
	up(1)
	await("the end of Down")
	if got := evaluate(); len(got) != 1 || got[0].Alarm.State != model.StateOK {
		t.Errorf("transitions at the end: %+v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	history, err := s.Transitions(t.Context(), model.DefaultTenant, "", store.Window{To: time.Now().Add(time.Hour)}, 0)
	if err != nil || len(history) != 2 {
		t.Errorf("history: %+v, %v", history, err)
	}
	recorded, err := m.Query(t.Context(), model.DefaultTenant, "max_over_time(job:up:min[1m])", time.Now())
	if err != nil || len(recorded) != 1 {
		t.Errorf("recorded: %+v, %v", recorded, err)
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yml")
	if err := os.WriteFile(bad, []byte("groups: [{name: x, rules: [{alert: A, expr: 'sum('}, {record: 'a b', expr: up, foo: 1}]}]"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, errs := promrules.Files([]string{bad, "[", filepath.Join(dir, "none*.yml")})
	if len(errs) < 2 {
		t.Fatalf("errors: %v", errs)
	}
	if !strings.Contains(errs[0].Error(), `"["`) || !strings.Contains(errs[1].Error(), bad) {
		t.Errorf("errors: %v", errs)
	}
}
