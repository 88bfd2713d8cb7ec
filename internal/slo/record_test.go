package slo_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/slo"
	"triage/internal/store"
)

// rows are events of which a search with "failed" in it finds some.
type rows struct {
	from  time.Time
	err   error
	asked []store.Window
}

func (r *rows) SpanCounts(_ context.Context, q store.CountQuery) (out []store.CountStat, err error) {
	r.asked = append(r.asked, q.Window)
	for at := q.From; at.Before(q.To); at = at.Add(q.Step) {
		if at.Before(r.from) {
			continue
		}
		n := int64(100)
		if strings.Contains(q.Where.String(), "error") {
			n = 1
		}
		for _, region := range []string{"eu", "us"} {
			if region == "us" {
				n *= 2
			}
			out = append(out, store.CountStat{At: at, By: []string{region}, Count: n})
		}
	}
	return out, r.err
}

func (r *rows) LogCounts(ctx context.Context, q store.CountQuery) ([]store.CountStat, error) {
	return r.SpanCounts(ctx, q)
}

const searched = `
apiVersion: openslo/v1
kind: SLO
metadata: {name: orders}
spec:
  service: ledger
  indicator:
    spec:
      ratioMetric:
        bad: {metricSource: {type: TriageSpans, spec: {query: 'service:ledger status:error', by: [cloud.region]}}}
        total: {metricSource: {type: TriageSpans, spec: {query: 'service:ledger', by: [cloud.region]}}}
  timeWindow: [{duration: 7d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.98}]
`

func TestSearchesAreCounted(t *testing.T) {
	w := newWorld(t, 1, func(int) float64 { return 0 })
	ev := &rows{from: w.end.Add(-3 * time.Hour)}
	opts := slo.Options{Metrics: w.m, State: w.s, Events: ev, Rules: func(string, []alarm.Rule) {}}
	m := slo.New(opts)
	if err := m.Save(t.Context(), model.DefaultTenant, must(t, searched)); err != nil {
		t.Fatal(err)
	}
	status := func() slo.Status {
		t.Helper()
		list, err := m.List(t.Context(), model.DefaultTenant)
		if err != nil {
			t.Fatal(err)
		}
		st, err := m.Status(t.Context(), model.DefaultTenant, list[0], w.end)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	count := func(at time.Time) {
		t.Helper()
		if err := m.Count(t.Context(), model.DefaultTenant, at); err != nil {
			t.Fatal(err)
		}
	}
	// A day is counted back, then only what is new, and after a restart likewise.
	count(w.end.Add(-time.Hour + 30*time.Second))
	count(w.end.Add(-30 * time.Minute))
	m = slo.New(opts)
	count(w.end.Add(31 * time.Second))
	var asked time.Duration
	for _, a := range ev.asked {
		asked += a.Len()
	}
	if asked != 2*25*time.Hour {
		t.Errorf("asked for %s of bad and total, want 25 h each, once", asked)
	}
	st := status()
	if len(st.Objectives) != 1 || len(st.Objectives[0].Series) != 2 {
		t.Fatalf("status %+v", st)
	}
	for _, s := range st.Objectives[0].Series {
		region := s.Labels["cloud_region"]
		events, share := 18000.0, 0.01
		if region == "us" {
			events, share = 36000, 0.01
		}
		if len(s.Labels) != 1 || math.Abs(*s.Events-events) > 1e-6 || math.Abs(1-s.Good-share) > 1e-9 || math.Abs(s.Remaining-0.5) > 1e-6 {
			t.Errorf("%s: %v events, good %v, remaining %v", region, *s.Events, s.Good, s.Remaining)
		}
	}
	for _, r := range must(t, searched).Rules() {
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		points, err := w.m.Query(t.Context(), model.DefaultTenant, r.Expr, w.end)
		if err != nil || len(points) != 2 || math.Abs(points[0].Value-0.5) > 1e-6 {
			t.Errorf("rule %s: %v, %v", r.Name, points, err)
		}
	}

	if err := m.Record(t.Context(), model.DefaultTenant, w.end); err != nil {
		t.Fatal(err)
	}
	left, err := w.m.Query(t.Context(), model.DefaultTenant, `triage_slo_budget_remaining{slo="orders",objective="0.98",service="ledger",cloud_region="eu"}`, w.end)
	if err != nil || len(left) != 1 || math.Abs(left[0].Value-0.5) > 1e-6 {
		t.Errorf("what is left is recorded as %v, %v", left, err)
	}

	// Another search begins anew, and one that fails is counted when it no longer does.
	other := must(t, strings.ReplaceAll(searched, "service:ledger", "service:basket"))
	if err := m.Save(t.Context(), model.DefaultTenant, other); err != nil {
		t.Fatal(err)
	}
	if n := len(status().Objectives[0].Series); n != 0 {
		t.Errorf("%d label sets are left of the search before", n)
	}
	ev.err = errors.New("no answer")
	if err := m.Count(t.Context(), model.DefaultTenant, w.end.Add(time.Minute)); err == nil || !strings.Contains(err.Error(), "bad of SLO orders: no answer") {
		t.Errorf("error %v", err)
	}
	ev.err = nil
	count(w.end.Add(time.Minute))
	if n := len(status().Objectives[0].Series); n != 2 {
		t.Errorf("%d label sets of the new search", n)
	}
}

func TestSearchesThatCannotBeCounted(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"service:ledger status:error", "service:", "spec.indicator.spec.ratioMetric.bad.metricSource.spec: query: "},
		{"cloud.region", "a, a", `ratioMetric.bad.metricSource.spec: by: "a" is empty, there twice`},
		{"cloud.region", "slo", `by: "slo" is empty, there twice, or a name that is taken`},
		{"      ratioMetric:", "      thresholdMetric: {metricSource: {type: TriageLogs, spec: {query: x}}}\n#", "spec.indicator.spec.thresholdMetric.metricSource.type: the rows that a search finds are counted"},
	} {
		text := strings.Replace(searched, c.old, c.new, 1)
		if strings.HasPrefix(strings.TrimSpace(c.new), "threshold") {
			text = strings.NewReplacer("        bad:", "#", "        total:", "#").Replace(text)
		}
		_, err := parse(t, text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s: %v, want %s", c.old, c.new, err, c.want)
		}
	}
}
